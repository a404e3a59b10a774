//! The same key to the same server: a ring of points made of identities and weights alone, with bounded load.
//!
//! Point r of a server is XXH64 of its identity with seed r; it has 160 of them per unit of weight. Every process with
//! the same servers, in whatever order, agrees. A key belongs to the next point on the ring; while that server has more
//! than 1.25 times its share of what is in flight (and more than 8), or is closed, the walk goes on, so others keep their keys.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use xxhash_rust::xxh64::xxh64;

use crate::pool::choice::{Chance, Choice, mix, weight_of};
use crate::server::Server;

/// Points per unit of weight (that of ketama): shares come out within about a twelfth.
const POINTS: u64 = 160;

/// Most points of a ring, 12 MiB. A larger ring has half the points per server, or a quarter, and so on: which points
/// remain depends on the total weight alone.
const MOST_POINTS: u64 = 1 << 20;

/// A server may have this much of its share in flight before its keys go on.
const BOUND: f64 = 1.25;

/// Requests in flight that never send a key on. At low load a share is less than one request, and the last answer's
/// request may still be counted when the client asks again.
const UNBOUND: f64 = 8.0;

/// Points walked for a server within its bound, and for any open one. The chance that 64 are all over it, while it is
/// true to the servers that are up, is below 1 in a million.
const WALK_FOR_BOUND: usize = 64;
const WALK: usize = 256;

#[derive(Debug)]
pub struct ConsistentHash {
    /// Sorted, with the servers that own them beside.
    points: Box<[u64]>,
    owners: Box<[u32]>,
    /// Per server, a number to rank it by when the walk found nobody.
    ranks: Box<[u64]>,
    /// Sum of the weights of servers that can be used, as of the last `refresh`.
    usable_weight: AtomicU64,
}

