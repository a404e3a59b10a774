//! What scaling needs to know of an app's workers, and what is told of it: metrics, status, the reasons in the log.

use serde_json::{Value, json};
use std::time::{Duration, Instant};

use super::OrderError;
use super::crew::{Crew, Worker};
use crate::worker::Scaling;
use crate::worker::machine::State;
use crate::worker::scaling::{Change, Reading, Reason, Sample};
use crate::worker::spec::Instances;

/// The scaling of an app that has one.
pub struct Scaler(Option<Scaling>);

impl Scaler {
    pub fn new(instances: Instances) -> Self {
        match instances {
            Instances::Scaled(spec) => Self(Some(Scaling::new(spec))),
            Instances::Auto | Instances::Count(_) => Self(None),
        }
    }

    /// Looks at all workers, once a second; how many there are to be if that changes.
    ///
    /// Only while each of them works: where one crashes again and again, more would crash too.
    pub fn look(&mut self, crew: &Crew, now: Instant) -> Option<Change> {
        let scaling = self.0.as_mut()?;
        if !crew.workers.values().all(|worker| works(worker, crew.rules.good_life())) {
            scaling.rest();
            return None;
        }
        let reading = |(id, worker): (&_, &Worker)| Reading {
            elu: worker.load.map(|load| load.elu),
            cpu: worker.cpu_share,
            in_flight: crew.in_flight(*id),
            is_silent: worker.machine.is_silent(),
        };
        let workers = crew.workers.iter().map(reading).collect();
        let sample = Sample { workers, waiting: crew.pool.waiting(), room: crew.pool.spec.max_in_flight };
        let change = scaling.step(&sample, now)?;
        let Change { from, to, .. } = change;
        tracing::info!(pool = &*crew.pool.name, from, to, "scales by load: {}", words(&change));
        Some(change)
    }

    /// Forgets what was seen: a rollout is under way.
    pub fn rest(&mut self) {
        self.0.iter_mut().for_each(Scaling::rest);
    }

    /// Whether somebody may order so many workers.
    pub fn check(&self, count: u16) -> Result<(), OrderError> {
        match self.0.as_ref().map(Scaling::spec) {
            Some(spec) if !(spec.min..=spec.max).contains(&count) => Err(OrderError::Failed(format!(
                "this app scales itself between {} and {} workers; change its `instances` for {count}",
                spec.min, spec.max
            ))),
            _ => Ok(()),
        }
    }

    /// Shows it in the metrics of the pool, which is to have `count` workers.
    pub fn record(&self, crew: &Crew, count: u16) {
        let metrics = &crew.pool.metrics;
        metrics.workers_wanted.record(count.into());
        if let Some(scaling) = &self.0 {
            metrics.workers_max.record(scaling.spec().max.into());
            metrics.workers_load.record((scaling.load().unwrap_or_default() * 1e3) as i64);
        }
    }

    /// What `lintel status` shows; null where nothing scales.
    pub fn view(&self) -> Value {
        let view = |scaling: &Scaling| {
            let spec = scaling.spec();
            json!({ "min": spec.min, "max": spec.max, "load": scaling.load() })
        };
        self.0.as_ref().map_or(Value::Null, view)
    }
}

/// Whether a worker is ready, and not only for as long as until its next crash.
fn works(worker: &Worker, good_life: Duration) -> bool {
    let is_old = worker.started.is_some_and(|started| started.elapsed() >= good_life);
    worker.machine.state() == State::Ready && (worker.machine.failures() < 2 || is_old)
}

fn words(change: &Change) -> String {
    let percent = |load: f64| (load * 100.0).round();
    match change.reason {
        Reason::Busy { load } => format!("the load of its workers is {} %", percent(load)),
        Reason::Waiting { requests: 1 } => "a request waits for a worker with room".to_owned(),
        Reason::Waiting { requests } => format!("{requests} requests wait for a worker with room"),
        Reason::Idle { load } => format!("with one fewer their load would be {} %", percent(load)),
        Reason::Bounds => "`instances` says so".to_owned(),
    }
}
