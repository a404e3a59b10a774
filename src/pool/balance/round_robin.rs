//! In turn, by weight, smoothly interleaved: a schedule worked out beforehand and one cursor for all threads.
//!
//! The schedule is the one of WF2Q: at each place, of the servers whose next turn is due, the one whose turn ends
//! first. Nobody is ever a whole turn ahead of or behind its share, and equal weights go in the order of the file.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use crate::pool::choice::{Chance, Choice, weight_of};
use crate::server::Server;

/// Longest schedule, 1 MiB of memory. Weights that would need more are scaled down, each to at least 1.
const LONGEST: u64 = 1 << 18;

/// How often a thread that lost the race for the cursor looks again before it takes what it found.
const RACES: usize = 8;

#[derive(Debug)]
pub struct RoundRobin {
    schedule: Box<[u32]>,
    cursor: AtomicUsize,
}

impl RoundRobin {
    pub fn build(servers: &[Arc<Server>], turn: usize) -> Self {
        let weights: Vec<u64> = (0..servers.len()).map(|i| u64::from(weight_of(servers, i))).collect();
        Self { schedule: schedule(&weights), cursor: AtomicUsize::new(turn) }
    }

    /// Where the cursor stands.
    pub fn turn(&self) -> usize {
        self.cursor.load(Relaxed)
    }

    /// The cursor moves past the place taken, so what a closed server leaves is shared by all, not by its neighbour.
    pub fn pick(&self, choice: &Choice<'_>, chance: &mut Chance) -> Option<usize> {
        let mut found = None;
        for _ in 0..RACES {
            let turn = self.cursor.load(Relaxed);
            let (steps, index) = self.next_open(turn, choice, chance)?;
            found = Some(index);
            let next = (turn % self.schedule.len()) + steps + 1;
            if self.cursor.compare_exchange_weak(turn, next, Relaxed, Relaxed).is_ok() {
                break;
            }
        }
        found
    }

    /// The first open server from this turn on that is not thinned out by its slow start, else the first open one.
    fn next_open(&self, turn: usize, choice: &Choice<'_>, chance: &mut Chance) -> Option<(usize, usize)> {
        let length = self.schedule.len();
        let mut first = None;
        for steps in 0..length {
            let index = self.schedule[(turn + steps) % length] as usize;
            if !choice.is_open(index) {
                continue;
            }
            if !choice.is_thinned(index, chance) {
                return Some((steps, index));
            }
            first = first.or(Some((steps, index)));
        }
        first
    }
}

/// Indices of weights, each as often as its weight against the greatest common divisor of all.
fn schedule(weights: &[u64]) -> Box<[u32]> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let mut weights: Vec<u64> = weights.iter().map(|weight| weight / divisor).collect();
    let total: u64 = weights.iter().sum();
    if total > LONGEST {
        weights.iter_mut().for_each(|weight| *weight = (*weight * LONGEST / total).max(1));
    }
    let total: u64 = weights.iter().sum();
    // Turn k of a server of weight w is due at k/w of the round and ends at (k+1)/w: the start in places, rounded up,
    // and the end in parts of 2^-16 of a place, which keeps it in 64 bits.
    let turn = |index: usize, k: u64| {
        let weight = weights[index];
        ((k * total).div_ceil(weight), (((k + 1) * total) << 16) / weight, index, k)
    };
    let mut waiting: BinaryHeap<_> = (0..weights.len()).map(|index| Reverse(turn(index, 0))).collect();
    let mut due = BinaryHeap::new();
    let mut order = Vec::with_capacity(total as usize);
    for place in 0..total {
        while let Some(Reverse((start, end, index, k))) = waiting.peek().copied()
            && start <= place
        {
            waiting.pop();
            due.push(Reverse((end, index, k)));
        }
        let Some(Reverse((_, index, k))) = due.pop() else { continue };
        order.push(index as u32);
        if k + 1 < weights[index] {
            waiting.push(Reverse(turn(index, k + 1)));
        }
    }
    order.into_boxed_slice()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pool::choice::tests::{choice, servers};

    #[test]
    fn equal_weights_go_in_order_and_heavy_ones_do_not_come_in_blocks() {
        assert_eq!(*schedule(&[7, 7, 7]), [0, 1, 2]);
        assert_eq!(*schedule(&[5, 1, 1]), [0, 1, 0, 0, 2, 0, 0]);
        assert!(schedule(&[]).is_empty());
    }

    #[test]
    fn a_schedule_too_long_is_scaled_down() {
        let weights: Vec<u64> = (1..=10_000).map(|i| i % 1000 + 1).collect();
        let schedule = schedule(&weights);
        assert!(schedule.len() as u64 <= LONGEST + 10_000);
        let turns = schedule.iter().filter(|index| **index == 998).count();
        assert!((40..=60).contains(&turns), "{turns}");
    }

    #[test]
    fn what_a_closed_server_leaves_is_shared_evenly() {
        let servers = servers(&[1; 3]);
        servers[1].state.ejected_until_ms.store(1, Relaxed);
        let (robin, mut chance) = (RoundRobin::build(&servers, 0), Chance::seeded(1));
        let picks: Vec<_> = (0..6).map(|_| robin.pick(&choice(&servers), &mut chance).unwrap_or(9)).collect();
        assert_eq!(picks, [0, 2, 0, 2, 0, 2]);
    }

    #[test]
    fn a_new_set_goes_on_where_the_old_one_was() {
        let servers = servers(&[1; 3]);
        let (robin, mut chance) = (RoundRobin::build(&servers, 0), Chance::seeded(1));
        robin.pick(&choice(&servers), &mut chance);
        let next = RoundRobin::build(&servers, robin.turn());
        assert_eq!(next.pick(&choice(&servers), &mut chance), Some(1));
    }

    proptest! {
        #[test]
        fn nobody_is_ever_a_whole_turn_from_its_share(weights in prop::collection::vec(1u64..60, 1..12)) {
            let order = schedule(&weights);
            let total: u64 = weights.iter().sum();
            let divisor = weights.iter().copied().fold(0, gcd);
            prop_assert_eq!(order.len() as u64, total / divisor);
            let mut turns = vec![0i64; weights.len()];
            for (place, index) in order.iter().enumerate() {
                turns[*index as usize] += 1;
                for (server, had) in turns.iter().enumerate() {
                    let off = had * total as i64 - (place as i64 + 1) * weights[server] as i64;
                    prop_assert!(off.abs() < total as i64, "{weights:?} {order:?}");
                }
            }
        }
    }
}
