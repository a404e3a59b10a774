//! Who may get work: health, ejection, draining, a rollout, the limit in flight, and what this request has tried.
//!
//! One `Choice` is one question to an algorithm of `balance`; it answers by reading a server's atomics and writes only
//! to claim a place. Which of those who may is picked is the algorithm's matter.

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};

use crate::server::{Health, Server, State};

/// No limit on what a server has in flight.
pub const UNLIMITED: u32 = u32::MAX;

/// Share of its weight that a server starts with under `slow_start`.
const FIRST_SHARE: f64 = 0.1;

/// Whether servers that outlier detection has ejected count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Only those that are not ejected.
    Trusted,
    /// The ejected ones too: asked for only when nobody else is left.
    Any,
}

/// For how long the client stays with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    Exchange,
    /// A WebSocket, or a session of many requests that begins now: it would be cut off with its server.
    Session,
}

/// What a server counts as that no check has reached yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Nothing checks this pool.
    Up,
    /// The first check will tell.
    Down,
}

/// What a request may be given, of one tier of servers.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    pub servers: &'a [Arc<Server>],
    pub standing: Standing,
    pub span: Span,
    pub unknown: Unknown,
    /// Ids of servers that this exchange has failed on.
    pub tried: &'a [u64],
    /// What the request hashes to, for `consistent_hash`.
    pub hash: Option<u64>,
    /// On the process clock.
    pub now_ms: u64,
    /// 0 when off.
    pub slow_start_ms: u64,
    /// Per server; `UNLIMITED` when off.
    pub max_in_flight: u32,
    /// Over all servers of the pool; kept only for the bounded load of `consistent_hash`.
    pub pool_in_flight: u32,
}

impl Choice<'_> {
    /// Whether this server is up, in standing, takes new work and was not tried, full or not.
    pub fn is_usable(&self, index: usize) -> bool {
        let Some(server) = self.servers.get(index) else { return false };
        is_up(&server.state, self.unknown)
            && !server.state.draining.load(Relaxed)
            && (self.span == Span::Exchange || !server.state.outgoing.load(Relaxed))
            && (self.standing == Standing::Any || !is_ejected(&server.state))
            && !self.tried.contains(&server.id)
    }

    /// Whether this server can be given the request now.
    pub fn is_open(&self, index: usize) -> bool {
        self.in_flight(index) < self.max_in_flight && self.is_usable(index)
    }

    pub fn any_usable(&self) -> bool {
        (0..self.servers.len()).any(|index| self.is_usable(index))
    }

    pub fn in_flight(&self, index: usize) -> u32 {
        self.servers.get(index).map_or(0, |server| server.state.in_flight.load(Relaxed))
    }

    /// The share of its weight that a server has grown to: 0.1 to 1.0, linear over the slow start.
    pub fn growth(&self, index: usize) -> f64 {
        if self.slow_start_ms == 0 {
            return 1.0;
        }
        let since = self.servers.get(index).map_or(0, |server| server.state.up_since_ms.load(Relaxed));
        let elapsed = self.now_ms.saturating_sub(since);
        if since == 0 || elapsed >= self.slow_start_ms {
            return 1.0;
        }
        FIRST_SHARE + (1.0 - FIRST_SHARE) * elapsed as f64 / self.slow_start_ms as f64
    }

    /// The weight as written, less what the slow start withholds.
    pub fn weight(&self, index: usize) -> f64 {
        f64::from(weight_of(self.servers, index)) * self.growth(index)
    }

    /// Whether a growing server lets this request pass on to others: true for the share that it has not grown to.
    pub fn is_thinned(&self, index: usize, chance: &mut Chance) -> bool {
        let growth = self.growth(index);
        growth < 1.0 && chance.fraction() >= growth
    }
}

/// The weight as written, at least 1.
pub fn weight_of(servers: &[Arc<Server>], index: usize) -> u32 {
    servers.get(index).map_or(1, |server| server.state.weight().max(1))
}

/// The active check's word.
pub fn is_up(state: &State, unknown: Unknown) -> bool {
    match state.health() {
        Health::Up => true,
        Health::Down => false,
        Health::Unknown => unknown == Unknown::Up,
    }
}

/// Whether outlier detection keeps it out.
pub fn is_ejected(state: &State) -> bool {
    state.ejected_until_ms.load(Relaxed) != 0
}

/// Claims a place on a server, never beyond `max_in_flight`, whoever else is claiming.
pub fn claim(state: &State, max_in_flight: u32) -> bool {
    if max_in_flight == UNLIMITED {
        state.in_flight.fetch_add(1, AcqRel);
        return true;
    }
    state
        .in_flight
        .fetch_update(AcqRel, Relaxed, |count| (count < max_in_flight).then_some(count + 1))
        .is_ok()
}

