//! Reads PEM files: chains, keys, authorities; and says in words what is wrong with one.
//!
//! Whether a key belongs to a certificate, or a certificate to a host, is not its business.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Larger files are no PEM files of certificates: all of the web's authorities together are 250 KiB.
const MAX_FILE: u64 = 8 * 1024 * 1024;

/// Why a PEM file did not give what it should.
#[derive(Debug, thiserror::Error)]
pub enum ReadPemError {
    #[error("cannot read `{path}`: {source}", path = .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("`{path}` is not a file; write the path of a PEM file", path = .0.display())]
    NotAFile(PathBuf),
    #[error("`{path}` is empty; write the path of a PEM file", path = .0.display())]
    Empty(PathBuf),
    #[error("`{path}` is larger than 8 MiB, so it is no PEM file of {wanted}", path = .path.display())]
    TooLarge { path: PathBuf, wanted: &'static str },
    #[error("`{path}` is in binary (DER) form; convert it: openssl {tool} -inform der -in FILE -out FILE.pem", path = .path.display())]
    Der { path: PathBuf, tool: &'static str },
    #[error("`{path}` is damaged: {reason}", path = .path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("`{path}` holds no {wanted}, {found}", path = .path.display())]
    Missing { path: PathBuf, wanted: &'static str, found: String },
    #[error("`{path}` is encrypted and nobody can type its passphrase at start; decrypt it: openssl pkey -in FILE -out FILE.key", path = .0.display())]
    Encrypted(PathBuf),
    #[error("`{path}` holds {count} private keys, and it is not clear which one is meant; keep one", path = .path.display())]
    ManyKeys { path: PathBuf, count: usize },
    #[error("certificate {number} of `{path}` is not one that can be used: {reason}", path = .path.display())]
    BadCertificate { path: PathBuf, number: usize, reason: String },
}

/// The certificates of a file in its order, at least one.
pub fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, ReadPemError> {
    let text = read(path, "certificates", "x509")?;
    let chain: Vec<CertificateDer<'static>> = sections(path, &text)?;
    if chain.is_empty() {
        return Err(missing(path, &text, "certificate"));
    }
    for (index, der) in chain.iter().enumerate() {
        if let Err(reason) = x509_parser::parse_x509_certificate(der) {
            let reason = reason.to_string();
            return Err(ReadPemError::BadCertificate { path: path.to_owned(), number: index + 1, reason });
        }
    }
    Ok(chain)
}

/// The one private key of a file.
pub fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, ReadPemError> {
    let text = read(path, "keys", "pkey")?;
    if contains(&text, b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || contains(&text, b"Proc-Type: 4,ENCRYPTED")
    {
        return Err(ReadPemError::Encrypted(path.to_owned()));
    }
    let mut keys: Vec<PrivateKeyDer<'static>> = sections(path, &text)?;
    match keys.len() {
        1 => keys.pop().ok_or_else(|| missing(path, &text, "private key")),
        0 => Err(missing(path, &text, "private key")),
        count => Err(ReadPemError::ManyKeys { path: path.to_owned(), count }),
    }
}

/// The authorities of a file as roots to trust.
pub fn read_authorities(path: &Path) -> Result<RootCertStore, ReadPemError> {
    let mut roots = RootCertStore::empty();
    for (index, der) in read_chain(path)?.into_iter().enumerate() {
        roots.add(der).map_err(|error| ReadPemError::BadCertificate {
            path: path.to_owned(),
            number: index + 1,
            reason: error.to_string(),
        })?;
    }
    Ok(roots)
}

fn read(path: &Path, wanted: &'static str, tool: &'static str) -> Result<Vec<u8>, ReadPemError> {
    let unreadable = |source| ReadPemError::Unreadable { path: path.to_owned(), source };
    // Looked at before it is opened: opening a FIFO would wait for a writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(ReadPemError::NotAFile(path.to_owned()));
    }
    let mut text = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut text)).map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE {
        return Err(ReadPemError::TooLarge { path: path.to_owned(), wanted });
    }
    if text.trim_ascii().is_empty() {
        return Err(ReadPemError::Empty(path.to_owned()));
    }
    // A DER certificate or key is one SEQUENCE with a long length.
    if text.starts_with(&[0x30, 0x82]) || text.starts_with(&[0x30, 0x81]) {
        return Err(ReadPemError::Der { path: path.to_owned(), tool });
    }
    Ok(text)
}

fn sections<T: PemObject>(path: &Path, text: &[u8]) -> Result<Vec<T>, ReadPemError> {
    T::pem_slice_iter(text).collect::<Result<_, _>>().map_err(|error| {
        let reason = match error {
            pem::Error::MissingSectionEnd { .. } => "a section has a BEGIN line and no END line".to_owned(),
            pem::Error::IllegalSectionStart { .. } => "a BEGIN line is malformed".to_owned(),
            pem::Error::Base64Decode(_) => "a section is not base64".to_owned(),
            other => other.to_string(),
        };
        ReadPemError::Damaged { path: path.to_owned(), reason }
    })
}

/// Says what the file holds instead of what was looked for.
fn missing(path: &Path, text: &[u8], wanted: &'static str) -> ReadPemError {
    let mut kinds: Vec<&str> = Vec::new();
    for (kind, _) in <(SectionKind, Vec<u8>)>::pem_slice_iter(text).flatten() {
        let name = match kind {
            SectionKind::Certificate => "a certificate",
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                "a private key"
            }
            SectionKind::PublicKey => "a public key",
            SectionKind::Csr => "a certificate request",
            SectionKind::Crl => "a revocation list",
            _ => "something else",
        };
        if !kinds.contains(&name) {
            kinds.push(name);
        }
    }
    let found = match kinds.as_slice() {
        [] => "and nothing else that is PEM; it should have a line `-----BEGIN ...-----`".to_owned(),
        kinds => format!("but {}", kinds.join(" and ")),
    };
    ReadPemError::Missing { path: path.to_owned(), wanted, found }
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(text, needle).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::Files;

