//! One app under supervision: a task that hears of its workers, moves their machines, and carries rollouts out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::crew::{Crew, News};
use super::desk::{Said, Word};
use super::launch::Launcher;
use super::scaler::Scaler;
use super::succession::AppState;
use super::{OrderError, failure, process, words};
use crate::keeper;
use crate::pool::Pool;
use crate::server::Health;
use crate::worker::Turnover;
use crate::worker::machine::{Entry, Event, Exit, Ripe, Rules, Standing, State};
use crate::worker::rollout::{self, Id, Outcome, Rollout, Status};

/// How often it is looked whether a draining worker is done and a new one is healthy.
const LOOK: Duration = Duration::from_millis(20);
/// How old shown loads may be; states are always shown as they are.
const SHOW: Duration = Duration::from_millis(50);
/// How often processes are measured.
const MEASURE: Duration = Duration::from_secs(1);

/// What an app is told to do.
pub enum Order {
    Rollout(oneshot::Sender<Result<Value, OrderError>>),
    Scale(u16, oneshot::Sender<Result<Value, OrderError>>),
    /// Takes other settings; workers roll over where they are started by other ones.
    Change(Box<Change>),
    /// Leaves the workers to the Lintel that follows this one; the app is over.
    LetGo(oneshot::Sender<AppState>),
    /// Ends all workers; the app is over when they have ended.
    Stop(oneshot::Sender<()>),
}

/// What a reload says anew.
pub struct Change {
    pub pool: Arc<Pool>,
    pub shares: Vec<Arc<Pool>>,
    pub rules: Rules,
    pub launcher: Launcher,
}

/// A rollout under way, and who waits for it.
struct Running {
    rollout: Rollout,
    wanted: u16,
    replaced: usize,
    since: Instant,
    /// The process that failed it.
    failed_run: u64,
    waiter: Option<oneshot::Sender<Result<Value, OrderError>>>,
}

/// One app.
pub struct App {
    pub crew: Crew,
    pub count: u16,
    /// Settings, or the same settings started anew.
    pub generation: u64,
    pub surge: u16,
    pub scaler: Scaler,
    pub view: Arc<Mutex<Value>>,
    running: Option<Running>,
    /// Workers that use too much memory.
    bloated: BTreeSet<Id>,
    waiting: VecDeque<Order>,
    stopping: Option<oneshot::Sender<()>>,
    measured: Instant,
    /// What is shown is no longer so.
    is_stale: bool,
}

/// What an app listens to.
pub struct Ears {
    pub news: mpsc::UnboundedReceiver<News>,
    pub said: mpsc::UnboundedReceiver<Said>,
    pub orders: mpsc::UnboundedReceiver<Order>,
}

impl App {
    pub fn new(crew: Crew, count: u16, surge: u16, view: Arc<Mutex<Value>>) -> Self {
        Self {
            scaler: Scaler::new(crew.launcher.spec.instances),
            crew,
            count,
            generation: 1,
            surge,
            view,
            running: None,
            bloated: BTreeSet::new(),
            waiting: VecDeque::new(),
            stopping: None,
            measured: Instant::now(),
            is_stale: true,
        }
    }

    /// Supervises until it is told to stop and every worker has ended.
    pub async fn run(mut self, mut ears: Ears) {
        let there: BTreeSet<u16> = self.crew.workers.keys().map(|id| id.slot).collect();
        for id in Rollout::wanted(self.count, self.generation) {
            if !there.contains(&id.slot) {
                self.crew.start(id, Standing::Proven);
            }
        }
        let mut shown = None;
        loop {
            // Workers report often, and are looked at seldom.
            if self.is_stale || shown.is_none_or(|at: Instant| at.elapsed() >= SHOW) {
                self.show();
                self.is_stale = false;
                shown = Some(Instant::now());
            }
            if self.stopping.is_some() && self.crew.workers.is_empty() {
                // Their last words are read and written first.
                self.crew.output.finish().await;
                self.stopping.take().map(|done| done.send(()));
                return;
            }
            let due = self.next_look();
            tokio::select! {
                Some(news) = ears.news.recv() => self.hear(news),
                Some(said) = ears.said.recv() => self.listen(said),
                Some(order) = ears.orders.recv() => match order {
                    // Requests go to its pools from now on, whatever else has to wait for a rollout.
                    Order::Change(change) => {
                        self.crew.serve(&change.pool, &change.shares);
                        for id in self.crew.follow(&change.rules) {
                            self.step(id, Event::Listening);
                        }
                        self.waiting.push_back(Order::Change(change));
                    }
                    Order::LetGo(heir) => {
                        let rests = self.crew.output.leave().await;
                        let _ = heir.send(AppState::of(&self, &rests));
                        return;
                    }
                    order => self.waiting.push_back(order),
                },
                () = tokio::time::sleep_until(due.into()) => {}
            }
            self.look();
            self.take_orders();
            self.mark_outgoing();
        }
    }

