//! The pool itself: picks a server and claims a place on it, ejects and brings back, and counts what happens.
//!
//! The common path is one load of the server set, one pick and one claim, all on atomics. Locks are taken only when a
//! request has to wait, a server is ejected or comes back, or the set changes.

use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;

use super::budget::RetryBudget;
use super::choice::{Choice, Span, Standing, UNLIMITED, Unknown};
use super::lease::Lease;
use super::overrides::Overrides;
use super::queue::Queue;
use super::server_set::{Blocked, ServerSet};
use super::spec::{Policy, Spec};
use super::sticky::{Sticky, StickyKey};
use super::succession::Succession;
use crate::health::passive::{self, Ejection, Outcome, Rule};
use crate::observe::metrics::{PoolMetrics, StickyOutcome};
use crate::server::{Server, process_ms};

/// What a request needs of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub now: Instant,
    /// What `consistent_hash` goes by, of `key::hash`; at random without.
    pub hash: Option<u64>,
    /// Id of the server that its session is bound to, of `Pool::bound_server`.
    pub bound: Option<u64>,
    pub span: Span,
    /// Ids of servers that this exchange has failed on.
    pub tried: &'a [u64],
    /// A fresh random number.
    pub random: u64,
    /// How long it may still wait; the pool's `queue.timeout` where the exchange has not waited before.
    pub queue_left: Option<Duration>,
}

impl Ask<'_> {
    /// For any server, by a request that has not tried or waited before.
    pub fn new(now: Instant, random: u64) -> Self {
        Self { now, hash: None, bound: None, span: Span::Exchange, tried: &[], random, queue_left: None }
    }
}

/// Why a request got no server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// None is up, or the exchange has failed on all that are.
    #[error("no server is up")]
    NoServerUp,
    #[error("every server is at its limit and the queue is full")]
    QueueFull,
    #[error("every server stayed at its limit for the time a request may wait")]
    QueueTimeout,
}

/// A named set of interchangeable servers, shared by all engine threads.
pub struct Pool {
    pub name: Arc<str>,
    pub spec: Spec,
    pub metrics: PoolMetrics,
    /// Built of `spec.sticky`.
    pub sticky: Option<Arc<Sticky>>,
    /// That of the pool before a reload goes on, with all who wait in it.
    pub(super) queue: Arc<Queue>,
    pub(super) set: ArcSwap<ServerSet>,
    budget: RetryBudget,
    outlier: Rule,
    slow_start_ms: u64,
    /// `UNLIMITED` when off.
    max_in_flight: AtomicU32,
    /// Leases, kept only where the algorithm goes by it.
    /// Boxed, to be away from what is only read.
    in_flight: Option<Arc<AtomicU32>>,
    /// When the first ejection ends, on the process clock; `u64::MAX` while there is none.
    next_return_ms: AtomicU64,
    /// Held for a moment by whoever ejects, brings back or exchanges servers.
    changing: Mutex<()>,
    /// Held for as long as it takes to build a set; never by a request.
    replacing: Mutex<()>,
    /// A server that joins from now on joins others at work.
    has_served: AtomicBool,
    /// What was ordered while it runs.
    pub(super) overrides: Mutex<Overrides>,
    /// Who waits is served by it; until a reload is done that is the pool before.
    pub(super) is_in_force: AtomicBool,
    pub(super) succession: Succession,
    /// The pools of one app, this one among them: a place that one gives back is free for all.
    sharing: ArcSwap<Vec<Weak<Pool>>>,
}

