//! Workers that outlive the Lintel that started them: what one process tells the next about them at an upgrade.
//!
//! The processes, their sockets and their output stay with the keeper. What is told is who they are; where a worker stands
//! is found out by what it says when it reports to the new desk.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::app::App;
use super::crew::{Crew, Worker};
use super::launch::Place;
use super::output::Source;
use crate::keeper::Running;
use crate::worker::Spec;
use crate::worker::machine::{Event, Machine, Standing, State};
use crate::worker::rollout::Id;

/// One app as it was let go.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AppState {
    pub pool: String,
    /// What its workers were started with.
    pub spec: Value,
    pub count: u16,
    pub generation: u64,
    workers: Vec<WorkerState>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct WorkerState {
    slot: u16,
    generation: u64,
    run: u64,
    pid: u32,
    is_ready: bool,
    socket: Option<PathBuf>,
    port: Option<u16>,
    restarts: u32,
    uptime_ms: u64,
}

impl AppState {
    pub fn of(app: &App) -> Self {
        let workers = app.crew.workers.iter().filter_map(|(id, worker)| WorkerState::of(*id, worker));
        Self {
            pool: app.crew.pool.name.to_string(),
            spec: spec(&app.crew.launcher.spec),
            count: app.count,
            generation: app.generation,
            workers: workers.collect(),
        }
    }

    /// The highest run of its workers.
    pub fn last_run(&self) -> u64 {
        self.workers.iter().map(|worker| worker.run).max().unwrap_or_default()
    }

    /// Whether workers would be started otherwise today.
    pub fn is_outdated(&self, now: &Spec) -> bool {
        self.spec != spec(now)
    }

    /// Makes its workers those of a crew: those whose process lives. The others are missing and are started anew.
    pub fn settle(&self, crew: &mut Crew, running: &mut HashMap<u64, Running>) {
        for state in &self.workers {
            let Some(process) = running.remove(&state.run) else { continue };
            let id = Id { slot: state.slot, generation: state.generation };
            state.settle(id, crew, process);
        }
        crew.publish();
    }
}

/// A Spec without what says nothing about how a worker is started.
fn spec(spec: &Spec) -> Value {
    let mut value = serde_json::to_value(spec).unwrap_or_default();
    if let Some(keys) = value.as_object_mut() {
        keys.retain(|key, _| !matches!(key.as_str(), "instances" | "rollout" | "logs"));
    }
    value
}

impl WorkerState {
    /// `None` where there is no process.
    fn of(id: Id, worker: &Worker) -> Option<Self> {
        let pid = worker.machine.pid()?;
        let socket = match &worker.place {
            Place::Socket(path) => Some(path.clone()),
            Place::Port(_) | Place::Nowhere => None,
        };
        Some(Self {
            slot: id.slot,
            generation: id.generation,
            run: worker.run,
            pid,
            is_ready: worker.machine.state() == State::Ready,
            socket,
            port: worker.place.port(),
            restarts: worker.restarts,
            uptime_ms: worker.started.map_or(0, |at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)),
        })
    }

    fn settle(&self, id: Id, crew: &mut Crew, process: Running) {
        let now = Instant::now();
        let mut machine = Machine::new(crew.rules.clone(), Standing::Proven);
        // What these events ask for has been done by the process before.
        let lived = [Event::StartWanted, Event::Spawned { pid: process.pid }];
        let ripened = [Event::Listening, Event::AppReady, Event::HealthPassed];
        for event in lived.into_iter().chain(ripened.into_iter().filter(|_| self.is_ready)) {
            let _ = machine.step(event, now, 0);
        }
        let place = match (&self.socket, self.port) {
            (Some(path), _) => Place::Socket(path.clone()),
            (None, Some(port)) => Place::Port(port),
            (None, None) => Place::Nowhere,
        };
        if let Some((stdout, stderr)) = process.output {
            crew.output.read(id.slot.into(), self.run, Source::Stdout, stdout);
            crew.output.read(id.slot.into(), self.run, Source::Stderr, stderr);
        }
        let started = now.checked_sub(Duration::from_millis(self.uptime_ms));
        crew.settle(id, machine, place, self.run, self.restarts, started);
    }
}
