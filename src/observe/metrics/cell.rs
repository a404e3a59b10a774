//! The cells that the data plane counts in: plain relaxed atomics without name or label.
//!
//! A series costs 8 bytes, a histogram 136, so that 10,000 servers stay in a few megabytes; names and labels live
//! once in the families that read the cells. One request is a handful of relaxed adds.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::observe::Label;

/// Upper bounds of every histogram, in microseconds: half a millisecond for a fast reply, a minute for a timeout.
pub const BOUNDS_US: [u64; 15] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 60_000_000,
];

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

/// How many durations fell under each of `BOUNDS_US`, and their sum.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Not cumulative; the last one is above all bounds.
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    /// Microseconds: half a million years of them fit.
    sum_us: AtomicU64,
}

/// One counter for each value of a label.
#[derive(Debug)]
pub struct CounterBy<L> {
    counters: Box<[Counter]>,
    label: PhantomData<L>,
}

impl Counter {
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Gauge {
    pub fn add(&self, count: i64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
    pub fn sub(&self, count: i64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }
    /// Replaces the value.
    pub fn record(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Histogram {
    pub fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(BOUNDS_US.len());
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Counts up to each bound and, last, of all. Never decreasing, also while others observe.
    pub fn cumulative(&self) -> [u64; BOUNDS_US.len() + 1] {
        let mut sum = 0;
        std::array::from_fn(|i| {
            sum += self.buckets[i].load(Ordering::Relaxed);
            sum
        })
    }

    pub fn sum_seconds(&self) -> f64 {
        self.sum_us.load(Ordering::Relaxed) as f64 / 1e6
    }
}

impl<L: Label> CounterBy<L> {
    pub fn of(&self, label: L) -> &Counter {
        &self.counters[label.index()]
    }
    pub fn add(&self, label: L, count: u64) {
        self.of(label).add(count);
    }
}

impl<L: Label> Default for CounterBy<L> {
    fn default() -> Self {
        Self { counters: L::ALL.iter().map(|_| Counter::default()).collect(), label: PhantomData }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_up_to_and_including_its_bounds() {
        let histogram = Histogram::default();
        for us in [0, 500, 501, 60_000_000, 60_000_001, 400_000_000] {
            histogram.observe(Duration::from_micros(us));
        }
        let counts = histogram.cumulative();
        assert_eq!((counts[0], counts[1], counts[13], counts[14], counts[15]), (2, 3, 3, 4, 6));
        assert!((histogram.sum_seconds() - 520.001_002).abs() < 1e-9);
        histogram.observe(Duration::MAX);
        assert_eq!(histogram.cumulative()[15], 7);
    }
}
