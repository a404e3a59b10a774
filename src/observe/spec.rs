//! What a user writes under `observability`.

use std::path::PathBuf;

use schemars::{JsonSchema, json_schema};
use serde::{Deserialize, Serialize, Serializer};

use crate::net::Address;
use crate::units::form;

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
#[serde(remote = "AccessLogSpec", deny_unknown_fields, default)]
#[schemars(transform = form::also_text(json_schema!({ "const": "off" })))]
pub struct AccessLogSpec {
    /// `stdout`, `stderr` or a file, opened anew on SIGUSR1.
    #[serde(deserialize_with = "form::log_path")]
    pub path: PathBuf,
    /// Form of a line.
    pub format: AccessLogFormat,
    /// False when `access_log: off` was written.
    #[serde(skip)]
    pub enabled: bool,
}

impl AccessLogSpec {
    fn of_word<E: serde::de::Error>(word: &str) -> Result<Self, E> {
        match word {
            "off" => Ok(Self { enabled: false, ..Self::default() }),
            _ => Err(E::unknown_variant(word, &["off"])),
        }
    }

    fn serialize_either<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.enabled { Self::serialize(self, serializer) } else { serializer.serialize_str("off") }
    }
}

form::text_form!(
    AccessLogSpec,
    "`off`, or a map such as { path: stdout, format: json }",
    AccessLogSpec::of_word,
    AccessLogSpec::serialize_either
);

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
    /// Form of a line.
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
