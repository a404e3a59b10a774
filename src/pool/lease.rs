//! A server in use by an exchange or a tunnel: counted in flight from the pick until it is dropped.
//!
//! It does not know what is done with the server; its holder says how it went.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::balance::{observe_failure, observe_latency};
use super::pool::Pool;
use super::spec::Policy;
use crate::health::passive::{Ejection, Outcome};
use crate::server::{Server, process_ms};

/// A place on a server; dropping it gives the place to the first who waits.
#[must_use = "the server is free again when this is dropped"]
pub struct Lease {
    pool: Arc<Pool>,
    server: Arc<Server>,
    /// Time spent in the queue for it.
    pub waited: Duration,
    /// The part of `waited` that the pool was paused for, which nobody's patience pays for.
    pub paused: Duration,
    /// What tunnels were told before it was taken: `State::heard`.
    pub heard: u64,
}

impl Lease {
    pub(super) fn new(pool: Arc<Pool>, server: Arc<Server>) -> Self {
        let heard = server.state.heard();
        Self { pool, server, waited: Duration::ZERO, paused: Duration::ZERO, heard }
    }

    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Says how an attempt went, for outlier detection and `least_time`; once per attempt, and not at all where the
    /// client went away. `Some` when it got the server ejected.
    pub fn observe(&self, outcome: Outcome, now: Instant) -> Option<Ejection> {
        let state = &self.server.state;
        match outcome {
            _ if self.pool.spec.balance.policy != Policy::LeastTime => {}
            Outcome::Answered { latency, .. } if outcome.failure().is_none() => {
                observe_latency(state, latency, process_ms(now));
            }
            _ => observe_failure(state, process_ms(now)),
        }
        self.pool.judge(&self.server, outcome, now)
    }
}

impl Deref for Lease {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.release(&self.server);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("pool", &self.server.pool)
            .field("server", &self.server.identity)
            .finish()
    }
}
