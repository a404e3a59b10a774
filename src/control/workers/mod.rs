//! Workers of apps: started, watched, rolled over and stopped. What their lives look like is decided in `worker`; here
//! is what has to be done about it.
//!
//! ```text
//! keeper (starts, reaps) --\
//! desk (what workers say) ---> app: one task each --> machines --> crew: keeper, desk, pool
//! office (orders) ---------/
//! ```

mod app;
mod crew;
mod desk;
mod files;
mod launch;
mod output;
mod process;
mod scaler;
mod words;

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

pub use output::{Line, Output, Source};

use crate::keeper::{self, Keeper, Report};
use crate::observe::metrics::Metrics;
use crate::server::Server;
use crate::snapshot::{PoolPlan, Snapshot};
use crate::worker::machine::{Ripe, Rules};
use crate::worker::spec::{Instances, MOST_INSTANCES};
use crate::worker::{Spec, cores};
use app::{App, Ears, Order};
use crew::{Crew, News, Tools};
use desk::Desk;
use launch::Launcher;

/// What Node loads before an app.
const PRELOAD: &str = include_str!("../../worker/preload.cjs");

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error("no pool `{0}` has an `app`")]
    NoApp(String),
    #[error("{0}")]
    Failed(String),
    #[error("an app has 1 to {MOST_INSTANCES} workers")]
    Count,
    #[error("Lintel is ending")]
    Ending,
}

/// All apps of the process.
#[derive(Default)]
pub struct Workers {
    apps: BTreeMap<Arc<str>, Apparent>,
    /// Ends its workers when it is dropped.
    _keeper: Option<Arc<Mutex<Keeper>>>,
}

/// An app as others see it.
struct Apparent {
    orders: mpsc::UnboundedSender<Order>,
    view: Arc<Mutex<Value>>,
    output: Arc<Output>,
}

/// Has the servers of one pool checked.
pub type Checked = Box<dyn Fn(&[Arc<Server>]) + Send + Sync>;

/// Makes that of a pool.
pub type Checks<'c> = dyn Fn(&Arc<PoolPlan>) -> Checked + 'c;

/// Where things are.
pub struct Places<'a> {
    /// This binary.
    pub program: &'a Path,
    pub run_directory: &'a Path,
    /// Where apps run that do not say where.
    pub folder: &'a Path,
}

impl Workers {
    /// Starts the apps of all pools, and the keeper if there is one.
    pub fn start(
        snapshot: &Snapshot,
        metrics: &Arc<Metrics>,
        places: &Places<'_>,
        checks: &Checks<'_>,
    ) -> io::Result<Arc<Self>> {
        let plans: Vec<_> = snapshot.pools.values().filter(|plan| plan.pool.spec.app.is_some()).collect();
        if plans.is_empty() {
            return Ok(Arc::default());
        }
        let folder = places.run_directory.join("workers");
        std::fs::create_dir_all(&folder)?;
        let preload = folder.join("preload.cjs");
        std::fs::write(&preload, PRELOAD)?;
        let desk = Arc::new(Desk::open(&folder.join("control.sock"), users(&plans))?);
        if plans.iter().any(|plan| plan.pool.spec.app.as_ref().is_some_and(|app| app.user.is_some())) {
            open_to_others(places.run_directory, &folder, desk.path())?;
        }
        let (keeper, reports) = Keeper::start(places.program)?;
        let keeper = Arc::new(Mutex::new(keeper));
        let runs = Arc::new(AtomicU64::new(0));
        let (mut apps, mut newsrooms) = (BTreeMap::new(), Vec::new());
        for plan in plans {
            let Some(spec) = plan.pool.spec.app.clone() else { continue };
            let (news, heard) = mpsc::unbounded_channel();
            let (said, words) = mpsc::unbounded_channel();
            let (orders, ordered) = mpsc::unbounded_channel();
            newsrooms.push(news.clone());
            let launcher = Launcher {
                pool: plan.pool.name.to_string(),
                spec: spec.clone(),
                folder: places.folder.to_path_buf(),
                run_directory: folder.clone(),
                preload: preload.clone(),
                desk: desk.path().to_path_buf(),
            };
            let tools = Tools {
                keeper: Arc::clone(&keeper),
                desk: Arc::clone(&desk),
                metrics: Arc::clone(metrics),
                news,
                said,
                runs: Arc::clone(&runs),
                checked: checks(plan),
            };
            let shares = snapshot.pools.values().map(|plan| &plan.pool);
            let shares = shares.filter(|pool| pool.spec.workers_of.as_deref() == Some(&*plan.pool.name));
            let shares = shares.cloned().collect();
            let crew = Crew::new(Arc::clone(&plan.pool), shares, rules(plan, &spec), launcher, tools)?;
            let view = Arc::new(Mutex::new(Value::Null));
            let output = Arc::clone(&crew.output);
            let app = App::new(crew, count(spec.instances), spec.rollout.surge, Arc::clone(&view));
            tokio::spawn(app.run(Ears { news: heard, said: words, orders: ordered }));
            apps.insert(Arc::clone(&plan.pool.name), Apparent { orders, view, output });
        }
        let relay = Relay { program: places.program.to_path_buf(), keeper: Arc::clone(&keeper), newsrooms };
        tokio::spawn(relay.run(reports));
        Ok(Arc::new(Self { apps, _keeper: Some(keeper) }))
    }

