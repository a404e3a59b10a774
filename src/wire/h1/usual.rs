//! Heads that are written as nearly all are, taken in one pass over their bytes.
//!
//! Usual is: a method that everyone knows and a path, or a status; `Name: value` and CRLF in every line, one space, no
//! control byte, nothing empty. What is written in another way is for httparse and the careful path to judge, and what
//! is taken here they would take in the same way: `request` and `response` have a test that holds both side by side.

use crate::wire::head::{Head, Known, Method, Version};
use crate::wire::rules::Limits;
use crate::wire::token::is_token;

/// Takes the head of a request that `bytes` begin with, up to the end that it says. Leaves `head` in disorder where it
/// takes none.
pub fn take_request(bytes: &[u8], limits: Limits, head: &mut Head) -> Option<usize> {
    let method_end = find(bytes, 0, Stop::Space)?;
    let method = Method::of(&bytes[..method_end]);
    if bytes[method_end] != b' ' || matches!(method, Method::Connect | Method::Trace | Method::Other) {
        return None;
    }
    let target_start = method_end + 1;
    let target_end = find(bytes, target_start, Stop::Target)?;
    let target = &bytes[target_start..target_end];
    // Beyond ASCII it has to be UTF-8, which the careful path sees to.
    if target.first() != Some(&b'/') || target.len() > limits.target || !target.is_ascii() {
        return None;
    }
    let rest = bytes.get(target_end..)?;
    let version = match rest {
        [b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b'\r', b'\n', ..] => Version::Http11,
        [b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0', b'\r', b'\n', ..] => Version::Http10,
        _ => return None,
    };
    let end = take_fields(bytes, target_end + 11, limits, head)?;
    head.version = version;
    head.place_target(target_start, target.len());
    head.set_known_method(method);
    Some(end)
}

/// The same for a response.
pub fn take_response(bytes: &[u8], limits: Limits, head: &mut Head) -> Option<usize> {
    let (version, digits) = match bytes {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ (b'0' | b'1'), b' ', digits @ ..] => {
            (if *minor == b'1' { Version::Http11 } else { Version::Http10 }, digits)
        }
        _ => return None,
    };
    let [hundreds @ b'1'..=b'9', tens @ b'0'..=b'9', ones @ b'0'..=b'9', b' ', ..] = digits else {
        return None;
    };
    let number = |digit: &u8| u16::from(digit - b'0');
    let reason_start = 13;
    let reason_end = find(bytes, reason_start, Stop::Control)?;
    let reason = bytes.get(reason_start..reason_end)?;
    // httparse leaves out what is not ASCII, and white space around a reason is nobody's habit.
    let is_plain = reason.first().is_none_or(u8::is_ascii_graphic)
        && reason.last().is_none_or(u8::is_ascii_graphic)
        && reason.is_ascii();
    if !is_plain || !ends_line(bytes, reason_end) {
        return None;
    }
    let end = take_fields(bytes, reason_end + 2, limits, head)?;
    head.version = version;
    head.status = number(hundreds) * 100 + number(tens) * 10 + number(ones);
    if !reason.is_empty() {
        head.place_reason(reason_start, reason.len());
    }
    Some(end)
}

/// Takes the fields, of which the first begins at `start`, and the empty line behind them.
fn take_fields(bytes: &[u8], start: usize, limits: Limits, head: &mut Head) -> Option<usize> {
    head.clear();
    let mut at = start;
    let mut left = limits.fields;
    while !ends_line(bytes, at) {
        left = left.checked_sub(1)?;
        let colon = find(bytes, at, Stop::Colon)?;
        let value = colon + 2;
        let value_end = find(bytes, value, Stop::Control)?;
        let (name, written) = (&bytes[at..colon], bytes.get(value..value_end)?);
        let is_usual = bytes.get(colon + 1) == Some(&b' ')
            && matches!((written.first(), written.last()), (Some(first), Some(last)) if *first > b' ' && *last > b' ')
            && ends_line(bytes, value_end);
        let known = Known::of(name);
        if !is_usual || (known == Known::Other && !is_token(name)) {
            return None;
        }
        head.place_field(at, name.len(), written.len(), known);
        at = value_end + 2;
    }
    let end = at + 2;
    if end > limits.head {
        return None;
    }
    head.take_over(&bytes[..end]);
    Some(end)
}

fn ends_line(bytes: &[u8], at: usize) -> bool {
    matches!(bytes.get(at..), Some([b'\r', b'\n', ..]))
}

/// The bytes at which a search ends.
#[derive(Clone, Copy)]
enum Stop {
    /// A space or a control byte.
    Space,
    /// What no target has (RFC 3986 section 2): white space, control bytes and `#`.
    Target,
    /// A colon.
    Colon,
    /// A control byte, tabs too.
    Control,
}

/// Where the first byte at or behind `from` is that ends the search; eight bytes are looked at in one step.
#[inline(always)]
fn find(bytes: &[u8], from: usize, stop: Stop) -> Option<usize> {
    let mut at = from;
    while let Some(&word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let hits = stop.hits(u64::from_le_bytes(word));
        if hits != 0 {
            return Some(at + hits.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    rest.iter().position(|byte| stop.hits(u64::from(*byte) | FILLED) != 0).map(|offset| at + offset)
}

const ONES: u64 = u64::MAX / 255;
/// Seven bytes that stop nothing, above one that may.
const FILLED: u64 = (ONES * b'a' as u64) << 8;

impl Stop {
    /// A bit for each byte that stops, and maybe for such as are above the first one.
    #[inline(always)]
    fn hits(self, word: u64) -> u64 {
        match self {
            Self::Space => below(word, b'!') | is(word, 0x7f),
            Self::Target => below(word, b'!') | is(word, 0x7f) | is(word, b'#'),
            Self::Colon => is(word, b':'),
            Self::Control => below(word, b' ') | is(word, 0x7f),
        }
    }
}

/// The high bit of each byte that is below `limit`, itself at most 0x80; above the first of them it may be wrong, since
/// the subtraction borrows.
#[inline(always)]
fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(limit)) & !word & (ONES << 7)
}

/// The same for each byte that is this one.
#[inline(always)]
fn is(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * u64::from(byte)), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stops(stop: Stop, byte: u8) -> bool {
        let control = byte < b' ' || byte == 0x7f;
        match stop {
            Stop::Space => control || byte == b' ',
            Stop::Target => control || matches!(byte, b' ' | b'#'),
            Stop::Colon => byte == b':',
            Stop::Control => control,
        }
    }

    proptest! {
        #[test]
        fn a_search_ends_where_one_byte_by_byte_does(bytes in prop::collection::vec(any::<u8>(), 0..40), from in 0..44usize) {
            for stop in [Stop::Space, Stop::Target, Stop::Colon, Stop::Control] {
                let slow = bytes.iter().enumerate().skip(from).find(|(_, byte)| stops(stop, **byte));
                prop_assert_eq!(find(&bytes, from, stop), slow.map(|(at, _)| at));
            }
        }

        #[test]
        fn a_long_run_without_a_stop_is_passed_over(length in 0..200usize, filler in b'a'..=b'z', end in 0..8usize) {
            let mut bytes = vec![filler; length];
            bytes.push(b"\r\n\t:# \x00\x7f"[end]);
            for stop in [Stop::Space, Stop::Target, Stop::Colon, Stop::Control] {
                let ends = stops(stop, bytes[length]);
                prop_assert_eq!(find(&bytes, 0, stop), ends.then_some(length));
            }
        }
    }
}
