//! When a host name is looked up again.
//!
//! ```text
//!     Due --- look-up starts ---> Running --- answer ----> Waiting for its TTL, 1 s to `max_ttl`
//!                                         \-- failure ---> Waiting 1 s, 2 s, 4 s, .. up to `max_ttl`
//!     Waiting --- time, or a poke and 1 s since the last start ---> Due
//! ```
//!
//! A pure rule with `now` from the caller; it looks nothing up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// No name is looked up more often than this.
pub const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// The moments of one host name.
#[derive(Clone, Debug)]
pub struct Schedule {
    max_ttl: Duration,
    started: Instant,
    due: Instant,
    failures: u32,
}

impl Schedule {
    /// Due at once. A `max_ttl` below one second counts as one second.
    pub fn new(max_ttl: Duration, now: Instant) -> Self {
        Self { max_ttl: max_ttl.max(SHORTEST_INTERVAL), started: now, due: now, failures: 0 }
    }

    /// When the next look-up starts.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// A look-up starts.
    pub fn start(&mut self, now: Instant) {
        self.started = now;
    }

    /// An answer came that holds for `ttl`.
    pub fn answered(&mut self, ttl: Duration, now: Instant) {
        self.failures = 0;
        self.due = now + ttl.clamp(SHORTEST_INTERVAL, self.max_ttl);
    }

    /// No answer came.
    pub fn failed(&mut self, now: Instant) {
        let pause = SHORTEST_INTERVAL.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.due = now + pause.min(self.max_ttl);
    }

    /// The answer is in doubt: a connection failed.
    pub fn poke(&mut self, now: Instant) {
        self.due = self.due.min((self.started + SHORTEST_INTERVAL).max(now));
    }
}

/// The data plane's way to say that the addresses of a pool are in doubt. Cheap, never waits.
#[derive(Clone, Debug)]
pub struct Poke(Arc<watch::Sender<()>>);

impl Default for Poke {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(())))
    }
}

impl Poke {
    /// Has the pool's names looked up again, each at most once per second however often this is called.
    pub fn now(&self) {
        self.0.send_replace(());
    }

    /// Sees the pokes from here on.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_name_is_due_when_its_ttl_ends_within_one_second_and_max_ttl() {
        let now = Instant::now();
        let mut schedule = Schedule::new(seconds(10.0), now);
        assert_eq!(schedule.due(), now);
        for (ttl, expected) in [(0.0, 1.0), (0.5, 1.0), (4.0, 4.0), (10.0, 10.0), (3600.0, 10.0)] {
            schedule.start(now);
            schedule.answered(seconds(ttl), now);
            assert_eq!(schedule.due() - now, seconds(expected));
        }
    }

    #[test]
    fn failures_pause_longer_each_time_and_an_answer_forgets_them() {
        let now = Instant::now();
        let mut schedule = Schedule::new(seconds(10.0), now);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            schedule.start(now);
            schedule.failed(now);
            pauses.push((schedule.due() - now).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 10, 10]);
        schedule.answered(seconds(5.0), now);
        schedule.failed(now);
        assert_eq!(schedule.due() - now, seconds(1.0));
    }

    #[test]
    fn a_poke_brings_the_next_look_up_forward_but_not_below_one_second() {
        let start = Instant::now();
        let mut schedule = Schedule::new(seconds(10.0), start);
        schedule.start(start);
        schedule.answered(seconds(10.0), start + seconds(0.1));
        schedule.poke(start + seconds(0.3));
        assert_eq!(schedule.due(), start + seconds(1.0));
        schedule.start(start + seconds(1.0));
        schedule.answered(seconds(10.0), start + seconds(1.1));
        schedule.poke(start + seconds(5.0));
        assert_eq!(schedule.due(), start + seconds(5.0));
    }

    proptest! {
        /// Whatever happens, starts are 1 s to `max_ttl` apart, the length of a look-up on top.
        #[test]
        fn starts_keep_their_distance(
            max_ttl in 0.1f64..60.0,
            steps in prop::collection::vec((0.0f64..3.0, prop::option::of(0.0f64..100.0), prop::option::of(0.0f64..70.0)), 1..60),
        ) {
            let mut now = Instant::now();
            let mut schedule = Schedule::new(seconds(max_ttl), now);
            let mut last: Option<(Instant, Duration)> = None;
            for (length, ttl, poke) in steps {
                now = now.max(schedule.due());
                if let Some((started, length)) = last {
                    prop_assert!(now - started >= SHORTEST_INTERVAL);
                    prop_assert!(now - started <= length + seconds(max_ttl.max(1.0)) + Duration::from_nanos(1));
                }
                last = Some((now, seconds(length)));
                schedule.start(now);
                now += seconds(length);
                match ttl {
                    Some(ttl) => schedule.answered(seconds(ttl), now),
                    None => schedule.failed(now),
                }
                if let Some(after) = poke {
                    let at = now + seconds(after);
                    if at < schedule.due() {
                        now = at;
                        schedule.poke(now);
                    }
                }
            }
        }
    }
}
