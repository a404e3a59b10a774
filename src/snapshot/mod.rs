//! The immutable running plan: listeners, routes and pools with every name resolved.
//!
//! One request sees one snapshot, from its head to its record. What changes under it (health, load,
//! certificates) lives in atomics inside the parts.

pub mod build;
mod exposure;

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::discovery::Poke;
use crate::filter::Filters;
use crate::life::Life;
use crate::listener::Trusted;
use crate::listener::spec::{Protocol, ProxyProtocol};
use crate::observe::AccessLog;
use crate::observe::metrics::{CertificateMetrics, ListenerMetrics, Metrics, RouteMetrics};
use crate::pool::Pool;
use crate::reply::Reply;
use crate::route::{Redirect, Rewrite, Split, Table};
use crate::upstream::{self, ClientTls, Http2};
use crate::wire::h2::SessionLimits;
use crate::wire::head::Names;
use crate::wire::rules::Limits;
use crate::{listener, tls};

pub use build::{Problem, build};

/// Everything that serving needs.
pub struct Snapshot {
    pub listeners: Vec<Arc<Listener>>,
    pub routes: Table<Route>,
    pub pools: BTreeMap<String, Arc<PoolPlan>>,
    pub access_log: Option<Arc<AccessLog>>,
    pub metrics: Arc<Metrics>,
    /// Handles for requests that no route takes.
    pub unrouted: RouteMetrics,
    pub drain_timeout: Duration,
    /// Of every route, by name.
    pub lives: BTreeMap<Arc<str>, Arc<Life>>,
}

/// The snapshot that new requests see.
pub type Live = ArcSwap<Snapshot>;

/// One listener with what its connections need.
pub struct Listener {
    pub name: Arc<str>,
    pub spec: listener::Spec,
    pub trusted: Trusted,
    pub tls: Option<tls::Terminator>,
    /// Port of the listener that everything is redirected to.
    pub redirect_to: Option<RedirectTo>,
    pub metrics: ListenerMetrics,
    /// Shown while the listener is there.
    pub certificates: Vec<CertificateMetrics>,
    pub limits: Limits,
    pub body_limit: u64,
    /// What a connection of HTTP/2 may ask for.
    pub http2: SessionLimits,
    pub timeouts: Timeouts,
    /// Retired once another takes its place.
    pub life: Life,
}

impl Listener {
    /// Whether a connection speaks HTTP/2, by what its TLS handshake agreed on or by prior knowledge.
    pub fn is_http2(&self, session: Option<&tls::Session>) -> bool {
        if !self.spec.offers(Protocol::Http1) {
            return true;
        }
        session.and_then(|session| session.protocol) == Some(b"h2")
    }

    pub fn requires_proxy_header(&self) -> bool {
        self.spec.proxy_protocol == ProxyProtocol::Required
    }
}

/// Where `redirect_to` leads.
#[derive(Clone, Debug)]
pub struct RedirectTo {
    /// Name of the other listener; its port is known once it is bound.
    pub listener: String,
    pub scheme: &'static str,
    /// Port as configured; 0 until the system chose one.
    pub port: Arc<std::sync::atomic::AtomicU16>,
}

/// Deadlines of a listener as the standard library's type.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    pub tls_handshake: Duration,
    pub head: Duration,
    pub body_idle: Duration,
    /// Bytes per second.
    pub body_rate: Option<NonZeroU64>,
    pub keep_alive: Duration,
    pub write_idle: Duration,
}

/// One route with what it does.
pub struct Route {
    pub name: Arc<str>,
    pub action: Action,
    pub filters: Filters,
    pub rewrite: Rewrite,
    /// Upgrades passed on besides `websocket`, in lower case.
    pub upgrades: Vec<String>,
    /// Handles for what the route answers itself.
    pub metrics: RouteMetrics,
    /// The same over reloads, as long as there is a route of this name.
    pub life: Arc<Life>,
}

/// What a route does with its requests.
pub enum Action {
    /// To one of the targets, drawn by weight.
    Forward {
        split: Split,
        targets: Vec<Target>,
    },
    Redirect(Redirect),
    Respond(Reply),
}

/// One pool of a route.
pub struct Target {
    pub plan: Arc<PoolPlan>,
    pub metrics: RouteMetrics,
}

/// A pool with what its exchanges need.
pub struct PoolPlan {
    pub pool: Arc<Pool>,
    pub tls: Option<ClientTls>,
    /// The servers speak HTTP/2.
    pub http2: Option<Http2>,
    pub connect: upstream::Limits,
    pub response: Duration,
    pub body_idle: Duration,
    pub tunnel_idle: Duration,
    pub server_keep_alive: Option<Duration>,
    /// What its servers are told of how requests came.
    pub told: Names,
    /// Has host names looked up again when their addresses are in doubt.
    pub poke: Poke,
    /// Statuses that are tried again.
    pub retry_statuses: Vec<u16>,
    pub retry_connect: bool,
    pub retry_reset: bool,
    pub retry_timeout: bool,
}
