//! Requests that wait for a place on a server: one line per pool over all threads, first come, first served.
//!
//! ```text
//! asks --full--> in line --a place is freed, or a server comes up--> handed a lease
//!                   |----all servers go down--> refused     |----time is up--> refused
//!                   `----its future is dropped--> out of line at once
//! ```
//! While the pool is paused everybody gets in line, nobody is handed or refused anything, and nobody's time runs.
//!
//! A place is claimed for a waiter under the lock, by whoever freed it, so no newcomer can take it in between. What
//! keeps a wake-up from being lost: a newcomer first announces itself and then looks for a place; who frees one first
//! frees it and then looks whether anybody has announced itself; a fence stands between the two steps of both. In a
//! pause neither looks for a place: the newcomer is in line, under the lock, and whoever ends the pause, under the lock
//! too, then serves the line. Who gets the lock after that finds the pause over and looks for a place itself. So the
//! mark of a pause, which is part of the announcement, needs no fence of its own: the lock orders what it stands for,
//! and a request that has not seen it yet is one that was under way.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::fence;
use std::time::Duration;

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::{Notify, oneshot};
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
    /// A pause is over: those who are still in line have less time than they thought.
    resumed: Notify,
}

#[derive(Debug, Default)]
struct Line {
    waiters: VecDeque<Waiter>,
    /// How many waiters are particular about the server.
    particular: usize,
    /// Numbers rise along the line, so a waiter is found by binary search.
    next_number: u64,
    pause: Option<Pause>,
    /// Pauses so far.
    pauses: u64,
    /// How long those took that are over.
    paused: Duration,
}

/// Nobody is served meanwhile.
#[derive(Clone, Copy, Debug)]
struct Pause {
    since: Instant,
    until: Instant,
    number: u64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    hash: Option<u64>,
    bound: Option<u64>,
    tried: SmallVec<[u64; 2]>,
    random: u64,
    /// How long the pool had been paused when it came.
    paused_before: Duration,
    answer: oneshot::Sender<Result<Lease, Refusal>>,
}

/// A waiter's own end of its place in line.
#[derive(Debug)]
struct Place<'a> {
    queue: &'a Queue,
    number: u64,
    patience: Patience,
    /// Of `patience`, as far as pauses are known; it only moves when one begins or ends early.
    deadline: Instant,
    answer: oneshot::Receiver<Result<Lease, Refusal>>,
}

/// How long a waiter waits, pauses not counted.
#[derive(Clone, Copy, Debug)]
struct Patience {
    started: Instant,
    time: Duration,
    /// How long the pool had been paused by then.
    paused_before: Duration,
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
            resumed: Notify::new(),
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

    /// Has everybody wait for this time from now on, whatever a pause before said; gives the number of this pause.
    pub fn pause(&self, time: Duration) -> u64 {
        let now = Instant::now();
        let mut line = self.line.lock();
        line.pauses += 1;
        let number = line.pauses;
        let since = line.pause.map_or(now, |pause| pause.since);
        line.pause = Some(Pause { since, until: now + time, number });
        self.publish(&line);
        number
    }

    /// Ends the pause that there is; whoever calls it serves those who wait. False when there is none.
    pub fn resume(&self) -> bool {
        let mut line = self.line.lock();
        self.end_pause(&mut line)
    }

    /// Ends the pause of this number, if it goes on.
    pub fn resume_if(&self, number: u64) -> bool {
        let mut line = self.line.lock();
        line.pause.is_some_and(|pause| pause.number == number) && self.end_pause(&mut line)
    }

    fn end_pause(&self, line: &mut Line) -> bool {
        let Some(pause) = line.pause.take() else { return false };
        line.paused += pause.since.elapsed();
        self.publish(line);
        self.resumed.notify_waiters();
        true
    }

    /// Time until the pause that there is ends by itself.
    pub fn paused_for(&self) -> Option<Duration> {
        if self.waiting.load(Relaxed) & PAUSED == 0 {
            return None;
        }
        let pause = self.line.lock().pause?;
        Some(pause.until.saturating_duration_since(Instant::now()))
    }