    /// Replaces all workers of a pool; how it went.
    pub async fn rollout(&self, pool: &str) -> Result<Value, OrderError> {
        self.order(pool, Order::Rollout).await
    }

    pub async fn scale(&self, pool: &str, instances: u32) -> Result<Value, OrderError> {
        let count = u16::try_from(instances).ok().filter(|count| (1..=MOST_INSTANCES).contains(count));
        let count = count.ok_or(OrderError::Count)?;
        self.order(pool, |waiter| Order::Scale(count, waiter)).await
    }

    async fn order(
        &self,
        pool: &str,
        order: impl FnOnce(oneshot::Sender<Result<Value, OrderError>>) -> Order,
    ) -> Result<Value, OrderError> {
        let app = self.apps.get(pool).ok_or_else(|| OrderError::NoApp(pool.to_owned()))?;
        let (waiter, answer) = oneshot::channel();
        app.orders.send(order(waiter)).map_err(|_| OrderError::Ending)?;
        answer.await.unwrap_or(Err(OrderError::Ending))
    }

    /// What is shown of a pool's workers; null without an app.
    pub fn view(&self, pool: &str) -> Value {
        self.apps.get(pool).map_or(Value::Null, |app| app.view.lock().clone())
    }

    pub fn output(&self, pool: &str) -> Option<&Arc<Output>> {
        self.apps.get(pool).map(|app| &app.output)
    }

    /// Waits until every pool has a server, no longer than `limit`; those that have none still.
    pub async fn first_ready(&self, snapshot: &Snapshot, limit: Duration) -> Vec<Arc<str>> {
        let missing = || -> Vec<Arc<str>> {
            let pools = self.apps.keys().filter_map(|name| snapshot.pools.get(&**name));
            let without = pools.filter(|plan| {
                !plan.pool.spec.app.as_ref().is_some_and(|app| app.task)
                    && plan.pool.servers().servers().is_empty()
            });
            without.map(|plan| Arc::clone(&plan.pool.name)).collect()
        };
        let waiting = async {
            while !missing().is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = tokio::time::timeout(limit, waiting).await;
        missing()
    }

    /// Ends all workers, each as its `stop` says.
    pub async fn stop(&self) {
        let mut ends = Vec::new();
        for app in self.apps.values() {
            let (done, ended) = oneshot::channel();
            let _ = app.orders.send(Order::Stop(done));
            ends.push(ended);
        }
        for ended in ends {
            let _ = ended.await;
        }
    }
}

/// With a health check a worker is ready when it has passed one.
fn rules(plan: &PoolPlan, spec: &Spec) -> Rules {
    let mut rules = Rules::of(spec);
    if rules.ripe == Ripe::Listening && plan.pool.spec.health_check.is_some() {
        rules.ripe = Ripe::Healthy;
    }
    rules
}

fn count(instances: Instances) -> u16 {
    let cores = cores::here();
    instances.count(cores.quota, cores.cpus)
}

/// Tells every app what the keeper reports; each knows its own runs.
struct Relay {
    program: PathBuf,
    keeper: Arc<Mutex<Keeper>>,
    newsrooms: Vec<mpsc::UnboundedSender<News>>,
}

impl Relay {
    async fn run(self, mut reports: mpsc::UnboundedReceiver<Report>) {
        while let Some(report) = reports.recv().await {
            match report {
                Report::Exited { run, how, .. } => self.tell(|| News::Exited { run, how }),
                Report::Lost => {
                    tracing::error!(
                        "the keeper of workers is gone, and all workers with it: both are started again"
                    );
                    match Keeper::start(&self.program) {
                        Ok((keeper, another)) => (*self.keeper.lock(), reports) = (keeper, another),
                        Err(error) => {
                            tracing::error!(%error, "the keeper cannot be started: Lintel must be restarted");
                        }
                    }
                    self.tell(|| News::KeeperLost);
                }
            }
        }
    }

    fn tell(&self, news: impl Fn() -> News) {
        for newsroom in &self.newsrooms {
            let _ = newsroom.send(news());
        }
    }
}

/// Who workers run as, besides Lintel's own user. One that does not exist shows when its worker is to be started.
fn users(plans: &[&Arc<PoolPlan>]) -> Vec<u32> {
    let names = plans.iter().filter_map(|plan| plan.pool.spec.app.as_ref()?.user.as_deref());
    names.filter_map(keeper::user_id).collect()
}

/// Lets workers of other users reach what is theirs: the preload, and the socket on which they report.
fn open_to_others(run_directory: &Path, folder: &Path, desk: &Path) -> io::Result<()> {
    let allow = |path: &Path, mode: u32| std::fs::set_permissions(path, Permissions::from_mode(mode));
    // To pass through; what else is in it keeps its own mode.
    let mode = std::fs::metadata(run_directory)?.permissions().mode();
    allow(run_directory, (mode & 0o7777) | 0o011)?;
    allow(folder, 0o711)?;
    allow(desk, 0o666)
}
