//! What a client's bytes are, read by the letter of RFC 9112: whole requests up to the first doubt, then nothing.
//!
//! It shares no code with Lintel and judges no paths. Lintel may take less than this reader, and never more.

/// A request that nobody can read in another way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    /// In origin-form, as a proxy sends it on.
    pub target: String,
    pub body: Vec<u8>,
}

/// The whole requests of a connection, and why there are no more.
#[derive(Debug)]
pub struct Reading {
    pub requests: Vec<Asked>,
    pub end: &'static str,
}

/// Why a request is none, or not yet one.
type Doubt = &'static str;

const CUT: Doubt = "the bytes end inside a request";

/// Reads all requests of a connection.
pub fn read(bytes: &[u8]) -> Reading {
    let mut reader = Reader { rest: bytes };
    let mut requests = Vec::new();
    loop {
        while let Some(rest) = reader.rest.strip_prefix(b"\r\n") {
            reader.rest = rest;
        }
        if reader.rest.is_empty() {
            return Reading { requests, end: "no more bytes" };
        }
        match reader.request() {
            Ok((asked, stays)) => {
                requests.push(asked);
                if !stays {
                    return Reading { requests, end: "the connection ends here" };
                }
            }
            Err(end) => return Reading { requests, end },
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

/// Name and value.
type Field<'a> = (&'a [u8], &'a [u8]);

impl<'a> Reader<'a> {
    /// One request, and whether another may follow.
    fn request(&mut self) -> Result<(Asked, bool), Doubt> {
        let words: Vec<&[u8]> = self.line()?.split(|byte| *byte == b' ').collect();
        let [method, target, version] = words[..] else {
            return Err("not three words");
        };
        let is_modern = match version {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            _ => return Err("another version"),
        };
        if !is_token(method) || matches!(method, b"CONNECT" | b"TRACE") {
            return Err("a method that is not passed on");
        }
        let fields = self.fields()?;
        let target = origin_form(method, target)?;
        let hosts: Vec<&[u8]> = all(&fields, "host").collect();
        if hosts.len() > 1 || (hosts.is_empty() && is_modern) || !hosts.iter().all(|host| is_host(host)) {
            return Err("not one Host");
        }
        let is_expected = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
        if is_modern && !all(&fields, "expect").all(is_expected) {
            return Err("another expectation");
        }
        let options: Vec<&[u8]> = all(&fields, "connection").flat_map(members).collect();
        let names = |option: &str| options.iter().any(|named| named.eq_ignore_ascii_case(option.as_bytes()));
        if names("host") || names("content-length") || names("transfer-encoding") {
            return Err("framing or routing fields named as of this hop");
        }
        let body = self.body(&fields, is_modern)?;
        let stays = !names("close") && (is_modern || names("keep-alive"));
        Ok((Asked { method: text(method), target, body }, stays))
    }

    fn body(&mut self, fields: &[Field<'_>], is_modern: bool) -> Result<Vec<u8>, Doubt> {
        let lengths: Vec<&[u8]> = all(fields, "content-length").collect();
        let codings: Vec<&[u8]> = all(fields, "transfer-encoding").collect();
        match (&lengths[..], &codings[..]) {
            ([], []) => Ok(Vec::new()),
            ([], [coding]) if is_modern => {
                let mut members = members(coding);
                let is_chunked = members.next().is_some_and(|member| member.eq_ignore_ascii_case(b"chunked"));
                if is_chunked && members.next().is_none() { self.chunks() } else { Err("not just chunked") }
            }
            ([length], []) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
                let length = text(length).parse::<i64>().map_err(|_| "a length beyond 63 bits")?;
                self.take(usize::try_from(length).map_err(|_| CUT)?).map(<[u8]>::to_vec)
            }
            _ => Err("a body of doubtful length"),
        }
    }

    fn chunks(&mut self) -> Result<Vec<u8>, Doubt> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            let (digits, extension) = line.split_at(digits);
            let extension = trim(extension);
            if digits.is_empty() || digits.len() > 15 || !(extension.is_empty() || extension[0] == b';') {
                return Err("not a chunk size");
            }
            // White space alone behind a size is no extension.
            if extension.is_empty() && digits.len() != line.len() {
                return Err("white space behind a chunk size");
            }
            let size = usize::from_str_radix(&text(digits), 16).map_err(|_| "not a chunk size")?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(self.take(size)?);
            if self.take(2)? != b"\r\n" {
                return Err("a chunk that does not end in CRLF");
            }
        }
        let trailers = self.fields()?;
        let comes_late = |name: &str| all(&trailers, name).next().is_some();
        if comes_late("content-length") || comes_late("transfer-encoding") || comes_late("host") {
            return Err("framing or routing in a trailer");
        }
        Ok(body)
    }

    /// Fields up to and with the empty line.
    fn fields(&mut self) -> Result<Vec<Field<'a>>, Doubt> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let colon = line.iter().position(|byte| *byte == b':').ok_or("a field without a colon")?;
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            if !is_token(name) {
                return Err("a field whose name is no token");
            }
            fields.push((name, trim(value)));
        }
    }

    /// A line without its CRLF, and without any other control byte but tabs.
    fn line(&mut self) -> Result<&'a [u8], Doubt> {
        let end = self.rest.iter().position(|byte| *byte == b'\n').ok_or(CUT)?;
        let line = self.rest[..end].strip_suffix(b"\r").ok_or("a line that ends in LF alone")?;
        self.rest = &self.rest[end + 1..];
        if line.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
            return Err("a control byte in a line");
        }
        Ok(line)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Doubt> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(CUT)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// The target as a proxy sends it on (RFC 9112 section 3.2).
