//! What is known about one request so far, and its one record at the end.
//!
//! Each field names the step that fills it; steps only use what earlier ones wrote.

use std::net::{IpAddr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::call::Call;
use super::engine::Heads;
use super::fault::Failure;
use crate::clock;
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
    /// Bytes that the connection had read and written before it.
    pub read: u64,
    pub written: u64,
}

/// What becomes known of a request, and ends up in its record.
#[derive(Clone, Debug)]
pub struct Facts {
    pub start: Start,
    /// Who asked; step `begin`.
    pub client: Option<IpAddr>,
    /// Step `begin`.
    pub request_id: String,
    /// The server tried last; step `attempt`.
    pub server: Option<Arc<Server>>,
    /// Sent to the client; 0 before; step `respond`.
    pub status: u16,
    pub attempts: u32,
    pub reused: bool,
    /// Waiting in the pool's queue; `None` when it did not.
    pub queue: Option<Duration>,
    /// The part of `queue` that the pool was paused for.
    pub paused: Duration,
    /// Making the last connection; `None` when it was reused.
    pub connect: Option<Duration>,
    pub first_byte: Option<Duration>,
    /// Body bytes both ways.
    pub body_in: u64,
    pub body_out: u64,
    pub tunnel: bool,
    /// A gRPC call's final status; step `respond`.
    pub grpc_status: Option<u8>,
}

/// One request and its answer.
pub struct Exchange<'s> {
    pub snapshot: &'s Snapshot,
    pub peer: &'s Peer,
    /// `http` or `https` as the client spoke it; step `begin`.
    pub scheme: &'static str,
    /// Step `route`.
    pub route: Option<&'s Route>,
    /// The pool among those of the route; step `route`.
    pub target: Option<&'s Target>,
    /// The request is a gRPC call; steps `begin` and `route`.
    pub call: Option<Call>,
    /// The head of the answer is on its way: no other can be sent.
    pub answered: bool,
    pub failure: Option<Failure>,
    facts: Facts,
}

impl Deref for Exchange<'_> {
    type Target = Facts;
    fn deref(&self) -> &Facts {
        &self.facts
    }
}

impl DerefMut for Exchange<'_> {
    fn deref_mut(&mut self) -> &mut Facts {
        &mut self.facts
    }
}

impl<'s> Exchange<'s> {
    pub fn new(snapshot: &'s Snapshot, peer: &'s Peer, start: Start) -> Self {
        let facts = Facts {
            start,
            client: peer.ip(),
            request_id: String::new(),
            server: None,
            status: 0,
            attempts: 0,
            reused: false,
            queue: None,
            paused: Duration::ZERO,
            connect: None,
            first_byte: None,
            body_in: 0,
            body_out: 0,
            tunnel: false,
            grpc_status: None,
        };
        Self {
            snapshot,
            peer,
            scheme: if peer.session.is_some() { "https" } else { "http" },
            route: None,
            target: None,
            call: None,
            answered: false,
            failure: None,
            facts,
        }
    }

    /// What a tunnel keeps when it lets the snapshot go.
    pub fn keep(&self, heads: &Heads) -> Kept {
        let (route, pool) =
            (self.route.map(|route| &route.name), self.target.map(|target| &target.plan.pool.name));
        Kept {
            listener: Arc::clone(&self.peer.listener),
            log: self.snapshot.access_log.clone(),
            metrics: self.metrics().clone(),
            peer: self.peer.address,
            route: route.cloned(),
            pool: pool.cloned(),
            request: heads.request.clone(),
            tls_version: self.peer.session.as_ref().map_or("", |session| session.version),
            sni: self.peer.session.as_ref().and_then(|session| session.server_name.clone()),
            facts: self.facts.clone(),
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
        let session = self.peer.session.as_ref();
        let names = Names {
            log: self.snapshot.access_log.as_deref(),
            metrics: self.metrics(),
            listener: &self.peer.listener.name,
            peer: self.peer.address,
            route: self.route.map_or("", |route| &route.name),
            pool: self.target.map_or("", |target| &target.plan.pool.name),
            tls_version: session.map_or("", |session| session.version),
            sni: session.and_then(|session| session.server_name.as_deref()).unwrap_or_default(),
        };
        let moved = (read - self.start.read, written - self.start.written);
        names.record(&self.facts, request, moved, self.failure.as_ref());
    }
}

/// Where a record goes, and the names in it.
struct Names<'a> {
    log: Option<&'a AccessLog>,
    metrics: &'a RouteMetrics,
    listener: &'a str,
    peer: Option<SocketAddr>,
    route: &'a str,
    pool: &'a str,
    tls_version: &'a str,
    sni: &'a str,
}

impl Names<'_> {
    /// `moved` are all bytes from and to the client.
    fn record(&self, facts: &Facts, request: &Head, moved: (u64, u64), failure: Option<&Failure>) {
        let duration = facts.start.at.elapsed();
        let fault = failure.map(|failure| failure.fault);
        self.metrics.observe(&ExchangeFigures {
            status: facts.status,
            fault,
            duration,
            first_byte: facts.first_byte,
            bytes_in: moved.0,
            bytes_out: moved.1,
            tunnel: facts.tunnel,
            grpc_status: facts.grpc_status,
        });
        let Some(log) = self.log else { return };
        log.write(&Record {
            time: clock::since_epoch().saturating_sub(duration),
            listener: self.listener,
            client: facts.client,
            peer: self.peer,
            host: request.get(Known::Host).unwrap_or_default(),
            method: request.method_text().as_bytes(),
            target: request.target(),
            version: request.version.as_str(),
            route: self.route,
            pool: self.pool,
            server: facts.server.as_ref().map_or("", |server| &server.identity),
            status: Some(facts.status),
            fault,
            detail: failure.map_or("", |failure| &failure.detail),
            bytes_in: moved.0,
            bytes_out: moved.1,
            body_in: facts.body_in,
            body_out: facts.body_out,
            duration,
            queue: facts.queue,
            connect: facts.connect,
            first_byte: facts.first_byte,
            attempts: facts.attempts,
            reused: facts.reused,
            tunnel: facts.tunnel,
            grpc_status: facts.grpc_status,
            tls_version: self.tls_version,
            sni: self.sni,
            request_id: &facts.request_id,
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
    route: Option<Arc<str>>,
    pool: Option<Arc<str>>,
    request: Head,
    tls_version: &'static str,
    sni: Option<Box<str>>,
    facts: Facts,
}

impl Kept {
    /// The one record of a tunnel, at its end. `moved` are its bytes from and to the client.
    pub fn record(&self, moved: (u64, u64), failure: Option<&Failure>) {
        let names = Names {
            log: self.log.as_deref(),
            metrics: &self.metrics,
            listener: &self.listener.name,
            peer: self.peer,
            route: self.route.as_deref().unwrap_or_default(),
            pool: self.pool.as_deref().unwrap_or_default(),
            tls_version: self.tls_version,
            sni: self.sni.as_deref().unwrap_or_default(),
        };
        // How clients leave tunnels.
        let failure = failure.filter(|failure| failure.fault != Fault::ClientGone);
        names.record(&self.facts, &self.request, moved, failure);
    }
}
