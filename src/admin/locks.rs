//! What `admin.token` and `admin.tls` ask for, read from their files; exchanged by a reload, also under an open door.

use crate::clock;
use crate::config::file::AdminSpec;
use crate::tls::{HTTP1, Terminator};

use super::token::Token;

/// What is asked of those who come by TCP.
#[derive(Debug, Default)]
pub struct Locks {
    pub(super) token: Option<Token>,
    pub(super) tls: Option<Terminator>,
    asks_for_certificates: bool,
}

/// Why there are no locks as written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LockError {
    /// The key at fault.
    pub at: String,
    pub message: String,
}

impl Locks {
    /// Reads all files; the errors are all there are.
    pub fn read(spec: &AdminSpec) -> Result<Self, Vec<LockError>> {
        let mut errors = Vec::new();
        let token = spec.token.as_ref().map(|token| Token::read(&token.file)).transpose();
        let token = token.unwrap_or_else(|error| {
            errors.push(LockError { at: "admin.token.file".to_owned(), message: error.to_string() });
            None
        });
        let tls = spec.tls.as_ref().map(|tls| Terminator::build(tls, &[HTTP1], clock::since_epoch(), None));
        let tls = tls.transpose().unwrap_or_else(|found| {
            let error = |error: crate::tls::BuildError| LockError {
                at: format!("admin.tls.{}", error.at),
                message: error.message,
            };
            errors.extend(found.into_iter().map(error));
            None
        });
        if !errors.is_empty() {
            return Err(errors);
        }
        let asks_for_certificates = spec.tls.as_ref().is_some_and(|tls| tls.client_auth.is_some());
        Ok(Self { token, tls: tls.map(|(tls, _)| tls), asks_for_certificates })
    }

    /// Whether strangers are kept out.
    pub(super) fn guard_outside(&self) -> bool {
        self.token.is_some() || self.asks_for_certificates
    }
}
