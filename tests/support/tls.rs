//! A throwaway authority, certificates in files, and TLS clients and servers that trust it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::client::Connection;
use super::time::within;

/// An authority with its files in a folder: `NAME.crt`, and `LEAF.crt`, `LEAF.key` for what it signs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    folder: PathBuf,
    /// PEM file of the authority itself.
    pub path: PathBuf,
}

/// A signed certificate with its key.
pub struct Leaf {
    pub cert: PathBuf,
    pub key: PathBuf,
    chain: Vec<CertificateDer<'static>>,
    secret: Vec<u8>,
}

impl Authority {
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        let path = folder.join(format!("{name}.crt"));
        std::fs::write(&path, certificate.pem()).expect("the authority can be written");
        let der = certificate.der().clone();
        Self { issuer: Issuer::new(parameters, key), certificate: der, folder: folder.to_owned(), path }
    }

    /// Signs a certificate for these names (the first is its subject too) and writes it.
    pub fn issue(&self, names: &[&str]) -> Leaf {
        self.issue_with(names, |_| {})
    }

    /// As `issue`, with changed parameters.
    pub fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let stem = names[0].replace('*', "any").replace(' ', "-");
        let sans: Vec<String> = names.iter().filter(|name| !name.contains(' ')).cloned().collect();
        let mut parameters = CertificateParams::new(sans).expect("names of a certificate");
        parameters.distinguished_name.push(DnType::CommonName, names[0].as_str());
        change(&mut parameters);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        let (cert_path, key_path) =
            (self.folder.join(format!("{stem}.crt")), self.folder.join(format!("{stem}.key")));
        std::fs::write(&cert_path, certificate.pem()).expect("the certificate can be written");
        std::fs::write(&key_path, key.serialize_pem()).expect("the key can be written");
        let owner_alone = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&key_path, owner_alone).expect("the key can be kept from others");
        let chain = vec![certificate.der().clone()];
        Leaf { cert: cert_path, key: key_path, chain, secret: key.serialize_der() }
    }

    /// As `issue`, with the files in another folder.
    pub fn issue_into(&self, folder: &Path, names: &[&str]) -> Leaf {
        let mut leaf = self.issue(names);
        for path in [&mut leaf.cert, &mut leaf.key] {
            let to = folder.join(path.file_name().expect("a name"));
            std::fs::rename(&*path, &to).expect("the file can be moved");
            *path = to;
        }
        leaf
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("our own authority");
        roots
    }

    /// A client that trusts only this authority.
    pub fn client(&self) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        builder.expect("versions").with_root_certificates(self.roots()).with_no_client_auth()
    }

    /// A client of one TLS version.
    pub fn client_of(&self, version: &'static rustls::SupportedProtocolVersion) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]);
        builder.expect("versions").with_root_certificates(self.roots()).with_no_client_auth()
    }

    /// A client that shows a certificate.
    pub fn client_with(&self, leaf: &Leaf) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.expect("versions").with_root_certificates(self.roots());
        builder.with_client_auth_cert(leaf.chain.clone(), leaf.secret()).expect("the key fits")
    }
}

impl Leaf {
    fn secret(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.secret.clone()).expect("a key in PKCS#8")
    }

    /// A server that shows this certificate.
    pub fn acceptor(&self) -> TlsAcceptor {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.expect("versions").with_no_client_auth();
        let config = builder.with_single_cert(self.chain.clone(), self.secret()).expect("the key fits");
        TlsAcceptor::from(Arc::new(config))
    }

    /// As `acceptor`, and agrees to the first of these protocols that the client offers as well.
    pub fn acceptor_for(&self, protocols: &[&str]) -> TlsAcceptor {
        let mut config = ServerConfig::clone(self.acceptor().config());
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    /// As `acceptor`, and asks clients for a certificate of this authority.
    pub fn acceptor_asking(&self, authority: &Authority) -> TlsAcceptor {
        let roots = Arc::new(authority.roots());
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.expect("versions").with_client_cert_verifier(verifier.expect("an authority"));
        let config = builder.with_single_cert(self.chain.clone(), self.secret()).expect("the key fits");
        TlsAcceptor::from(Arc::new(config))
    }

    /// As a list item of `tls.certificates`.
    pub fn yaml(&self) -> String {
        format!("{{ cert: {}, key: {} }}", self.cert.display(), self.key.display())
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A handshake with Lintel, asking for this name.
pub async fn handshake(
    address: SocketAddr,
    name: &str,
    config: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).expect("a server name");
    let stream = within("a TCP connection", TcpStream::connect(address)).await?;
    within("a TLS handshake", TlsConnector::from(Arc::clone(config)).connect(name, stream)).await
}

/// A TLS connection with Lintel, asking for this name.
pub async fn connect(address: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> Connection {
    let stream = handshake(address, name, config).await;
    Connection::over(stream.unwrap_or_else(|error| panic!("TLS with {name}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_client_trusts_what_the_authority_signed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, other) = (Authority::new(folder.path(), "ours"), Authority::new(folder.path(), "other"));
        let acceptor = ours.issue(&["a.test"]).acceptor();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    stream.write_all(b"hi").await.unwrap();
                    stream.shutdown().await.unwrap();
                }
            }
        });
        let mut stream = handshake(address, "a.test", &Arc::new(ours.client())).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hi");
        assert!(handshake(address, "b.test", &Arc::new(ours.client())).await.is_err());
        assert!(handshake(address, "a.test", &Arc::new(other.client())).await.is_err());
    }
}
