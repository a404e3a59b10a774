//! Orders to a pool that runs: drain and weigh a server, add one, take one out, hold new requests back.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::overrides::{Keep, Overrides};
use super::pool::{Pool, now};
use crate::net::Address;
use crate::server::{self, Reason, Server};

/// The longest time that requests may be held back.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// The part of the time of a drain that goodbyes are spread over; the rest is for the last clients to answer.
const GOODBYES: f64 = 0.9;

/// Why an order is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error("there is no server `{server}` in {pool}; {known}")]
    NoServer { server: String, pool: Arc<str>, known: String },
    #[error("`{0}` is in the pool already")]
    Twice(String),
    #[error("`{0}` is no address of a server; write one such as 10.0.0.1:3000 or unix:/run/app.sock")]
    Address(String),
    #[error("`{0}` is a host name; add the addresses that it stands for, such as 10.0.0.1:3000")]
    HostName(String),
    #[error("`{0}` is an address of a host name; take that out of the file")]
    OfHostName(String),
    #[error("the servers of {0} are workers of an app, all alike: `lintel scale` gives it more or fewer")]
    Workers(Arc<str>),
    #[error("the servers of {pool} are the workers of {owner}: give the order there, as {owner}/{server}")]
    OfOther { pool: Arc<str>, owner: String, server: String },
    #[error("a weight is a number from 1 to 1000")]
    Weight,
    #[error("a pause lasts from 1 s to 10 min")]
    Pause,
}

impl Pool {
    /// What was ordered so far.
    pub fn orders(&self) -> Overrides {
        self.overrides.lock().clone()
    }

    /// Gives a server no new work; sessions bound to it stay, and its WebSockets are told to come back elsewhere, spread
    /// over `time`, the last ones early enough to be gone by then.
    pub fn drain_server(
        self: &Arc<Self>,
        server: &str,
        keep: Keep,
        time: Duration,
    ) -> Result<Arc<Server>, OrderError> {
        let servers = self.servers_named(server)?;
        self.is_owner(&servers.identity)?;
        self.latest().overrides.lock().drain(&servers.identity, keep);
        tracing::info!(pool = &*self.name, server = &*servers.identity, ?time, "drained by order");
        servers.all().for_each(|server| server.state.leave_over(time.mul_f64(GOODBYES)));
        self.step(now());
        Ok(servers.first)
    }

    /// Gives a server work again.
    pub fn undrain_server(self: &Arc<Self>, server: &str) -> Result<Arc<Server>, OrderError> {
        let servers = self.servers_named(server)?;
        self.is_owner(&servers.identity)?;
        self.latest().overrides.lock().undrain(&servers.identity);
        tracing::info!(pool = &*self.name, server = &*servers.identity, "gets work again by order");
        servers.all().for_each(|server| server.state.come_back());
        self.step(now());
        Ok(servers.first)
    }

    /// Gives a server another share of the work.
    pub fn weigh_server(self: &Arc<Self>, server: &str, weight: u32, keep: Keep) -> Result<(), OrderError> {
        self.has_own_servers()?;
        if !(1..=1000).contains(&weight) {
            return Err(OrderError::Weight);
        }
        let server = self.servers_named(server)?.identity;
        let pool = self.latest();
        pool.overrides.lock().weigh(&server, weight, keep);
        tracing::info!(pool = &*self.name, server = &*server, weight, "weighed by order");
        pool.settle_servers();
        Ok(())
    }

    /// Adds a server, which `make` makes.
    pub fn add_server(
        self: &Arc<Self>,
        spec: server::Spec,
        keep: Keep,
        make: impl FnOnce(&server::Spec) -> Option<Arc<Server>>,
    ) -> Result<(), OrderError> {
        self.has_own_servers()?;
        if !(1..=1000).contains(&spec.weight) {
            return Err(OrderError::Weight);
        }
        let name = spec.address.to_string();
        match &spec.address {
            Address::Host { .. } => return Err(OrderError::HostName(name)),
            Address::Inet(address) if address.port() == 0 || address.ip().is_unspecified() => {
                return Err(OrderError::Address(name));
            }
            Address::Unix(path) if !path.is_absolute() || path == Path::new("/") => {
                return Err(OrderError::Address(name));
            }
            Address::Inet(_) | Address::Unix(_) => {}
        }
        let pool = self.latest();
        pool.change_servers(|set| {
            if set.servers().iter().any(|known| *known.identity == *name) {
                return Err(OrderError::Twice(name.clone()));
            }
            let server = make(&spec).ok_or_else(|| OrderError::HostName(name.clone()))?;
            pool.overrides.lock().add(spec, keep);
            Ok(set.servers().iter().cloned().chain([server]).collect())
        })?;
        tracing::info!(pool = &*self.name, server = name, "added by order");
        Ok(())
    }

