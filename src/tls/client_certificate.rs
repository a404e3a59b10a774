//! What is passed on about a client's certificate: its subject as text that is safe in a header, and its fingerprint.
//!
//! Whether the certificate is to be believed was decided by the handshake.

use std::fmt::Write;

use aws_lc_rs::digest;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Longer subjects are left out rather than cut: half a name may be somebody else's.
const MAX_SUBJECT: usize = 2048;

/// A client certificate that the handshake verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject in the form of RFC 4514, visible ASCII and spaces alone; empty when it is longer than 2 KiB.
    pub subject: String,
    /// SHA-256 of the certificate, 64 lower-case hexadecimal digits.
    pub fingerprint_sha256_hex: String,
}

impl ClientCertificate {
    /// Reads a leaf; an unreadable subject is empty, the fingerprint identifies it all the same.
    pub(super) fn of(der: &[u8]) -> Self {
        let subject = x509_parser::parse_x509_certificate(der).map(|(_, leaf)| subject(leaf.subject()));
        let mut fingerprint_sha256_hex = String::with_capacity(64);
        write_hex(&mut fingerprint_sha256_hex, digest::digest(&digest::SHA256, der).as_ref());
        Self { subject: subject.unwrap_or_default(), fingerprint_sha256_hex }
    }
}

/// RFC 4514 section 2.1: the last relative name first, the parts of one joined by `+`.
fn subject(name: &X509Name<'_>) -> String {
    let names: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for (index, relative) in names.iter().rev().enumerate() {
        if index > 0 {
            text.push(',');
        }
        for (index, attribute) in relative.iter().enumerate() {
            if index > 0 {
                text.push('+');
            }
            write_attribute(&mut text, attribute);
            if text.len() > MAX_SUBJECT {
                return String::new();
            }
        }
    }
    text
}

/// RFC 4514 sections 2.3 and 2.4: the short name where there is one, and the value escaped or in hexadecimal.
fn write_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let oid = attribute.attr_type().to_id_string();
    match short_name(&oid) {
        Some(name) => text.push_str(name),
        None => text.push_str(&oid),
    }
    text.push('=');
    match attribute.as_str() {
        Ok(value) => write_escaped(text, value),
        Err(_) => {
            text.push('#');
            write_hex(text, attribute.as_slice());
        }
    }
}

/// The table of RFC 4514 section 3, and the address many authorities put in.
fn short_name(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.6" => "C",
        "2.5.4.9" => "STREET",
        "0.9.2342.19200300.100.1.25" => "DC",
        "0.9.2342.19200300.100.1.1" => "UID",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    })
}

/// Escapes what RFC 4514 asks for, and as `\XX` every byte that does not belong in a header.
fn write_escaped(text: &mut String, value: &str) {
    let last = value.len().saturating_sub(1);
    for (index, byte) in value.bytes().enumerate() {
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => text.extend(['\\', char::from(byte)]),
            b'#' if index == 0 => text.push_str("\\#"),
            b' ' if index == 0 || index == last => text.push_str("\\ "),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                text.push('\\');
                write_hex(text, &[byte]);
            }
        }
    }
}

fn write_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::read_chain;
    use crate::tls::testing::Files;
    use proptest::prelude::*;
    use rcgen::DnType;

    fn client(change: impl FnOnce(&mut rcgen::DistinguishedName)) -> ClientCertificate {
        let files = Files::new();
        let spec = files.certificate(|params| change(&mut params.distinguished_name));
        ClientCertificate::of(&read_chain(&spec.cert).unwrap()[0])
    }

    #[test]
    fn the_subject_is_written_last_part_first_by_short_names() {
        let subject = client(|name| {
            name.push(DnType::CountryName, "DE");
            name.push(DnType::OrganizationName, "Müller, Söhne + Co");
            name.push(DnType::CommonName, " #a\r\nx-admin: 1 ");
            name.push(DnType::CustomDnType(vec![1, 2, 3, 4]), "z");
        });
        assert_eq!(
            subject.subject,
            "1.2.3.4=z,CN=\\ #a\\0d\\0ax-admin: 1\\ ,O=M\\c3\\bcller\\, S\\c3\\b6hne \\+ Co,C=DE"
        );
    }

    #[test]
    fn strings_of_other_kinds_are_hexadecimal() {
        let subject = client(|name| {
            let value = rcgen::string::BmpString::try_from("ab").unwrap();
            name.push(DnType::CommonName, rcgen::DnValue::BmpString(value));
        });
        assert_eq!(subject.subject, "CN=#00610062");
    }

    #[test]
    fn a_subject_beyond_the_limit_is_left_out_and_the_fingerprint_stays() {
        let certificate = client(|name| name.push(DnType::CommonName, "x".repeat(3000)));
        assert_eq!(certificate.subject, "");
        assert_eq!(certificate.fingerprint_sha256_hex.len(), 64);
        assert_eq!(ClientCertificate::of(b"no certificate").subject, "");
    }

    #[test]
    fn the_fingerprint_is_the_digest_of_the_whole_certificate() {
        assert_eq!(
            ClientCertificate::of(b"").fingerprint_sha256_hex,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    proptest! {
        #[test]
        fn an_escaped_value_is_visible_ascii_and_reads_back(value in any::<String>()) {
            let mut text = String::new();
            write_escaped(&mut text, &value);
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
            while let Some((&byte, tail)) = rest.split_first() {
                rest = tail;
                match (byte, rest) {
                    (b'\\', [high, low, tail @ ..]) if high.is_ascii_hexdigit() => {
                        let digits = [*high, *low];
                        bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                        rest = tail;
                    }
                    (b'\\', [plain, tail @ ..]) => {
                        bytes.push(*plain);
                        rest = tail;
                    }
                    _ => bytes.push(byte),
                }
            }
            prop_assert_eq!(bytes, value.into_bytes());
        }
    }
}
