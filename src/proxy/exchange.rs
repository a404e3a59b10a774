//! What is known about one request so far, and its one record at the end.
//!
//! Each field names the step that fills it; steps only use what earlier ones wrote.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::engine::Heads;
use super::fault::Failure;
use crate::listener::TrustedPeer;
use crate::observe::metrics::{ExchangeFigures, RouteMetrics};
use crate::observe::{AccessLog, Fault, Record};
use crate::server::Server;
use crate::snapshot::{Listener, Route, Snapshot, Target};
use crate::tls::Session;
use crate::wire::head::{Head, Known};

/// The client's side of a connection: fixed for its life.
pub struct Peer {
    pub listener: Arc<Listener>,
    /// The other end of the socket, or what its PROXY header announced; `None` on a unix socket.
    pub address: Option<SocketAddr>,
    /// Its word about the client is believed.
    pub trusted: Option<TrustedPeer>,
    /// Port that the client came to; 0 on a unix socket.
    pub port: u16,
    pub session: Option<Session>,
}

impl Peer {
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.map(|address| address.ip().to_canonical())
    }
}

/// Where and when an exchange began.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The first byte of its head.
    pub at: Instant,
    /// The same since 1970.
    pub time: Duration,
    /// Bytes that the connection had read and written before it.
    pub read: u64,
    pub written: u64,
}

/// One request and its answer.
pub struct Exchange<'s> {
    pub snapshot: &'s Snapshot,
    pub peer: &'s Peer,
    pub start: Start,
    /// Who asked; step `begin`.
    pub client: Option<IpAddr>,
    /// `http` or `https` as the client spoke it; step `begin`.
    pub scheme: &'static str,
    /// Step `begin`.
    pub request_id: String,
    /// Step `route`.
    pub route: Option<&'s Route>,
    /// The pool among those of the route; step `route`.
    pub target: Option<&'s Target>,
    /// The server tried last; step `attempt`.
    pub server: Option<Arc<Server>>,
    /// Sent to the client; 0 before; step `respond`.
    pub status: u16,
    /// The head of the answer is on its way: no other can be sent.
    pub answered: bool,
    pub failure: Option<Failure>,
    pub attempts: u32,
    pub reused: bool,
    /// Waiting in the pool's queue; `None` when it did not.
    pub queue: Option<Duration>,
    /// Making the last connection; `None` when it was reused.
    pub connect: Option<Duration>,
    pub first_byte: Option<Duration>,
    /// Body bytes both ways.
    pub body_in: u64,
    pub body_out: u64,
    pub tunnel: bool,
}

impl<'s> Exchange<'s> {
    pub fn new(snapshot: &'s Snapshot, peer: &'s Peer, start: Start) -> Self {
        Self {
            snapshot,
            peer,
            start,
            client: peer.ip(),
            scheme: if peer.session.is_some() { "https" } else { "http" },
            request_id: String::new(),
            route: None,
            target: None,
            server: None,
            status: 0,
            answered: false,
            failure: None,
            attempts: 0,
            reused: false,
            queue: None,
            connect: None,
            first_byte: None,
            body_in: 0,
            body_out: 0,
            tunnel: false,
        }
    }

    /// Names and handles that a tunnel keeps when it lets the snapshot go.
    pub fn keep(&self, heads: &Heads) -> Kept {
        let (route, pool) =
            (self.route.map(|route| &route.name), self.target.map(|target| &target.plan.pool.name));
        Kept {
            listener: Arc::clone(&self.peer.listener),
            log: self.snapshot.access_log.clone(),
            metrics: self.metrics().clone(),
            peer: self.peer.address,
            client: self.client,
            route: route.cloned(),
            pool: pool.cloned(),
            server: self.server.clone(),
            request: heads.request.clone(),
            tls_version: self.peer.session.as_ref().map_or("", |session| session.version),
            sni: self.peer.session.as_ref().and_then(|session| session.server_name.clone()),
            request_id: self.request_id.clone(),
            start: self.start,
            status: self.status,
            attempts: self.attempts,
            reused: self.reused,
            queue: self.queue,
            connect: self.connect,
            first_byte: self.first_byte,
        }
    }

    fn metrics(&self) -> &RouteMetrics {
        match (self.target, self.route) {
            (Some(target), _) => &target.metrics,
            (None, Some(route)) => &route.metrics,
            (None, None) => &self.snapshot.unrouted,
        }
    }

