//! Where WebSocket frames end, in any pieces, against a reading that has all bytes at hand.

use lintel::wire::websocket::Follower;

use crate::cuts::{self, Cut};

/// What is known after each byte.
struct Known {
    /// `ends[n]`: after n bytes a frame has just ended.
    ends: Vec<bool>,
    /// A close frame's header was whole after so many bytes.
    closing_at: Option<usize>,
}

pub fn check(input: &[u8]) {
    let known = reference(input);
    for cut in cuts::all(input).into_iter().chain([Cut::Whole]) {
        let (mut follower, mut at) = (Follower::default(), 0);
        for piece in cut.pieces(input) {
            let next = (at..=at + piece.len()).find(|place| known.ends[*place]);
            assert_eq!(follower.until_boundary(&piece), next.map(|place| place - at), "{cut:?} at {at}");
            follower.follow(&piece);
            at += piece.len();
            assert_eq!(follower.is_at_boundary(), known.ends[at], "{cut:?} at {at}");
            assert_eq!(
                follower.closing,
                known.closing_at.is_some_and(|place| place <= at),
                "{cut:?} at {at}"
            );
        }
    }
}

fn reference(bytes: &[u8]) -> Known {
    let mut known = Known { ends: vec![false; bytes.len() + 1], closing_at: None };
    let mut at = 0;
    loop {
        known.ends[at] = true;
        let rest = &bytes[at..];
        let Some(second) = rest.get(1) else { return known };
        let (first, masked) = (rest[0], if second & 0x80 == 0 { 0 } else { 4 });
        let (length, header): (u64, usize) = match second & 0x7f {
            126 => match rest.get(2..4) {
                Some(&[a, b]) => (u64::from(u16::from_be_bytes([a, b])), 4),
                _ => return known,
            },
            127 => match rest.get(2..10).and_then(|eight| <[u8; 8]>::try_from(eight).ok()) {
                Some(eight) => (u64::from_be_bytes(eight), 10),
                None => return known,
            },
            short => (u64::from(short), 2),
        };
        let header = header + masked;
        if rest.len() < header {
            return known;
        }
        if first & 0x0f == 8 && known.closing_at.is_none() {
            known.closing_at = Some(at + header);
        }
        // A length with the top bit is none: nothing is said any more.
        if length >= 1 << 63 || length > (rest.len() - header) as u64 {
            return known;
        }
        at += header + length as usize;
    }
}
