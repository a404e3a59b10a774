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
mod failure;
mod files;
mod launch;
mod output;
mod ports;
mod process;
mod scaler;
mod station;
mod succession;
mod words;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

pub use output::{Line, Output, Source};
pub use succession::{AppState, WorkerState};

use crate::keeper::{self, Handover, Keeper};
use crate::observe::metrics::Metrics;
use crate::pool::Pool;
use crate::snapshot::{PoolPlan, Snapshot};
use crate::worker::machine::{Ripe, Rules};
use crate::worker::spec::{Instances, MOST_INSTANCES};
use crate::worker::{Spec, Turnover, cores};
use app::{App, Change, Ears, Order};
use crew::{Crew, Tools};
use launch::Launcher;
use station::Station;

/// For workers whose app is no more to end by themselves.
const LAST_WORKERS: Duration = Duration::from_secs(30);

/// For the keeper to end once it has nothing to keep.
const LAST_KEEPER: Duration = Duration::from_secs(3);
/// For the keeper to tell what it keeps.
const TAKE_OVER: Duration = Duration::from_secs(10);

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

/// Has the servers of a pool checked as they are now.
pub type Check = Arc<dyn Fn(&Pool) + Send + Sync>;

/// Where things are.
pub struct Places {
    /// This binary.
    pub program: PathBuf,
    pub run_directory: PathBuf,
    /// Where apps run that do not say where.
    pub folder: PathBuf,
}

/// All apps of the process.
pub struct Workers {
    metrics: Arc<Metrics>,
    places: Places,
    check: Check,
    apps: Mutex<BTreeMap<Arc<str>, Apparent>>,
    /// Names of apps that were taken away.
    gone: Mutex<BTreeSet<Arc<str>>>,
    /// From the first app on; ends its workers when it is dropped.
    station: Mutex<Option<Station>>,
    /// Of the Lintel before, until `reconcile`.
    estate: Mutex<Option<Estate>>,
}

/// What the Lintel before has left.
struct Estate {
    apps: Vec<AppState>,
    running: HashMap<u64, keeper::Running>,
}

/// An app as others see it.
struct Apparent {
    plan: Arc<PoolPlan>,
    shares: Vec<Arc<Pool>>,
    orders: mpsc::UnboundedSender<Order>,
    view: Arc<Mutex<Value>>,
    output: Arc<Output>,
}

impl Workers {
    /// Nothing runs until `reconcile`.
    pub fn new(metrics: &Arc<Metrics>, places: Places, check: Check) -> Arc<Self> {
        let metrics = Arc::clone(metrics);
        Arc::new(Self {
            metrics,
            places,
            check,
            apps: Mutex::default(),
            gone: Mutex::default(),
            station: Mutex::default(),
            estate: Mutex::default(),
        })
    }

    /// Makes the apps those of the plan: starts the new ones, ends those that are gone, and has those whose settings
    /// changed roll over. Fails where the keeper, the desk or the output of an app cannot be had.
    pub fn reconcile(&self, snapshot: &Snapshot) -> io::Result<()> {
        let mut apps = self.apps.lock();
        apps.retain(|name, app| {
            let stays = snapshot.pools.get(&**name).is_some_and(|plan| plan.pool.spec.app.is_some());
            if !stays {
                tracing::info!(pool = &**name, "the app is taken away: its workers end");
                self.gone.lock().insert(Arc::clone(name));
                let _ = app.orders.send(Order::Stop(oneshot::channel().0));
            }
            stays
        });
        let plans: Vec<_> = snapshot.pools.values().filter(|plan| plan.pool.spec.app.is_some()).collect();
        if plans.is_empty() && self.estate.lock().is_none() {
            return Ok(());
        }
        let station = self.station(&plans)?;
        for plan in plans {
            let Some(spec) = &plan.pool.spec.app else { continue };
            let shares = shares_of(snapshot, &plan.pool.name);
            match apps.get_mut(&plan.pool.name) {
                Some(app) if Arc::ptr_eq(&app.plan, plan) && are_same(&app.shares, &shares) => {}
                Some(app) => {
                    let launcher = self.launcher(&station, plan, spec);
                    let (pool, rules) = (Arc::clone(&plan.pool), rules(plan, spec));
                    let change = Change { pool, shares: shares.clone(), rules, launcher };
                    let _ = app.orders.send(Order::Change(Box::new(change)));
                    (app.plan, app.shares) = (Arc::clone(plan), shares);
                }
                None => {
                    let app = self.start(&station, plan, spec, shares)?;
                    apps.insert(Arc::clone(&plan.pool.name), app);
                }
            }
        }
        self.settle_estate(&station);
        Ok(())
    }

    /// Starts the apps that are new in a plan which is not in force yet. Fails as `reconcile` does, with the pool.
    pub fn start_new(&self, snapshot: &Snapshot) -> Result<(), (Arc<str>, io::Error)> {
        let mut apps = self.apps.lock();
        let plans: Vec<_> = snapshot.pools.values().filter(|plan| plan.pool.spec.app.is_some()).collect();
        for plan in &plans {
            let name = &plan.pool.name;
            let (None, Some(spec)) = (apps.get(name), &plan.pool.spec.app) else { continue };
            let failed = |error| (Arc::clone(name), error);
            let station = self.station(&plans).map_err(failed)?;
            let app = self.start(&station, plan, spec, shares_of(snapshot, name)).map_err(failed)?;
            apps.insert(Arc::clone(name), app);
        }
        Ok(())
    }

