//! What a Spec asks of the life of a worker, and how long it rests between two lives.

use std::time::Duration;

use super::Action;
use crate::worker::Spec;
use crate::worker::spec::{ReadyWhen, Signal};

/// A worker with the preload reports its load this often.
pub const BEAT_INTERVAL: Duration = Duration::from_millis(250);
/// Three reports missing: its event loop is most likely blocked.
pub const VETO_AFTER: Duration = BEAT_INTERVAL.saturating_mul(3);
/// A crash after this long has nothing to do with the one before it.
const GOOD_LIFE: Duration = Duration::from_secs(60);

/// What shows that a worker can be given work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ripe {
    /// That it has run for `TRIAL_OF_TASK`.
    Running,
    Listening,
    Healthy,
    Signal,
}

/// What a worker is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trade {
    /// Serves requests in its pool.
    Server,
    /// Works by itself; no pool knows of it.
    Task,
}

/// What a Spec asks of the life of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub trade: Trade,
    pub ripe: Ripe,
    pub ready_timeout: Duration,
    pub backoff: Duration,
    /// Counts as `backoff` if it is below it.
    pub max_backoff: Duration,
    /// Resident set in bytes.
    pub max_memory: Option<u64>,
    pub stall: Option<Duration>,
    pub stop_signal: Signal,
    pub stop_timeout: Duration,
}

impl Rules {
    pub fn of(spec: &Spec) -> Self {
        let trade = if spec.task { Trade::Task } else { Trade::Server };
        let ripe = match spec.ready.when {
            ReadyWhen::Listening if spec.task => Ripe::Running,
            ReadyWhen::Listening => Ripe::Listening,
            ReadyWhen::Healthy => Ripe::Healthy,
            ReadyWhen::Signal => Ripe::Signal,
        };
        Self {
            trade,
            ripe,
            ready_timeout: spec.ready.timeout.std(),
            backoff: spec.restart.backoff.std(),
            max_backoff: spec.restart.max_backoff.std(),
            max_memory: spec.restart.max_memory.map(crate::units::Bytes::count),
            stall: spec.restart.stall.map(crate::units::Duration::std),
            stop_signal: spec.stop.signal,
            stop_timeout: spec.stop.timeout.std(),
        }
    }

    /// What means something only where there is a pool.
    pub(super) fn for_pool(&self, action: Action) -> Option<Action> {
        (self.trade == Trade::Server).then_some(action)
    }

    /// How long a worker must have been ready for its next crash to count as the first one.
    ///
    /// Not less than the longest pause: one that crashed just after it would else start more often than `max_backoff`
    /// promises.
    pub fn good_life(&self) -> Duration {
        GOOD_LIFE.max(self.max_backoff)
    }

    /// The rest after so many failures in a row: between `backoff` and `max_backoff`, doubling, at random within a
    /// factor of two, so that workers that died together (of a database, say) do not all come back at once.
    pub fn pause(&self, failures: u32, seed: u64) -> Duration {
        let longest = self.max_backoff.max(self.backoff);
        let high = self.backoff.saturating_mul(1 << failures.min(31)).min(longest);
        let low = (high / 2).max(self.backoff);
        // The upper half of the seed: 0.0 up to 1.0.
        let share = (seed >> 32) as f64 / f64::from(u32::MAX);
        (low + (high - low).mul_f64(share)).min(high)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(backoff: Duration, max_backoff: Duration) -> Rules {
        let spec: Spec = serde_json::from_str(r#"{ "command": "node a.js" }"#).unwrap();
        Rules { backoff, max_backoff, ..Rules::of(&spec) }
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let rules = rules(Duration::from_millis(100), Duration::from_secs(30));
        let range =
            |failures| (rules.pause(failures, 0).as_millis(), rules.pause(failures, u64::MAX).as_millis());
        assert_eq!([1, 2, 3, 8].map(range), [(100, 200), (200, 400), (400, 800), (12_800, 25_600)]);
        assert_eq!([9, 10, 100, u32::MAX].map(range), [(15_000, 30_000); 4]);
    }

    #[test]
    fn a_good_life_is_a_minute_or_the_longest_pause() {
        let second = Duration::from_secs(1);
        assert_eq!(rules(second, second * 30).good_life(), second * 60);
        assert_eq!(rules(second, second * 300).good_life(), second * 300);
    }

    proptest! {
        #[test]
        fn pauses_stay_within_their_bounds(backoff in 1u64..100_000, max in 1u64..10_000_000, failures: u32, seed: u64) {
            let rules = rules(Duration::from_millis(backoff), Duration::from_millis(max));
            let pause = rules.pause(failures, seed);
            prop_assert!(pause >= rules.backoff);
            prop_assert!(pause <= rules.max_backoff.max(rules.backoff));
            prop_assert!(rules.pause(failures.saturating_add(1), seed) >= pause);
        }
    }
}
