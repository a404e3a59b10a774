//! Engine threads: each with its own runtime, its own idle connections, and connections that stay on it for life.

use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::LocalSet;

use super::accept::{self, Incoming};
use super::front::{Front, Gateway};
use super::service;
use crate::listener::{Share, Socket};
use crate::observe::metrics::CloseReason;
use crate::proxy::connection;
use crate::proxy::engine::{Engine, Process};
use crate::snapshot::Live;

/// How often idle connections to servers are looked through.
const SWEEP: Duration = Duration::from_millis(500);

/// Rounds of a thread that has ended in order; one that panicked just goes round no more.
const ENDED: u64 = u64::MAX;

/// What an engine thread is told.
pub enum Order {
    /// Accept from a listener's socket.
    Listen(Box<Gateway>),
    /// Serve a connection that another thread accepted.
    Serve(Incoming),
    /// Accept no more; end when the last connection has.
    Drain,
    /// Have everything look whether its end has come.
    Wake,
}

/// Open connections of each engine thread, to spread new ones evenly.
pub struct Load(Box<[AtomicUsize]>);

impl Load {
    fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| AtomicUsize::new(0)).collect())
    }

    pub fn open(&self, thread: usize) -> usize {
        self.0.get(thread).map_or(0, |open| open.load(Ordering::Relaxed))
    }

    pub fn add(&self, thread: usize) {
        if let Some(open) = self.0.get(thread) {
            open.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn sub(&self, thread: usize) {
        if let Some(open) = self.0.get(thread) {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The thread with the fewest connections; `own` unless another has less.
    pub fn lightest(&self, own: usize) -> usize {
        (0..self.0.len()).min_by_key(|thread| (self.open(*thread), *thread != own)).unwrap_or(own)
    }

    fn total(&self) -> usize {
        (0..self.0.len()).map(|thread| self.open(thread)).sum()
    }
}

/// All engine threads.
pub struct Engines {
    orders: Arc<[mpsc::UnboundedSender<Order>]>,
    load: Arc<Load>,
    ended: Arc<Notify>,
    threads: Vec<JoinHandle<()>>,
    /// Counts rounds of each thread.
    rounds: Arc<[AtomicU64]>,
}

impl Engines {
    pub fn start(count: usize, process: &Arc<Process>, live: &Arc<Live>) -> io::Result<Self> {
        let (orders, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::unbounded_channel()).unzip();
        let orders: Arc<[_]> = orders.into();
        let load = Arc::new(Load::new(count));
        let ended = Arc::new(Notify::new());
        let rounds: Arc<[AtomicU64]> = (0..count).map(|_| AtomicU64::new(0)).collect();
        let mut threads = Vec::with_capacity(count);
        for (number, inbox) in inboxes.into_iter().enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let seat = Seat {
                number,
                load: Arc::clone(&load),
                orders: Arc::clone(&orders),
                rounds: Arc::clone(&rounds),
            };
            let (process, live, ended) = (Arc::clone(process), Arc::clone(live), Arc::clone(&ended));
            let body = move || {
                let engine = Rc::new(Engine::new(process, live));
                let counted = Arc::clone(&seat.rounds);
                LocalSet::new().block_on(&runtime, run(engine, Rc::new(seat), inbox));
                if let Some(rounds) = counted.get(number) {
                    rounds.store(ENDED, Ordering::Relaxed);
                }
                ended.notify_one();
            };
            threads.push(std::thread::Builder::new().name(format!("lintel-engine-{number}")).spawn(body)?);
        }
        Ok(Self { orders, load, ended, threads, rounds })
    }

    /// A socket once for every thread.
    pub fn shares(&self, socket: &Socket) -> io::Result<Vec<Share>> {
        self.orders.iter().map(|_| socket.share()).collect()
    }

    /// Accepts from a socket on every thread, until the sender that is given back is dropped.
    pub fn listen(&self, front: &Arc<Front>, shares: Vec<Share>, port: u16) -> watch::Sender<()> {
        let (open, watched) = watch::channel(());
        for (orders, share) in self.orders.iter().zip(shares) {
            let gateway = Gateway { front: Arc::clone(front), share, port, open: watched.clone() };
            let _ = orders.send(Order::Listen(Box::new(gateway)));
        }
        open
    }

    /// Accepts what the system has accepted already and nothing more; ready when the last connection has ended.
    pub async fn drain(&self) {
        for orders in &*self.orders {
            let _ = orders.send(Order::Drain);
        }
        self.ended().await;
    }

    /// Ready when the last connection of every thread has ended.
    pub async fn ended(&self) {
        while !self.threads.iter().all(JoinHandle::is_finished) {
            tokio::select! {
                () = self.ended.notified() => {}
                // A thread tells before it has wholly finished.
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
        }
    }

    /// What has everything on all threads look whether its end has come.
    pub fn waker(&self) -> impl Fn() + Send + Sync + use<> {
        let orders = Arc::clone(&self.orders);
        move || {
            for orders in &*orders {
                let _ = orders.send(Order::Wake);
            }
        }
    }

    /// Tells systemd again and again that the program lives, where it asks for that: as long as every thread goes round.
    pub fn keep_alive(&self) -> impl Future<Output = ()> + Send + use<> {
        let rounds = Arc::clone(&self.rounds);
        async move {
            let Some(beat) = service::watchdog_interval() else { return };
            let read =
                || -> Vec<u64> { rounds.iter().map(|rounds| rounds.load(Ordering::Relaxed)).collect() };
            loop {
                let before = read();
                tokio::time::sleep(beat / 2).await;
                while !have_gone_round(&before, &read()) {
                    tokio::time::sleep(SWEEP / 2).await;
                }
                service::alive();
            }
        }
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.load.total()
    }
}

/// Whether every thread has gone round since, but for those that ended in order.
fn have_gone_round(before: &[u64], now: &[u64]) -> bool {
    before.iter().zip(now).all(|(before, now)| now != before || *now == ENDED)
}

/// An engine thread's place among the others.
pub struct Seat {
    pub number: usize,
    pub load: Arc<Load>,
    pub orders: Arc<[mpsc::UnboundedSender<Order>]>,
    rounds: Arc<[AtomicU64]>,
}

/// The life of one engine thread.
async fn run(engine: Rc<Engine>, seat: Rc<Seat>, mut inbox: mpsc::UnboundedReceiver<Order>) {
    let mut sweeps = tokio::time::interval(SWEEP);
    let emptied = Rc::new(Notify::new());
    let mut accepting = Vec::new();
    let mut draining = false;
    loop {
        if draining && seat.load.open(seat.number) == 0 && inbox.is_empty() {
            return;
        }
        tokio::select! {
            _ = sweeps.tick() => {
                let now = Instant::now();
                if let Some(rounds) = seat.rounds.get(seat.number) {
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
                engine.idle.sweep(now);
                engine.sessions.sweep(now);
                // A thread that rests lets go of a plan that is no more.
                drop(engine.snapshot());
            }
            () = emptied.notified() => {}
            order = inbox.recv() => match order {
                Some(Order::Listen(gateway)) => {
                    let task = accept::run(Rc::clone(&engine), Rc::clone(&seat), Rc::clone(&emptied), *gateway);
                    accepting.push(tokio::task::spawn_local(task));
                }
                Some(Order::Wake) => engine.wake(),
                Some(Order::Serve(incoming)) => serve(&engine, &seat, &emptied, incoming),
                Some(Order::Drain) | None => {
                    draining = true;
                    engine.wake();
                    // They take what the system has accepted already, then end.
                    for task in accepting.drain(..) {
                        let _ = task.await;
                    }
                }
            },
        }
    }
}

/// Serves a connection in a task of its own. It was counted for this thread already.
pub fn serve(engine: &Rc<Engine>, seat: &Rc<Seat>, emptied: &Rc<Notify>, incoming: Incoming) {
    let counted = Counted { seat: Rc::clone(seat), emptied: Rc::clone(emptied) };
    let engine = Rc::clone(engine);
    tokio::task::spawn_local(async move {
        let metrics = incoming.listener.metrics.clone();
        metrics.connections_open.add(1);
        // Boxed before the match, which would hold the room of both for the connection's whole life.
        let accepted = incoming.open().map(Box::new);
        match accepted {
            Ok(accepted) => connection::run(&engine, accepted).await,
            Err(_) => metrics.closed.add(CloseReason::System, 1),
        }
        metrics.connections_open.sub(1);
        drop(counted);
    });
}

/// A connection counted for its thread, whatever becomes of its task.
struct Counted {
    seat: Rc<Seat>,
    emptied: Rc<Notify>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.seat.load.sub(self.seat.number);
        self.emptied.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_kept_alive_connections_are_spread_evenly_whoever_accepts_them() {
        let load = Load::new(4);
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..1000 {
            // One thread is quicker than the others and accepts nearly all.
            let accepting = if random.u32(..10) > 0 { 0 } else { random.usize(..4) };
            load.add(load.lightest(accepting));
        }
        assert_eq!((0..4).map(|thread| load.open(thread)).collect::<Vec<_>>(), [250; 4]);
    }

    #[test]
    fn one_thread_that_stands_still_is_enough_to_be_no_more_alive() {
        assert!(have_gone_round(&[1, 2], &[2, 3]));
        assert!(!have_gone_round(&[1, 2], &[2, 2]), "it hangs");
        assert!(have_gone_round(&[1, ENDED], &[2, ENDED]), "while others drain");
        assert!(have_gone_round(&[1, 2], &[ENDED, 3]), "it has ended just now");
    }

    #[test]
    fn an_accepting_thread_keeps_what_no_other_has_less_of() {
        let load = Load::new(3);
        assert_eq!(load.lightest(2), 2);
        load.add(2);
        assert_eq!(load.lightest(2), 0);
    }
}
