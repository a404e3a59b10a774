//! The path that routes are matched on, and the proof that no spelling of it means two things.
//!
//! Servers read one raw path in different ways: nginx decodes `%2F`, Express decodes nothing, `new URL()` takes `//x/y`
//! for a host. A `NormalPath` holds the normal text and, where the raw path leaves room, each other reading. The table
//! looks all of them up: if two readings select different routes the request is refused, so the server can never see
//! another path than the one that was routed. What no honest client sends is refused here. Queries are not looked at.

use std::borrow::Cow;

use super::query::hex;

/// Most ways to read one path; honest ones have a few at most.
const MOST_READINGS: usize = 16;

/// A path that may be matched: made only by [`NormalPath::of`].
///
/// The text is `*` or starts with `/`, is UTF-8, holds no empty segment but a last one, no `.` or `..` segment, and no escape but
/// those of bytes that would be ambiguous decoded: `%25`, `%2F`, `%5C`, and bytes that are not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalPath<'a> {
    text: Cow<'a, str>,
    /// What else a server may take the raw path for; empty for nearly every request.
    others: Vec<String>,
    /// The raw path has empty or dot segments, so it cannot be cut as it is.
    pub(super) is_tangled: bool,
}

/// Why a path is refused, always with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the path does not start with a slash")]
    NotAbsolute,
    #[error("the path has a percent sign without two hexadecimal digits")]
    BadEscape,
    #[error("the path has a control character")]
    ControlCharacter,
    #[error("the path has a character that must be escaped")]
    BadCharacter,
    #[error("the path leads above its root")]
    AboveRoot,
    #[error("the path mixes dot segments with other tricks")]
    Tangled,
    #[error("the path can be read in too many ways")]
    TooManyReadings,
}

/// Cuts a request target in path and query (without the `?`).
pub fn split_target(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    }
}

impl<'a> NormalPath<'a> {
    /// Reads the path of an origin-form target, without its query (RFC 9112 section 3.2.1), or the `*` of OPTIONS, which
    /// only `/*`, regular expressions and routes without a path take. A path of plain characters is borrowed.
    pub fn of(raw: &'a [u8]) -> Result<Self, PathError> {
        let text = if raw == b"*" { Some("*") } else { plain(raw) };
        match text {
            Some(text) => Ok(Self { text: Cow::Borrowed(text), others: Vec::new(), is_tangled: false }),
            None => read(raw),
        }
    }

    /// The normal text, as exact and prefix matches and regular expressions see it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The normal text and every other reading, each once.
    pub fn readings(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.as_str()).chain(self.others.iter().map(String::as_str))
    }

    /// Whether every server reads the raw path alike.
    pub fn is_unambiguous(&self) -> bool {
        self.others.is_empty()
    }
}

/// Bytes that stand for themselves wherever they stand: printable ASCII but `%`, and `\ ? #` that no path has.
static PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        table[byte as usize] = !matches!(byte, b'%' | b'\\' | b'?' | b'#');
        byte += 1;
    }
    table
};

/// The text itself when nothing in it can be read in two ways.
fn plain(raw: &[u8]) -> Option<&str> {
    let (b'/', rest) = raw.split_first()? else { return None };
    let mut before = b'/';
    for &byte in rest {
        if !PLAIN[usize::from(byte)] || (before == b'/' && (byte == b'/' || byte == b'.')) {
            return None;
        }
        before = byte;
    }
    std::str::from_utf8(raw).ok()
}

fn read(raw: &[u8]) -> Result<NormalPath<'_>, PathError> {
    if raw.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    let decoded = unescape(raw, Escapes::Decoded)?;
    // A server that decodes nothing, as Express matches its routes.
    let literal = unescape(raw, Escapes::Literal)?;
    let dots = dots(&decoded, &literal)?;
    let mut readings = vec![remove_dots(&merge_slashes(&decoded))?];
    if decoded.contains("%2F") || decoded.contains("%5C") {
        push(&mut readings, decoded.replace("%2F", "/"));
        push(&mut readings, decoded.replace("%5C", "/"));
        push(&mut readings, decoded.replace("%2F", "/").replace("%5C", "/"));
    }
    let is_tangled = dots || decoded.contains("//");
    push(&mut readings, decoded);
    push(&mut readings, literal);
    add_treatments(&mut readings)?;
    let text = readings.remove(0);
    Ok(NormalPath { text: Cow::Owned(text), others: readings, is_tangled })
}

/// Adds what servers make of each reading, in whatever order they do it: slashes merged (nginx), dot segments removed
/// (RFC 3986), and after two slashes the segment dropped that the WHATWG URL parser takes for a host.
fn add_treatments(readings: &mut Vec<String>) -> Result<(), PathError> {
    let mut place = 0;
    while let Some(text) = readings.get(place).cloned() {
        push(readings, merge_slashes(&text));
        push(readings, remove_dots(&text)?);
        if text.starts_with("//") {
            let authority = text.trim_start_matches('/');
            push(readings, authority.find('/').map_or("/", |at| &authority[at..]).to_owned());
        }
        if readings.len() > MOST_READINGS {
            return Err(PathError::TooManyReadings);
        }
        place += 1;
    }
    Ok(())
}

