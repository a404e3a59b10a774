//! How many connections there may be, over all listeners and threads, and who makes room for a newcomer.
//!
//! ```text
//!            admit                busy (compare-exchange)
//!   free ------------> silent <------------------------> busy
//!     ^                  |   silent (plain store)          |
//!     |                  | evicted (compare-exchange)      |
//!     |                  v                                 |
//!     +-- drop ------ leaving                              |
//!     +-- drop --------------------------------------------+
//! ```
//! A connection is silent while it has no complete request head: new, or kept alive. Only a silent one is told to leave,
//! the one silent longest first; it learns it from `Pass::poll_evicted`, or from `busy` when its request came at that very
//! moment. Its place belongs to the newcomer at once, so the count never exceeds the limit; a few that were told to leave
//! may still be closing. Serving takes one atomic operation per change of state; only coming and going take the lock.

use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

const FREE: u64 = 0;
const BUSY: u64 = 1;
const LEAVING: u64 = 2;
/// The low bits of a silent state; the others are the moment the silence began, so that states compare by age.
const SILENT: u64 = 3;

/// Slots made at once, when the first of them is needed.
const CHUNK: usize = 1024;
/// Victims looked up in one walk over all slots, at least.
const CANDIDATES: usize = 32;
/// After a walk found every silent connection and all are gone, how long until the next walk, in ms: at 10,000 busy
/// connections a walk takes some 50 µs, and a flood of newcomers must not buy one each.
const REST_MS: u64 = 10;

/// The limit on connections over all listeners and threads.
#[derive(Debug)]
pub struct Gate {
    limit: AtomicU32,
    /// There are slots for so many.
    most: u32,
    /// How many that were told to leave may still be there; beyond it newcomers are refused.
    most_leaving: u32,
    chunks: Box<[OnceLock<Box<[Slot]>>]>,
    ledger: Mutex<Ledger>,
}

/// One listener's way through the gate, with its own limit; shared by the threads that accept from it.
#[derive(Debug)]
pub struct Entrance {
    gate: Arc<Gate>,
    id: u32,
}

/// A connection's place; dropping it frees the place.
#[derive(Debug)]
pub struct Pass {
    gate: Arc<Gate>,
    slot: u32,
    /// The state as this connection last wrote it.
    written: u64,
    /// The task that is woken on eviction.
    registered: Option<Waker>,
}

/// Why a newcomer has no place; nobody was silent who could have made room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the listener has as many connections as it may, and all are busy")]
    Listener,
    #[error("there are as many connections as there may be, and all are busy")]
    Everywhere,
}

/// This connection has lost its place to another while it was silent, and must close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection had to make room for another")]
pub struct Evicted;

/// One connection's state. A cache line of its own: threads write theirs without disturbing others.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Slot {
    state: AtomicU64,
    waker: Mutex<Option<Waker>>,
}

/// What changes when connections come and go.
#[derive(Debug, Default)]
struct Ledger {
    held: u32,
    leaving: u32,
    /// Slots that were ever used; those beyond are free.
    used: u32,
    /// Free slots below `used`.
    free: Vec<u32>,
    /// The entrance that each used slot was last taken through.
    owners: Vec<u32>,
    oldest: Oldest,
    entrances: HashMap<u32, Tally>,
    next_entrance: u32,
}

/// One entrance's part of the ledger.
#[derive(Debug)]
struct Tally {
    limit: u32,
    held: u32,
    closed: bool,
    oldest: Oldest,
}

/// The longest silent connections, as the last walk over the slots found them.
///
/// What is in `queue` and unchanged is older than everything that is not: silences that began later are younger.
#[derive(Debug, Default)]
struct Oldest {
    /// State as seen and slot, the oldest first.
    queue: VecDeque<(u64, u32)>,
    /// Whether the walk found no more than are in `queue`.
    complete: bool,
    walked_at: Option<u64>,
    /// Newcomers since then; they answer until the next walk is due.
    recent: VecDeque<(u64, u32)>,
}