impl Pool {
    /// `sticky_key` authenticates the sticky cookie; only a pool that has one needs it, and has no stickiness without.
    /// `before` is the pool of this name that is to be succeeded: who waits there waits here, its sessions are known here.
    pub fn build(
        name: Arc<str>,
        spec: Spec,
        servers: Vec<Arc<Server>>,
        sticky_key: Option<&StickyKey>,
        metrics: PoolMetrics,
        before: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        let sticky = spec.sticky.as_ref().and_then(|sticky| Sticky::build(sticky, &name, sticky_key));
        let table = before
            .filter(|before| before.spec.sticky == spec.sticky)
            .and_then(|before| before.sticky.clone());
        let sticky = match (sticky, table) {
            // A cookie is all in its key, which may be another now.
            (Some(Sticky::SocketIo(_)), Some(table)) => Some(table),
            (sticky, _) => sticky.map(Arc::new),
        };
        let policy = spec.balance.policy;
        let previous =
            before.filter(|before| before.spec.balance == spec.balance).map(|before| before.servers());
        let in_flight = || before.and_then(|before| before.in_flight.clone()).unwrap_or_default();
        let ejected_until = servers.iter().map(|server| server.state.ejected_until_ms.load(Relaxed));
        let has_served = before.is_some_and(|before| before.has_served.load(Relaxed));
        if let Some(before) = before.filter(|_| has_served) {
            let known = before.servers();
            let is_new = |server: &&Arc<Server>| known.find(server.id).is_none();
            servers.iter().filter(is_new).for_each(|server| server.state.join_late(process_ms(now())));
        }
        Arc::new(Self {
            queue: before.map_or_else(
                || Arc::new(Queue::new(spec.queue.size, metrics.clone())),
                |before| Arc::clone(&before.queue),
            ),
            metrics,
            budget: RetryBudget::new(spec.retries.budget),
            outlier: Rule::compile(&spec.outlier_detection),
            slow_start_ms: spec.slow_start.map_or(0, |time| millis(time.std())),
            max_in_flight: AtomicU32::new(spec.max_in_flight.unwrap_or(UNLIMITED)),
            in_flight: (policy == Policy::ConsistentHash).then(in_flight),
            next_return_ms: AtomicU64::new(
                ejected_until.filter(|until| *until != 0).min().unwrap_or(u64::MAX),
            ),
            changing: Mutex::new(()),
            replacing: Mutex::new(()),
            has_served: AtomicBool::new(has_served),
            is_in_force: AtomicBool::new(before.is_none()),
            overrides: Mutex::new(before.map(|before| before.kept_overrides()).unwrap_or_default()),
            succession: Succession::default(),
            sharing: ArcSwap::default(),
            set: ArcSwap::from_pointee(ServerSet::build(
                servers,
                policy,
                sticky.as_deref(),
                previous.as_deref(),
            )),
            sticky,
            name,
            spec,
        })
    }

    /// Takes another set of servers, of a new DNS answer. One that is in both keeps its state, being the same; one that
    /// is new starts slowly if the pool has served before; sessions bound to one that is gone move.
    pub fn replace_servers(self: &Arc<Self>, servers: Vec<Arc<Server>>) {
        let Ok(()) = self.change_servers(|_| Ok::<_, Infallible>(servers));
    }

    /// As `replace_servers`, with the servers that `change` makes of those there are; nobody else changes them meanwhile.
    pub fn change_servers<E>(
        self: &Arc<Self>,
        change: impl FnOnce(&ServerSet) -> Result<Vec<Arc<Server>>, E>,
    ) -> Result<(), E> {
        self.latest().change_servers_here(change)
    }

    fn change_servers_here<E>(
        self: &Arc<Self>,
        change: impl FnOnce(&ServerSet) -> Result<Vec<Arc<Server>>, E>,
    ) -> Result<(), E> {
        let now = now();
        let _replacing = self.replacing.lock();
        let before = self.set();
        let servers = change(&before)?;
        self.settle(servers.iter().filter(|server| before.find(server.id).is_none()));
        if self.has_served.load(Relaxed) {
            let is_new = |server: &&Arc<Server>| before.find(server.id).is_none();
            servers.iter().filter(is_new).for_each(|server| server.state.join_late(process_ms(now)));
        }
        // A large ring takes a tenth of a second: meanwhile requests go on with the set before.
        let policy = self.spec.balance.policy;
        let set = Arc::new(ServerSet::build(servers, policy, self.sticky.as_deref(), Some(&before)));
        {
            let _changing = self.changing.lock();
            self.set.store(set);
            self.plan_next_return();
        }
        self.step(now);
        Ok(())
    }

    /// The servers of the Spec, with what was ordered since.
    pub fn wanted_servers(self: &Arc<Self>) -> Vec<crate::server::Spec> {
        let pool = self.latest();
        pool.overrides.lock().apply(&pool.spec.servers)
    }

    /// Whether a reload would forget something that was ordered.
    pub fn would_forget(&self) -> bool {
        let overrides = self.overrides.lock();
        *overrides != overrides.kept()
    }

    /// What was ordered and outlives a reload.
    pub fn kept_overrides(&self) -> Overrides {
        self.overrides.lock().kept()
    }

