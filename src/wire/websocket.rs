//! WebSocket frames seen from outside (RFC 6455 section 5.2): where one ends and the next begins.
//!
//! Payloads are neither read nor unmasked. Knowing the boundaries is enough to count, and to say
//! goodbye between two frames instead of in the middle of one.

use aws_lc_rs::digest;
use base64::Engine as _;

/// Close code of an endpoint that goes away (RFC 6455 section 7.4.1).
pub const GOING_AWAY: u16 = 1001;
/// Close code of a server that restarts; the client may come back at once (IANA's registry of close codes).
pub const SERVICE_RESTART: u16 = 1012;

const OPCODE_CLOSE: u8 = 0x8;
/// Two bytes, eight of length, four of mask.
const LONGEST_HEADER: usize = 14;

/// Follows one direction of a WebSocket.
#[derive(Debug, Default)]
pub struct Follower {
    header: [u8; LONGEST_HEADER],
    /// Bytes of `header` that are there.
    have: usize,
    /// Payload bytes still to come of the current frame.
    left: u64,
    /// The bytes are not WebSocket frames; nothing is said about them any more.
    lost: bool,
    /// A close frame began.
    pub closing: bool,
}

impl Follower {
    /// Follows `bytes`.
    pub fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.lost {
            if self.left > 0 {
                let step = self.left.min(bytes.len() as u64);
                self.left -= step;
                bytes = &bytes[step as usize..];
                continue;
            }
            // A whole header at once, as nearly always.
            if self.have == 0
                && let Some((header, payload)) = header_at(bytes)
            {
                self.begin(bytes[0], payload);
                bytes = &bytes[header..];
                continue;
            }
            self.header[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if let Some((_, payload)) = header_at(&self.header[..self.have]) {
                self.have = 0;
                self.begin(self.header[0], payload);
            }
        }
    }

    fn begin(&mut self, first: u8, payload: u64) {
        self.closing |= first & 0x0f == OPCODE_CLOSE;
        self.left = payload;
        // The top bit must be 0 (RFC 6455 section 5.2).
        self.lost = payload > i64::MAX as u64;
    }

    /// How many of `bytes` can pass before the next boundary, where a frame may be put in between. `None`: never.
    pub fn until_boundary(&self, bytes: &[u8]) -> Option<usize> {
        let mut ahead =
            Self { header: self.header, have: self.have, left: self.left, lost: self.lost, closing: false };
        for (count, byte) in bytes.iter().enumerate() {
            if ahead.is_at_boundary() {
                return Some(count);
            }
            ahead.follow(std::slice::from_ref(byte));
        }
        ahead.is_at_boundary().then_some(bytes.len())
    }

    /// Between two frames.
    pub fn is_at_boundary(&self) -> bool {
        !self.lost && self.have == 0 && self.left == 0
    }
}

/// How long the header at the front of `bytes` is, and the payload behind it; `None` while it is not whole.
fn header_at(bytes: &[u8]) -> Option<(usize, u64)> {
    let [_, second, ..] = *bytes else { return None };
    let mask = if second & 0x80 != 0 { 4 } else { 0 };
    let (length_bytes, short) = match second & 0x7f {
        126 => (2, 0),
        127 => (8, 0),
        short => (0, short),
    };
    let header = 2 + length_bytes + mask;
    if bytes.len() < header {
        return None;
    }
    let extended = &bytes[2..2 + length_bytes];
    let length = extended.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    Some((header, length + u64::from(short)))
}

/// A close frame without a mask, as servers send it.
pub fn close_frame(code: u16) -> [u8; 4] {
    let [high, low] = code.to_be_bytes();
    [0x80 | OPCODE_CLOSE, 2, high, low]
}

/// A new Sec-WebSocket-Key: sixteen random bytes (RFC 6455 section 4.1).
pub fn new_key() -> String {
    let bytes: [u8; 16] = std::array::from_fn(|_| fastrand::u8(..));
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// The Sec-WebSocket-Accept that answers a key (RFC 6455 section 4.2.2).
pub fn accept(key: &[u8]) -> String {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat());
    base64::engine::general_purpose::STANDARD.encode(digest.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(opcode: u8, masked: bool, length: usize) -> Vec<u8> {
        let mask_bit = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match length {
            0..126 => frame.push(mask_bit | length as u8),
            126..65536 => {
                frame.push(mask_bit | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask_bit | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        // The mask's four bytes come before the payload.
        frame.extend(std::iter::repeat_n(0x81, length + if masked { 4 } else { 0 }));
        frame
    }

    proptest! {
        #[test]
        fn boundaries_are_found_however_frames_are_cut(
            lengths in prop::collection::vec((0usize..70_000, any::<bool>()), 1..5), cut in 1usize..900,
        ) {
            let frames: Vec<_> = lengths.iter().map(|(length, masked)| frame(1, *masked, *length)).collect();
            let mut ends = std::collections::HashSet::new();
            let mut end = 0;
            for frame in &frames {
                end += frame.len();
                ends.insert(end);
            }
            let all = frames.concat();
            let (mut follower, mut at) = (Follower::default(), 0);
            for piece in all.chunks(cut) {
                follower.follow(piece);
                at += piece.len();
                prop_assert_eq!(follower.is_at_boundary(), ends.contains(&at));
            }
        }
    }

    #[test]
    fn a_key_is_accepted_as_the_rfc_shows() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(new_key().len(), 24);
        assert_ne!(new_key(), new_key());
    }

    #[test]
    fn the_next_boundary_is_found_ahead() {
        let mut follower = Follower::default();
        let bytes = [frame(1, true, 5), frame(8, false, 2)].concat();
        assert_eq!(follower.until_boundary(&bytes), Some(0));
        follower.follow(&bytes[..3]);
        assert_eq!(follower.until_boundary(&bytes[3..]), Some(8));
        assert_eq!(follower.until_boundary(&bytes[3..6]), None);
        follower.follow(&bytes[3..]);
        assert!(follower.closing && follower.is_at_boundary());
    }
}