    /// Whether workers are being replaced, or are to be.
    pub fn is_rolling_out(&self) -> bool {
        self.running.is_some() || !self.waiting.is_empty()
    }

    fn next_look(&self) -> Instant {
        let now = Instant::now();
        let watched = |worker: &super::crew::Worker| {
            matches!(worker.machine.state(), State::Draining)
                || worker.machine.state() == State::Starting && worker.server.is_some()
        };
        let look = if self.crew.workers.values().any(watched) { now + LOOK } else { self.measured + MEASURE };
        let deadlines = self.crew.workers.values().filter_map(|worker| worker.machine.next_deadline());
        deadlines.chain([look]).min().unwrap_or(look)
    }

    fn hear(&mut self, news: News) {
        let (run, event) = match news {
            News::Spawned { run, pid } => (run, Event::Spawned { pid }),
            News::SpawnFailed { run, why } => {
                tracing::error!(pool = &*self.crew.pool.name, "a worker cannot be started: {why}");
                (run, Event::SpawnFailed)
            }
            News::Listens { run } => {
                if let Some(id) = self.crew.of_run(run) {
                    self.listening(id);
                }
                return;
            }
            News::KeeperLost => return self.all_lost(),
            News::Exited { run, how: keeper::Exit::Code(code) } => (run, Event::Exited(Exit::Code(code))),
            News::Exited { run, how: keeper::Exit::Signal(number) } => {
                (run, Event::Exited(Exit::Signal(number)))
            }
        };
        if let Some(id) = self.crew.of_run(run) {
            self.step(id, event);
        }
    }

    /// The keeper is gone, and every process with it.
    fn all_lost(&mut self) {
        let ids: Vec<Id> = self.crew.workers.keys().copied().collect();
        for id in ids {
            self.step(id, Event::Exited(Exit::Unknown));
        }
    }

    fn listen(&mut self, said: Said) {
        let Some(id) = self.crew.of_run(said.run) else { return };
        match said.word {
            Word::Listening { at, .. } => {
                if at.is_some_and(|at| at != "fd:3") {
                    self.crew.let_go(id);
                }
                self.listening(id);
            }
            Word::Problem { text } => {
                tracing::warn!(pool = &*self.crew.pool.name, worker = id.slot, "{text}");
            }
            Word::Ready {} => self.step(id, Event::AppReady),
            Word::Load(load) => {
                if let Some(worker) = self.crew.workers.get_mut(&id) {
                    worker.load = Some(load);
                }
                self.step(id, Event::Beat { rss: load.rss });
            }
            Word::Hello { .. } | Word::Draining {} | Word::Extra { .. } | Word::Other => {}
        }
    }

    fn listening(&mut self, id: Id) {
        // Its checks can begin; it gets requests once it is ready.
        if self.crew.rules.ripe == Ripe::Healthy {
            self.crew.make_server(id);
            self.crew.publish();
        }
        self.step(id, Event::Listening);
    }

    /// Moves a machine, and tells the rollout what became of it.
    fn step(&mut self, id: Id, event: Event) {
        let entries = self.crew.step(id, event);
        self.is_stale |= !entries.is_empty();
        for entry in &entries {
            if matches!(entry, Entry::MemoryExceeded { .. }) {
                self.bloated.insert(id);
            }
            // Before the rollout hears of it, which may start the same one again.
            if matches!(entry, Entry::Stopped { .. }) {
                self.crew.dismiss(id);
                self.bloated.remove(&id);
            }
            if let Some(event) = rollout::Event::of(id, entry) {
                self.tell(event);
            }
        }
    }

