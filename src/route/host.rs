//! The host a request is for, from a Host field or an authority (RFC 9110 section 7.2, RFC 3986 section 3.2.2).
//!
//! A `Host` is proof that the text is a host and nothing else: no userinfo, no list, no path, no escape. Looking a name
//! up is not done here, nor is the choice which of several Host fields counts.

use std::fmt;
use std::net::Ipv6Addr;

use smallvec::SmallVec;

/// Longest name that DNS knows, without the trailing dot (RFC 1035 section 2.3.4).
const LONGEST_NAME: usize = 253;

/// A valid host: lower case, without its trailing dot, the port apart.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Host {
    /// Always ASCII; inline for nearly every name.
    name: SmallVec<[u8; 48]>,
    port: Option<u16>,
}

/// Why a text is not a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// No name at all, with or without a port: some requests may lack a host, the caller knows which.
    #[error("the host is empty")]
    Empty,
    #[error("the host carries userinfo")]
    Userinfo,
    #[error("the host has a character that no host name has")]
    BadCharacter,
    #[error("the host has an empty label")]
    EmptyLabel,
    #[error("the host is longer than 253 characters")]
    TooLong,
    #[error("the port of the host is not a number up to 65535")]
    BadPort,
    #[error("the brackets of the host do not hold an IPv6 address")]
    BadIpv6,
}

impl Host {
    /// Reads `name`, `name:port`, `1.2.3.4:port` or `[v6]:port`; an empty port is none (RFC 3986 section 3.2.3).
    pub fn of(text: &[u8]) -> Result<Self, HostError> {
        // No host has an @, so only what is refused is looked at for one.
        Self::read(text).map_err(|error| if text.contains(&b'@') { HostError::Userinfo } else { error })
    }

    fn read(text: &[u8]) -> Result<Self, HostError> {
        if let Some(rest) = text.strip_prefix(b"[") {
            return Self::of_ipv6(rest);
        }
        let end = memchr::memchr(b':', text).unwrap_or(text.len());
        let (name, port) = text.split_at(end);
        if name.is_empty() {
            return Err(HostError::Empty);
        }
        let port = parse_port(port.get(1..).unwrap_or_default())?;
        // One trailing dot only says that the name is absolute.
        let name = name.strip_suffix(b".").unwrap_or(name);
        if name.len() > LONGEST_NAME {
            return Err(HostError::TooLong);
        }
        let mut lower = SmallVec::from_slice(name);
        let mut before = b'.';
        for byte in &mut lower {
            *byte = match NAME[usize::from(*byte)] {
                0 => return Err(HostError::BadCharacter),
                b'.' if before == b'.' => return Err(HostError::EmptyLabel),
                lower => lower,
            };
            before = *byte;
        }
        if before == b'.' {
            return Err(HostError::EmptyLabel);
        }
        Ok(Self { name: lower, port })
    }

    /// `rest` follows the opening bracket. The address takes its one short form (RFC 5952), so that equal ones are equal.
    fn of_ipv6(rest: &[u8]) -> Result<Self, HostError> {
        let close = memchr::memchr(b']', rest).ok_or(HostError::BadIpv6)?;
        let address = std::str::from_utf8(&rest[..close]).map_err(|_| HostError::BadIpv6)?;
        let address: Ipv6Addr = address.parse().map_err(|_| HostError::BadIpv6)?;
        let port = match &rest[close + 1..] {
            b"" => None,
            [b':', port @ ..] => parse_port(port)?,
            _ => return Err(HostError::BadPort),
        };
        Ok(Self { name: SmallVec::from_slice(format!("[{address}]").as_bytes()), port })
    }

    /// Lower case, without port and trailing dot; an IPv6 address stands in its brackets.
    pub fn name(&self) -> &str {
        std::str::from_utf8(&self.name).unwrap_or_default()
    }

    /// The port, where one was written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether it is an IPv6 address.
    pub fn is_ipv6(&self) -> bool {
        self.name.first() == Some(&b'[')
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({self})")
    }
}