    /// Gives every server another limit; waiters get what a higher one makes room for.
    pub fn limit_in_flight(self: &Arc<Self>, max_in_flight: Option<u32>) {
        self.max_in_flight.store(max_in_flight.unwrap_or(UNLIMITED), Relaxed);
        self.serve_waiters();
    }

    /// Takes note of what changed outside: to be called after a server's health or draining changed, and about once a
    /// second, so that an ejection's end is seen also while no request comes.
    pub fn step(self: &Arc<Self>, now: Instant) {
        let pool = self.latest();
        pool.bring_back_due(now);
        pool.refresh(now);
        pool.serve_waiters();
    }

    /// Claims a place on a server, or waits for one. Nobody overtakes those who wait already. Dropping the future leaves
    /// the queue at once.
    pub async fn acquire(self: &Arc<Self>, ask: &Ask<'_>) -> Result<Lease, Refusal> {
        self.latest().acquire_here(ask).await
    }

    async fn acquire_here(self: &Arc<Self>, ask: &Ask<'_>) -> Result<Lease, Refusal> {
        self.bring_back_due(ask.now);
        let claimed = if self.queue.is_empty() { self.claim(ask) } else { Err(Blocked::Full) };
        let served = match claimed {
            Ok(server) => Ok(self.lease(server)),
            Err(Blocked::NoServerUp) => Err(Refusal::NoServerUp),
            Err(Blocked::Full) => self.wait(ask).await,
        };
        if matches!(served, Err(Refusal::NoServerUp)) && ask.tried.is_empty() {
            self.metrics.no_server_up.add(1);
        }
        let lease = served?;
        if !self.has_served.load(Relaxed) {
            self.has_served.store(true, Relaxed);
        }
        if ask.tried.is_empty() && ask.bound == Some(lease.id) {
            self.metrics.sticky.add(StickyOutcome::Hit, 1);
        }
        // Once per exchange: at its first try, or at the one after its own server failed it.
        let moved = |bound| bound != lease.id && (ask.tried.is_empty() || ask.tried == [bound]);
        if ask.bound.is_some_and(moved) {
            self.metrics.sticky.add(StickyOutcome::Failover, 1);
        }
        Ok(lease)
    }

    /// Requests that wait now.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Counts a request towards the retry budget, once per exchange.
    pub fn count_request(&self, now: Instant) {
        self.metrics.requests.add(1);
        self.budget.count_request(process_ms(now));
    }

    /// Whether a server that is not among `tried` is up.
    pub fn has_other(self: &Arc<Self>, tried: &[u64]) -> bool {
        let ask = Ask { tried, ..Ask::new(now(), 0) };
        let pool = self.latest();
        pool.set.load().has_usable(&pool.choice(&ask))
    }

    /// Takes a retry from the budget; false when retries are too many already.
    pub fn try_spend_retry(&self, now: Instant) -> bool {
        let is_allowed = self.budget.try_spend(process_ms(now));
        if !is_allowed {
            self.metrics.retries_denied.add(1);
        }
        is_allowed
    }

    /// Whether it serves those who wait in its queue, which it may have from the pool before.
    pub(super) fn is_in_force(&self) -> bool {
        self.is_in_force.load(Relaxed)
    }

    /// The servers at this moment, for a moment: cheaper than `servers`.
    pub(super) fn set(&self) -> Guard<Arc<ServerSet>> {
        self.set.load()
    }

    /// Claims a place without waiting; the place is the caller's, to make a lease of.
    pub(super) fn claim(&self, ask: &Ask<'_>) -> Result<Arc<Server>, Blocked> {
        let set = self.set();
        set.claim(ask.bound, &self.choice(ask), ask.random).cloned()
    }

