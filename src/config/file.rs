//! The shape of `lintel.yaml`: the sum of the parts' Specs, plus admin and runtime.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Unexpected, Visitor};
use serde::{Deserialize, Serialize};

use crate::net::Address;
use crate::pool::spec::{CookieSpec, SecretSpec, StickySpec};
use crate::units::{Duration, form};
use crate::{filter, listener, observe, pool, route, tls};

/// The whole file, defaults merged, paths made absolute.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Sockets that clients connect to, by name.
    pub listeners: BTreeMap<String, listener::Spec>,
    /// Sets of servers, by name.
    #[serde(default)]
    pub pools: BTreeMap<String, pool::Spec>,
    /// Named lists of filters for routes.
    #[serde(default)]
    pub policies: BTreeMap<String, Vec<filter::Spec>>,
    /// Where requests go. The most specific match wins, whatever the order.
    #[serde(default)]
    pub routes: Vec<route::Spec>,
    /// Logs and metrics.
    #[serde(default)]
    pub observability: observe::Spec,
    /// The control interface.
    #[serde(default)]
    pub admin: AdminSpec,
    /// The process itself.
    #[serde(default)]
    pub runtime: RuntimeSpec,
}

impl File {
    /// The files that it names and that are read when a plan is built: certificates, keys, authorities.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let listeners = self.listeners.values().filter_map(|listener| listener.tls.as_ref());
        for tls in listeners.chain(&self.admin.tls) {
            files.extend(tls.certificates.iter().flat_map(|pair| [pair.cert.clone(), pair.key.clone()]));
            files.extend(tls.client_auth.iter().map(|auth| auth.ca.clone()));
        }
        files.extend(self.admin.token.iter().map(|token| token.file.clone()));
        for pool in self.pools.values() {
            if let Some(tls) = &pool.tls {
                files.extend([&tls.ca, &tls.cert, &tls.key].into_iter().flatten().cloned());
            }
            if let Some(StickySpec::Cookie(CookieSpec { secret: Some(secret), .. })) = &pool.sticky {
                files.push(secret.file.clone());
            }
        }
        files
    }
}

/// The control interface: what `lintel status`, `lintel reload` and the like ask, also /metrics, /livez and /readyz.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminSpec {
    /// `IP:PORT`, or `unix:/PATH`. Default: `admin.sock` in the run directory, mode 0600. Off loopback it needs `token` or
    /// `tls.client_auth`.
    pub address: Option<Address>,
    /// Without it nothing is changed over TCP. A unix socket needs none.
    pub token: Option<SecretSpec>,
    /// Speaks TLS on a TCP address; clients with a certificate of `client_auth` need no token.
    pub tls: Option<tls::Spec>,
}

/// The process itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RuntimeSpec {
    /// Engine threads: `auto` (the CPU quota of the cgroup, else cores) or a number from 1 to 256.
    pub threads: Threads,
    /// How long running requests may take to end after SIGTERM.
    pub drain_timeout: Duration,
    /// What must outlive the process. Default: $STATE_DIRECTORY, /var/lib/lintel where writable, else the user's XDG folder.
    #[serde(deserialize_with = "form::some_path")]
    pub state_directory: Option<PathBuf>,
    /// Sockets of the running process. Default: $RUNTIME_DIRECTORY, /run/lintel where writable, else the user's XDG folder.
    #[serde(deserialize_with = "form::some_path")]
    pub run_directory: Option<PathBuf>,
    /// Reloads when the config or a file that it includes has changed. Certificates and keys are always looked after.
    pub watch: bool,
}

impl Default for RuntimeSpec {
    fn default() -> Self {
        Self {
            threads: Threads::Auto,
            drain_timeout: Duration::from_secs(30),
            state_directory: None,
            run_directory: None,
            watch: false,
        }
    }
}

/// How many engine threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Threads {
    #[default]
    Auto,
    #[serde(untagged)]
    Count(u16),
}

impl<'de> Deserialize<'de> for Threads {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl Visitor<'_> for Form {
            type Value = Threads;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`auto`, or a whole number from 1 to 256")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Threads, E> {
                match text.parse() {
                    _ if text == "auto" => Ok(Threads::Auto),
                    Ok(count) => self.visit_u64(count),
                    Err(_) => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Threads, E> {
                match u16::try_from(count) {
                    Ok(count @ 1..=256) => Ok(Threads::Count(count)),
                    _ => Err(E::invalid_value(Unexpected::Unsigned(count), &self)),
                }
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl JsonSchema for Threads {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Threads".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "auto" }, { "type": "integer", "minimum": 1, "maximum": 256 }] })
    }
}
