//! Header lists of HTTP/2 as heads, and heads as header lists (RFC 9113 section 8, RFC 8441).
//!
//! A request that a server of HTTP/1.1 would read in another way than it was sent cannot become a head: names, values,
//! method, target and authority keep HTTP/1.1's rules here already.

use super::frame::Rest;
use super::hpack::Encoder;
use crate::wire::body::Framing;
use crate::wire::head::{Head, Known, Method, Version};
use crate::wire::rules::{
    Limits, ParseHeadError, RESPONSE_LIMITS, RequestFraming, ResponseFraming, check_method, content_length,
    is_authority, is_target, stands_in_head,
};
use crate::wire::token::{has_no_control, is_lower_token, is_token};

/// What each field adds to the size of a header list (RFC 9113 section 6.5.2).
pub const FIELD_OVERHEAD: usize = 32;

/// Limits on trailer sections, the same as in HTTP/1.1.
const TRAILER_LIMITS: Limits = Limits { head: 8 * 1024 + 64 * FIELD_OVERHEAD, fields: 64, target: 0 };

/// Pseudo-header fields seen so far.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    method: bool,
    scheme: bool,
    authority: bool,
    path: bool,
    status: bool,
    protocol: bool,
    host: bool,
    /// A regular field: no pseudo-header field may follow.
    regular: bool,
}

/// What kind of header list is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Request,
    Response,
    Trailers,
}

/// Takes the fields of one header list, one after the other, into a head.
pub struct Reader<'h> {
    head: &'h mut Head,
    section: Section,
    limits: Limits,
    seen: Seen,
    size: usize,
    cookies: Vec<u8>,
    protocol: Vec<u8>,
    error: Option<ParseHeadError>,
}

impl<'h> Reader<'h> {
    /// `head` is cleared; `limits` are those of requests, others have their own.
    pub fn new(head: &'h mut Head, section: Section, limits: Limits) -> Self {
        head.clear();
        if section != Section::Trailers {
            head.make_room();
        }
        head.version = Version::Http2;
        let limits = match section {
            Section::Request => limits,
            Section::Response => RESPONSE_LIMITS,
            Section::Trailers => TRAILER_LIMITS,
        };
        Self {
            head,
            section,
            limits,
            seen: Seen::default(),
            size: 0,
            cookies: Vec::new(),
            protocol: Vec::new(),
            error: None,
        }
    }

    /// Takes one field. What is behind the first mistake or beyond the limit is only passed over, so that the decoder
    /// stays in step. It is not even read: a byte on the wire may stand for 4 KiB of the table, and to read them each
    /// time would hold up the thread for half a second for every 128 KiB that a client sends.
    pub fn take(&mut self, name: &[u8], value: &[u8]) {
        self.size = self.size.saturating_add(name.len() + value.len() + FIELD_OVERHEAD);
        if self.size > self.limits.head {
            let is_target = name == b":path" && value.len() > self.limits.target;
            let error = if is_target { ParseHeadError::TargetTooLong } else { ParseHeadError::TooLarge };
            self.error.get_or_insert(error);
            return;
        }
        if self.error.is_none_or(|error| !matches!(error, ParseHeadError::Malformed(_)))
            && let Err(error) = self.check(name, value)
        {
            // What is malformed is that more than it is too large.
            if self.error.is_none() || matches!(error, ParseHeadError::Malformed(_)) {
                self.error = Some(error);
            }
        }
    }

    fn check(&mut self, name: &[u8], value: &[u8]) -> Result<(), ParseHeadError> {
        if !is_value(value) {
            return Err(ParseHeadError::Malformed(
                "a field value has a control byte or white space around it",
            ));
        }
        if name.first() == Some(&b':') {
            return self.pseudo(name, value);
        }
        self.seen.regular = true;
        if !is_lower_token(name) {
            return Err(ParseHeadError::Malformed("a field name is not a token in lower case"));
        }
        let known = Known::of(name);
        match known {
            Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::TransferEncoding
            | Known::Upgrade => {
                return Err(ParseHeadError::Malformed("a field of HTTP/1.1's connections"));
            }
            Known::Te if value != b"trailers" => {
                return Err(ParseHeadError::Malformed("TE is not `trailers`"));
            }
            _ if self.section == Section::Trailers && stands_in_head(known) => {
                return Err(ParseHeadError::Malformed("a trailer field that must stand in the head"));
            }
            _ => {}
        }
        if self.head.len() >= self.limits.fields {
            return Err(ParseHeadError::TooManyFields);
        }
        match known {
            Known::Cookie => self.add_cookie(value),
            Known::Host if self.section == Section::Request => self.add_host(value)?,
            _ => self.head.add(std::str::from_utf8(name).unwrap_or_default(), value),
        }
        Ok(())
    }

