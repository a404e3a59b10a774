//! What is shown of the inside: the one place that turns it into JSON, so that its names are a contract. Keys are only ever
//! added. The types are the description's schemas too.

use std::time::Instant;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::office::Office;
use super::schema;
use crate::config;
use crate::config::render;
use crate::control::command::{self, InForce};
use crate::observe::metrics::{BOUNDS_US, Histogram};
use crate::server::{Health, process_ms};
use crate::snapshot::{self, PoolPlan};
use crate::{pool, server};

/// Listeners, pools, servers and workers at a glance.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Status {
    version: &'static str,
    last_reload: LastReload,
    listeners: Vec<Listener>,
    pools: Vec<Pool>,
}

/// How the last try to reload went.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LastReload {
    /// Seconds since 1970; null before the first.
    at: Option<u64>,
    /// What was wrong, as people read it; empty when the file was taken.
    problems: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Listeners {
    listeners: Vec<Listener>,
}

/// Where clients come in.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listener {
    name: String,
    /// As written.
    address: String,
    /// Whether it speaks TLS.
    tls: bool,
    /// Open now.
    connections: i64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Routes {
    routes: Vec<Route>,
}

/// Where some requests go.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Route {
    name: String,
    /// What a request must be like, as in the config; null keys hold for any.
    #[serde(rename = "match")]
    #[schemars(schema_with = "schema::object")]
    matches: Value,
    #[schemars(schema_with = "schema::action")]
    action: &'static str,
    /// The pools that it forwards to.
    pools: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Certificates {
    certificates: Vec<Certificate>,
}

/// One certificate of a listener.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Certificate {
    listener: String,
    /// The first name it is for.
    name: String,
    /// The file of the chain.
    file: String,
    /// When it ends to be valid, by RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    not_after: String,
    /// The same in seconds since 1970.
    not_after_s: i64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Pools {
    pools: Vec<Pool>,
}

/// A set of interchangeable servers.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Pool {
    name: String,
    /// Requests that wait for a server.
    waiting: usize,
    /// Until a pause ends by itself; null while there is none.
    paused_s: Option<f64>,
    servers: Vec<Server>,
    /// Servers of the file that were taken out by order.
    removed: Vec<Removed>,
    /// Null without an app.
    #[schemars(with = "Option<schema::App>")]
    app: Value,
}

/// A server that is in the file and not in the pool.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Removed {
    name: String,
    /// Over reloads.
    kept: bool,
}

/// What was ordered for a server while it runs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ServerOrder {
    #[schemars(schema_with = "schema::server_order")]
    what: &'static str,
    /// Over reloads.
    kept: bool,
}

/// One server of a pool.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Server {
    /// Names it in the paths of this interface, percent-encoded.
    name: String,
    address: String,
    #[schemars(schema_with = "schema::server_state")]
    state: &'static str,
    weight: u32,
    in_flight: u64,
    /// Since the start.
    requests: u64,
    /// Time to the first byte that 99 of 100 requests stay below; null before the first.
    p99_ms: Option<f64>,
    /// Where it is not as the file says.
    orders: Vec<ServerOrder>,
}

/// The servers of a pool after an order.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Servers {
    servers: Vec<Server>,
}

/// What a reload has done.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Reloaded {
    /// Names the text that is in force.
    hash: String,
    warnings: Vec<String>,
    /// Keys that changed and only count after a restart.
    needs_restart: Vec<&'static str>,
}

/// The config in force.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Config {
    file: String,
    hash: String,
    /// As the reference of the config has it: defaults written out, secrets masked.
    #[schemars(schema_with = "schema::object")]
    config: Value,
}

