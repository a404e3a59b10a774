//! Workers that outlive the Lintel that started them: what one process tells the next about them at an upgrade.
//!
//! The processes, their sockets and their output stay with the keeper. What is told is who they are; where a worker stands
//! is found out by what it says when it reports to the new desk.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::app::App;
use super::crew::{Crew, Worker};
use super::launch::{Launcher, Place};
use super::output::{Rest, Source};
use crate::keeper::Running;
use crate::server::{Health, process_ms};
use crate::worker::machine::{Event, Machine, Standing, State};
use crate::worker::rollout::Id;
use crate::worker::spec::Instances;
use crate::worker::{Spec, Turnover};

/// For workers to find the desk of the next process; who is silent beyond that was so before.
const COMES_BACK: Duration = Duration::from_secs(5);

/// One app as it was let go.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AppState {
    pub pool: String,
    /// What its workers were started with, as written: another version may know other keys.
    spec: Value,
    /// Where they report.
    desk: PathBuf,
    pub count: u16,
    pub generation: u64,
    /// A rollout had begun, which nobody carries on.
    pub is_rolling_out: bool,
    /// Told one by one: all together may be too much for one message.
    #[serde(skip)]
    pub workers: Vec<WorkerState>,
}

/// One worker that is not on its way out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerState {
    slot: u16,
    generation: u64,
    run: u64,
    pid: u32,
    is_ready: bool,
    /// It has reported since it was ready, and owes further reports.
    #[serde(default)]
    reports: bool,
    /// By its last check.
    is_up: bool,
    socket: Option<PathBuf>,
    port: Option<u16>,
    restarts: u32,
    uptime_ms: u64,
    rests: Vec<Rest>,
}

impl AppState {
    /// `rests`: what was read of lines without their ends.
    pub fn of(app: &App, rests: &[Rest]) -> Self {
        let workers = app.crew.workers.iter().filter_map(|(id, worker)| WorkerState::of(*id, worker, rests));
        Self {
            pool: app.crew.pool.name.to_string(),
            spec: written(&app.crew.launcher.spec),
            desk: app.crew.launcher.desk.clone(),
            count: app.count,
            generation: app.generation,
            is_rolling_out: app.is_rolling_out(),
            workers: workers.collect(),
        }
    }

    /// What a crew that works by `now` has to do about these workers; as `Turnover::of`, for what another version has written.
    pub fn turnover(&self, now: &Launcher, count: impl FnOnce(Instances) -> u16) -> Turnover {
        let after = written(&now.spec);
        let is_same_number = self.spec.get("instances") == after.get("instances");
        let wanted = if is_same_number { self.count } else { count(now.spec.instances) };
        // Elsewhere nobody hears what they report.
        match self.desk == now.desk && are_started_alike(&self.spec, &after) {
            false => Turnover::RollOver(wanted),
            true if wanted != self.count => Turnover::Scale(wanted),
            true => Turnover::Stay,
        }
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

fn written(spec: &Spec) -> Value {
    serde_json::to_value(spec).unwrap_or_default()
}

/// A key that the version before did not know yet had its default.
fn are_started_alike(before: &Value, after: &Value) -> bool {
    let least = serde_json::from_str::<Spec>(r#"{ "command": "x" }"#);
    let defaults = least.map(|spec| written(&spec)).unwrap_or_default();
    let keys = |value: &Value| value.as_object().map(|keys| keys.keys().cloned().collect::<BTreeSet<_>>());
    let all = keys(before).into_iter().chain(keys(after)).flatten();
    all.filter(|key| !["instances", "rollout", "logs"].contains(&key.as_str())).all(|key| {
        let default = defaults.get(&key);
        before.get(&key).or(default) == after.get(&key).or(default)
    })
}

impl WorkerState {
    /// `None` where there is no process that is to go on.
    fn of(id: Id, worker: &Worker, rests: &[Rest]) -> Option<Self> {
        if !matches!(worker.machine.state(), State::Starting | State::Ready) {
            return None;
        }
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
            reports: worker.machine.reports(),
            is_up: worker.server.as_ref().is_some_and(|server| server.state.health() == Health::Up),
            socket,
            port: worker.place.port(),
            restarts: worker.restarts,
            uptime_ms: worker
                .started
                .map_or(0, |at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)),
            rests: rests.iter().filter(|rest| rest.run == worker.run).cloned().collect(),
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
        if self.reports {
            let _ = machine.step(Event::Beat { rss: 0 }, now + COMES_BACK, 0);
        }
        let place = match (&self.socket, self.port) {
            (Some(path), _) => Place::Socket(path.clone()),
            (None, Some(port)) => Place::Port(port),
            (None, None) => Place::Nowhere,
        };
        if let Some((stdout, stderr)) = process.output {
            for (source, end) in [(Source::Stdout, stdout), (Source::Stderr, stderr)] {
                let rest = self.rests.iter().find(|rest| rest.source == source).cloned();
                crew.output.read(id.slot.into(), rest.unwrap_or_else(|| Rest::none(self.run, source)), end);
            }
        }
        let started = now.checked_sub(Duration::from_millis(self.uptime_ms));
        crew.settle(id, machine, place, self.run, self.restarts, started);
        let server = crew.workers.get(&id).and_then(|worker| worker.server.as_ref());
        if let Some(server) = server.filter(|_| self.is_up) {
            // Without a first check by this process: there would be a moment without servers.
            server.state.record_health(Health::Up, process_ms(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_a_version_does_not_know_have_their_defaults() {
        let spec = |rest: &str| -> Value {
            written(&serde_json::from_str(&format!(r#"{{ "command": "node a.js"{rest} }}"#)).unwrap())
        };
        let now = spec(r#", "env": { "A": "1" }"#);
        let without = |key: &str| {
            let mut before = now.clone();
            before.as_object_mut().unwrap().remove(key).unwrap();
            before
        };
        assert!(are_started_alike(&now, &now));
        assert!(are_started_alike(&without("restart"), &now) && are_started_alike(&now, &without("restart")));
        assert!(!are_started_alike(&without("env"), &now), "that one was written");
        assert!(!are_started_alike(&spec(""), &now));
        assert!(are_started_alike(&spec(r#", "instances": 3, "rollout": { "surge": 2 }"#), &spec("")));
    }
}
