//! One server of a pool: where it is, what the user asked of it, and its live state.
//!
//! The state is atomics alone: the data plane counts, `health` and `control` switch. A server outlives
//! snapshots: a reload reuses it while pool name, identity and Spec are equal.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use schemars::{JsonSchema, json_schema};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::life::Life;
use crate::net::{Address, Endpoint};
use crate::observe::metrics::ServerReading;
use crate::units::form;

/// A server as written in `pools.NAME.servers`: an address alone, or with its weight.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(remote = "Spec", deny_unknown_fields)]
#[schemars(transform = form::also_text(json_schema!({ "type": "string", "description": "The address." })))]
pub struct Spec {
    /// Where it listens: `10.0.0.21:3000`, `app.internal:3000` (resolved while running, each address a server of its
    /// own) or `unix:/run/app.sock`.
    pub address: Address,
    /// Share of the work against its neighbours, 1 to 1000.
    #[serde(default = "default_weight")]
    pub weight: u32,
    /// Gets work only while no server without this mark is up.
    #[serde(default)]
    pub backup: bool,
}

form::text_form!(Spec, "an address such as `10.0.0.21:3000` in quotes, or a map", Spec::of_address);

impl Spec {
    fn of_address<E: serde::de::Error>(address: &str) -> Result<Self, E> {
        let address = address.parse().map_err(E::custom)?;
        Ok(Self { address, weight: default_weight(), backup: false })
    }
}

fn default_weight() -> u32 {
    1
}

/// What is known of a server's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// No check has answered yet; not picked until one has.
    Unknown,
    Up,
    Down,
}

/// One address that can be connected to, with the state all engine threads share.
#[derive(Debug)]
pub struct Server {
    /// Unique in this process for its whole life; never reused.
    pub id: u64,
    /// Name of its pool.
    pub pool: Arc<str>,
    /// The address as written, and for one address of a host name `app.internal:3000/10.0.0.7`. The consistent hash, the
    /// sticky value and the `server` label are made of it.
    pub identity: Arc<str>,
    pub endpoint: Endpoint,
    pub spec: Spec,
    pub state: State,
    pub metrics: crate::observe::metrics::ServerMetrics,
}

/// Everything about a server that changes while it serves.
#[derive(Debug, Default)]
pub struct State {
    /// 0 unknown, 1 up, 2 down: the active check's word.
    health: AtomicU8,
    /// Share of the work now; what the Spec says until somebody changes it.
    weight: AtomicU32,
    /// No new work, for whatever `reasons`; sessions bound to it stay.
    pub draining: AtomicBool,
    /// Its time is nearly over, as a rollout goes: a session that begins now had better begin elsewhere.
    pub outgoing: AtomicBool,
    /// One bit for each `Reason`.
    reasons: AtomicU8,
    /// Milliseconds on the process clock (`process_ms`) until which outlier detection keeps it out; 0 when it does
    /// not. Whoever brings it back writes the 0, so not 0 means out.
    pub ejected_until_ms: AtomicU64,
    /// How often it was ejected in a row; lengthens the next ejection.
    pub ejections: AtomicU32,
    /// Milliseconds on the process clock when its last ejection ended; the count in a row decays from here.
    pub returned_ms: AtomicU64,
    /// Failures in a row seen by exchanges.
    pub consecutive_failures: AtomicU32,
    /// Exchanges and tunnels in flight over all engine threads.
    pub in_flight: AtomicU32,
    /// Idle connections kept over all engine threads.
    pub idle: AtomicUsize,
    /// Peak EWMA of the time to the response head, in nanoseconds; 0 before the first.
    pub latency_ns: AtomicU64,
    /// Milliseconds on the process clock when `latency_ns` was written; it decays from here.
    pub latency_at_ms: AtomicU64,
    /// Milliseconds on the process clock when it came up while the others were working; the slow start counts from
    /// here. 0 for a server that was up from the start.
    pub up_since_ms: AtomicU64,
    /// It joined a pool that was already serving, so its first check brings it up cold.
    joined_late: AtomicBool,
    /// Its WebSockets are told to come back, which leads them elsewhere.
    leaving: AtomicBool,
    /// In milliseconds; 0 where the number of tunnels decides.
    goodbyes_ms: AtomicU64,
    /// How often that was said or taken back.
    calls: AtomicU64,
    called: Notify,
    /// It is a process of Lintel's own, whose end is known here before any connection shows it.
    is_worker: AtomicBool,
    dead: AtomicBool,
    died: Notify,
    /// How far its end has come, when a reload or an order took it away.
    pub life: Life,
}

