//! The one form of a message head for all protocols: compact, in order, names in the case they came in.
//!
//! All text lies in one arena that is kept from message to message, so that a head on a kept-alive
//! connection costs no allocation. It knows names and values, and none of their rules.

use std::fmt;

/// Protocol version a message came in by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Http10,
    #[default]
    Http11,
    Http2,
}

impl Version {
    /// As access logs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
        }
    }
}

/// Request methods (RFC 9110 section 9.3, RFC 5789); any other token is `Other`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    Other,
}

impl Method {
    /// Methods are case-sensitive (RFC 9110 section 9.1).
    pub fn of(text: &[u8]) -> Self {
        match text {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }

    /// Whether doing it twice is as good as once (RFC 9110 section 9.2.2).
    pub fn is_idempotent(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace)
    }
}

macro_rules! known {
    ($($variant:ident = $name:literal,)*) => {
        /// Field names that some rule looks at, resolved once when a field enters a head.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Known { $($variant,)* Other }

        impl Known {
            const ALL: &'static [(Known, &'static str)] = &[$((Known::$variant, $name),)*];

            /// The usual spelling; empty for `Other`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* Self::Other => "" }
            }
        }
    };
}

known! {
    Host = "Host",
    ContentLength = "Content-Length",
    TransferEncoding = "Transfer-Encoding",
    Connection = "Connection",
    KeepAlive = "Keep-Alive",
    ProxyConnection = "Proxy-Connection",
    Te = "TE",
    Trailer = "Trailer",
    Upgrade = "Upgrade",
    Expect = "Expect",
    ProxyAuthorization = "Proxy-Authorization",
    ProxyAuthenticate = "Proxy-Authenticate",
    ProxyAuthenticationInfo = "Proxy-Authentication-Info",
    Http2Settings = "HTTP2-Settings",
    XForwardedFor = "X-Forwarded-For",
    XForwardedProto = "X-Forwarded-Proto",
    XForwardedHost = "X-Forwarded-Host",
    XForwardedPort = "X-Forwarded-Port",
    XRealIp = "X-Real-IP",
    Forwarded = "Forwarded",
    Via = "Via",
    XRequestId = "X-Request-Id",
    Cookie = "Cookie",
    SetCookie = "Set-Cookie",
    UserAgent = "User-Agent",
    Referer = "Referer",
    Date = "Date",
    Server = "Server",
    ContentType = "Content-Type",
    ContentEncoding = "Content-Encoding",
    AcceptEncoding = "Accept-Encoding",
    Location = "Location",
    RetryAfter = "Retry-After",
    SecWebSocketKey = "Sec-WebSocket-Key",
    SecWebSocketVersion = "Sec-WebSocket-Version",
    SecWebSocketAccept = "Sec-WebSocket-Accept",
    ClientCertSubject = "X-Client-Cert-Subject",
    ClientCertFingerprint = "X-Client-Cert-Fingerprint",
    ClientCertVerified = "X-Client-Cert-Verified",
}

const LONGEST_KNOWN: usize = 26;

type Names = Vec<(Known, &'static [u8])>;

/// For each length of a name, the known names that long.
static BY_LENGTH: std::sync::LazyLock<[Names; LONGEST_KNOWN + 1]> = std::sync::LazyLock::new(|| {
    let mut by_length = [const { Vec::new() }; LONGEST_KNOWN + 1];
    for (known, name) in Known::ALL {
        by_length[name.len()].push((*known, name.as_bytes()));
    }
    by_length
});

impl Known {
    /// Looks a name up, whatever its case.
    pub fn of(name: &[u8]) -> Self {
        let Some(same_length) = BY_LENGTH.get(name.len()) else { return Self::Other };
        same_length
            .iter()
            .find(|(_, known)| known.eq_ignore_ascii_case(name))
            .map_or(Self::Other, |(k, _)| *k)
    }
}

/// A piece of a head's arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Text {
    start: u32,
    length: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name: Text,
    value: Text,
    known: Known,
}

