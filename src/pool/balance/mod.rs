//! Which of the servers that may get work gets it: one file per algorithm behind one closed enum.
//!
//! An algorithm is built once per server set from identities and weights, and picks by reading atomics: no lock, no
//! allocation. It never claims a place: `server_set` does, and asks again when another thread was quicker.

mod consistent_hash;
mod draw;
mod least_connections;
mod least_time;
mod p2c;
mod random;
mod round_robin;

use std::sync::Arc;

use super::choice::{Chance, Choice};
use super::spec::Policy;
use crate::server::Server;

pub use consistent_hash::ConsistentHash;
pub use least_connections::LeastConnections;
pub use least_time::{LeastTime, observe_failure, observe_latency};
pub use p2c::P2c;
pub use random::Random;
pub use round_robin::RoundRobin;

/// How many open servers an exact comparison looks at: in larger tiers it compares that many neighbours from a random
/// place on. The least of 256 is within one request of the least of all, at a cost that does not grow with the pool.
const COMPARED: usize = 256;

/// An algorithm, compiled for one tier of servers.
#[derive(Debug)]
pub enum Balance {
    RoundRobin(RoundRobin),
    LeastConnections(LeastConnections),
    ConsistentHash(ConsistentHash),
    P2c(P2c),
    LeastTime(LeastTime),
    Random(Random),
}

impl Balance {
    /// `previous` is the same tier of the set before this one: round robin goes on where it was.
    pub fn build(policy: Policy, servers: &[Arc<Server>], previous: Option<&Balance>) -> Self {
        match policy {
            Policy::RoundRobin => {
                let turn = match previous {
                    Some(Self::RoundRobin(previous)) => previous.turn(),
                    _ => 0,
                };
                Self::RoundRobin(RoundRobin::build(servers, turn))
            }
            Policy::LeastConnections => Self::LeastConnections(LeastConnections),
            Policy::ConsistentHash => Self::ConsistentHash(ConsistentHash::build(servers)),
            Policy::P2c => Self::P2c(P2c::build(servers)),
            Policy::LeastTime => Self::LeastTime(LeastTime),
            Policy::Random => Self::Random(Random::build(servers)),
        }
    }

    /// The place in `choice.servers` of one that is open; `None` when none is.
    pub fn pick(&self, choice: &Choice<'_>, chance: &mut Chance) -> Option<usize> {
        match self {
            Self::RoundRobin(it) => it.pick(choice, chance),
            Self::LeastConnections(it) => it.pick(choice, chance),
            Self::ConsistentHash(it) => it.pick(choice, chance),
            Self::P2c(it) => it.pick(choice, chance),
            Self::LeastTime(it) => it.pick(choice, chance),
            Self::Random(it) => it.pick(choice, chance),
        }
    }

    /// Takes note that servers came, went or changed their health.
    pub fn refresh(&self, choice: &Choice<'_>) {
        if let Self::ConsistentHash(it) = self {
            it.refresh(choice);
        }
    }
}

/// The open server with the lowest score; ties at random.
fn lowest(choice: &Choice<'_>, chance: &mut Chance, score: impl Fn(usize) -> f64) -> Option<usize> {
    let count = choice.servers.len();
    let start = if count > COMPARED { chance.below(count) } else { 0 };
    let (mut best, mut ties, mut compared) = (None, 0, 0);
    let mut lowest = f64::INFINITY;
    for index in (start..count).chain(0..start).filter(|index| choice.is_open(*index)) {
        let score = score(index);
        if best.is_none() || score < lowest {
            (best, lowest, ties) = (Some(index), score, 1);
        } else if score <= lowest {
            // Each of k ties stays with probability 1/k.
            ties += 1;
            if chance.below(ties) == 0 {
                best = Some(index);
            }
        }
        compared += 1;
        if compared == COMPARED {
            break;
        }
    }
    best
}

#[cfg(test)]
mod tests;
