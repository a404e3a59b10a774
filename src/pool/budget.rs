//! How many second tries a pool allows itself: a share of its requests in the last ten seconds, and always ten.
//!
//! Counts are kept per second in two rings of atomics; a second's slot is taken over by the one ten seconds later. A
//! thread that stalls between two steps may lose a count; the bound on retries holds all the same.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::units::Percent;

/// Seconds that count.
const WINDOW: u64 = 10;

/// Retries in the window that are allowed however few requests there are.
const ALWAYS: u64 = 10;

/// Aligned to cache lines of its own: it is written by every request, and its neighbours in the pool are only read.
#[derive(Debug)]
#[repr(align(64))]
pub struct RetryBudget {
    share: Percent,
    requests: Window,
    retries: Window,
}

impl RetryBudget {
    pub fn new(share: Percent) -> Self {
        Self { share, requests: Window::default(), retries: Window::default() }
    }

    /// Counts a request that came in, once per exchange.
    pub fn count_request(&self, now_ms: u64) {
        self.requests.add(now_ms / 1000);
    }

    /// Takes one retry from the budget; false when there is none left.
    pub fn try_spend(&self, now_ms: u64) -> bool {
        let second = now_ms / 1000;
        let share = self.requests.total(second) * u64::from(self.share.percent()) / 100;
        // Taken first and given back if it was one too many: of several threads at the limit, some may be denied that
        // one of them could have had, but never more are allowed.
        self.retries.add(second);
        let is_allowed = self.retries.total(second) <= share.max(ALWAYS);
        if !is_allowed {
            self.retries.take_back(second);
        }
        is_allowed
    }
}

/// Per second: its number in the upper 32 bits, its count in the lower.
#[derive(Debug, Default)]
struct Window([AtomicU64; WINDOW as usize]);

const COUNT: u64 = u32::MAX as u64;

impl Window {
    fn add(&self, second: u64) {
        let slot = self.slot(second);
        let seen = slot.load(Relaxed);
        if seen >> 32 == second & COUNT && seen & COUNT < COUNT / 2 {
            slot.fetch_add(1, Relaxed);
            return;
        }
        let fresh = ((second & COUNT) << 32) | 1;
        // Whoever takes the slot over first starts its count, the others add to it.
        if seen >> 32 == second & COUNT || slot.compare_exchange(seen, fresh, Relaxed, Relaxed).is_ok() {
            return;
        }
        slot.fetch_add(1, Relaxed);
    }

    fn take_back(&self, second: u64) {
        let is_same = |seen: u64| seen >> 32 == second & COUNT && seen & COUNT > 0;
        // An error means that the slot is another second's by now, where nothing is to be taken back.
        _ = self.slot(second).fetch_update(Relaxed, Relaxed, |seen| is_same(seen).then_some(seen - 1));
    }

    /// What was counted in the window that ends with this second.
    fn total(&self, second: u64) -> u64 {
        let counts = self.0.iter().map(|slot| slot.load(Relaxed));
        let is_recent = |seen: &u64| (second & COUNT).wrapping_sub(seen >> 32) < WINDOW;
        counts.filter(is_recent).map(|seen| seen & COUNT).sum()
    }

    fn slot(&self, second: u64) -> &AtomicU64 {
        &self.0[(second % WINDOW) as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ten_retries_are_always_allowed_and_come_back_after_ten_seconds() {
        let budget = RetryBudget::new(Percent::new(0));
        assert_eq!((0..50).filter(|_| budget.try_spend(5_000)).count(), 10);
        assert!(!budget.try_spend(14_999));
        assert!(budget.try_spend(15_000));
    }

    #[test]
    fn a_share_of_the_requests_is_allowed() {
        let budget = RetryBudget::new(Percent::new(20));
        (0..200).for_each(|_| budget.count_request(1_000));
        assert_eq!((0..100).filter(|_| budget.try_spend(2_000)).count(), 40);
        (0..5).for_each(|_| budget.count_request(3_000));
        assert!(budget.try_spend(3_000) && !budget.try_spend(3_000));
    }

    #[test]
    fn threads_together_never_spend_more_than_is_allowed() {
        let budget = RetryBudget::new(Percent::new(20));
        let spent: usize = std::thread::scope(|scope| {
            let spend = || {
                (0..1000).for_each(|_| budget.count_request(1_000));
                (0..1000).filter(|_| budget.try_spend(1_000)).count()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(spend)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!((700..=800).contains(&spent), "{spent}");
    }

    proptest! {
        #[test]
        fn retries_stay_within_the_share_of_any_ten_seconds(
            share in 0u8..=100,
            steps in prop::collection::vec((0u64..900, any::<bool>()), 0..600),
        ) {
            let budget = RetryBudget::new(Percent::new(share));
            let (mut now, mut requests, mut retries) = (1, VecDeque::new(), VecDeque::new());
            for (wait, is_retry) in steps {
                now += wait;
                let second = now / 1000;
                requests.retain(|then| second - then < WINDOW);
                retries.retain(|then| second - then < WINDOW);
                if is_retry {
                    let allowed = (requests.len() as u64 * u64::from(share) / 100).max(ALWAYS);
                    prop_assert_eq!(budget.try_spend(now), (retries.len() as u64) < allowed);
                    if (retries.len() as u64) < allowed {
                        retries.push_back(second);
                    }
                } else {
                    budget.count_request(now);
                    requests.push_back(second);
                }
            }
        }
    }
}
