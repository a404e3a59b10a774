//! What is said about workers, in words.

use std::time::Duration;

use tracing::Level;

use crate::worker::machine::{Entry, Exit, Ripe, State};
use crate::worker::rollout::Reason;

pub fn state(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Ready => "ready",
        State::Draining => "draining",
        State::Stopping => "stopping",
        State::BackingOff => "backing off",
        State::Failed => "failed",
        State::Stopped => "stopped",
    }
}

pub fn exit(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal(number) => format!("signal {number}"),
        Exit::Unknown => "unknown".to_owned(),
    }
}

pub fn reason(reason: Reason) -> String {
    match reason {
        Reason::Exited(exited) => format!("it ended with {}", exit(exited)),
        Reason::NotReadyInTime => "it was not ready in time".to_owned(),
        Reason::SpawnFailed => "it could not be started".to_owned(),
        Reason::Stalled => "its event loop stood still".to_owned(),
        Reason::Stopped => "it was stopped".to_owned(),
    }
}

/// How loud a line of a machine's log is.
pub fn level(entry: &Entry) -> Level {
    match entry {
        Entry::BootCrash { .. } | Entry::Crash { .. } | Entry::NotReady { .. } | Entry::Stalled { .. } => {
            Level::ERROR
        }
        Entry::Silent { .. }
        | Entry::MemoryExceeded { .. }
        | Entry::DrainTimeout
        | Entry::StopTimeout
        | Entry::KillIgnored => Level::WARN,
        _ => Level::INFO,
    }
}

/// A line of a machine's log.
pub fn entry(entry: &Entry) -> String {
    let again = |pause: Option<Duration>| match pause {
        Some(pause) => format!("next start in {}", length(pause)),
        None => "not started again".to_owned(),
    };
    match *entry {
        Entry::Started { pid } => format!("started as process {pid}"),
        Entry::Ready { after } => format!("ready after {}", length(after)),
        Entry::BootCrash { exit: Some(exited), after, pause } => {
            format!(
                "ended with {} after {}, before it was ready; {}",
                exit(exited),
                length(after),
                again(pause)
            )
        }
        Entry::BootCrash { exit: None, pause, .. } => format!("could not be started; {}", again(pause)),
        Entry::NotReady { missing, after } => {
            format!("is killed: {} within {}", missing_sign(missing), length(after))
        }
        Entry::Crash { exit: exited, ready_for, pause } => format!(
            "ended with {} after {} of work; next start in {}",
            exit(exited),
            length(ready_for),
            length(pause)
        ),
        Entry::Ended { exit: exited, pause } => format!("ended with {}; {}", exit(exited), again(pause)),
        Entry::Silent { silent_for } => {
            format!("has not reported for {}: no new requests until it does", length(silent_for))
        }
        Entry::Awake { silent_for } => format!("reports again after {}", length(silent_for)),
        Entry::Stalled { silent_for } => format!("is killed: silent for {}", length(silent_for)),
        Entry::MemoryExceeded { rss, limit } => {
            format!("uses {} MiB of memory, more than {} MiB: it is replaced", rss >> 20, limit >> 20)
        }
        Entry::Draining => "gets no new requests and ends those it has".to_owned(),
        Entry::DrainTimeout => "still has requests, but its time is up".to_owned(),
        Entry::Stopping { signal } => format!("is told to end ({})", signal.name()),
        Entry::StopTimeout => "did not end in time and is killed".to_owned(),
        Entry::KillIgnored => "is still there after SIGKILL".to_owned(),
        Entry::Stopped { exit: Some(exited) } => format!("stopped: {}", exit(exited)),
        Entry::Stopped { exit: None } => "stopped".to_owned(),
    }
}

fn missing_sign(missing: Ripe) -> &'static str {
    match missing {
        Ripe::Running => "it did not run",
        Ripe::Listening => "it did not listen",
        Ripe::Healthy => "no health check passed",
        Ripe::Signal => "no `ready` came from it",
    }
}

fn length(length: Duration) -> String {
    match length.as_millis() {
        milliseconds @ 0..1000 => format!("{milliseconds} ms"),
        milliseconds @ 1000..60_000 => format!("{:.1} s", milliseconds as f64 / 1000.0),
        milliseconds => format!("{} s", milliseconds / 1000),
    }
}
