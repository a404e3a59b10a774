//! What both targets of HTTP/2 share: frames out of a short form, and the state of a connection in memory.

use lintel::wire::h2::frame;

/// Most bytes that a peer which reads nothing may make Lintel hold.
pub const MOST_PENDING: usize = 256 * 1024;

/// The bytes that the peer sends. The first byte of the input says how they are meant; see `Script`.
pub fn bytes_of(script: Script, rest: &[u8], opening: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    if script.opens {
        bytes.extend_from_slice(opening);
    }
    let start = bytes.len();
    if script.raw {
        bytes.extend_from_slice(rest);
    } else {
        write_frames(&mut bytes, rest);
    }
    if script.repeats {
        let once = bytes[start..].to_vec();
        for _ in 0..(64 * 1024 / once.len().max(1)).min(200) {
            bytes.extend_from_slice(&once);
        }
    }
    bytes
}

/// What the first byte of an input asks for.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// The rest is bytes as they are; else frames in the short form.
    pub raw: bool,
    /// Begins with what a good peer sends first.
    pub opens: bool,
    /// The peer reads little at a time.
    pub is_slow: bool,
    /// All of it many times over.
    pub repeats: bool,
    /// What is done with each stream.
    pub plot: u8,
}

impl Script {
    pub fn of(byte: u8) -> Self {
        let bit = |place: u8| byte >> place & 1 == 1;
        Self { raw: bit(0), opens: !bit(1), is_slow: bit(2), repeats: bit(3), plot: byte >> 4 & 7 }
    }
}

/// Frames of `kind, flags, stream, length, payload`, one byte each but the last; length 255 is 300.
fn write_frames(bytes: &mut Vec<u8>, mut rest: &[u8]) {
    while let [kind, flags, stream, length, after @ ..] = rest {
        let length = if *length == 255 { 300 } else { usize::from(*length) };
        let (payload, after) = after.split_at(length.min(after.len()));
        frame::write(bytes, *kind, *flags, u32::from(*stream), payload);
        rest = after;
    }
}
