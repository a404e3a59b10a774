//! Heads as plain values, and a slow plain reading of HTTP/1.1 to hold those of Lintel against.

use lintel::proxy::forward::{Facts, prepare_request};
use lintel::wire::body::Framing;
use lintel::wire::h1::{ClientConnection, request};
use lintel::wire::head::{Head, Known};
use lintel::wire::rules::Limits;

use crate::memory::{Memory, drive};

/// Name and value.
pub type Fields = Vec<(String, Vec<u8>)>;

/// No limits to speak of.
pub const WIDE: Limits = Limits { head: 1 << 22, fields: 4096, target: 1 << 20 };

/// A head as a plain value that can be compared and shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plain {
    pub version: &'static str,
    pub method: String,
    pub target: Vec<u8>,
    pub status: u16,
    pub reason: Vec<u8>,
    pub fields: Fields,
}

pub fn fields(head: &Head) -> Fields {
    head.iter().map(|field| (field.name.to_owned(), field.value.to_vec())).collect()
}

impl Plain {
    pub fn of(head: &Head) -> Self {
        Self {
            version: head.version.as_str(),
            method: head.method_text().to_owned(),
            target: head.target().to_vec(),
            status: head.status,
            reason: head.reason().to_vec(),
            fields: fields(head),
        }
    }
}

/// A head cut at its line ends and colons and nothing else; panics where it is not by the letter of RFC 9112.
pub fn cut_head(bytes: &[u8]) -> (Vec<u8>, Fields) {
    let text = bytes.strip_suffix(b"\r\n\r\n").expect("a head ends in an empty line");
    let mut lines = Vec::new();
    let mut start = 0;
    for at in 0..text.len().saturating_sub(1) {
        if &text[at..at + 2] == b"\r\n" {
            lines.push(&text[start..at]);
            start = at + 2;
        }
    }
    lines.push(&text[start..]);
    for line in &lines {
        let clean = line.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
        assert!(clean, "a control byte in a line: {:?}", String::from_utf8_lossy(line));
    }
    let field = |line: &&[u8]| {
        let colon = line.iter().position(|byte| *byte == b':').expect("a field has a colon");
        let name = &line[..colon];
        assert!(is_token(name), "a name that is no token: {:?}", String::from_utf8_lossy(name));
        (String::from_utf8(name.to_vec()).expect("a token"), line[colon + 1..].trim_ascii().to_vec())
    };
    (lines[0].to_vec(), lines[1..].iter().map(field).collect())
}

pub fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

pub fn values<'a>(fields: &'a Fields, name: &str) -> Vec<&'a [u8]> {
    fields.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| &value[..]).collect()
}

/// How a body is framed, by a reading of the fields that knows no exceptions; panics where two readings are possible.
pub fn framing_of(fields: &Fields) -> Framing {
    match (&values(fields, "transfer-encoding")[..], &values(fields, "content-length")[..]) {
        ([], []) => Framing::Empty,
        ([coding], []) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked"), "a coding other than chunked went on");
            Framing::Chunked
        }
        ([], [length]) => {
            assert!(
                !length.is_empty() && length.iter().all(u8::is_ascii_digit),
                "a length that is no number"
            );
            let length = String::from_utf8_lossy(length).parse().expect("a length that fits");
            if length == 0 { Framing::Empty } else { Framing::Length(length) }
        }
        _ => panic!("more than one field says how long the body is"),
    }
}

/// What Lintel would send a server for this request: one head, framed as the client's, that it would itself accept.
pub fn check_onward(head: &Head, body: Framing) {
    let host = head.get(Known::Host).unwrap_or_default().to_vec();
    // By HTTP/2 a body of no bytes can be announced and then sent.
    let wanted = if body == Framing::Length(0) { Framing::Empty } else { body };
    for trusted in [false, true] {
        let mut outgoing = Head::new();
        prepare_request(head, &mut outgoing, &facts(&host, trusted, body));
        let (memory, stream) = Memory::ending(Vec::new());
        let mut server = ClientConnection::boxed(stream);
        server.write_head(&outgoing, body, None);
        let flushed = drive(&memory, |cx| server.poll_flush(cx)).expect("memory takes everything");
        assert!(flushed.is_ok());
        let bytes = memory.take_written();
        let (line, sent) = cut_head(&bytes);
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        assert_eq!(
            words,
            [head.method_text().as_bytes(), head.target(), b"HTTP/1.1"],
            "the line has other words"
        );
        assert_eq!(framing_of(&sent), wanted, "another framing went on: {}", String::from_utf8_lossy(&bytes));
        assert_eq!(values(&sent, "host"), [&host[..]], "another Host went on");
        for name in ["connection", "te", "keep-alive", "upgrade", "proxy-authorization", "http2-settings"] {
            assert!(values(&sent, name).is_empty(), "{name} went on");
        }
        let mut again = Head::new();
        let read = request::parse(&bytes, WIDE, &mut again);
        let read = read.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&bytes)));
        assert_eq!(read.body, wanted);
    }
}

pub fn facts(host: &[u8], trusted: bool, body: Framing) -> Facts<'_> {
    Facts {
        peer: Some(std::net::IpAddr::from([192, 0, 2, 7])),
        trusted,
        scheme: "https",
        host,
        port: 443,
        request_id: "0123456789abcdef0123456789abcdef",
        pseudonym: "lintel-fuzz",
        certificate: None,
        keep_expect: false,
        chunked: body == Framing::Chunked,
        http2: false,
        told: lintel::pool::forwarded::names(&lintel::pool::forwarded::ForwardedHeader::ALL),
    }
}