    pub(super) fn choice<'a>(&self, ask: &Ask<'a>) -> Choice<'a> {
        Choice {
            servers: &[],
            standing: Standing::Trusted,
            span: ask.span,
            unknown: if self.spec.health_check.is_some() { Unknown::Down } else { Unknown::Up },
            tried: ask.tried,
            hash: ask.hash,
            now_ms: process_ms(ask.now),
            slow_start_ms: self.slow_start_ms,
            max_in_flight: self.max_in_flight.load(Relaxed),
            pool_in_flight: self.in_flight(),
        }
    }

    /// What is in flight on all servers, where the algorithm goes by it. Workers that several pools share have leases of
    /// other pools too, so theirs are added up.
    fn in_flight(&self) -> u32 {
        let Some(count) = &self.in_flight else { return 0 };
        if self.spec.app.is_none() && self.spec.workers_of.is_none() {
            return count.load(Relaxed);
        }
        self.set().servers().iter().map(|server| server.state.in_flight.load(Relaxed)).sum()
    }

    /// Makes a claimed place a lease.
    pub(super) fn lease(self: &Arc<Self>, server: Arc<Server>) -> Lease {
        if let Some(count) = &self.in_flight {
            count.fetch_add(1, Relaxed);
        }
        Lease::new(self.clone(), server)
    }

    /// Gives a lease's place back, to the first who waits for it.
    pub(super) fn release(self: &Arc<Self>, server: &Server) {
        if let Some(count) = &self.in_flight {
            count.fetch_sub(1, Relaxed);
        }
        server.state.in_flight.fetch_sub(1, AcqRel);
        let pool = self.latest();
        pool.serve_freed(server);
        if pool.spec.app.is_some() || pool.spec.workers_of.is_some() {
            let sharing = pool.sharing.load();
            let others = sharing.iter().filter_map(Weak::upgrade);
            others
                .filter(|other| !Arc::ptr_eq(other, &pool))
                .for_each(|other| other.latest().serve_freed(server));
        }
    }

    /// Has places that are given back here be offered to those who wait in these pools as well.
    pub fn share_places_with(&self, pools: Vec<Weak<Self>>) {
        self.sharing.store(Arc::new(pools));
    }

    /// Counts an outcome against the server; `Some` when that ejected it.
    pub(super) fn judge(
        self: &Arc<Self>,
        server: &Server,
        outcome: Outcome,
        now: Instant,
    ) -> Option<Ejection> {
        self.latest().judge_here(server, outcome, now)
    }

    fn judge_here(self: &Arc<Self>, server: &Server, outcome: Outcome, now: Instant) -> Option<Ejection> {
        if !self.outlier.count(&server.state, outcome) {
            return None;
        }
        self.bring_back_due(now);
        let ejection = {
            // One at a time, or two threads would each see room for the last one.
            let _changing = self.changing.lock();
            let set = self.set();
            let is_out = |other: &&Arc<Server>| other.state.ejected_until_ms.load(Relaxed) != 0;
            let ejected = set.servers().iter().filter(is_out).count();
            if !self.outlier.may_eject(ejected, set.servers().len()) {
                return None;
            }
            let ejection = self.outlier.eject(server, outcome, process_ms(now))?;
            self.next_return_ms.fetch_min(ejection.until_ms, Relaxed);
            ejection
        };
        server.metrics.ejections.add(1);
        // Sessions bound to it that wait for it move now.
        self.refresh(now);
        self.serve_waiters();
        Some(ejection)
    }

    /// Brings back every server whose ejection is over; one comparison while none is.
    pub(super) fn bring_back_due(self: &Arc<Self>, now: Instant) {
        let now_ms = process_ms(now);
        if now_ms < self.next_return_ms.load(Relaxed) {
            return;
        }
        {
            let _changing = self.changing.lock();
            self.set().servers().iter().for_each(|server| _ = passive::bring_back(server, now_ms));
            self.plan_next_return();
        }
        self.refresh(now);
        self.serve_waiters();
    }

    /// Time until the first ejection ends; `None` while there is none.
    pub(super) fn until_next_return(&self, now: Instant) -> Option<Duration> {
        let next_ms = self.next_return_ms.load(Relaxed);
        (next_ms != u64::MAX).then(|| Duration::from_millis(next_ms.saturating_sub(process_ms(now))))
    }

    /// Notes anew when the first ejection ends.
    pub(super) fn plan_return(&self) {
        let _changing = self.changing.lock();
        self.plan_next_return();
    }

    /// Called by whoever holds `changing`.
    fn plan_next_return(&self) {
        let set = self.set();
        let until = set.servers().iter().map(|server| server.state.ejected_until_ms.load(Relaxed));
        self.next_return_ms.store(until.filter(|until| *until != 0).min().unwrap_or(u64::MAX), Relaxed);
    }

    fn refresh(&self, now: Instant) {
        self.set().refresh(&self.choice(&Ask::new(now, 0)));
    }
}

/// The clock that tests can pause; the same as `Instant::now` outside them.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("name", &self.name).field("set", &self.set).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub mod tests;
