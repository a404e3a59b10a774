//! The chunked coding read piece by piece (RFC 9112 section 7.1), by the letter.
//!
//! ```text
//! Size --size > 0--> Bytes --all taken--> BytesEnd --CRLF--> Size
//!   \--size = 0--> Trailers --empty line--> End
//! ```

use memchr::memchr;

use super::parse::{copy_fields, explain, find_end};
use crate::wire::body::ReadBodyError;
use crate::wire::head::Head;
use crate::wire::rules::{ParseHeadError, stands_in_head};

/// Longest size line with its extensions.
const SIZE_LINE: usize = 1024;
/// Bytes of extensions in a whole body: nobody uses them but to make parsers work.
const EXTENSIONS: usize = 16 * 1024;
/// Bytes and fields of the trailer section.
const TRAILERS: usize = 8 * 1024;
const TRAILER_FIELDS: usize = 64;

/// Where the decoder is.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    extensions_left: usize,
}

#[derive(Debug)]
enum State {
    Size,
    Bytes { left: u64 },
    BytesEnd,
    Trailers { scanned: usize },
    End,
}

/// What the bytes at hand come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The first so many bytes belong to the body; `Decoder::take` says how many were taken.
    Bytes(usize),
    /// The first so many bytes are framing; drop them and ask again.
    Skip(usize),
    /// Nothing can be said without more bytes; so many must fit the buffer.
    More(usize),
    /// The body is over; the first so many bytes were its last framing.
    End(usize),
}

impl Default for Decoder {
    fn default() -> Self {
        Self { state: State::Size, extensions_left: EXTENSIONS }
    }
}

impl Decoder {
    /// Looks at the bytes at hand. Trailer fields are put into `trailers`.
    pub fn step(&mut self, bytes: &[u8], trailers: &mut Option<Box<Head>>) -> Result<Step, ReadBodyError> {
        match &mut self.state {
            State::Size => self.size_line(bytes),
            State::Bytes { left } if bytes.is_empty() => {
                Ok(Step::More(usize::try_from(*left).unwrap_or(usize::MAX)))
            }
            State::Bytes { left } => {
                Ok(Step::Bytes(bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX))))
            }
            State::BytesEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    self.state = State::Size;
                    Ok(Step::Skip(2))
                }
                [] | [b'\r'] => Ok(Step::More(2)),
                _ => Err(ReadBodyError::Malformed("a chunk is longer than its size")),
            },
            State::Trailers { scanned } => {
                let end = find_end(bytes, scanned).map_err(|_| BAD_TRAILERS)?;
                let Some(end) = end else {
                    return if bytes.len() >= TRAILERS {
                        Err(BAD_TRAILERS)
                    } else {
                        Ok(Step::More(TRAILERS))
                    };
                };
                // More may be at hand than would have been waited for.
                if end > TRAILERS {
                    return Err(BAD_TRAILERS);
                }
                *trailers = parse_trailers(&bytes[..end]).map_err(|_| BAD_TRAILERS)?;
                self.state = State::End;
                Ok(Step::End(end))
            }
            State::End => Ok(Step::End(0)),
        }
    }

    /// Says that `count` bytes of the body were taken.
    pub fn take(&mut self, count: usize) {
        if let State::Bytes { left } = &mut self.state {
            *left = left.saturating_sub(count as u64);
            if *left == 0 {
                self.state = State::BytesEnd;
            }
        }
    }

    fn size_line(&mut self, bytes: &[u8]) -> Result<Step, ReadBodyError> {
        let Some(line_feed) = memchr(b'\n', &bytes[..bytes.len().min(SIZE_LINE)]) else {
            // What is there already may be wrong enough.
            return match bytes.first() {
                Some(first) if !first.is_ascii_hexdigit() => Err(BAD_SIZE),
                _ if bytes.len() >= SIZE_LINE => {
                    Err(ReadBodyError::Malformed("a chunk's size line is too long"))
                }
                _ => Ok(Step::More(SIZE_LINE)),
            };
        };
        let line = bytes[..line_feed].strip_suffix(b"\r").ok_or(BAD_SIZE)?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (size, extensions) = line.split_at(digits);
        check_extensions(extensions)?;
        self.extensions_left = self
            .extensions_left
            .checked_sub(extensions.len())
            .ok_or(ReadBodyError::Malformed("too many chunk extensions"))?;
        let size = parse_size(size).ok_or(BAD_SIZE)?;
        self.state = if size == 0 { State::Trailers { scanned: 0 } } else { State::Bytes { left: size } };
        Ok(Step::Skip(line_feed + 1))
    }
}

const BAD_SIZE: ReadBodyError = ReadBodyError::Malformed("a chunk's size is not a hexadecimal number");
const BAD_TRAILERS: ReadBodyError =
    ReadBodyError::Malformed("the trailer fields are malformed, forbidden or too large");

