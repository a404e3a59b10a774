//! What a user writes under `pools.NAME`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::forwarded::ForwardedHeader;
use crate::units::{Duration, Percent, form};
use crate::{health, server, upstream, worker};

/// Interchangeable servers and how work is spread over them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The servers: `10.0.0.21:3000`, or `{ address: 10.0.0.21:3000, weight: 2, backup: true }`.
    #[serde(default)]
    pub servers: Vec<server::Spec>,
    /// A program that Lintel runs; each of its workers is a server of this pool. In place of `servers`.
    #[serde(default)]
    pub app: Option<worker::Spec>,
    /// The pool whose `app` has the workers that are the servers of this pool too, balanced in its own way; their health
    /// check is that of their own pool. In place of `servers`.
    #[serde(default)]
    pub workers_of: Option<String>,
    /// Protocol spoken to the servers.
    #[serde(default)]
    pub protocol: Protocol,
    /// How connections of `protocol: http2` are shared and watched.
    #[serde(default)]
    pub http2: upstream::Http2Spec,
    /// Speaks TLS to the servers, verified unless told otherwise.
    #[serde(default)]
    pub tls: Option<upstream::TlsSpec>,
    /// Which server gets the next request.
    #[serde(default)]
    pub balance: BalanceSpec,
    /// Time over which a server that came up grows to its full share. Off unless written.
    #[serde(default, deserialize_with = "form::or_off")]
    #[schemars(with = "Option<form::OrOff<Duration>>")]
    pub slow_start: Option<Duration>,
    /// Exchanges and tunnels per server over all threads; beyond it requests wait in the queue. No limit unless written.
    #[serde(default, deserialize_with = "form::or_off")]
    #[schemars(with = "Option<form::OrOff<u32>>")]
    pub max_in_flight: Option<u32>,
    /// Requests that wait while every server is at `max_in_flight`.
    #[serde(default)]
    pub queue: QueueSpec,
    /// Connections kept alive per server over all threads.
    #[serde(default = "default_idle_connections")]
    pub idle_connections: u32,
    /// How host names are looked up.
    #[serde(default)]
    pub resolve: ResolveSpec,
    /// Keeps a client on its server. Off unless written.
    #[serde(default, deserialize_with = "form::or_off")]
    #[schemars(with = "Option<form::OrOff<StickySpec>>")]
    pub sticky: Option<StickySpec>,
    /// Asks every server whether it is well. Off unless written.
    #[serde(default, deserialize_with = "form::or_off")]
    #[schemars(with = "Option<form::OrOff<health::Spec>>")]
    pub health_check: Option<health::Spec>,
    /// Takes failing servers out for a while.
    #[serde(default)]
    pub outlier_detection: health::OutlierSpec,
    /// Second tries on another server.
    #[serde(default)]
    pub retries: RetrySpec,
    /// What requests tell the servers about the way that they came: all of it unless written, nothing with `[]`. What is
    /// not listed does not reach them from a trusted proxy either, but for `via`.
    #[serde(default = "default_forwarded_headers")]
    pub forwarded_headers: Vec<ForwardedHeader>,
    /// How long servers may take.
    #[serde(default)]
    pub timeouts: Timeouts,
}

impl Spec {
    /// Whether servers of one are servers of the other: reached in the same way. Else all of them are made anew.
    pub fn has_same_servers(&self, other: &Self) -> bool {
        (self.protocol, &self.tls, &self.workers_of) == (other.protocol, &other.tls, &other.workers_of)
            && self.app.is_some() == other.app.is_some()
    }
}

fn default_idle_connections() -> u32 {
    128
}

fn default_forwarded_headers() -> Vec<ForwardedHeader> {
    ForwardedHeader::ALL.to_vec()
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    #[default]
    Http1,
    /// By ALPN when `tls` is set, else h2c by prior knowledge.
    Http2,
}

/// A balancing policy by name, or with its settings: `{ policy: consistent_hash, key: { header: x-user-id } }`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(remote = "BalanceSpec", deny_unknown_fields)]
#[schemars(transform = form::also_text(schemars::schema_for!(Policy)))]
pub struct BalanceSpec {
    /// The algorithm.
    pub policy: Policy,
    /// What `consistent_hash` hashes. Default: `client_ip`.
    #[serde(default)]
    pub key: HashKey,
}

impl BalanceSpec {
    fn of_policy<E: de::Error>(policy: &str) -> Result<Self, E> {
        let policy = Policy::deserialize(StrDeserializer::new(policy))?;
        Ok(Self { policy, key: HashKey::default() })
    }

    fn serialize_shortest<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.key {
            HashKey::ClientIp => self.policy.serialize(serializer),
            _ => Self::serialize(self, serializer),
        }
    }
}

form::text_form!(
    BalanceSpec,
    "a policy such as `round_robin`, or a map",
    BalanceSpec::of_policy,
    BalanceSpec::serialize_shortest
);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// In turn, by weight, smoothly interleaved.
    RoundRobin,
    /// The fewest requests in flight for its weight; ties at random.
    #[default]
    LeastConnections,
    /// The same key to the same server; a server that goes moves only its own share.
    ConsistentHash,
    /// The less loaded of two taken at random.
    P2c,
    /// The lowest product of recent latency (peak EWMA) and requests in flight.
    LeastTime,
    /// At random, by weight.
    Random,
}

/// What a request is hashed by: `client_ip`, `uri`, or `{ header: NAME }`, `{ cookie: NAME }`, `{ query: NAME }`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HashKey {
    #[default]
    ClientIp,
    /// Path and query as sent.
    Uri,
    /// The request's header field of this name.
    Header(String),
    /// The cookie of this name.
    Cookie(String),
    /// The query parameter of this name.
    Query(String),
}