/// Why a server gets no new work though it may be up. One is lifted without the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// Drained by order.
    Ordered = 1,
    /// About to be stopped.
    Leaving = 2,
    /// A worker that has not been heard of for long.
    Silent = 4,
}

/// When the tunnels of a server say goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goodbyes {
    /// Soon: the more there are, the longer it takes.
    Soon,
    /// Spread over this time.
    Over(Duration),
}

/// Milliseconds on the process clock, the one that all times in `State` are on; never 0.
pub fn process_ms(now: Instant) -> u64 {
    /// Constant once read: only differences between two readings mean anything.
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    thread_local! {
        // An exchange asks many times for the same moment.
        static LAST: Cell<(Option<Instant>, u64)> = const { Cell::new((None, 0)) };
    }
    let (moment, ms) = LAST.get();
    if moment == Some(now) {
        return ms;
    }
    let since = now.saturating_duration_since(*START);
    let ms =
        since.as_secs().saturating_mul(1000).saturating_add(since.subsec_millis().into()).saturating_add(1);
    LAST.set((Some(now), ms));
    ms
}

impl Server {
    pub fn new(
        pool: Arc<str>,
        identity: Arc<str>,
        endpoint: Endpoint,
        spec: Spec,
        metrics: crate::observe::metrics::ServerMetrics,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let state = State::default();
        state.weigh(spec.weight);
        Self { id, pool, identity, endpoint, spec, state, metrics }
    }
}

impl State {
    pub fn health(&self) -> Health {
        match self.health.load(Ordering::Relaxed) {
            1 => Health::Up,
            2 => Health::Down,
            _ => Health::Unknown,
        }
    }

    /// What is shown of it in metrics.
    pub fn reading(&self, now_ms: u64) -> ServerReading {
        ServerReading {
            up: self.health() != Health::Down,
            draining: self.draining.load(Ordering::Relaxed),
            ejected: self.ejected_until_ms.load(Ordering::Relaxed) > now_ms,
            in_flight: self.in_flight.load(Ordering::Relaxed).into(),
            idle_connections: self.idle.load(Ordering::Relaxed) as u64,
        }
    }

    /// Records the active check's word; true when it changed. The first word after a start brings a server up at its
    /// full weight; one that was down, or joined late, starts slowly.
    pub fn record_health(&self, health: Health, now_ms: u64) -> bool {
        let code = match health {
            Health::Unknown => 0,
            Health::Up => 1,
            Health::Down => 2,
        };
        let before = self.health.swap(code, Ordering::Relaxed);
        let is_cold = before == 2 || self.joined_late.load(Ordering::Relaxed);
        if before != code && health == Health::Up && is_cold {
            self.up_since_ms.store(now_ms.max(1), Ordering::Relaxed);
        }
        before != code
    }

    /// Share of the work against its neighbours, as the next server set will have it.
    pub fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    pub fn weigh(&self, weight: u32) {
        self.weight.store(weight, Ordering::Relaxed);
    }

    /// It is about to be stopped: no new work, and its WebSockets say goodbye.
    pub fn leave(&self) {
        self.withhold(Reason::Leaving);
        self.call(Some(Goodbyes::Soon));
    }

    /// Drained by order: no new work, and its WebSockets say goodbye, spread over this time.
    pub fn leave_over(&self, goodbyes: Duration) {
        self.withhold(Reason::Ordered);
        self.call(Some(Goodbyes::Over(goodbyes)));
    }

    /// Takes `leave_over` back, for WebSockets that have not said goodbye yet too.
    pub fn come_back(&self) {
        self.lift(Reason::Ordered);
        if !self.is_withheld(Reason::Leaving) {
            self.call(None);
        }
    }

