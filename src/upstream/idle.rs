//! Connections to servers that wait for their next request: one store per engine thread, so no lock.
//!
//! Last in, first out, since the warmest one is the likeliest to be open. Node closes idle connections
//! after 5 s; a connection leaves here a second before its server would close it, so that a request
//! never races with the close (NODE.md, section 3.5).

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use crate::server::Server;
use crate::wire::h1::ClientConnection;

/// Life of a connection whose server names no timeout: a second less than Node's 5.
const UNHINTED_LIFE: Duration = Duration::from_secs(4);
/// How long before its server's own deadline a connection is dropped.
const MARGIN: Duration = Duration::from_secs(1);

/// The idle connections of one engine thread.
#[derive(Default)]
pub struct Idle {
    servers: RefCell<HashMap<u64, Kept, RandomState>>,
}

struct Kept {
    server: Arc<Server>,
    connections: Vec<Waiting>,
}

struct Waiting {
    connection: Box<ClientConnection>,
    until: Instant,
}

/// How long a connection may wait, by what its server said and what the user wrote.
pub fn life(hint: Option<u32>, written: Option<Duration>) -> Duration {
    let by_server = hint.map(|seconds| Duration::from_secs(seconds.into()).saturating_sub(MARGIN));
    match (by_server, written) {
        (Some(by_server), Some(written)) => by_server.min(written),
        (Some(life), None) | (None, Some(life)) => life,
        (None, None) => UNHINTED_LIFE,
    }
}

impl Idle {
    pub fn new() -> Self {
        Self::default()
    }

    /// The connection to `server` that was used last and is still good.
    pub fn take(&self, server: &Server, now: Instant) -> Option<Box<ClientConnection>> {
        let mut servers = self.servers.borrow_mut();
        let kept = servers.get_mut(&server.id)?;
        while let Some(mut waiting) = kept.connections.pop() {
            kept.server.state.idle.fetch_sub(1, Ordering::Relaxed);
            if waiting.until > now && waiting.connection.is_reusable() {
                return Some(waiting.connection);
            }
        }
        None
    }

    /// Keeps a connection until `until`, unless `most` of them wait for this server over all threads.
    pub fn put(&self, server: &Arc<Server>, connection: Box<ClientConnection>, until: Instant, most: u32) {
        let idle = &server.state.idle;
        if idle.fetch_add(1, Ordering::Relaxed) >= most as usize {
            idle.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let mut servers = self.servers.borrow_mut();
        let kept = servers
            .entry(server.id)
            .or_insert_with(|| Kept { server: Arc::clone(server), connections: Vec::new() });
        kept.connections.push(Waiting { connection, until });
    }

    /// Drops what is over or was closed by its server. Called every half second.
    pub fn sweep(&self, now: Instant) {
        self.servers.borrow_mut().retain(|_, kept| {
            let before = kept.connections.len();
            kept.connections.retain_mut(|waiting| waiting.until > now && waiting.connection.is_reusable());
            kept.server.state.idle.fetch_sub(before - kept.connections.len(), Ordering::Relaxed);
            !kept.connections.is_empty()
        });
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.server.state.idle.fetch_sub(self.connections.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_goes_a_second_before_its_server_would_close_it() {
        let s = Duration::from_secs;
        assert_eq!(life(None, None), s(4));
        assert_eq!(life(Some(5), None), s(4));
        assert_eq!(life(Some(72), None), s(71));
        assert_eq!(life(Some(1), None), s(0));
        assert_eq!(life(Some(72), Some(s(10))), s(10));
        assert_eq!(life(None, Some(s(60))), s(60));
    }
}
