//! Outlier ejection: a server that fails exchange after exchange is taken out for a while, and longer each time.
//!
//! ```text
//! working --N failures in a row--> out for ejection_time x min(times in a row, 10) --its time is over--> working
//! ```
//! A success ends the row of failures; the times in a row go down by one for every quiet time as long as the last
//! ejection. The rule of one server: who else is out, and when to look again, is its pool's matter.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::OutlierSpec;
use crate::server::{Server, State};
use crate::units::Percent;

/// Ejections grow up to this many times the first.
const LONGEST: u32 = 10;

/// What came of giving a server an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A response head came after so long, counted from the request's last byte.
    Answered { status: u16, latency: Duration },
    /// No connection could be made.
    ConnectFailed,
    /// No response head came in time.
    TimedOut,
    /// The connection ended before the response was complete.
    Reset,
    /// What came was not HTTP.
    BadResponse,
}

impl Outcome {
    /// Why it counts as a failure; `None` when it does not.
    pub fn failure(self) -> Option<&'static str> {
        match self {
            Self::Answered { status: 502, .. } => Some("status 502"),
            Self::Answered { status: 503, .. } => Some("status 503"),
            Self::Answered { status: 504, .. } => Some("status 504"),
            Self::Answered { .. } => None,
            Self::ConnectFailed => Some("connect failed"),
            Self::TimedOut => Some("timed out"),
            Self::Reset => Some("connection reset"),
            Self::BadResponse => Some("bad response"),
        }
    }
}

/// A server was taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// On the process clock.
    pub until_ms: u64,
    /// The how many-th in a row, from 1.
    pub in_a_row: u32,
}

/// `outlier_detection`, compiled.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// 0 turns the rule off.
    consecutive_failures: u32,
    ejection_ms: u64,
    max_ejected: Percent,
}

impl Rule {
    pub fn compile(spec: &OutlierSpec) -> Self {
        Self {
            consecutive_failures: spec.consecutive_failures,
            ejection_ms: u64::try_from(spec.ejection_time.std().as_millis()).unwrap_or(u64::MAX / 16),
            max_ejected: spec.max_ejected,
        }
    }

    /// Counts an outcome; true when the server ought to be ejected. While it is out nothing is counted: what still runs
    /// on it says nothing new. A server that cannot be ejected is asked about again after as many failures.
    pub fn count(&self, state: &State, outcome: Outcome) -> bool {
        if outcome.failure().is_none() {
            // Read first: a store per request would fight over the cache line.
            if state.consecutive_failures.load(Relaxed) != 0 {
                state.consecutive_failures.store(0, Relaxed);
            }
            return false;
        }
        if self.consecutive_failures == 0 || state.ejected_until_ms.load(Relaxed) != 0 {
            return false;
        }
        let failures = state.consecutive_failures.fetch_add(1, Relaxed).wrapping_add(1);
        failures.is_multiple_of(self.consecutive_failures) && failures != 0
    }

    /// Whether one more of `size` servers may be out when `ejected` are.
    pub fn may_eject(&self, ejected: usize, size: usize) -> bool {
        let most = size * usize::from(self.max_ejected.percent()) / 100;
        ejected < most.max(1)
    }

    /// Takes a server out and says so, once; `None` when another thread just did.
    pub fn eject(&self, server: &Server, outcome: Outcome, now_ms: u64) -> Option<Ejection> {
        let state = &server.state;
        let in_a_row = self.in_a_row(state, now_ms) + 1;
        let length_ms = self.length_ms(in_a_row);
        let until_ms = now_ms.saturating_add(length_ms).max(1);
        state.ejected_until_ms.compare_exchange(0, until_ms, Relaxed, Relaxed).ok()?;
        state.ejections.store(in_a_row, Relaxed);
        let failures = state.consecutive_failures.swap(0, Relaxed);
        tracing::warn!(
            pool = %server.pool,
            server = %server.identity,
            reason = outcome.failure().unwrap_or_default(),
            failures,
            in_a_row,
            seconds = length_ms as f64 / 1000.0,
            "server ejected"
        );
        Some(Ejection { until_ms, in_a_row })
    }

    /// The times in a row that count now: one less for every quiet time as long as the last ejection.
    fn in_a_row(&self, state: &State, now_ms: u64) -> u32 {
        let times = state.ejections.load(Relaxed);
        let quiet_ms = now_ms.saturating_sub(state.returned_ms.load(Relaxed));
        let forgiven = quiet_ms / self.length_ms(times).max(1);
        times.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }

    fn length_ms(&self, in_a_row: u32) -> u64 {
        self.ejection_ms.saturating_mul(u64::from(in_a_row.clamp(1, LONGEST)))
    }
}

