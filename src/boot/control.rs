//! Joins the control plane to the pools: checks write health, look-ups write server sets.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::control::prober;
use crate::control::{Prober, Resolver, resolver};
use crate::discovery::expand::{answers_of, host_names};
use crate::discovery::{dns, expand};
use crate::health::active::{Failure, Wire};
use crate::net::Stream;
use crate::observe::metrics::{CheckOutcome, Metrics};
use crate::pool::Pool;
use crate::server::{Health, Server, process_ms};
use crate::snapshot::build::make_server;
use crate::snapshot::{Live, PoolPlan, Snapshot};
use crate::upstream::sessions::must_speak_http2;
use crate::upstream::{Limits, connect};

/// How often pools take note of ejections that ended.
const STEP: Duration = Duration::from_secs(1);

/// The running control plane; dropping it ends its tasks.
pub struct Tasks {
    prober: Arc<Prober>,
    resolver: Resolver,
    metrics: Arc<Metrics>,
    stepper: tokio::task::JoinHandle<()>,
    pools: Mutex<BTreeMap<String, Tended>>,
}

/// A pool whose servers are checked and looked up.
struct Tended {
    plan: Arc<PoolPlan>,
    checks: Option<Arc<prober::Plan>>,
}

impl Tasks {
    /// Has ejections seen to from now on; checks and look-ups begin with `reconcile`.
    pub fn start(live: &Arc<Live>, metrics: &Arc<Metrics>) -> Self {
        let runtime = Handle::current();
        let live = Arc::clone(live);
        let stepper = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(STEP);
            loop {
                ticks.tick().await;
                live.load().pools.values().for_each(|plan| plan.pool.step(Instant::now()));
            }
        });
        Self {
            prober: Arc::new(Prober::new(runtime.clone(), || process_ms(Instant::now()))),
            resolver: Resolver::new(runtime, dns::system()),
            metrics: Arc::clone(metrics),
            stepper,
            pools: Mutex::default(),
        }
    }

    /// Checks and looks up what the pools of a plan ask for, and nothing else any more.
    pub fn reconcile(&self, snapshot: &Snapshot) {
        self.tend(snapshot);
        let mut pools = self.pools.lock();
        pools.retain(|name, _| {
            let stays = snapshot.pools.contains_key(name);
            if !stays {
                self.prober.stop(name);
                self.resolver.stop(name);
            }
            stays
        });
        // Nobody will say any more that a server is up again.
        let unchecked = snapshot.pools.values().map(|plan| &plan.pool);
        let unchecked =
            unchecked.filter(|pool| pool.spec.health_check.is_none() && pool.spec.workers_of.is_none());
        for pool in unchecked {
            let now_ms = process_ms(Instant::now());
            let forget = |server: &Arc<Server>| server.state.record_health(Health::Unknown, now_ms);
            // All of them are asked, so no `any`.
            if pool.servers().servers().iter().filter(|server| forget(server)).count() > 0 {
                pool.step(Instant::now());
            }
        }
    }

    /// Checks and looks up what a plan asks for, before it is in force; pools that are as they were are not disturbed, and
    /// those that it has no more go on.
    pub fn tend(&self, snapshot: &Snapshot) {
        let mut pools = self.pools.lock();
        for (name, plan) in &snapshot.pools {
            if pools.get(name).is_some_and(|tended| Arc::ptr_eq(&tended.plan, plan)) {
                continue;
            }
            let checks = check_plan(plan);
            match &checks {
                Some(checks) => self.prober.reconcile(checks, plan.pool.servers().servers()),
                None => self.prober.stop(name),
            }
            let names = host_names(&plan.pool.spec.servers);
            if names.is_empty() {
                self.resolver.stop(name);
            } else {
                let known = answers_of(plan.pool.servers().servers());
                let look_ups = look_up_plan(plan, names, checks.clone(), &self.prober, &self.metrics);
                self.resolver.reconcile(&look_ups, known);
            }
            pools.insert(name.clone(), Tended { plan: Arc::clone(plan), checks });
        }
    }

    /// Has the servers of a pool checked as they are now.
    pub fn check(&self, pool: &Pool) {
        let pools = self.pools.lock();
        if let Some(checks) = pools.get(&*pool.name).and_then(|tended| tended.checks.as_ref()) {
            self.prober.reconcile(checks, pool.servers().servers());
        }
    }

    /// Waits until every host name and then every server had its first answer, at most `limit` for both.
    pub async fn first_round(&self, limit: Duration) {
        let started = Instant::now();
        let names = self.resolver.first_round_done(limit).await;
        let servers = self.prober.first_round_done(limit.saturating_sub(started.elapsed())).await;
        if names + servers > 0 {
            tracing::warn!(names, servers, "starting before the first look-ups and checks are done");
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.stepper.abort();
    }
}

