//! Where lines wait for the writer: one batch per thread that writes, so that engines never meet at a lock.
//!
//! ```text
//! asleep --a first line--> gathering (50 ms, or until a batch is large or an order is given) --> draining --> asleep
//! ```
//! A thread wakes the writer only if nobody has since it last drained. The flag is cleared before the batches are
//! taken: a line added after that finds it cleared (the batch's lock orders the two) and wakes the writer again.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::stamp::Stamp;
use crate::observe::metrics::Counter;

/// Bytes of lines that may wait, over all threads; the writer may hold as much again. A line is added whole while there
/// is any room, so each thread may be one line over.
pub const PENDING_LIMIT: usize = 4 * 1024 * 1024;
/// A thread's share of it is not smaller than this.
const LEAST_SHARE: usize = 64 * 1024;
/// How long lines gather before they are written.
const GATHER: Duration = Duration::from_millis(50);

/// What became of the lines.
#[derive(Debug, Default)]
pub struct Counts {
    pub written: Counter,
    pub dropped: Counter,
}

/// Whether the writer goes on after a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    Another,
    Last,
}

/// What the writer is told besides lines.
#[derive(Default)]
pub struct Orders {
    pub reopen: bool,
    /// End after a last round; give up what is not written by then.
    pub close_by: Option<Instant>,
    /// Rounds asked for.
    flushes_asked: u64,
    flushes_done: u64,
    finished: bool,
}

/// All pending lines of one log.
pub struct Spool {
    pub counts: Arc<Counts>,
    slots: Mutex<Vec<Arc<Slot>>>,
    limit: usize,
    /// Bytes that one thread may have pending; 0 once closed.
    share: AtomicUsize,
    /// The writer was woken and has not drained since.
    woken: AtomicBool,
    /// The writer shall not gather.
    urgent: AtomicBool,
    orders: Mutex<Orders>,
    order_done: Condvar,
    writer: OnceLock<Thread>,
}

/// The lines of one thread.
#[derive(Default)]
struct Slot {
    batch: Mutex<Batch>,
}

#[derive(Default)]
struct Batch {
    lines: Vec<u8>,
    stamp: Stamp,
}

thread_local! {
    /// This thread's slot in each log it writes to: one, or two around a change of the log.
    static SLOTS: RefCell<Vec<(Weak<Spool>, Arc<Slot>)>> = const { RefCell::new(Vec::new()) };
}

impl Spool {
    pub fn new(counts: Arc<Counts>, limit: usize) -> Self {
        Self {
            counts,
            slots: Mutex::default(),
            limit,
            share: AtomicUsize::new(limit),
            woken: AtomicBool::new(false),
            urgent: AtomicBool::new(false),
            orders: Mutex::default(),
            order_done: Condvar::new(),
            writer: OnceLock::new(),
        }
    }

    /// Adds the line that `format` appends, with its line end.
    pub fn append(self: &Arc<Self>, format: impl FnOnce(&mut Vec<u8>, &mut Stamp)) {
        let added = SLOTS.try_with(|slots| {
            let mut slots = slots.try_borrow_mut().ok()?;
            let place = slots.iter().position(|(spool, _)| std::ptr::eq(spool.as_ptr(), Arc::as_ptr(self)));
            match place.and_then(|place| slots.get(place)) {
                Some((_, slot)) => self.append_to(slot, format),
                None => {
                    // Logs that are gone drop here too, so that the list stays short.
                    slots.retain(|(spool, _)| spool.strong_count() > 0);
                    let slot = self.join();
                    let added = self.append_to(&slot, format);
                    slots.push((Arc::downgrade(self), slot));
                    added
                }
            }
        });
        // None: no room; or the thread is ending and its slots are gone.
        if !matches!(added, Ok(Some(()))) {
            self.counts.dropped.add(1);
        }
    }

    fn append_to(&self, slot: &Slot, format: impl FnOnce(&mut Vec<u8>, &mut Stamp)) -> Option<()> {
        let share = self.share.load(Ordering::Relaxed);
        let mut batch = slot.batch.lock();
        let before = batch.lines.len();
        if before >= share {
            return None;
        }
        let Batch { lines, stamp } = &mut *batch;
        format(lines, stamp);
        let after = lines.len();
        drop(batch);
        if before < share / 2 && after >= share / 2 {
            self.hurry();
        } else if !self.woken.load(Ordering::Relaxed) && !self.woken.swap(true, Ordering::AcqRel) {
            self.unpark();
        }
        Some(())
    }

