//! TLS to the servers of a pool: one rustls config for all of them, so that sessions resume.
//!
//! Servers are verified unless the Spec says otherwise in plain words; an unknown name never turns verification off, as it
//! does in pingora's connector. The deadline of a handshake is the caller's.

use std::borrow::Cow;
use std::io;
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, InvalidMessage, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::TlsSpec;
use crate::net::{Address, Transport};
use crate::tls::spec::CertificateSpec;
use crate::tls::{
    BUFFER_LIMIT, Believed, BuildError, LeafVerifier, provider, read_authorities, read_certified_key,
};

/// Server names whose sessions are kept; a pool has one name, or one for each server.
const SESSIONS: usize = 1024;

/// The authorities that this system trusts, read when the first pool needs them. Made anew for each build of a plan, so
/// that a reload sees what was installed since.
#[derive(Debug, Default)]
pub struct SystemRoots(OnceLock<Result<Arc<RootCertStore>, String>>);

/// TLS to the servers of one pool.
#[derive(Clone)]
pub struct ClientTls {
    connector: TlsConnector,
    server_name: Option<ServerName<'static>>,
    verifies: bool,
}

/// What kind of failure ended a handshake with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    /// The server's certificate does not hold.
    Certificate,
    /// The server wants another client certificate than it was shown, or one at all.
    ClientCertificate,
    /// The server ended it with an alert.
    Refused,
    /// No version or cipher in common, or not TLS at all.
    Incompatible,
    /// Closed or reset in the middle.
    Closed,
    /// Anything else.
    Other,
}

/// A handshake with a server that failed; which server, the caller adds.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct ConnectError {
    pub kind: ConnectFailure,
    pub detail: Cow<'static, str>,
}

/// Why there is no name to verify a server by.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerNameError {
    #[error("`{0}` has no name that its certificate could be verified for; write tls.server_name")]
    Unix(Address),
    #[error("`{0}` is no name that a certificate can be for; write tls.server_name")]
    Unusable(String),
}

impl SystemRoots {
    fn load(&self) -> Result<Arc<RootCertStore>, String> {
        let load = || {
            let found = rustls_native_certs::load_native_certs();
            let mut roots = RootCertStore::empty();
            let (usable, _) = roots.add_parsable_certificates(found.certs);
            match (usable, found.errors.first()) {
                (0, None) => {
                    Err("this system has no authorities to trust; install ca-certificates or write `ca`"
                        .to_owned())
                }
                (0, Some(error)) => Err(format!(
                    "the authorities of this system cannot be read ({error}); install ca-certificates or write `ca`"
                )),
                _ => Ok(Arc::new(roots)),
            }
        };
        self.0.get_or_init(load).clone()
    }
}

impl ClientTls {
    /// Reads and checks every file of `spec`. `protocols` are ALPN names in order of preference. The errors are all there
    /// are, not the first.
    pub fn build(spec: &TlsSpec, protocols: &[&[u8]], system: &SystemRoots) -> Result<Self, Vec<BuildError>> {
        let provider = provider();
        let mut errors = Vec::new();
        let mut keep = |error: BuildError| errors.push(error);
        let verifier = verifier(spec, &provider, system).map_err(&mut keep).ok();
        let identity =
            read_identity(spec, &provider).map_err(|found| found.into_iter().for_each(&mut keep)).ok();
        let server_name = spec.server_name.as_deref().map(parse_name).transpose();
        let server_name = server_name.map_err(|error| keep(BuildError::new("server_name", error))).ok();
        let (Some(verifier), Some(identity), Some(server_name)) = (verifier, identity, server_name) else {
            return Err(errors);
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| vec![BuildError::new("", error)])?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match identity {
            Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self { connector, server_name, verifies: !spec.insecure_skip_verify })
    }

    /// The name to ask a server for and to verify: that of the Spec, else the host name or address as written.
    pub fn server_name(&self, address: &Address) -> Result<ServerName<'static>, ServerNameError> {
        match (&self.server_name, address) {
            (Some(name), _) => Ok(name.clone()),
            (None, Address::Inet(address)) => Ok(ServerName::IpAddress(address.ip().to_canonical().into())),
            (None, Address::Host { name, .. }) => parse_name(name),
            // Nothing is verified, so any name will do.
            (None, Address::Unix(_)) if !self.verifies => parse_name("localhost"),
            (None, Address::Unix(_)) => Err(ServerNameError::Unix(address.clone())),
        }
    }

    /// Takes a connection through the handshake. A dropped future closes the connection.
    pub async fn connect(
        &self,
        transport: Transport,
        server_name: &ServerName<'static>,
    ) -> Result<TlsStream<Transport>, ConnectError> {
        let limit =
            |connection: &mut rustls::ClientConnection| connection.set_buffer_limit(Some(BUFFER_LIMIT));
        let handshake = self.connector.connect_with(server_name.clone(), transport, limit);
        handshake.await.map_err(|error| classify(&error))
    }
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls")
            .field("server_name", &self.server_name)
            .field("verifies", &self.verifies)
            .finish_non_exhaustive()
    }
}

