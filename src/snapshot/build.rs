//! From the file to the plan: every Spec compiled, every name resolved, every file read.
//!
//! Problems that only show here (a certificate that does not fit its key) are collected, each with the key that it
//! belongs to. If there is one, there is no plan.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::time::{Duration, Instant};

use super::{Action, Listener, PoolPlan, RedirectTo, Route, Snapshot, Target, Timeouts};
use crate::clock;
use crate::config::File;
use crate::discovery::{Answers, Poke, expand};
use crate::filter::{self, Filters};
use crate::listener::spec::Protocol;
use crate::listener::{self, Trusted};
use crate::net::{Address, Endpoint};
use crate::observe::AccessLog;
use crate::observe::metrics::Metrics;
use crate::pool::spec::{RetryOn, StickySpec};
use crate::pool::{self, Pool, StickyKey};
use crate::route::{self, Redirect, Rewrite, Split, Table, respond};
use crate::server::{self, Server, process_ms};
use crate::tls::Terminator;
use crate::units::Bytes;
use crate::upstream::{ClientTls, Http2, SystemRoots};
use crate::wire::h2::{Liveness, Rates, SessionLimits};
use crate::wire::rules::Limits;

/// ALPN names, the preferred one first.
const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];
const HTTP1: &[&[u8]] = &[b"http/1.1"];
const HTTP2: &[&[u8]] = &[b"h2"];

/// How long a connection of HTTP/2 to a server may be idle when the user writes nothing.
const HTTP2_LIFE: Duration = Duration::from_secs(60);

/// Something wrong that only showed while building.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the key, such as `listeners.https.tls.certificates[0].key`.
    pub at: String,
    pub message: String,
}

/// A plan, and what is not right but no reason to refuse it.
pub struct Built {
    pub snapshot: Snapshot,
    pub warnings: Vec<Problem>,
}

/// What the plan is built with.
pub struct Surroundings<'a> {
    pub metrics: Arc<Metrics>,
    pub access_log: Option<Arc<AccessLog>>,
    /// Where the sticky key is kept; `None` when the file is only checked, and nothing may be written.
    pub state_directory: Option<&'a Path>,
}

/// Builds the plan of a file that has passed its own checks.
pub fn build(file: &File, surroundings: &Surroundings<'_>) -> Result<Built, Vec<Problem>> {
    let mut builder =
        Builder { surroundings, roots: SystemRoots::default(), problems: Vec::new(), warnings: Vec::new() };
    let pools = builder.pools(file);
    let listeners = builder.listeners(file);
    let routes = builder.routes(file, &pools);
    let metrics = &surroundings.metrics;
    let (Some(routes), true) = (routes, builder.problems.is_empty()) else { return Err(builder.problems) };
    let snapshot = Snapshot {
        listeners,
        routes,
        pools,
        access_log: surroundings.access_log.clone(),
        metrics: Arc::clone(metrics),
        unrouted: metrics.route("", None),
        drain_timeout: file.runtime.drain_timeout.std(),
    };
    Ok(Built { snapshot, warnings: builder.warnings })
}

/// Makes a server of a pool, with its metrics reading its state.
pub fn make_server(
    metrics: &Arc<Metrics>,
    pool: &Arc<str>,
    identity: Arc<str>,
    endpoint: Endpoint,
    spec: &server::Spec,
) -> Arc<Server> {
    let handles = metrics.server(pool, &identity);
    let server = Arc::new(Server::new(Arc::clone(pool), identity, endpoint, spec.clone(), handles));
    let reading = Arc::downgrade(&server);
    server
        .metrics
        .read_state(move || reading.upgrade().map(|server| server.state.reading(process_ms(Instant::now()))));
    server
}

