//! The workers of one app: their machines, and what these ask for.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::Check;
use super::desk::{Desk, Load, Said};
use super::files::Files;
use super::launch::{Launcher, Place};
use super::output::{Output, Rest, Source};
use crate::keeper::{self, Keeper};
use crate::net::Address;
use crate::observe::metrics::{Metrics, WorkerMetrics};
use crate::pool::Pool;
use crate::server::{self, Reason, Server, process_ms};
use crate::snapshot::build::make_server;
use crate::worker::machine::{Action, Entry, Event, Exit, Machine, Rules, Standing, State, To};
use crate::worker::rollout::Id;
use crate::worker::spec::Signal;

/// How often a port is tried.
const BETWEEN_KNOCKS: Duration = Duration::from_millis(50);

/// What happens to workers, from wherever.
#[derive(Debug)]
pub enum News {
    Spawned {
        run: u64,
        pid: u32,
    },
    SpawnFailed {
        run: u64,
        why: String,
    },
    Exited {
        run: u64,
        how: keeper::Exit,
    },
    /// Somebody answers at the port that it was told.
    Listens {
        run: u64,
    },
    /// Every process ended with the keeper; there is another one.
    KeeperLost,
}

/// One worker and the processes that fill its place, one after the other.
pub struct Worker {
    pub machine: Machine,
    pub place: Place,
    /// Of the latest process.
    pub run: u64,
    /// Its server in the pool, from when it can be asked.
    pub server: Option<Arc<Server>>,
    pub load: Option<Load>,
    pub started: Option<Instant>,
    pub restarts: u32,
    pub last_exit: Option<Exit>,
    /// Time on a CPU in ticks, and when it was read.
    pub cpu: Option<(u64, Instant)>,
    pub cpu_share: Option<f64>,
    /// Nothing was in flight when it was looked at last.
    pub quiet: bool,
    pub metrics: WorkerMetrics,
}

/// All workers of an app.
pub struct Crew {
    pub workers: BTreeMap<Id, Worker>,
    pub pool: Arc<Pool>,
    /// Further pools that its workers are servers of.
    shares: Vec<Arc<Pool>>,
    is_parting: bool,
    pub rules: Rules,
    pub output: Arc<Output>,
    pub launcher: Arc<Launcher>,
    keeper: Arc<Mutex<Keeper>>,
    desk: Arc<Desk>,
    metrics: Arc<Metrics>,
    news: mpsc::UnboundedSender<News>,
    said: mpsc::UnboundedSender<Said>,
    runs: Arc<AtomicU64>,
    /// Has the pool's servers checked.
    check: Check,
}

/// What a crew works with.
pub struct Tools {
    /// Another one when the one before is gone.
    pub keeper: Arc<Mutex<Keeper>>,
    pub desk: Arc<Desk>,
    pub metrics: Arc<Metrics>,
    pub news: mpsc::UnboundedSender<News>,
    pub said: mpsc::UnboundedSender<Said>,
    pub runs: Arc<AtomicU64>,
    pub check: Check,
}

impl Crew {
    /// Fails only where the files for what workers write cannot be made.
    pub fn new(
        pool: Arc<Pool>,
        shares: Vec<Arc<Pool>>,
        rules: Rules,
        launcher: Launcher,
        tools: Tools,
    ) -> std::io::Result<Self> {
        let files = launcher.spec.logs.as_ref().map(|logs| Files::open(&pool.name, logs)).transpose()?;
        let output = Output::new(Arc::clone(&pool.name), files);
        let Tools { keeper, desk, metrics, news, said, runs, check } = tools;
        let launcher = Arc::new(launcher);
        let crew = Self {
            workers: BTreeMap::new(),
            pool,
            shares,
            is_parting: false,
            rules,
            output,
            launcher,
            keeper,
            desk,
            metrics,
            news,
            said,
            runs,
            check,
        };
        crew.share_places();
        Ok(crew)
    }

    /// Other settings for workers that start from now on.
    pub fn change(&mut self, launcher: Launcher) {
        let pool = &self.pool;
        if launcher.spec.logs != self.launcher.spec.logs {
            match launcher.spec.logs.as_ref().map(|logs| Files::open(&pool.name, logs)).transpose() {
                Ok(files) => self.output.go_to(files),
                Err(error) => {
                    tracing::error!(pool = &*pool.name, %error, "the output of workers stays where it goes")
                }
            }
        }
        self.launcher = Arc::new(launcher);
    }

