//! How long a body may wait for its client: for a silence, and in all.
//!
//! In all it may wait one `idle`, and one second more for every `rate` bytes that moved: so a body that is slower than
//! `rate` from its beginning to now ends once it has cost an `idle`, and one that was faster may rest. Only time in which
//! nothing but the client is waited for counts. A pure rule with `now` from the caller, who asks once for each wait, when a
//! deadline has to be moved anyway.

use std::num::NonZeroU64;
use std::time::Duration;

use tokio::time::Instant;

/// What one client may take for one body, and has taken.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    idle: Duration,
    /// Bytes per second; any when absent.
    rate: Option<NonZeroU64>,
    spent: Duration,
    /// When the wait began that `spent` does not count yet.
    since: Option<Instant>,
    is_short: bool,
}

impl Allowance {
    /// Silences up to `idle`, and on average at least `rate` bytes per second.
    pub fn new(idle: Duration, rate: Option<NonZeroU64>) -> Self {
        Self { idle, rate, spent: Duration::ZERO, since: None, is_short: false }
    }

    /// A silence is all that counts from here on.
    pub fn forget_rate(&mut self) {
        self.rate = None;
    }

    /// The client is waited for, after `moved` bytes of the body; says until when.
    pub fn wait(&mut self, moved: u64, now: Instant) -> Instant {
        self.rest(now);
        self.since = Some(now);
        let left = self.left(moved);
        self.is_short = left < self.idle;
        now + left.min(self.idle)
    }

    /// Somebody else is waited for.
    pub fn rest(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            self.spent += now.saturating_duration_since(since);
        }
    }

    /// Leaves a wait out that has not been counted yet.
    pub fn pass_over(&mut self) {
        self.since = None;
    }

    /// Whether the end of the last wait is that of a slow body, not of a silent client.
    pub fn is_short(&self) -> bool {
        self.is_short
    }

    fn left(&self, moved: u64) -> Duration {
        let Some(rate) = self.rate else { return self.idle };
        let for_moved = Duration::from_secs(moved / rate) + Duration::from_secs(moved % rate) / divisor(rate);
        (self.idle + for_moved).saturating_sub(self.spent)
    }
}

/// Rates above what a duration is divided by are so fast that the rest of a second makes no difference.
fn divisor(rate: NonZeroU64) -> u32 {
    u32::try_from(rate.get()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn allowance(rate: u64) -> Allowance {
        Allowance::new(IDLE, NonZeroU64::new(rate))
    }

    /// Plays waits of `pause` with `bytes` after each, at most `most`; when it ended, after the first, and by what.
    fn drip(mut allowance: Allowance, pause: Duration, bytes: u64, most: u64) -> Option<(Duration, bool)> {
        let start = Instant::now();
        let mut now = start;
        for turn in 0..most {
            let until = allowance.wait(turn * bytes, now);
            if now + pause >= until {
                return Some((until - start, allowance.is_short()));
            }
            now += pause;
        }
        None
    }

    #[test]
    fn a_body_that_drips_ends_after_the_silence_that_it_may_have_in_all() {
        let (after, is_short) = drip(allowance(240), seconds(25), 1, 1000).unwrap();
        assert!(is_short && after > IDLE && after < IDLE + seconds(1), "{after:?}");
    }

    #[test]
    fn a_silence_ends_it_as_if_there_were_no_rate() {
        for rate in [0, 240] {
            assert_eq!(drip(allowance(rate), seconds(61), 1000, 9), Some((IDLE, false)), "{rate}");
        }
    }

    #[test]
    fn a_slow_link_goes_on_for_as_long_as_it_moves() {
        // A day and more at 250 bytes a second, in bursts with almost a minute between them.
        assert_eq!(drip(allowance(240), seconds(55), 55 * 250, 2000), None);
    }

    #[test]
    fn what_was_fast_may_rest_later() {
        let mut allowance = allowance(1000);
        let mut now = Instant::now();
        allowance.wait(0, now);
        for turn in 0..19 {
            now += seconds(50);
            assert_eq!(allowance.wait(1_000_000 + turn, now), now + IDLE, "{turn}");
        }
    }

    #[test]
    fn time_in_which_another_is_waited_for_is_nobodys_fault() {
        let mut allowance = allowance(240);
        let mut now = Instant::now();
        for turn in 0..50 {
            assert!(allowance.wait(turn, now) > now + seconds(1), "{turn}");
            now += seconds(1);
            allowance.rest(now);
            now += seconds(3600);
            allowance.rest(now);
        }
    }

    #[test]
    fn without_a_rate_it_may_drip_for_ever() {
        assert_eq!(drip(allowance(0), seconds(59), 1, 10_000), None);
        let mut later = allowance(240);
        later.forget_rate();
        assert_eq!(drip(later, seconds(59), 1, 10_000), None);
    }

    proptest! {
        /// Nobody is ended who kept to the rate, nor before an `idle`; and none goes on who took an `idle` more than it.
        #[test]
        fn the_sum_of_waits_is_what_counts(
            rate in 1u64..5_000_000_000,
            steps in prop::collection::vec((0u64..60_000, 0u64..10_000_000, any::<bool>()), 1..80),
        ) {
            let mut allowance = allowance(rate);
            let (mut now, mut moved, mut spent) = (Instant::now(), 0u64, Duration::ZERO);
            for (pause, bytes, elsewhere) in steps {
                let until = allowance.wait(moved, now);
                let due = Duration::from_secs_f64(moved as f64 / rate as f64);
                let left = (IDLE + due).saturating_sub(spent).min(IDLE);
                let found = until - now;
                prop_assert!(found.abs_diff(left) < Duration::from_millis(2), "{found:?} {left:?}");
                let pause = Duration::from_millis(pause);
                if pause >= found {
                    break;
                }
                now += pause;
                spent += pause;
                moved += bytes;
                if elsewhere {
                    allowance.rest(now);
                    now += seconds(1000);
                }
            }
        }
    }
}
