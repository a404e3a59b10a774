//! Rules that heads keep in every protocol: their limits, the lengths they announce, and what is known of a message then.

use std::io;

use crate::wire::body::Framing;
use crate::wire::head::{Head, Known};
use crate::wire::token::is_token;

/// Limits on one head.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the whole head.
    pub head: usize,
    /// Number of fields.
    pub fields: usize,
    /// Bytes of the request target.
    pub target: usize,
}

/// Limits on what a server may answer with.
pub const RESPONSE_LIMITS: Limits = Limits { head: 64 * 1024, fields: 256, target: 0 };

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseHeadError {
    #[error("malformed head: {0}")]
    Malformed(&'static str),
    #[error("head is larger than its limit")]
    TooLarge,
    #[error("head has more fields than its limit")]
    TooManyFields,
    #[error("request target is longer than its limit")]
    TargetTooLong,
    #[error("HTTP version is not 1.0 or 1.1")]
    Version,
    #[error("transfer coding is not known")]
    TransferCoding,
    #[error("expectation is not known")]
    Expectation,
    #[error("CONNECT and TRACE are not served here")]
    Method,
}

/// What a request's head says about the connection and the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestFraming {
    pub body: Framing,
    /// The client can send another request afterwards.
    pub keep_alive: bool,
    /// The client waits for a 100 before it sends the body.
    pub expect_continue: bool,
    /// The client asks for another protocol (RFC 9110 section 7.8).
    pub upgrade: bool,
}

/// What a response's head says about the connection and the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseFraming {
    pub body: Framing,
    /// The connection can carry another request afterwards.
    pub keep_alive: bool,
    /// The server's `Keep-Alive: timeout=`, in seconds.
    pub keep_alive_timeout: Option<u32>,
}

/// What goes out with a response head besides its own fields.
#[derive(Clone, Copy, Debug)]
pub struct ResponsePlan {
    /// Framing of the body as it will be sent.
    pub body: Framing,
    /// Says that the connection stays open.
    pub keep_alive: bool,
    /// Length to name when no body follows: the answer to HEAD, or a 304.
    pub named_length: Option<u64>,
}

/// Why no response could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadResponseError {
    #[error("connection failed before the response: {0}")]
    Io(#[from] io::Error),
    #[error("connection ended before the response")]
    Ended,
    /// It did nothing about the request and never will: any request can be sent again.
    #[error("the server did not take the request: {0}")]
    Unprocessed(io::Error),
    #[error("connection ended inside the response head")]
    Truncated,
    #[error("bad response: {0}")]
    Parse(#[from] ParseHeadError),
}

/// The one Content-Length of a message: `None` without the field.
///
/// Digits alone (RFC 9110 section 8.6), in a single field: lists and repetitions are refused even when they agree.
pub fn content_length(head: &Head) -> Result<Option<u64>, ParseHeadError> {
    let mut values = head.all(Known::ContentLength);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ParseHeadError::Malformed("Content-Length stands twice"));
    }
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(ParseHeadError::Malformed("Content-Length is not a number"));
    }
    let append = |length: u64, digit: &u8| length.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    // i64 is the most that servers in other languages can count to.
    match value.iter().try_fold(0, append) {
        Some(length) if length <= i64::MAX as u64 => Ok(Some(length)),
        _ => Err(ParseHeadError::Malformed("Content-Length is too large")),
    }
}

/// Bytes that a host and its port are made of (RFC 3986 section 3.2.2); which of them make one is the router's matter.
pub fn is_authority(text: &[u8]) -> bool {
    text.iter().all(|byte| AUTHORITY[usize::from(*byte)])
}

static AUTHORITY: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x80u8 {
        let is_mark =
            matches!(byte, b'!' | b'$'..=b'+' | b'-' | b'.' | b':' | b';' | b'=' | b'[' | b']' | b'_' | b'~');
        table[byte as usize] = is_mark || byte.is_ascii_alphanumeric();
        byte += 1;
    }
    table
};

/// Bytes of the longest method. The longest that is registered has 17 (UPDATEREDIRECTREF).
pub const LONGEST_METHOD: usize = 48;

/// A token that is not too long (RFC 9110 section 9.1).
///
/// # Errors
/// What it is instead.
pub fn check_method(method: &[u8]) -> Result<(), ParseHeadError> {
    if !is_token(method) {
        return Err(ParseHeadError::Malformed("the method is not a token"));
    }
    if method.len() > LONGEST_METHOD {
        return Err(ParseHeadError::Malformed("the method is longer than 48 bytes"));
    }
    Ok(())
}

/// Whether every byte may stand in a request's target (RFC 3986 section 2); the router is stricter.
pub fn is_target(text: &[u8]) -> bool {
    !text.iter().any(|byte| *byte <= b' ' || matches!(byte, 0x7f | b'#'))
}

/// Fields that frame or route must not come late (RFC 9110 section 6.5.1).
pub fn stands_in_head(known: Known) -> bool {
    matches!(
        known,
        Known::ContentLength
            | Known::TransferEncoding
            | Known::Host
            | Known::Connection
            | Known::Te
            | Known::Trailer
            | Known::Upgrade
            | Known::Expect
            | Known::XForwardedFor
            | Known::Forwarded
    )
}