    /// The one record of this exchange: metrics and access log.
    pub fn record(&self, request: &Head, read: u64, written: u64) {
        let (bytes_in, bytes_out) = (read - self.start.read, written - self.start.written);
        let duration = self.start.at.elapsed();
        let fault = self.failure.as_ref().map(|failure| failure.fault);
        self.metrics().observe(&ExchangeFigures {
            status: self.status,
            fault,
            duration,
            first_byte: self.first_byte,
            bytes_in,
            bytes_out,
            tunnel: self.tunnel,
        });
        let Some(log) = &self.snapshot.access_log else { return };
        let session = self.peer.session.as_ref();
        log.write(&Record {
            time: self.start.time,
            listener: &self.peer.listener.name,
            client: self.client,
            peer: self.peer.address,
            host: request.get(Known::Host).unwrap_or_default(),
            method: request.method_text().as_bytes(),
            target: request.target(),
            version: request.version.as_str(),
            route: self.route.map_or("", |route| &route.name),
            pool: self.target.map_or("", |target| &target.plan.pool.name),
            server: self.server.as_ref().map_or("", |server| &server.identity),
            status: Some(self.status),
            fault,
            detail: self.failure.as_ref().map_or("", |failure| &failure.detail),
            bytes_in,
            bytes_out,
            body_in: self.body_in,
            body_out: self.body_out,
            duration,
            queue: self.queue,
            connect: self.connect,
            first_byte: self.first_byte,
            attempts: self.attempts,
            reused: self.reused,
            tunnel: self.tunnel,
            tls_version: session.map_or("", |session| session.version),
            sni: session.and_then(|session| session.server_name.as_deref()).unwrap_or_default(),
            request_id: &self.request_id,
            user_agent: request.get(Known::UserAgent).unwrap_or_default(),
            referer: request.get(Known::Referer).unwrap_or_default(),
        });
    }
}

/// What a tunnel's record is made of, without the snapshot.
pub struct Kept {
    pub listener: Arc<Listener>,
    log: Option<Arc<AccessLog>>,
    metrics: RouteMetrics,
    peer: Option<SocketAddr>,
    client: Option<IpAddr>,
    route: Option<Arc<str>>,
    pool: Option<Arc<str>>,
    server: Option<Arc<Server>>,
    request: Head,
    tls_version: &'static str,
    sni: Option<Box<str>>,
    request_id: String,
    start: Start,
    status: u16,
    attempts: u32,
    reused: bool,
    queue: Option<Duration>,
    connect: Option<Duration>,
    first_byte: Option<Duration>,
}

impl Kept {
    /// The one record of a tunnel, at its end. `moved` are its bytes from and to the client.
    pub fn record(&self, moved: (u64, u64), failure: Option<&Failure>) {
        let fault = failure.map(|failure| failure.fault).filter(|fault| *fault != Fault::ClientGone);
        let duration = self.start.at.elapsed();
        self.metrics.observe(&ExchangeFigures {
            status: self.status,
            fault,
            duration,
            first_byte: self.first_byte,
            bytes_in: moved.0,
            bytes_out: moved.1,
            tunnel: true,
        });
        let Some(log) = &self.log else { return };
        log.write(&Record {
            time: self.start.time,
            listener: &self.listener.name,
            client: self.client,
            peer: self.peer,
            host: self.request.get(Known::Host).unwrap_or_default(),
            method: self.request.method_text().as_bytes(),
            target: self.request.target(),
            version: self.request.version.as_str(),
            route: self.route.as_deref().unwrap_or_default(),
            pool: self.pool.as_deref().unwrap_or_default(),
            server: self.server.as_ref().map_or("", |server| &server.identity),
            status: Some(self.status),
            fault,
            detail: failure.map_or("", |failure| &failure.detail),
            bytes_in: moved.0,
            bytes_out: moved.1,
            duration,
            queue: self.queue,
            connect: self.connect,
            first_byte: self.first_byte,
            attempts: self.attempts,
            reused: self.reused,
            tunnel: true,
            tls_version: self.tls_version,
            sni: self.sni.as_deref().unwrap_or_default(),
            request_id: &self.request_id,
            user_agent: self.request.get(Known::UserAgent).unwrap_or_default(),
            referer: self.request.get(Known::Referer).unwrap_or_default(),
            ..Record::default()
        });
    }
}