fn parse_size(digits: &[u8]) -> Option<u64> {
    // 15 digits cannot overflow, and no body has more.
    if digits.is_empty() || digits.len() > 15 {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// `*( BWS ";" ... )`: anything printable once a semicolon has come.
fn check_extensions(extensions: &[u8]) -> Result<(), ReadBodyError> {
    let printable =
        extensions.iter().all(|byte| *byte == b'\t' || (b' '..0x7f).contains(byte) || *byte >= 0x80);
    let opened = extensions.trim_ascii_start().first().is_none_or(|first| *first == b';');
    if printable && opened && (extensions.is_empty() || extensions.contains(&b';')) {
        Ok(())
    } else {
        Err(BAD_SIZE)
    }
}

fn parse_trailers(section: &[u8]) -> Result<Option<Box<Head>>, ParseHeadError> {
    if section == b"\r\n" {
        return Ok(None);
    }
    let mut room = [httparse::EMPTY_HEADER; TRAILER_FIELDS];
    let fields = match httparse::parse_headers(section, &mut room).map_err(explain)? {
        httparse::Status::Complete((length, fields)) if length == section.len() => fields,
        _ => return Err(ParseHeadError::Malformed("the trailer section ends inside a line")),
    };
    let mut trailers = Box::new(Head::new());
    copy_fields(fields, &mut trailers)?;
    if trailers.iter().any(|field| stands_in_head(field.known)) {
        return Err(ParseHeadError::Malformed("a trailer field that must stand in the head"));
    }
    Ok(Some(trailers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Body, bytes used, trailers.
    type Decoded = (Vec<u8>, usize, Option<Box<Head>>);

    fn decode(coded: &[u8], cuts: &[usize]) -> Result<Decoded, ()> {
        let (mut decoder, mut trailers, mut body) = (Decoder::default(), None, Vec::new());
        let (mut start, mut end) = (0, 0);
        let mut cuts = cuts.iter();
        loop {
            match decoder.step(&coded[start..end], &mut trailers).map_err(|_| ())? {
                Step::Bytes(count) => {
                    body.extend_from_slice(&coded[start..start + count]);
                    decoder.take(count);
                    start += count;
                }
                Step::Skip(count) => start += count,
                Step::End(count) => return Ok((body, start + count, trailers)),
                Step::More(_) if end == coded.len() => return Err(()),
                Step::More(_) => end = (end + 1 + cuts.next().unwrap_or(&0)).min(coded.len()),
            }
        }
    }

    proptest! {
        #[test]
        fn a_body_reads_the_same_however_it_is_cut(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            cuts in prop::collection::vec(0usize..9, 0..60),
        ) {
            let mut coded = Vec::new();
            for chunk in &chunks {
                coded.extend_from_slice(format!("{:x};a=b\r\n", chunk.len()).as_bytes());
                coded.extend_from_slice(chunk);
                coded.extend_from_slice(b"\r\n");
            }
            coded.extend_from_slice(b"0\r\nX-Sum: 7\r\n\r\nGET");
            let (body, used, trailers) = decode(&coded, &cuts).unwrap();
            prop_assert_eq!(body, chunks.concat());
            prop_assert_eq!(used, coded.len() - 3);
            let trailers = trailers.unwrap();
            prop_assert_eq!(trailers.all_named("x-sum").next(), Some(b"7".as_slice()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(coded in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&coded, &[]);
        }
    }

    #[test]
    fn trailers_are_bounded_however_they_are_cut() {
        let coded = |length: usize| format!("0\r\nA: {}\r\n\r\n", "x".repeat(length - 7)).into_bytes();
        for cut in [0, 100, 10_000] {
            assert!(decode(&coded(TRAILERS), &[cut; 9000]).is_ok(), "{cut}");
            assert!(decode(&coded(TRAILERS + 1), &[cut; 9000]).is_err(), "{cut}");
        }
    }

    #[test]
    fn bad_chunking_is_refused() {
        for coded in [
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhelloXX0\r\n\r\n",
            "g\r\n\r\n",
            "\r\n",
            "-1\r\n",
            "+5\r\nhello\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "1000000000000000\r\n",
            "5\r\nhello\r0\r\n\r\n",
            "0\r\nContent-Length: 5\r\n\r\n",
            "0\r\n X: y\r\n\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\nX: y\n\r\n",
            "5;a\x00\r\nhello\r\n0\r\n\r\n",
            "5x;a\r\nhello\r\n0\r\n\r\n",
        ] {
            assert!(decode(coded.as_bytes(), &[]).is_err(), "{coded:?}");
        }
        let flood = "1;".to_owned() + &"x".repeat(900) + "\r\na\r\n";
        assert!(decode((flood.repeat(30) + "0\r\n\r\n").as_bytes(), &[]).is_err());
    }
}
