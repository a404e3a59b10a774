//! Which server a client's session lives on, and how the client is made to say so: by a cookie of ours, or by the
//! session id that Socket.IO gives out.
//!
//! It finds and remembers; whether a bound server can still be used is decided where a place is claimed.

mod arrivals;
mod cookie;
mod key;
pub mod socket_io;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pool::Pool;
use super::spec::StickySpec;
use crate::observe::metrics::StickyOutcome;
use crate::server::{Server, process_ms};
use crate::wire::head::Head;

pub use arrivals::NewSession;
pub use cookie::{CookieSticky, Token};
pub use key::{LoadKeyError, StickyKey};
pub use socket_io::SocketIoTable;

/// `sticky`, compiled.
#[derive(Debug)]
pub enum Sticky {
    Cookie(CookieSticky),
    SocketIo(SocketIoTable),
}

/// How the client is connected: a cookie over TLS is marked `Secure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Plain,
    Tls,
}

impl Sticky {
    /// `None` when a key is needed and not there: whoever builds a plan loads it first and reports why it cannot.
    pub fn build(spec: &StickySpec, pool: &Arc<str>, key: Option<&StickyKey>) -> Option<Self> {
        match spec {
            StickySpec::SocketIo(_) => Some(Self::SocketIo(SocketIoTable::default())),
            StickySpec::Cookie(spec) => Some(Self::Cookie(CookieSticky::build(spec, pool.clone(), key?))),
        }
    }

    /// The value that names a server, where a cookie does.
    pub fn cookie_value(&self, server: &Server) -> Option<String> {
        match self {
            Self::Cookie(cookie) => {
                Some(String::from_utf8_lossy(&cookie.token(&server.identity)).into_owned())
            }
            Self::SocketIo(_) => None,
        }
    }
}

impl Pool {
    /// Id of the server that this request's session lives on. A request that names none we know is counted, and is
    /// balanced like a new one.
    pub fn bound_server(&self, head: &Head, now: Instant) -> Option<u64> {
        match self.sticky.as_deref()? {
            Sticky::Cookie(cookie) => {
                let value = super::key::cookie(head, cookie.name())?;
                let id = self.set().find_by_token(value).map(|server| server.id);
                self.count_unknown(id)
            }
            Sticky::SocketIo(table) => {
                let sid = socket_io::sid_of_target(head.target())?;
                let id = self.count_unknown(table.find(&sid, process_ms(now)))?;
                if self.set().find(id).is_none() {
                    table.forget(&sid);
                    self.metrics.sticky.add(StickyOutcome::Failover, 1);
                    return None;
                }
                Some(id)
            }
        }
    }

    /// The `Set-Cookie` value for a response of this server; `None` where the request's cookie names it already.
    pub fn sticky_cookie(&self, request: &Head, server: &Server, link: Link) -> Option<String> {
        let Some(Sticky::Cookie(cookie)) = self.sticky.as_deref() else { return None };
        let token = cookie.token(&server.identity);
        let is_known = super::key::cookie(request, cookie.name()).is_some_and(|value| value == token);
        (!is_known).then(|| cookie.field(&token, link))
    }

    /// Whether the response to this request must be read for a session id: a Socket.IO handshake by polling.
    pub fn learns_from(&self, request: &Head) -> bool {
        matches!(self.sticky.as_deref(), Some(Sticky::SocketIo(_)))
            && socket_io::handshake_of_target(request.target()) == Some(socket_io::Transport::Polling)
    }

    /// Binds a Socket.IO session to the server that opened it.
    pub fn learn(&self, sid: &str, ttl: Duration, server: &Server, now: Instant) {
        if let Some(Sticky::SocketIo(table)) = self.sticky.as_deref() {
            table.learn(sid, server.id, ttl, process_ms(now));
            let (pool, server) = (&self.name, &server.identity);
            let (pool, server, sid) = (Arc::clone(pool), Arc::clone(server), sid.to_owned());
            table.arrivals.tell(|| NewSession { pool, sid, server, life: ttl });
            table.arrivals.arrived();
        }
    }

    /// The Socket.IO sessions that are known, by the identity of their server.
    pub fn sessions(&self, now: Instant) -> Vec<(String, Arc<str>, Duration)> {
        let Some(Sticky::SocketIo(table)) = self.sticky.as_deref() else { return Vec::new() };
        let set = self.servers();
        let sessions = table.sessions(process_ms(now)).into_iter();
        sessions.filter_map(|(sid, id, ttl)| Some((sid, Arc::clone(&set.find(id)?.identity), ttl))).collect()
    }

    /// Takes sessions that another process knew.
    pub fn take_sessions(&self, sessions: &[(String, String, Duration)], now: Instant) {
        let set = self.servers();
        for (sid, identity, ttl) in sessions {
            if let Some(server) = set.servers().iter().find(|server| *server.identity == **identity) {
                self.learn(sid, *ttl, server, now);
            }
        }
    }

    fn count_unknown(&self, id: Option<u64>) -> Option<u64> {
        if id.is_none() {
            self.metrics.sticky.add(StickyOutcome::Unknown, 1);
        }
        id
    }
}
