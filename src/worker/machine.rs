//! The life of one worker: one place of an app and the processes that fill it, one after the other.
//!
//! ```text
//! Stopped --start--> Starting --ready--> Ready --stop--> Draining --drained, or time--> Stopping --exit--> Stopped
//!                     |     \              |                                            ^     |
//!                     |      `- not in     `- silent for `stall` --- killed ------------'     |
//!                     |         time ------------------------ killed ------------------'     |
//!                     `- exit --> BackingOff <-- exit, where no stop was wanted --------------'
//! BackingOff --time--> Starting        on trial and not ready, or gone before that: Failed, not BackingOff
//! ```
//! A stop that is wanted before it is ready leads to Stopping at once, from BackingOff and Failed to Stopped. Every
//! exit is followed by SIGKILL to the process group: what a process leaves behind may hold its port or its files.
//!
//! A pure rule: it takes the time and a random number with every event and answers with what there is to do. Whoever
//! drives it gives each `Spawn` a run of its own and passes on events of the latest run only.

pub mod message;
pub mod rules;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

pub use message::{Action, Entry, Event, Exit, To};
pub use rules::{BEAT_INTERVAL, Ripe, Rules, Trade, VETO_AFTER};

use super::spec::Signal;

/// A process that is to write a report before it is killed has this long.
pub const REPORT_TIME: Duration = Duration::from_secs(2);
/// A task is ready once it has run for so long: one that cannot work at all has ended by then.
pub const TRIAL_OF_TASK: Duration = Duration::from_secs(1);
/// SIGKILL is sent again after this, for as long as there is no exit.
pub const KILL_AGAIN: Duration = Duration::from_secs(10);

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// A process is ordered or runs, and gets no requests yet.
    Starting,
    /// Gets requests.
    Ready,
    /// Gets no new requests and finishes those it has.
    Draining,
    /// Is on its way out: its exit is awaited.
    Stopping,
    /// Ended, and will be started again.
    BackingOff,
    /// On trial, and did not become ready. Stays so until it is stopped or started.
    Failed,
    /// Not wanted: before the first start, and after a stop.
    Stopped,
}

/// What a worker has shown so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Is started again whenever it ends.
    Proven,
    /// New in a rollout: if it ends or is late before it was ready, that was its only chance. Proven once it is ready.
    OnTrial,
}

/// One worker under its rules.
#[derive(Clone, Debug)]
pub struct Machine {
    rules: Rules,
    standing: Standing,
    phase: Phase,
    process: Process,
    /// Starts in a row that led to no good life.
    failures: u32,
}

/// A state with what belongs to it alone.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Stopped,
    Failed,
    BackingOff { until: Instant },
    Starting { since: Instant, beaten: Beaten },
    Ready { since: Instant, pulse: Option<Pulse>, memory: Memory },
    Draining { until: Instant },
    Stopping { step: Step, until: Instant, then: Then },
}

/// What is known of the process of Starting to Stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    /// Ordered, or there is none.
    Unseen,
    Runs {
        pid: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beaten {
    NotYet,
    Once,
}

/// The load reports of a ready worker that has sent one.
#[derive(Clone, Copy, Debug)]
struct Pulse {
    last: Instant,
    vetoed: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    Fits,
    Told,
}

/// How far the ending of a process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Time for its report.
    Reporting,
    /// The stop signal was sent, or will be once the process is there.
    Asked,
    Killed,
}

/// What the exit leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Stop,
    Restart,
}

impl Machine {
    /// In Stopped: nothing runs before `StartWanted`.
    pub fn new(rules: Rules, standing: Standing) -> Self {
        Self { rules, standing, phase: Phase::Stopped, process: Process::Unseen, failures: 0 }
    }

    /// Other rules from now on.
    pub fn follow(&mut self, rules: Rules) {
        self.rules = rules;
    }

    pub fn state(&self) -> State {
        match self.phase {
            Phase::Starting { .. } => State::Starting,
            Phase::Ready { .. } => State::Ready,
            Phase::Draining { .. } => State::Draining,
            Phase::Stopping { .. } => State::Stopping,
            Phase::BackingOff { .. } => State::BackingOff,
            Phase::Failed => State::Failed,
            Phase::Stopped => State::Stopped,
        }
    }

