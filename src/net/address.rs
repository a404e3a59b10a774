//! Addresses as they are written (`10.0.0.1:3000`, `app.internal:3000`, `unix:/run/app.sock`, `:8080`) and as sockets take them.
//!
//! Turning a host name into endpoints is `discovery`'s work, not done here.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An address as a user writes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `10.0.0.1:3000`, `[::1]:3000`; `:8080` means all addresses of both families (`[::]:8080`).
    Inet(SocketAddr),
    /// `app.internal:3000`: a name, resolved while running.
    Host { name: String, port: u16 },
    /// `unix:/run/app.sock`.
    Unix(PathBuf),
}

/// Where a socket can be connected or bound: nothing left to resolve.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    Inet(SocketAddr),
    Unix(PathBuf),
}

impl Endpoint {
    /// Where an address leads; `None` for a host name, which has to be looked up first.
    pub fn of(address: &Address) -> Option<Self> {
        match address {
            Address::Inet(socket) => Some(Self::Inet(*socket)),
            Address::Unix(path) => Some(Self::Unix(path.clone())),
            Address::Host { .. } => None,
        }
    }
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address; write IP:PORT, [IPv6]:PORT, HOST:PORT or unix:/PATH")]
pub struct ParseAddressError(String);

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseAddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(wrong()) } else { Ok(Self::Unix(path.into())) };
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Inet(address));
        }
        let (name, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        // `u16::from_str` would take "+80".
        if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        let port = port.parse().map_err(|_| wrong())?;
        if name.is_empty() {
            return Ok(Self::Inet(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)));
        }
        if !is_host_name(name) {
            return Err(wrong());
        }
        Ok(Self::Host { name: name.to_ascii_lowercase(), port })
    }
}

/// A name of RFC 1123 section 2.1 labels, underscores allowed as Docker and SRV names use them.
fn is_host_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let all_numeric = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    name.len() <= 253
        && !all_numeric
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Host { name, port } => write!(f, "{name}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Address;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address: IP:PORT, [IPv6]:PORT, HOST:PORT or unix:/PATH")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Address, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}
impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl JsonSchema for Address {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "IP:PORT, [IPv6]:PORT, HOST:PORT, :PORT or unix:/PATH" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_they_parse() {
        for text in ["10.0.0.1:3000", "[::1]:80", "app.internal:3000", "my_app:1", "unix:/run/a.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!(":8080".parse::<Address>().unwrap().to_string(), "[::]:8080");
        assert_eq!("App:80".parse::<Address>().unwrap().to_string(), "app:80");
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        for text in
            ["", "10.0.0.1", "a:b", "a:+1", "a:70000", "http://a:80", "10.0.0:80", "-a:80", "a b:80", "unix:"]
        {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
