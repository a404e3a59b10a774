//! Requests that wait for a place on a server: one line per pool over all threads, first come, first served.
//!
//! ```text
//! asks --full--> in line --a place is freed, or a server comes up--> handed a lease
//!                   |----all servers go down--> refused     |----time is up--> refused
//!                   `----its future is dropped--> out of line at once
//! ```
//! A place is claimed for a waiter under the lock, by whoever freed it, so no newcomer can take it in between. What
//! keeps a wake-up from being lost: a newcomer first announces itself and then looks for a place; who frees one first
//! frees it and then looks whether anybody has announced itself; a fence stands between the two steps of both.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::fence;

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::choice::claim;
use super::lease::Lease;
use super::pool::{Ask, Pool, Refusal, now};
use super::server_set::{Blocked, ServerSet, is_usable_by_bound};
use crate::observe::metrics::PoolMetrics;
use crate::server::Server;

/// Aligned to cache lines of its own: its neighbours in the pool are read by every request.
#[derive(Debug)]
#[repr(align(64))]
pub struct Queue {
    metrics: PoolMetrics,
    /// Most that may wait.
    size: AtomicUsize,
    /// Those in line and those about to be, and `PAUSED`; changed only under the lock, read without.
    waiting: AtomicUsize,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    waiters: VecDeque<Waiter>,
    /// How many waiters are particular about the server.
    particular: usize,
    /// Numbers rise along the line, so a waiter is found by binary search.
    next_number: u64,
    /// Nobody is served before then, unless the pause is ended.
    paused_until: Option<std::time::Instant>,
    /// Of the latest pause.
    pause: u64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    hash: Option<u64>,
    bound: Option<u64>,
    tried: SmallVec<[u64; 2]>,
    random: u64,
    answer: oneshot::Sender<Result<Lease, Refusal>>,
}

/// A waiter's own end of its place in line.
#[derive(Debug)]
struct Place<'a> {
    queue: &'a Queue,
    number: u64,
    started: Instant,
    answer: oneshot::Receiver<Result<Lease, Refusal>>,
}

enum LinedUp<'a> {
    Served(Lease),
    Waiting(Place<'a>),
}

/// Set beside the number of those who wait while nobody is to be served: a newcomer then waits too.
const PAUSED: usize = 1 << (usize::BITS - 1);

impl Queue {
    pub fn new(size: u32, metrics: PoolMetrics) -> Self {
        Self {
            size: AtomicUsize::new(size as usize),
            metrics,
            waiting: AtomicUsize::new(0),
            line: Mutex::default(),
        }
    }

    /// Has room for so many from now on; those beyond who wait already stay.
    pub fn resize(&self, size: u32) {
        self.size.store(size as usize, Relaxed);
    }

    /// Whether a newcomer overtakes nobody.
    pub fn is_empty(&self) -> bool {
        self.waiting.load(Relaxed) == 0
    }

    pub fn len(&self) -> usize {
        self.waiting.load(Relaxed) & !PAUSED
    }

    /// Has everybody wait until then; gives the number of this pause.
    pub fn pause(&self, until: std::time::Instant) -> u64 {
        let mut line = self.line.lock();
        line.paused_until = Some(until);
        line.pause += 1;
        self.publish(&line);
        line.pause
    }

    /// Ends a pause, if there is one; whoever calls it serves those who wait.
    pub fn resume(&self) -> bool {
        let mut line = self.line.lock();
        let was_paused = line.paused_until.take().is_some();
        self.publish(&line);
        was_paused
    }

    /// Ends the pause of this number, if it goes on.
    pub fn resume_if(&self, number: u64) -> bool {
        let is_latest = self.line.lock().pause == number;
        is_latest && self.resume()
    }

    pub fn paused_until(&self) -> Option<std::time::Instant> {
        if self.waiting.load(Relaxed) & PAUSED == 0 { None } else { self.line.lock().paused_until }
    }

    /// Says how many wait, as far as those who free places need to know.
    fn publish(&self, line: &Line) {
        let paused = if line.paused_until.is_some() { PAUSED } else { 0 };
        self.waiting.store(line.waiters.len() | paused, Relaxed);
        self.metrics.queue_length.record(i64::try_from(line.waiters.len()).unwrap_or(i64::MAX));
    }
}

