//! Socket.IO sessions while two processes serve, at an upgrade: the one that leaves tells of each that begins with it, and
//! the one that stays waits a moment for a session that it does not know yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use super::{SocketIoTable, Sticky, socket_io};
use crate::pool::pool::Pool;
use crate::server::process_ms;
use crate::wire::head::Head;

/// Longest wait for a session of the process before. It tells at once; a client that asks for a session which has long
/// ended waits as long.
const LONGEST_ARRIVAL: Duration = Duration::from_millis(500);

/// A session that has begun here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession {
    pub pool: Arc<str>,
    pub sid: String,
    /// Identity of its server.
    pub server: Arc<str>,
    /// How long it lives after its last use.
    pub life: Duration,
}

/// What a table has to do with that of another process.
#[derive(Debug, Default)]
pub struct Arrivals {
    follower: Mutex<Option<UnboundedSender<NewSession>>>,
    is_expecting: AtomicBool,
    arrived: Notify,
}

impl Arrivals {
    /// Says that a session is known now.
    pub(super) fn arrived(&self) {
        if self.is_expecting.load(Ordering::Relaxed) {
            self.arrived.notify_waiters();
        }
    }

    pub(super) fn tell(&self, begun: impl FnOnce() -> NewSession) {
        if let Some(follower) = &*self.follower.lock() {
            let _ = follower.send(begun());
        }
    }

    async fn wait(&self, table: &SocketIoTable, sid: &[u8]) {
        loop {
            let mut arrived = std::pin::pin!(self.arrived.notified());
            arrived.as_mut().enable();
            let is_known = table.find(sid, process_ms(Instant::now())).is_some();
            if is_known || !self.is_expecting.load(Ordering::Relaxed) {
                return;
            }
            arrived.await;
        }
    }
}

impl Pool {
    fn table(&self) -> Option<&SocketIoTable> {
        match self.sticky.as_deref() {
            Some(Sticky::SocketIo(table)) => Some(table),
            _ => None,
        }
    }

    /// Tells `follower` of every Socket.IO session that begins from now on.
    pub fn follow_sessions(&self, follower: Option<UnboundedSender<NewSession>>) {
        if let Some(table) = self.table() {
            *table.arrivals.follower.lock() = follower;
        }
    }

    /// Sessions may begin in a process before this one, which tells of them.
    pub fn expect_sessions(&self) {
        if let Some(table) = self.table() {
            table.arrivals.is_expecting.store(true, Ordering::Relaxed);
        }
    }

    /// The process before has ended.
    pub fn expect_no_sessions(&self) {
        if let Some(table) = self.table() {
            table.arrivals.is_expecting.store(false, Ordering::Relaxed);
            table.arrivals.arrived.notify_waiters();
        }
    }

    /// Whether requests may name sessions that are not known yet.
    pub fn expects_sessions(&self) -> bool {
        self.table().is_some_and(|table| table.arrivals.is_expecting.load(Ordering::Relaxed))
    }

    /// Waits until the session that a request names is known, at most `LONGEST_ARRIVAL`.
    pub async fn meet_session(&self, head: &Head) {
        let Some(table) = self.table() else { return };
        let Some(sid) = socket_io::sid_of_target(head.target()) else { return };
        let _ = tokio::time::timeout(LONGEST_ARRIVAL, table.arrivals.wait(table, &sid)).await;
    }
}
