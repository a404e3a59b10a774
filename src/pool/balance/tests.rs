//! What holds for every algorithm: each gets work by its weight, and only while it is open.

use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;

use super::*;
use crate::pool::choice::tests::{choice, servers};

const ALL: [Policy; 6] = [
    Policy::RoundRobin,
    Policy::LeastConnections,
    Policy::ConsistentHash,
    Policy::P2c,
    Policy::LeastTime,
    Policy::Random,
];

/// Share of the work that each server got, with `held` requests in flight at any time, the oldest ending first.
fn shares(policy: Policy, weights: &[u32], held: usize, seed: u64) -> Vec<f64> {
    const PICKS: usize = 20_000;
    let servers = servers(weights);
    let balance = Balance::build(policy, &servers, None);
    let mut chance = Chance::seeded(seed);
    let mut in_flight = std::collections::VecDeque::new();
    let mut got = vec![0.0; weights.len()];
    for _ in 0..PICKS {
        if in_flight.len() >= held.max(1)
            && let Some(ended) = in_flight.pop_front()
        {
            let server: &Arc<Server> = &servers[ended];
            server.state.in_flight.fetch_sub(1, Relaxed);
            observe_latency(&server.state, std::time::Duration::from_millis(20), 1);
        }
        let choice = Choice { pool_in_flight: in_flight.len() as u32, ..choice(&servers) };
        let index = balance.pick(&choice, &mut chance).unwrap();
        servers[index].state.in_flight.fetch_add(1, Relaxed);
        in_flight.push_back(index);
        got[index] += 1.0 / PICKS as f64;
    }
    got
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_algorithm_gives_work_by_weight(
        policy in prop::sample::select(&ALL[..]),
        weights in prop::collection::vec(1u32..6, 1..8),
        seed in any::<u64>(),
    ) {
        // A ring's shares scatter by the square root of its points; p2c looks at two, and only a loaded pool is told
        // apart by load.
        let tolerance = match policy {
            Policy::RoundRobin => 0.001,
            Policy::LeastConnections | Policy::LeastTime => 0.05,
            Policy::Random => 0.15,
            Policy::P2c | Policy::ConsistentHash => 0.35,
        };
        let total: u32 = weights.iter().sum();
        for (got, weight) in shares(policy, &weights, total as usize * 8, seed).iter().zip(&weights) {
            let due = f64::from(*weight) / f64::from(total);
            prop_assert!((got - due).abs() <= due * tolerance, "{policy:?} {weights:?}: {got} of {due}");
        }
    }

    #[test]
    fn only_open_servers_are_picked_and_always_one_if_any_is(
        policy in prop::sample::select(&ALL[..]),
        states in prop::collection::vec((1u32..6, 0u8..6), 0..40),
        seed in any::<u64>(),
    ) {
        let weights: Vec<_> = states.iter().map(|(weight, _)| *weight).collect();
        let servers = servers(&weights);
        for (server, (_, state)) in servers.iter().zip(&states) {
            match state {
                0 => _ = server.state.record_health(crate::server::Health::Down, 1),
                1 => server.state.draining.store(true, Relaxed),
                2 => server.state.ejected_until_ms.store(1, Relaxed),
                3 => server.state.in_flight.store(3, Relaxed),
                _ => server.state.join_late(1),
            }
        }
        let balance = Balance::build(policy, &servers, None);
        let choice = Choice { max_in_flight: 3, slow_start_ms: 100, ..choice(&servers) };
        balance.refresh(&choice);
        let mut chance = Chance::seeded(seed);
        for _ in 0..20 {
            match balance.pick(&choice, &mut chance) {
                Some(index) => prop_assert!(states[index].1 >= 4),
                None => prop_assert!(states.iter().all(|(_, state)| *state < 4)),
            }
        }
    }

    #[test]
    fn a_growing_server_gets_a_tenth_of_its_share_at_first(
        policy in prop::sample::select(&ALL[..]),
        seed in any::<u64>(),
    ) {
        let servers = servers(&[1; 4]);
        servers[0].state.join_late(1);
        let balance = Balance::build(policy, &servers, None);
        let mut chance = Chance::seeded(seed);
        // Loaded so that algorithms that go by load see a difference in weight.
        servers.iter().for_each(|server| {
            server.state.in_flight.store(10, Relaxed);
            observe_latency(&server.state, std::time::Duration::from_millis(20), 1);
        });
        servers[0].state.in_flight.store(1, Relaxed);
        let choice = Choice { slow_start_ms: 1000, pool_in_flight: 1000, ..choice(&servers) };
        let got = (0..4000).filter(|_| balance.pick(&choice, &mut chance) == Some(0)).count();
        prop_assert!(got <= 250, "{policy:?}: {got} of 4000");
    }
}