impl Pool {
    /// Waits behind all who wait already.
    pub(super) async fn wait(self: &Arc<Self>, ask: &Ask<'_>) -> Result<Lease, Refusal> {
        let started = Instant::now();
        let patience = ask.queue_left.unwrap_or(self.spec.queue.timeout.std());
        // The time of a pause does not count.
        let paused = || self.queue.paused_until().map(|end| Instant::from_std(end) + patience);
        let mut deadline = paused().unwrap_or(started + patience);
        let mut place = match self.line_up(ask, started)? {
            LinedUp::Served(lease) => return Ok(lease),
            LinedUp::Waiting(place) => place,
        };
        loop {
            if Instant::now() >= deadline {
                match paused() {
                    Some(later) if later > deadline => deadline = later,
                    _ => break,
                }
            }
            // Nobody else wakes the line when an ejection ends.
            let until_return = self.until_next_return(now());
            let wake = until_return.map_or(deadline, |time| deadline.min(Instant::now() + time));
            tokio::select! {
                biased;
                answer = &mut place.answer => return served(answer.ok(), started),
                () = tokio::time::sleep_until(wake) => self.bring_back_due(now()),
            }
        }
        // Out of line nobody can serve it any more, but somebody may have, just before.
        place.leave();
        match place.answer.try_recv() {
            Ok(answer) => served(Some(answer), started),
            Err(_) => {
                self.metrics.queue_timeouts.add(1);
                Err(Refusal::QueueTimeout)
            }
        }
    }

    /// Serves everybody in line who can be: called when servers came up, went down or were replaced.
    pub(super) fn serve_waiters(self: &Arc<Self>) {
        // As in `serve_freed`: what changed before this call is seen by who announces itself after it.
        fence(SeqCst);
        if !self.queue.is_empty() && self.is_in_force() {
            let mut line = self.queue.line.lock();
            self.serve_line(&mut line);
            self.queue.publish(&line);
        }
    }

    /// Serves those in line who can have a place on this server, the first ones first; one load while nobody waits.
    pub(super) fn serve_freed(self: &Arc<Self>, server: &Server) {
        fence(SeqCst);
        if self.queue.is_empty() {
            return;
        }
        let mut line = self.queue.line.lock();
        if line.paused_until.is_some() {
            return;
        }
        let set = self.set();
        let choice = self.choice(&Ask::new(now(), 0));
        if !set.is_first_choice(server, choice.unknown) {
            // A backup, or one that only bound sessions may use: who may have it needs the whole comparison.
            self.serve_line(&mut line);
            return self.queue.publish(&line);
        }
        let mut index = 0;
        while let Some(waiter) = line.waiters.get(index)
            && server.state.in_flight.load(Relaxed) < choice.max_in_flight
        {
            let may_have_it = match waiter.home(&set) {
                Some(home) => home.id == server.id,
                None => !waiter.tried.contains(&server.id),
            };
            match set.find(server.id) {
                Some(server) if may_have_it && claim(&server.state, choice.max_in_flight) => {
                    let lease = self.lease(server.clone());
                    line.answer(index, Ok(lease));
                }
                _ => index += 1,
            }
        }
        self.queue.publish(&line);
    }