impl Gate {
    /// At most `limit` connections at once, and `most` whatever the limit will be.
    pub fn new(limit: u32, most: u32) -> Arc<Self> {
        let most = most.max(limit);
        let most_leaving = most / 8 + 32;
        let slots = most as usize + most_leaving as usize;
        let chunks = (0..slots.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect();
        Arc::new(Self { limit: AtomicU32::new(limit), most, most_leaving, chunks, ledger: Mutex::default() })
    }

    /// Another limit from now on; connections beyond it stay until newcomers need their places.
    pub fn limit_to(&self, limit: u32) {
        self.limit.store(limit.min(self.most), Relaxed);
    }

    /// A listener's entrance, with a limit of its own where it has one.
    pub fn entrance(self: &Arc<Self>, limit: Option<u32>) -> Entrance {
        let mut ledger = self.ledger.lock();
        let id = ledger.next_entrance;
        ledger.next_entrance += 1;
        let limit = limit.unwrap_or(u32::MAX);
        ledger.entrances.insert(id, Tally { limit, held: 0, closed: false, oldest: Oldest::default() });
        drop(ledger);
        Entrance { gate: self.clone(), id }
    }

    pub fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    /// Connections that have a place.
    pub fn held(&self) -> u32 {
        self.ledger.lock().held
    }

    fn slot(&self, index: u32) -> &Slot {
        let index = index as usize;
        let chunk = self.chunks[index / CHUNK].get_or_init(|| (0..CHUNK).map(|_| Slot::default()).collect());
        &chunk[index % CHUNK]
    }

    /// Takes the place of the connection silent longest, of all or of those of one entrance.
    fn evict(&self, ledger: &mut Ledger, among: Option<u32>, now_ms: u64) -> Option<u32> {
        if ledger.leaving >= self.most_leaving {
            return None;
        }
        let mut oldest = ledger.take_oldest(among);
        let victim = self.next_victim(ledger, &mut oldest, among, now_ms);
        ledger.put_oldest(among, oldest);
        let slot = victim?;
        ledger.leaving += 1;
        ledger.release(ledger.owners[slot as usize]);
        Some(slot)
    }

    fn next_victim(
        &self,
        ledger: &Ledger,
        oldest: &mut Oldest,
        among: Option<u32>,
        now_ms: u64,
    ) -> Option<u32> {
        let leaves = |(state, slot): (u64, u32)| {
            let belongs = among.is_none_or(|id| ledger.owners[slot as usize] == id);
            // Fails when the connection became busy, went, or was busy in between: then it is not the oldest any more.
            belongs && self.slot(slot).state.compare_exchange(state, LEAVING, Relaxed, Relaxed).is_ok()
        };
        // More than one walk only if all candidates of a walk got busy meanwhile.
        for _ in 0..3 {
            while let Some(candidate) = oldest.queue.pop_front() {
                if leaves(candidate) {
                    return Some(candidate.1);
                }
            }
            if oldest.is_resting(now_ms) {
                while let Some(candidate) = oldest.recent.pop_front() {
                    if leaves(candidate) {
                        return Some(candidate.1);
                    }
                }
                return None;
            }
            self.walk(ledger, oldest, among, now_ms);
        }
        None
    }

    /// Finds the longest silent among all slots in use.
    fn walk(&self, ledger: &Ledger, oldest: &mut Oldest, among: Option<u32>, now_ms: u64) {
        // So that the share of a walk in one eviction does not grow with the number of connections.
        let wanted = CANDIDATES.max(ledger.used as usize / 256);
        let mut found: BinaryHeap<(u64, u32)> = BinaryHeap::with_capacity(wanted);
        oldest.complete = true;
        for (slot, owner) in (0..ledger.used).zip(&ledger.owners) {
            let state = self.slot(slot).state.load(Relaxed);
            if state & SILENT != SILENT || among.is_some_and(|id| id != *owner) {
                continue;
            }
            if found.len() == wanted {
                oldest.complete = false;
                if found.peek().is_some_and(|youngest| *youngest <= (state, slot)) {
                    continue;
                }
                found.pop();
            }
            found.push((state, slot));
        }
        oldest.queue = found.into_sorted_vec().into();
        oldest.walked_at = Some(now_ms);
        oldest.recent.clear();
    }
}

impl Entrance {
    /// A place for a new connection, which counts as silent from `now_ms` on (milliseconds of a clock that never goes
    /// back). At a limit the connection silent longest is told to leave; if there is none the newcomer is refused.
    pub fn admit(&self, now_ms: u64) -> Result<Pass, Refused> {
        let gate = &*self.gate;
        let mut ledger = gate.ledger.lock();
        let tally = ledger.entrances.get(&self.id);
        let full_here = tally.is_some_and(|tally| tally.held >= tally.limit);
        let victim = if full_here {
            Some(gate.evict(&mut ledger, Some(self.id), now_ms).ok_or(Refused::Listener)?)
        } else if ledger.held >= gate.limit() {
            Some(gate.evict(&mut ledger, None, now_ms).ok_or(Refused::Everywhere)?)
        } else {
            None
        };
        let written = silent_since(now_ms);
        let slot = ledger.seat(self.id, written, now_ms);
        gate.slot(slot).state.store(written, Relaxed);
        let woken = victim.and_then(|slot| gate.slot(slot).waker.lock().take());
        drop(ledger);
        if let Some(waker) = woken {
            waker.wake();
        }
        Ok(Pass { gate: self.gate.clone(), slot, written, registered: None })
    }