/// The one queue of a pool, first in first out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueSpec {
    /// Requests that may wait; beyond it the answer is 503 with Retry-After.
    pub size: u32,
    /// How long one may wait.
    pub timeout: Duration,
}

impl Default for QueueSpec {
    fn default() -> Self {
        Self { size: 200, timeout: Duration::from_secs(5) }
    }
}

/// How stale the addresses of a host name may be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResolveSpec {
    /// A name is looked up again when its TTL ends, at the latest after this.
    pub max_ttl: Duration,
    /// Name servers to ask in place of those in /etc/resolv.conf, whose search list counts all the same: `10.0.0.53`, or
    /// with another port than 53 `127.0.0.1:8600`.
    #[serde(deserialize_with = "name_servers")]
    #[schemars(with = "form::OneOrMany<String>")]
    pub name_servers: Vec<SocketAddr>,
}

/// The port of DNS (RFC 1035 section 4.2).
const DNS_PORT: u16 = 53;

fn name_servers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    struct NameServer(SocketAddr);
    struct Text;
    impl Visitor<'_> for Text {
        type Value = NameServer;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an IP address such as 10.0.0.53, or one with a port such as 127.0.0.1:8600")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<NameServer, E> {
            let address = text.parse().or_else(|_| text.parse().map(|ip| SocketAddr::new(ip, DNS_PORT)));
            address.map(NameServer).map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }
    impl<'de> Deserialize<'de> for NameServer {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_str(Text)
        }
    }
    let servers: Vec<NameServer> = form::one_or_many(deserializer)?;
    Ok(servers.into_iter().map(|NameServer(address)| address).collect())
}

impl Default for ResolveSpec {
    fn default() -> Self {
        Self { max_ttl: Duration::from_secs(10), name_servers: Vec::new() }
    }
}

/// Keeps a client on its server: `socket_io`, or `{ cookie: NAME }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum StickySpec {
    /// Learns the session ids of Socket.IO from its handshake; needs no cookie and no change in the app.
    SocketIo(SocketIo),
    /// A cookie that Lintel sets.
    Cookie(CookieSpec),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SocketIo {
    SocketIo,
}

impl<'de> Deserialize<'de> for StickySpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = StickySpec;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`socket_io`, or a map such as { cookie: lintel }")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<StickySpec, E> {
                SocketIo::deserialize(StrDeserializer::new(text)).map(StickySpec::SocketIo)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<StickySpec, A::Error> {
                CookieSpec::deserialize(MapAccessDeserializer::new(map)).map(StickySpec::Cookie)
            }
        }
        deserializer.deserialize_any(Form)
    }
}

/// The sticky cookie.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CookieSpec {
    /// Name of the cookie.
    pub cookie: String,
    /// How long a browser keeps it. Default: until the browser ends.
    #[serde(default)]
    pub ttl: Option<Duration>,
    /// SameSite attribute.
    #[serde(default)]
    pub same_site: SameSite,
    /// The key that authenticates the value, for several front doors to share. Default: made once in the state directory.
    #[serde(default)]
    pub secret: Option<SecretSpec>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    #[default]
    Lax,
    Strict,
    /// Sent with requests from other sites too; the cookie is marked Secure.
    None,
}

/// A secret in a file, never in the config itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretSpec {
    /// File with at least 16 bytes; white space at its end does not count.
    #[serde(deserialize_with = "form::path")]
    pub file: PathBuf,
}

/// Second tries.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySpec {
    /// Further tries after the first.
    pub attempts: u32,
    /// What is tried again: `connect_failure`, `reset`, `timeout`, and statuses `502`, `503`, `504`.
    pub on: Vec<RetryOn>,
    /// Retries at most as this share of the pool's requests in the last 10 s; ten are always allowed.
    pub budget: Percent,
}

impl Default for RetrySpec {
    fn default() -> Self {
        Self { attempts: 2, on: vec![RetryOn::ConnectFailure, RetryOn::Reset], budget: Percent::new(20) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(transform = form::also_numbers)]
pub enum RetryOn {
    /// No connection could be made; nothing was sent.
    #[serde(rename = "connect_failure")]
    ConnectFailure,
    /// The connection ended before the response head; idempotent requests only.
    #[serde(rename = "reset")]
    Reset,
    /// No response head within `timeouts.response`; idempotent requests only, on another server.
    #[serde(rename = "timeout")]
    Timeout,
    #[serde(rename = "502")]
    Status502,
    #[serde(rename = "503")]
    Status503,
    #[serde(rename = "504")]
    Status504,
}

/// Deadlines for the servers of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// For a connection, with its TLS handshake.
    pub connect: Duration,
    /// From the request's last byte to the response head, per attempt.
    pub response: Duration,
    /// Without a sign of life from the server's machine: for sent bytes that it does not acknowledge or has no room for, and
    /// for keepalive probes; then the connection ends (TCP_USER_TIMEOUT).
    pub unacknowledged: Duration,
    /// Between two pieces of a response's body.
    pub body_idle: Duration,
    /// For a WebSocket or an event stream without a byte in either direction.
    pub tunnel_idle: Duration,
    /// Longest life of an idle connection. Default: a second less than the server's `Keep-Alive: timeout`, and 4s where it
    /// names none. A written value is never exceeded.
    pub server_keep_alive: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            response: Duration::from_secs(60),
            unacknowledged: Duration::from_secs(60),
            body_idle: Duration::from_secs(60),
            tunnel_idle: Duration::from_secs(3600),
            server_keep_alive: None,
        }
    }
}