impl ConsistentHash {
    pub fn build(servers: &[Arc<Server>]) -> Self {
        let weight = |index| u64::from(weight_of(servers, index));
        let total: u64 = (0..servers.len()).map(weight).sum();
        let halvings = (0..64).find(|shift| (total * POINTS) >> shift <= MOST_POINTS).unwrap_or(0);
        let mut ring = Vec::with_capacity(((total * POINTS) >> halvings) as usize + servers.len());
        for (index, server) in servers.iter().enumerate() {
            let count = ((weight(index) * POINTS) >> halvings).max(1);
            ring.extend((0..count).map(|seed| (xxh64(server.identity.as_bytes(), seed), index as u32)));
        }
        // Equal points are as good as impossible; the identity decides, since the order of the file must not.
        let identity = |index: u32| servers.get(index as usize).map(|server| &server.identity);
        ring.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| identity(a.1).cmp(&identity(b.1))));
        Self {
            points: ring.iter().map(|(point, _)| *point).collect(),
            owners: ring.iter().map(|(_, owner)| *owner).collect(),
            ranks: servers.iter().map(|server| xxh64(server.identity.as_bytes(), u64::MAX)).collect(),
            usable_weight: AtomicU64::new(total),
        }
    }

    /// Counts anew what the servers that can be used weigh together.
    pub fn refresh(&self, choice: &Choice<'_>) {
        let usable = (0..choice.servers.len()).filter(|index| choice.is_usable(*index));
        let total = usable.map(|index| u64::from(weight_of(choice.servers, index))).sum();
        self.usable_weight.store(total, Relaxed);
    }

    /// A request without a key gets one at random.
    pub fn pick(&self, choice: &Choice<'_>, chance: &mut Chance) -> Option<usize> {
        let key = choice.hash.unwrap_or_else(|| chance.draw());
        let start = self.points.partition_point(|point| *point < key);
        let mut least: Option<(usize, f64)> = None;
        let mut growing = None;
        for step in 0..WALK.min(self.points.len()) {
            let index = self.owners[(start + step) % self.owners.len()] as usize;
            if !choice.is_open(index) {
                continue;
            }
            if self.passes_while_growing(choice, index, key) {
                growing = growing.or(Some(index));
                continue;
            }
            let load = self.load_after(choice, index);
            if load <= 1.0 {
                return Some(index);
            }
            if least.is_none_or(|(_, other)| load < other) {
                least = Some((index, load));
            }
            if step >= WALK_FOR_BOUND {
                break;
            }
        }
        least.map(|(index, _)| index).or(growing).or_else(|| self.highest_ranked(choice, key))
    }

    /// What the server would have in flight with this request, against what it may have: its share by weight of all in
    /// flight, times `BOUND`, rounded up, and always `UNBOUND`.
    fn load_after(&self, choice: &Choice<'_>, index: usize) -> f64 {
        let usable = self.usable_weight.load(Relaxed).max(1) as f64;
        let share = f64::from(weight_of(choice.servers, index)) / usable;
        let may_have = (BOUND * share * (f64::from(choice.pool_in_flight) + 1.0)).ceil().max(UNBOUND);
        (f64::from(choice.in_flight(index)) + 1.0) / may_have
    }

    /// The slow start takes keys back one by one: which ones have come home is up to the key, so none goes to and fro.
    fn passes_while_growing(&self, choice: &Choice<'_>, index: usize, key: u64) -> bool {
        let growth = choice.growth(index);
        let rank = || self.ranks.get(index).copied().unwrap_or_default();
        growth < 1.0 && Chance::seeded(key ^ rank()).fraction() >= growth
    }

    /// Where the walk found nobody since nearly all are closed: rendezvous hashing over the rest, which moves as few
    /// keys and costs one pass over the servers instead of one over their points.
    fn highest_ranked(&self, choice: &Choice<'_>, key: u64) -> Option<usize> {
        let open = (0..choice.servers.len()).filter(|index| choice.is_open(*index));
        open.max_by_key(|index| self.ranks.get(*index).map(|rank| mix(key ^ rank)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pool::choice::tests::{choice, server, servers};

    fn owner(ring: &ConsistentHash, servers: &[Arc<Server>], key: u64) -> Arc<str> {
        let choice = Choice { hash: Some(mix(key)), ..choice(servers) };
        let index = ring.pick(&choice, &mut Chance::seeded(0)).unwrap();
        servers[index].identity.clone()
    }

    fn owners(servers: &[Arc<Server>]) -> Vec<Arc<str>> {
        let ring = ConsistentHash::build(servers);
        (0..4000).map(|key| owner(&ring, servers, key)).collect()
    }

    #[test]
    fn the_ring_is_the_same_in_every_process_and_version() {
        let servers = [server("10.0.0.1:80", 1), server("10.0.0.2:80", 1), server("10.0.0.3:80", 2)];
        let ring = ConsistentHash::build(&servers);
        let last_bytes: String = (0..16).map(|key| owner(&ring, &servers, key)[7..8].to_owned()).collect();
        // Worked out by another program from the description above alone.
        assert_eq!(last_bytes, "2133221112311211");
        assert_eq!(ring.points[0], 0x001b_7809_5a74_204f);
    }

    #[test]
    fn a_loaded_server_passes_keys_on_and_keeps_the_rest() {
        let servers = servers(&[1; 4]);
        let ring = ConsistentHash::build(&servers);
        let home = owner(&ring, &servers, 1);
        let at_home = servers.iter().find(|server| server.identity == home).unwrap();
        at_home.state.in_flight.store(40, Relaxed);
        let loaded = |pool_in_flight| Choice { hash: Some(mix(1)), pool_in_flight, ..choice(&servers) };
        let pick =
            |total| ring.pick(&loaded(total), &mut Chance::seeded(0)).map(|i| servers[i].identity.clone());
        assert_ne!(pick(40), Some(home.clone()), "it has all that is in flight");
        assert_eq!(pick(160), Some(home), "it has its share");
    }

    #[test]
    fn no_server_gets_more_than_a_quarter_over_its_share_of_one_hot_key() {
        let servers = servers(&[1; 5]);
        let ring = ConsistentHash::build(&servers);
        for total in 0..1000 {
            let choice = Choice { hash: Some(42), pool_in_flight: total, ..choice(&servers) };
            let index = ring.pick(&choice, &mut Chance::seeded(0)).unwrap();
            servers[index].state.in_flight.fetch_add(1, Relaxed);
        }
        let most = servers.iter().map(|server| server.state.in_flight.load(Relaxed)).max();
        assert_eq!(most, Some(250));
    }

    #[test]
    fn a_growing_server_takes_its_keys_back_one_by_one() {
        let servers = servers(&[1; 3]);
        let before = owners(&servers);
        servers[0].state.join_late(1);
        let ring = ConsistentHash::build(&servers);
        let mut home = Vec::new();
        for now_ms in [1, 500, 1001] {
            let kept = (0..4000u64).filter(|key| {
                let choice =
                    Choice { hash: Some(mix(*key)), now_ms, slow_start_ms: 1000, ..choice(&servers) };
                let index = ring.pick(&choice, &mut Chance::seeded(0)).unwrap();
                before[*key as usize] == servers[0].identity && index == 0
            });
            home.push(kept.collect::<std::collections::HashSet<_>>());
        }
        assert!(home[0].is_subset(&home[1]) && home[1].is_subset(&home[2]));
        let share = home[0].len() as f64 / home[2].len() as f64;
        assert!((0.05..0.16).contains(&share), "{share}");
    }

    #[test]
    fn in_a_pool_of_thousands_the_last_server_up_is_found() {
        let servers = servers(&[1; 5000]);
        let ring = ConsistentHash::build(&servers);
        servers.iter().for_each(|server| server.state.draining.store(true, Relaxed));
        servers[77].state.draining.store(false, Relaxed);
        assert!(ring.points.len() as u64 <= MOST_POINTS);
        assert_eq!(owner(&ring, &servers, 5), servers[77].identity);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_removed_server_moves_only_its_own_keys(
            weights in prop::collection::vec(1u32..5, 2..10),
            gone in any::<prop::sample::Index>(),
        ) {
            let all = servers(&weights);
            let gone = all[gone.index(all.len())].clone();
            let rest: Vec<_> = all.iter().filter(|server| server.id != gone.id).cloned().collect();
            for (before, after) in owners(&all).into_iter().zip(owners(&rest)) {
                prop_assert!(before == after || before == gone.identity);
            }
            // Down is as good as removed.
            gone.state.draining.store(true, Relaxed);
            prop_assert_eq!(owners(&all), owners(&rest));
        }

        #[test]
        fn an_added_server_takes_keys_and_moves_no_others(weights in prop::collection::vec(1u32..5, 1..10)) {
            let before = servers(&weights);
            let mut after = before.clone();
            let added = server("10.9.9.9:80", 1);
            after.push(added.clone());
            let moved: Vec<_> = owners(&before).into_iter().zip(owners(&after)).filter(|(a, b)| a != b).collect();
            prop_assert!(!moved.is_empty());
            prop_assert!(moved.iter().all(|(_, now)| *now == added.identity));
        }

        #[test]
        fn the_order_of_the_file_does_not_matter(
            servers in prop::collection::vec(1u32..5, 1..10).prop_map(|weights| servers(&weights)),
            seed in any::<u64>(),
        ) {
            let mut shuffled = servers.clone();
            shuffled.sort_by_key(|server| mix(seed ^ server.id));
            prop_assert_eq!(owners(&servers), owners(&shuffled));
        }
    }
}