/// One field as it is read from a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// In the case it came in; always a token (RFC 9110 section 5.6.2), so always ASCII.
    pub name: &'a str,
    /// Without white space around it; may hold bytes above 0x7f.
    pub value: &'a [u8],
    pub known: Known,
}

/// A request's or a response's head.
#[derive(Default)]
pub struct Head {
    arena: Vec<u8>,
    entries: Vec<Entry>,
    pub version: Version,
    method: Method,
    method_text: Text,
    target: Text,
    /// 0 in a request.
    pub status: u16,
    reason: Text,
}

impl Head {
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything but the memory it holds, up to a page of it.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.entries.clear();
        self.arena.shrink_to(4096);
        self.entries.shrink_to(64);
        self.version = Version::Http11;
        self.method = Method::Get;
        (self.method_text, self.target, self.reason) = Default::default();
        self.status = 0;
    }

    /// A fresh response head.
    pub fn response(status: u16, reason: &str) -> Self {
        let mut head = Self::new();
        head.status = status;
        head.set_reason(reason.as_bytes());
        head
    }

    pub fn method(&self) -> Method {
        self.method
    }

    pub fn method_text(&self) -> &str {
        std::str::from_utf8(self.bytes(self.method_text)).unwrap_or_default()
    }

    /// `text` is a token.
    pub fn set_method(&mut self, text: &[u8]) {
        self.method = Method::of(text);
        self.method_text = self.store(text);
    }

    /// Path and query as the client sent them, or `*`; printable ASCII and bytes above 0x7f as they came.
    pub fn target(&self) -> &[u8] {
        self.bytes(self.target)
    }

    pub fn set_target(&mut self, target: &[u8]) {
        self.target = self.store(target);
    }

    pub fn reason(&self) -> &[u8] {
        self.bytes(self.reason)
    }

    pub fn set_reason(&mut self, reason: &[u8]) {
        self.reason = self.store(reason);
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.entries.iter().map(|entry| self.field(entry))
    }

    /// The first value of a known field.
    pub fn get(&self, known: Known) -> Option<&[u8]> {
        self.entries.iter().find(|entry| entry.known == known).map(|entry| self.bytes(entry.value))
    }

    /// Every value of a known field, in order.
    pub fn all(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().filter(move |entry| entry.known == known).map(|entry| self.bytes(entry.value))
    }

    pub fn has(&self, known: Known) -> bool {
        self.entries.iter().any(|entry| entry.known == known)
    }

    /// Every value of a field by name, whatever the case.
    pub fn all_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let matches = |entry: &&Entry| self.bytes(entry.name).eq_ignore_ascii_case(name.as_bytes());
        self.entries.iter().filter(matches).map(|entry| self.bytes(entry.value))
    }

    /// Adds a field at the end. `name` is a token and `value` has no CR, LF or NUL: parsers and config checks see to it.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        self.push(name.as_bytes(), value, Known::of(name.as_bytes()));
    }

    /// Adds a field at the end under its usual spelling.
    pub fn add_known(&mut self, known: Known, value: &[u8]) {
        self.push(known.name().as_bytes(), value, known);
    }

    /// Replaces all fields of this name by one, at the place of the first.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        let known = Known::of(name.as_bytes());
        let first = self.entries.iter().position(|entry| self.is_named(entry, name, known));
        let Some(first) = first else { return self.push(name.as_bytes(), value, known) };
        let value = self.store(value);
        self.entries[first].value = value;
        let arena = &self.arena;
        let mut place = 0;
        self.entries.retain(|entry| {
            place += 1;
            place - 1 <= first || !is_named(arena, entry, name, known)
        });
    }

    pub fn set_known(&mut self, known: Known, value: &[u8]) {
        self.set(known.name(), value);
    }

    /// Removes all fields of this name, whatever the case.
    pub fn remove(&mut self, name: &str) {
        let known = Known::of(name.as_bytes());
        let arena = &self.arena;
        self.entries.retain(|entry| !is_named(arena, entry, name, known));
    }

    pub fn remove_known(&mut self, known: Known) {
        self.entries.retain(|entry| entry.known != known);
    }

    /// Keeps the fields that `keep` says yes to.
    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        let arena = &self.arena;
        self.entries.retain(|entry| keep(field(arena, entry)));
    }

    fn push(&mut self, name: &[u8], value: &[u8], known: Known) {
        let (name, value) = (self.store(name), self.store(value));
        self.entries.push(Entry { name, value, known });
    }

    /// Arena offsets are 32 bit: head limits keep arenas far below that.
    fn store(&mut self, text: &[u8]) -> Text {
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(text);
        Text { start, length: text.len() as u32 }
    }

    fn bytes(&self, text: Text) -> &[u8] {
        bytes(&self.arena, text)
    }

    fn field(&self, entry: &Entry) -> Field<'_> {
        field(&self.arena, entry)
    }

    fn is_named(&self, entry: &Entry, name: &str, known: Known) -> bool {
        is_named(&self.arena, entry, name, known)
    }
}

