//! A pool's place is taken by another at a reload. Whoever still holds the one before is served by the newest of them, and
//! keeps alive that one and its own, none between.

use std::ops::Deref;
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::ArcSwap;
use std::sync::atomic::Ordering::Relaxed;

use super::pool::{Pool, now};
use super::server_set::ServerSet;
use super::spec::Policy;

/// Where a pool stands among those of its name.
#[derive(Debug, Default)]
pub struct Succession {
    /// The newest, once there is a newer one.
    newest: OnceLock<Arc<ArcSwap<Pool>>>,
    /// What those before this one know of the newest, as long as there are any.
    known_by: OnceLock<Weak<ArcSwap<Pool>>>,
}

/// The newest pool of a name.
#[derive(Debug)]
pub enum Latest<'a> {
    /// The one that was asked.
    Itself(&'a Arc<Pool>),
    Other(Arc<Pool>),
}

impl Deref for Latest<'_> {
    type Target = Arc<Pool>;

    fn deref(&self) -> &Arc<Pool> {
        match self {
            Self::Itself(pool) => pool,
            Self::Other(pool) => pool,
        }
    }
}

impl Pool {
    /// Hands everything over to the pool that was built of this one, with its servers as they are to be by then.
    pub fn succeed(self: &Arc<Self>, by: &Arc<Self>) {
        by.take_queue();
        let before = self.succession.known_by.get().and_then(Weak::upgrade);
        let newest = before.unwrap_or_else(|| Arc::new(ArcSwap::from(Arc::clone(by))));
        newest.store(Arc::clone(by));
        let _ = by.succession.known_by.set(Arc::downgrade(&newest));
        if self.succession.newest.set(newest).is_ok() {
            self.keep_servers_only();
            // A server may have been ejected since the new pool was built.
            by.plan_return();
            by.step(now());
        }
    }

    /// This pool, or the newest that has succeeded it.
    pub fn latest(self: &Arc<Self>) -> Latest<'_> {
        match self.successor() {
            None => Latest::Itself(self),
            Some(newest) => Latest::Other(newest),
        }
    }

    /// The servers at this moment.
    pub fn servers(&self) -> Arc<ServerSet> {
        match self.successor() {
            None => self.set.load_full(),
            Some(newest) => newest.set.load_full(),
        }
    }

    fn successor(&self) -> Option<Arc<Self>> {
        self.succession.newest.get().map(|newest| newest.load_full())
    }

    fn take_queue(&self) {
        self.queue.resize(self.spec.queue.size);
        self.is_in_force.store(true, Relaxed);
    }

    /// What balances, such as a ring of some megabytes, is the newest one's affair.
    fn keep_servers_only(&self) {
        let servers = self.set.load().servers().to_vec();
        self.set.store(Arc::new(ServerSet::build(servers, Policy::RoundRobin, self.sticky.as_deref(), None)));
    }
}
