//! Orders to a pool that runs: drain and weigh a server, add one, take one out, hold new requests back.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::overrides::{Keep, Overrides};
use super::pool::{Pool, now};
use crate::net::Address;
use crate::server::{self, Server};

/// The longest time that requests may be held back.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Why an order is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error("there is no server `{server}` in {pool}; there are: {known}")]
    NoServer { server: String, pool: Arc<str>, known: String },
    #[error("`{0}` is in the pool already")]
    Twice(String),
    #[error("`{0}` is no address; write one such as 10.0.0.1:3000 or unix:/run/app.sock")]
    Address(String),
    #[error("`{0}` is a host name; add the addresses that it stands for, such as 10.0.0.1:3000")]
    HostName(String),
    #[error("`{0}` is an address of a host name; take that out of the file")]
    OfHostName(String),
    #[error("the servers of {0} are workers of an app: `lintel scale` gives it more or fewer")]
    Workers(Arc<str>),
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
    /// over `goodbyes`.
    pub fn drain_server(
        self: &Arc<Self>,
        server: &str,
        keep: Keep,
        goodbyes: Duration,
    ) -> Result<Arc<Server>, OrderError> {
        let found = self.server_named(server)?;
        self.latest().overrides.lock().drain(server, keep);
        tracing::info!(pool = &*self.name, server, "drained by order");
        found.state.leave_over(goodbyes);
        self.step(now());
        Ok(found)
    }

    /// Gives a server work again.
    pub fn undrain_server(self: &Arc<Self>, server: &str) -> Result<Arc<Server>, OrderError> {
        let found = self.server_named(server)?;
        self.latest().overrides.lock().undrain(server);
        tracing::info!(pool = &*self.name, server, "gets work again by order");
        found.state.come_back();
        self.step(now());
        Ok(found)
    }

    /// Gives a server another share of the work.
    pub fn weigh_server(self: &Arc<Self>, server: &str, weight: u32, keep: Keep) -> Result<(), OrderError> {
        if !(1..=1000).contains(&weight) {
            return Err(OrderError::Weight);
        }
        self.server_named(server)?;
        let pool = self.latest();
        pool.overrides.lock().weigh(server, weight, keep);
        tracing::info!(pool = &*self.name, server, weight, "weighed by order");
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
        if matches!(spec.address, Address::Host { .. }) {
            return Err(OrderError::HostName(name));
        }
        if self.server_named(&name).is_ok() {
            return Err(OrderError::Twice(name));
        }
        let pool = self.latest();
        let Some(server) = make(&spec) else { return Err(OrderError::HostName(name)) };
        pool.overrides.lock().add(spec, keep);
        tracing::info!(pool = &*self.name, server = name, "added by order");
        let mut servers = pool.servers().servers().to_vec();
        servers.push(server);
        pool.replace_servers(servers);
        Ok(())
    }

    /// Takes a server out; gives it, so that what still runs on it can be ended.
    pub fn remove_server(self: &Arc<Self>, server: &str, keep: Keep) -> Result<Arc<Server>, OrderError> {
        self.has_own_servers()?;
        let found = self.server_named(server)?;
        if matches!(found.spec.address, Address::Host { .. }) {
            return Err(OrderError::OfHostName(server.to_owned()));
        }
        let pool = self.latest();
        pool.overrides.lock().remove(server, keep);
        tracing::info!(pool = &*self.name, server, "taken out by order");
        let servers = pool.servers().servers().iter().filter(|other| other.id != found.id).cloned().collect();
        pool.replace_servers(servers);
        Ok(found)
    }

    /// Has new requests wait, in order, for at most `time`; those under way go on.
    pub fn pause(self: &Arc<Self>, time: Duration) -> Result<(), OrderError> {
        if !(Duration::from_secs(1)..=LONGEST_PAUSE).contains(&time) {
            return Err(OrderError::Pause);
        }
        tracing::info!(pool = &*self.name, ?time, "paused by order");
        let number = self.queue.pause(now() + time);
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

    /// Lets go of all who wait, in order.
    pub fn resume(self: &Arc<Self>) {
        if self.queue.resume() {
            tracing::info!(pool = &*self.name, "goes on by order");
        }
        self.step(now());
    }

    /// Time until a pause ends by itself; `None` while there is none.
    pub fn paused_for(&self) -> Option<Duration> {
        self.queue.paused_until().map(|end| end.saturating_duration_since(Instant::now()))
    }

    fn server_named(self: &Arc<Self>, server: &str) -> Result<Arc<Server>, OrderError> {
        let set = self.servers();
        let found = set.servers().iter().find(|known| *known.identity == *server).cloned();
        found.ok_or_else(|| {
            let known: Vec<&str> = set.servers().iter().map(|server| &*server.identity).collect();
            OrderError::NoServer {
                server: server.to_owned(),
                pool: Arc::clone(&self.name),
                known: known.join(", "),
            }
        })
    }

    fn has_own_servers(&self) -> Result<(), OrderError> {
        if self.spec.app.is_some() || self.spec.workers_of.is_some() {
            return Err(OrderError::Workers(Arc::clone(&self.name)));
        }
        Ok(())
    }

    /// Gives servers the weights and the drained state that Spec and orders say; workers are all alike, and drained by
    /// their app.
    pub fn settle_servers(self: &Arc<Self>) {
        let set = self.servers();
        let overrides = self.latest().overrides.lock().clone();
        let mut changed = false;
        for server in set.servers() {
            let written = self.spec.servers.iter().find(|spec| spec.address == server.spec.address);
            let weight = overrides.weight(&server.identity);
            let weight = weight.or(written.map(|spec| spec.weight)).unwrap_or(server.spec.weight);
            changed |= server.state.weight() != weight;
            server.state.weigh(weight);
            let is_left = server.state.draining.load(Relaxed) && !server.state.is_worker();
            if is_left && !overrides.is_drained(&server.identity) {
                server.state.come_back();
            }
        }
        if changed {
            self.replace_servers(set.servers().to_vec());
        }
    }
}