    fn line_up(self: &Arc<Self>, ask: &Ask<'_>, started: Instant) -> Result<LinedUp<'_>, Refusal> {
        let queue = &self.queue;
        let mut line = queue.line.lock();
        // Where others wait who would take any server there is none for one more who would.
        let is_hopeless = !is_particular(ask.bound, ask.tried) && line.waiters.len() > line.particular;
        if line.paused_until.is_none() && !is_hopeless {
            queue.waiting.store(line.waiters.len() + 1, Relaxed);
            fence(SeqCst);
            self.serve_line(&mut line);
            let claimed = self.claim(ask);
            queue.publish(&line);
            match claimed {
                Ok(server) => return Ok(LinedUp::Served(self.lease(server))),
                Err(Blocked::NoServerUp) => return Err(Refusal::NoServerUp),
                Err(Blocked::Full) => {}
            }
        }
        if line.waiters.len() >= queue.size.load(Relaxed) {
            self.metrics.queue_full.add(1);
            return Err(Refusal::QueueFull);
        }
        let (sender, answer) = oneshot::channel();
        let number = line.join(ask, sender);
        queue.publish(&line);
        Ok(LinedUp::Waiting(Place { queue, number, started, answer }))
    }

    /// Serves from the front everybody who can be. What one who would take any server is told is told to all of them.
    fn serve_line(self: &Arc<Self>, line: &mut Line) {
        if line.paused_until.is_some() {
            return;
        }
        let time = now();
        let mut for_any = None;
        let mut index = 0;
        while let Some(waiter) = line.waiters.get(index) {
            let is_particular = is_particular(waiter.bound, &waiter.tried);
            let claimed = match for_any {
                Some(blocked) if !is_particular => Err(blocked),
                _ => self.claim(&waiter.ask(time)),
            };
            if !is_particular {
                for_any = claimed.as_ref().err().copied();
            }
            match claimed {
                Ok(server) => line.answer(index, Ok(self.lease(server))),
                Err(Blocked::NoServerUp) => line.answer(index, Err(Refusal::NoServerUp)),
                Err(Blocked::Full) => index += 1,
            }
            if for_any == Some(Blocked::Full) && line.particular == 0 {
                break;
            }
        }
    }
}

impl Line {
    fn join(&mut self, ask: &Ask<'_>, answer: oneshot::Sender<Result<Lease, Refusal>>) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.particular += usize::from(is_particular(ask.bound, ask.tried));
        let tried = SmallVec::from_slice(ask.tried);
        let Ask { hash, bound, random, .. } = *ask;
        self.waiters.push_back(Waiter { number, hash, bound, tried, random, answer });
        number
    }

    /// Takes a waiter out of line and tells it. It cannot be gone: it leaves the line, under the lock, before it drops
    /// its end. (Were it gone, the lease would be dropped here, and freeing it would wait for the lock held here.)
    fn answer(&mut self, index: usize, answer: Result<Lease, Refusal>) {
        if let Some(waiter) = self.remove(index)
            && let Err(unheard) = waiter.answer.send(answer)
        {
            debug_assert!(false, "a waiter in line has dropped its end");
            std::mem::forget(unheard);
        }
    }

    fn remove(&mut self, index: usize) -> Option<Waiter> {
        let waiter = self.waiters.remove(index)?;
        self.particular -= usize::from(is_particular(waiter.bound, &waiter.tried));
        Some(waiter)
    }
}

impl Waiter {
    fn ask(&self, now: std::time::Instant) -> Ask<'_> {
        let Self { hash, bound, random, .. } = *self;
        Ask { now, hash, bound, tried: &self.tried, random, queue_left: None }
    }

    /// The one server that it waits for; `None` when it would take any that it has not tried.
    fn home<'a>(&self, set: &'a ServerSet) -> Option<&'a Arc<Server>> {
        set.find(self.bound?).filter(|server| is_usable_by_bound(server, &self.tried))
    }
}

impl Place<'_> {
    /// Out of line, if not served yet.
    fn leave(&self) {
        let mut line = self.queue.line.lock();
        if let Ok(index) = line.waiters.binary_search_by_key(&self.number, |waiter| waiter.number) {
            line.remove(index);
            self.queue.publish(&line);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // Before the receiver is: see `Line::answer`. A lease that is in it already is dropped with it, and handed on.
        self.leave();
        self.queue.metrics.queue_wait.observe(self.started.elapsed());
    }
}

/// Whether a request would not take just any server.
fn is_particular(bound: Option<u64>, tried: &[u64]) -> bool {
    bound.is_some() || !tried.is_empty()
}

fn served(answer: Option<Result<Lease, Refusal>>, started: Instant) -> Result<Lease, Refusal> {
    // `None` would be a sender dropped unsent: that goes only with the pool, which the waiter itself keeps alive.
    let mut lease = answer.unwrap_or(Err(Refusal::NoServerUp))?;
    lease.waited = started.elapsed();
    Ok(lease)
}

#[cfg(test)]
mod tests;
