//! The end of what a reload took away: it goes on for `drain_timeout`, then says goodbye, then is cut off.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::life::{Life, Stage};
use crate::server::Server;
use crate::snapshot::{Listener, Snapshot};

/// For WebSockets to say goodbye, spread over time, and for their clients to answer.
const GOODBYES: Duration = Duration::from_secs(15);

/// What is in one plan and not in the next. It keeps nothing: whoever still uses it does.
#[derive(Default)]
pub struct Gone {
    listeners: Vec<Weak<Listener>>,
    routes: Vec<Weak<Life>>,
    servers: Vec<Weak<Server>>,
}

impl Gone {
    /// Routes and servers of `before` that `after` does not have. Workers end as their app says.
    pub fn between(before: &Snapshot, after: &Snapshot) -> Self {
        let routes = before.lives.iter().filter(|(name, _)| !after.lives.contains_key(*name));
        let mut servers = Vec::new();
        for (name, plan) in &before.pools {
            let set = after.pools.get(name).map(|plan| plan.pool.servers());
            let stays = |server: &Arc<Server>| set.as_ref().is_some_and(|set| set.find(server.id).is_some());
            let had = plan.pool.servers();
            let gone = had.servers().iter().filter(|server| !stays(server) && !server.state.is_worker());
            servers.extend(gone.map(Arc::downgrade));
        }
        let routes = routes.map(|(_, life)| Arc::downgrade(life)).collect();
        Self { listeners: Vec::new(), routes, servers }
    }

    /// The same with these listeners.
    pub fn with_listeners(self, listeners: &[Arc<Listener>]) -> Self {
        Self { listeners: listeners.iter().map(Arc::downgrade).collect(), ..self }
    }

    /// A server that was taken out by order.
    pub fn server(server: &Arc<Server>) -> Self {
        Self { servers: vec![Arc::downgrade(server)], ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.listeners.is_empty() && self.routes.is_empty() && self.servers.is_empty()
    }

    fn enter(&self, stage: Stage) {
        self.listeners.iter().filter_map(Weak::upgrade).for_each(|listener| listener.life.enter(stage));
        self.routes.iter().filter_map(Weak::upgrade).for_each(|life| life.enter(stage));
        for server in self.servers.iter().filter_map(Weak::upgrade) {
            server.state.life.enter(stage);
            if stage == Stage::Leaving {
                server.state.leave();
            }
        }
    }

    /// Lets it go on for a while; `wake` has everything look at it.
    pub async fn run(self, drain_timeout: Duration, wake: impl Fn()) {
        self.enter(Stage::Retired);
        tokio::time::sleep(drain_timeout).await;
        self.enter(Stage::Leaving);
        wake();
        tokio::time::sleep(GOODBYES).await;
        self.enter(Stage::Over);
        wake();
    }
}
