//! The chunked coding in any pieces, against a slow reading that has all bytes at hand.

use lintel::wire::h1::chunk::{Decoder, Step};

use crate::cuts::{self, Cut};
use crate::heads::{Fields, fields, is_token};

/// Body, bytes used, trailers.
type Decoded = (Vec<u8>, usize, Fields);

pub fn check(input: &[u8]) {
    let wanted = reference(input);
    for cut in cuts::all(input).into_iter().chain([Cut::Whole]) {
        let found = decode(input, cut);
        match (&wanted, &found) {
            (Ok(wanted), Ok(found)) => assert_eq!(wanted, found, "{cut:?}"),
            (Err(_), Err(())) => {}
            (Ok(wanted), Err(())) => panic!("{cut:?} refuses what is good: {wanted:?}"),
            (Err(why), Ok(found)) => panic!("{cut:?} takes what is wrong ({why}): {found:?}"),
        }
    }
}

fn decode(coded: &[u8], cut: Cut) -> Result<Decoded, ()> {
    let (mut decoder, mut trailers, mut body) = (Decoder::default(), None, Vec::new());
    let (mut start, mut end) = (0, 0);
    let mut pieces = cut.pieces(coded).into_iter();
    loop {
        match decoder.step(&coded[start..end], &mut trailers).map_err(|_| ())? {
            Step::Bytes(count) => {
                assert!(count > 0 && count <= end - start);
                // Sometimes not all of it is taken at once.
                let count = if count > 3 && body.len() % 3 == 0 { count / 2 } else { count };
                body.extend_from_slice(&coded[start..start + count]);
                decoder.take(count);
                start += count;
            }
            Step::Skip(count) => {
                assert!(count > 0 && count <= end - start);
                start += count;
            }
            Step::End(count) => {
                let trailers = trailers.map(|trailers| fields(&trailers)).unwrap_or_default();
                return Ok((body, start + count, trailers));
            }
            Step::More(room) => {
                // The connection reads on only while what it holds is less than what is asked for.
                assert!(room > end - start, "no room for more");
                end += pieces.next().ok_or(())?.len();
            }
        }
    }
}

/// By the letter of RFC 9112 section 7.1, with the limits that the decoder names.
fn reference(coded: &[u8]) -> Result<Decoded, &'static str> {
    let mut body = Vec::new();
    let mut at = 0;
    let mut extensions = 0;
    loop {
        let length = (0..).find(|n| coded.get(at + n).is_none_or(|b| *b == b'\n')).unwrap_or(0);
        if at + length >= coded.len() {
            return Err("the size line has no end");
        }
        if length + 1 > 1024 {
            return Err("the size line is too long");
        }
        let line = coded[at..at + length].strip_suffix(b"\r").ok_or("a bare line feed")?;
        at += length + 1;
        let size_end = line.iter().position(|b| !b.is_ascii_hexdigit()).unwrap_or(line.len());
        let (digits, extension) = line.split_at(size_end);
        extensions += extension.len();
        if digits.is_empty() || digits.len() > 15 || extensions > 16 * 1024 {
            return Err("no size, or extensions without end");
        }
        if !extension.is_empty() {
            let semicolon = extension.iter().position(|b| *b == b';').ok_or("rubbish behind the size")?;
            if !extension[..semicolon].iter().all(|b| matches!(b, b' ' | b'\t')) {
                return Err("rubbish before the semicolon");
            }
            if extension.iter().any(|b| (*b < b' ' && *b != b'\t') || *b == 0x7f) {
                return Err("a control byte in an extension");
            }
        }
        let mut size = 0u64;
        for digit in digits {
            size = size * 16 + u64::from(char::from(*digit).to_digit(16).ok_or("no digit")?);
        }
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).map_err(|_| "too large")?;
        let chunk = coded.get(at..at.saturating_add(size)).ok_or("the chunk is cut")?;
        body.extend_from_slice(chunk);
        at += size;
        if coded.get(at..at + 2) != Some(b"\r\n") {
            return Err("no CRLF behind a chunk");
        }
        at += 2;
    }
    let (trailers, length) = reference_trailers(&coded[at..])?;
    Ok((body, at + length, trailers))
}

fn reference_trailers(bytes: &[u8]) -> Result<(Fields, usize), &'static str> {
    let mut trailers = Fields::new();
    let mut at = 0;
    loop {
        let end = bytes[at..].iter().position(|b| *b == b'\n').ok_or("the trailers have no end")?;
        let line = bytes[at..at + end].strip_suffix(b"\r").ok_or("a bare line feed")?;
        at += end + 1;
        if at > 8 * 1024 {
            return Err("the trailers are too long");
        }
        if line.is_empty() {
            return Ok((trailers, at));
        }
        let colon = line.iter().position(|b| *b == b':').ok_or("a trailer without a colon")?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if !is_token(name) || value.iter().any(|b| (*b < b' ' && *b != b'\t') || *b == 0x7f) {
            return Err("a trailer is malformed");
        }
        let name = String::from_utf8_lossy(name).into_owned();
        const IN_HEAD: [&str; 10] = [
            "content-length",
            "transfer-encoding",
            "host",
            "connection",
            "te",
            "trailer",
            "upgrade",
            "expect",
            "x-forwarded-for",
            "forwarded",
        ];
        if IN_HEAD.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
            return Err("a trailer that stands in the head");
        }
        trailers.push((name, value.trim_ascii().to_vec()));
        if trailers.len() > 64 {
            return Err("too many trailers");
        }
    }
}
