//! Query parameters as route conditions see them: names and values decoded, `+` as a space.
//!
//! The syntax is that of forms (WHATWG URL, application/x-www-form-urlencoded): an escape that is none stands for
//! itself. Work is bounded by the target's own limit (`limits.uri`); a value of up to 256 bytes costs no allocation.

use smallvec::SmallVec;

/// Whether a parameter of this name has a value that `matches` says yes to.
pub(super) fn any_value(query: &[u8], name: &str, mut matches: impl FnMut(&[u8]) -> bool) -> bool {
    query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).any(|pair| {
        let (key, value) = match memchr::memchr(b'=', pair) {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &b""[..]),
        };
        decoded(key).eq(name.bytes()) && matches(&decoded(value).collect::<SmallVec<[u8; 256]>>())
    })
}

fn decoded(mut text: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let (&first, rest) = text.split_first()?;
        text = rest;
        match (first, rest) {
            (b'+', _) => Some(b' '),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    text = after;
                    Some(high << 4 | low)
                }
                _ => Some(b'%'),
            },
            _ => Some(first),
        }
    })
}

/// The value of a hexadecimal digit.
pub(super) fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(query: &str, name: &str, value: &str) -> bool {
        any_value(query.as_bytes(), name, |found| found == value.as_bytes())
    }

    #[test]
    fn parameters_are_compared_decoded() {
        assert!(has("a=1&b=2", "b", "2"));
        assert!(has("%61=%31", "a", "1"));
        assert!(has("q=one+two%20three", "q", "one two three"));
        assert!(has("a=1&a=2", "a", "2"));
        assert!(has("flag", "flag", ""));
        assert!(has("flag=&x", "flag", ""));
        assert!(has("q=a=b", "q", "a=b"));
        assert!(has("q=%zz%4", "q", "%zz%4"));
        assert!(has("a+b=1", "a b", "1"));
        assert!(!has("ab=1", "a", "1"));
        assert!(!has("A=1", "a", "1"));
        assert!(!has("", "", ""));
        assert!(!has("a=1", "b", ""));
    }
}
