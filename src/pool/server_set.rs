//! The servers of a pool at one moment, with everything that is worked out of them beforehand.
//!
//! Immutable: a change of the set is a new set, in which a server that stayed keeps its state, since it is the same
//! server. It decides the order of tiers: servers, then backups, then, rather than nobody, the ejected ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::balance::Balance;
use super::choice::{Chance, Choice, Span, Standing, Unknown, claim, is_ejected, is_up};
use super::spec::Policy;
use super::sticky::{Sticky, Token};
use crate::server::Server;

/// Why no server could be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// Those that may serve it have as much in flight as they may.
    Full,
    /// There is none that may serve it.
    NoServerUp,
}

#[derive(Debug)]
pub struct ServerSet {
    servers: Vec<Arc<Server>>,
    primary: Tier,
    backup: Tier,
    by_id: HashMap<u64, u32>,
    by_token: HashMap<Token, u32>,
}

/// Servers among which load is balanced.
#[derive(Debug)]
struct Tier {
    servers: Box<[Arc<Server>]>,
    balance: Balance,
}

impl ServerSet {
    pub fn build(
        servers: Vec<Arc<Server>>,
        policy: Policy,
        sticky: Option<&Sticky>,
        previous: Option<&ServerSet>,
    ) -> Self {
        let tier = |backup: bool, previous: Option<&Tier>| {
            let servers: Box<[_]> =
                servers.iter().filter(|server| server.spec.backup == backup).cloned().collect();
            let balance = Balance::build(policy, &servers, previous.map(|tier| &tier.balance));
            Tier { servers, balance }
        };
        let places = || servers.iter().zip(0u32..);
        Self {
            primary: tier(false, previous.map(|set| &set.primary)),
            backup: tier(true, previous.map(|set| &set.backup)),
            by_id: places().map(|(server, place)| (server.id, place)).collect(),
            by_token: match sticky {
                Some(Sticky::Cookie(cookie)) => {
                    places().map(|(server, place)| (cookie.token(&server.identity), place)).collect()
                }
                _ => HashMap::new(),
            },
            servers,
        }
    }

    /// All servers, in the order of the file.
    pub fn servers(&self) -> &[Arc<Server>] {
        &self.servers
    }

    pub fn find(&self, id: u64) -> Option<&Arc<Server>> {
        self.by_id.get(&id).and_then(|place| self.servers.get(*place as usize))
    }

    /// The server that a sticky cookie's value names.
    pub fn find_by_token(&self, token: &[u8]) -> Option<&Arc<Server>> {
        let token = Token::try_from(token).ok()?;
        self.by_token.get(&token).and_then(|place| self.servers.get(*place as usize))
    }

    /// Claims a place on the server that the request is bound to, else on the one that the algorithm picks. The place
    /// is the caller's to free.
    ///
    /// A tier counts as up while one of its servers is usable for this request, full or not; one that the request has
    /// failed on is as good as down to it, so a last try may go to a backup. A session begins on a server that stays,
    /// where one has room.
    pub fn claim(&self, bound: Option<u64>, choice: &Choice<'_>, seed: u64) -> Result<&Arc<Server>, Blocked> {
        if let Some(server) = bound.and_then(|id| self.find(id))
            && is_usable_by_bound(server, choice.tried)
        {
            let claimed = claim(&server.state, choice.max_in_flight);
            return if claimed { Ok(server) } else { Err(Blocked::Full) };
        }
        let mut chance = Chance::seeded(seed);
        if choice.span == Span::Session {
            let staying = Choice { servers: &self.primary.servers, ..*choice };
            if let Some(server) = self.primary.claim(&staying, &mut chance) {
                return Ok(server);
            }
        }
        for standing in [Standing::Trusted, Standing::Any] {
            for tier in [&self.primary, &self.backup] {
                let choice = Choice { servers: &tier.servers, standing, span: Span::Exchange, ..*choice };
                if let Some(server) = tier.claim(&choice, &mut chance) {
                    return Ok(server);
                }
                if choice.any_usable() {
                    return Err(Blocked::Full);
                }
            }
        }
        Err(Blocked::NoServerUp)
    }

    /// Whether a server is usable for this request, full or not.
    pub fn has_usable(&self, choice: &Choice<'_>) -> bool {
        [&self.primary, &self.backup]
            .iter()
            .any(|tier| Choice { servers: &tier.servers, ..*choice }.any_usable())
    }

    /// Whether any unbound request that has not tried it may be given this server without comparing it to others.
    pub fn is_first_choice(&self, server: &Server, unknown: Unknown) -> bool {
        !server.spec.backup
            && self.by_id.contains_key(&server.id)
            && is_up(&server.state, unknown)
            && !is_ejected(&server.state)
            && !server.state.draining.load(Relaxed)
    }

    /// Tells the algorithms that servers changed their health.
    pub fn refresh(&self, choice: &Choice<'_>) {
        for tier in [&self.primary, &self.backup] {
            tier.balance.refresh(&Choice { servers: &tier.servers, ..*choice });
        }
    }
}

impl Tier {
    fn claim(&self, choice: &Choice<'_>, chance: &mut Chance) -> Option<&Arc<Server>> {
        // Another thread may take the last place between the pick and the claim: then that server is seen as full.
        while let Some(index) = self.balance.pick(choice, chance) {
            let server = self.servers.get(index)?;
            if claim(&server.state, choice.max_in_flight) {
                return Some(server);
            }
        }
        None
    }
}

