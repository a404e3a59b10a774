//! How much of what a worker writes is taken: a rule without a clock.

use std::time::{Duration, Instant};

use crate::units::Bytes;
use crate::worker::spec::{BYTES_PER_SECOND, LINES_PER_SECOND};

/// As many at once as come in so long.
const BURST: Duration = Duration::from_secs(5);
/// One that wrote more is not listened to for so long. Then there is room for some lines together: better than one of
/// each thousand.
const PAUSE: Duration = Duration::from_secs(1);

/// What one stream of a worker may write in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub lines: u32,
    pub bytes: Bytes,
}

impl Default for Limits {
    fn default() -> Self {
        Self { lines: LINES_PER_SECOND, bytes: BYTES_PER_SECOND }
    }
}

/// What may still be written, and what was left out.
#[derive(Debug)]
pub struct Allowance {
    limits: Limits,
    /// When all that was taken would have been written at the rate that is allowed.
    lines_paid: Instant,
    bytes_paid: Instant,
    closed_until: Option<Instant>,
    lost: Lost,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    pub lines: u64,
    pub bytes: u64,
}

impl Allowance {
    pub fn new(limits: Limits, now: Instant) -> Self {
        Self { limits, lines_paid: now, bytes_paid: now, closed_until: None, lost: Lost::default() }
    }

    /// Other limits from now on.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether a line of so many bytes is taken at `now`.
    pub fn spend(&mut self, bytes: usize, now: Instant) -> bool {
        if self.closed_until.is_some_and(|until| now < until) {
            self.lose(bytes);
            return false;
        }
        self.closed_until = None;
        let bytes_paid = self.bytes_paid.max(now);
        let lines_paid = self.lines_paid.max(now) + Duration::from_secs(1) / self.limits.lines.max(1);
        if lines_paid > now + BURST || bytes_paid >= now + BURST {
            self.closed_until = Some(now + PAUSE);
            self.lose(bytes);
            return false;
        }
        let share = bytes as f64 / self.limits.bytes.count().max(1) as f64;
        (self.lines_paid, self.bytes_paid) = (lines_paid, bytes_paid + Duration::from_secs_f64(share));
        true
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// When a line will be taken again, while none is.
    pub fn closed_until(&self) -> Option<Instant> {
        self.closed_until
    }

    /// The time to take a line again has come.
    pub fn reopen(&mut self) {
        self.closed_until = None;
    }

    /// What was left out since this was asked last.
    pub fn lost(&mut self) -> Lost {
        std::mem::take(&mut self.lost)
    }

    fn lose(&mut self, bytes: usize) {
        self.lost.lines += 1;
        self.lost.bytes += bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { lines: 100, bytes: Bytes::from_kib(10) };

    fn taken(allowance: &mut Allowance, lines: u64, bytes: usize, now: Instant) -> u64 {
        (0..lines).filter(|_| allowance.spend(bytes, now)).count() as u64
    }

    #[test]
    fn a_burst_is_taken_and_the_rest_is_counted() {
        let now = Instant::now();
        let mut allowance = Allowance::new(LIMITS, now);
        assert_eq!(taken(&mut allowance, 1000, 3, now), 500);
        assert_eq!(allowance.lost(), Lost { lines: 500, bytes: 1500 });
        assert_eq!(allowance.lost(), Lost::default());
    }

    #[test]
    fn after_a_flood_each_second_has_its_share() {
        let mut now = Instant::now();
        let mut allowance = Allowance::new(LIMITS, now);
        taken(&mut allowance, 1000, 3, now);
        assert_eq!(allowance.closed_until(), Some(now + PAUSE));
        assert_eq!(taken(&mut allowance, 1000, 3, now + PAUSE / 2), 0, "not one by one");
        for _ in 0..3 {
            now += PAUSE;
            assert_eq!(taken(&mut allowance, 1000, 3, now), 100);
        }
        assert_eq!(taken(&mut allowance, 1000, 3, now + Duration::from_secs(60)), 500);
    }

    #[test]
    fn long_lines_are_limited_by_their_bytes() {
        let now = Instant::now();
        let mut allowance = Allowance::new(LIMITS, now);
        assert_eq!(taken(&mut allowance, 1000, 1024, now), 50);
        assert_eq!(taken(&mut allowance, 1000, 1024, now + PAUSE), 10);
        // One that is larger than all that is allowed is taken once in a while.
        let much_later = now + Duration::from_secs(60);
        assert_eq!(taken(&mut allowance, 9, 1 << 20, much_later), 1);
    }

    #[test]
    fn what_keeps_within_the_limits_is_taken_for_ever() {
        let mut now = Instant::now();
        let mut allowance = Allowance::new(LIMITS, now);
        for _ in 0..10_000 {
            now += Duration::from_millis(10);
            assert!(allowance.spend(100, now));
        }
    }
}
