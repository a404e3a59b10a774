//! TLS to the control interface of `admin.tls`: a command believes the certificates that the config names, and no other.

use std::io;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme,
    StreamOwned,
};

use crate::tls;

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
    let named = Named { known, provider: Arc::clone(&provider) };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(named))
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

/// Believes these very certificates.
#[derive(Debug)]
struct Named {
    known: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.known.contains(leaf) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::UnknownIssuer.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