struct Builder<'a> {
    roots: SystemRoots,
    surroundings: &'a Surroundings<'a>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Builder<'_> {
    fn problem(&mut self, at: String, message: impl ToString) {
        self.problems.push(Problem { at, message: message.to_string() });
    }

    fn pools(&mut self, file: &File) -> BTreeMap<String, Arc<PoolPlan>> {
        let plans = file.pools.iter().filter_map(|(name, spec)| {
            let plan = match spec.workers_of.as_ref().and_then(|other| file.pools.get(other)) {
                // Its servers are judged by the checks of their own pool.
                Some(owner) => {
                    let health_check = owner.health_check.clone();
                    self.pool(name, &pool::Spec { health_check, ..spec.clone() })
                }
                None => self.pool(name, spec),
            };
            Some((name.clone(), plan?))
        });
        plans.collect()
    }

    fn pool(&mut self, name: &str, spec: &pool::Spec) -> Option<Arc<PoolPlan>> {
        let metrics = &self.surroundings.metrics;
        let shared: Arc<str> = name.into();
        let make =
            |identity, endpoint, spec: &server::Spec| make_server(metrics, &shared, identity, endpoint, spec);
        let servers = expand(&spec.servers, &Answers::new(), &[], make);
        let key = self.sticky_key(name, spec);
        let is_http2 = spec.protocol == pool::spec::Protocol::Http2;
        let protocols = if is_http2 { HTTP2 } else { HTTP1 };
        let tls = spec.tls.as_ref().map(|tls| ClientTls::build(tls, protocols, &self.roots)).transpose();
        let tls = match tls {
            Ok(tls) => tls,
            Err(errors) => {
                for error in errors {
                    self.problem(format!("pools.{name}.tls.{}", error.at), error.message);
                }
                return None;
            }
        };
        self.check_names(name, spec, tls.as_ref());
        let pool = Pool::build(Arc::clone(&shared), spec.clone(), servers, key.as_ref(), metrics.pool(name));
        let on = &spec.retries.on;
        let statuses = [(RetryOn::Status502, 502), (RetryOn::Status503, 503), (RetryOn::Status504, 504)];
        Some(Arc::new(PoolPlan {
            pool,
            tls,
            http2: is_http2.then(|| http2(spec)),
            connect: spec.timeouts.connect.std(),
            response: spec.timeouts.response.std(),
            body_idle: spec.timeouts.body_idle.std(),
            tunnel_idle: spec.timeouts.tunnel_idle.std(),
            server_keep_alive: spec.timeouts.server_keep_alive.map(|life| life.std()),
            poke: Poke::default(),
            retry_statuses: statuses
                .iter()
                .filter(|(key, _)| on.contains(key))
                .map(|(_, status)| *status)
                .collect(),
            retry_connect: on.contains(&RetryOn::ConnectFailure),
            retry_reset: on.contains(&RetryOn::Reset),
        }))
    }

    /// With TLS every server needs a name that its certificate can be verified for.
    fn check_names(&mut self, name: &str, spec: &pool::Spec, tls: Option<&ClientTls>) {
        let Some(tls) = tls else { return };
        for (place, server) in spec.servers.iter().enumerate() {
            if let Err(error) = tls.server_name(&server.address) {
                self.problem(format!("pools.{name}.servers[{place}]"), error);
            }
        }
    }

    fn sticky_key(&mut self, name: &str, spec: &pool::Spec) -> Option<StickyKey> {
        let Some(StickySpec::Cookie(cookie)) = &spec.sticky else { return None };
        let (key, at) = match (&cookie.secret, self.surroundings.state_directory) {
            (Some(secret), _) => (StickyKey::load(&secret.file), format!("pools.{name}.sticky.secret.file")),
            (None, Some(state)) => (StickyKey::load_or_create(state), format!("pools.{name}.sticky")),
            (None, None) => return None,
        };
        key.map_err(|error| self.problem(at, error)).ok()
    }

    fn listeners(&mut self, file: &File) -> Vec<Arc<Listener>> {
        file.listeners
            .iter()
            .filter_map(|(name, spec)| self.listener(name, spec, file))
            .map(Arc::new)
            .collect()
    }

    fn listener(&mut self, name: &str, spec: &listener::Spec, file: &File) -> Option<Listener> {
        let metrics = &self.surroundings.metrics;
        let tls = match &spec.tls {
            None => None,
            Some(tls) => match Terminator::build(tls, protocols(spec), clock::since_epoch()) {
                Ok((terminator, warnings)) => {
                    let at = |warning: crate::tls::Warning| Problem {
                        at: format!("listeners.{name}.tls.{}", warning.at),
                        message: warning.message,
                    };
                    self.warnings.extend(warnings.into_iter().map(at));
                    Some(terminator)
                }
                Err(errors) => {
                    for error in errors {
                        self.problem(format!("listeners.{name}.tls.{}", error.at), error.message);
                    }
                    return None;
                }
            },
        };
        let certificates = tls.iter().flat_map(Terminator::expiries).map(|expiry| {
            let handle = metrics.certificate(name, &expiry.path.display().to_string());
            handle.expiry.record(expiry.not_after);
            handle
        });
        let certificates = certificates.collect();
        let (limits, timeouts) = (&spec.limits, &spec.timeouts);
        let head =
            Limits { head: limits.head.size(), fields: limits.headers as usize, target: limits.uri.size() };
        Some(Listener {
            certificates,
            name: name.into(),
            trusted: Trusted::compile(&spec.trusted_proxies),
            tls,
            redirect_to: spec.redirect_to.as_ref().and_then(|to| redirect_to(to, file)),
            metrics: metrics.listener(name),
            http2: session_limits(limits, head),
            limits: head,
            body_limit: limits.body.count(),
            timeouts: Timeouts {
                tls_handshake: timeouts.tls_handshake.std(),
                head: timeouts.head.std(),
                body_idle: timeouts.body_idle.std(),
                keep_alive: timeouts.keep_alive.std(),
                write_idle: timeouts.write_idle.std(),
            },
            spec: spec.clone(),
        })
    }

    fn routes(&mut self, file: &File, pools: &BTreeMap<String, Arc<PoolPlan>>) -> Option<Table<Route>> {
        let policies = self.policies(file);
        let mut routes = Vec::with_capacity(file.routes.len());
        for (place, spec) in file.routes.iter().enumerate() {
            let route = self.route(place, spec, pools, &policies);
            routes.extend(route.map(|route| (&spec.matches, route)));
        }
        if routes.len() < file.routes.len() {
            return None;
        }
        match Table::build(routes) {
            Ok(table) => Some(table),
            Err(problems) => {
                for problem in problems {
                    let other = problem.other.map(|other| format!(" (routes[{other}])")).unwrap_or_default();
                    self.problem(
                        format!("routes[{}].{}", problem.route, problem.at),
                        problem.message + &other,
                    );
                }
                None
            }
        }
    }

    fn policies<'f>(&mut self, file: &'f File) -> BTreeMap<&'f str, Filters> {
        let mut compiled = BTreeMap::new();
        for (name, specs) in &file.policies {
            match Filters::compile(specs) {
                Ok(filters) => _ = compiled.insert(name.as_str(), filters),
                Err(problems) => {
                    for filter::CompileProblem { at, message } in problems {
                        self.problem(format!("policies.{name}{at}"), message);
                    }
                }
            }
        }
        compiled
    }

    fn route(
        &mut self,
        place: usize,
        spec: &route::Spec,
        pools: &BTreeMap<String, Arc<PoolPlan>>,
        policies: &BTreeMap<&str, Filters>,
    ) -> Option<Route> {
        let name = spec.name.clone().unwrap_or_else(|| format!("route-{}", place + 1));
        let action = match (&spec.redirect, &spec.respond) {
            (Some(redirect), _) => {
                Redirect::compile(redirect, spec.matches.path.as_ref()).map(Action::Redirect)
            }
            (None, Some(respond)) => respond::compile(respond).map(Action::Respond),
            (None, None) => Ok(self.forward(&name, place, spec, pools)?),
        };
        let rewrite = Rewrite::compile(&spec.rewrite);
        let (action, rewrite) = match (action, rewrite) {
            (Ok(action), Ok(rewrite)) => (action, rewrite),
            (action, rewrite) => {
                for problem in action.err().into_iter().chain(rewrite.err()).flatten() {
                    self.problem(format!("routes[{place}].{}", problem.at), problem.message);
                }
                return None;
            }
        };
        Some(Route {
            metrics: self.surroundings.metrics.route(&name, None),
            name: name.into(),
            action,
            filters: spec.policies.iter().filter_map(|policy| policies.get(policy.as_str())).collect(),
            rewrite,
            upgrades: spec.upgrades.clone(),
        })
    }

    fn forward(
        &mut self,
        name: &str,
        place: usize,
        spec: &route::Spec,
        pools: &BTreeMap<String, Arc<PoolPlan>>,
    ) -> Option<Action> {
        let split = Split::compile(spec.to.values().copied());
        let split = split.map_err(|error| self.problem(format!("routes[{place}].to"), error)).ok()?;
        let metrics = &self.surroundings.metrics;
        // A pool that is missing here had a problem of its own.
        let target = |pool: &String| {
            let plan = Arc::clone(pools.get(pool)?);
            Some(Target { plan, metrics: metrics.route(name, Some(pool)) })
        };
        let targets = spec.to.keys().map(target).collect::<Option<Vec<_>>>()?;
        Some(Action::Forward { split, targets })
    }
}

