//! What is going on while a plan is made: who is connected, what is in flight, how many workers there are.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use crate::net::Address;
use crate::pool::Overrides;
use crate::snapshot::Snapshot;

/// What is going on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Open connections by listener.
    pub connections: BTreeMap<String, u64>,
    pub pools: BTreeMap<String, PoolFigures>,
    /// How many workers `instances: auto` means here.
    pub auto_instances: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolFigures {
    /// Those of one host name are several.
    pub servers: Vec<ServerFigures>,
    /// WebSockets and other tunnels.
    pub tunnels: u64,
    /// What was ordered for its servers since the last reload.
    pub orders: Overrides,
    /// How many workers its app is to have now; an order may have changed it.
    pub instances: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFigures {
    /// As written.
    pub address: Address,
    /// Of a host name that stands for several, that and the address.
    pub identity: String,
    /// Exchanges and tunnels.
    pub in_flight: u64,
}

impl Figures {
    /// Of this moment. `instances` gives the number of workers of a pool.
    pub fn of(snapshot: &Snapshot, auto_instances: u16, instances: impl Fn(&str) -> Option<u16>) -> Self {
        let connections = snapshot.listeners.iter().map(|listener| {
            let open = listener.metrics.connections_open.value();
            (listener.name.to_string(), u64::try_from(open).unwrap_or_default())
        });
        let pools = snapshot.pools.iter().map(|(name, plan)| {
            let set = plan.pool.servers();
            let servers = set.servers().iter().map(|server| ServerFigures {
                address: server.spec.address.clone(),
                identity: server.identity.to_string(),
                in_flight: server.state.in_flight.load(Ordering::Relaxed).into(),
            });
            let figures = PoolFigures {
                servers: servers.collect(),
                tunnels: u64::try_from(plan.pool.metrics.tunnels_open.value()).unwrap_or_default(),
                orders: plan.pool.orders(),
                instances: instances(name),
            };
            (name.clone(), figures)
        });
        Self { connections: connections.collect(), pools: pools.collect(), auto_instances }
    }

    pub(super) fn connections(&self, listener: &str) -> u64 {
        self.connections.get(listener).copied().unwrap_or_default()
    }

    /// What is in flight on one server of a pool, or on all of them.
    pub(super) fn in_flight(&self, pool: &str, address: Option<&Address>) -> u64 {
        let servers = self.pools.get(pool).into_iter().flat_map(|pool| &pool.servers);
        let fits = |server: &&ServerFigures| address.is_none_or(|address| server.address == *address);
        servers.filter(fits).map(|server| server.in_flight).sum()
    }

    /// What was ordered for a pool.
    pub(super) fn orders(&self, pool: &str) -> Overrides {
        self.pools.get(pool).map(|pool| pool.orders.clone()).unwrap_or_default()
    }

    pub(super) fn tunnels(&self, pool: &str) -> u64 {
        self.pools.get(pool).map(|pool| pool.tunnels).unwrap_or_default()
    }
}
