//! What a user writes under `pools.NAME.tls`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Duration, form};

/// What a user writes under `pools.NAME.http2`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http2Spec {
    /// Requests at once over one connection, at most; the server's own limit counts if it is lower. More connections are
    /// opened with load, per engine thread.
    pub streams: u32,
    /// A server that owes answers and is silent for this long is sent a PING.
    pub ping_after: Duration,
    /// For the answer to that PING; later the connection is given up.
    pub ping_timeout: Duration,
}

impl Default for Http2Spec {
    fn default() -> Self {
        Self { streams: 100, ping_after: Duration::from_secs(10), ping_timeout: Duration::from_secs(5) }
    }
}

/// TLS to the servers of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSpec {
    /// Name to ask for (SNI) and to verify. Default: the host name or IP address of the server as written.
    pub server_name: Option<String>,
    /// PEM file with the authorities to trust instead of the system's.
    #[serde(deserialize_with = "form::some_path")]
    pub ca: Option<PathBuf>,
    /// PEM file with the certificate that Lintel shows; needs `key`.
    #[serde(deserialize_with = "form::some_path")]
    pub cert: Option<PathBuf>,
    /// PEM file with the key of `cert`.
    #[serde(deserialize_with = "form::some_path")]
    pub key: Option<PathBuf>,
    /// Accepts any certificate. For tests only.
    pub insecure_skip_verify: bool,
}