    /// Another limit of this listener from now on.
    pub fn limit_to(&self, limit: Option<u32>) {
        if let Some(tally) = self.gate.ledger.lock().entrances.get_mut(&self.id) {
            tally.limit = limit.unwrap_or(u32::MAX);
        }
    }

    /// Connections that have a place through this entrance.
    pub fn held(&self) -> u32 {
        self.gate.ledger.lock().entrances.get(&self.id).map_or(0, |tally| tally.held)
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        let mut ledger = self.gate.ledger.lock();
        if let Some(tally) = ledger.entrances.get_mut(&self.id) {
            tally.closed = true;
        }
        ledger.forget_closed(self.id);
    }
}

impl Pass {
    /// From now on this connection may be told to leave: it waits for a request. One store.
    pub fn silent(&mut self, now_ms: u64) {
        // A silence that goes on is not begun anew, which would also undo an eviction.
        if self.written == BUSY {
            self.written = silent_since(now_ms);
            self.state().store(self.written, Relaxed);
        }
    }

    /// From now on this connection stays: it has a request to serve. One compare-exchange; the error is that it was told
    /// to leave before.
    pub fn busy(&mut self) -> Result<(), Evicted> {
        if self.written == BUSY {
            return Ok(());
        }
        self.state().compare_exchange(self.written, BUSY, Relaxed, Relaxed).map_err(|_| Evicted)?;
        self.written = BUSY;
        Ok(())
    }

    /// Whether it has a request to serve.
    pub fn is_busy(&self) -> bool {
        self.written == BUSY
    }

    /// Ready once this connection was told to leave. Cheap to poll again and again from one task.
    pub fn poll_evicted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_evicted() {
            return Poll::Ready(());
        }
        if self.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        self.registered = Some(cx.waker().clone());
        *self.gate.slot(self.slot).waker.lock() = Some(cx.waker().clone());
        // Looked at again: the eviction may have come before the waker was there. The lock orders the two.
        if self.is_evicted() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Waits until this connection is told to leave.
    pub async fn evicted(&mut self) {
        poll_fn(|cx| self.poll_evicted(cx)).await;
    }

    fn is_evicted(&self) -> bool {
        self.state().load(Relaxed) == LEAVING
    }

    fn state(&self) -> &AtomicU64 {
        &self.gate.slot(self.slot).state
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let slot = self.gate.slot(self.slot);
        drop(slot.waker.lock().take());
        let mut ledger = self.gate.ledger.lock();
        // Evictions happen under the same lock, so this state is final.
        if slot.state.swap(FREE, Relaxed) == LEAVING {
            ledger.leaving -= 1;
        } else {
            let owner = ledger.owners[self.slot as usize];
            ledger.release(owner);
        }
        ledger.free.push(self.slot);
    }
}

impl Ledger {
    /// Gives a newcomer a free slot and counts it.
    fn seat(&mut self, entrance: u32, state: u64, now_ms: u64) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.used += 1;
            self.owners.push(entrance);
            self.used - 1
        });
        self.owners[slot as usize] = entrance;
        self.held += 1;
        self.oldest.note(state, slot, now_ms);
        if let Some(tally) = self.entrances.get_mut(&entrance) {
            tally.held += 1;
            tally.oldest.note(state, slot, now_ms);
        }
        slot
    }

    /// Takes back a place that was counted for `entrance`.
    fn release(&mut self, entrance: u32) {
        self.held -= 1;
        if let Some(tally) = self.entrances.get_mut(&entrance) {
            tally.held -= 1;
        }
        self.forget_closed(entrance);
    }

    fn forget_closed(&mut self, entrance: u32) {
        if self.entrances.get(&entrance).is_some_and(|tally| tally.closed && tally.held == 0) {
            self.entrances.remove(&entrance);
        }
    }

    fn take_oldest(&mut self, among: Option<u32>) -> Oldest {
        match among {
            None => std::mem::take(&mut self.oldest),
            Some(id) => {
                self.entrances.get_mut(&id).map(|tally| std::mem::take(&mut tally.oldest)).unwrap_or_default()
            }
        }
    }

    fn put_oldest(&mut self, among: Option<u32>, oldest: Oldest) {
        match among {
            None => self.oldest = oldest,
            Some(id) => {
                if let Some(tally) = self.entrances.get_mut(&id) {
                    tally.oldest = oldest;
                }
            }
        }
    }
}

impl Oldest {
    fn is_resting(&self, now_ms: u64) -> bool {
        self.complete && self.walked_at.is_some_and(|at| now_ms < at + REST_MS)
    }

    fn note(&mut self, state: u64, slot: u32, now_ms: u64) {
        if self.is_resting(now_ms) {
            self.recent.push_back((state, slot));
        }
    }
}

fn silent_since(now_ms: u64) -> u64 {
    (now_ms << 2) | SILENT
}

#[cfg(test)]
mod tests;