    fn chain_error(content: &[u8]) -> String {
        let files = Files::new();
        let path = files.write("x.pem", content);
        read_chain(&path).unwrap_err().to_string().replace(&*path.to_string_lossy(), "x.pem")
    }

    fn key_error(content: &[u8]) -> String {
        let files = Files::new();
        let path = files.write("x.pem", content);
        read_key(&path).unwrap_err().to_string().replace(&*path.to_string_lossy(), "x.pem")
    }

    #[test]
    fn each_way_a_file_can_be_wrong_is_told_apart() {
        let files = Files::new();
        let leaf = files.self_signed(&["a.example"]);
        let cert = std::fs::read(&leaf.cert).unwrap();
        let key = std::fs::read(&leaf.key).unwrap();
        let der = read_chain(&leaf.cert).unwrap().remove(0).to_vec();

        assert_eq!(chain_error(b" \n"), "`x.pem` is empty; write the path of a PEM file");
        assert_eq!(chain_error(&key), "`x.pem` holds no certificate, but a private key");
        assert_eq!(key_error(&cert), "`x.pem` holds no private key, but a certificate");
        assert!(chain_error(b"hello").contains("and nothing else that is PEM"));
        assert!(
            chain_error(&der).contains("binary (DER) form; convert it: openssl x509"),
            "{}",
            chain_error(&der)
        );
        assert!(chain_error(&cert[..cert.len() / 2]).contains("no END line"));
        let garbled = String::from_utf8(cert.clone()).unwrap().replacen("MII", "M!!", 1);
        assert!(chain_error(garbled.as_bytes()).contains("is damaged"));
        assert!(
            key_error(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n")
                .contains("is encrypted")
        );
        assert!(key_error(&[key.clone(), key].concat()).contains("2 private keys"));
        let missing = read_chain(Path::new("/nowhere/x.pem")).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read `/nowhere/x.pem`: No such file"), "{missing}");
        assert!(read_chain(Path::new("/")).unwrap_err().to_string().contains("is not a file"));
    }

    #[test]
    fn a_certificate_that_is_no_x509_is_named_by_its_number() {
        let files = Files::new();
        let leaf = files.self_signed(&["a.example"]);
        let mut text = std::fs::read_to_string(&leaf.cert).unwrap();
        text.push_str("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert!(chain_error(text.as_bytes()).starts_with("certificate 2 of `x.pem`"));
    }

    #[test]
    fn one_file_may_hold_chain_and_key() {
        let files = Files::new();
        let leaf = files.self_signed(&["a.example"]);
        let both = [std::fs::read(&leaf.key).unwrap(), std::fs::read(&leaf.cert).unwrap()].concat();
        let path = files.write("both.pem", &both);
        assert_eq!(read_chain(&path).unwrap().len(), 1);
        assert!(read_key(&path).is_ok());
    }
}