/// Something wrong in a config.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Problem {
    file: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    message: String,
    /// What would be right.
    help: Option<String>,
    /// All of it as people read it, with the line of the file.
    text: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Upgraded {
    /// The process that serves from now on.
    pub pid: u32,
    /// The one that drains.
    pub before: u32,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Paused {
    pub paused_s: f64,
    pub waiting: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Resumed {
    /// Requests that had waited.
    pub let_go: usize,
    /// Without a pause there was nothing to end.
    pub was_paused: bool,
}

/// A view as it is sent.
pub fn json(view: impl Serialize) -> Value {
    serde_json::to_value(view).unwrap_or_default()
}

pub fn status(office: &Office) -> Status {
    let snapshot = office.live.load();
    let last = office.last_reload.lock().clone();
    Status {
        version: env!("CARGO_PKG_VERSION"),
        last_reload: LastReload { at: (last.at > 0).then_some(last.at), problems: last.problems },
        listeners: listeners(office).listeners,
        pools: snapshot.pools.values().map(|plan| self::pool(plan, office)).collect(),
    }
}

pub fn listeners(office: &Office) -> Listeners {
    let listener = |listener: &std::sync::Arc<snapshot::Listener>| Listener {
        name: listener.name.to_string(),
        address: listener.spec.address.to_string(),
        tls: listener.tls.is_some(),
        connections: listener.metrics.connections_open.value(),
    };
    Listeners { listeners: office.live.load().listeners.iter().map(listener).collect() }
}

/// `config` is the config in force as it may be shown.
pub fn routes(office: &Office, config: &Value) -> Routes {
    let snapshot = office.live.load();
    let route = |(place, route): (usize, &snapshot::Route)| {
        let (action, pools) = match &route.action {
            snapshot::Action::Forward { targets, .. } => {
                ("forward", targets.iter().map(|target| target.plan.pool.name.to_string()).collect())
            }
            snapshot::Action::Redirect(_) => ("redirect", Vec::new()),
            snapshot::Action::Respond(_) => ("respond", Vec::new()),
        };
        let written = config.get("routes").and_then(|routes| routes.get(place)?.get("match"));
        let matches = written.filter(|written| written.is_object()).cloned();
        let matches = matches.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        Route { name: route.name.to_string(), matches, action, pools }
    };
    Routes { routes: snapshot.routes.payloads().iter().enumerate().map(route).collect() }
}

pub fn certificates(office: &Office) -> Certificates {
    let snapshot = office.live.load();
    let of = |listener: &std::sync::Arc<snapshot::Listener>| -> Vec<Certificate> {
        let expiries = listener.tls.as_ref().map(|tls| tls.expiries()).unwrap_or_default();
        let certificate = |expiry: crate::tls::Expiry| Certificate {
            listener: listener.name.to_string(),
            name: expiry.name,
            file: expiry.path.display().to_string(),
            not_after: jiff::Timestamp::from_second(expiry.not_after).unwrap_or_default().to_string(),
            not_after_s: expiry.not_after,
        };
        expiries.into_iter().map(certificate).collect()
    };
    Certificates { certificates: snapshot.listeners.iter().flat_map(of).collect() }
}

pub fn pools(office: &Office) -> Pools {
    let snapshot = office.live.load();
    Pools { pools: snapshot.pools.values().map(|plan| self::pool(plan, office)).collect() }
}

pub fn pool(plan: &PoolPlan, office: &Office) -> Pool {
    let pool = &plan.pool;
    Pool {
        name: pool.name.to_string(),
        waiting: pool.waiting(),
        paused_s: pool.paused_for().map(|left| left.as_secs_f64()),
        servers: servers(pool).servers,
        removed: pool.orders().removed().map(removed).collect(),
        app: office.workers.view(&pool.name),
    }
}

pub fn servers(pool: &pool::Pool) -> Servers {
    Servers { servers: pool.servers().servers().iter().map(|server| self::server(server, pool)).collect() }
}

fn removed((name, keep): (&std::sync::Arc<str>, pool::Keep)) -> Removed {
    Removed { name: name.to_string(), kept: keep == pool::Keep::OverReloads }
}

pub fn reloaded(reloaded: command::Reloaded) -> Reloaded {
    let command::Reloaded { hash, warnings, needs_restart } = reloaded;
    Reloaded { hash, warnings, needs_restart }
}

pub fn config(InForce { path, hash, config }: InForce) -> Config {
    Config { file: path.display().to_string(), hash, config }
}

pub fn problem(problem: &config::Problem) -> Problem {
    Problem {
        file: problem.spot.as_ref().map(|spot| spot.file.clone()),
        line: problem.spot.as_ref().map(|spot| spot.line),
        column: problem.spot.as_ref().map(|spot| spot.column),
        message: problem.message.clone(),
        help: problem.help.clone(),
        text: render::plain(std::slice::from_ref(problem)),
    }
}

pub fn server(server: &server::Server, pool: &pool::Pool) -> Server {
    let reading = server.state.reading(process_ms(Instant::now()));
    let state = match server.state.health() {
        _ if reading.draining => "draining",
        _ if reading.ejected => "ejected",
        Health::Up => "up",
        Health::Down => "down",
        // Nobody asks it, so nothing speaks against it.
        Health::Unknown if pool.spec.health_check.is_none() => "up",
        Health::Unknown => "unknown",
    };
    let order = |(what, keep): (pool::Ordered, pool::Keep)| ServerOrder {
        what: what.as_str(),
        kept: keep == pool::Keep::OverReloads,
    };
    Server {
        name: server.identity.to_string(),
        address: server.endpoint.to_string(),
        state,
        weight: server.state.weight(),
        in_flight: reading.in_flight,
        requests: server.metrics.requests.count(),
        p99_ms: percentile_ms(&server.metrics.first_byte, 0.99),
        orders: pool.orders().of_server(&server.identity).map(order).collect(),
    }
}

/// The bound below which this share of all observations lies; `None` before the first.
fn percentile_ms(histogram: &Histogram, share: f64) -> Option<f64> {
    let counts = histogram.cumulative();
    let total = counts.last().copied().filter(|total| *total > 0)?;
    let wanted = (total as f64 * share).ceil() as u64;
    let place = counts.iter().position(|count| *count >= wanted)?;
    BOUNDS_US.get(place).or(BOUNDS_US.last()).map(|bound| *bound as f64 / 1000.0)
}
