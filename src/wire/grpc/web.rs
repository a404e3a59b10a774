//! Bodies of gRPC-Web (gRPC's `PROTOCOL-WEB.md`): base64 read and written piece by piece, and trailers as a frame.
//!
//! The frames of messages are those of gRPC, so a binary body passes as it is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memchr;

/// Symbols of base64 that are decoded together, and the bytes that they are.
const SYMBOLS: usize = 4;
const BYTES: usize = 3;
/// Flag of a frame that holds trailers.
const TRAILERS: u8 = 0x80;

/// The body is not base64 as gRPC-Web has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body of a gRPC-Web request is not base64")]
pub struct Malformed;

/// Reads a body of `application/grpc-web-text`.
///
/// Clients encode each piece on its own and send one behind the other, so padding may stand wherever four symbols
/// end. After an error there is nothing more to be had.
#[derive(Debug, Default)]
pub struct TextDecoder {
    /// Symbols of an unfinished group of four.
    waiting: [u8; SYMBOLS],
    have: usize,
}

impl TextDecoder {
    /// Decodes `input`, as far as groups are complete, to the end of `out`: at most three bytes for every four.
    pub fn decode(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        while self.have > 0 {
            let Some((symbol, rest)) = input.split_first() else { return Ok(()) };
            input = rest;
            if self.push(*symbol) {
                self.have = 0;
                decode_groups(&self.waiting, out)?;
            }
        }
        let (groups, rest) = input.as_chunks::<SYMBOLS>();
        decode_groups(groups.as_flattened(), out)?;
        for symbol in rest {
            self.push(*symbol);
        }
        Ok(())
    }

    /// Says that the body is over; it must not end within a group.
    pub fn finish(&self) -> Result<(), Malformed> {
        if self.have == 0 { Ok(()) } else { Err(Malformed) }
    }

    /// Takes one more symbol; true when the group is complete.
    fn push(&mut self, symbol: u8) -> bool {
        if let Some(place) = self.waiting.get_mut(self.have) {
            *place = symbol;
            self.have += 1;
        }
        self.have >= SYMBOLS
    }
}

/// Decodes complete groups of four symbols, each of which may be padded.
fn decode_groups(mut symbols: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    while !symbols.is_empty() {
        // The library takes padding at the end only, so it gets one padded stretch at a time.
        let end = match memchr(b'=', symbols) {
            Some(padding) => padding - padding % SYMBOLS + SYMBOLS,
            None => symbols.len(),
        };
        let (stretch, rest) = symbols.split_at_checked(end).ok_or(Malformed)?;
        STANDARD.decode_vec(stretch, out).map_err(|_| Malformed)?;
        symbols = rest;
    }
    Ok(())
}

/// Writes a body of `application/grpc-web-text`.
#[derive(Debug, Default)]
pub struct TextEncoder {
    /// Bytes of an unfinished group of three.
    waiting: [u8; BYTES],
    have: usize,
}

impl TextEncoder {
    /// Encodes `input` to the end of `out`. One or two bytes may stay behind, for want of a third.
    pub fn encode(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        while self.have > 0 {
            let Some((byte, rest)) = input.split_first() else { return };
            input = rest;
            if self.push(*byte) {
                self.have = 0;
                write(&self.waiting, out);
            }
        }
        let (groups, rest) = input.as_chunks::<BYTES>();
        write(groups.as_flattened(), out);
        for byte in rest {
            self.push(*byte);
        }
    }

    /// Encodes what stayed behind, padded. That ends a body, or a piece of it: afterwards another piece may begin.
    ///
    /// A stream of messages needs this wherever the server pauses, or the client would miss the end of a message
    /// until the next one comes.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let waiting = self.waiting;
        write(waiting.get(..self.have).unwrap_or_default(), out);
        self.have = 0;
    }

    /// Takes one more byte; true when the group is complete.
    fn push(&mut self, byte: u8) -> bool {
        if let Some(place) = self.waiting.get_mut(self.have) {
            *place = byte;
            self.have += 1;
        }
        self.have >= BYTES
    }
}

/// Appends `bytes` in base64, padded if need be.
fn write(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(BYTES) * SYMBOLS, 0);
    let place = out.get_mut(start..).unwrap_or_default();
    // The place is as large as the text will be, so this cannot fail; no zeros are sent if it ever does.
    let written = STANDARD.encode_slice(bytes, place).unwrap_or(0);
    out.truncate(start + written);
}

/// Appends the frame of the trailers, the last one of a body: a flag, the length in four bytes, and a line for each
/// field, its name in lower case.
///
/// A field that would break the lines is left out.
pub fn trailers_frame<'a>(fields: impl Iterator<Item = (&'a str, &'a [u8])>, out: &mut Vec<u8>) {
    let mut block = Vec::new();
    for (name, value) in fields {
        let breaks = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0);
        if name.is_empty()
            || name.bytes().any(|byte| byte == b':' || breaks(&byte))
            || value.iter().any(breaks)
        {
            continue;
        }
        block.extend(name.bytes().map(|byte| byte.to_ascii_lowercase()));
        block.extend_from_slice(b": ");
        block.extend_from_slice(value);
        block.extend_from_slice(b"\r\n");
    }
    // Trailers are limited to some KiB wherever they are read, so the length always fits.
    let length = u32::try_from(block.len()).unwrap_or(u32::MAX);
    out.push(TRAILERS);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&block);
}

#[cfg(test)]
mod tests;
