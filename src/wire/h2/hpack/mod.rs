//! HPACK, the compression of header fields in HTTP/2 (RFC 7541).
//!
//! The decoder understands all of it. The encoder leaves out what costs time or memory: it refers to
//! the static table only and writes strings without Huffman coding.

mod decoder;
mod encoder;
mod huffman;
mod table;
#[cfg(test)]
mod tests;

pub use decoder::Decoder;
pub use encoder::Encoder;

/// Size of the dynamic table until the peers agree on another, in bytes as RFC 7541 section 4.1 counts them
/// (RFC 9113 section 6.5.2).
pub const DEFAULT_TABLE_SIZE: u32 = 4096;

/// Why a header block cannot be decoded. Always a connection error COMPRESSION_ERROR, since the
/// dynamic tables of the two sides may differ from here on (RFC 9113 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// RFC 7541 section 6.1.
    #[error("index 0 is used as the index of a field")]
    ZeroIndex,
    /// RFC 7541 section 2.3.3.
    #[error("an index is beyond the static and the dynamic table")]
    IndexBeyondTables,
    /// More than five continuation bytes or more than 32 bits (RFC 7541 section 5.1).
    #[error("an integer is too large")]
    IntegerTooLarge,
    /// The block ends where an integer or a string must begin or go on.
    #[error("the header block ends inside a field")]
    Truncated,
    /// RFC 7541 section 5.2.
    #[error("a string is longer than the rest of the header block")]
    StringBeyondBlock,
    /// RFC 7541 section 5.2.
    #[error("a Huffman-coded string contains the end-of-string symbol")]
    HuffmanEndOfString,
    /// RFC 7541 section 5.2.
    #[error("the padding of a Huffman-coded string is longer than seven bits")]
    HuffmanPaddingTooLong,
    /// Padding with a zero bit, or a code that is cut off (RFC 7541 section 5.2).
    #[error("the padding of a Huffman-coded string is not all ones")]
    HuffmanPaddingNotOnes,
    /// RFC 7541 section 6.3.
    #[error("a size update is beyond the allowed size of the dynamic table")]
    SizeUpdateTooLarge,
    /// RFC 7541 section 4.2.
    #[error("a size update of the dynamic table follows a field")]
    SizeUpdateAfterField,
    /// RFC 7541 section 4.2.
    #[error("a header block has more than two size updates of the dynamic table")]
    TooManySizeUpdates,
}
