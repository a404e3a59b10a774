//! The less loaded of two drawn at random by weight: nearly as even as comparing all, in constant time.

use std::sync::Arc;

use super::draw::Draw;
use crate::pool::choice::{Chance, Choice};
use crate::server::Server;

/// Draws for a second server that is open and not the first; in vain, the first is taken.
const SECOND_DRAWS: usize = 4;

#[derive(Debug)]
pub struct P2c {
    draw: Draw,
}

impl P2c {
    pub fn build(servers: &[Arc<Server>]) -> Self {
        Self { draw: Draw::build(servers) }
    }

    /// Of two equally loaded the first drawn is taken: an idle pool is then spread by weight, since the draw is.
    pub fn pick(&self, choice: &Choice<'_>, chance: &mut Chance) -> Option<usize> {
        let first = self.draw.open(choice, chance)?;
        let second = (0..SECOND_DRAWS)
            .find_map(|_| self.draw.once(choice, chance).filter(|second| *second != first))
            .unwrap_or(first);
        let load = |index| f64::from(choice.in_flight(index)) / choice.weight(index);
        Some(if load(second) < load(first) { second } else { first })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::pool::choice::tests::{choice, servers};

    #[test]
    fn the_most_loaded_of_two_is_passed_over() {
        let servers = servers(&[1; 2]);
        servers[0].state.in_flight.store(9, Relaxed);
        let p2c = P2c::build(&servers);
        let busy = (0..400).filter(|seed| p2c.pick(&choice(&servers), &mut Chance::seeded(*seed)) == Some(0));
        // It wins only when four draws in a row did not find the other.
        assert!(busy.count() < 40);
    }
}
