//! The addresses that are listened on: bound before a plan is taken, joined to it when it is, given up gently.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::engines::Engines;
use super::front::Front;
use super::inherited::Inherited;
use crate::listener::{BindError, Gate, Share, Socket, bind};
use crate::net::{Address, Endpoint};
use crate::snapshot::{Listener, Snapshot};

/// How long connections are still accepted after newcomers are turned away: a round trip across the world.
const LAST_ACCEPTS: Duration = Duration::from_millis(300);

/// Every listener by name.
pub struct Listeners {
    gate: Arc<Gate>,
    open: BTreeMap<Arc<str>, Open>,
    /// Sockets on their way out.
    given_up: JoinSet<()>,
}

/// One that is listened on.
struct Open {
    address: Address,
    socket: Socket,
    front: Arc<Front>,
    /// Dropped or told to end its accept loops.
    accepting: watch::Sender<()>,
}

/// Why a listener cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot share the socket among the engine threads: {0}")]
    Share(#[from] io::Error),
}

/// Sockets for the listeners of a plan, in its order.
pub struct Prepared(Vec<Ready>);

struct Ready {
    from: From,
    shares: Vec<Share>,
    port: u16,
}

enum From {
    /// The listener of this name goes on with its socket.
    Kept,
    /// The listener of this name gives its socket up.
    Other(Arc<str>),
    Bound(Socket),
}

impl Listeners {
    pub fn new(gate: Arc<Gate>) -> Self {
        Self { gate, open: BTreeMap::new(), given_up: JoinSet::new() }
    }

    /// Waits for sockets that were given up to be closed: one of their addresses may be asked for again.
    pub async fn settle(&mut self) {
        while self.given_up.join_next().await.is_some() {}
    }

