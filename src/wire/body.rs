//! How a body is told apart from what follows it, and what can go wrong with it.

use std::io;

/// Framing of one body (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// No body at all.
    #[default]
    Empty,
    Length(u64),
    Chunked,
    /// Until the connection ends; responses only.
    Close,
}

/// What reading a body came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes are there to be taken.
    Bytes,
    /// The body ended as it should.
    End,
}

/// Why a body cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadBodyError {
    #[error("connection failed in the body: {0}")]
    Io(#[from] io::Error),
    #[error("connection ended before the body did")]
    Truncated,
    #[error("malformed body: {0}")]
    Malformed(&'static str),
    #[error("body is larger than its limit")]
    TooLarge,
}
