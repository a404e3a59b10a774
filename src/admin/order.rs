//! What the control interface can be asked to do, read from a request's method, path and query.

use hyper::Method;

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
    /// The last lines that workers wrote.
    Logs {
        pool: String,
        worker: Option<u32>,
        lines: usize,
        follow: Follow,
    },
}

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
            _ => Err(NoOrder::Unknown),
        }
    }

    /// Whether something changes by it.
    pub fn changes(&self) -> bool {
        !matches!(self, Self::Status | Self::Logs { .. })
    }
}

fn only(allowed: &Method, method: &Method, name: &'static str) -> Result<(), NoOrder> {
    if method == allowed { Ok(()) } else { Err(NoOrder::Method(name)) }
}

fn value<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
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