/// The random numbers of one pick, all drawn from the seed that the caller gave (splitmix64).
#[derive(Clone, Copy, Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// 0 up to, not including, `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // The high half of the product: no division, and a bias below 2^-32 for any pool that fits in memory.
        ((u128::from(self.draw()) * bound as u128) >> 64) as usize
    }

    /// 0.0 up to, not including, 1.0.
    pub fn fraction(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Spreads the bits of a number over all of it (the finisher of splitmix64).
pub fn mix(number: u64) -> u64 {
    let z = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::observe::metrics::ServerMetrics;
    use crate::server;

    /// Servers `10.0.0.1:80` and on, of these weights.
    pub fn servers(weights: &[u32]) -> Vec<Arc<Server>> {
        let name = |i: usize| format!("10.0.{}.{}:80", i / 250, i % 250 + 1);
        weights.iter().enumerate().map(|(i, weight)| server(&name(i), *weight)).collect()
    }

    pub fn server(identity: &str, weight: u32) -> Arc<Server> {
        server_of(server::Spec { address: identity.parse().unwrap(), weight, backup: false })
    }

    pub fn server_of(spec: server::Spec) -> Arc<Server> {
        let identity = spec.address.to_string();
        let endpoint = crate::net::Endpoint::Inet(identity.parse().unwrap());
        Arc::new(Server::new("web".into(), identity.into(), endpoint, spec, ServerMetrics::default()))
    }

    pub fn choice(servers: &[Arc<Server>]) -> Choice<'_> {
        Choice {
            servers,
            standing: Standing::Trusted,
            span: Span::Exchange,
            unknown: Unknown::Up,
            tried: &[],
            hash: None,
            now_ms: 1,
            slow_start_ms: 0,
            max_in_flight: UNLIMITED,
            pool_in_flight: 0,
        }
    }

    #[test]
    fn an_unchecked_server_is_picked_only_where_nothing_checks() {
        let servers = servers(&[1]);
        assert!(choice(&servers).is_open(0));
        let checked = Choice { unknown: Unknown::Down, ..choice(&servers) };
        assert!(!checked.is_open(0));
        servers[0].state.record_health(Health::Up, 1);
        assert!(checked.is_open(0));
        servers[0].state.record_health(Health::Down, 1);
        assert!(!checked.is_usable(0) && !choice(&servers).is_usable(0));
    }

    #[test]
    fn draining_ejected_tried_and_full_servers_get_no_new_work() {
        let servers = servers(&[1; 4]);
        servers[0].state.draining.store(true, Relaxed);
        servers[1].state.ejected_until_ms.store(9, Relaxed);
        servers[3].state.in_flight.store(2, Relaxed);
        let tried = [servers[2].id];
        let choice = Choice { tried: &tried, max_in_flight: 2, ..choice(&servers) };
        assert!((0..4).all(|i| !choice.is_open(i)));
        assert!(choice.is_usable(3), "full is not the same as down");
        assert!(Choice { standing: Standing::Any, ..choice }.is_open(1));
        assert!(!choice.is_open(4));
    }

    #[test]
    fn a_slow_start_grows_from_a_tenth_to_the_whole() {
        let servers = servers(&[10]);
        servers[0].state.join_late(1000);
        let at = |now_ms| Choice { now_ms, slow_start_ms: 10_000, ..choice(&servers) }.weight(0);
        assert_eq!([at(1000), at(6000), at(11_000), at(99_000)], [1.0, 5.5, 10.0, 10.0]);
        assert_eq!(choice(&servers).weight(0), 10.0);
    }

    #[test]
    fn a_place_is_claimed_up_to_the_limit() {
        let servers = servers(&[1]);
        assert!(claim(&servers[0].state, 2) && claim(&servers[0].state, 2));
        assert!(!claim(&servers[0].state, 2));
        assert!(claim(&servers[0].state, UNLIMITED));
    }

    #[test]
    fn chance_stays_below_its_bound_and_reaches_all_of_it() {
        let mut chance = Chance::seeded(7);
        let mut seen = [0u32; 5];
        for _ in 0..5000 {
            seen[chance.below(5)] += 1;
        }
        assert!(seen.iter().all(|n| (900..1100).contains(n)), "{seen:?}");
        assert!((0..1000).all(|_| (0.0..1.0).contains(&chance.fraction())));
        assert_eq!(chance.below(0), 0);
    }
}