    /// Other rules for all workers, at once: a check that is no more would be waited for in vain. Gives those that listened
    /// and waited for more.
    pub fn follow(&mut self, rules: &Rules) -> Vec<Id> {
        self.rules = rules.clone();
        self.workers.values_mut().for_each(|worker| worker.machine.follow(rules.clone()));
        let waits = |worker: &Worker| worker.machine.state() == State::Starting && worker.server.is_some();
        self.workers.iter().filter(|(_, worker)| waits(worker)).map(|(id, _)| *id).collect()
    }

    /// Has its workers be the servers of these pools.
    pub fn serve(&mut self, pool: &Arc<Pool>, shares: &[Arc<Pool>]) {
        (self.pool, self.shares) = (Arc::clone(pool), shares.to_vec());
        let servers = self.servers();
        self.pools().for_each(|pool| pool.replace_servers(servers.clone()));
        self.share_places();
        (self.check)(&self.pool);
    }

    /// A place that one of its pools gives back is free for those who wait in the others.
    fn share_places(&self) {
        let all: Vec<_> = self.pools().map(Arc::downgrade).collect();
        let all = if all.len() > 1 { all } else { Vec::new() };
        self.pools().for_each(|pool| pool.share_places_with(all.clone()));
    }

    /// Makes a worker and starts it.
    pub fn start(&mut self, id: Id, standing: Standing) -> Vec<Entry> {
        let place = self.place(id);
        let machine = Machine::new(self.rules.clone(), standing);
        self.workers.insert(id, self.worker(id, machine, place));
        self.step(id, Event::StartWanted)
    }

    fn place(&self, id: Id) -> Place {
        self.launcher.place(id).unwrap_or_else(|error| {
            tracing::error!(pool = &*self.pool.name, worker = id.slot, %error, "no place for a worker");
            Place::Nowhere
        })
    }

    fn worker(&self, id: Id, machine: Machine, place: Place) -> Worker {
        Worker {
            machine,
            place,
            run: 0,
            server: None,
            load: None,
            started: None,
            restarts: 0,
            last_exit: None,
            cpu: None,
            cpu_share: None,
            quiet: false,
            metrics: self.metrics.worker(&self.pool.name, id.slot),
        }
    }

    /// Takes in a worker that the Lintel before has started.
    pub fn settle(
        &mut self,
        id: Id,
        machine: Machine,
        place: Place,
        run: u64,
        restarts: u32,
        started: Option<Instant>,
    ) {
        let is_ready = machine.state() == State::Ready;
        let worker = Worker { run, restarts, started, ..self.worker(id, machine, place) };
        self.desk.expect(run, self.said.clone());
        if let Some(port) = worker.place.port().filter(|_| !is_ready) {
            tokio::spawn(knock(port, run, self.rules.ready_timeout, self.news.clone()));
        }
        self.workers.insert(id, worker);
        if is_ready {
            self.make_server(id);
        }
    }

    /// Gives a machine an event and does what it asks for; the lines of its log.
    pub fn step(&mut self, id: Id, event: Event) -> Vec<Entry> {
        let Some(worker) = self.workers.get_mut(&id) else { return Vec::new() };
        if let (Event::Exited(_), Some(server)) = (event, &worker.server) {
            server.state.die();
        }
        let actions = worker.machine.step(event, Instant::now(), fastrand::u64(..));
        let mut entries = Vec::new();
        // A report of load mostly changes nothing.
        let changes = !actions.is_empty();
        for action in actions {
            if let Action::Log(entry) = action {
                self.log(id, &entry);
                entries.push(entry);
            } else {
                self.act(id, action);
            }
        }
        if changes {
            self.review_vetoes();
            self.publish();
        }
        entries
    }

