//! What the control interface can be asked to do, read from a request's method, path and query.

use std::time::Duration;

use hyper::Method;

use crate::pool::Keep;
use crate::units;

/// Lines shown of a worker's output when nobody says how many.
const LINES: usize = 100;

/// Whether an answer ends with what is there, or goes on with what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    Now,
    On,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Everything that is known of pools, servers and workers.
    Status,
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

/// For goodbyes of a drain and for a pause, when nobody says how long.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why a request is no order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoOrder {
    Unknown,
    /// Only by this method.
    Method(&'static str),
    Wrong(String),
}

impl Order {
    /// Reads `GET /status`, `POST /reload`, `POST /upgrade`, `POST /pools/NAME/rollout`, `POST /pools/NAME/scale?instances=N` and
    /// `GET /pools/NAME/logs?worker=I&lines=N&follow=1`.
    pub fn read(method: &Method, path: &str, query: &str) -> Result<Self, NoOrder> {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match *parts.as_slice() {
            ["status"] => only(&Method::GET, method, "GET").map(|()| Self::Status),
            ["upgrade"] => only(&Method::POST, method, "POST").map(|()| Self::Upgrade),
            ["plan"] => only(&Method::GET, method, "GET").map(|()| Self::Plan),
            ["config"] => only(&Method::GET, method, "GET").map(|()| Self::Config),
            ["reload"] => only(&Method::POST, method, "POST").map(|()| Self::Reload),
            ["pools", pool, "rollout"] => {
                only(&Method::POST, method, "POST")?;
                Ok(Self::Rollout { pool: pool.to_owned() })
            }
            ["pools", pool, "scale"] => {
                only(&Method::POST, method, "POST")?;
                let instances = number(query, "instances")?;
                let instances =
                    instances.ok_or_else(|| NoOrder::Wrong("`instances` is missing".to_owned()))?;
                Ok(Self::Scale { pool: pool.to_owned(), instances })
            }
            ["pools", pool, "logs"] => {
                only(&Method::GET, method, "GET")?;
                let lines = number(query, "lines")?.map_or(LINES, |lines| lines as usize);
                let follow = if value(query, "follow") == Some("1") { Follow::On } else { Follow::Now };
                Ok(Self::Logs { pool: pool.to_owned(), worker: number(query, "worker")?, lines, follow })
            }
            ["pools", pool, "pause"] => {
                only(&Method::POST, method, "POST")?;
                Ok(Self::Pause { pool: pool.to_owned(), timeout: duration(query, "timeout")? })
            }
            ["pools", pool, "resume"] => {
                only(&Method::POST, method, "POST")?;
                Ok(Self::Resume { pool: pool.to_owned() })
            }
            ["pools", pool, "servers", ref rest @ ..] => Self::read_server(method, pool, rest, query),
            _ => Err(NoOrder::Unknown),
        }
    }

    /// Reads `POST /pools/NAME/servers?address=A`, `DELETE /pools/NAME/servers/SERVER`, and below that `drain`, `undrain`
    /// and `weight`.
    fn read_server(method: &Method, pool: &str, rest: &[&str], query: &str) -> Result<Self, NoOrder> {
        let (server, what) = match *rest {
            [] => {
                only(&Method::POST, method, "POST")?;
                let address = text(query, "address")?;
                let address = address.ok_or_else(|| NoOrder::Wrong("`address` is missing".to_owned()))?;
                (address, ServerOrder::Add { weight: number(query, "weight")?.unwrap_or(1) })
            }
            [server] => {
                only(&Method::DELETE, method, "DELETE")?;
                (decoded(server)?, ServerOrder::Remove)
            }
            [server, what] => {
                only(&Method::POST, method, "POST")?;
                let what = match what {
                    "drain" => ServerOrder::Drain { timeout: duration(query, "timeout")? },
                    "undrain" => ServerOrder::Undrain,
                    "weight" => {
                        let weight = number(query, "weight")?;
                        let missing = || NoOrder::Wrong("`weight` is missing".to_owned());
                        ServerOrder::Weigh { weight: weight.ok_or_else(missing)? }
                    }
                    _ => return Err(NoOrder::Unknown),
                };
                (decoded(server)?, what)
            }
            _ => return Err(NoOrder::Unknown),
        };
        let keep = if value(query, "keep") == Some("1") { Keep::OverReloads } else { Keep::UntilReload };
        Ok(Self::Server { pool: pool.to_owned(), server, what, keep })
    }

    /// Whether something changes by it.
    pub fn changes(&self) -> bool {
        !matches!(self, Self::Status | Self::Plan | Self::Config | Self::Logs { .. })
    }
}

fn only(allowed: &Method, method: &Method, name: &'static str) -> Result<(), NoOrder> {
    if method == allowed { Ok(()) } else { Err(NoOrder::Method(name)) }
}

fn value<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn text(query: &str, name: &str) -> Result<Option<String>, NoOrder> {
    value(query, name).map(decoded).transpose()
}

fn decoded(text: &str) -> Result<String, NoOrder> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| NoOrder::Wrong(format!("`{text}` is no UTF-8")))
}

fn duration(query: &str, name: &str) -> Result<Duration, NoOrder> {
    let Some(text) = text(query, name)? else { return Ok(TIMEOUT) };
    let parsed = text.parse::<units::Duration>();
    parsed.map(units::Duration::std).map_err(|error| NoOrder::Wrong(format!("`{name}`: {error}")))
}

fn number(query: &str, name: &str) -> Result<Option<u32>, NoOrder> {
    let Some(text) = value(query, name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| NoOrder::Wrong(format!("`{name}={text}` is no number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_with_their_method() {
        let read = |method: &Method, target: &str| {
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            Order::read(method, path, query)
        };
        assert_eq!(read(&Method::GET, "/status"), Ok(Order::Status));
        assert_eq!(read(&Method::POST, "/status"), Err(NoOrder::Method("GET")));
        assert_eq!(read(&Method::POST, "/pools/api/rollout"), Ok(Order::Rollout { pool: "api".into() }));
        assert_eq!(read(&Method::GET, "/pools/api/rollout"), Err(NoOrder::Method("POST")));
        let scale = Order::Scale { pool: "api".into(), instances: 3 };
        assert_eq!(read(&Method::POST, "/pools/api/scale?instances=3"), Ok(scale.clone()));
        assert!(scale.changes() && !Order::Status.changes());
        assert!(matches!(read(&Method::POST, "/pools/api/scale?instances=-1"), Err(NoOrder::Wrong(_))));
        assert!(matches!(read(&Method::POST, "/pools/api/scale"), Err(NoOrder::Wrong(_))));
        let logs = Order::Logs { pool: "api".into(), worker: Some(1), lines: 5, follow: Follow::On };
        assert_eq!(read(&Method::GET, "/pools/api/logs?follow=1&worker=1&lines=5"), Ok(logs));
        assert_eq!(read(&Method::GET, "/pools"), Err(NoOrder::Unknown));
    }
}
