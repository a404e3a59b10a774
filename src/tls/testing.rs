//! Certificates made for one test, and both ends of a connection.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use tokio::net::UnixStream;

use super::spec::CertificateSpec;
use crate::net::Transport;

/// A folder of PEM files that goes away with the test.
pub(crate) struct Files(tempfile::TempDir);

/// An authority that tests sign with.
pub(crate) struct Authority {
    pub file: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Files {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn keep(&self, cert: &str, key: &KeyPair) -> CertificateSpec {
        let number = std::fs::read_dir(self.0.path()).unwrap().count();
        CertificateSpec {
            cert: self.write(&format!("{number}.crt"), cert.as_bytes()),
            key: self.write(&format!("{number}.key"), key.serialize_pem().as_bytes()),
        }
    }

    pub fn self_signed(&self, names: &[&str]) -> CertificateSpec {
        self.certificate(|params| *params = CertificateParams::new(owned(names)).unwrap())
    }

    pub fn self_signed_rsa(&self, names: &[&str]) -> CertificateSpec {
        let cert = CertificateParams::new(owned(names)).unwrap();
        let key = rsa_key();
        self.keep(&cert.self_signed(&key).unwrap().pem(), &key)
    }

    /// A self-signed certificate without any name but what `change` gives it.
    pub fn certificate(&self, change: impl FnOnce(&mut CertificateParams)) -> CertificateSpec {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        self.keep(&params.self_signed(&key).unwrap().pem(), &key)
    }

    pub fn authority(&self, name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let file = self.write(&format!("{name}.ca"), params.self_signed(&key).unwrap().pem().as_bytes());
        Authority { file, issuer: Issuer::new(params, key) }
    }

    /// A leaf that `authority` signed, for `names`, changed by `change`.
    pub fn signed(
        &self,
        authority: &Authority,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateSpec {
        self.sign(authority, names, KeyPair::generate().unwrap(), change)
    }

    pub fn signed_rsa(&self, authority: &Authority, names: &[&str]) -> CertificateSpec {
        self.sign(authority, names, rsa_key(), |_| {})
    }

    fn sign(
        &self,
        authority: &Authority,
        names: &[&str],
        key: KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateSpec {
        let mut params = CertificateParams::new(owned(names)).unwrap();
        change(&mut params);
        self.keep(&params.signed_by(&key, &authority.issuer).unwrap().pem(), &key)
    }
}

impl Authority {
    pub fn roots(&self) -> Arc<RootCertStore> {
        Arc::new(super::read_authorities(&self.file).unwrap())
    }
}

fn rsa_key() -> KeyPair {
    let key = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = aws_lc_rs::encoding::AsDer::as_der(&key).unwrap();
    KeyPair::try_from(der.as_ref().to_vec()).unwrap()
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Both ends of a connection that has no address.
pub(crate) fn pair() -> (Transport, Transport) {
    let (one, other) = UnixStream::pair().unwrap();
    (one.into(), other.into())
}

/// Days since 1970 as a time since 1970.
pub(crate) fn days(count: u64) -> Duration {
    Duration::from_secs(count * 24 * 3600)
}

/// The certificate and key of a Spec, for rustls clients.
pub(crate) fn identity(
    spec: &CertificateSpec,
) -> (Vec<rustls::pki_types::CertificateDer<'static>>, rustls::pki_types::PrivateKeyDer<'static>) {
    (super::read_chain(&spec.cert).unwrap(), super::read_key(&spec.key).unwrap())
}
