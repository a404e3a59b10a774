//! What heads of requests and responses have in common: where they end, and their fields.
//!
//! httparse does the reading of lines; the rules it leaves open are closed here and in `request`, `response`.

use std::mem::MaybeUninit;

use memchr::memchr;

use crate::wire::head::Head;
use crate::wire::rules::ParseHeadError;

/// Fields that are parsed without an allocation: as many as a server may send.
const FIELDS_ON_STACK: usize = 256;

/// Finds the end of a head in `bytes`; `scanned` remembers how far earlier calls came.
///
/// Lines end in CRLF alone. A bare LF is taken for a line end by some parsers and not by others, so it is refused
/// (RFC 9112 section 2.2 leaves the choice).
pub fn find_end(bytes: &[u8], scanned: &mut usize) -> Result<Option<usize>, ParseHeadError> {
    while let Some(offset) = bytes.get(*scanned..).and_then(|rest| memchr(b'\n', rest)) {
        let at = *scanned + offset;
        if at == 0 || bytes[at - 1] != b'\r' {
            return Err(ParseHeadError::Malformed("a line ends in LF without CR"));
        }
        *scanned = at + 1;
        if at == 1 || (at > 2 && bytes[at - 2] == b'\n') {
            return Ok(Some(at + 1));
        }
    }
    *scanned = bytes.len();
    Ok(None)
}

/// Room for the fields that httparse finds: on the stack for usual limits.
pub fn with_field_room<'bytes, T>(
    fields: usize,
    parse: impl FnOnce(&mut [MaybeUninit<httparse::Header<'bytes>>]) -> T,
) -> T {
    if fields <= FIELDS_ON_STACK {
        parse(&mut [const { MaybeUninit::uninit() }; FIELDS_ON_STACK][..fields])
    } else {
        parse(&mut vec![MaybeUninit::uninit(); fields])
    }
}

/// Copies the fields of a parsed head.
pub fn copy_fields(fields: &[httparse::Header<'_>], head: &mut Head) -> Result<(), ParseHeadError> {
    for field in fields {
        // httparse keeps white space at the end of a value in some versions.
        let value = field.value.trim_ascii_end();
        if value.iter().any(|byte| matches!(byte, b'\0' | b'\r' | b'\n')) {
            return Err(ParseHeadError::Malformed("a field value has a control byte"));
        }
        head.add(field.name, value);
    }
    Ok(())
}

/// What httparse's errors mean here.
pub fn explain(error: httparse::Error) -> ParseHeadError {
    use httparse::Error;
    match error {
        Error::TooManyHeaders => ParseHeadError::TooManyFields,
        Error::Version => ParseHeadError::Version,
        Error::HeaderName => ParseHeadError::Malformed("a field name is not a token followed by a colon"),
        Error::HeaderValue => ParseHeadError::Malformed("a field value has a control byte"),
        Error::NewLine => ParseHeadError::Malformed("a line does not end in CRLF"),
        Error::Status => ParseHeadError::Malformed("the status is not three digits"),
        Error::Token => ParseHeadError::Malformed("the first line is not method, target and version"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_wherever_the_bytes_are_cut() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        for cut in 0..head.len() {
            let mut scanned = 0;
            let early = find_end(&head[..cut], &mut scanned).unwrap();
            assert_eq!(early.is_some(), cut >= head.len() - 4, "{cut}");
            if early.is_none() {
                assert_eq!(find_end(head, &mut scanned).unwrap(), Some(head.len() - 4));
            }
        }
    }

    #[test]
    fn a_bare_line_feed_is_refused_at_once() {
        let mut scanned = 0;
        assert!(find_end(b"GET / HTTP/1.1\nHost", &mut scanned).is_err());
    }
}
