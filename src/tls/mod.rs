//! TLS to clients: certificates picked by SNI, client certificates, tickets that hold across engine threads.
//!
//! Reading PEM files and saying what is wrong with them serves `upstream::tls` too. Certificates sit behind a swap, by which
//! a reload and the watch over the files exchange them. There is no ACME.

mod belief;
mod certificate;
mod certificates;
mod client_certificate;
mod handshake;
mod pem;
pub mod spec;
mod terminator;
#[cfg(test)]
pub(crate) mod testing;
mod tickets;

pub use crate::observe::metrics::HandshakeFailure;
pub use belief::{Believed, LeafVerifier};
pub use certificate::Expiry;
pub use client_certificate::ClientCertificate;
pub use handshake::HandshakeError;
pub use pem::{ReadPemError, read_authorities, read_chain, read_key};
pub use spec::Spec;
pub use terminator::{Renewal, Session, Terminator};
pub use tickets::TicketKey;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// ALPN name of HTTP/1.1 (RFC 7301 section 6).
pub const HTTP1: &[u8] = b"http/1.1";

/// Bytes of a connection's outgoing data that rustls holds for a peer that does not take them: two full records.
///
/// An idle connection holds 7 KiB, measured in both versions: 4 KiB of them rustls' read buffer, the rest its state.
pub const BUFFER_LIMIT: usize = 32 * 1024;

/// Why TLS cannot be set up as written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {message}")]
pub struct BuildError {
    /// The key at fault, relative to the Spec: `certificates[0].key`.
    pub at: String,
    pub message: String,
}

/// Something that works and should not stay so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The key it is about, relative to the Spec.
    pub at: String,
    pub message: String,
}

impl BuildError {
    pub fn new(at: impl Into<String>, message: impl ToString) -> Self {
        Self { at: at.into(), message: message.to_string() }
    }
}

/// Reads a chain and its key and checks that they belong together; the errors are at `cert` and `key`.
pub fn read_certified_key(
    spec: &spec::CertificateSpec,
    provider: &CryptoProvider,
) -> Result<Arc<rustls::sign::CertifiedKey>, Vec<BuildError>> {
    let certificate = certificate::Certificate::read(spec, provider);
    let error = |(at, message): (&str, String)| BuildError::new(at, message);
    certificate.map(|read| read.key).map_err(|flaws| flaws.into_iter().map(error).collect())
}

/// The cryptography of every TLS connection: aws-lc-rs with X25519MLKEM768 as the first key exchange.
///
/// Always passed explicitly, since another crate's default provider may be installed in the process.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