    /// What is not told but has to be looked at: time, requests in flight, health, processes.
    fn look(&mut self) {
        let now = Instant::now();
        let ids: Vec<Id> = self.crew.workers.keys().copied().collect();
        for id in ids {
            let Some(worker) = self.crew.workers.get(&id) else { continue };
            let is_due = worker.machine.next_deadline().is_some_and(|due| due <= now);
            let state = worker.machine.state();
            let is_up = worker.server.as_ref().is_some_and(|server| server.state.health() == Health::Up);
            if is_due {
                self.step(id, Event::Tick);
            }
            if state == State::Starting && is_up {
                self.step(id, Event::HealthPassed);
            }
            if state == State::Draining {
                self.look_at_draining(id);
            }
        }
        if now.saturating_duration_since(self.measured) >= MEASURE {
            self.measured = now;
            self.crew.workers.values_mut().for_each(process::measure);
            self.scale_by_load(now);
        }
    }

    /// More or fewer workers by how busy they are. Not during a rollout: its workers are not those that will be there.
    fn scale_by_load(&mut self, now: Instant) {
        let is_free = self.running.is_none() && self.stopping.is_none() && self.waiting.is_empty();
        if !is_free || self.crew.workers.len() != usize::from(self.count) {
            self.scaler.rest();
        } else if let Some(change) = self.scaler.look(&self.crew, now) {
            self.scale(change.to, None);
        }
        let wanted = self.running.as_ref().map_or(self.count, |running| running.wanted);
        self.scaler.record(&self.crew, wanted);
    }

    /// Fills places that are free, or empties the highest.
    fn scale(&mut self, count: u16, waiter: Option<oneshot::Sender<Result<Value, OrderError>>>) {
        let mut wanted: BTreeSet<Id> = self.current().keys().filter(|id| id.slot < count).copied().collect();
        let taken: BTreeSet<u16> = wanted.iter().map(|id| id.slot).collect();
        let free = (0..count).filter(|slot| !taken.contains(slot));
        wanted.extend(free.map(|slot| Id { slot, generation: self.generation }));
        self.begin(wanted, waiter);
    }

    /// A request that was picked for it a moment ago may not be counted yet, so it is looked at twice.
    fn look_at_draining(&mut self, id: Id) {
        let is_quiet = self.crew.in_flight(id) == 0;
        let Some(worker) = self.crew.workers.get_mut(&id) else { return };
        let was_quiet = std::mem::replace(&mut worker.quiet, is_quiet);
        if is_quiet && was_quiet {
            self.step(id, Event::Drained);
        }
    }

    fn take_orders(&mut self) {
        // The end does not wait for anything.
        if let Some(place) = self.waiting.iter().position(|order| matches!(order, Order::Stop(_)))
            && let Some(Order::Stop(done)) = self.waiting.remove(place)
        {
            self.stop(done);
        }
        while self.stopping.is_none()
            && self.running.is_none()
            && let Some(order) = self.waiting.pop_front()
        {
            match order {
                Order::Rollout(waiter) => {
                    self.generation += 1;
                    let wanted = Rollout::wanted(self.count, self.generation);
                    self.begin(wanted, Some(waiter));
                }
                Order::Scale(count, waiter) => match self.scaler.check(count) {
                    Ok(()) => self.scale(count, Some(waiter)),
                    Err(refusal) => _ = waiter.send(Err(refusal)),
                },
                Order::Change(change) => self.change(*change),
                // Taken as it comes.
                Order::LetGo(_) => {}
                Order::Stop(done) => self.stop(done),
            }
        }
        if self.running.is_none() && self.stopping.is_none() && !self.bloated.is_empty() {
            self.replace_bloated();
        }
    }

    fn change(&mut self, change: Change) {
        let (before, after) = (&self.crew.launcher.spec, &change.launcher.spec);
        let turnover = Turnover::of(before, after, self.count, super::count);
        self.surge = after.rollout.surge;
        if before.instances != after.instances {
            self.scaler = Scaler::new(after.instances);
        }
        self.crew.change(change.launcher);
        match turnover {
            Turnover::Stay => {}
            Turnover::Scale(count) => self.scale(count, None),
            Turnover::RollOver(count) => {
                self.generation += 1;
                self.begin(Rollout::wanted(count, self.generation), None);
            }
        }
    }

    fn replace_bloated(&mut self) {
        self.generation += 1;
        let bloated = std::mem::take(&mut self.bloated);
        let generation = self.generation;
        let anew = |id: &Id| if bloated.contains(id) { Id { slot: id.slot, generation } } else { *id };
        let wanted: BTreeSet<Id> = self.current().keys().map(anew).collect();
        self.begin(wanted, None);
    }