    fn station(&self, plans: &[&Arc<PoolPlan>]) -> io::Result<Station> {
        let mut station = self.station.lock();
        if let Some(station) = &*station {
            station.admit(plans);
            return Ok(station.clone());
        }
        let (keeper, reports) = Keeper::start(&self.places.program)?;
        Ok(station.insert(Station::open(&self.places, plans, keeper, reports, 0)?).clone())
    }

    /// Makes room at the keeper for the Lintel that is to follow this one: the ends that it takes over with, and that this
    /// one takes over with again where that comes to nothing. `None` where no app has run. Fails while a rollout is under
    /// way, which would be left half done.
    pub fn successor(&self) -> Result<Option<Handover>, OrderError> {
        self.all_are_settled()?;
        let station = self.station.lock();
        let Some(station) = &*station else { return Ok(None) };
        station.keeper.lock().successor().map(Some).map_err(|error| OrderError::Failed(error.to_string()))
    }

    fn all_are_settled(&self) -> Result<(), OrderError> {
        for (pool, app) in &*self.apps.lock() {
            if app.view.lock()["rolling_out"] == true {
                return Err(rolls_out(pool));
            }
        }
        Ok(())
    }

    /// Leaves all workers to the successor; nothing that happens to them is acted upon any more. Gives what there is to
    /// know of them. With an error nothing is left.
    pub async fn let_go(&self) -> Result<Vec<AppState>, OrderError> {
        // The successor took its time to start.
        self.all_are_settled()?;
        let apps = std::mem::take(&mut *self.apps.lock());
        let mut states = Vec::new();
        for app in apps.into_values() {
            let (heir, state) = oneshot::channel();
            let _ = app.orders.send(Order::LetGo(heir));
            states.extend(state.await.ok());
        }
        if let Some(station) = self.station.lock().take() {
            station.desk.leave();
            station.keeper.lock().yield_to_successor();
        }
        Ok(states)
    }

    /// Takes over what the Lintel before has let go, by the end of a connection that its keeper gave it; `reconcile` then
    /// finds these workers there.
    pub async fn take_over(&self, snapshot: &Snapshot, end: OwnedFd, apps: Vec<AppState>) -> io::Result<()> {
        let taken = tokio::time::timeout(TAKE_OVER, Keeper::take_over(end));
        let (keeper, reports, running) = taken.await.map_err(|_| io::ErrorKind::TimedOut)??;
        let plans: Vec<_> = snapshot.pools.values().filter(|plan| plan.pool.spec.app.is_some()).collect();
        let last_run = running.iter().map(|process| process.run).max().unwrap_or_default();
        tracing::info!(workers = running.len(), "took over the workers of the process before");
        let running = running.into_iter().map(|process| (process.run, process)).collect();
        *self.station.lock() = Some(Station::open(&self.places, &plans, keeper, reports, last_run)?);
        *self.estate.lock() = Some(Estate { apps, running });
        Ok(())
    }

    /// Ends the workers of apps that there are no more.
    fn settle_estate(&self, station: &Station) {
        station.newsrooms.lock().are_complete();
        let Some(estate) = self.estate.lock().take() else { return };
        for run in estate.running.keys() {
            station.keeper.lock().signal(*run, keeper::Signal::TERM, keeper::To::Group);
        }
        let (keeper, runs) = (Arc::clone(&station.keeper), estate.running.into_keys().collect::<Vec<_>>());
        tokio::spawn(async move {
            tokio::time::sleep(LAST_WORKERS).await;
            for run in runs {
                keeper.lock().signal(run, keeper::Signal::KILL, keeper::To::Group);
            }
        });
    }

    fn launcher(&self, station: &Station, plan: &PoolPlan, spec: &Spec) -> Launcher {
        Launcher {
            pool: plan.pool.name.to_string(),
            spec: spec.clone(),
            folder: self.places.folder.clone(),
            run_directory: station.folder.clone(),
            preload: station.preload.clone(),
            desk: station.desk.path().to_path_buf(),
        }
    }

