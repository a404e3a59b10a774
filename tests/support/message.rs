//! HTTP/1.1 messages as a strict reader sees them (RFC 9112): what could be read in two ways is broken, never repaired.
//!
//! Used on both ends of Lintel: it must never send what this refuses. It shares no code with the program.

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(usize),
    Chunked,
    /// Until the connection ends; responses only.
    Close,
}

/// First line, fields, body and trailers; text is Latin-1, so that every byte is kept as one char.
#[derive(Clone, Debug)]
pub struct Message {
    pub line: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    pub framing: Framing,
}

pub type Request = Message;
pub type Response = Message;

/// What the bytes so far amount to.
#[derive(Debug)]
pub enum Parsed {
    /// More bytes are needed.
    Partial,
    /// A whole message, and how many bytes it took.
    Whole(Message, usize),
    /// No continuation makes this a message.
    Broken(String),
}

/// Which message is read, and what is known about it from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side<'a> {
    Request,
    /// A response to this method; `ended` when no byte will follow.
    Response {
        to: &'a str,
        ended: bool,
    },
}

impl Message {
    pub fn status(&self) -> u16 {
        self.line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    pub fn method(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// The first value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.all(name).into_iter().next()
    }

    /// Every value of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = self.fields.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.as_str()).collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether a field that is a list names this option.
    pub fn lists(&self, name: &str, option: &str) -> bool {
        self.all(name)
            .iter()
            .flat_map(|value| value.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(option))
    }
}

/// Reads one message from the start of `bytes`.
pub fn parse(bytes: &[u8], side: Side<'_>) -> Parsed {
    let (mut message, head_length) = match parse_head(bytes, side) {
        Ok(Some(head)) => head,
        Ok(None) => return Parsed::Partial,
        Err(why) => return Parsed::Broken(why),
    };
    let rest = &bytes[head_length..];
    match message.framing {
        Framing::None => Parsed::Whole(message, head_length),
        Framing::Length(length) if rest.len() < length => Parsed::Partial,
        Framing::Length(length) => {
            message.body = rest[..length].to_vec();
            Parsed::Whole(message, head_length + length)
        }
        Framing::Close => match side {
            Side::Response { ended: true, .. } => {
                message.body = rest.to_vec();
                Parsed::Whole(message, bytes.len())
            }
            _ => Parsed::Partial,
        },
        Framing::Chunked => match parse_chunks(rest, &mut message) {
            Ok(Some(length)) => Parsed::Whole(message, head_length + length),
            Ok(None) => Parsed::Partial,
            Err(why) => Parsed::Broken(why),
        },
    }
}

/// The head alone, with an empty body, and its length.
pub fn parse_head(bytes: &[u8], side: Side<'_>) -> Result<Option<(Message, usize)>, String> {
    let Some(line) = take_line(bytes, 0)? else { return Ok(None) };
    let (first, start) = line;
    match side {
        Side::Request => check_request_line(&first)?,
        Side::Response { .. } => check_status_line(&first)?,
    }
    let Some((fields, end)) = parse_fields(bytes, start)? else { return Ok(None) };
    let framing = Framing::None;
    let mut message = Message { line: first, fields, body: Vec::new(), trailers: Vec::new(), framing };
    message.framing = framing_of(&message, side)?;
    Ok(Some((message, end)))
}

/// The line that starts at `start`, without its CRLF, and where the next one starts.
fn take_line(bytes: &[u8], start: usize) -> Result<Option<(String, usize)>, String> {
    let rest = &bytes[start..];
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
        return Ok(None);
    };
    let Some(line) = rest[..end].strip_suffix(b"\r") else {
        return Err(format!("a line ends in LF without CR: {:?}", latin1(&rest[..end])));
    };
    let is_bad = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
    if line.iter().any(is_bad) {
        return Err(format!("a control byte in {:?}", latin1(line)));
    }
    Ok(Some((latin1(line), start + end + 1)))
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
}

fn check_request_line(line: &str) -> Result<(), String> {
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = parts[..] else {
        return Err(format!("not a request line: {line:?}"));
    };
    let is_origin_form = target.starts_with('/') || (target == "*" && method == "OPTIONS");
    if !is_token(method) || !is_origin_form || version != "HTTP/1.1" {
        return Err(format!("not the request line of a proxy to a server: {line:?}"));
    }
    Ok(())
}

fn check_status_line(line: &str) -> Result<(), String> {
    let mut parts = line.splitn(3, ' ');
    let (version, status) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let is_status = status.len() == 3 && status.bytes().all(|b| b.is_ascii_digit());
    if version != "HTTP/1.1" || !is_status || parts.next().is_none() {
        return Err(format!("not a status line: {line:?}"));
    }
    Ok(())
}

type Fields = Vec<(String, String)>;