    /// Says how many wait, as far as those who free places need to know.
    fn publish(&self, line: &Line) {
        let is_paused = line.pause.is_some();
        self.waiting.store(line.waiters.len() | if is_paused { PAUSED } else { 0 }, Relaxed);
        self.metrics.paused.record(is_paused.into());
        self.metrics.queue_length.record(i64::try_from(line.waiters.len()).unwrap_or(i64::MAX));
    }
}

impl Pool {
    /// Waits behind all who wait already.
    pub(super) async fn wait(self: &Arc<Self>, ask: &Ask<'_>) -> Result<Lease, Refusal> {
        let started = Instant::now();
        let patience = ask.queue_left.unwrap_or(self.spec.queue.timeout.std());
        // From before the first look at the clock, so that no end of a pause is missed.
        let mut resumed = pin!(self.queue.resumed.notified());
        let mut place = match self.line_up(ask, started, patience)? {
            LinedUp::Served(lease) => return Ok(lease),
            LinedUp::Waiting(place) => place,
        };
        loop {
            if Instant::now() >= place.deadline && !place.has_time_left() {
                break;
            }
            // Nobody else wakes the line when an ejection ends.
            let until_return = self.until_next_return(now());
            let wake = until_return.map_or(place.deadline, |time| place.deadline.min(Instant::now() + time));
            tokio::select! {
                biased;
                answer = &mut place.answer => return served(answer.ok(), started),
                () = &mut resumed => {
                    resumed.set(self.queue.resumed.notified());
                    place.has_time_left();
                }
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
        if line.pause.is_some() {
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

    fn line_up(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        started: Instant,
        patience: Duration,
    ) -> Result<LinedUp<'_>, Refusal> {
        let queue = &self.queue;
        let mut line = queue.line.lock();
        // Where others wait who would take any server there is none for one more who would.
        let is_hopeless = !is_particular(ask.bound, ask.tried) && line.waiters.len() > line.particular;
        if line.pause.is_none() && !is_hopeless {
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
        let paused_before = line.paused_by(started);
        let patience = Patience { started, time: patience, paused_before };
        let number = line.join(ask, paused_before, sender);
        queue.publish(&line);
        let deadline = line.deadline(patience);
        Ok(LinedUp::Waiting(Place { queue, number, patience, deadline, answer }))
    }

    /// Serves from the front everybody who can be. What one who would take any server is told is told to all of them.
    fn serve_line(self: &Arc<Self>, line: &mut Line) {
        if line.pause.is_some() {
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
    fn join(
        &mut self,
        ask: &Ask<'_>,
        paused_before: Duration,
        answer: oneshot::Sender<Result<Lease, Refusal>>,
    ) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.particular += usize::from(is_particular(ask.bound, ask.tried));
        let tried = SmallVec::from_slice(ask.tried);
        let Ask { hash, bound, random, .. } = *ask;
        self.waiters.push_back(Waiter { number, hash, bound, tried, random, paused_before, answer });
        number
    }

    /// How long the pool was paused up to now.
    fn paused_by(&self, now: Instant) -> Duration {
        self.paused + self.pause.map_or(Duration::ZERO, |pause| now.saturating_duration_since(pause.since))
    }

    /// While there is a pause, that is some time after it.
    fn deadline(&self, patience: Patience) -> Instant {
        let now = Instant::now();
        let paused = self.paused_by(now).saturating_sub(patience.paused_before);
        let left = self.pause.map_or(Duration::ZERO, |pause| pause.until.saturating_duration_since(now));
        patience.started + patience.time + paused + left
    }

    /// Takes a waiter out of line and tells it. It cannot be gone: it leaves the line, under the lock, before it drops
    /// its end. (Were it gone, the lease would be dropped here, and freeing it would wait for the lock held here.)
    fn answer(&mut self, index: usize, mut answer: Result<Lease, Refusal>) {
        let Some(waiter) = self.remove(index) else { return };
        if let Ok(lease) = &mut answer {
            lease.paused = self.paused.saturating_sub(waiter.paused_before);
        }
        if let Err(unheard) = waiter.answer.send(answer) {
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
    /// Looks at the clock anew; false when it has waited for as long as it may.
    fn has_time_left(&mut self) -> bool {
        self.deadline = self.queue.line.lock().deadline(self.patience);
        Instant::now() < self.deadline
    }

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
        self.queue.metrics.queue_wait.observe(self.patience.started.elapsed());
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