fn http2(spec: &pool::Spec) -> Http2 {
    Http2 {
        streams: spec.http2.streams,
        liveness: Liveness {
            ping_after: spec.http2.ping_after.std(),
            ping_timeout: spec.http2.ping_timeout.std(),
        },
        life: spec.timeouts.server_keep_alive.map_or(HTTP2_LIFE, |life| life.std()),
    }
}

/// What a listener offers by ALPN. HTTP/2 is preferred where both are.
fn protocols(spec: &listener::Spec) -> &'static [&'static [u8]] {
    match (spec.offers(Protocol::Http1), spec.offers(Protocol::Http2)) {
        (true, true) => BOTH,
        (_, false) => HTTP1,
        (false, true) => HTTP2,
    }
}

fn session_limits(limits: &listener::spec::Limits, head: Limits) -> SessionLimits {
    let http2 = &limits.http2;
    let window = |bytes: Bytes| u32::try_from(bytes.count()).unwrap_or(u32::MAX);
    SessionLimits {
        streams: http2.streams,
        stream_window: window(http2.stream_window),
        connection_window: window(http2.connection_window),
        rates: Rates { resets: http2.resets_per_second, control: http2.control_frames_per_second },
        head,
    }
}

/// The listener that everything is sent to.
fn redirect_to(name: &str, file: &File) -> Option<RedirectTo> {
    let to = file.listeners.get(name)?;
    let port = match &to.address {
        Address::Inet(address) => address.port(),
        Address::Host { port, .. } => *port,
        Address::Unix(_) => 0,
    };
    let scheme = if to.tls.is_some() { "https" } else { "http" };
    Some(RedirectTo { listener: name.to_owned(), scheme, port: Arc::new(AtomicU16::new(port)) })
}
