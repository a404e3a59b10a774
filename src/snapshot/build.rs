//! From the file to the plan: every Spec compiled, every name resolved, every file read.
//!
//! Problems that only show here (a certificate that does not fit its key) are collected, each with the key that it
//! belongs to. If there is one, there is no plan. What is as it was in the plan before is taken from there; building
//! changes nothing of that plan, `Built::commit` does.

mod pools;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::time::Instant;

use super::{Action, Listener, PoolPlan, RedirectTo, Route, Snapshot, Target, Timeouts};
use crate::clock;
use crate::config::File;
use crate::filter::{self, Filters};
use crate::life::Life;
use crate::listener::spec::Protocol;
use crate::listener::{self, Trusted};
use crate::net::{Address, Endpoint};
use crate::observe::AccessLog;
use crate::observe::metrics::Metrics;
use crate::route::{self, Redirect, Rewrite, Split, Table, respond};
use crate::server::{self, Server, process_ms};
use crate::tls::{self, Terminator};
use crate::units::{ByteRate, Bytes};
use crate::upstream::SystemRoots;
use crate::wire::h2::{Rates, SessionLimits};
use crate::wire::rules::Limits;

/// ALPN names, the preferred one first.
const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];
const HTTP1: &[&[u8]] = &[b"http/1.1"];
const HTTP2: &[&[u8]] = &[b"h2"];

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
    /// Certificates of listeners that stay, read anew.
    renewals: Vec<(Arc<Listener>, tls::Renewal)>,
}

impl Built {
    /// Makes it the plan that is in force in the parts that it shares with the one before: certificates, and pools, which
    /// hand over their waiting requests and their sessions. The snapshot is to be published at once.
    pub fn commit(self, before: Option<&Snapshot>) -> Snapshot {
        for (listener, renewal) in self.renewals {
            let Some(tls) = &listener.tls else { continue };
            tls.renew(renewal);
            for (metrics, expiry) in listener.certificates.iter().zip(tls.expiries()) {
                metrics.expiry.record(expiry.not_after);
            }
        }
        for (name, plan) in &self.snapshot.pools {
            let old = before.and_then(|before| before.pools.get(name));
            let old = old.filter(|old| !Arc::ptr_eq(&old.pool, &plan.pool));
            plan.pool.settle_servers();
            if let Some(old) = old {
                old.pool.succeed(&plan.pool);
            }
        }
        self.snapshot
    }
}

/// What the plan is built with.
pub struct Surroundings<'a> {
    pub metrics: Arc<Metrics>,
    pub access_log: Option<Arc<AccessLog>>,
    /// Where the sticky key is kept; `None` when the file is only checked, and nothing may be written.
    pub state_directory: Option<&'a Path>,
    /// The plan in force.
    pub before: Option<&'a Snapshot>,
}

/// Builds the plan of a file that has passed its own checks.
pub fn build(file: &File, surroundings: &Surroundings<'_>) -> Result<Built, Vec<Problem>> {
    let mut builder = Builder {
        surroundings,
        roots: SystemRoots::default(),
        problems: Vec::new(),
        warnings: Vec::new(),
        renewals: Vec::new(),
        lives: BTreeMap::new(),
    };
    let pools = builder.pools(file);
    let listeners = builder.listeners(file);
    let routes = builder.routes(file, &pools);
    builder.warnings.extend(super::exposure::exposed(file));
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
        lives: builder.lives,
    };
    Ok(Built { snapshot, warnings: builder.warnings, renewals: builder.renewals })
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
    renewals: Vec<(Arc<Listener>, tls::Renewal)>,
    lives: BTreeMap<Arc<str>, Arc<Life>>,
}

impl Builder<'_> {
    fn problem(&mut self, at: String, message: impl ToString) {
        self.problems.push(Problem { at, message: message.to_string() });
    }

    fn listeners(&mut self, file: &File) -> Vec<Arc<Listener>> {
        file.listeners.iter().filter_map(|(name, spec)| self.listener(name, spec, file)).collect()
    }

    /// The listener from before where nothing but the content of its files can be new.
    fn listener(&mut self, name: &str, spec: &listener::Spec, file: &File) -> Option<Arc<Listener>> {
        let redirect_to = spec.redirect_to.as_ref().and_then(|to| redirect_to(to, file));
        let before = self.surroundings.before.into_iter().flat_map(|before| &before.listeners);
        let before = before.clone().find(|listener| *listener.name == *name);
        let same = before.filter(|before| before.spec == *spec && self.redirects_alike(spec, file));
        let Some(same) = same else {
            return self.new_listener(name, spec, redirect_to, before).map(Arc::new);
        };
        if let Some(tls) = &same.tls {
            let renewal = tls.read_again(clock::since_epoch());
            let renewal = renewal.map_err(|errors| self.tls_problems(name, errors)).ok()?;
            self.tls_warnings(name, renewal.warnings.clone());
            self.renewals.push((Arc::clone(same), renewal));
        }
        Some(Arc::clone(same))
    }

    /// Whether the listener that everything is redirected to is where it was.
    fn redirects_alike(&self, spec: &listener::Spec, file: &File) -> bool {
        let Some(to) = &spec.redirect_to else { return true };
        let before = self.surroundings.before.into_iter().flat_map(|before| &before.listeners);
        let before = before.clone().find(|listener| *listener.name == **to).map(|listener| &listener.spec);
        let place = |spec: &listener::Spec| (spec.address.clone(), spec.tls.is_some());
        before.map(place) == file.listeners.get(to).map(place)
    }

    fn tls_problems(&mut self, listener: &str, errors: Vec<tls::BuildError>) {
        for error in errors {
            self.problem(format!("listeners.{listener}.tls.{}", error.at), error.message);
        }
    }

    fn tls_warnings(&mut self, listener: &str, warnings: Vec<tls::Warning>) {
        let at = |warning: tls::Warning| Problem {
            at: format!("listeners.{listener}.tls.{}", warning.at),
            message: warning.message,
        };
        self.warnings.extend(warnings.into_iter().map(at));
    }

    fn new_listener(
        &mut self,
        name: &str,
        spec: &listener::Spec,
        redirect_to: Option<RedirectTo>,
        before: Option<&Arc<Listener>>,
    ) -> Option<Listener> {
        let metrics = &self.surroundings.metrics;
        let before = before.and_then(|before| before.tls.as_ref());
        let tls = match &spec.tls {
            None => None,
            Some(tls) => match Terminator::build(tls, protocols(spec), clock::since_epoch(), before) {
                Ok((terminator, warnings)) => {
                    self.tls_warnings(name, warnings);
                    Some(terminator)
                }
                Err(errors) => {
                    self.tls_problems(name, errors);
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
            redirect_to,
            life: Life::default(),
            metrics: metrics.listener(name),
            http2: session_limits(limits, head),
            limits: head,
            body_limit: limits.body.count(),
            timeouts: Timeouts {
                tls_handshake: timeouts.tls_handshake.std(),
                head: timeouts.head.std(),
                body_idle: timeouts.body_idle.std(),
                body_rate: timeouts.body_rate.map(ByteRate::per_second),
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
        let key: Arc<str> = match &spec.name {
            Some(name) => name.as_str().into(),
            // Its place in the file, of which its name is made, may move.
            None => serde_json::to_string(&spec.matches).unwrap_or_default().into(),
        };
        let before = self.surroundings.before.and_then(|before| before.lives.get(&key));
        let life = self.lives.entry(key).or_insert_with(|| before.cloned().unwrap_or_default());
        Some(Route {
            life: Arc::clone(life),
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
