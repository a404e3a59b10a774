//! How many workers an app with `instances: { min, max }` is to have, by how busy they are.
//!
//! ```text
//!        .-- `HIGH` of their time busy, or requests wait, for `HOT_FOR` --> as many as bring it below `TARGET`, at once
//! as is -+
//!        '-- below `TARGET` even with one fewer, for `shrink_after` ------> one fewer
//! ```
//! After each change, and after each rest, both times begin anew. Growing is quick since requests suffer meanwhile;
//! shrinking is slow since a worker too many costs only memory. The gap between the marks keeps one from following on the
//! other: what was just taken away is not missed until there is more to do.
//!
//! A pure rule: it is given a sample each second and `now`. Whoever drives it calls `rest` instead while a rollout runs or
//! workers crash: more of what crashes would help nobody.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use super::spec::ScalingSpec;

/// Load of a worker that scaling aims at: room for what comes before the next one is up.
pub const TARGET: f64 = 0.60;
/// Load above which workers are added.
pub const HIGH: f64 = 0.75;
/// For so long, lest a moment counts.
pub const HOT_FOR: Duration = Duration::from_secs(3);
/// After workers that did not come up, no more are tried for so long.
pub const AFTER_FAILURE: Duration = Duration::from_secs(60);
/// Time constant of the mean: what is ten seconds old counts for an eighth.
const SMOOTHING: Duration = Duration::from_secs(5);
/// Samples farther apart than this say nothing about the time between them: Lintel itself stood still.
const LONGEST_GAP: Duration = Duration::from_secs(5);

/// What is known of one worker that is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Share of the time that its event loop was busy; none without the preload.
    pub elu: Option<f64>,
    /// CPUs that its process used.
    pub cpu: Option<f64>,
    /// Requests and tunnels that it has.
    pub in_flight: u32,
    /// It owes reports: its event loop stands still.
    pub is_silent: bool,
}

/// What is known of all workers of an app, each of them ready.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    pub workers: Vec<Reading>,
    /// Requests in the pool's queue.
    pub waiting: usize,
    /// Most requests that a worker may have, where there is a limit; beyond it they wait.
    pub room: Option<u32>,
}

/// Another number of workers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    pub from: u16,
    pub to: u16,
    pub reason: Reason,
}

/// Why there are to be more or fewer workers. Loads are shares, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    Busy {
        load: f64,
    },
    Waiting {
        requests: usize,
    },
    /// The load with one fewer would be `load`.
    Idle {
        load: f64,
    },
    /// There were fewer than `min` or more than `max`.
    Bounds,
}

/// The scaling of one app.
#[derive(Clone, Debug)]
pub struct Scaling {
    spec: ScalingSpec,
    /// The mean so far; none after a rest.
    mean: Option<Mean>,
    hot_since: Option<Instant>,
    quiet_since: Option<Instant>,
    /// What the latest growth was to lead to.
    asked: Option<u16>,
    /// No growth before this.
    failed_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Mean {
    load: f64,
    /// Of so many workers.
    count: u16,
    at: Instant,
}

impl Reading {
    /// How much of what it can do a worker does, 0 to 1. By whichever is scarcest: a loop may be idle while threads compute,
    /// and both while it may have no more requests.
    pub fn load(&self, room: Option<u32>) -> f64 {
        if self.is_silent {
            return 1.0;
        }
        let taken = room.map(|room| f64::from(self.in_flight) / f64::from(room.max(1)));
        [self.elu, self.cpu, taken].into_iter().flatten().fold(0.0, f64::max).clamp(0.0, 1.0)
    }
}

impl Scaling {
    pub fn new(spec: ScalingSpec) -> Self {
        Self { spec, mean: None, hot_since: None, quiet_since: None, asked: None, failed_until: None }
    }

    pub fn spec(&self) -> &ScalingSpec {
        &self.spec
    }

    /// Mean load of the workers, 0 to 1, once there is one.
    pub fn load(&self) -> Option<f64> {
        self.mean.map(|mean| mean.load)
    }

    /// Forgets what was seen: the workers are about to be others, or not all of them work.
    pub fn rest(&mut self) {
        (self.mean, self.hot_since, self.quiet_since) = (None, None, None);
    }

    /// Takes a sample of all workers; another number of them if there is to be one.
    pub fn step(&mut self, sample: &Sample, now: Instant) -> Option<Change> {
        let count = u16::try_from(sample.workers.len()).unwrap_or(u16::MAX);
        // It grew, and the rollout was taken back.
        if self.asked.take().is_some_and(|asked| asked > count) {
            self.failed_until = Some(now + AFTER_FAILURE);
        }
        let mean = self.smooth(sample, count, now);
        let bounded = count.clamp(self.spec.min, self.spec.max.max(self.spec.min));
        let change = if bounded == count {
            self.more(sample, mean, now).or_else(|| self.fewer(sample, mean, now))
        } else {
            Some((bounded, Reason::Bounds))
        };
        let (to, reason) = change.filter(|(to, _)| *to < count || self.may_grow(now))?;
        self.rest();
        self.asked = (to > count).then_some(to);
        Some(Change { from: count, to, reason })
    }

    fn smooth(&mut self, sample: &Sample, count: u16, now: Instant) -> Mean {
        let fits = |mean: &Mean| mean.count == count && now.saturating_duration_since(mean.at) <= LONGEST_GAP;
        if !self.mean.as_ref().is_some_and(fits) {
            self.rest();
        }
        let loads = sample.workers.iter().map(|worker| worker.load(sample.room));
        let latest = loads.sum::<f64>() / f64::from(count.max(1));
        let load = self.mean.map_or(latest, |mean| {
            let age = now.saturating_duration_since(mean.at).as_secs_f64();
            let kept = (-age / SMOOTHING.as_secs_f64()).exp();
            mean.load * kept + latest * (1.0 - kept)
        });
        *self.mean.insert(Mean { load, count, at: now })
    }

    fn more(&mut self, sample: &Sample, mean: Mean, now: Instant) -> Option<(u16, Reason)> {
        if mean.load < HIGH && sample.waiting == 0 {
            self.hot_since = None;
            return None;
        }
        let since = *self.hot_since.get_or_insert(now);
        if mean.count >= self.spec.max || now.saturating_duration_since(since) < HOT_FOR {
            return None;
        }
        let for_load = mean.load * f64::from(mean.count) / TARGET;
        // Room for those who wait, where it is room that they wait for.
        let places = sample.room.map_or(0, |room| sample.waiting.div_ceil(room.max(1) as usize));
        let more = u16::try_from(places).unwrap_or(u16::MAX).max(1);
        // The cast saturates.
        let wanted = (for_load.ceil() as u16).max(mean.count.saturating_add(more)).min(self.spec.max);
        Some((
            wanted,
            match sample.waiting {
                0 => Reason::Busy { load: mean.load },
                requests => Reason::Waiting { requests },
            },
        ))
    }

    fn fewer(&mut self, sample: &Sample, mean: Mean, now: Instant) -> Option<(u16, Reason)> {
        let fewer = mean.count.saturating_sub(1);
        let load = mean.load * f64::from(mean.count) / f64::from(fewer.max(1));
        if fewer < self.spec.min || load >= TARGET || sample.waiting > 0 {
            self.quiet_since = None;
            return None;
        }
        let since = *self.quiet_since.get_or_insert(now);
        let is_due = now.saturating_duration_since(since) >= self.spec.shrink_after.std();
        is_due.then_some((fewer, Reason::Idle { load }))
    }

    fn may_grow(&self, now: Instant) -> bool {
        self.failed_until.is_none_or(|until| now >= until)
    }
}