fn check_plan(plan: &Arc<PoolPlan>) -> Option<Arc<prober::Plan>> {
    let spec = plan.pool.spec.health_check.clone().filter(|_| plan.pool.spec.workers_of.is_none())?;
    let timeout = spec.timeout.std();
    let limits = Limits { connect: timeout, unacknowledged: timeout };
    let scheme = if plan.tls.is_some() { "https" } else { "http" };
    let wire = if plan.http2.is_some() { Wire::Http2 { scheme } } else { Wire::Http1 };
    let (connecting, woken) = (Arc::clone(plan), Arc::clone(&plan.pool));
    Some(Arc::new(prober::Plan {
        pool: Arc::clone(&plan.pool.name),
        spec,
        wire,
        connect: Box::new(
            move |server: &Server| -> Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>> {
                let plan = Arc::clone(&connecting);
                let (endpoint, address) = (server.endpoint.clone(), server.spec.address.clone());
                Box::pin(async move {
                    let tls = plan.tls.as_ref().map(|tls| (tls, &address));
                    let stream = connect(&endpoint, tls, limits).await?;
                    if plan.http2.is_some() {
                        must_speak_http2(&stream, &endpoint)?;
                    }
                    Ok(stream)
                })
            },
        ),
        checked: Box::new(move |server, checked| {
            let outcome = checked.result.as_ref().map_or_else(Failure::outcome, |()| CheckOutcome::Ok);
            server.metrics.observe_check(outcome, checked.took);
            if checked.change.is_some() {
                woken.step(Instant::now());
            }
        }),
    }))
}

fn look_up_plan(
    plan: &Arc<PoolPlan>,
    names: Vec<String>,
    checks: Option<Arc<prober::Plan>>,
    prober: &Arc<Prober>,
    metrics: &Arc<Metrics>,
) -> Arc<resolver::Plan> {
    let (pool, prober, metrics) = (Arc::clone(&plan.pool), Arc::clone(prober), Arc::clone(metrics));
    let resolve = &plan.pool.spec.resolve;
    Arc::new(resolver::Plan {
        pool: Arc::clone(&pool.name),
        names,
        max_ttl: resolve.max_ttl.std(),
        look_up: (!resolve.name_servers.is_empty()).then(|| dns::asking(resolve.name_servers.clone())),
        poke: plan.poke.clone(),
        changed: Box::new(move |answers| {
            // In one step, so that a server which is added meanwhile is not lost.
            let Ok(()) = pool.change_servers(|before| {
                let make = |identity, endpoint, spec: &_| {
                    make_server(&metrics, &pool.name, identity, endpoint, spec)
                };
                let servers = expand(&pool.wanted_servers(), answers, before.servers(), make);
                tracing::info!(pool = &*pool.name, servers = servers.len(), "addresses changed");
                Ok::<_, Infallible>(servers)
            });
            if let Some(checks) = &checks {
                prober.reconcile(checks, pool.servers().servers());
            }
        }),
    })
}
