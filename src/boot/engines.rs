//! Engine threads: each with its own runtime, its own idle connections, and connections that stay on it for life.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use tokio::task::LocalSet;

use super::accept::{self, Gateway, Incoming};
use crate::listener::{Gate, Socket};
use crate::net::Endpoint;
use crate::observe::metrics::CloseReason;
use crate::proxy::connection;
use crate::proxy::engine::{Engine, Process};
use crate::snapshot::{Live, Snapshot};

/// How often idle connections to servers are looked through.
const SWEEP: Duration = Duration::from_millis(500);

/// How long connections are still accepted after newcomers are turned away: a round trip across the world.
const LAST_ACCEPTS: Duration = Duration::from_millis(300);

/// What an engine thread is told.
pub enum Order {
    /// Accept from a listener's socket.
    Listen(Box<Gateway>),
    /// Serve a connection that another thread accepted.
    Serve(Incoming),
    /// Accept no more; end when the last connection has.
    Drain,
    /// End what still runs.
    Cut,
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
    /// Keeps unix sockets' files until the end.
    sockets: RefCell<Vec<Socket>>,
}

impl Engines {
    pub fn start(count: usize, process: &Arc<Process>, live: &Arc<Live>) -> io::Result<Self> {
        let (orders, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::unbounded_channel()).unzip();
        let orders: Arc<[_]> = orders.into();
        let load = Arc::new(Load::new(count));
        let ended = Arc::new(Notify::new());
        let mut threads = Vec::with_capacity(count);
        for (number, inbox) in inboxes.into_iter().enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let seat = Seat { number, load: Arc::clone(&load), orders: Arc::clone(&orders) };
            let (process, live, ended) = (Arc::clone(process), Arc::clone(live), Arc::clone(&ended));
            let body = move || {
                let engine = Rc::new(Engine::new(process, live));
                LocalSet::new().block_on(&runtime, run(engine, Rc::new(seat), inbox));
                ended.notify_one();
            };
            threads.push(std::thread::Builder::new().name(format!("lintel-engine-{number}")).spawn(body)?);
        }
        Ok(Self { orders, load, ended, threads, sockets: RefCell::default() })
    }

    /// Accepts from every socket on every thread. `sockets` are those of the snapshot's listeners, in their order.
    pub fn listen(&self, snapshot: &Snapshot, sockets: Vec<Socket>, gate: &Arc<Gate>) -> io::Result<()> {
        for (listener, socket) in snapshot.listeners.iter().zip(&sockets) {
            let entrance = Arc::new(gate.entrance(listener.spec.limits.connections));
            let port = match socket.local_address() {
                Endpoint::Inet(address) => address.port(),
                Endpoint::Unix(_) => 0,
            };
            for orders in &*self.orders {
                let (listener, entrance) = (Arc::clone(listener), Arc::clone(&entrance));
                let gateway = Gateway { listener, entrance, share: socket.share()?, port };
                let _ = orders.send(Order::Listen(Box::new(gateway)));
            }
        }
        *self.sockets.borrow_mut() = sockets;
        Ok(())
    }

    /// Stops accepting; ready when the last connection of every thread has ended.
    pub async fn drain(&self) {
        let turned_away = self.sockets.borrow().iter().filter(|socket| socket.turn_away().is_ok()).count();
        if turned_away > 0 {
            // Handshakes under way come to their end and are served.
            tokio::time::sleep(LAST_ACCEPTS).await;
        }
        for orders in &*self.orders {
            let _ = orders.send(Order::Drain);
        }
        self.sockets.borrow_mut().clear();
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

    /// Ends what still runs; each exchange leaves its record.
    pub fn cut(&self) {
        for orders in &*self.orders {
            let _ = orders.send(Order::Cut);
        }
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.load.total()
    }
}

/// An engine thread's place among the others.
pub struct Seat {
    pub number: usize,
    pub load: Arc<Load>,
    pub orders: Arc<[mpsc::UnboundedSender<Order>]>,
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
                engine.idle.sweep(now);
                engine.sessions.sweep(now);
            }
            () = emptied.notified() => {}
            order = inbox.recv() => match order {
                Some(Order::Listen(gateway)) => {
                    let task = accept::run(Rc::clone(&engine), Rc::clone(&seat), Rc::clone(&emptied), *gateway);
                    accepting.push(tokio::task::spawn_local(task));
                }
                Some(Order::Cut) => engine.announce_cut(),
                Some(Order::Serve(incoming)) => serve(&engine, &seat, &emptied, incoming),
                Some(Order::Drain) | None => {
                    draining = true;
                    engine.announce_draining();
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
        match incoming.open() {
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
    fn an_accepting_thread_keeps_what_no_other_has_less_of() {
        let load = Load::new(3);
        assert_eq!(load.lightest(2), 2);
        load.add(2);
        assert_eq!(load.lightest(2), 0);
    }
}
