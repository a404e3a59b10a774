//! What the control interface can be asked to do, read from a request's method, path and query by the table of operations.

use std::time::Duration;

use hyper::Method;

use super::operation::{Kind, Name, OPERATIONS, Operation, Parameter, Place};
use crate::net::Address;
use crate::pool::Keep;
use crate::units;

/// Whether an answer ends with what is there, or goes on with what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    Now,
    On,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// One of the pages that the read-only address has too.
    Page,
    /// The description of this interface.
    OpenApi,
    /// Everything that is known of pools, servers and workers.
    Status,
    Listeners,
    Routes,
    Certificates,
    Pools,
    Pool {
        pool: String,
    },
    /// What happens from now on.
    Events,
    /// What a reload would change.
    Plan,
    /// The config in force.
    Config,
    /// Reads the config again.
    Reload,
    /// Has the program's file, as it is now, take over.
    Upgrade,
    /// Starts new workers beside the old ones and ends these.
    Rollout {
        pool: String,
    },
    Scale {
        pool: String,
        instances: u32,
    },
    /// Has new requests of a pool wait.
    Pause {
        pool: String,
        timeout: Duration,
    },
    Resume {
        pool: String,
    },
    /// Something about one server of a pool.
    Server {
        pool: String,
        server: String,
        what: ServerOrder,
        keep: Keep,
    },
    /// The last lines that workers wrote.
    Logs {
        pool: String,
        worker: Option<u32>,
        lines: usize,
        follow: Follow,
    },
}

/// What a server of a pool is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerOrder {
    Add { weight: u32 },
    Remove,
    Drain { timeout: Duration },
    Undrain,
    Weigh { weight: u32 },
}

/// Why a request is no order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoOrder {
    /// Nothing is at this path.
    Unknown,
    /// Only by these methods.
    Method(String),
    Wrong(String),
}

/// The operation that a method and a path ask for.
pub fn find(method: &Method, path: &str) -> Result<&'static Operation, NoOrder> {
    let mut allowed = Vec::new();
    for operation in OPERATIONS.iter().filter(|operation| operation.matches(path).is_some()) {
        if operation.takes(method) {
            return Ok(operation);
        }
        allowed.push(operation.verb.allowed());
    }
    Err(if allowed.is_empty() { NoOrder::Unknown } else { NoOrder::Method(allowed.join(", ")) })
}

impl Order {
    /// Reads the values of an operation from its path and query.
    pub fn read(operation: &Operation, path: &str, query: &str) -> Result<Self, NoOrder> {
        let values = Values::read(operation, path, query)?;
        let pool = || values.text("pool");
        Ok(match operation.name {
            Name::Livez | Name::Readyz | Name::Metrics => Self::Page,
            Name::OpenApi => Self::OpenApi,
            Name::Status => Self::Status,
            Name::Events => Self::Events,
            Name::Listeners => Self::Listeners,
            Name::Routes => Self::Routes,
            Name::Certificates => Self::Certificates,
            Name::Pools => Self::Pools,
            Name::Pool => Self::Pool { pool: pool() },
            Name::Logs => Self::Logs {
                pool: pool(),
                worker: values.number("worker"),
                lines: values.number("lines").unwrap_or_default() as usize,
                follow: if values.flag("follow") { Follow::On } else { Follow::Now },
            },
            Name::Config => Self::Config,
            Name::Plan => Self::Plan,
            Name::Reload => Self::Reload,
            Name::Upgrade => Self::Upgrade,
            Name::Rollout => Self::Rollout { pool: pool() },
            Name::Scale => {
                Self::Scale { pool: pool(), instances: values.number("instances").unwrap_or_default() }
            }
            Name::Pause => Self::Pause { pool: pool(), timeout: values.time("timeout") },
            Name::Resume => Self::Resume { pool: pool() },
            Name::AddServer => values.of_server("address", ServerOrder::Add { weight: values.weight() }),
            Name::RemoveServer => values.of_server("server", ServerOrder::Remove),
            Name::DrainServer => {
                values.of_server("server", ServerOrder::Drain { timeout: values.time("timeout") })
            }
            Name::UndrainServer => values.of_server("server", ServerOrder::Undrain),
            Name::WeighServer => values.of_server("server", ServerOrder::Weigh { weight: values.weight() }),
        })
    }
}