    /// Takes a server out; gives it, so that what still runs on it can be ended.
    pub fn remove_server(self: &Arc<Self>, server: &str, keep: Keep) -> Result<Arc<Server>, OrderError> {
        self.has_own_servers()?;
        let found = self.servers_named(server)?.first;
        if matches!(found.spec.address, Address::Host { .. }) {
            return Err(OrderError::OfHostName(server.to_owned()));
        }
        let pool = self.latest();
        pool.change_servers(|set| {
            if set.find(found.id).is_none() {
                return Err(pool.no_server(server));
            }
            pool.overrides.lock().remove(&found.identity, keep, &pool.spec.servers);
            Ok(set.servers().iter().filter(|other| other.id != found.id).cloned().collect())
        })?;
        tracing::info!(pool = &*self.name, server = &*found.identity, "taken out by order");
        Ok(found)
    }

    /// Has new requests wait, in order, for at most `time`; those under way go on.
    pub fn pause(self: &Arc<Self>, time: Duration) -> Result<(), OrderError> {
        if !(Duration::from_secs(1)..=LONGEST_PAUSE).contains(&time) {
            return Err(OrderError::Pause);
        }
        tracing::info!(pool = &*self.name, ?time, "paused by order");
        let number = self.queue.pause(time);
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            if pool.queue.resume_if(number) {
                tracing::warn!(pool = &*pool.name, "the pause is over by its timeout");
                pool.step(now());
            }
        });
        Ok(())
    }

    /// Lets go of all who wait, in order; how many that are, `None` where there is no pause.
    pub fn resume(self: &Arc<Self>) -> Option<usize> {
        let waiting = self.waiting();
        let was_paused = self.queue.resume();
        if was_paused {
            tracing::info!(pool = &*self.name, waiting, "goes on by order");
        }
        self.step(now());
        was_paused.then_some(waiting)
    }

    /// Time until a pause ends by itself; `None` while there is none.
    pub fn paused_for(&self) -> Option<Duration> {
        self.queue.paused_for()
    }

    /// The servers of this name: one, but for a worker that is being replaced. A worker can be named by its number alone.
    fn servers_named(self: &Arc<Self>, server: &str) -> Result<Named, OrderError> {
        let set = self.servers();
        let named = |identity: &str| {
            let mut servers = set.servers().iter().filter(|known| *known.identity == *identity).cloned();
            let first = servers.next()?;
            Some(Named { identity: Arc::clone(&first.identity), first, others: servers.collect() })
        };
        let of_app = || {
            let owner = self.spec.workers_of.as_deref().unwrap_or(&self.name);
            named(&format!("{owner}/{server}"))
        };
        named(server).or_else(of_app).ok_or_else(|| self.no_server(server))
    }

    fn no_server(self: &Arc<Self>, server: &str) -> OrderError {
        let set = self.servers();
        let known: Vec<&str> = set.servers().iter().map(|server| &*server.identity).collect();
        OrderError::NoServer {
            server: server.to_owned(),
            pool: Arc::clone(&self.name),
            known: match known.as_slice() {
                [] => "it has none now".to_owned(),
                known => format!("there are: {}", known.join(", ")),
            },
        }
    }

    /// What a server is drained for counts in every pool that has it, so only one of them keeps note of it.
    fn is_owner(&self, server: &str) -> Result<(), OrderError> {
        match &self.spec.workers_of {
            None => Ok(()),
            Some(owner) => Err(OrderError::OfOther {
                pool: Arc::clone(&self.name),
                owner: owner.clone(),
                server: server.to_owned(),
            }),
        }
    }

    fn has_own_servers(&self) -> Result<(), OrderError> {
        if self.spec.app.is_some() || self.spec.workers_of.is_some() {
            return Err(OrderError::Workers(Arc::clone(&self.name)));
        }
        Ok(())
    }

    /// Gives the servers the weights and the drained state that Spec and orders say.
    pub fn settle_servers(self: &Arc<Self>) {
        let set = self.servers();
        if self.settle(set.servers().iter()) {
            let Ok(()) = self.change_servers(|set| Ok::<_, Infallible>(set.servers().to_vec()));
        }
    }

    /// As `settle_servers`, for servers whose set is still to be built; whether a weight has changed.
    pub(super) fn settle<'a>(&self, servers: impl Iterator<Item = &'a Arc<Server>>) -> bool {
        if self.spec.workers_of.is_some() {
            return false;
        }
        let overrides = self.overrides.lock();
        let mut changed = false;
        for server in servers {
            let written = self.spec.servers.iter().find(|spec| spec.address == server.spec.address);
            let weight = overrides.weight(&server.identity);
            let weight = weight.or(written.map(|spec| spec.weight)).unwrap_or(server.spec.weight);
            changed |= server.state.weight() != weight;
            server.state.weigh(weight);
            let is_drained = overrides.is_drained(&server.identity);
            match (server.state.is_withheld(Reason::Ordered), is_drained) {
                (true, false) => server.state.come_back(),
                // A new one, in the place of one that was drained.
                (false, true) => server.state.withhold(Reason::Ordered),
                _ => {}
            }
        }
        changed
    }
}

/// Servers of one name.
struct Named {
    identity: Arc<str>,
    first: Arc<Server>,
    others: Vec<Arc<Server>>,
}

impl Named {
    fn all(&self) -> impl Iterator<Item = &Arc<Server>> {
        [&self.first].into_iter().chain(&self.others)
    }
}

#[cfg(test)]
mod tests;