    /// Binds what a plan needs and is not there; nothing is listened on that was not before. The errors are by the name of
    /// the listener. Redirects of the plan learn the ports that the system chose.
    pub fn prepare(
        &self,
        snapshot: &Snapshot,
        engines: &Engines,
        inherited: &mut Inherited,
    ) -> Result<Prepared, Vec<(Arc<str>, ListenError)>> {
        let (mut ready, mut errors) = (Vec::with_capacity(snapshot.listeners.len()), Vec::new());
        for listener in &snapshot.listeners {
            match self.prepare_one(snapshot, listener, engines, inherited) {
                Ok(one) => ready.push(one),
                Err(error) => errors.push((Arc::clone(&listener.name), error)),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        for redirect in snapshot.listeners.iter().filter_map(|listener| listener.redirect_to.as_ref()) {
            let to = snapshot.listeners.iter().position(|listener| *listener.name == *redirect.listener);
            if let Some(to) = to.and_then(|to| ready.get(to)).filter(|to| to.port != 0) {
                redirect.port.store(to.port, Ordering::Relaxed);
            }
        }
        Ok(Prepared(ready))
    }

    fn prepare_one(
        &self,
        snapshot: &Snapshot,
        listener: &Listener,
        engines: &Engines,
        inherited: &mut Inherited,
    ) -> Result<Ready, ListenError> {
        let address = &listener.spec.address;
        if let Some(open) = self.open.get(&listener.name).filter(|open| open.address == *address) {
            return Ok(Ready { from: From::Kept, shares: Vec::new(), port: port(&open.socket) });
        }
        // One that is given up by another listener at the same time.
        let stays = |name: &Arc<str>| {
            snapshot.listeners.iter().any(|other| other.name == *name && other.spec.address == *address)
        };
        let mut others = self.open.iter();
        let other = others.find(|(name, open)| open.address == *address && !stays(name));
        let (from, shares, port) = match other {
            Some((name, open)) => {
                (From::Other(Arc::clone(name)), engines.shares(&open.socket)?, port(&open.socket))
            }
            None => {
                let socket = match inherited.socket(&listener.name, address) {
                    Some(socket) => socket,
                    None => bind(address)?,
                };
                let (shares, port) = (engines.shares(&socket)?, port(&socket));
                (From::Bound(socket), shares, port)
            }
        };
        Ok(Ready { from, shares, port })
    }

    /// Listens as the plan says, with what was prepared for it; gives the listeners that are no more.
    pub fn commit(
        &mut self,
        snapshot: &Snapshot,
        engines: &Engines,
        prepared: Prepared,
    ) -> Vec<Arc<Listener>> {
        let mut before = std::mem::take(&mut self.open);
        let mut moved: BTreeMap<Arc<str>, Socket> = BTreeMap::new();
        let mut fronts: BTreeMap<Arc<str>, Arc<Front>> = BTreeMap::new();
        // Sockets first: two listeners may change addresses with each other.
        for (listener, ready) in snapshot.listeners.iter().zip(&prepared.0) {
            if let From::Other(name) = &ready.from
                && let Some(open) = before.remove(name)
            {
                fronts.insert(Arc::clone(name), open.front);
                moved.insert(Arc::clone(&listener.name), open.socket);
            }
        }
        for (listener, ready) in snapshot.listeners.iter().zip(prepared.0) {
            let name = &listener.name;
            let kept = before.remove(name);
            let front = kept.as_ref().map(|kept| Arc::clone(&kept.front)).or_else(|| fronts.remove(name));
            let front = front.unwrap_or_else(|| {
                Front::new(Arc::clone(listener), self.gate.entrance(listener.spec.limits.connections))
            });
            take_over(&front, listener);
            let socket = match (ready.from, kept) {
                (From::Kept, Some(kept)) => {
                    self.open.insert(Arc::clone(name), kept);
                    continue;
                }
                (from, kept) => {
                    // It had another address.
                    if let Some(open) = kept {
                        self.given_up.spawn(give_up(open));
                    }
                    match from {
                        From::Bound(socket) => socket,
                        From::Kept | From::Other(_) => match moved.remove(name) {
                            Some(socket) => socket,
                            None => continue,
                        },
                    }
                }
            };
            let accepting = engines.listen(&front, ready.shares, ready.port);
            tracing::info!(listener = &**name, address = %socket.local_address(), "listening");
            let address = listener.spec.address.clone();
            self.open.insert(Arc::clone(name), Open { address, socket, front, accepting });
        }
        let mut gone: Vec<Arc<Listener>> =
            fronts.into_values().map(|front| front.listener.load_full()).collect();
        for (name, open) in before {
            tracing::info!(listener = &*name, address = %open.socket.local_address(), "listens no more");
            gone.push(open.front.listener.load_full());
            self.given_up.spawn(give_up(open));
        }
        gone
    }

    /// Turns newcomers away everywhere, and waits for those on their way.
    pub async fn turn_away(&self) {
        let turned_away = self.open.values().filter(|open| open.socket.turn_away().is_ok()).count();
        if turned_away > 0 {
            // Handshakes under way come to their end and are served.
            tokio::time::sleep(LAST_ACCEPTS).await;
        }
    }

    /// Gives every socket up; files of unix sockets go away.
    pub fn close(&mut self) {
        self.open.clear();
    }

    /// Every socket with the name of its listener and the address as written.
    pub fn sockets(&self) -> impl Iterator<Item = (&str, &Address, &Socket)> {
        self.open.iter().map(|(name, open)| (&**name, &open.address, &open.socket))
    }

    /// Another process accepts from every socket from now on: what the system has queued is its to take. But for those
    /// of these names, which it has no use for.
    pub fn leave(&mut self, but_for: &[String]) {
        for (name, open) in std::mem::take(&mut self.open) {
            if but_for.iter().any(|but| **but == *name) {
                tracing::info!(listener = &*name, address = %open.socket.local_address(), "listens no more");
                self.given_up.spawn(give_up(open));
            } else {
                let Open { mut socket, .. } = open;
                socket.leave_file();
            }
        }
    }

    pub fn limit_to(&self, connections: u32) {
        self.gate.limit_to(connections);
    }
}

/// The next connections of a front are this listener's.
fn take_over(front: &Front, listener: &Arc<Listener>) {
    let before = front.listener.swap(Arc::clone(listener));
    if !Arc::ptr_eq(&before, listener) {
        before.life.enter(crate::life::Stage::Retired);
        front.entrance.limit_to(listener.spec.limits.connections);
    }
}

/// Accepts what has come already, and nothing more.
async fn give_up(open: Open) {
    if open.socket.turn_away().is_ok() {
        tokio::time::sleep(LAST_ACCEPTS).await;
    }
    drop(open.socket);
    let _ = open.accepting.send(());
    // Every thread has closed its share then.
    open.accepting.closed().await;
}

fn port(socket: &Socket) -> u16 {
    match socket.local_address() {
        Endpoint::Inet(address) => address.port(),
        Endpoint::Unix(_) => 0,
    }
}
