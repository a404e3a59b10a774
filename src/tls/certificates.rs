//! All certificates of a listener and the index by name: exact, then wildcard, then the first of the list.
//!
//! Immutable; a change of files builds it anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rustls::SignatureScheme;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use smallvec::SmallVec;

use super::certificate::{Certificate, Expiry, normal};
use super::spec::CertificateSpec;
use super::{BuildError, Warning};

/// Places in the list, in its order: more than one where the same name has an ECDSA and an RSA certificate.
type Places = SmallVec<[usize; 2]>;

/// The certificates of a listener.
#[derive(Debug)]
pub(super) struct Certificates {
    list: Vec<Certificate>,
    exact: HashMap<String, Places>,
    /// Keyed by what follows `*.`; stands for one label (RFC 9525 section 6.3).
    wildcard: HashMap<String, Places>,
    /// The first certificate, and those for the same name.
    fallback: Places,
}

impl Certificates {
    /// Reads every file; the errors are those of all certificates.
    pub fn load(specs: &[CertificateSpec], provider: &CryptoProvider) -> Result<Self, Vec<BuildError>> {
        let mut errors = Vec::new();
        let mut list = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            match Certificate::read(spec, provider) {
                Ok(certificate) => list.push(certificate),
                Err(flaws) => {
                    errors.extend(flaws.into_iter().map(|(key, message)| {
                        BuildError::new(format!("certificates[{index}].{key}"), message)
                    }))
                }
            }
        }
        if specs.is_empty() {
            errors.push(BuildError::new(
                "certificates",
                "is empty; write at least one { cert: FILE, key: FILE }",
            ));
        }
        if errors.is_empty() { Ok(Self::index(list)) } else { Err(errors) }
    }

    fn index(list: Vec<Certificate>) -> Self {
        let (mut exact, mut wildcard) = (HashMap::<_, Places>::new(), HashMap::<_, Places>::new());
        for (place, certificate) in list.iter().enumerate() {
            for name in &certificate.names {
                match name.strip_prefix("*.") {
                    Some(parent) => wildcard.entry(parent.to_owned()).or_default().push(place),
                    None => exact.entry(name.clone()).or_default().push(place),
                }
            }
        }
        let first = list.first().and_then(|certificate| certificate.names.first());
        let namesakes = first.and_then(|name| match name.strip_prefix("*.") {
            Some(parent) => wildcard.get(parent),
            None => exact.get(name),
        });
        let fallback = namesakes.cloned().unwrap_or_else(|| Places::from_slice(&[0]));
        Self { list, exact, wildcard, fallback }
    }

    /// The place of the certificate that `host` selects, whatever a client can verify.
    pub fn selects(&self, host: &str) -> usize {
        self.candidates(Some(host)).first().copied().unwrap_or_default()
    }

    /// Whether the certificate at `place` is as good for `host` as the one it selects.
    pub fn suits(&self, place: usize, host: &str) -> bool {
        self.candidates(Some(host)).contains(&place)
    }

    /// The place of the certificate for `name` that a client with these signature schemes can verify.
    pub fn pick(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> usize {
        let candidates = self.candidates(name);
        let usable = |place: &&usize| self.list[**place].key.key.choose_scheme(schemes).is_some();
        // When none is usable, rustls turns the first down with the fitting alert.
        candidates.iter().find(usable).or(candidates.first()).copied().unwrap_or_default()
    }

    pub fn warnings(&self, now: Duration) -> Vec<Warning> {
        let warning =
            |place: usize, message: String| Warning { at: format!("certificates[{place}].cert"), message };
        let mut warnings = Vec::new();
        for (place, certificate) in self.list.iter().enumerate() {
            warnings.extend(certificate.remarks(now).into_iter().map(|message| warning(place, message)));
            if self.is_shadowed(place, certificate) {
                let path = certificate.path.display();
                let message =
                    format!("`{path}` is never used: each of its names has another certificate before it");
                warnings.push(warning(place, message));
            }
        }
        warnings
    }

    pub fn expiries(&self) -> Vec<Expiry> {
        self.list.iter().enumerate().map(|(place, certificate)| certificate.expiry(place)).collect()
    }

    /// Whether for each of its names an earlier certificate with the same kind of key answers.
    fn is_shadowed(&self, place: usize, certificate: &Certificate) -> bool {
        let kind = certificate.key.key.algorithm();
        !self.fallback.contains(&place)
            && certificate.names.iter().all(|name| {
                let places = match name.strip_prefix("*.") {
                    Some(parent) => self.wildcard.get(parent),
                    None => self.exact.get(name),
                };
                let mut earlier = places.into_iter().flatten().filter(|other| **other < place);
                earlier.any(|other| self.list[*other].key.key.algorithm() == kind)
            })
    }

    /// Exact before wildcard; the fallback only for a name that no certificate is for.
    fn candidates(&self, name: Option<&str>) -> Places {
        let mut candidates = Places::new();
        if let Some(name) = name {
            let name = normal(name);
            candidates.extend(self.exact.get(&*name).into_iter().flatten().copied());
            let parent =
                name.split_once('.').filter(|(label, _)| !label.is_empty()).map(|(_, parent)| parent);
            candidates
                .extend(parent.and_then(|parent| self.wildcard.get(parent)).into_iter().flatten().copied());
        }
        if candidates.is_empty() { self.fallback.clone() } else { candidates }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let place = self.pick(hello.server_name(), hello.signature_schemes());
        self.list.get(place).map(|certificate| certificate.key.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::provider;
    use crate::tls::testing::{Files, days};

    fn load(specs: &[CertificateSpec]) -> Certificates {
        Certificates::load(specs, &provider()).unwrap()
    }

    #[test]
    fn an_exact_name_wins_over_a_wildcard_and_the_first_answers_the_rest() {
        let files = Files::new();
        let certificates = load(&[
            files.self_signed(&["first.example"]),
            files.self_signed(&["*.a.example"]),
            files.self_signed(&["www.a.example", "10.0.0.9"]),
        ]);
        let table = [
            ("first.example", 0),
            ("www.a.example", 2),
            ("WWW.A.Example.", 2),
            ("api.a.example", 1),
            ("a.example", 0),
            ("x.api.a.example", 0),
            (".a.example", 0),
            ("other.example", 0),
            ("10.0.0.9", 2),
            ("[::ffff:10.0.0.9]", 2),
            ("10.0.0.8", 0),
            ("", 0),
        ];
        for (host, place) in table {
            assert_eq!(certificates.selects(host), place, "{host}");
        }
    }

    #[test]
    fn a_wildcard_stands_for_one_whole_label_only() {
        let files = Files::new();
        let certificates =
            load(&[files.self_signed(&["first.example"]), files.self_signed(&["w*.a.example"])]);
        assert_eq!(certificates.selects("www.a.example"), 0);
    }

    #[test]
    fn of_two_kinds_of_key_the_client_gets_the_one_it_can_verify() {
        use SignatureScheme as S;
        let files = Files::new();
        let certificates = load(&[
            files.self_signed(&["other.example"]),
            files.self_signed(&["a.example"]),
            files.self_signed_rsa(&["a.example"]),
        ]);
        let both = [S::RSA_PSS_SHA256, S::ECDSA_NISTP256_SHA256];
        assert_eq!(certificates.pick(Some("a.example"), &both), 1);
        assert_eq!(certificates.pick(Some("a.example"), &[S::ECDSA_NISTP256_SHA256]), 1);
        assert_eq!(certificates.pick(Some("a.example"), &[S::RSA_PSS_SHA256]), 2);
        assert_eq!(certificates.pick(Some("a.example"), &[S::ED25519]), 1);
        assert_eq!(certificates.pick(None, &[S::RSA_PSS_SHA256]), 0);
        assert!(certificates.suits(1, "a.example") && certificates.suits(2, "a.example"));
        assert!(!certificates.suits(0, "a.example") && certificates.suits(0, "b.example"));
    }

    #[test]
    fn without_a_name_the_namesakes_of_the_first_may_answer() {
        let files = Files::new();
        let certificates = load(&[files.self_signed(&["a.example"]), files.self_signed_rsa(&["a.example"])]);
        assert_eq!(certificates.pick(None, &[SignatureScheme::RSA_PSS_SHA256]), 1);
        assert!(certificates.suits(1, "unknown.example"));
        assert!(certificates.warnings(days(20_000)).is_empty());
    }

    #[test]
    fn a_certificate_that_can_never_answer_is_warned_about() {
        let files = Files::new();
        let certificates = load(&[
            files.self_signed(&["a.example"]),
            files.self_signed(&["b.example"]),
            files.self_signed(&["b.example"]),
        ]);
        let warnings = certificates.warnings(days(20_000));
        assert_eq!(warnings.len(), 1);
        assert_eq!(warnings[0].at, "certificates[2].cert");
        assert!(warnings[0].message.contains("is never used"));
    }

    #[test]
    fn all_certificates_are_checked_and_all_errors_reported() {
        let files = Files::new();
        let good = files.self_signed(&["a.example"]);
        let nowhere = files.path("nowhere.pem");
        let specs = [
            CertificateSpec { cert: nowhere.clone(), key: nowhere },
            good.clone(),
            CertificateSpec { cert: good.key, key: good.cert },
        ];
        let errors = Certificates::load(&specs, &provider()).unwrap_err();
        let places: Vec<&str> = errors.iter().map(|error| error.at.as_str()).collect();
        assert_eq!(
            places,
            ["certificates[0].cert", "certificates[0].key", "certificates[2].cert", "certificates[2].key"]
        );
        assert_eq!(Certificates::load(&[], &provider()).unwrap_err()[0].at, "certificates");
    }
}