/// Fields up to and with the empty line.
fn parse_fields(bytes: &[u8], mut start: usize) -> Result<Option<(Fields, usize)>, String> {
    let mut fields = Vec::new();
    loop {
        let Some((line, next)) = take_line(bytes, start)? else { return Ok(None) };
        start = next;
        if line.is_empty() {
            return Ok(Some((fields, start)));
        }
        let Some((name, value)) = line.split_once(':').filter(|(name, _)| is_token(name)) else {
            return Err(format!("not a field: {line:?}"));
        };
        fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }
}

/// RFC 9112 section 6.3, with every doubt an error.
fn framing_of(message: &Message, side: Side<'_>) -> Result<Framing, String> {
    let lengths = message.all("content-length");
    let codings = message.all("transfer-encoding");
    let length = match lengths[..] {
        [] => None,
        [one] if !one.is_empty() && one.bytes().all(|b| b.is_ascii_digit()) => {
            Some(one.parse::<usize>().map_err(|_| format!("Content-Length: {one}"))?)
        }
        _ => return Err(format!("Content-Length: {lengths:?}")),
    };
    if !codings.is_empty()
        && (length.is_some() || codings.len() > 1 || !codings[0].eq_ignore_ascii_case("chunked"))
    {
        return Err(format!("Transfer-Encoding: {codings:?} with Content-Length: {lengths:?}"));
    }
    match side {
        Side::Request => {
            let hosts = message.all("host").len();
            if hosts != 1 {
                return Err(format!("{hosts} Host fields"));
            }
            let body = if codings.is_empty() {
                length.map_or(Framing::None, Framing::Length)
            } else {
                Framing::Chunked
            };
            Ok(body)
        }
        Side::Response { to, .. } => {
            let status = message.status();
            let is_bare = status < 200 || status == 204;
            if is_bare && (length.is_some() || !codings.is_empty()) {
                return Err(format!("a {status} with framing fields"));
            }
            if is_bare || status == 304 || to == "HEAD" {
                return Ok(Framing::None);
            }
            if !codings.is_empty() {
                return Ok(Framing::Chunked);
            }
            Ok(length.map_or(Framing::Close, Framing::Length))
        }
    }
}

/// A chunked body with its trailers (RFC 9112 section 7.1); gives its length on the wire.
fn parse_chunks(bytes: &[u8], message: &mut Message) -> Result<Option<usize>, String> {
    let mut start = 0;
    loop {
        let Some((line, next)) = take_line(bytes, start)? else { return Ok(None) };
        let digits = line.split(';').next().unwrap_or_default();
        if digits.is_empty() || digits.len() > 15 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("not a chunk size: {line:?}"));
        }
        let size = usize::from_str_radix(digits, 16).map_err(|error| error.to_string())?;
        start = next;
        if size == 0 {
            let Some((trailers, end)) = parse_fields(bytes, start)? else { return Ok(None) };
            message.trailers = trailers;
            return Ok(Some(end));
        }
        let Some(chunk) = bytes.get(start..start + size + 2) else { return Ok(None) };
        if !chunk.ends_with(b"\r\n") {
            return Err("a chunk does not end in CRLF".to_owned());
        }
        message.body.extend_from_slice(&chunk[..size]);
        start += size + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSE: Side<'static> = Side::Response { to: "GET", ended: false };

    fn whole(bytes: &str, side: Side<'_>) -> (Message, usize) {
        match parse(bytes.as_bytes(), side) {
            Parsed::Whole(message, length) => (message, length),
            other => panic!("{bytes:?}: {other:?}"),
        }
    }

    #[test]
    fn a_message_is_whole_exactly_when_its_last_byte_is_there() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nab\r\n1\r\nc\r\n0\r\nX: y\r\n\r\n",
            "HTTP/1.1 204 \r\n\r\n",
        ] {
            for cut in 0..text.len() {
                assert!(
                    matches!(parse(&text.as_bytes()[..cut], RESPONSE), Parsed::Partial),
                    "{text:?} at {cut}"
                );
            }
            assert_eq!(whole(&format!("{text}HTTP/1.1"), RESPONSE).1, text.len());
        }
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nX: y\r\n\r\n";
        let (message, _) = whole(chunked, RESPONSE);
        assert_eq!((message.body.as_slice(), message.trailers.len()), (b"abc".as_slice(), 1));
    }

    #[test]
    fn the_body_of_a_response_depends_on_the_request_and_the_status() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(whole(text, Side::Response { to: "HEAD", ended: false }).1, text.len());
        let until_close = "HTTP/1.1 200 OK\r\n\r\nabc";
        assert!(matches!(parse(until_close.as_bytes(), RESPONSE), Parsed::Partial));
        let (message, _) = whole(until_close, Side::Response { to: "GET", ended: true });
        assert_eq!((message.text().as_str(), message.framing), ("abc", Framing::Close));
        whole("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", RESPONSE);
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_broken() {
        for text in [
            "HTTP/1.1 200 OK\nA: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
            "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nab\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.0 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
        ] {
            assert!(matches!(parse(text.as_bytes(), RESPONSE), Parsed::Broken(_)), "{text:?}");
        }
        for text in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ] {
            assert!(matches!(parse(text.as_bytes(), Side::Request), Parsed::Broken(_)), "{text:?}");
        }
    }
}
