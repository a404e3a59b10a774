//! Connections of HTTP/2 to servers: each carries many requests, and more are opened with load.
//!
//! One store per engine thread, so no lock. Requests fill one connection before the next is opened; while one is being
//! opened, others wait for it instead of opening their own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use tokio::sync::Notify;

use super::connect::{ConnectError, Limits, connect};
use super::tls::ClientTls;
use crate::net::{Address, Endpoint, Stream};
use crate::server::Server;
use crate::wire::h2::{ClientSession, ClientStream, Liveness, client};

/// How the connections of a pool are used.
#[derive(Clone, Copy, Debug)]
pub struct Http2 {
    /// Requests at once over one connection, unless the server allows less.
    pub streams: u32,
    pub liveness: Liveness,
    /// A connection without a request is closed after this time.
    pub life: Duration,
}

/// The connections of one engine thread.
#[derive(Default)]
pub struct Sessions {
    /// By server id.
    servers: RefCell<HashMap<u64, Group, RandomState>>,
}

/// The connections to one server.
#[derive(Default)]
struct Group {
    open: Vec<Open>,
    opening: Option<Rc<Opening>>,
}

struct Open {
    session: ClientSession,
    scheme: &'static str,
    life: Duration,
    /// Since when it has had no request.
    idle_since: Option<Instant>,
}

/// A connection that is being made, for those that wait for it.
#[derive(Default)]
struct Opening {
    failure: RefCell<Option<ConnectError>>,
    over: Notify,
}

impl Sessions {
    /// A stream for one request to `server`, on a connection that has room or on a new one made within `limits`.
    pub async fn open(
        &self,
        server: &Server,
        tls: Option<(&ClientTls, &Address)>,
        limits: Limits,
        http2: &Http2,
    ) -> Result<ClientStream, ConnectError> {
        loop {
            if let Some(stream) = self.find(server.id, http2) {
                return Ok(stream);
            }
            let opening = self.servers.borrow_mut().entry(server.id).or_default().opening.clone();
            let Some(opening) = opening else { return self.connect(server, tls, limits, http2).await };
            opening.over.notified().await;
            if let Some(failure) = &*opening.failure.borrow() {
                return Err(failure.clone());
            }
        }
    }

    /// Closes connections that were idle for their time, and forgets those that ended. Called every half second.
    pub fn sweep(&self, now: Instant) {
        self.servers.borrow_mut().retain(|_, group| {
            group.open.retain_mut(|open| {
                if !open.session.is_usable() {
                    open.session.leave();
                    return false;
                }
                if !open.session.is_idle() {
                    open.idle_since = None;
                    return true;
                }
                let since = *open.idle_since.get_or_insert(now);
                let stays = now.saturating_duration_since(since) < open.life;
                if !stays {
                    open.session.leave();
                }
                stays
            });
            !group.open.is_empty() || group.opening.is_some()
        });
    }

    /// A stream of a connection to this server that has room.
    pub fn find(&self, server: u64, http2: &Http2) -> Option<ClientStream> {
        let mut servers = self.servers.borrow_mut();
        let group = servers.get_mut(&server)?;
        let open = group.open.iter_mut().find(|open| open.session.has_room(http2.streams))?;
        open.idle_since = None;
        open.session.open(open.scheme)
    }

    async fn connect(
        &self,
        server: &Server,
        tls: Option<(&ClientTls, &Address)>,
        limits: Limits,
        http2: &Http2,
    ) -> Result<ClientStream, ConnectError> {
        let opening = Rc::new(Opening::default());
        let turn = Turn { sessions: self, server: server.id, opening: Rc::clone(&opening) };
        self.servers.borrow_mut().entry(server.id).or_default().opening = Some(Rc::clone(&opening));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let started = Instant::now();
        let outcome = open_session(&server.endpoint, tls, limits, http2).await;
        if outcome.is_ok() {
            server.metrics.connect.observe(started.elapsed());
        }
        let outcome = outcome.and_then(|session| {
            let stream = session.has_room(http2.streams).then(|| session.open(scheme)).flatten();
            let refused = || {
                // Nobody else knows of it.
                session.leave();
                refused(&server.endpoint, "the server allows no stream, or went away at once".to_owned())
            };
            Ok((stream.ok_or_else(refused)?, session))
        });
        let outcome = outcome.map(|(stream, session)| {
            let open = Open { session, scheme, life: http2.life, idle_since: None };
            self.servers.borrow_mut().entry(server.id).or_default().open.push(open);
            stream
        });
        *opening.failure.borrow_mut() = outcome.as_ref().err().cloned();
        drop(turn);
        outcome
    }
}

/// The right to open a connection; when it ends, however it does, those that wait look again.
struct Turn<'s> {
    sessions: &'s Sessions,
    server: u64,
    opening: Rc<Opening>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(group) = self.sessions.servers.borrow_mut().get_mut(&self.server) {
            group.opening = None;
        }
        self.opening.over.notify_waiters();
    }
}

/// Connects, shakes hands, and waits for the server's settings: they say how much it takes.
async fn open_session(
    endpoint: &Endpoint,
    tls: Option<(&ClientTls, &Address)>,
    limits: Limits,
    http2: &Http2,
) -> Result<ClientSession, ConnectError> {
    let (liveness, limit) = (http2.liveness, limits.connect);
    let opening = async {
        let stream = connect(endpoint, tls, limits).await?;
        must_speak_http2(&stream, endpoint)?;
        let (session, mut driver) = ClientSession::new(stream);
        poll_fn(|cx| {
            loop {
                match driver.poll(cx) {
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(closed)) => {
                        let reason = format!("no HTTP/2: {}", closed.detail);
                        return Poll::Ready(Err(refused(endpoint, reason)));
                    }
                    Poll::Pending if driver.is_open() => return Poll::Ready(Ok(())),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await?;
        tokio::task::spawn_local(client::run(driver, liveness));
        Ok(session)
    };
    match pingora_timeout::timeout(limit, opening).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ConnectError::Timeout { endpoint: endpoint.clone(), limit }),
    }
}

/// Over TLS, the server must have agreed to HTTP/2 (RFC 9113 section 3.2); without, nobody asked it.
pub fn must_speak_http2(stream: &Stream, endpoint: &Endpoint) -> Result<(), ConnectError> {
    match stream {
        Stream::Client(tls) if tls.get_ref().1.alpn_protocol() != Some(b"h2") => {
            let reason = "the server does not offer HTTP/2 (ALPN `h2`)".to_owned();
            Err(ConnectError::Tls { endpoint: endpoint.clone(), reason })
        }
        _ => Ok(()),
    }
}

fn refused(endpoint: &Endpoint, reason: String) -> ConnectError {
    ConnectError::Refused { endpoint: endpoint.clone(), reason }
}