    /// RFC 9113 sections 8.3.1 and 8.3.2.
    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), ParseHeadError> {
        if self.seen.regular {
            return Err(ParseHeadError::Malformed("a pseudo-header field after a regular one"));
        }
        let seen = match (self.section, name) {
            (Section::Request, b":method") => &mut self.seen.method,
            (Section::Request, b":scheme") => &mut self.seen.scheme,
            (Section::Request, b":authority") => &mut self.seen.authority,
            (Section::Request, b":path") => &mut self.seen.path,
            (Section::Request, b":protocol") => &mut self.seen.protocol,
            (Section::Response, b":status") => &mut self.seen.status,
            _ => return Err(ParseHeadError::Malformed("a pseudo-header field that may not stand here")),
        };
        if std::mem::replace(seen, true) {
            return Err(ParseHeadError::Malformed("a pseudo-header field stands twice"));
        }
        match name {
            b":method" => {
                check_method(value)?;
                self.head.set_method(value);
            }
            b":scheme" if !value.eq_ignore_ascii_case(b"http") && !value.eq_ignore_ascii_case(b"https") => {
                return Err(ParseHeadError::Malformed("the scheme is neither http nor https"));
            }
            b":authority" if value.is_empty() || !is_authority(value) => {
                return Err(ParseHeadError::Malformed("Host is empty, has user information or is no host"));
            }
            b":authority" => self.head.add_known(Known::Host, value),
            b":path" if value.len() > self.limits.target => return Err(ParseHeadError::TargetTooLong),
            b":path" if !is_target(value) => {
                return Err(ParseHeadError::Malformed("the target has a byte that no target has"));
            }
            b":path" => self.head.set_target(value),
            b":protocol" if is_token(value) => self.protocol = value.to_vec(),
            b":protocol" => return Err(ParseHeadError::Malformed("the protocol is not a token")),
            b":status" => self.head.status = status(value)?,
            _ => {}
        }
        Ok(())
    }

    /// HTTP/2 may cut a cookie field into several for the sake of compression (RFC 9113 section 8.2.3).
    fn add_cookie(&mut self, value: &[u8]) {
        if !self.cookies.is_empty() {
            self.cookies.extend_from_slice(b"; ");
        }
        self.cookies.extend_from_slice(value);
    }

    /// Host beside `:authority` must say the same (RFC 9113 section 8.3.1).
    fn add_host(&mut self, value: &[u8]) -> Result<(), ParseHeadError> {
        if std::mem::replace(&mut self.seen.host, true) {
            return Err(ParseHeadError::Malformed("Host stands twice"));
        }
        match self.head.get(Known::Host) {
            Some(authority) if authority.eq_ignore_ascii_case(value) => Ok(()),
            Some(_) => Err(ParseHeadError::Malformed("Host is another than the authority")),
            None if value.is_empty() || !is_authority(value) => {
                Err(ParseHeadError::Malformed("Host is empty, has user information or is no host"))
            }
            None => {
                self.head.add_known(Known::Host, value);
                Ok(())
            }
        }
    }

    /// Ends a request's header list.
    pub fn finish_request(mut self, rest: Rest) -> Result<RequestFraming, ParseHeadError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.keep_cookies();
        let seen = self.seen;
        if !seen.method {
            return Err(ParseHeadError::Malformed("the method is missing"));
        }
        let method = self.head.method();
        if method == Method::Connect && !seen.protocol {
            let fine = seen.authority && !seen.path && !seen.scheme;
            return Err(if fine {
                ParseHeadError::Method
            } else {
                ParseHeadError::Malformed("CONNECT has an authority, and neither path nor scheme")
            });
        }
        if !(seen.path && seen.scheme) {
            return Err(ParseHeadError::Malformed("the target or the scheme is missing"));
        }
        if !self.head.has(Known::Host) {
            return Err(ParseHeadError::Malformed("Host is missing"));
        }
        match self.head.target() {
            [b'/', ..] => {}
            b"*" if method == Method::Options => {}
            _ => return Err(ParseHeadError::Malformed("the target is not a path")),
        }
        if method == Method::Trace {
            return Err(ParseHeadError::Method);
        }
        if seen.protocol {
            return self.extended_connect(method);
        }
        let expect_continue = match self.head.get(Known::Expect) {
            Some(value) if !value.eq_ignore_ascii_case(b"100-continue") => {
                return Err(ParseHeadError::Expectation);
            }
            expect => expect.is_some() && rest == Rest::More,
        };
        let body = match (content_length(self.head)?, rest) {
            (None | Some(0), Rest::Nothing) => Framing::Empty,
            (Some(_), Rest::Nothing) => {
                return Err(ParseHeadError::Malformed("the body is shorter than Content-Length"));
            }
            (Some(length), Rest::More) => Framing::Length(length),
            (None, Rest::More) => Framing::Chunked,
        };
        Ok(RequestFraming { body, keep_alive: true, expect_continue, upgrade: false })
    }

    /// The WebSocket of RFC 8441, as the upgrade that HTTP/1.1 has for it.
    fn extended_connect(self, method: Method) -> Result<RequestFraming, ParseHeadError> {
        if method != Method::Connect {
            return Err(ParseHeadError::Malformed("only CONNECT has a protocol"));
        }
        if content_length(self.head)?.is_some() {
            return Err(ParseHeadError::Malformed("CONNECT has a Content-Length"));
        }
        self.head.set_method(b"GET");
        self.head.add_known(Known::Upgrade, &self.protocol);
        Ok(RequestFraming { body: Framing::Empty, keep_alive: true, expect_continue: false, upgrade: true })
    }

    /// Ends a response's header list; `method` is the request's.
    pub fn finish_response(self, method: Method, rest: Rest) -> Result<ResponseFraming, ParseHeadError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let head = self.head;
        if !self.seen.status {
            return Err(ParseHeadError::Malformed("the status is missing"));
        }
        // RFC 9113 section 8.6: there is no such upgrade.
        if head.status == 101 {
            return Err(ParseHeadError::Malformed("101 does not exist in HTTP/2"));
        }
        let ended = rest == Rest::Nothing;
        if head.status < 200 {
            return if ended {
                Err(ParseHeadError::Malformed("an informational head ends the stream"))
            } else {
                Ok(ResponseFraming { body: Framing::Empty, keep_alive: true, keep_alive_timeout: None })
            };
        }
        let bodyless = method == Method::Head || matches!(head.status, 204 | 304);
        let body = match content_length(head)? {
            _ if bodyless => Framing::Empty,
            None | Some(0) if ended => Framing::Empty,
            Some(_) if ended => {
                return Err(ParseHeadError::Malformed("the body is shorter than Content-Length"));
            }
            Some(length) => Framing::Length(length),
            None => Framing::Chunked,
        };
        Ok(ResponseFraming { body, keep_alive: true, keep_alive_timeout: None })
    }

    pub fn finish_trailers(mut self) -> Result<(), ParseHeadError> {
        self.keep_cookies();
        self.error.map_or(Ok(()), Err)
    }

    fn keep_cookies(&mut self) {
        if !self.cookies.is_empty() {
            self.head.add("cookie", &self.cookies);
        }
    }
}

