//! TLS to the control interface of `admin.tls`: a command believes the certificates that the config names, and no other.

use std::io;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::tls::{self, Believed, LeafVerifier};

/// Shakes hands. `certificates`: the PEM files of `admin.tls.certificates`. Fails where none can be read, or where whoever
/// answers has another one.
pub fn shake_hands(
    stream: TcpStream,
    certificates: &[PathBuf],
) -> anyhow::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut known = Vec::new();
    for path in certificates {
        let chain = tls::read_chain(path).context("cannot ask without the certificate of admin.tls")?;
        known.extend(chain.into_iter().next());
    }
    let provider = tls::provider();
    let verifier = LeafVerifier { believed: Believed::These(known), provider: Arc::clone(&provider) };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // Any name: which certificate it is decides.
    let name = ServerName::try_from("localhost")?;
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), name)?, stream);
    stream.conn.complete_io(&mut stream.sock).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => anyhow::Error::new(error)
            .context("whoever answers at admin.address does not have the certificate of admin.tls"),
        _ => anyhow::Error::new(error).context("the TLS handshake at admin.address failed"),
    })?;
    Ok(stream)
}