    /// The process, from when it is known until its exit.
    pub fn pid(&self) -> Option<u32> {
        match self.process {
            Process::Runs { pid } => Some(pid),
            Process::Unseen => None,
        }
    }

    /// Whether it ends for good: it was told to stop, and its exit is awaited.
    pub fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Draining { .. } | Phase::Stopping { then: Then::Stop, .. })
    }

    /// Whether it is ready and has reported.
    pub fn reports(&self) -> bool {
        matches!(self.phase, Phase::Ready { pulse: Some(_), .. })
    }

    /// Whether it is ready but owes reports: its event loop stands still.
    pub fn is_silent(&self) -> bool {
        matches!(self.phase, Phase::Ready { pulse: Some(Pulse { vetoed: Some(_), .. }), .. })
    }

    /// Starts in a row that led to no good life.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// When the next `Tick` is due; none while only events can lead on.
    pub fn next_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Stopped | Phase::Failed => None,
            Phase::BackingOff { until } | Phase::Draining { until } | Phase::Stopping { until, .. } => {
                Some(until)
            }
            Phase::Starting { since, .. } if self.runs_by_itself() => Some(since + TRIAL_OF_TASK),
            Phase::Starting { since, .. } => Some(since + self.rules.ready_timeout),
            Phase::Ready { pulse, .. } => pulse.and_then(|pulse| match pulse.vetoed {
                None => Some(pulse.last + VETO_AFTER),
                Some(_) => self.stalls_at(pulse),
            }),
        }
    }

    /// Takes one event. `seed` is any random number, a new one each time.
    pub fn step(&mut self, event: Event, now: Instant, seed: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::StartWanted => self.start_wanted(now, &mut actions),
            Event::Spawned { pid } => self.spawned(pid, &mut actions),
            Event::SpawnFailed if self.process == Process::Unseen => self.gone(None, now, seed, &mut actions),
            Event::SpawnFailed | Event::HealthFailed => {}
            Event::Listening => self.signed(Ripe::Listening, now, &mut actions),
            Event::AppReady => self.signed(Ripe::Signal, now, &mut actions),
            Event::HealthPassed => self.signed(Ripe::Healthy, now, &mut actions),
            Event::Beat { rss } => self.beat(rss, now, &mut actions),
            Event::Exited(exit) => self.gone(Some(exit), now, seed, &mut actions),
            Event::StopWanted => self.stop_wanted(now, &mut actions),
            Event::Drained if matches!(self.phase, Phase::Draining { .. }) => self.ask(now, &mut actions),
            Event::Drained => {}
            Event::Tick if self.next_deadline().is_some_and(|due| due <= now) => self.due(now, &mut actions),
            Event::Tick => {}
        }
        actions
    }

    fn start_wanted(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Stopped | Phase::Failed) {
            self.failures = 0;
            self.spawn(now, actions);
        }
    }

    fn spawn(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.process = Process::Unseen;
        self.phase = Phase::Starting { since: now, beaten: Beaten::NotYet };
        actions.push(Action::Spawn);
    }

    fn spawned(&mut self, pid: u32, actions: &mut Vec<Action>) {
        if !self.may_be_alive() {
            // Its exit was reported first.
            return;
        }
        self.process = Process::Runs { pid };
        actions.push(Action::Log(Entry::Started { pid }));
        // What was decided while it was only ordered.
        match self.phase {
            Phase::Stopping { step: Step::Asked, .. } => actions.push(self.stop_signal()),
            Phase::Stopping { step: Step::Killed, .. } => actions.push(KILL),
            _ => {}
        }
    }

    /// A sign of readiness: the one that counts makes it ready.
    fn signed(&mut self, sign: Ripe, now: Instant, actions: &mut Vec<Action>) {
        let Phase::Starting { since, beaten } = self.phase else { return };
        if sign != self.rules.ripe {
            return;
        }
        self.standing = Standing::Proven;
        // Silence counts from here on: booting may block the event loop for long.
        let pulse = (beaten == Beaten::Once).then_some(Pulse { last: now, vetoed: None });
        self.phase = Phase::Ready { since: now, pulse, memory: Memory::Fits };
        actions.extend(self.rules.for_pool(Action::JoinPool));
        actions.push(Action::Log(Entry::Ready { after: now.saturating_duration_since(since) }));
    }

    fn beat(&mut self, rss: u64, now: Instant, actions: &mut Vec<Action>) {
        match &mut self.phase {
            Phase::Starting { beaten, .. } => *beaten = Beaten::Once,
            Phase::Ready { pulse, memory, .. } => {
                if let Some(Pulse { last, vetoed: Some(_) }) = *pulse {
                    let silent_for = now.saturating_duration_since(last);
                    actions.extend(self.rules.for_pool(Action::Unveto));
                    actions.extend(self.rules.for_pool(Action::Log(Entry::Awake { silent_for })));
                }
                *pulse = Some(Pulse { last: now, vetoed: None });
                if let Some(limit) =
                    self.rules.max_memory.filter(|limit| rss > *limit && *memory == Memory::Fits)
                {
                    *memory = Memory::Told;
                    actions.push(Action::Log(Entry::MemoryExceeded { rss, limit }));
                    actions.push(Action::ReplaceWanted { rss });
                }
            }
            _ => {}
        }
    }

    fn stop_wanted(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match &mut self.phase {
            Phase::Starting { .. } => self.ask(now, actions),
            // Nobody sends it requests, so there is nothing to wait for.
            Phase::Ready { .. } if self.rules.trade == Trade::Task => {
                self.leave(actions);
                self.ask(now, actions);
            }
            Phase::Ready { .. } => {
                self.leave(actions);
                actions.extend([Action::Drain, Action::Log(Entry::Draining)]);
                self.phase = Phase::Draining { until: now + self.rules.stop_timeout };
            }
            Phase::Stopping { then, .. } => *then = Then::Stop,
            Phase::BackingOff { .. } | Phase::Failed => {
                self.phase = Phase::Stopped;
                actions.push(Action::Log(Entry::Stopped { exit: None }));
            }
            Phase::Draining { .. } | Phase::Stopped => {}
        }
    }

    /// Sends the stop signal, or leaves that to the moment at which there is a process.
    fn ask(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let signal = self.rules.stop_signal;
        actions.push(Action::Log(Entry::Stopping { signal }));
        if self.pid().is_some() {
            actions.push(self.stop_signal());
        }
        let until = now + self.rules.stop_timeout;
        self.phase = Phase::Stopping { step: Step::Asked, until, then: Then::Stop };
    }

    /// To the process alone, for it to stop what it started in its own order.
    fn stop_signal(&self) -> Action {
        Action::Signal { signal: self.rules.stop_signal, to: To::Process }
    }

    /// Kills the group, even while the process is only ordered: signals and orders take the same way, in order.
    fn kill(&mut self, then: Then, now: Instant, actions: &mut Vec<Action>) {
        actions.push(KILL);
        self.phase = Phase::Stopping { step: Step::Killed, until: now + KILL_AGAIN, then };
    }

    /// The deadline of the phase has passed.
    fn due(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::BackingOff { .. } => self.spawn(now, actions),
            Phase::Starting { .. } if self.runs_by_itself() => self.signed(Ripe::Running, now, actions),
            Phase::Starting { since, .. } => {
                let after = now.saturating_duration_since(since);
                actions.push(Action::Log(Entry::NotReady { missing: self.rules.ripe, after }));
                self.failures = self.failures.saturating_add(1);
                self.kill(Then::Restart, now, actions);
            }
            Phase::Ready { since, pulse: Some(pulse), memory } => {
                let silent_for = now.saturating_duration_since(pulse.last);
                if pulse.vetoed.is_none() {
                    let pulse = Some(Pulse { vetoed: Some(now), ..pulse });
                    self.phase = Phase::Ready { since, pulse, memory };
                    actions.extend(self.rules.for_pool(Action::Veto));
                    // Nobody waits for a task, and many of them compute for long.
                    actions.extend(self.rules.for_pool(Action::Log(Entry::Silent { silent_for })));
                    return;
                }
                self.leave(actions);
                self.count_failure(since, now);
                actions.extend([Action::Report, Action::Log(Entry::Stalled { silent_for })]);
                let until = now + REPORT_TIME;
                self.phase = Phase::Stopping { step: Step::Reporting, until, then: Then::Restart };
            }
            Phase::Draining { .. } => {
                actions.push(Action::Log(Entry::DrainTimeout));
                self.ask(now, actions);
            }
            Phase::Stopping { step, then, .. } => {
                match step {
                    Step::Reporting => {}
                    Step::Asked => actions.push(Action::Log(Entry::StopTimeout)),
                    Step::Killed => actions.push(Action::Log(Entry::KillIgnored)),
                }
                self.kill(then, now, actions);
            }
            Phase::Ready { pulse: None, .. } | Phase::Stopped | Phase::Failed => {}
        }
    }

    /// When silence becomes a stall. Not before the veto has lasted a while: if it was Lintel that stood still, the
    /// reports that came meanwhile are taken first.
    fn stalls_at(&self, pulse: Pulse) -> Option<Instant> {
        Some((pulse.last + self.rules.stall?).max(pulse.vetoed? + VETO_AFTER))
    }

    /// The process is gone, or there will be none (no `exit`).
    fn gone(&mut self, exit: Option<Exit>, now: Instant, seed: u64, actions: &mut Vec<Action>) {
        if !self.may_be_alive() {
            return;
        }
        self.leave(actions);
        if exit.is_some() {
            actions.push(KILL);
        }
        self.process = Process::Unseen;
        let on_trial = self.standing == Standing::OnTrial;
        match self.phase {
            Phase::Starting { since, .. } => {
                self.failures = self.failures.saturating_add(1);
                let pause = (!on_trial).then(|| self.pause(seed));
                let after = now.saturating_duration_since(since);
                actions.push(Action::Log(Entry::BootCrash { exit, after, pause }));
                self.rest(pause, now);
            }
            Phase::Ready { since, .. } => {
                self.count_failure(since, now);
                let (exit, pause) = (exit.unwrap_or(Exit::Unknown), self.pause(seed));
                let ready_for = now.saturating_duration_since(since);
                actions.push(Action::Log(Entry::Crash { exit, ready_for, pause }));
                self.rest(Some(pause), now);
            }
            Phase::Stopping { then: Then::Restart, .. } => {
                let pause = (!on_trial).then(|| self.pause(seed));
                actions.push(Action::Log(Entry::Ended { exit: exit.unwrap_or(Exit::Unknown), pause }));
                self.rest(pause, now);
            }
            Phase::Draining { .. } | Phase::Stopping { then: Then::Stop, .. } => {
                actions.push(Action::Log(Entry::Stopped { exit }));
                self.phase = Phase::Stopped;
            }
            Phase::Stopped | Phase::Failed | Phase::BackingOff { .. } => {}
        }
    }

    fn rest(&mut self, pause: Option<Duration>, now: Instant) {
        self.phase = pause.map_or(Phase::Failed, |pause| Phase::BackingOff { until: now + pause });
    }

    /// A life that was good forgets what went before it.
    fn count_failure(&mut self, ready_since: Instant, now: Instant) {
        let was_good = now.saturating_duration_since(ready_since) >= self.rules.good_life();
        self.failures = if was_good { 1 } else { self.failures.saturating_add(1) };
    }

    fn pause(&self, seed: u64) -> Duration {
        self.rules.pause(self.failures, seed)
    }

    fn leave(&self, actions: &mut Vec<Action>) {
        if let Phase::Ready { pulse, .. } = self.phase {
            actions.extend(self.rules.for_pool(Action::LeavePool));
            // After it has left, so that nothing slips through between the two.
            if pulse.is_some_and(|pulse| pulse.vetoed.is_some()) {
                actions.extend(self.rules.for_pool(Action::Unveto));
            }
        }
    }

    /// Whether its process runs, and nothing else is asked of it.
    fn runs_by_itself(&self) -> bool {
        self.rules.ripe == Ripe::Running && self.pid().is_some()
    }

    fn may_be_alive(&self) -> bool {
        !matches!(self.phase, Phase::Stopped | Phase::Failed | Phase::BackingOff { .. })
    }
}

const KILL: Action = Action::Signal { signal: Signal::Kill, to: To::Group };
