//! The HPACK encoder (RFC 7541 sections 5 and 6).
//!
//! Strings are written as they are: Huffman coding would save about a quarter of the bytes and cost more time
//! than all the rest of the encoder. The dynamic table stays empty for the same reason, and so that a
//! connection needs no memory for it.

use super::DEFAULT_TABLE_SIZE;
use super::table::{self, STATIC};

/// First bits of an indexed field (RFC 7541 section 6.1), with a prefix of 7 bits.
const INDEXED: u8 = 0x80;
/// First bits of a size update (RFC 7541 section 6.3), with a prefix of 5 bits.
const SIZE_UPDATE: u8 = 0x20;
/// First bits of a literal that no intermediary may put into a table (RFC 7541 section 6.2.3), with a prefix
/// of 4 bits.
const NEVER_INDEXED: u8 = 0x10;
/// First bits of a literal that does not enter the dynamic table (RFC 7541 section 6.2.2), with a prefix of 4
/// bits.
const NOT_INDEXED: u8 = 0x00;

/// Index of `:status: 200`, the first of the entries with this name.
const STATUS: usize = 8;
/// Entries with the name `:status`.
const STATUSES: usize = 7;
/// Indices of `authorization`, `cookie`, `proxy-authorization` and `set-cookie`.
const SENSITIVE: [usize; 4] = [23, 32, 49, 55];
/// Bytes that the two lengths and the index of a field can take.
const FIELD_OVERHEAD: usize = 12;

/// Encodes the header blocks of one direction of a connection.
#[derive(Debug, Default)]
pub struct Encoder {
    update: SizeUpdate,
}

/// The peer's decoder begins with a table of 4096 bytes. Where its limit falls below that, it must be told that
/// the encoder follows. The size is then 0 for good, since no limit lies below 0 and the table is not used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum SizeUpdate {
    #[default]
    NotNeeded,
    Pending,
    Sent,
}

impl Encoder {
    /// An encoder whose peer has not said anything about its table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the peer's SETTINGS_HEADER_TABLE_SIZE, in bytes. If it lies below the default of 4096, the next block
    /// begins with a size update (RFC 7541 section 4.2).
    pub fn set_table_size(&mut self, size: u32) {
        if size < DEFAULT_TABLE_SIZE && self.update == SizeUpdate::NotNeeded {
            self.update = SizeUpdate::Pending;
        }
    }

    /// Begins a block. Must be called once before the fields of each block.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if self.update == SizeUpdate::Pending {
            out.push(SIZE_UPDATE);
            self.update = SizeUpdate::Sent;
        }
    }

    /// Appends one field. The name is written in lower case, whatever case it comes in (ASCII).
    ///
    /// Authorization, Cookie, Set-Cookie and Proxy-Authorization become literals that are never indexed, so
    /// that no table on the way can be used to guess them (RFC 7541 section 7.1.3).
    pub fn field(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        out.reserve(name.len() + value.len() + FIELD_OVERHEAD);
        let Some(index) = table::find_name(name) else {
            out.push(NOT_INDEXED);
            write_string(out, name);
            let start = out.len() - name.len();
            out[start..].make_ascii_lowercase();
            write_string(out, value);
            return;
        };
        if SENSITIVE.contains(&index) {
            write_integer(out, NEVER_INDEXED, 4, index);
        } else if let Some(exact) = find_value(index, value) {
            return write_integer(out, INDEXED, 7, exact);
        } else {
            write_integer(out, NOT_INDEXED, 4, index);
        }
        write_string(out, value);
    }

    /// Appends `:status`, a number of three digits.
    pub fn status(&mut self, out: &mut Vec<u8>, status: u16) {
        let digit = |unit| b'0' + (status / unit % 10) as u8;
        let digits = [digit(100), digit(10), digit(1)];
        if let Some(exact) = find_value(STATUS, &digits) {
            return write_integer(out, INDEXED, 7, exact);
        }
        write_integer(out, NOT_INDEXED, 4, STATUS);
        write_string(out, &digits);
    }
}

/// The entry of the static table that has this value, among those with the name of the entry at `first`.
fn find_value(first: usize, value: &[u8]) -> Option<usize> {
    let count = match first {
        // `:method`, `:path` and `:scheme`.
        2 | 4 | 6 => 2,
        STATUS => STATUSES,
        _ => 1,
    };
    (first..first + count).find(|index| STATIC[index - 1].1 == value)
}

/// Writes a string without Huffman coding (RFC 7541 section 5.2).
fn write_string(out: &mut Vec<u8>, string: &[u8]) {
    write_integer(out, 0, 7, string.len());
    out.extend_from_slice(string);
}

/// Writes an integer with a prefix of so many bits, in a byte whose other bits are `first`
/// (RFC 7541 section 5.1).
fn write_integer(out: &mut Vec<u8>, first: u8, prefix: u32, integer: usize) {
    let mask = (1_usize << prefix) - 1;
    if integer < mask {
        out.push(first | integer as u8);
        return;
    }
    out.push(first | mask as u8);
    let mut left = integer - mask;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}
