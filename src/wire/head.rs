//! The one form of a message head for all protocols: compact, in order, names in the case they came in.
//!
//! All text lies in one arena that is kept from message to message, so that a head on a kept-alive
//! connection costs no allocation. Fields lie there as HTTP/1.1 writes them, so that neighbours go out
//! in one piece. It knows names and values, and none of their rules.

use std::fmt;

pub use super::known::{Known, Names};

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

    /// Empty for `Other`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::Other => "",
        }
    }

    /// Whether doing it twice is as good as once (RFC 9110 section 9.2.2).
    pub fn is_idempotent(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace)
    }
}

/// A piece of a head's arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Text {
    start: u32,
    length: u32,
}

/// A field in a head's arena: `Name: value` and CRLF.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    name_length: u32,
    value_length: u32,
    known: Known,
}

impl Entry {
    fn name(self) -> Text {
        Text { start: self.start, length: self.name_length }
    }

    fn value(self) -> Text {
        Text { start: self.start + self.name_length + 2, length: self.value_length }
    }

    /// Name and value with what stands between and behind them.
    fn line(self) -> Text {
        Text { start: self.start, length: self.name_length + self.value_length + 4 }
    }

    fn end(self) -> u32 {
        self.start + self.line().length
    }
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
    /// What may be among the entries: most questions are for fields that are not there.
    present: Names,
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
        self.present = Names::default();
        if self.arena.capacity() > 4096 {
            self.arena.shrink_to(4096);
        }
        if self.entries.capacity() > 64 {
            self.entries.shrink_to(64);
        }
        self.version = Version::Http11;
        self.method = Method::Get;
        (self.method_text, self.target, self.reason) = Default::default();
        self.status = 0;
    }

    /// Takes memory for a usual head at once, if it has none: growing with its fields would move it several times.
    pub fn make_room(&mut self) {
        if self.arena.capacity() == 0 {
            self.arena.reserve(512);
            self.entries.reserve(16);
        }
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
        match self.method.as_str() {
            "" => std::str::from_utf8(self.bytes(self.method_text)).unwrap_or_default(),
            text if self.status == 0 => text,
            _ => "",
        }
    }

    /// `text` is a token.
    pub fn set_method(&mut self, text: &[u8]) {
        self.method = Method::of(text);
        if self.method == Method::Other {
            self.method_text = self.store(text);
        }
    }

    /// Any but `Other`, which has no text.
    pub fn set_known_method(&mut self, method: Method) {
        self.method = method;
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

    /// All fields as HTTP/1.1 writes them, in few pieces: one for each run of fields that were stored one after the other.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.chunk_by(|one, next| one.end() == next.start).map(|run| match run {
            [first, .., last] => self.bytes(Text { start: first.start, length: last.end() - first.start }),
            [only] => self.bytes(only.line()),
            [] => &[],
        })
    }

    /// The first value of a known field.
    pub fn get(&self, known: Known) -> Option<&[u8]> {
        self.like(known).find(|entry| entry.known == known).map(|entry| self.bytes(entry.value()))
    }

    /// Every value of a known field, in order.
    pub fn all(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        self.like(known).filter(move |entry| entry.known == known).map(|entry| self.bytes(entry.value()))
    }

    pub fn has(&self, known: Known) -> bool {
        self.like(known).any(|entry| entry.known == known)
    }

    /// Entries among which those of a name are: none if there cannot be any.
    fn like(&self, known: Known) -> std::slice::Iter<'_, Entry> {
        if self.present.has(known) { self.entries.iter() } else { [].iter() }
    }

    /// Every value of a field by name, whatever the case.
    pub fn all_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let matches = |entry: &&Entry| self.bytes(entry.name()).eq_ignore_ascii_case(name.as_bytes());
        self.entries.iter().filter(matches).map(|entry| self.bytes(entry.value()))
    }

    /// Adds a field at the end. `name` is a token and `value` has no CR, LF or NUL: parsers and config checks see to it.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        self.push(name.as_bytes(), &[value], Known::of(name.as_bytes()));
    }

    /// Adds a field at the end under its usual spelling.
    pub fn add_known(&mut self, known: Known, value: &[u8]) {
        self.push_known(known, &[value]);
    }

    /// The same with a value in pieces.
    pub fn add_joined(&mut self, known: Known, pieces: &[&[u8]]) {
        self.push_known(known, pieces);
    }

    /// Replaces all fields of this name by one, at the place of the first.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.replace(name, value, Known::of(name.as_bytes()));
    }

    pub fn set_known(&mut self, known: Known, value: &[u8]) {
        match self.has(known) {
            true => self.replace(known.name(), value, known),
            false => self.push_known(known, &[value]),
        }
    }

    fn replace(&mut self, name: &str, value: &[u8], known: Known) {
        let place = |entry: &Entry| is_named(&self.arena, entry, name, known);
        let first = self.like(known).position(place);
        let Some(first) = first else {
            return self.push(name.as_bytes(), &[value], known);
        };
        // The name stays as it came.
        let (entry, start) = (self.entries[first], self.arena.len());
        self.arena.extend_from_within(entry.name().range());
        self.entries[first] = self.end_line(start, &[value], entry.known);
        let arena = &self.arena;
        let mut place = 0;
        self.entries.retain(|entry| {
            place += 1;
            place - 1 <= first || !is_named(arena, entry, name, known)
        });
    }

    /// Removes all fields of this name, whatever the case.
    pub fn remove(&mut self, name: &str) {
        let known = Known::of(name.as_bytes());
        let arena = &self.arena;
        self.entries.retain(|entry| !is_named(arena, entry, name, known));
    }

    pub fn remove_known(&mut self, known: Known) {
        if self.has(known) {
            self.entries.retain(|entry| entry.known != known);
        }
    }

    /// Keeps the fields that `keep` says yes to.
    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        let arena = &self.arena;
        self.entries.retain(|entry| keep(field(arena, entry)));
    }

    /// Removes all fields of these names.
    pub fn remove_all(&mut self, names: Names) {
        if !self.present.and(names).is_empty() {
            self.entries.retain(|entry| !names.has(entry.known));
            self.present = self.present.without(names);
        }
    }

    /// Removes the fields without rules whose name `is_bad`.
    pub fn remove_others(&mut self, is_bad: impl Fn(&[u8]) -> bool) {
        let arena = &self.arena;
        let is_one = |entry: &Entry| entry.known == Known::Other && is_bad(bytes(arena, entry.name()));
        if self.like(Known::Other).any(is_one) {
            self.entries.retain(|entry| !is_one(entry));
        }
    }

    /// Takes the bytes of a whole head over as HTTP/1.1 writes it. The places of its parts, counted from its first byte,
    /// are said before or after; the head was cleared before them.
    pub fn take_over(&mut self, bytes: &[u8]) {
        self.arena.extend_from_slice(bytes);
    }

    /// Where the target of a head that was taken over is.
    pub fn place_target(&mut self, start: usize, length: usize) {
        self.target = Text { start: start as u32, length: length as u32 };
    }

    /// Where its reason is.
    pub fn place_reason(&mut self, start: usize, length: usize) {
        self.reason = Text { start: start as u32, length: length as u32 };
    }

    /// Where its next field is: a name, a colon, one space, a value, and CRLF.
    pub fn place_field(&mut self, start: usize, name_length: usize, value_length: usize, known: Known) {
        self.present.insert(known);
        let (start, name_length, value_length) = (start as u32, name_length as u32, value_length as u32);
        self.entries.push(Entry { start, name_length, value_length, known });
    }

    #[inline]
    fn push_known(&mut self, known: Known, value: &[&[u8]]) {
        let (start, prefix) = (self.arena.len(), known.prefix());
        self.arena.extend_from_slice(prefix);
        value.iter().for_each(|piece| self.arena.extend_from_slice(piece));
        let value_length = self.arena.len() - start - prefix.len();
        self.arena.extend_from_slice(b"\r\n");
        self.place_field(start, prefix.len() - 2, value_length, known);
    }

    fn push(&mut self, name: &[u8], value: &[&[u8]], known: Known) {
        let start = self.arena.len();
        self.arena.extend_from_slice(name);
        let entry = self.end_line(start, value, known);
        self.present.insert(known);
        self.entries.push(entry);
    }

    /// Puts the rest of a line behind its name, which begins at `start`.
    fn end_line(&mut self, start: usize, value: &[&[u8]], known: Known) -> Entry {
        let name_length = (self.arena.len() - start) as u32;
        self.arena.extend_from_slice(b": ");
        let value_start = self.arena.len();
        value.iter().for_each(|piece| self.arena.extend_from_slice(piece));
        let value_length = (self.arena.len() - value_start) as u32;
        self.arena.extend_from_slice(b"\r\n");
        Entry { start: start as u32, name_length, value_length, known }
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
        self.present = other.present;
        (self.version, self.method, self.status) = (other.version, other.method, other.status);
        (self.method_text, self.target, self.reason) = (other.method_text, other.target, other.reason);
    }
}

impl Text {
    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..(self.start + self.length) as usize
    }
}

fn bytes(arena: &[u8], text: Text) -> &[u8] {
    arena.get(text.range()).unwrap_or_default()
}

fn field<'a>(arena: &'a [u8], entry: &Entry) -> Field<'a> {
    let name = std::str::from_utf8(bytes(arena, entry.name())).unwrap_or_default();
    Field { name, value: bytes(arena, entry.value()), known: entry.known }
}

fn is_named(arena: &[u8], entry: &Entry, name: &str, known: Known) -> bool {
    match known {
        Known::Other => {
            entry.known == Known::Other && bytes(arena, entry.name()).eq_ignore_ascii_case(name.as_bytes())
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
mod tests;