fn parse_name(text: &str) -> Result<ServerName<'static>, ServerNameError> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    ServerName::try_from(name).map_err(|_| ServerNameError::Unusable(text.to_owned()))
}

fn verifier(
    spec: &TlsSpec,
    provider: &Arc<CryptoProvider>,
    system: &SystemRoots,
) -> Result<Arc<dyn ServerCertVerifier>, BuildError> {
    if spec.insecure_skip_verify {
        return Ok(Arc::new(LeafVerifier { believed: Believed::Any, provider: provider.clone() }));
    }
    let roots = match &spec.ca {
        Some(path) => Arc::new(read_authorities(path).map_err(|error| BuildError::new("ca", error))?),
        None => system.load().map_err(|message| BuildError::new("ca", message))?,
    };
    let builder = rustls::client::WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
    Ok(builder.build().map_err(|error| BuildError::new("ca", error))?)
}

fn read_identity(
    spec: &TlsSpec,
    provider: &CryptoProvider,
) -> Result<Option<Arc<CertifiedKey>>, Vec<BuildError>> {
    match (&spec.cert, &spec.key) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => {
            read_certified_key(&CertificateSpec { cert: cert.clone(), key: key.clone() }, provider).map(Some)
        }
        (Some(_), None) => Err(vec![BuildError::new("cert", "needs `key`, the file with its private key")]),
        (None, Some(_)) => Err(vec![BuildError::new("key", "needs `cert`, the file with its certificate")]),
    }
}

fn classify(error: &io::Error) -> ConnectError {
    use ConnectFailure as F;
    let failed = |kind, detail: Cow<'static, str>| ConnectError { kind, detail };
    let Some(cause) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                failed(F::Closed, "the server closed during the TLS handshake".into())
            }
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                failed(F::Closed, "the server reset the connection during the TLS handshake".into())
            }
            _ => failed(F::Other, format!("the TLS handshake failed: {error}").into()),
        };
    };
    match cause {
        Error::InvalidCertificate(why) => failed(F::Certificate, server_certificate(why).into()),
        Error::AlertReceived(AlertDescription::CertificateRequired) => failed(
            F::ClientCertificate,
            "the server wants a client certificate; write tls.cert and tls.key".into(),
        ),
        Error::AlertReceived(
            alert @ (AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::UnsupportedCertificate),
        ) => failed(
            F::ClientCertificate,
            format!("the server does not accept our client certificate ({alert:?})").into(),
        ),
        Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            failed(F::Incompatible, "the server speaks neither TLS 1.2 nor 1.3".into())
        }
        Error::AlertReceived(alert) => {
            failed(F::Refused, format!("the server ended the TLS handshake: {alert:?}").into())
        }
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => failed(F::Incompatible, "the server does not speak TLS on this port".into()),
        Error::PeerIncompatible(why) => failed(
            F::Incompatible,
            format!("the server has too little of TLS in common with us: {why:?}").into(),
        ),
        cause => failed(F::Other, format!("the TLS handshake failed: {cause}").into()),
    }
}

fn server_certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::NotValidForNameContext { expected, presented } => {
            let expected = expected.to_str();
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            match names.as_slice() {
                [] => format!("the server's certificate is not valid for {expected}; it has no subjectAltName"),
                names => format!(
                    "the server's certificate is not valid for {expected}; it names {}. If that is right, write tls.server_name",
                    names.join(", ")
                ),
            }
        }
        CertificateError::UnknownIssuer => {
            "the server's certificate was not issued by an authority that is trusted here; name its file in tls.ca".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the server's certificate is not made for servers (extendedKeyUsage lacks serverAuth)".to_owned()
        }
        why => format!("the server's certificate does not hold: {why}"),
    }
}

/// The name alone out of how rustls prints one: `DnsName("a.example")`.
fn bare(printed: &str) -> &str {
    printed.split_once('(').map_or(printed, |(_, name)| name.trim_end_matches(')').trim_matches('"'))
}

#[cfg(test)]
mod tests;