    fn act(&mut self, id: Id, action: Action) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        match action {
            Action::Spawn => self.spawn(id),
            Action::Signal { signal, to } => {
                let to = if to == To::Group { keeper::To::Group } else { keeper::To::Process };
                self.keeper.lock().signal(worker.run, system_signal(signal), to);
            }
            Action::JoinPool => self.make_server(id),
            Action::LeavePool => {
                if let Some(server) = &worker.server {
                    server.state.leave();
                    self.look_again();
                }
            }
            Action::Unveto => {
                if let Some(server) = &worker.server {
                    server.state.lift(Reason::Silent);
                    self.look_again();
                }
            }
            Action::Drain => self.desk.tell(worker.run, "drain"),
            Action::Report => self.desk.tell(worker.run, "report"),
            // With every change, which may be that of another.
            Action::Veto => {}
            Action::ReplaceWanted { .. } | Action::Log(_) => {}
        }
    }

    /// No new requests for workers that are silent, as long as there is another one: a slow answer is better than none.
    fn review_vetoes(&self) {
        let works = |worker: &Worker| {
            let server = worker.server.as_ref();
            worker.machine.state() == State::Ready
                && !worker.machine.is_silent()
                && server.is_some_and(|server| !server.state.draining.load(Ordering::Relaxed))
        };
        let has_other = self.workers.values().any(works);
        let silent = self.workers.values().filter(|worker| worker.machine.is_silent());
        for server in silent.filter_map(|worker| worker.server.as_ref()) {
            if server.state.is_withheld(Reason::Silent) != has_other {
                match has_other {
                    true => server.state.withhold(Reason::Silent),
                    false => server.state.lift(Reason::Silent),
                }
                self.look_again();
            }
        }
    }

    /// The pools that take its workers: not one that a reload gave other servers, which may be those of another app.
    fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        let takes_workers = |pool: &&Arc<Pool>| {
            let latest = pool.latest();
            let is_of_apps = latest.spec.app.is_some() || latest.spec.workers_of.is_some();
            is_of_apps && (!self.is_parting || Arc::ptr_eq(&latest, pool))
        };
        [&self.pool].into_iter().chain(&self.shares).filter(takes_workers)
    }

    /// Its workers end, and their pool is no more theirs once a reload has put another in its place.
    pub fn part(&mut self) {
        self.is_parting = true;
    }

    /// Has every pool take note of what changed about a server.
    fn look_again(&self) {
        self.pools().for_each(|pool| pool.step(Instant::now()));
    }

    fn spawn(&mut self, id: Id) {
        let moves = |worker: &&Worker| worker.run != 0 && !matches!(worker.place, Place::Socket(_));
        // Somebody may have its port by now, which would keep it from starting for as long.
        let other = self.workers.get(&id).filter(moves).map(|_| self.place(id));
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if let Some(place) = other {
            worker.place = place;
        }
        if worker.run != 0 {
            worker.restarts += 1;
            worker.metrics.restarts.add(1);
            self.desk.forget(worker.run);
        }
        let run = self.runs.fetch_add(1, Ordering::Relaxed) + 1;
        (worker.run, worker.load, worker.server, worker.started) = (run, None, None, Some(Instant::now()));
        (worker.cpu, worker.cpu_share) = (None, None);
        self.desk.expect(run, self.said.clone());
        let order = self.launcher.order(id, run, &worker.place);
        let (port, patience) = (worker.place.port(), self.rules.ready_timeout);
        let (keeper, news, output) =
            (self.keeper.lock().clone(), self.news.clone(), Arc::clone(&self.output));
        tokio::spawn(async move {
            let spawned = keeper.spawn(order).await;
            let told = match spawned {
                Ok(spawned) => {
                    let read = |source: Source, end: OwnedFd| {
                        output.read(id.slot.into(), Rest::none(run, source), end);
                    };
                    read(Source::Stdout, spawned.stdout);
                    read(Source::Stderr, spawned.stderr);
                    if let Some(port) = port {
                        tokio::spawn(knock(port, run, patience, news.clone()));
                    }
                    News::Spawned { run, pid: spawned.pid }
                }
                Err(error) => News::SpawnFailed { run, why: error.to_string() },
            };
            let _ = news.send(told);
        });
    }

    /// Makes the worker a server of the pool, unless it is one.
    pub fn make_server(&mut self, id: Id) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let (Some(endpoint), None) = (worker.place.endpoint(), &worker.server) else { return };
        let identity = format!("{}/{}", self.pool.name, id.slot);
        let address = match &worker.place {
            Place::Socket(path) => Address::Unix(path.clone()),
            Place::Port(_) | Place::Nowhere => Address::Host { name: "localhost".into(), port: 0 },
        };
        let spec = server::Spec { address, weight: 1, backup: false };
        let server = make_server(&self.metrics, &self.pool.name, identity.into(), endpoint, &spec);
        server.state.watch_life();
        worker.server = Some(server);
    }

    /// The servers that can be asked now.
    fn servers(&self) -> Vec<Arc<Server>> {
        let is_there = |worker: &&Worker| {
            matches!(worker.machine.state(), State::Starting | State::Ready | State::Draining)
        };
        self.workers.values().filter(is_there).filter_map(|worker| worker.server.clone()).collect()
    }

    /// Lets the pools have the servers that can be asked now.
    pub fn publish(&self) {
        let servers = self.servers();
        let before = self.pool.servers();
        let same = before.servers().len() == servers.len()
            && before.servers().iter().zip(&servers).all(|(a, b)| a.id == b.id);
        if !same {
            self.pools().for_each(|pool| pool.replace_servers(servers.clone()));
            (self.check)(&self.pool);
        }
    }

    /// Forgets a worker that has ended for good.
    pub fn dismiss(&mut self, id: Id) {
        if let Some(worker) = self.workers.remove(&id) {
            self.desk.forget(worker.run);
            if let Place::Socket(path) = &worker.place {
                self.keeper.lock().close_socket(path);
                let _ = std::fs::remove_file(path);
            }
        }
        self.publish();
    }

    /// The worker has bound its socket's path itself, so the one that the keeper holds leads nowhere any more.
    pub fn let_go(&self, id: Id) {
        if let Some(Place::Socket(path)) = self.workers.get(&id).map(|worker| &worker.place) {
            self.keeper.lock().close_socket(path);
        }
    }

    /// Whose process a run is.
    pub fn of_run(&self, run: u64) -> Option<Id> {
        self.workers.iter().find(|(_, worker)| worker.run == run).map(|(id, _)| *id)
    }

    /// Requests and tunnels that a worker has.
    pub fn in_flight(&self, id: Id) -> u32 {
        let server = self.workers.get(&id).and_then(|worker| worker.server.as_ref());
        server.map_or(0, |server| server.state.reading(process_ms(Instant::now())).in_flight as u32)
    }

    fn log(&mut self, id: Id, entry: &Entry) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let (pool, slot) = (&*self.pool.name, id.slot);
        match entry {
            Entry::BootCrash { exit: Some(exit), .. }
            | Entry::Crash { exit, .. }
            | Entry::Ended { exit, .. }
            | Entry::Stopped { exit: Some(exit) } => worker.last_exit = Some(*exit),
            _ => {}
        }
        let text = super::words::entry(entry);
        match super::words::level(entry) {
            tracing::Level::ERROR => tracing::error!(pool, worker = slot, "{text}"),
            tracing::Level::WARN => tracing::warn!(pool, worker = slot, "{text}"),
            _ => tracing::info!(pool, worker = slot, "{text}"),
        }
    }
}

/// A program without the preload does not say that it listens: its port is tried until somebody answers.
async fn knock(port: u16, run: u64, patience: Duration, news: mpsc::UnboundedSender<News>) {
    let answers = async || {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        // A connection may come out where it began while nobody listens there.
        std::io::Result::Ok(stream.peer_addr()? != stream.local_addr()?)
    };
    let knocking = async {
        while !answers().await.unwrap_or(false) {
            tokio::time::sleep(BETWEEN_KNOCKS).await;
        }
    };
    if tokio::time::timeout(patience, knocking).await.is_ok() {
        let _ = news.send(News::Listens { run });
    }
}

fn system_signal(signal: Signal) -> keeper::Signal {
    match signal {
        Signal::Term => keeper::Signal::TERM,
        Signal::Int => keeper::Signal::INT,
        Signal::Quit => keeper::Signal::QUIT,
        Signal::Hup => keeper::Signal::HUP,
        Signal::Usr2 => keeper::Signal::USR2,
        Signal::Kill => keeper::Signal::KILL,
    }
}