fn push(readings: &mut Vec<String>, text: String) {
    if !readings.contains(&text) {
        readings.push(text);
    }
}

fn merge_slashes(text: &str) -> String {
    let mut merged = String::with_capacity(text.len());
    for character in text.chars() {
        if character != '/' || !merged.ends_with('/') {
            merged.push(character);
        }
    }
    merged
}

/// Which escapes are decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// All that stand for one clear character.
    Decoded,
    /// Of these, those alone that could not be written otherwise.
    Literal,
}

/// Decodes once; `%25`, `%2F`, `%5C` and bytes that are not UTF-8 stay escapes, in upper case, so that each text has one
/// meaning and a regular expression's `.` misses nothing.
fn unescape(raw: &[u8], escapes: Escapes) -> Result<String, PathError> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let &[high, low, ref after @ ..] = after else { return Err(PathError::BadEscape) };
                let (Some(high), Some(low)) = (hex(high), hex(low)) else { return Err(PathError::BadEscape) };
                rest = after;
                let byte = high << 4 | low;
                let stays = matches!(byte, b'%' | b'/' | b'\\');
                match byte {
                    0..0x20 | 0x7f => return Err(PathError::ControlCharacter),
                    _ if stays || (escapes == Escapes::Literal && is_path_character(byte)) => {
                        push_escape(&mut bytes, byte);
                    }
                    _ => bytes.push(byte),
                }
            }
            0..0x20 | 0x7f => return Err(PathError::ControlCharacter),
            b' ' | b'\\' | b'?' | b'#' => return Err(PathError::BadCharacter),
            _ => bytes.push(byte),
        }
    }
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => error.into_bytes(),
    };
    let mut text = Vec::with_capacity(bytes.len() * 2);
    for chunk in bytes.utf8_chunks() {
        text.extend_from_slice(chunk.valid().as_bytes());
        chunk.invalid().iter().for_each(|byte| push_escape(&mut text, *byte));
    }
    Ok(String::from_utf8(text).unwrap_or_default())
}

/// `pchar` of RFC 3986 section 3.3: what a segment may hold without an escape.
fn is_path_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte)
}

fn push_escape(text: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

/// Normal text as a raw path: what a path cannot hold is escaped again.
pub(super) fn escape(text: &str) -> Vec<u8> {
    let mut raw = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        // Every `%` of a normal text begins an escape already.
        if is_path_character(byte) || byte == b'/' || byte == b'%' {
            raw.push(byte);
        } else {
            push_escape(&mut raw, byte);
        }
    }
    raw
}

/// One raw segment, without slashes, as normal text has it.
pub(super) fn segment_is(raw: &[u8], normal: &str) -> bool {
    raw == normal.as_bytes() || unescape(raw, Escapes::Decoded).is_ok_and(|text| text == normal)
}

/// Whether the path has `.` or `..` segments. Browsers and URL libraries remove them before sending, so they are taken
/// only in their simplest form: all of one spelling, and with no encoded separator in the path, since the order of
/// treatment would decide where they lead. `..;`, which Java servers take for `..`, and dots escaped twice are refused everywhere.
fn dots(decoded: &str, literal: &str) -> Result<bool, PathError> {
    let is_dots = |segment: &&str| matches!(*segment, "." | "..");
    let finest = decoded.replace("%2F", "/").replace("%5C", "/");
    let twice = finest.replace("%252e", ".").replace("%252E", ".");
    let count = |text: &str| segments(text).filter(is_dots).count();
    let is_twice = count(&twice) != count(&finest);
    if is_twice || segments(&finest).any(|piece| piece.starts_with("..;") || piece.starts_with(".;")) {
        return Err(PathError::Tangled);
    }
    if count(&finest) == 0 {
        return Ok(false);
    }
    let (all, plain) = (count(decoded), count(literal));
    let has_encoded_separators = finest.len() != decoded.len();
    if (plain != 0 && plain != all) || has_encoded_separators {
        return Err(PathError::Tangled);
    }
    Ok(true)
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').skip(1)
}

/// RFC 3986 section 5.2.4, but a path that leads above its root is refused.
fn remove_dots(path: &str) -> Result<String, PathError> {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for segment in segments(path) {
        let dots = segment.replace("%2E", ".");
        ends_open = true;
        match dots.as_str() {
            "." => {}
            ".." => {
                kept.pop().ok_or(PathError::AboveRoot)?;
            }
            _ => {
                kept.push(segment);
                ends_open = false;
            }
        }
    }
    let mut text: String = kept.iter().flat_map(|segment| ["/", segment]).collect();
    if ends_open || text.is_empty() {
        text.push('/');
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
