//! What a user writes under `health_check` and `outlier_detection` of a pool.

use schemars::{JsonSchema, json_schema};
use serde::{Deserialize, Serialize};

use crate::units::{Duration, Percent, form};

/// An active check of every server of a pool. `/healthz` alone means `{ path: /healthz }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(remote = "Spec", deny_unknown_fields)]
#[schemars(transform = form::also_text(json_schema!({ "type": "string", "pattern": "^/", "description": "The path." })))]
pub struct Spec {
    /// Path to GET. A check without a path, `{ tcp: true }`, only connects.
    #[serde(default)]
    pub path: Option<String>,
    /// Only connects, sends nothing. Needs no `path`.
    #[serde(default)]
    pub tcp: bool,
    /// Asks gRPC's health service (`grpc.health.v1`) for this service; `""` is the whole server. Needs `protocol: http2`
    /// and no `path`.
    #[serde(default)]
    pub grpc: Option<String>,
    /// Host header of the check. Default: the server's address.
    #[serde(default)]
    pub host: Option<String>,
    /// Statuses that mean healthy: `200`, or a list such as `[200, 204]`. Default: 200 to 299.
    #[serde(default, deserialize_with = "form::some_one_or_many")]
    #[schemars(with = "Option<form::OneOrMany<u16>>")]
    pub status: Option<Vec<u16>>,
    /// From one check's start to the next, give or take a tenth.
    #[serde(default = "default_interval")]
    pub interval: Duration,
    /// For the whole check.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// Successes in a row that bring a server up. The first check after the start decides alone.
    #[serde(default = "default_healthy_after")]
    pub healthy_after: u32,
    /// Failures in a row that take a server down.
    #[serde(default = "default_unhealthy_after")]
    pub unhealthy_after: u32,
}

form::text_form!(Spec, "a path such as `/healthz`, or a map", Spec::of_path);

impl Spec {
    fn of_path<E: serde::de::Error>(path: &str) -> Result<Self, E> {
        Ok(Self {
            path: Some(path.to_owned()),
            tcp: false,
            grpc: None,
            host: None,
            status: None,
            interval: default_interval(),
            timeout: default_timeout(),
            healthy_after: default_healthy_after(),
            unhealthy_after: default_unhealthy_after(),
        })
    }
}

fn default_interval() -> Duration {
    Duration::from_secs(5)
}
fn default_timeout() -> Duration {
    Duration::from_secs(2)
}
fn default_healthy_after() -> u32 {
    2
}
fn default_unhealthy_after() -> u32 {
    3
}

/// Takes a server out for a while when exchanges with it fail.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OutlierSpec {
    /// Failures in a row (connect failures, timeouts, resets, 502, 503, 504) that eject a server.
    pub consecutive_failures: u32,
    /// Length of the first ejection; each one in a row is longer by as much, up to ten times.
    pub ejection_time: Duration,
    /// Share of a pool's servers that may be out at once; one may always be.
    pub max_ejected: Percent,
}

impl Default for OutlierSpec {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            ejection_time: Duration::from_secs(30),
            max_ejected: Percent::new(50),
        }
    }
}