/// A bound session stays while its server drains, and while the check has not reached it yet after a start; it moves
/// when the server is down, ejected, or has just failed this exchange.
pub fn is_usable_by_bound(server: &Server, tried: &[u64]) -> bool {
    is_up(&server.state, Unknown::Up) && !is_ejected(&server.state) && !tried.contains(&server.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::choice::tests::{choice, server, server_of};
    use crate::server::{Health, Spec};

    fn backup(identity: &str) -> Arc<Server> {
        server_of(Spec { address: identity.parse().unwrap(), weight: 1, backup: true })
    }

    /// Two servers and a backup.
    fn set() -> ServerSet {
        let servers = vec![server("10.0.0.1:80", 1), server("10.0.0.2:80", 1), backup("10.0.0.3:80")];
        ServerSet::build(servers, Policy::LeastConnections, None, None)
    }

    fn claimed(set: &ServerSet, bound: Option<u64>, choice: &Choice<'_>) -> Result<String, Blocked> {
        set.claim(bound, choice, 1).map(|server| server.identity.to_string())
    }

    fn eject(server: &Server) {
        server.state.ejected_until_ms.store(u64::MAX, Relaxed);
    }

    #[test]
    fn backups_work_only_while_no_other_server_is_up() {
        let set = set();
        let limited = Choice { max_in_flight: 1, ..choice(&[]) };
        assert!(set.claim(None, &limited, 1).is_ok() && set.claim(None, &limited, 1).is_ok());
        assert_eq!(claimed(&set, None, &limited), Err(Blocked::Full), "full is not down");
        set.servers[0].state.record_health(Health::Down, 1);
        assert_eq!(claimed(&set, None, &limited), Err(Blocked::Full));
        eject(&set.servers[1]);
        assert_eq!(claimed(&set, None, &limited), Ok("10.0.0.3:80".into()));
        assert_eq!(claimed(&set, None, &limited), Err(Blocked::Full));
    }

    #[test]
    fn ejected_servers_are_used_rather_than_none_and_those_that_are_down_never() {
        let set = set();
        set.servers.iter().for_each(|server| eject(server));
        set.servers[0].state.record_health(Health::Down, 1);
        assert_eq!(claimed(&set, None, &choice(&[])), Ok("10.0.0.2:80".into()));
        set.servers.iter().for_each(|server| _ = server.state.record_health(Health::Down, 1));
        assert_eq!(claimed(&set, None, &choice(&[])), Err(Blocked::NoServerUp));
    }

    #[test]
    fn a_request_that_failed_on_every_server_tries_the_backup_and_then_gives_up() {
        let set = set();
        let tried: Vec<u64> = set.servers.iter().map(|server| server.id).collect();
        assert_eq!(
            claimed(&set, None, &Choice { tried: &tried[..1], ..choice(&[]) }),
            Ok("10.0.0.2:80".into())
        );
        assert_eq!(
            claimed(&set, None, &Choice { tried: &tried[..2], ..choice(&[]) }),
            Ok("10.0.0.3:80".into())
        );
        assert_eq!(claimed(&set, None, &Choice { tried: &tried, ..choice(&[]) }), Err(Blocked::NoServerUp));
    }

    #[test]
    fn a_bound_request_stays_while_its_server_is_full_or_draining_and_moves_when_it_is_out() {
        let set = set();
        let (home, limited) = (&set.servers[1], Choice { max_in_flight: 1, ..choice(&[]) });
        home.state.draining.store(true, Relaxed);
        assert_eq!(claimed(&set, Some(home.id), &limited), Ok("10.0.0.2:80".into()));
        assert_eq!(claimed(&set, Some(home.id), &limited), Err(Blocked::Full), "it waits for its own");
        eject(home);
        assert_eq!(claimed(&set, Some(home.id), &limited), Ok("10.0.0.1:80".into()));
        assert_eq!(claimed(&set, Some(u64::MAX), &limited), Err(Blocked::Full), "gone");
    }

    #[test]
    fn a_session_begins_on_a_server_that_stays_where_one_has_room() {
        let set = set();
        let outgoing = |place: usize| set.servers[place].state.outgoing.store(true, Relaxed);
        let session = Choice { span: Span::Session, max_in_flight: 2, ..choice(&[]) };
        outgoing(0);
        assert_eq!(claimed(&set, None, &session), Ok("10.0.0.2:80".into()));
        assert_eq!(
            claimed(&set, None, &choice(&[])),
            Ok("10.0.0.1:80".into()),
            "a request alone may go there"
        );
        assert_eq!(claimed(&set, None, &session), Ok("10.0.0.2:80".into()), "however busy the other is");
        assert_eq!(claimed(&set, None, &session), Ok("10.0.0.1:80".into()), "rather than wait");
        set.servers.iter().for_each(|server| server.state.in_flight.store(0, Relaxed));
        assert_eq!(
            claimed(&set, Some(set.servers[0].id), &session),
            Ok("10.0.0.1:80".into()),
            "it has begun"
        );
        outgoing(1);
        assert_eq!(claimed(&set, None, &session), Ok("10.0.0.2:80".into()), "rather than a backup");
    }

    #[test]
    fn after_a_start_a_bound_request_does_not_wait_for_the_first_check() {
        let set = set();
        let checked = Choice { unknown: Unknown::Down, ..choice(&[]) };
        assert_eq!(claimed(&set, None, &checked), Err(Blocked::NoServerUp));
        assert_eq!(claimed(&set, Some(set.servers[0].id), &checked), Ok("10.0.0.1:80".into()));
    }

    #[test]
    fn an_empty_set_has_no_server_up() {
        for policy in [Policy::RoundRobin, Policy::ConsistentHash, Policy::Random, Policy::P2c] {
            let set = ServerSet::build(Vec::new(), policy, None, None);
            assert_eq!(claimed(&set, None, &choice(&[])), Err(Blocked::NoServerUp));
        }
    }
}