impl Clone for Head {
    fn clone(&self) -> Self {
        let mut head = Self::new();
        head.clone_from(self);
        head
    }

    /// Keeps the memory that is there.
    fn clone_from(&mut self, other: &Self) {
        self.arena.clone_from(&other.arena);
        self.entries.clone_from(&other.entries);
        (self.version, self.method, self.status) = (other.version, other.method, other.status);
        (self.method_text, self.target, self.reason) = (other.method_text, other.target, other.reason);
    }
}

fn bytes(arena: &[u8], text: Text) -> &[u8] {
    arena.get(text.start as usize..(text.start + text.length) as usize).unwrap_or_default()
}

fn field<'a>(arena: &'a [u8], entry: &Entry) -> Field<'a> {
    let name = std::str::from_utf8(bytes(arena, entry.name)).unwrap_or_default();
    Field { name, value: bytes(arena, entry.value), known: entry.known }
}

fn is_named(arena: &[u8], entry: &Entry, name: &str, known: Known) -> bool {
    match known {
        Known::Other => {
            entry.known == Known::Other && bytes(arena, entry.name).eq_ignore_ascii_case(name.as_bytes())
        }
        _ => entry.known == known,
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shape = f.debug_struct("Head");
        if self.status == 0 {
            shape
                .field("method", &self.method_text())
                .field("target", &String::from_utf8_lossy(self.target()));
        } else {
            shape.field("status", &self.status);
        }
        // Values may be secrets (cookies, tokens): names only.
        shape.field("fields", &self.iter().map(|field| field.name).collect::<Vec<_>>()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(head: &Head) -> Vec<String> {
        head.iter().map(|f| format!("{}={}", f.name, String::from_utf8_lossy(f.value))).collect()
    }

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for (known, name) in Known::ALL {
            assert!(name.len() <= LONGEST_KNOWN, "{name}");
            assert_eq!(Known::of(name.to_ascii_lowercase().as_bytes()), *known);
            assert_eq!(Known::of(name.to_ascii_uppercase().as_bytes()), *known);
        }
        assert_eq!(Known::of(b"x-unknown"), Known::Other);
        assert_eq!(Known::of(&[b'a'; 300]), Known::Other);
    }

    #[test]
    fn set_keeps_the_first_place_and_drops_the_rest() {
        let mut head = Head::new();
        for (name, value) in [("A", "1"), ("x-b", "2"), ("HOST", "h"), ("X-B", "3"), ("c", "4")] {
            head.add(name, value.as_bytes());
        }
        head.set("X-b", b"9");
        head.set_known(Known::Host, b"z");
        head.set("new", b"5");
        assert_eq!(names(&head), ["A=1", "x-b=9", "HOST=z", "c=4", "new=5"]);
        head.remove("a");
        head.remove_known(Known::Host);
        assert_eq!(names(&head), ["x-b=9", "c=4", "new=5"]);
        assert_eq!(head.all_named("C").collect::<Vec<_>>(), [b"4"]);
        head.clear();
        assert!(head.is_empty() && head.target().is_empty());
    }
}