    /// Gives a thread its slot, and all threads their smaller share.
    fn join(&self) -> Arc<Slot> {
        let slot = Arc::new(Slot::default());
        let mut slots = self.slots.lock();
        slots.push(Arc::clone(&slot));
        // A closed log stays closed.
        let share = (self.limit / slots.len()).max(LEAST_SHARE.min(self.limit));
        let _ =
            self.share.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| (old > 0).then_some(share));
        slot
    }

    fn hurry(&self) {
        self.urgent.store(true, Ordering::Release);
        self.woken.store(true, Ordering::Release);
        self.unpark();
    }

    fn unpark(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// Tells the writer something besides lines.
    pub fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders.lock());
        self.hurry();
    }

    /// Waits for a whole round of the writer; false at the deadline.
    pub fn flush(&self, deadline: Instant) -> bool {
        let mut ticket = 0;
        self.order(|orders| {
            orders.flushes_asked += 1;
            ticket = orders.flushes_asked;
        });
        let mut orders = self.orders.lock();
        while orders.flushes_done < ticket && !orders.finished {
            if self.order_done.wait_until(&mut orders, deadline).timed_out() {
                return orders.flushes_done >= ticket;
            }
        }
        true
    }

    /// Lets the writer end after a last round, without waiting for it.
    pub fn abandon(&self, deadline: Instant) {
        self.share.store(0, Ordering::Relaxed);
        self.order(|orders| orders.close_by = Some(orders.close_by.map_or(deadline, |by| by.min(deadline))));
    }

    /// Takes no more lines, waits for the writer's end; whether no line was dropped by it.
    pub fn close(&self, deadline: Instant) -> bool {
        let dropped = self.counts.dropped.count();
        self.abandon(deadline);
        let mut orders = self.orders.lock();
        while !orders.finished {
            if self.order_done.wait_until(&mut orders, deadline).timed_out() {
                break;
            }
        }
        orders.finished && self.counts.dropped.count() == dropped
    }

    // What follows is the writer thread's.

    /// The thread to wake; called once, before the first line.
    pub fn employ(&self, writer: Thread) {
        let _ = self.writer.set(writer);
    }

    /// Sleeps until there is something to write, and then while it gathers.
    pub fn wait(&self) {
        while !self.woken.load(Ordering::Acquire) {
            thread::park();
        }
        let end = Instant::now() + GATHER;
        while !self.urgent.load(Ordering::Acquire) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::park_timeout(left);
        }
        self.woken.store(false, Ordering::SeqCst);
        self.urgent.store(false, Ordering::SeqCst);
    }

    /// What has been ordered so far; call before `drain`, so that a flush covers the lines before it.
    pub fn take_orders(&self) -> (Orders, u64) {
        let mut orders = self.orders.lock();
        let taken = Orders {
            reopen: std::mem::take(&mut orders.reopen),
            close_by: orders.close_by,
            ..Orders::default()
        };
        (taken, orders.flushes_asked)
    }

    /// The deadline of `close`, if it was called.
    pub fn close_by(&self) -> Option<Instant> {
        self.orders.lock().close_by
    }

    /// Hands every non-empty batch to `write`; `empty` is exchanged for it and keeps its memory for the next.
    pub fn drain(&self, empty: &mut Vec<u8>, mut write: impl FnMut(&[u8])) {
        let slots: Vec<_> = {
            let mut slots = self.slots.lock();
            // A slot whose thread has ended and which has nothing left.
            slots.retain(|slot| Arc::strong_count(slot) > 1 || !slot.batch.lock().lines.is_empty());
            slots.clone()
        };
        for slot in slots {
            std::mem::swap(&mut slot.batch.lock().lines, empty);
            if !empty.is_empty() {
                write(empty);
            }
            // A burst does not hold its memory for ever.
            if empty.capacity() > LEAST_SHARE && empty.len() < empty.capacity() / 4 {
                empty.shrink_to(empty.capacity() / 2);
            }
            empty.clear();
        }
    }

    /// A round is over: everyone who asked for one up to `flushes` goes on. The last one ends the log.
    pub fn round_done(&self, flushes: u64, round: Round) {
        let mut orders = self.orders.lock();
        orders.flushes_done = flushes;
        orders.finished = round == Round::Last;
        drop(orders);
        self.order_done.notify_all();
    }
}
