//! What a user writes under `listeners.NAME`.

use std::num::NonZeroU64;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::net::Address;
use crate::units::{ByteRate, Bytes, Duration, form};

/// A socket that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Where to listen: `:8443` (all addresses, both families), `127.0.0.1:8080` or `unix:/run/lintel/http.sock`. Port 0
    /// lets the system choose; the log says which.
    pub address: Address,
    /// Answers every request with a 308 to this listener, path and query kept.
    #[serde(default)]
    pub redirect_to: Option<String>,
    /// Protocols offered to clients. Default: `[http1, http2]` with TLS (by ALPN), `[http1]` without. `[http2]` without TLS
    /// is h2c by prior knowledge.
    #[serde(default)]
    pub protocols: Option<Vec<Protocol>>,
    /// Networks whose word about the client is believed: X-Forwarded-*, Forwarded, X-Request-Id and the PROXY header.
    /// Nobody unless written.
    #[serde(default, deserialize_with = "networks")]
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
    /// Whether connections start with a PROXY protocol header (v1 or v2).
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
    /// Serves TLS. Plain when absent.
    #[serde(default)]
    pub tls: Option<crate::tls::Spec>,
    /// How much a client may ask for.
    #[serde(default)]
    pub limits: Limits,
    /// How long a client may take.
    #[serde(default)]
    pub timeouts: Timeouts,
}

impl Spec {
    /// Protocols offered, the preferred one first.
    pub fn offered(&self) -> &[Protocol] {
        match (&self.protocols, &self.tls) {
            (Some(protocols), _) => protocols,
            (None, Some(_)) => &[Protocol::Http2, Protocol::Http1],
            (None, None) => &[Protocol::Http1],
        }
    }

    pub fn offers(&self, protocol: Protocol) -> bool {
        self.offered().contains(&protocol)
    }
}

/// Networks as `10.0.0.0/8`; an address alone is a network of one.
fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    struct Network(IpNet);
    struct Text;
    impl serde::de::Visitor<'_> for Text {
        type Value = Network;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a network such as 10.0.0.0/8, or an IP address")
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Network, E> {
            let network = text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
            network.map(Network).map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
        }
    }
    impl<'de> Deserialize<'de> for Network {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_str(Text)
        }
    }
    let networks = Vec::<Network>::deserialize(deserializer)?;
    Ok(networks.into_iter().map(|Network(network)| network).collect())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    Http1,
    Http2,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    #[default]
    Off,
    /// Every connection must come from `trusted_proxies` and begin with the header; others are closed.
    Required,
}

/// Limits on one listener's clients, each with its own reply.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at once. Default: the lower of 10000 and 45 % of the open-files limit, over all listeners.
    pub connections: Option<u32>,
    /// Bytes of a request's head; more is answered 431.
    pub head: Bytes,
    /// Header fields of a request; more is answered 431.
    pub headers: u32,
    /// Bytes of the request target; more is answered 414.
    pub uri: Bytes,
    /// Bytes of a request's body; more is answered 413.
    pub body: Bytes,
    /// What one connection of HTTP/2 may ask for.
    pub http2: Http2Limits,
}

/// Limits on one connection of HTTP/2.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http2Limits {
    /// Requests at once; one more is refused with REFUSED_STREAM.
    pub streams: u32,
    /// Bytes of a request's body that a client may send ahead of the server that reads it.
    pub stream_window: Bytes,
    /// The same over all requests of a connection.
    pub connection_window: Bytes,
    /// Requests that a client may give up (RST_STREAM) per second, averaged over ten seconds; more ends the connection.
    pub resets_per_second: u32,
    /// Control frames of each kind per second, averaged over ten seconds; more ends the connection.
    pub control_frames_per_second: u32,
}

impl Default for Http2Limits {
    fn default() -> Self {
        Self {
            streams: 128,
            stream_window: Bytes::from_kib(256),
            connection_window: Bytes::from_mib(1),
            resets_per_second: 20,
            control_frames_per_second: 100,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: None,
            head: Bytes::from_kib(32),
            headers: 100,
            uri: Bytes::from_kib(8),
            body: Bytes::from_mib(100),
            http2: Http2Limits::default(),
        }
    }
}

/// Bytes per second of `timeouts.body_rate`: far below any link that a person would wait for, GPRS with pauses included.
const BODY_RATE: NonZeroU64 = NonZeroU64::new(240).unwrap();

/// Deadlines for one listener's clients.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// For the whole TLS handshake, and before it for the PROXY header.
    pub tls_handshake: Duration,
    /// For a whole request head from its first byte; later is answered 408. A new connection's silence counts too.
    pub head: Duration,
    /// Between two pieces of a request's body; later is answered 408.
    pub body_idle: Duration,
    /// How fast a body has to be on average, over the time in which nothing but the client is waited for: a request's until
    /// its answer begins, with `body_idle` on top, and an answer's, with `write_idle` on top. Slower is answered 408, or
    /// cut. Not for WebSockets and other tunnels, nor for what gRPC clients send. `off` allows any.
    #[serde(deserialize_with = "form::or_off")]
    #[schemars(with = "form::OrOff<ByteRate>")]
    pub body_rate: Option<ByteRate>,
    /// Between two requests of a connection.
    pub keep_alive: Duration,
    /// For a client to take any of the bytes waiting for it.
    pub write_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tls_handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            body_idle: Duration::from_secs(60),
            body_rate: Some(ByteRate::from_bytes(BODY_RATE)),
            keep_alive: Duration::from_secs(75),
            write_idle: Duration::from_secs(60),
        }
    }
}
