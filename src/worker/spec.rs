//! What a user writes under `pools.NAME.app`.

mod logs;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize};

pub use logs::{BYTES_PER_SECOND, LINES_PER_SECOND, LogsSpec, RotateSpec};

use super::command::Command;
use super::cores::Cores;
use crate::units::{Bytes, Duration, form};

/// More workers than this are no app any more; the names of their sockets have room for it.
pub const MOST_INSTANCES: u16 = 1024;

/// A program that Lintel runs, as many times as there are `instances`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The command: `node dist/server.js`, split into words as a shell does it but without variables and pipes, or a
    /// list of words.
    pub command: Command,
    /// Where it runs. Default: the folder of the config file.
    #[serde(default, deserialize_with = "form::some_path")]
    pub directory: Option<PathBuf>,
    /// How many workers: `auto` (the CPU quota of the cgroup rounded up, at most the CPUs), a number from 1 to 1024, or
    /// `{ min: 2, max: 8 }`: as many as their load asks for.
    #[serde(default)]
    pub instances: Instances,
    /// Variables of its environment, over PATH, HOME, USER, LANG, TZ and TMPDIR of Lintel; it inherits nothing else.
    #[serde(default, deserialize_with = "variables")]
    pub env: BTreeMap<String, String>,
    /// User it runs as, by name; only when Lintel is root. Default: that of Lintel.
    #[serde(default)]
    pub user: Option<String>,
    /// Group it runs as, by name; only when Lintel is root. Default: that of the user.
    #[serde(default)]
    pub group: Option<String>,
    /// When a worker can be given work.
    #[serde(default)]
    pub ready: ReadySpec,
    /// When a worker is started anew.
    #[serde(default)]
    pub restart: RestartSpec,
    /// How a worker is stopped.
    #[serde(default)]
    pub stop: StopSpec,
    /// How workers are replaced by new ones.
    #[serde(default)]
    pub rollout: RolloutSpec,
    /// Files for what workers write to stdout and stderr. Default: Lintel's own log.
    #[serde(default)]
    pub logs: Option<LogsSpec>,
    /// Loads Lintel's preload into Node, which hands it the socket to listen on and reports load and readiness. Without
    /// it a worker is told where to listen by PORT.
    #[serde(default = "default_preload")]
    pub preload: bool,
    /// It serves no requests: a consumer of a queue, for example. It is run and watched; a port that it opens is its own.
    #[serde(default)]
    pub task: bool,
}

fn default_preload() -> bool {
    true
}

/// Two settings that cannot both be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The key to point at, below `app`, such as `ready.when`.
    pub key: &'static str,
    pub message: &'static str,
    /// What would be right.
    pub help: &'static str,
}

impl Spec {
    /// What only all of its keys together can show.
    pub fn contradictions(&self) -> Vec<Contradiction> {
        let mut found = Vec::new();
        let mut unless = |key, message, help| found.push(Contradiction { key, message, help });
        if self.ready.when == ReadyWhen::Signal && !self.preload {
            unless(
                "ready.when",
                "`signal` reaches Lintel through the preload, and `preload` is false",
                "write `listening` or `healthy`, or leave out `preload: false`",
            );
        }
        if self.ready.when == ReadyWhen::Healthy && self.task {
            unless(
                "ready.when",
                "a task listens to nobody and cannot be asked",
                "write `signal`, or leave `when` out: it is then ready once it runs",
            );
        }
        if self.restart.max_backoff < self.restart.backoff {
            unless(
                "restart.max_backoff",
                "the longest pause is shorter than the first",
                "write at least the value of `backoff`",
            );
        }
        if let Instances::Scaled(range) = self.instances
            && range.max < range.min
        {
            unless(
                "instances.max",
                "the most workers are fewer than the fewest",
                "write at least the value of `min`",
            );
        }
        found.extend(self.logs.iter().flat_map(LogsSpec::contradictions));
        found
    }
}

/// How many workers an app has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Instances {
    #[default]
    Auto,
    /// 1 to `MOST_INSTANCES`.
    #[serde(untagged)]
    Count(u16),
    /// As many as their load asks for.
    #[serde(untagged)]
    Scaled(ScalingSpec),
}

/// Between how many workers an app scales itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScalingSpec {
    /// Fewest workers; an app begins with them.
    #[schemars(range(min = 1, max = 1024))]
    #[serde(deserialize_with = "count")]
    pub min: u16,
    /// Most workers.
    #[schemars(range(min = 1, max = 1024))]
    #[serde(deserialize_with = "count")]
    pub max: u16,
    /// One worker is taken away after the others could have done its work for so long.
    #[serde(default = "default_shrink_after")]
    pub shrink_after: Duration,
}

fn default_shrink_after() -> Duration {
    Duration::from_secs(300)
}

