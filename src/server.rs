//! One server of a pool: where it is, what the user asked of it, and its live state.
//!
//! The state is atomics alone: the data plane counts, `health` and `control` switch. A server outlives
//! snapshots: a reload reuses it while pool name, identity and Spec are equal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use schemars::{JsonSchema, json_schema};
use serde::{Deserialize, Serialize};

use crate::net::{Address, Endpoint};
use crate::units::form;

/// A server as written in `pools.NAME.servers`: an address alone, or with its weight.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(remote = "Spec", deny_unknown_fields)]
#[schemars(transform = form::also_text(json_schema!({ "type": "string", "description": "The address." })))]
pub struct Spec {
    /// Where it listens: `10.0.0.21:3000`, `app.internal:3000` (resolved while running, each address a server of its
    /// own) or `unix:/run/app.sock`.
    pub address: Address,
    /// Share of the work against its neighbours, 1 to 1000.
    #[serde(default = "default_weight")]
    pub weight: u32,
    /// Gets work only while no server without this mark is up.
    #[serde(default)]
    pub backup: bool,
}

form::text_form!(Spec, "an address such as `10.0.0.21:3000` in quotes, or a map", Spec::of_address);

impl Spec {
    fn of_address<E: serde::de::Error>(address: &str) -> Result<Self, E> {
        let address = address.parse().map_err(E::custom)?;
        Ok(Self { address, weight: default_weight(), backup: false })
    }
}

fn default_weight() -> u32 {
    1
}

/// What is known of a server's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// No check has answered yet; not picked until one has.
    Unknown,
    Up,
    Down,
}

/// One address that can be connected to, with the state all engine threads share.
#[derive(Debug)]
pub struct Server {
    /// Unique in this process for its whole life; never reused.
    pub id: u64,
    /// Name of its pool.
    pub pool: Arc<str>,
    /// The address as written, and for one address of a host name `app.internal:3000/10.0.0.7`. The consistent hash, the
    /// sticky value and the `server` label are made of it.
    pub identity: Arc<str>,
    pub endpoint: Endpoint,
    pub spec: Spec,
    pub state: State,
    pub metrics: crate::observe::metrics::ServerMetrics,
}

/// Everything about a server that changes while it serves.
#[derive(Debug, Default)]
pub struct State {
    /// 0 unknown, 1 up, 2 down: the active check's word.
    health: std::sync::atomic::AtomicU8,
    /// No new work; sessions bound to it stay.
    pub draining: AtomicBool,
    /// Milliseconds on the process clock (`State::now`) until which outlier detection keeps it out; 0 when it does not.
    pub ejected_until_ms: AtomicU64,
    /// How often it was ejected in a row; lengthens the next ejection.
    pub ejections: AtomicU32,
    /// Failures in a row seen by exchanges.
    pub consecutive_failures: AtomicU32,
    /// Exchanges and tunnels in flight over all engine threads.
    pub in_flight: AtomicU32,
    /// Idle connections kept over all engine threads.
    pub idle: AtomicUsize,
    /// Peak EWMA of the time to the response head, in nanoseconds; 0 before the first.
    pub latency_ns: AtomicU64,
    /// Milliseconds on the process clock when it last came up; the slow start counts from here.
    pub up_since_ms: AtomicU64,
}

impl Server {
    pub fn new(
        pool: Arc<str>,
        identity: Arc<str>,
        endpoint: Endpoint,
        spec: Spec,
        metrics: crate::observe::metrics::ServerMetrics,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { id, pool, identity, endpoint, spec, state: State::default(), metrics }
    }
}

impl State {
    pub fn health(&self) -> Health {
        match self.health.load(Ordering::Relaxed) {
            1 => Health::Up,
            2 => Health::Down,
            _ => Health::Unknown,
        }
    }

    /// Records the active check's word; true when it changed.
    pub fn record_health(&self, health: Health, now_ms: u64) -> bool {
        let code = match health {
            Health::Unknown => 0,
            Health::Up => 1,
            Health::Down => 2,
        };
        let changed = self.health.swap(code, Ordering::Relaxed) != code;
        if changed && health == Health::Up {
            self.up_since_ms.store(now_ms.max(1), Ordering::Relaxed);
        }
        changed
    }
}
