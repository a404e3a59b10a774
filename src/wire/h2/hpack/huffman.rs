//! Decodes Huffman-coded strings (RFC 7541 section 5.2 and appendix B), four bits at a time.
//!
//! The code of RFC 7541 is canonical: in the order of (length, symbol) each code is the one before
//! plus one. So the lengths are all that has to be written down. The compiler makes the tree from
//! them, and from the tree the table of steps.

use super::DecodeError;

/// Byte values, and the end-of-string symbol.
pub(super) const SYMBOLS: usize = 257;
pub(super) const END_OF_STRING: usize = 256;
pub(super) const LONGEST_CODE: u8 = 30;

/// Bits of the code of each symbol (RFC 7541 appendix B).
#[rustfmt::skip]
pub(super) const CODE_LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6,
    6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8,
    13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15,
    11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23,
    23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26,
    26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21,
    22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27,
    27, 26, 30,
];

/// Inner nodes of the tree: one less than it has leaves.
const NODES: usize = SYMBOLS - 1;
/// Marks a leaf in `TREE`; the other bits are its symbol.
const LEAF: u16 = 1 << 15;
/// The end-of-string code is 30 ones and enters the tree first. So the nodes 0 to 29 are those which
/// a run of that many ones leads to.
const ONES: u8 = LONGEST_CODE;
/// Padding is at most seven ones.
const LONGEST_PADDING: u8 = 7;

/// The children of each inner node, for a zero and for a one: a leaf or the number of a node.
const TREE: [[u16; 2]; NODES] = tree();

const fn tree() -> [[u16; 2]; NODES] {
    // No node leads to the root, so 0 says that there is no child yet.
    let mut tree = [[0; 2]; NODES];
    let mut used = add(&mut tree, 1, (1 << LONGEST_CODE) - 1, END_OF_STRING);
    let (mut code, mut length) = (0, 1);
    while length <= LONGEST_CODE {
        let mut symbol = 0;
        while symbol < END_OF_STRING {
            if CODE_LENGTHS[symbol] == length {
                used = add(&mut tree, used, code, symbol);
                code += 1;
            }
            symbol += 1;
        }
        code <<= 1;
        length += 1;
    }
    tree
}

/// Puts the code of `symbol` into the tree, of which `used` nodes exist. Gives the new number of nodes.
const fn add(tree: &mut [[u16; 2]; NODES], mut used: u16, code: u32, symbol: usize) -> u16 {
    let mut node = 0;
    let mut left = CODE_LENGTHS[symbol] - 1;
    while left > 0 {
        let bit = (code >> left & 1) as usize;
        if tree[node][bit] == 0 {
            tree[node][bit] = used;
            used += 1;
        }
        node = tree[node][bit] as usize;
        left -= 1;
    }
    tree[node][(code & 1) as usize] = LEAF | symbol as u16;
    used
}

/// What four bits do.
#[derive(Clone, Copy)]
struct Step {
    /// The node that they lead to.
    node: u8,
    /// The byte that they complete; at most one, since no code is shorter than five bits.
    symbol: u8,
    /// 1 if they complete a byte.
    emits: u8,
    /// 1 if they complete the end-of-string symbol.
    ends: u8,
}

/// By node and by the four bits that follow.
static STEPS: [[Step; 16]; NODES] = steps();

const fn steps() -> [[Step; 16]; NODES] {
    let mut steps = [[Step { node: 0, symbol: 0, emits: 0, ends: 0 }; 16]; NODES];
    let mut node = 0;
    while node < NODES {
        let mut bits = 0;
        while bits < 16 {
            steps[node][bits] = step(node, bits);
            bits += 1;
        }
        node += 1;
    }
    steps
}

const fn step(node: usize, bits: usize) -> Step {
    let mut step = Step { node: 0, symbol: 0, emits: 0, ends: 0 };
    let mut at = node;
    let mut left = 4;
    while left > 0 {
        left -= 1;
        let child = TREE[at][bits >> left & 1];
        if child & LEAF == 0 {
            at = child as usize;
            continue;
        }
        at = 0;
        if child == LEAF | END_OF_STRING as u16 {
            step.ends = 1;
        } else {
            step.symbol = child as u8;
            step.emits = 1;
        }
    }
    step.node = at as u8;
    step
}

/// Decodes `coded` into `out` from position `start` on, whatever is there, and gives the end of the text.
/// `out` grows where it is too short and does not shrink.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>, start: usize) -> Result<usize, DecodeError> {
    // At most one byte for five bits, and one place more, which steps that emit nothing write to.
    let room = start + coded.len() * 8 / 5 + 1;
    if out.len() < room {
        out.resize(room, 0);
    }
    let text = &mut out[start..room];
    let (mut node, mut length, mut ends) = (0, 0, 0);
    for byte in coded {
        for bits in [byte >> 4, byte & 0x0f] {
            let step = STEPS[node as usize][bits as usize];
            text[length] = step.symbol;
            length += step.emits as usize;
            ends |= step.ends;
            node = step.node;
        }
    }
    match node {
        _ if ends != 0 => Err(DecodeError::HuffmanEndOfString),
        0..=LONGEST_PADDING => Ok(start + length),
        node if node < ONES => Err(DecodeError::HuffmanPaddingTooLong),
        _ => Err(DecodeError::HuffmanPaddingNotOnes),
    }
}
