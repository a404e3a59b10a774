//! One certificate of the list: its chain and key, the names it is for, and how long it is good.
//!
//! Which certificate answers whom is decided in `certificates`.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};

use super::spec::CertificateSpec;
use super::{ReadPemError, read_chain, read_key};

/// How long before its end a certificate is warned about: Let's Encrypt renews 30 days before, so this is late.
const EXPIRES_SOON: i64 = 14 * 24 * 3600;

/// When a certificate ends; for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Its place in `certificates`.
    pub certificate: usize,
    /// The first name it is for; empty when it names none.
    pub name: String,
    pub path: PathBuf,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub not_after: i64,
}

/// A chain with its key, ready to be shown to clients.
#[derive(Debug)]
pub(super) struct Certificate {
    pub key: Arc<CertifiedKey>,
    /// Names and IP addresses in normal form; a wildcard starts with `*.`.
    pub names: Vec<String>,
    pub path: PathBuf,
    not_before: i64,
    not_after: i64,
    /// What can be said about it whatever the time: no names in the extension, a chain out of order.
    remarks: Vec<String>,
}

/// Why a certificate cannot be used, each with the key of its Spec that is at fault.
pub(super) type Flaws = Vec<(&'static str, String)>;

impl Certificate {
    pub fn read(spec: &CertificateSpec, provider: &CryptoProvider) -> Result<Self, Flaws> {
        let chain = read_chain(&spec.cert);
        let key = read_key(&spec.key).map_err(|error| error.to_string()).and_then(|key| {
            provider.key_provider.load_private_key(key).map_err(|_| {
                let path = spec.key.display();
                format!("`{path}` holds a key that cannot be used; take RSA of 2048 to 8192 bits, ECDSA P-256, P-384 or P-521, or Ed25519")
            })
        });
        let (chain, key) = match (chain, key) {
            (Ok(chain), Ok(key)) => (chain, key),
            (chain, key) => {
                let chain = chain.err().map(|error| ("cert", error.to_string()));
                return Err(chain.into_iter().chain(key.err().map(|message| ("key", message))).collect());
            }
        };
        let facts = Facts::of(&chain).map_err(|reason| {
            let (path, number) = (spec.cert.clone(), 1);
            vec![("cert", ReadPemError::BadCertificate { path, number, reason }.to_string())]
        })?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                let (key, cert) = (spec.key.display(), spec.cert.display());
                return Err(vec![(
                    "key",
                    format!(
                        "`{key}` is not the key of the first certificate in `{cert}`; write the key it was made with"
                    ),
                )]);
            }
            Err(error) => {
                return Err(vec![("cert", format!("`{}` cannot be used: {error}", spec.cert.display()))]);
            }
        }
        let Facts { names, not_before, not_after, remarks } = facts;
        Ok(Self { key: Arc::new(key), names, path: spec.cert.clone(), not_before, not_after, remarks })
    }

    /// What deserves a warning at `now` (time since 1970).
    pub fn remarks(&self, now: Duration) -> Vec<String> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let path = self.path.display();
        let mut remarks: Vec<String> =
            self.remarks.iter().map(|remark| format!("`{path}` {remark}")).collect();
        if now > self.not_after {
            remarks.push(format!("`{path}` expired on {}; clients refuse it", date(self.not_after)));
        } else if now < self.not_before {
            remarks.push(format!(
                "`{path}` is not valid before {}; clients refuse it until then",
                date(self.not_before)
            ));
        } else if self.not_after - now <= EXPIRES_SOON {
            let days = (self.not_after - now) / (24 * 3600);
            remarks.push(format!("`{path}` expires in {days} days, on {}; renew it", date(self.not_after)));
        }
        remarks
    }

    pub fn expiry(&self, certificate: usize) -> Expiry {
        let name = self.names.first().cloned().unwrap_or_default();
        Expiry { certificate, name, path: self.path.clone(), not_after: self.not_after }
    }
}

/// A host name or IP address as names are compared: lower case, no trailing dot, no brackets.
pub(super) fn normal(name: &str) -> Cow<'_, str> {
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Cow::Owned(address.to_canonical().to_string());
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(name.to_ascii_lowercase());
    }
    Cow::Borrowed(name)
}

/// What is written in a leaf.
struct Facts {
    names: Vec<String>,
    not_before: i64,
    not_after: i64,
    remarks: Vec<String>,
}

impl Facts {
    fn of(chain: &[CertificateDer<'_>]) -> Result<Self, String> {
        let parse = |der| x509_parser::parse_x509_certificate(der).map(|(_, certificate)| certificate);
        let parsed: Result<Vec<X509Certificate<'_>>, _> =
            chain.iter().map(|der| parse(der.as_ref())).collect();
        let parsed = parsed.map_err(|error| error.to_string())?;
        let leaf = parsed.first().ok_or("there is no certificate")?;
        let mut remarks = Vec::new();
        let names = match alternative_names(leaf) {
            Some(names) => names,
            None => {
                remarks.push(
                    "has no subjectAltName, which browsers insist on; make it anew with one".to_owned(),
                );
                common_names(leaf)
            }
        };
        if names.is_empty() {
            remarks.push("names no host, so clients will not accept it for any".to_owned());
        }
        let broken =
            parsed.windows(2).position(|pair| pair[0].issuer().as_raw() != pair[1].subject().as_raw());
        if let Some(index) = broken {
            let (number, next) = (index + 1, index + 2);
            remarks.push(format!(
                "is out of order: certificate {next} is not the issuer of certificate {number}; write the leaf, then each issuer in turn"
            ));
        }
        let validity = leaf.validity();
        Ok(Self {
            names,
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
            remarks,
        })
    }
}

/// The names in the subjectAltName extension; `None` without one (RFC 9525 section 2 leaves the common name aside).
fn alternative_names(leaf: &X509Certificate<'_>) -> Option<Vec<String>> {
    let mut names: Option<Vec<String>> = None;
    for extension in leaf.extensions() {
        let ParsedExtension::SubjectAlternativeName(list) = extension.parsed_extension() else { continue };
        let names = names.get_or_insert_default();
        for name in &list.general_names {
            let name = match name {
                GeneralName::DNSName(name) => Some(normal(name).into_owned()),
                GeneralName::IPAddress(octets) => {
                    address(octets).map(|address| address.to_canonical().to_string())
                }
                _ => None,
            };
            if let Some(name) = name.filter(|name| !names.contains(name)) {
                names.push(name);
            }
        }
    }
    names
}

fn common_names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let text = leaf.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    text.filter(|name| !name.contains(char::is_whitespace)).map(|name| normal(name).into_owned()).collect()
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))).ok()
}

fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| format!("second {seconds}"), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::provider;
    use crate::tls::testing::{Files, days};

    #[test]
    fn names_come_from_the_extension_and_from_the_common_name_only_without_one() {
        let files = Files::new();
        let names = |spec| Certificate::read(spec, &provider()).unwrap().names;
        let both = files.certificate(|params| {
            *params = rcgen::CertificateParams::new(vec![
                "WWW.A.example".into(),
                "*.a.example".into(),
                "10.0.0.7".into(),
            ])
            .unwrap();
            params.distinguished_name.push(rcgen::DnType::CommonName, "cn.example");
        });
        assert_eq!(names(&both), ["www.a.example", "*.a.example", "10.0.0.7"]);
        let unnamed = files.certificate(|params| {
            params.distinguished_name.push(rcgen::DnType::CommonName, "cn.example");
        });
        assert_eq!(names(&unnamed), ["cn.example"]);
        let remarks = Certificate::read(&unnamed, &provider()).unwrap().remarks(days(20_000));
        assert!(remarks[0].contains("has no subjectAltName"), "{remarks:?}");
    }

    #[test]
    fn a_certificate_is_warned_about_before_its_time_near_its_end_and_after() {
        let files = Files::new();
        let spec = files.certificate(|params| {
            params.subject_alt_names = vec![rcgen::SanType::DnsName("a.example".try_into().unwrap())];
            params.not_before = rcgen::date_time_ymd(2026, 1, 1);
            params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        });
        let certificate = Certificate::read(&spec, &provider()).unwrap();
        let remark = |day: u64| certificate.remarks(days(day)).pop().unwrap_or_default();
        let january = 20_454; // 2026-01-01
        assert!(
            remark(january - 1).contains("is not valid before 2026-01-01T00:00:00Z"),
            "{}",
            remark(january - 1)
        );
        assert_eq!(remark(january + 1), "");
        assert_eq!(remark(january + 75), "");
        assert!(
            remark(january + 76).contains("expires in 14 days, on 2026-04-01"),
            "{}",
            remark(january + 76)
        );
        assert!(remark(january + 91).contains("expired on 2026-04-01T00:00:00Z"), "{}", remark(january + 91));
        assert_eq!(certificate.expiry(3).name, "a.example");
        assert_eq!(certificate.expiry(3).not_after, days(january + 90).as_secs() as i64);
    }

    #[test]
    fn a_chain_out_of_order_is_remarked() {
        let files = Files::new();
        let (one, other) = (files.self_signed(&["a.example"]), files.self_signed(&["b.example"]));
        let text = [std::fs::read(&one.cert).unwrap(), std::fs::read(&other.cert).unwrap()].concat();
        let spec = CertificateSpec { cert: files.write("chain.pem", &text), key: one.key };
        let certificate = Certificate::read(&spec, &provider()).unwrap();
        // Both are called alike by their maker, so a third name is needed to break the chain.
        let named =
            files.certificate(|params| params.distinguished_name.push(rcgen::DnType::CommonName, "other"));
        assert!(certificate.remarks(days(20_000)).is_empty());
        let text = [std::fs::read(&one.cert).unwrap(), std::fs::read(&named.cert).unwrap()].concat();
        let spec = CertificateSpec { cert: files.write("broken.pem", &text), key: spec.key };
        let remarks = Certificate::read(&spec, &provider()).unwrap().remarks(days(20_000));
        assert!(remarks[0].contains("certificate 2 is not the issuer of certificate 1"), "{remarks:?}");
    }

    #[test]
    fn the_key_of_another_certificate_is_refused() {
        let files = Files::new();
        let (one, other) = (files.self_signed(&["a.example"]), files.self_signed(&["b.example"]));
        let spec = CertificateSpec { cert: one.cert, key: other.key };
        let flaws = Certificate::read(&spec, &provider()).unwrap_err();
        assert_eq!(flaws.len(), 1);
        assert_eq!(flaws[0].0, "key");
        assert!(flaws[0].1.contains("is not the key of the first certificate in"), "{flaws:?}");
    }

    #[test]
    fn names_are_compared_without_case_dots_and_brackets() {
        assert_eq!(normal("WWW.Example.com."), "www.example.com");
        assert_eq!(normal("[::FFFF:10.0.0.1]"), "10.0.0.1");
        assert_eq!(normal("[2001:DB8::1]"), "2001:db8::1");
    }
}
