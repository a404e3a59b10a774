//! The token without which the control interface changes nothing over TCP.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

/// Bytes of the shortest token.
const SHORTEST: usize = 16;
/// Bytes of the longest one: a request's head has to hold it.
const LONGEST: usize = 1024;

/// A token, by its digest: what is compared has one length, whatever is sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; 32]);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum ReadTokenError {
    #[error("`{path}` cannot be read: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "`{path}` holds {length} bytes (white space at its end does not count); a token has {SHORTEST} to {LONGEST}"
    )]
    Length { path: PathBuf, length: usize },
    #[error("`{0}` holds more than letters, digits and punctuation of ASCII; no header can carry it")]
    Characters(PathBuf),
}

impl Token {
    /// Reads its file; white space at the end does not count.
    pub fn read(path: &Path) -> Result<Self, ReadTokenError> {
        Ok(Self::of(read_text(path)?.as_bytes()))
    }

    fn of(token: &[u8]) -> Self {
        let mut bytes = [0; 32];
        for (byte, found) in bytes.iter_mut().zip(digest(&SHA256, token).as_ref()) {
            *byte = *found;
        }
        Self(bytes)
    }

    /// Whether this is it; takes as long whether it is or not.
    pub fn is(&self, sent: &[u8]) -> bool {
        verify_slices_are_equal(&self.0, &Self::of(sent).0).is_ok()
    }
}

/// The text of a token's file, for whoever has to send it.
pub fn read_text(path: &Path) -> Result<String, ReadTokenError> {
    let text = std::fs::read(path).map_err(|source| ReadTokenError::Read { path: path.into(), source })?;
    let token = text.trim_ascii_end();
    if !(SHORTEST..=LONGEST).contains(&token.len()) {
        return Err(ReadTokenError::Length { path: path.into(), length: token.len() });
    }
    match std::str::from_utf8(token) {
        Ok(token) if token.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(token.to_owned()),
        _ => Err(ReadTokenError::Characters(path.into())),
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_without_the_end_of_its_line_and_compared_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        let token = Token::read(&path).unwrap();
        assert!(token.is(b"0123456789abcdef"));
        for other in ["", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeF", "0123456789abcdef\n"] {
            assert!(!token.is(other.as_bytes()), "{other:?}");
        }
        assert_eq!(format!("{token:?}"), "Token(..)");
    }

    #[test]
    fn what_cannot_be_a_token_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        assert!(Token::read(&path).unwrap_err().to_string().contains("cannot be read"));
        for (text, expected) in [
            ("0123456789abcde  \n", "holds 15 bytes"),
            ("", "holds 0 bytes"),
            (&"x".repeat(1025), "holds 1025 bytes"),
            ("0123456789 abcdef", "ASCII"),
            ("0123456789äbcdef", "ASCII"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Token::read(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
