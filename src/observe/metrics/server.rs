//! What is counted per server. What the server's own state already knows (up, in flight, idle) is not counted a second
//! time on the request path: it is read from that state when the metrics are rendered.

use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;

use super::cell::{Counter, CounterBy, Gauge, Histogram};
use super::family::{Cells, Family, Handle, Kind, Samples};
use crate::observe::label::labels;

/// Handles of one server of a pool.
pub type ServerMetrics = Handle<ServerCells>;

labels! {
    /// How an exchange with a server failed.
    ServerFailure("kind") {
        /// No connection could be made.
        Connect = "connect",
        /// No connection within `timeouts.connect`.
        ConnectTimeout = "connect_timeout",
        /// The TLS handshake with it failed.
        Tls = "tls",
        /// No response head within `timeouts.response`, or silence inside the body.
        Timeout = "timeout",
        /// The connection ended before the response was complete.
        Reset = "reset",
        /// What it sent is not a valid response.
        BadResponse = "bad_response",
        /// It answered with a status that counts as a failure (502, 503, 504).
        Status = "status",
    }
}

labels! {
    /// How an active check ended.
    CheckOutcome("outcome") {
        /// The server is well.
        Ok = "ok",
        /// No connection could be made.
        Connect = "connect",
        /// No connection in time.
        ConnectTimeout = "connect_timeout",
        /// The TLS handshake with it failed.
        Tls = "tls",
        /// No answer in time.
        Timeout = "timeout",
        /// The connection ended before an answer.
        Reset = "reset",
        /// The answer is not a valid response.
        BadResponse = "bad_response",
        /// The answer has another status than expected.
        Status = "status",
        /// gRPC's health service says something else than `SERVING`.
        NotServing = "not_serving",
    }
}

/// What a server's own state says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerReading {
    /// Its checks are passed, or none is made.
    pub up: bool,
    pub draining: bool,
    pub ejected: bool,
    /// Exchanges and tunnels.
    pub in_flight: u64,
    /// Connections kept alive.
    pub idle_connections: u64,
}

type ReadState = Box<dyn Fn() -> Option<ServerReading> + Send + Sync>;

#[derive(Default)]
pub struct ServerCells {
    /// Of every server of this name that may still be there, the latest last.
    state: Mutex<Vec<ReadState>>,
    /// Requests sent to it, retries included.
    pub requests: Counter,
    pub failures: CounterBy<ServerFailure>,
    /// From the end of picking to the first byte of the response.
    pub first_byte: Histogram,
    /// Connections made, with their TLS handshakes.
    pub connect: Histogram,
    pub ejections: Counter,
    pub checks: CounterBy<CheckOutcome>,
    check_duration_us: Gauge,
}

impl ServerCells {
    /// From now on the gauges are what `read` says when they are rendered, until it says `None`, so give it a weak
    /// reference to the server. The last one that says something counts: one that was made for a plan that is refused
    /// leaves the one before it.
    pub fn read_state(&self, read: impl Fn() -> Option<ServerReading> + Send + Sync + 'static) {
        let mut state = self.state.lock();
        state.retain(|read| read().is_some());
        state.push(Box::new(read));
    }

    /// Counts an active check.
    pub fn observe_check(&self, outcome: CheckOutcome, duration: Duration) {
        self.checks.add(outcome, 1);
        self.check_duration_us.record(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX));
    }

    fn gauge(&self, samples: &mut Samples<'_>, value: fn(ServerReading) -> u64) {
        if let Some(reading) = self.state.lock().iter().rev().find_map(|read| read()) {
            samples.value(&[], value(reading) as f64);
        }
    }
}

impl fmt::Debug for ServerCells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCells").field("requests", &self.requests).finish_non_exhaustive()
    }
}

impl Cells for ServerCells {
    const LABELS: &'static [&'static str] = &["pool", "server"];
    const FAMILIES: &'static [Family<Self>] = &[
        Family {
            name: "lintel_server_up",
            kind: Kind::Gauge,
            labels: &[],
            help: "1 while the server passes its checks, or while none is made; else 0.",
            read: |cells, samples| cells.gauge(samples, |reading| reading.up.into()),
        },
        Family {
            name: "lintel_server_draining",
            kind: Kind::Gauge,
            labels: &[],
            help: "1 while the server gets no new work; else 0.",
            read: |cells, samples| cells.gauge(samples, |reading| reading.draining.into()),
        },
        Family {
            name: "lintel_server_ejected",
            kind: Kind::Gauge,
            labels: &[],
            help: "1 while outlier detection keeps the server out; else 0.",
            read: |cells, samples| cells.gauge(samples, |reading| reading.ejected.into()),
        },
        Family {
            name: "lintel_server_in_flight",
            kind: Kind::Gauge,
            labels: &[],
            help: "Exchanges and tunnels that the server has now.",
            read: |cells, samples| cells.gauge(samples, |reading| reading.in_flight),
        },
        Family {
            name: "lintel_server_idle_connections",
            kind: Kind::Gauge,
            labels: &[],
            help: "Connections to the server kept alive and unused.",
            read: |cells, samples| cells.gauge(samples, |reading| reading.idle_connections),
        },
        Family {
            name: "lintel_server_requests_total",
            kind: Kind::Counter,
            labels: &[],
            help: "Requests sent to the server, retries included.",
            read: |cells, samples| samples.value(&[], cells.requests.count() as f64),
        },
        Family {
            name: "lintel_server_failures_total",
            kind: Kind::Counter,
            labels: &["kind"],
            help: "Exchanges with the server that failed, by how.",
            read: |cells, samples| samples.by(&cells.failures),
        },
        Family {
            name: "lintel_server_first_byte_seconds",
            kind: Kind::Histogram,
            labels: &[],
            help: "Time from picking the server to the first byte of its response.",
            read: |cells, samples| samples.histogram(&cells.first_byte),
        },
        Family {
            name: "lintel_server_connect_seconds",
            kind: Kind::Histogram,
            labels: &[],
            help: "Time to make a connection to the server, TLS included; its count is the connections opened.",
            read: |cells, samples| samples.histogram(&cells.connect),
        },
        Family {
            name: "lintel_server_ejections_total",
            kind: Kind::Counter,
            labels: &[],
            help: "How often outlier detection took the server out.",
            read: |cells, samples| samples.value(&[], cells.ejections.count() as f64),
        },
        Family {
            name: "lintel_server_checks_total",
            kind: Kind::Counter,
            labels: &["outcome"],
            help: "Active checks of the server, by how they ended.",
            read: |cells, samples| samples.by(&cells.checks),
        },
        Family {
            name: "lintel_server_check_duration_seconds",
            kind: Kind::Gauge,
            labels: &[],
            help: "How long the last active check took.",
            read: |cells, samples| samples.value(&[], cells.check_duration_us.value() as f64 / 1e6),
        },
    ];
}
