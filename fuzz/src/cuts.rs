//! The same bytes in other pieces, as a network may deliver them.

/// How bytes are cut.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    Whole,
    Bytes,
    /// Pieces of 1 to so many bytes, drawn with this seed.
    Random {
        most: u64,
        seed: u64,
    },
}

/// The cuts that every input is tried with, besides `Whole`.
pub fn all(input: &[u8]) -> [Cut; 4] {
    let seed = fingerprint(input);
    [
        Cut::Bytes,
        Cut::Random { most: 4, seed },
        Cut::Random { most: 40, seed },
        Cut::Random { most: input.len() as u64 / 2 + 1, seed },
    ]
}

/// FNV-1a of the input: what chance is made of.
pub fn fingerprint(input: &[u8]) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325;
    input.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)) | 1
}

/// A number below `most`, which is not 0; `state` moves on (xorshift64*).
pub fn draw(state: &mut u64, most: u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % most
}

impl Cut {
    pub fn pieces(self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut rest = bytes;
        let mut pieces = Vec::new();
        let mut state = match self {
            Self::Random { seed, .. } => seed,
            _ => 1,
        };
        while !rest.is_empty() {
            let size = match self {
                Self::Whole => rest.len(),
                Self::Bytes => 1,
                Self::Random { most, .. } => 1 + draw(&mut state, most) as usize,
            };
            let (piece, after) = rest.split_at(size.min(rest.len()));
            pieces.push(piece.to_vec());
            rest = after;
        }
        pieces
    }
}