fn origin_form(method: &[u8], target: &[u8]) -> Result<String, Doubt> {
    let text = std::str::from_utf8(target).map_err(|_| "a target that is no text")?;
    if text.contains(['#', '\t']) {
        return Err("a target with a byte that no target has");
    }
    if text.starts_with('/') || (text == "*" && method == b"OPTIONS") {
        return Ok(text.to_owned());
    }
    let (scheme, rest) = text.split_once("://").ok_or("a target that is no path and no URL")?;
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err("a target of another scheme");
    }
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if host.is_empty() || !is_host(host.as_bytes()) {
        return Err("a target whose authority is no host");
    }
    match path {
        "" if method == b"OPTIONS" => Ok("*".to_owned()),
        _ if path.starts_with('/') => Ok(path.to_owned()),
        _ => Ok(format!("/{path}")),
    }
}

fn is_host(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=:[]%".contains(byte))
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

fn all<'f>(fields: &'f [Field<'f>], wanted: &'f str) -> impl Iterator<Item = &'f [u8]> {
    let named = fields.iter().filter(move |(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()));
    named.map(|(_, value)| *value)
}

/// Members of a list; empty ones do not count (RFC 9110 section 5.6.1.2).
fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim).filter(|member| !member.is_empty())
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &str) -> Vec<String> {
        let asked = read(bytes.as_bytes()).requests;
        asked.iter().map(|asked| format!("{} {} {}", asked.method, asked.target, asked.body.len())).collect()
    }

    #[test]
    fn a_pipeline_is_read_to_its_first_doubt() {
        let get = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n";
        let post = "POST http://b/2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nab\r\n0\r\nY: z\r\n\r\n";
        let folded = "GET /3 HTTP/1.1\r\nHost: a\r\n b\r\n\r\n";
        assert_eq!(lines(&format!("{get}{post}\r\n{folded}{get}")), ["GET /1 0", "POST /2 2"]);
        let last = "GET /1 HTTP/1.0\r\n\r\n";
        assert_eq!(lines(&format!("{last}{last}")), ["GET /1 0"]);
    }

    #[test]
    fn what_frames_a_body_in_two_ways_is_no_request() {
        for fields in [
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Content-Length: 1\r\nContent-Length: 1",
            "Content-Length: +1",
            "Transfer-Encoding: chunked, x",
            "Transfer-Encoding : chunked",
            "Connection: content-length\r\nContent-Length: 1",
        ] {
            let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n");
            assert_eq!(read(request.as_bytes()).requests, [], "{fields}");
        }
    }
}