    fn stop(&mut self, done: oneshot::Sender<()>) {
        self.stopping = Some(done);
        self.crew.part();
        // Whoever still waits for an order hears of the end as this task is over.
        self.running = None;
        let ids: Vec<Id> = self.crew.workers.keys().copied().collect();
        for id in ids {
            self.step(id, Event::StopWanted);
        }
    }

    fn current(&self) -> BTreeMap<Id, Status> {
        let with_status =
            |(id, worker): (&Id, &super::crew::Worker)| Some((*id, Status::of(&worker.machine)?));
        self.crew.workers.iter().filter_map(with_status).collect()
    }

    fn begin(&mut self, wanted: BTreeSet<Id>, waiter: Option<oneshot::Sender<Result<Value, OrderError>>>) {
        let current = self.current();
        let replaced = wanted.iter().filter(|id| !current.contains_key(id)).count();
        let count = u16::try_from(wanted.len()).unwrap_or(u16::MAX);
        tracing::info!(pool = &*self.crew.pool.name, new = replaced, workers = count, "a rollout begins");
        self.is_stale = true;
        let (rollout, actions) = Rollout::begin(&current, wanted, self.surge);
        self.running =
            Some(Running { rollout, wanted: count, replaced, since: Instant::now(), failed_run: 0, waiter });
        self.carry_out(actions);
    }

    /// Sessions that begin during a rollout begin on workers that stay, so that each is moved once.
    fn mark_outgoing(&self) {
        for (id, worker) in &self.crew.workers {
            if let Some(server) = &worker.server {
                let stays = self.running.as_ref().is_none_or(|running| running.rollout.keeps(*id));
                server.state.outgoing.store(!stays, Ordering::Relaxed);
            }
        }
    }

    fn tell(&mut self, event: rollout::Event) {
        let failed = match event {
            rollout::Event::Down(id, _) => self.crew.workers.get(&id).map(|worker| worker.run),
            _ => None,
        };
        if let Some(running) = &mut self.running {
            if running.failed_run == 0 {
                running.failed_run = failed.unwrap_or_default();
            }
            let actions = running.rollout.step(event);
            self.carry_out(actions);
        }
    }

    fn carry_out(&mut self, actions: Vec<rollout::Action>) {
        for action in actions {
            match action {
                rollout::Action::Start { id, standing } => {
                    for entry in self.crew.start(id, standing) {
                        if let Some(event) = rollout::Event::of(id, &entry) {
                            self.tell(event);
                        }
                    }
                }
                rollout::Action::Retire(id) => self.step(id, Event::StopWanted),
                rollout::Action::Done(outcome) => self.conclude(&outcome),
            }
        }
    }

    fn conclude(&mut self, outcome: &Outcome) {
        let Some(running) = self.running.take() else { return };
        self.is_stale = true;
        let seconds = (running.since.elapsed().as_millis() as f64) / 1000.0;
        let pool = &*self.crew.pool.name;
        match outcome {
            Outcome::Complete => {
                self.count = running.wanted;
                self.show();
                tracing::info!(pool, seconds, "the rollout is complete");
                let report =
                    json!({ "replaced": running.replaced, "instances": self.count, "seconds": seconds });
                running.waiter.map(|waiter| waiter.send(Ok(report)));
            }
            Outcome::Failed { id, reason, .. } => {
                let output = Arc::clone(&self.crew.output);
                tokio::spawn(failure::tell(output, id.slot, *reason, running.failed_run, running.waiter));
            }
        }
    }

    /// What `lintel status` shows.
    fn show(&self) {
        let workers: Vec<Value> = self
            .crew
            .workers
            .iter()
            .map(|(id, worker)| {
                json!({
                    "index": id.slot,
                    "generation": id.generation,
                    "state": words::state(worker.machine.state()),
                    "pid": worker.machine.pid(),
                    "uptime_s": worker.started.filter(|_| worker.machine.pid().is_some()).map(|at| at.elapsed().as_secs_f64()),
                    "restarts": worker.restarts,
                    "memory": worker.load.map(|load| load.rss),
                    "cpu": worker.cpu_share,
                    "elu": worker.load.map(|load| load.elu),
                    "lag_p99_ms": worker.load.map(|load| load.lag_p99),
                    "last_exit": worker.last_exit.map(words::exit),
                })
            })
            .collect();
        *self.view.lock() = json!({
            "instances": self.count,
            "rolling_out": self.running.is_some(),
            "scaling": self.scaler.view(),
            "workers": workers,
        });
    }
}
