//! The fewest exchanges and tunnels in flight for its weight, the one to come included; ties at random.

use super::lowest;
use crate::pool::choice::{Chance, Choice};

#[derive(Debug)]
pub struct LeastConnections;

impl LeastConnections {
    pub fn pick(&self, choice: &Choice<'_>, chance: &mut Chance) -> Option<usize> {
        lowest(choice, chance, |index| (f64::from(choice.in_flight(index)) + 1.0) / choice.weight(index))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::pool::choice::tests::{choice, servers};

    #[test]
    fn the_least_loaded_for_its_weight_is_picked() {
        let servers = servers(&[1, 4, 2]);
        for (server, in_flight) in servers.iter().zip([1, 5, 3]) {
            server.state.in_flight.store(in_flight, Relaxed);
        }
        // 2/1, 6/4 and 4/2 with the one to come.
        assert_eq!(LeastConnections.pick(&choice(&servers), &mut Chance::seeded(1)), Some(1));
    }

    #[test]
    fn ties_are_broken_at_random_also_between_servers_that_are_not_neighbours() {
        let servers = servers(&[1; 4]);
        servers[1].state.in_flight.store(1, Relaxed);
        let mut chance = Chance::seeded(3);
        let mut picked = [0; 4];
        for _ in 0..3000 {
            picked[LeastConnections.pick(&choice(&servers), &mut chance).unwrap()] += 1;
        }
        assert_eq!(picked[1], 0);
        assert!([0, 2, 3].iter().all(|i| (900..1100).contains(&picked[*i])), "{picked:?}");
    }

    #[test]
    fn in_a_pool_of_thousands_an_idle_server_is_still_found() {
        let servers = servers(&[1; 3000]);
        servers.iter().for_each(|server| server.state.draining.store(true, Relaxed));
        servers[1234].state.draining.store(false, Relaxed);
        for seed in 0..20 {
            assert_eq!(LeastConnections.pick(&choice(&servers), &mut Chance::seeded(seed)), Some(1234));
        }
    }
}