/// RFC 9113 section 8.2.1, and no control byte at all (RFC 9110 section 5.5).
fn is_value(value: &[u8]) -> bool {
    let around = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    !around(value.first()) && !around(value.last()) && has_no_control(value)
}

fn status(value: &[u8]) -> Result<u16, ParseHeadError> {
    match value {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            let digit = |byte: &u8| u16::from(*byte - b'0');
            Ok(digit(a) * 100 + digit(b) * 10 + digit(c))
        }
        _ => Err(ParseHeadError::Malformed("the status is not three digits")),
    }
}

/// Writes a request's header list. `protocol` makes it an extended CONNECT.
pub fn write_request(
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
    head: &Head,
    scheme: &str,
    protocol: Option<&[u8]>,
) {
    encoder.begin(out);
    let method = if protocol.is_some() { "CONNECT" } else { head.method_text() };
    encoder.field(out, b":method", method.as_bytes());
    encoder.field(out, b":scheme", scheme.as_bytes());
    if let Some(host) = head.get(Known::Host).filter(|host| !host.is_empty()) {
        encoder.field(out, b":authority", host);
    }
    encoder.field(out, b":path", head.target());
    if let Some(protocol) = protocol {
        encoder.field(out, b":protocol", protocol);
    }
    // A WebSocket over HTTP/2 has no key: the stream itself proves that both sides mean it (RFC 8441 section 5).
    let keeps =
        |known: Known| known != Known::Host && !(protocol.is_some() && known == Known::SecWebSocketKey);
    for field in head.iter().filter(|field| keeps(field.known)) {
        encoder.field(out, field.name.as_bytes(), field.value);
    }
}

/// Writes a response's header list.
pub fn write_response(encoder: &mut Encoder, out: &mut Vec<u8>, head: &Head) {
    encoder.begin(out);
    encoder.status(out, head.status);
    for field in head.iter() {
        encoder.field(out, field.name.as_bytes(), field.value);
    }
}

/// Writes a trailer section.
pub fn write_trailers(encoder: &mut Encoder, out: &mut Vec<u8>, trailers: &Head) {
    encoder.begin(out);
    for field in trailers.iter() {
        encoder.field(out, field.name.as_bytes(), field.value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { head: 1024, fields: 10, target: 64 };

    fn refused(fields: &[(&str, &str)]) -> Option<ParseHeadError> {
        let mut head = Head::new();
        let mut reader = Reader::new(&mut head, Section::Request, LIMITS);
        for (name, value) in fields {
            reader.take(name.as_bytes(), value.as_bytes());
        }
        reader.error
    }

    #[test]
    fn what_is_beyond_the_limit_is_not_even_read() {
        let long = "y".repeat(600);
        let malformed = ("x", "a\0b");
        assert_eq!(refused(&[("x", &long), ("x", &long), malformed]), Some(ParseHeadError::TooLarge));
        // Within it, what is malformed says so before what is too much does.
        assert!(matches!(
            refused(&[malformed, ("x", &long), ("x", &long)]),
            Some(ParseHeadError::Malformed(_))
        ));
        assert_eq!(refused(&[(":path", &long.repeat(2))]), Some(ParseHeadError::TargetTooLong));
    }
}
