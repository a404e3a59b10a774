//! What is counted per pool: requests, retries, the queue, stickiness, tunnels.

use super::cell::{Counter, CounterBy, Gauge, Histogram};
use super::family::{Cells, Family, Handle, Kind, Samples};
use crate::observe::label::labels;

/// Handles of one pool.
pub type PoolMetrics = Handle<PoolCells>;

labels! {
    /// Why a request was tried again on another server.
    RetryReason("reason") {
        /// No connection could be made; nothing was sent.
        ConnectFailure = "connect_failure",
        /// The connection ended before the response head.
        Reset = "reset",
        /// No response head came in time.
        Timeout = "timeout",
        /// The server answered 502.
        Status502 = "502",
        /// The server answered 503.
        Status503 = "503",
        /// The server answered 504.
        Status504 = "504",
    }
}

labels! {
    /// What became of a request that names the server it belongs to.
    StickyOutcome("outcome") {
        /// It went to its own server.
        Hit = "hit",
        /// It names no session that is known; balanced like a new client.
        Unknown = "unknown",
        /// Its server is down, draining or gone; it moved to another.
        Failover = "failover",
    }
}

#[derive(Debug, Default)]
pub struct PoolCells {
    /// Requests that asked the pool for a server.
    pub requests: Counter,
    pub retries: CounterBy<RetryReason>,
    /// Retries that the budget did not allow.
    pub retries_denied: Counter,
    /// Requests waiting now.
    pub queue_length: Gauge,
    /// 1 while new requests are held back.
    pub paused: Gauge,
    /// Waits of requests that entered the queue, however they ended.
    pub queue_wait: Histogram,
    pub queue_timeouts: Counter,
    pub queue_full: Counter,
    pub no_server_up: Counter,
    pub sticky: CounterBy<StickyOutcome>,
    pub tunnels_open: Gauge,
    /// Tunnels opened so far.
    pub tunnels: Counter,
    /// Workers that its app is to have; 0 without an app.
    pub workers_wanted: Gauge,
    /// The most that they may become; 0 where their number does not change by itself.
    pub workers_max: Gauge,
    /// Mean load that their number goes by, in thousandths.
    pub workers_load: Gauge,
}

impl Cells for PoolCells {
    const LABELS: &'static [&'static str] = &["pool"];
    const FAMILIES: &'static [Family<Self>] = &[
        Family {
            name: "lintel_pool_requests_total",
            kind: Kind::Counter,
            labels: &[],
            help: "Requests that asked the pool for a server; retries do not count again.",
            read: |cells, samples| samples.value(&[], cells.requests.count() as f64),
        },
        Family {
            name: "lintel_pool_retries_total",
            kind: Kind::Counter,
            labels: &["reason"],
            help: "Further tries on another server, by what failed before.",
            read: |cells, samples| samples.by(&cells.retries),
        },
        Family {
            name: "lintel_pool_retries_denied_total",
            kind: Kind::Counter,
            labels: &[],
            help: "Retries that the budget did not allow.",
            read: |cells, samples| samples.value(&[], cells.retries_denied.count() as f64),
        },
        Family {
            name: "lintel_pool_queue_length",
            kind: Kind::Gauge,
            labels: &[],
            help: "Requests waiting for a server with room.",
            read: |cells, samples| samples.value(&[], cells.queue_length.value() as f64),
        },
        Family {
            name: "lintel_pool_paused",
            kind: Kind::Gauge,
            labels: &[],
            help: "1 while `lintel pause` holds new requests in the queue, else 0.",
            read: |cells, samples| samples.value(&[], cells.paused.value() as f64),
        },
        Family {
            name: "lintel_pool_queue_wait_seconds",
            kind: Kind::Histogram,
            labels: &[],
            help: "Time that requests waited in the queue, pauses too; those that never waited are left out.",
            read: |cells, samples| samples.histogram(&cells.queue_wait),
        },
        Family {
            name: "lintel_pool_queue_timeouts_total",
            kind: Kind::Counter,
            labels: &[],
            help: "Requests that waited in the queue for queue.timeout in vain.",
            read: |cells, samples| samples.value(&[], cells.queue_timeouts.count() as f64),
        },
        Family {
            name: "lintel_pool_queue_full_total",
            kind: Kind::Counter,
            labels: &[],
            help: "Requests refused because the queue was full.",
            read: |cells, samples| samples.value(&[], cells.queue_full.count() as f64),
        },
        Family {
            name: "lintel_pool_no_server_up_total",
            kind: Kind::Counter,
            labels: &[],
            help: "Requests refused because no server was up.",
            read: |cells, samples| samples.value(&[], cells.no_server_up.count() as f64),
        },
        Family {
            name: "lintel_pool_sticky_total",
            kind: Kind::Counter,
            labels: &["outcome"],
            help: "Requests that name the server they belong to, by what became of them.",
            read: |cells, samples| samples.by(&cells.sticky),
        },
        Family {
            name: "lintel_pool_tunnels_open",
            kind: Kind::Gauge,
            labels: &[],
            help: "Tunnels (WebSockets) open now.",
            read: |cells, samples| samples.value(&[], cells.tunnels_open.value() as f64),
        },
        Family {
            name: "lintel_pool_tunnels_total",
            kind: Kind::Counter,
            labels: &[],
            help: "Tunnels (WebSockets) opened.",
            read: |cells, samples| samples.value(&[], cells.tunnels.count() as f64),
        },
        Family {
            name: "lintel_pool_workers_wanted",
            kind: Kind::Gauge,
            labels: &[],
            help: "Workers that the pool's app is to have; those that are ready: lintel_worker_up.",
            read: |cells, samples| some(samples, &cells.workers_wanted, cells.workers_wanted.value() as f64),
        },
        Family {
            name: "lintel_pool_workers_max",
            kind: Kind::Gauge,
            labels: &[],
            help: "Most workers that an app that scales itself may have.",
            read: |cells, samples| some(samples, &cells.workers_max, cells.workers_max.value() as f64),
        },
        Family {
            name: "lintel_pool_workers_load",
            kind: Kind::Gauge,
            labels: &[],
            help: "Mean load of the workers that their number goes by, 0 to 1.",
            read: |cells, samples| some(samples, &cells.workers_max, cells.workers_load.value() as f64 / 1e3),
        },
    ];
}

/// A value of pools for which there is one: where this gauge is not 0.
fn some(samples: &mut Samples<'_>, shown_by: &Gauge, value: f64) {
    if shown_by.value() != 0 {
        samples.value(&[], value);
    }
}