    fn start(
        &self,
        station: &Station,
        plan: &Arc<PoolPlan>,
        spec: &Spec,
        shares: Vec<Arc<Pool>>,
    ) -> io::Result<Apparent> {
        let (news, heard) = mpsc::unbounded_channel();
        let (said, words) = mpsc::unbounded_channel();
        let (orders, ordered) = mpsc::unbounded_channel();
        station.newsrooms.lock().add(news.clone());
        let tools = Tools {
            keeper: Arc::clone(&station.keeper),
            desk: Arc::clone(&station.desk),
            metrics: Arc::clone(&self.metrics),
            news,
            said,
            runs: Arc::clone(&station.runs),
            check: Arc::clone(&self.check),
        };
        let launcher = self.launcher(station, plan, spec);
        let mut crew = Crew::new(Arc::clone(&plan.pool), shares.clone(), rules(plan, spec), launcher, tools)?;
        let left = self.settle(&plan.pool.name, &mut crew);
        let view = Arc::new(Mutex::new(Value::Null));
        let output = Arc::clone(&crew.output);
        let mut app = App::new(crew, count(spec.instances), spec.rollout.surge, Arc::clone(&view));
        if self.gone.lock().contains(&plan.pool.name) {
            // Workers of the app that was there before may still end, each with the socket that is named by its generation.
            app.generation += station.runs.load(Ordering::Relaxed);
        }
        if let Some(left) = left {
            (app.count, app.generation) = (left.count, left.generation);
            let turnover = left.turnover(&app.crew.launcher, count);
            if let Turnover::Scale(count) | Turnover::RollOver(count) = turnover
                && count != left.count
            {
                let _ = orders.send(Order::Scale(count, oneshot::channel().0));
            }
            if matches!(turnover, Turnover::RollOver(_)) {
                let _ = orders.send(Order::Rollout(oneshot::channel().0));
            }
        }
        tokio::spawn(app.run(Ears { news: heard, said: words, orders: ordered }));
        Ok(Apparent { plan: Arc::clone(plan), shares, orders, view, output })
    }

    /// Has the workers that the Lintel before has left for a pool join its crew.
    fn settle(&self, pool: &str, crew: &mut Crew) -> Option<AppState> {
        let mut estate = self.estate.lock();
        let estate = estate.as_mut()?;
        let place = estate.apps.iter().position(|app| app.pool == pool)?;
        let app = estate.apps.swap_remove(place);
        app.settle(crew, &mut estate.running);
        Some(app)
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
        let orders = self.apps.lock().get(pool).map(|app| app.orders.clone());
        let orders = orders.ok_or_else(|| OrderError::NoApp(pool.to_owned()))?;
        let (waiter, answer) = oneshot::channel();
        orders.send(order(waiter)).map_err(|_| OrderError::Ending)?;
        answer.await.unwrap_or(Err(OrderError::Ending))
    }

    /// What is shown of a pool's workers; null without an app.
    pub fn view(&self, pool: &str) -> Value {
        self.apps.lock().get(pool).map_or(Value::Null, |app| app.view.lock().clone())
    }

    /// The workers of a pool's app by their index, in order, each once while an old one makes room for a new one.
    pub fn indices(&self, pool: &str) -> BTreeSet<u32> {
        let view = self.view(pool);
        let workers = view["workers"].as_array().into_iter().flatten();
        workers.filter_map(|worker| u32::try_from(worker["index"].as_u64()?).ok()).collect()
    }

    pub fn output(&self, pool: &str) -> Option<Arc<Output>> {
        self.apps.lock().get(pool).map(|app| Arc::clone(&app.output))
    }

    /// Waits until every pool has a server, no longer than `limit`; those that have none still.
    pub async fn first_ready(&self, snapshot: &Snapshot, limit: Duration) -> Vec<Arc<str>> {
        let missing = || -> Vec<Arc<str>> {
            let apps = snapshot.pools.values();
            let apps = apps.filter(|plan| plan.pool.spec.app.as_ref().is_some_and(|app| !app.task));
            let without = apps.filter(|plan| plan.pool.servers().servers().is_empty());
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
        for app in self.apps.lock().values() {
            let (done, ended) = oneshot::channel();
            let _ = app.orders.send(Order::Stop(done));
            ends.push(ended);
        }
        for ended in ends {
            let _ = ended.await;
        }
        let ending = self.station.lock().take().map(|station| station.keeper.lock().end());
        if let Some(ending) = ending {
            let _ = tokio::time::timeout(LAST_KEEPER, ending).await;
        }
    }
}

fn rolls_out(pool: &str) -> OrderError {
    OrderError::Failed(format!("a rollout of {pool} is under way; try again when it is over"))
}

/// The pools that have the workers of an app for their servers, besides its own.
fn shares_of(snapshot: &Snapshot, app: &str) -> Vec<Arc<Pool>> {
    let pools = snapshot.pools.values().map(|plan| &plan.pool);
    pools.filter(|pool| pool.spec.workers_of.as_deref() == Some(app)).cloned().collect()
}

fn are_same(before: &[Arc<Pool>], after: &[Arc<Pool>]) -> bool {
    before.len() == after.len() && before.iter().zip(after).all(|(before, after)| Arc::ptr_eq(before, after))
}

/// With a health check a worker is ready when it has passed one.
fn rules(plan: &PoolPlan, spec: &Spec) -> Rules {
    let mut rules = Rules::of(spec);
    if rules.ripe == Ripe::Listening && plan.pool.spec.health_check.is_some() {
        rules.ripe = Ripe::Healthy;
    }
    rules
}

/// How many workers `instances` means here.
pub fn count(instances: Instances) -> u16 {
    let cores = cores::here();
    instances.count(cores.quota, cores.cpus)
}