impl Instances {
    /// The number to begin with, where `quota` CPUs (none: no limit) may be used of `cores`: for `auto` the quota rounded
    /// up, within 1 and `cores`.
    pub fn count(self, quota: Option<f64>, cores: NonZeroUsize) -> u16 {
        match self {
            Self::Count(count) | Self::Scaled(ScalingSpec { min: count, .. }) => {
                count.clamp(1, MOST_INSTANCES)
            }
            Self::Auto => {
                let count = Cores { quota, cpus: cores }.count().get();
                u16::try_from(count).unwrap_or(u16::MAX).min(MOST_INSTANCES)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Instances {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = Instances;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "`auto`, a whole number from 1 to {MOST_INSTANCES}, or {{ min: 2, max: 8 }}")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Instances, A::Error> {
                ScalingSpec::deserialize(MapAccessDeserializer::new(map)).map(Instances::Scaled)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Instances, E> {
                match text.parse() {
                    _ if text == "auto" => Ok(Instances::Auto),
                    Ok(count) => self.visit_u64(count),
                    Err(_) => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Instances, E> {
                match u16::try_from(count) {
                    Ok(count @ 1..=MOST_INSTANCES) => Ok(Instances::Count(count)),
                    _ => Err(E::invalid_value(Unexpected::Unsigned(count), &self)),
                }
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl JsonSchema for Instances {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Instances".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let scaled = generator.subschema_for::<ScalingSpec>();
        json_schema!({ "anyOf": [
            { "const": "auto" },
            { "type": "integer", "minimum": 1, "maximum": MOST_INSTANCES },
            scaled,
        ]})
    }
}

/// When a worker can be given work.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReadySpec {
    /// What shows it.
    pub when: ReadyWhen,
    /// A worker that is not ready by then is killed and started anew.
    pub timeout: Duration,
}

impl Default for ReadySpec {
    fn default() -> Self {
        Self { when: ReadyWhen::Listening, timeout: Duration::from_secs(30) }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadyWhen {
    /// It listens. A task, of which that is not known, is ready once it has run for a second.
    #[default]
    Listening,
    /// Its first health check passed.
    Healthy,
    /// It said so: `process.send('ready')`.
    Signal,
}

/// When a worker is started anew. One that ends is, whatever its exit code, for ever.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RestartSpec {
    /// Shortest pause before the next start. It doubles each time, at random within a factor of two.
    pub backoff: Duration,
    /// Longest pause. The first one is due again after a worker was ready for 60s, or for this time if it is longer.
    pub max_backoff: Duration,
    /// Memory (resident set) above which a worker is replaced, without an outage. Off unless written.
    #[serde(deserialize_with = "form::or_off")]
    #[schemars(with = "Option<form::OrOff<Bytes>>")]
    pub max_memory: Option<Bytes>,
    /// A worker whose event loop shows no sign of life for so long is killed and started anew; `off` for debuggers.
    #[serde(deserialize_with = "form::or_off")]
    #[schemars(with = "Option<form::OrOff<Duration>>")]
    pub stall: Option<Duration>,
}

impl Default for RestartSpec {
    fn default() -> Self {
        Self {
            backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(30),
            max_memory: None,
            stall: Some(Duration::from_secs(30)),
        }
    }
}

/// How a worker is stopped.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StopSpec {
    /// What tells it to end.
    pub signal: Signal,
    /// Time its requests have to end before the signal, and time it has to exit after it. Then its whole process group
    /// is killed.
    pub timeout: Duration,
}

impl Default for StopSpec {
    fn default() -> Self {
        Self { signal: Signal::Term, timeout: Duration::from_secs(30) }
    }
}

/// Signals that end a program. SIGUSR1 is not among them: Node opens its debugger on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Signal {
    #[default]
    #[serde(rename = "SIGTERM")]
    Term,
    #[serde(rename = "SIGINT")]
    Int,
    #[serde(rename = "SIGQUIT")]
    Quit,
    #[serde(rename = "SIGHUP")]
    Hup,
    #[serde(rename = "SIGUSR2")]
    Usr2,
    /// Ends it at once, without a chance to finish anything.
    #[serde(rename = "SIGKILL")]
    Kill,
}

impl Signal {
    /// Its name, such as `SIGTERM`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Term => "SIGTERM",
            Self::Int => "SIGINT",
            Self::Quit => "SIGQUIT",
            Self::Hup => "SIGHUP",
            Self::Usr2 => "SIGUSR2",
            Self::Kill => "SIGKILL",
        }
    }
}

/// How workers are replaced by new ones, when the config changed or a command asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RolloutSpec {
    /// How many processes there may be above `instances` while old and new ones run side by side.
    #[schemars(range(min = 1, max = 1024))]
    #[serde(deserialize_with = "count")]
    pub surge: u16,
}

impl Default for RolloutSpec {
    fn default() -> Self {
        Self { surge: 1 }
    }
}

/// A number of workers. Without a single one nothing could serve, and no rollout could begin.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    /// Not a `u16` that is looked at afterwards: a problem is told at the number only from in here.
    struct Form;
    impl Visitor<'_> for Form {
        type Value = u16;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a whole number from 1 to {MOST_INSTANCES}")
        }
        fn visit_u64<E: de::Error>(self, count: u64) -> Result<u16, E> {
            let found = || E::invalid_value(Unexpected::Unsigned(count), &self);
            u16::try_from(count).ok().filter(|count| (1..=MOST_INSTANCES).contains(count)).ok_or_else(found)
        }
    }
    deserializer.deserialize_u64(Form)
}

/// Variables by name. The names are read one by one, so that a problem is told at the name it is about.
fn variables<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    struct Name(String);
    impl<'de> Deserialize<'de> for Name {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let name = String::deserialize(deserializer)?;
            match why_not_a_variable(&name) {
                None => Ok(Self(name)),
                Some(why) => Err(de::Error::custom(why)),
            }
        }
    }
    struct Text(String);
    impl<'de> Deserialize<'de> for Text {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            if text.contains('\0') {
                return Err(de::Error::custom("a zero character cannot be part of a variable"));
            }
            Ok(Self(text))
        }
    }
    let variables = BTreeMap::<Name, Text>::deserialize(deserializer)?;
    Ok(variables.into_iter().map(|(name, text)| (name.0, text.0)).collect())
}

/// Why a user may not give a variable this name.
fn why_not_a_variable(name: &str) -> Option<String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Some("a variable needs a name, without `=`".to_owned());
    }
    let reserved =
        name.starts_with("LINTEL_") || ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"].contains(&name);
    reserved.then(|| format!("`{name}` is for Lintel to set; choose another name"))
}

#[cfg(test)]
mod tests;