    /// Gives it no new work.
    pub fn withhold(&self, reason: Reason) {
        self.reasons.fetch_or(reason as u8, Ordering::SeqCst);
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Gives it work again, unless there is another reason not to.
    pub fn lift(&self, reason: Reason) {
        if self.reasons.fetch_and(!(reason as u8), Ordering::SeqCst) == reason as u8 {
            self.draining.store(false, Ordering::SeqCst);
            // Another reason may have come in between.
            if self.reasons.load(Ordering::SeqCst) != 0 {
                self.draining.store(true, Ordering::SeqCst);
            }
        }
    }

    pub fn is_withheld(&self, reason: Reason) -> bool {
        self.reasons.load(Ordering::Relaxed) & reason as u8 != 0
    }

    /// When its tunnels are to say goodbye; `None` while they may stay.
    pub fn goodbyes(&self) -> Option<Goodbyes> {
        self.leaving.load(Ordering::Relaxed).then(|| match self.goodbyes_ms.load(Ordering::Relaxed) {
            0 => Goodbyes::Soon,
            millis => Goodbyes::Over(Duration::from_millis(millis)),
        })
    }

    /// Waits until `goodbyes` may have changed since the call of this number, 0 for none; gives the number of the last.
    pub async fn called(&self, heard: u64) -> u64 {
        loop {
            let notified = self.called.notified();
            let calls = self.calls.load(Ordering::Acquire);
            if calls != heard {
                return calls;
            }
            notified.await;
        }
    }

    /// Whether there was another call than that of this number.
    pub fn has_called_since(&self, heard: u64) -> bool {
        self.calls.load(Ordering::Acquire) != heard
    }

    /// The number of the last call that tunnels of a lease taken now need not follow: who is bound to a drained server is
    /// there to stay, but not on one that is stopped.
    pub fn heard(&self) -> u64 {
        let heard = self.calls.load(Ordering::Acquire);
        if self.is_withheld(Reason::Leaving) { 0 } else { heard }
    }

    fn call(&self, goodbyes: Option<Goodbyes>) {
        let over = match goodbyes {
            Some(Goodbyes::Over(time)) => u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            _ => 0,
        };
        self.goodbyes_ms.store(over, Ordering::Relaxed);
        self.leaving.store(goodbyes.is_some(), Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Release);
        self.called.notify_waiters();
    }

    /// Marks it as a process whose end will be told.
    pub fn watch_life(&self) {
        self.is_worker.store(true, Ordering::Relaxed);
    }

    pub fn is_worker(&self) -> bool {
        self.is_worker.load(Ordering::Relaxed)
    }

    /// Its process has ended. Connections that wait in its socket's queue would wait for the next one.
    pub fn die(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.died.notify_waiters();
    }

    /// Waits until its process has ended.
    pub async fn dead(&self) {
        let notified = self.died.notified();
        if !self.dead.load(Ordering::Relaxed) {
            notified.await;
        }
    }

    /// Marks a server that joins a pool while its neighbours are already working: it starts slowly.
    pub fn join_late(&self, now_ms: u64) {
        self.joined_late.store(true, Ordering::Relaxed);
        self.up_since_ms.store(now_ms.max(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_check_of_a_start_brings_a_server_up_at_full_weight_and_later_ones_slowly() {
        let state = State::default();
        assert!(state.record_health(Health::Up, 50));
        assert!(!state.record_health(Health::Up, 51));
        assert_eq!(state.up_since_ms.load(Ordering::Relaxed), 0);
        assert!(state.record_health(Health::Down, 60) && state.record_health(Health::Up, 70));
        assert_eq!(state.up_since_ms.load(Ordering::Relaxed), 70);
    }

    #[test]
    fn a_server_that_joined_late_starts_slowly_from_its_first_check() {
        let state = State::default();
        state.join_late(40);
        state.record_health(Health::Up, 90);
        assert_eq!(state.up_since_ms.load(Ordering::Relaxed), 90);
    }

    #[test]
    fn a_reason_to_give_no_work_is_lifted_without_the_others() {
        let state = State::default();
        state.leave_over(Duration::from_secs(5));
        state.withhold(Reason::Silent);
        state.come_back();
        assert!(state.draining.load(Ordering::Relaxed), "it is silent still");
        state.leave();
        state.lift(Reason::Silent);
        assert!(state.draining.load(Ordering::Relaxed), "it is to be stopped");
        state.lift(Reason::Silent);
        state.lift(Reason::Leaving);
        assert!(!state.draining.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn tunnels_hear_of_every_change_and_the_last_word_counts() {
        let state = State::default();
        assert_eq!(state.goodbyes(), None);
        state.leave_over(Duration::from_secs(60));
        let heard = state.called(0).await;
        assert_eq!(state.goodbyes(), Some(Goodbyes::Over(Duration::from_secs(60))));
        state.leave_over(Duration::from_secs(5));
        let heard = state.called(heard).await;
        assert_eq!(state.goodbyes(), Some(Goodbyes::Over(Duration::from_secs(5))));
        state.come_back();
        let heard = state.called(heard).await;
        assert_eq!(state.goodbyes(), None);
        state.leave_over(Duration::from_secs(60));
        state.leave();
        state.called(heard).await;
        assert_eq!(state.goodbyes(), Some(Goodbyes::Soon), "the end of a server waits for no drain");
        state.come_back();
        assert_eq!(state.goodbyes(), Some(Goodbyes::Soon), "and an order does not undo it");
    }
}