/// The values of a request's parameters, each of its kind; defaults stand for what is not written.
struct Values(Vec<(&'static str, Value)>);

#[derive(Clone, Debug)]
enum Value {
    Text(String),
    Number(u32),
    Time(Duration),
    Flag(bool),
}

impl Values {
    fn read(operation: &Operation, path: &str, query: &str) -> Result<Self, NoOrder> {
        let mut values = Vec::new();
        let parameter = |name: &str, places: &[Place]| {
            operation.parameters.iter().find(|p| p.name == name && places.contains(&p.place))
        };
        for (name, text) in operation.matches(path).unwrap_or_default() {
            if let Some(parameter) = parameter(name, &[Place::Path]) {
                values.push((parameter.name, parameter.read(&decoded(text)?)?));
            }
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name)?;
            let Some(parameter) = parameter(&name, &[Place::Query, Place::NeededInQuery]) else {
                return Err(NoOrder::Wrong(unknown_parameter(operation, &name)));
            };
            if values.iter().any(|(known, _)| *known == parameter.name) {
                return Err(NoOrder::Wrong(format!("`{name}` is there twice; write it once")));
            }
            // As forms have it, a plus is a space.
            values.push((parameter.name, parameter.read(&decoded(&text.replace('+', "%20"))?)?));
        }
        for parameter in operation.parameters {
            if values.iter().any(|(known, _)| *known == parameter.name) {
                continue;
            }
            match parameter.default()? {
                Some(value) => values.push((parameter.name, value)),
                None if parameter.place == Place::NeededInQuery => {
                    let why = format!("`{}` is missing; it is {}", parameter.name, parameter.wanted());
                    return Err(NoOrder::Wrong(why));
                }
                None => {}
            }
        }
        Ok(Self(values))
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    fn text(&self, name: &str) -> String {
        match self.value(name) {
            Some(Value::Text(text)) => text.clone(),
            _ => String::new(),
        }
    }

    fn number(&self, name: &str) -> Option<u32> {
        match self.value(name) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    fn weight(&self) -> u32 {
        self.number("weight").unwrap_or(1)
    }

    fn time(&self, name: &str) -> Duration {
        match self.value(name) {
            Some(Value::Time(time)) => *time,
            _ => Duration::ZERO,
        }
    }

    fn flag(&self, name: &str) -> bool {
        matches!(self.value(name), Some(Value::Flag(true)))
    }

    fn of_server(&self, name: &str, what: ServerOrder) -> Order {
        let keep = if self.flag("keep") { Keep::OverReloads } else { Keep::UntilReload };
        Order::Server { pool: self.text("pool"), server: self.text(name), what, keep }
    }
}

impl Parameter {
    fn read(&self, text: &str) -> Result<Value, NoOrder> {
        let value = match self.kind {
            Kind::Text => Some(Value::Text(text.to_owned())),
            // Names are told apart later, where the answer can say what to write in their place.
            Kind::Address => text.parse::<Address>().ok().map(|_| Value::Text(text.to_owned())),
            Kind::Flag => match text {
                "0" => Some(Value::Flag(false)),
                "1" => Some(Value::Flag(true)),
                _ => None,
            },
            Kind::Number { least, most, .. } => {
                number(text).filter(|number| (least..=most).contains(number)).map(Value::Number)
            }
            Kind::Time { least_ms, most, .. } => time(text)
                .filter(|time| *time >= Duration::from_millis(least_ms) && *time <= most)
                .map(Value::Time),
        };
        let wrong = || NoOrder::Wrong(format!("`{}={}` is not {}", self.name, shown(text), self.wanted()));
        value.ok_or_else(wrong)
    }

    fn default(&self) -> Result<Option<Value>, NoOrder> {
        Ok(match self.kind {
            Kind::Number { default, .. } => default.map(Value::Number),
            Kind::Time { default, .. } => Some(self.read(default)?),
            _ => None,
        })
    }

    /// What would be right.
    fn wanted(&self) -> String {
        match self.kind {
            Kind::Text => "text".to_owned(),
            Kind::Address => "an address, such as 10.0.0.1:3000 or unix:/run/app.sock".to_owned(),
            Kind::Flag => "1 (yes) or 0 (no)".to_owned(),
            Kind::Number { least, most, .. } => format!("a whole number from {least} to {most}"),
            Kind::Time { least_ms, most, .. } => {
                let least = units::Duration::from_millis(least_ms);
                let most = units::Duration::from_secs(most.as_secs());
                format!("a time from {least} to {most}, such as 30s")
            }
        }
    }
}

fn unknown_parameter(operation: &Operation, name: &str) -> String {
    let known = operation.parameters.iter().filter(|parameter| parameter.place != Place::Path);
    let known: Vec<String> = known.map(|parameter| format!("`{}`", parameter.name)).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    format!("there is no parameter `{}` here; there is {known}", shown(name))
}

/// Digits alone, without a sign and without zeros before it.
fn number(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

fn time(text: &str) -> Option<Duration> {
    text.parse::<units::Duration>().ok().filter(|_| !text.starts_with('0')).map(units::Duration::std)
}

fn decoded(text: &str) -> Result<String, NoOrder> {
    let bytes = text.as_bytes();
    let is_digit = |place: usize| bytes.get(place).is_some_and(u8::is_ascii_hexdigit);
    let mut signs = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    if signs.any(|(place, _)| !is_digit(place + 1) || !is_digit(place + 2)) {
        return Err(NoOrder::Wrong(format!("`{}`: a `%` begins two hexadecimal digits", shown(text))));
    }
    let decoded = percent_encoding::percent_decode(bytes).decode_utf8();
    decoded.map(Into::into).map_err(|_| NoOrder::Wrong(format!("`{}` is no UTF-8", shown(text))))
}

/// What came from outside, as a message can hold it.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 80;
    let mut short: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &Method, target: &str) -> Result<Order, NoOrder> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Order::read(find(method, path)?, path, query)
    }

    fn wrong(target: &str) -> String {
        match read(&Method::POST, target) {
            Err(NoOrder::Wrong(why)) => why,
            other => panic!("{target}: {other:?}"),
        }
    }

    #[test]
    fn orders_are_read_with_their_method() {
        assert_eq!(read(&Method::GET, "/status"), Ok(Order::Status));
        assert_eq!(read(&Method::HEAD, "/status"), Ok(Order::Status));
        assert_eq!(read(&Method::POST, "/status"), Err(NoOrder::Method("GET, HEAD".into())));
        assert_eq!(read(&Method::POST, "/pools/api/rollout"), Ok(Order::Rollout { pool: "api".into() }));
        assert_eq!(read(&Method::GET, "/pools/api/rollout"), Err(NoOrder::Method("POST".into())));
        assert_eq!(read(&Method::GET, "/pools/api/servers/x"), Err(NoOrder::Method("DELETE".into())));
        let scale = Order::Scale { pool: "api".into(), instances: 3 };
        assert_eq!(read(&Method::POST, "/pools/api/scale?instances=3"), Ok(scale));
        let logs = Order::Logs { pool: "api".into(), worker: Some(1), lines: 5, follow: Follow::On };
        assert_eq!(read(&Method::GET, "/pools/api/logs?follow=1&worker=1&lines=5"), Ok(logs));
        let logs = Order::Logs { pool: "a/ü".into(), worker: None, lines: 100, follow: Follow::Now };
        assert_eq!(read(&Method::GET, "/pools/a%2F%C3%BC/logs?"), Ok(logs));
        let drain = Order::Server {
            pool: "api".into(),
            server: "unix:/run/a b.sock".into(),
            what: ServerOrder::Drain { timeout: Duration::from_secs(30) },
            keep: Keep::OverReloads,
        };
        assert_eq!(
            read(&Method::POST, "/pools/api/servers/unix%3A%2Frun%2Fa%20b.sock/drain?&keep=1"),
            Ok(drain)
        );
        for path in
            ["", "/", "//status", "/status/", "/pools//rollout", "/pools/api/servers/x/y", "*", "/Status"]
        {
            assert_eq!(read(&Method::GET, path), Err(NoOrder::Unknown), "{path}");
        }
    }

    #[test]
    fn values_are_told_what_they_should_be() {
        for (target, expected) in [
            ("/pools/a/scale", "`instances` is missing; it is a whole number from 1 to 1024"),
            ("/pools/a/scale?instances=0", "`instances=0` is not a whole number from 1 to 1024"),
            ("/pools/a/scale?instances=+3", "`instances= 3` is not a whole number from 1 to 1024"),
            ("/pools/a/scale?instances=03", "`instances=03` is not a whole number from 1 to 1024"),
            ("/pools/a/scale?instances=3&instances=3", "`instances` is there twice; write it once"),
            ("/pools/a/scale?instances=3&x=1", "there is no parameter `x` here; there is `instances`"),
            ("/reload?now", "there is no parameter `now` here; there is none"),
            ("/pools/a/scale?pool=3", "there is no parameter `pool` here; there is `instances`"),
            ("/pools/a/pause?timeout=999ms", "`timeout=999ms` is not a time from 1s to 10m, such as 30s"),
            ("/pools/a/pause?timeout=601s", "`timeout=601s` is not a time from 1s to 10m, such as 30s"),
            (
                "/pools/a/servers?address=nowhere",
                "`address=nowhere` is not an address, such as 10.0.0.1:3000 or unix:/run/app.sock",
            ),
            ("/pools/a/servers?address=1.2.3.4:1&keep=yes", "`keep=yes` is not 1 (yes) or 0 (no)"),
            ("/pools/%zz/rollout", "`%zz`: a `%` begins two hexadecimal digits"),
            ("/pools/%ff/rollout", "`%ff` is no UTF-8"),
            ("/pools/a/scale?%0a=1", "there is no parameter `\\n` here; there is `instances`"),
        ] {
            assert_eq!(wrong(target), expected, "{target}");
        }
        assert!(wrong(&format!("/reload?{}", "x".repeat(5000))).chars().count() < 150);
    }
}
