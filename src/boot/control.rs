//! Joins the control plane to the pools: checks write health, look-ups write server sets.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::control::prober;
use crate::control::workers::Checked;
use crate::control::{Prober, Resolver, resolver};
use crate::discovery::expand::host_names;
use crate::discovery::{Answers, dns, expand};
use crate::health::active::{Failure, Wire};
use crate::net::Stream;
use crate::observe::metrics::{CheckOutcome, Metrics};
use crate::server::{Server, process_ms};
use crate::snapshot::build::make_server;
use crate::snapshot::{PoolPlan, Snapshot};
use crate::upstream::connect;
use crate::upstream::sessions::must_speak_http2;

/// How often pools take note of ejections that ended.
const STEP: Duration = Duration::from_secs(1);

/// The running control plane; dropping it ends its tasks.
pub struct Tasks {
    prober: Arc<Prober>,
    resolver: Resolver,
    stepper: tokio::task::JoinHandle<()>,
}

/// Starts probers and look-ups of every pool.
pub fn start(snapshot: &Arc<Snapshot>, metrics: &Arc<Metrics>) -> Tasks {
    let runtime = Handle::current();
    let prober = Arc::new(Prober::new(runtime.clone(), || process_ms(Instant::now())));
    let resolver = Resolver::new(runtime, dns::system());
    for plan in snapshot.pools.values() {
        let checks = check_plan(plan);
        if let Some(checks) = &checks {
            prober.reconcile(checks, plan.pool.servers().servers());
        }
        let names = host_names(&plan.pool.spec.servers);
        if !names.is_empty() {
            resolver.reconcile(&look_up_plan(plan, names, checks, &prober, metrics), Answers::new());
        }
    }
    let pools: Vec<_> = snapshot.pools.values().map(|plan| Arc::clone(&plan.pool)).collect();
    let stepper = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(STEP);
        loop {
            ticks.tick().await;
            pools.iter().for_each(|pool| pool.step(Instant::now()));
        }
    });
    Tasks { prober, resolver, stepper }
}

impl Tasks {
    /// What has the servers of a pool checked whenever they change.
    pub fn checks(&self, plan: &Arc<PoolPlan>) -> Checked {
        let (checks, prober) = (check_plan(plan), Arc::clone(&self.prober));
        Box::new(move |servers| {
            if let Some(checks) = &checks {
                prober.reconcile(checks, servers);
            }
        })
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
                    let stream = connect(&endpoint, tls, timeout).await?;
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
    Arc::new(resolver::Plan {
        pool: Arc::clone(&pool.name),
        names,
        max_ttl: pool.spec.resolve.max_ttl.std(),
        poke: plan.poke.clone(),
        changed: Box::new(move |answers| {
            let before = pool.servers();
            let servers =
                expand(&pool.spec.servers, answers, before.servers(), |identity, endpoint, spec| {
                    make_server(&metrics, &pool.name, identity, endpoint, spec)
                });
            tracing::info!(pool = &*pool.name, servers = servers.len(), "addresses changed");
            pool.replace_servers(servers);
            if let Some(checks) = &checks {
                prober.reconcile(checks, pool.servers().servers());
            }
        }),
    })
}
