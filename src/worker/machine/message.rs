//! What a machine is told, and what it answers: events in, actions and lines for the log out.

use std::time::Duration;

use super::Ripe;
use crate::worker::spec::Signal;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is to run. Means something in Stopped and Failed only.
    StartWanted,
    /// The process that was ordered runs.
    Spawned {
        pid: u32,
    },
    /// It could not be started.
    SpawnFailed,
    /// Its main listen() succeeded.
    Listening,
    /// It says it is ready.
    AppReady,
    HealthPassed,
    /// Counts for nothing here: a ready worker is judged by its pool's own checks.
    HealthFailed,
    /// A load report; `rss` is its resident set in bytes.
    Beat {
        rss: u64,
    },
    /// The process is gone.
    Exited(Exit),
    /// It is to end and stay so.
    StopWanted,
    /// The last of its requests has ended. Tunnels need not be waited for: the program ends them at its stop signal.
    Drained,
    /// Time passed: due at `next_deadline`, harmless at any other time.
    Tick,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// Nobody can tell: the keeper went with it.
    Unknown,
}

/// Whom a signal goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    Process,
    /// The process and all it started.
    Group,
}

/// What there is to do, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Order a process.
    Spawn,
    Signal {
        signal: Signal,
        to: To,
    },
    /// It may get requests from now on.
    JoinPool,
    /// It must not get requests from now on.
    LeavePool,
    /// No new requests until `Unveto`, though it stays in the pool. Always lifted, by `LeavePool` too.
    Veto,
    Unveto,
    /// Tell the program that it will be stopped, so that its clients look for other connections.
    Drain,
    /// Have the program write a diagnostic report; it is killed after `REPORT_TIME`.
    Report,
    /// It uses too much memory: replace it without an outage. Told once for each process.
    ReplaceWanted {
        rss: u64,
    },
    Log(Entry),
}

/// What is worth telling. Times are lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    Started {
        pid: u32,
    },
    Ready {
        after: Duration,
    },
    /// It could not be started, or ended before it was ready: wrong program, wrong config, wrong build.
    /// `exit` is none where there was no process; `pause` is none where it is not tried again.
    BootCrash {
        exit: Option<Exit>,
        after: Duration,
        pause: Option<Duration>,
    },
    /// It was not ready in time and is being killed.
    NotReady {
        missing: Ripe,
        after: Duration,
    },
    /// It was ready, and ended without being asked.
    Crash {
        exit: Exit,
        ready_for: Duration,
        pause: Duration,
    },
    /// It ended, having been killed for what an earlier entry tells.
    Ended {
        exit: Exit,
        pause: Option<Duration>,
    },
    /// No report for a while: a blocked event loop.
    Silent {
        silent_for: Duration,
    },
    /// It reports again.
    Awake {
        silent_for: Duration,
    },
    /// Silent for too long: it is being killed.
    Stalled {
        silent_for: Duration,
    },
    MemoryExceeded {
        rss: u64,
        limit: u64,
    },
    Draining,
    /// Requests are left, but time is up.
    DrainTimeout,
    Stopping {
        signal: Signal,
    },
    /// It did not exit in time and is being killed.
    StopTimeout,
    /// Still there after SIGKILL; it is sent again.
    KillIgnored,
    /// Ended as wanted; `exit` is none where there was no process.
    Stopped {
        exit: Option<Exit>,
    },
}
