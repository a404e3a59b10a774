//! The lowest product of recent latency and requests in flight (the one to come included), for its weight.
//!
//! Latency is a peak EWMA of the time to the response head: a slower answer counts at once, a faster one by and by, and
//! without answers it fades, so that a server that was slow is tried again. The two words of it are read and written
//! apart: a torn pair is off by one answer for a moment, which costs nothing.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::lowest;
use crate::pool::choice::{Chance, Choice};
use crate::server::State;

/// Time in which an old value fades to 1/e (the decay of Finagle and linkerd).
const FADES_IN_MS: f64 = 10_000.0;

/// What a failure counts as, at least: a server that refuses at once must not look like the fastest.
const FAILURE: Duration = Duration::from_secs(1);

/// Stands for the latency of a server that has not answered yet but is busy: one request finds out, the rest wait.
const UNMEASURED_NS: f64 = 1e12;

#[derive(Debug)]
pub struct LeastTime;

impl LeastTime {
    pub fn pick(&self, choice: &Choice<'_>, chance: &mut Chance) -> Option<usize> {
        lowest(choice, chance, |index| {
            let in_flight = f64::from(choice.in_flight(index));
            let latency =
                choice.servers.get(index).map_or(0.0, |server| latency_ns(&server.state, choice.now_ms));
            let latency = if latency == 0.0 && in_flight > 0.0 { UNMEASURED_NS } else { latency };
            latency * (in_flight + 1.0) / choice.weight(index)
        })
    }
}

/// Takes the time to a response head into account.
pub fn observe_latency(state: &State, latency: Duration, now_ms: u64) {
    let seen = latency.as_secs_f64() * 1e9;
    let before = state.latency_ns.load(Relaxed) as f64;
    let next = if seen >= before {
        seen
    } else {
        let kept = fade(state, now_ms);
        before * kept + seen * (1.0 - kept)
    };
    // 0 means never measured.
    state.latency_ns.store((next as u64).max(1), Relaxed);
    state.latency_at_ms.store(now_ms, Relaxed);
}

/// Takes a failure into account, as a slow answer.
pub fn observe_failure(state: &State, now_ms: u64) {
    let least = latency_ns(state, now_ms).max(FAILURE.as_nanos() as f64);
    state.latency_ns.store(least as u64, Relaxed);
    state.latency_at_ms.store(now_ms, Relaxed);
}

fn latency_ns(state: &State, now_ms: u64) -> f64 {
    let latency = state.latency_ns.load(Relaxed);
    if latency == 0 { 0.0 } else { latency as f64 * fade(state, now_ms) }
}

/// What is left of the last value: 1.0 down to 0.0.
fn fade(state: &State, now_ms: u64) -> f64 {
    let age = now_ms.saturating_sub(state.latency_at_ms.load(Relaxed));
    (-(age as f64) / FADES_IN_MS).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::choice::tests::{choice, servers};

    const MS: u64 = 1_000_000;

    #[test]
    fn a_slower_answer_counts_at_once_and_a_faster_one_by_and_by() {
        let state = State::default();
        observe_latency(&state, Duration::from_millis(10), 1000);
        observe_latency(&state, Duration::from_millis(80), 1000);
        assert_eq!(state.latency_ns.load(Relaxed), 80 * MS);
        observe_latency(&state, Duration::from_millis(10), 11_000);
        let after = state.latency_ns.load(Relaxed) / MS;
        assert!((35..37).contains(&after), "10 + 70/e, but {after}");
        assert!(latency_ns(&state, 111_000) < 0.01 * MS as f64);
    }

    #[test]
    fn the_quicker_server_gets_the_request_until_it_has_too_many() {
        let servers = servers(&[1; 2]);
        observe_latency(&servers[0].state, Duration::from_millis(10), 1);
        observe_latency(&servers[1].state, Duration::from_millis(50), 1);
        let mut chance = Chance::seeded(1);
        assert_eq!(LeastTime.pick(&choice(&servers), &mut chance), Some(0));
        servers[0].state.in_flight.store(5, Relaxed);
        assert_eq!(LeastTime.pick(&choice(&servers), &mut chance), Some(1));
    }

    #[test]
    fn an_unmeasured_server_gets_one_request_to_be_measured_by() {
        let servers = servers(&[1; 2]);
        observe_latency(&servers[0].state, Duration::from_millis(10), 1);
        let mut chance = Chance::seeded(1);
        assert_eq!(LeastTime.pick(&choice(&servers), &mut chance), Some(1));
        servers[1].state.in_flight.store(1, Relaxed);
        assert_eq!(LeastTime.pick(&choice(&servers), &mut chance), Some(0));
    }

    #[test]
    fn a_server_that_refuses_at_once_does_not_look_fast() {
        let servers = servers(&[1; 2]);
        observe_latency(&servers[0].state, Duration::from_millis(300), 1);
        observe_failure(&servers[1].state, 1);
        assert_eq!(LeastTime.pick(&choice(&servers), &mut Chance::seeded(1)), Some(0));
    }
}