/// Brings a server back whose time is over and says so, once; false when it is not out, or not over, or another thread
/// just did. It starts slowly, where the pool does that.
pub fn bring_back(server: &Server, now_ms: u64) -> bool {
    let state = &server.state;
    let until_ms = state.ejected_until_ms.load(Relaxed);
    if until_ms == 0 || until_ms > now_ms {
        return false;
    }
    // Before it can be picked: the slow start and the count in a row go by these.
    state.returned_ms.store(until_ms, Relaxed);
    state.up_since_ms.store(now_ms, Relaxed);
    if state.ejected_until_ms.compare_exchange(until_ms, 0, Relaxed, Relaxed).is_err() {
        return false;
    }
    tracing::info!(pool = %server.pool, server = %server.identity, reason = "ejection time is over", "server returned");
    true
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::observe::metrics::ServerMetrics;
    use crate::server;
    use crate::units;

    const FINE: Outcome = Outcome::Answered { status: 200, latency: Duration::ZERO };

    fn rule(consecutive_failures: u32, max_ejected: u8) -> Rule {
        Rule::compile(&OutlierSpec {
            consecutive_failures,
            ejection_time: units::Duration::from_secs(30),
            max_ejected: Percent::new(max_ejected),
        })
    }

    fn a_server() -> Arc<Server> {
        let spec = server::Spec { address: "10.0.0.1:80".parse().unwrap(), weight: 1, backup: false };
        let endpoint = crate::net::Endpoint::Inet("10.0.0.1:80".parse().unwrap());
        Arc::new(Server::new("web".into(), "10.0.0.1:80".into(), endpoint, spec, ServerMetrics::default()))
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_ends_the_row() {
        let (rule, state) = (rule(3, 50), State::default());
        let outcomes =
            [Outcome::ConnectFailed, Outcome::TimedOut, FINE, Outcome::Reset, Outcome::BadResponse];
        assert!(outcomes.iter().all(|outcome| !rule.count(&state, *outcome)));
        assert!(rule.count(&state, Outcome::Answered { status: 503, latency: Duration::ZERO }));
        assert!(!rule.count(&state, Outcome::Reset), "asked again after three more");
        for status in [200, 301, 404, 500, 501] {
            assert_eq!(Outcome::Answered { status, latency: Duration::ZERO }.failure(), None);
        }
    }

    #[test]
    fn a_rule_of_no_failures_is_off() {
        assert!((0..100).all(|_| !rule(0, 50).count(&State::default(), Outcome::Reset)));
    }

    #[test]
    fn ejections_in_a_row_grow_to_ten_times_and_the_count_decays_in_quiet() {
        let (rule, server) = (rule(1, 100), a_server());
        let mut now_ms = 1;
        for times in 1..=12u32 {
            let ejection = rule.eject(&server, Outcome::Reset, now_ms).unwrap();
            let length_ms = 30_000 * u64::from(times.min(10));
            assert_eq!(ejection, Ejection { until_ms: now_ms + length_ms, in_a_row: times });
            assert_eq!(rule.eject(&server, Outcome::Reset, now_ms), None, "it is out already");
            assert!(!rule.count(&server.state, Outcome::Reset), "and nothing is counted");
            assert!(!bring_back(&server, ejection.until_ms - 1));
            now_ms = ejection.until_ms;
            assert!(bring_back(&server, now_ms) && !bring_back(&server, now_ms));
        }
        // Twelve in a row; two quiet times of the last length forgive two, the next is the eleventh.
        now_ms += 2 * 300_000;
        assert_eq!(rule.eject(&server, Outcome::Reset, now_ms).map(|ejection| ejection.in_a_row), Some(11));
        now_ms += 300_000;
        assert!(bring_back(&server, now_ms));
        now_ms += 100 * 300_000;
        assert_eq!(rule.eject(&server, Outcome::Reset, now_ms).map(|ejection| ejection.in_a_row), Some(1));
    }

    #[test]
    fn of_many_threads_one_ejects_and_one_brings_back() {
        let (rule, server) = (rule(1, 50), a_server());
        let count = |step: &(dyn Fn() -> bool + Sync)| {
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(step)).collect();
                threads
                    .into_iter()
                    .filter(|_| true)
                    .map(|thread| thread.join().unwrap())
                    .filter(|won| *won)
                    .count()
            })
        };
        assert_eq!(count(&|| rule.eject(&server, Outcome::Reset, 1).is_some()), 1);
        assert_eq!(count(&|| bring_back(&server, 90_000)), 1);
    }

    proptest! {
        #[test]
        fn at_most_the_share_is_out_and_always_one_may_be(share in 0u8..=100, size in 1usize..200) {
            let rule = rule(5, share);
            let out = (0..size).take_while(|ejected| rule.may_eject(*ejected, size)).count();
            prop_assert_eq!(out, (size * usize::from(share) / 100).max(1));
        }

        #[test]
        fn ejection_comes_exactly_at_every_nth_failure_of_a_row(
            threshold in 1u32..8,
            outcomes in prop::collection::vec(prop::bool::weighted(0.8), 0..200),
        ) {
            let (rule, state) = (rule(threshold, 50), State::default());
            let mut row = 0;
            for is_failure in outcomes {
                let asked = rule.count(&state, if is_failure { Outcome::TimedOut } else { FINE });
                row = if is_failure { row + 1 } else { 0 };
                prop_assert_eq!(asked, row > 0 && row % threshold == 0);
            }
        }
    }
}