/// The bytes of `reg-name` in lower case, without escapes, and without `,`, which would make a list of two joined Host
/// fields a name; 0 for all others.
static NAME: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x80u8 {
        let stands = matches!(
            byte,
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'='
        );
        if byte.is_ascii_alphanumeric() || stands {
            table[byte as usize] = byte.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

fn parse_port(digits: &[u8]) -> Result<Option<u16>, HostError> {
    if digits.is_empty() {
        return Ok(None);
    }
    let mut port: u16 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return Err(HostError::BadPort);
        }
        let next = port.checked_mul(10).and_then(|tens| tens.checked_add(u16::from(digit - b'0')));
        port = next.ok_or(HostError::BadPort)?;
    }
    Ok(Some(port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<(String, Option<u16>), HostError> {
        Host::of(text.as_bytes()).map(|host| (host.name().to_owned(), host.port()))
    }

    #[test]
    fn a_host_is_lower_case_without_port_and_trailing_dot() {
        for (text, name, port) in [
            ("app.example.com", "app.example.com", None),
            ("App.EXAMPLE.com.", "app.example.com", None),
            ("localhost:8443", "localhost", Some(8443)),
            ("app.example.com.:65535", "app.example.com", Some(65535)),
            ("app:", "app", None),
            ("my_service", "my_service", None),
            ("10.0.0.1:80", "10.0.0.1", Some(80)),
            ("[::1]", "[::1]", None),
            ("[0:0:0:0:0:0:0:1]:443", "[::1]", Some(443)),
            ("[2001:DB8::A]:", "[2001:db8::a]", None),
        ] {
            assert_eq!(read(text), Ok((name.to_owned(), port)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_host_is_refused_with_its_reason() {
        use HostError::*;
        for (text, error) in [
            ("", Empty),
            (":80", Empty),
            ("user@host", Userinfo),
            ("user:secret@host:80", Userinfo),
            ("a b", BadCharacter),
            (" a", BadCharacter),
            ("a\tb", BadCharacter),
            ("a\0", BadCharacter),
            ("a,b", BadCharacter),
            ("a/b", BadCharacter),
            ("a\\b", BadCharacter),
            ("a?b", BadCharacter),
            ("a#b", BadCharacter),
            ("a%2eb", BadCharacter),
            ("caf\u{e9}.fr", BadCharacter),
            (".", EmptyLabel),
            (".a", EmptyLabel),
            ("a..b", EmptyLabel),
            ("a..", EmptyLabel),
            ("a:65536", BadPort),
            ("a:99999999999999999999", BadPort),
            ("a:+1", BadPort),
            ("a:80:80", BadPort),
            ("::1", Empty),
            ("fe80::1", BadPort),
            ("[::1", BadIpv6),
            ("[]", BadIpv6),
            ("[1.2.3.4]", BadIpv6),
            ("[fe80::1%25eth0]", BadIpv6),
            ("[v1.x]", BadIpv6),
            ("[::1]x", BadPort),
            ("[::1]:x", BadPort),
        ] {
            assert_eq!(read(text), Err(error), "{text:?}");
        }
        assert_eq!(read(&"a".repeat(254)), Err(TooLong));
        assert!(read(&format!("{}.", "a".repeat(253))).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_host_that_reads_as_itself_or_are_refused(text in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(host) = Host::of(&text) {
                prop_assert_eq!(Host::of(host.to_string().as_bytes()), Ok(host.clone()));
                prop_assert!(!host.name().bytes().any(|b| b.is_ascii_uppercase() || b <= b' ' || b == b'/' || b == b'@'));
            }
        }

        #[test]
        fn names_survive_any_case_and_port(name in "[a-zA-Z0-9_-]{1,20}(\\.[a-zA-Z0-9_-]{1,20}){0,4}", port in any::<u16>()) {
            let host = Host::of(format!("{name}:{port}").as_bytes()).unwrap();
            prop_assert_eq!(host.name(), name.to_ascii_lowercase());
            prop_assert_eq!(host.port(), Some(port));
        }
    }
}
