//! What a user writes under `observability`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::net::Address;

/// Logs and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// One line per request. `off` writes none.
    pub access_log: AccessLogSpec,
    /// What the program says about itself, on stderr.
    pub log: LogSpec,
    /// A read-only address for Prometheus and probes: /metrics, /livez, /readyz. Off unless written.
    pub metrics: Option<MetricsSpec>,
}

/// The access log: `off`, or where and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLogSpec {
    /// `stdout`, `stderr` or a file, opened anew on SIGUSR1.
    pub path: PathBuf,
    pub format: AccessLogFormat,
    /// False when `access_log: off` was written.
    #[serde(skip)]
    pub enabled: bool,
}

impl Default for AccessLogSpec {
    fn default() -> Self {
        Self { path: "stdout".into(), format: AccessLogFormat::Json, enabled: true }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessLogFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// The combined format of Apache and nginx.
    Combined,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogSpec {
    /// The least important lines that are written.
    pub level: LogLevel,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricsSpec {
    /// Where to listen, such as `:9901`.
    pub address: Address,
}
