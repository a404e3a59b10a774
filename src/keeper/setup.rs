//! The moment between the keeper's fork and the worker's program: `lintel worker-setup`, which becomes that program.
//!
//! What must be done in the new process could also be done between fork and exec, but only with `unsafe`, and without
//! allocating. A program of its own has no such limits, for a few milliseconds per start.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::FdFlags;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

/// Where a worker finds its listening socket (sd_listen_fds(3): the first descriptor that is not a standard one).
const LISTENER: i32 = 3;

/// How the keeper starts a worker.
#[derive(Debug)]
pub struct Setup {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// The process id of the keeper, without which nothing starts.
    pub keeper: i32,
    /// The soft limit on open files.
    pub open_files: u64,
    /// What standard input is.
    pub inherited: Inherited,
}

/// What `lintel worker-setup` gets as its standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inherited {
    Nothing,
    /// The worker's listening socket, to become descriptor 3.
    Listener,
}

/// Why a worker's program was not started.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("the keeper is gone")]
    KeeperGone,
    #[error("there is no command")]
    NoCommand,
    #[error("cannot {step}")]
    Step { step: &'static str, source: io::Error },
    #[error("cannot start `{program}`", program = .program.display())]
    Exec { program: OsString, source: io::Error },
}

/// Becomes the worker's program. Returns only if that fails.
pub fn become_worker(setup: &Setup) -> SetupError {
    match prepare(setup) {
        Ok(()) => exec(setup),
        Err(error) => error,
    }
}

fn prepare(setup: &Setup) -> Result<(), SetupError> {
    // A keeper that is killed cannot end its workers, so the kernel does. This must come after the change of user, which
    // takes it back, and does: the keeper changes the user before it starts this program.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| step("ask to end with the keeper", error))?;
    // It may have died before that.
    let parent = rustix::process::getppid().map(rustix::process::Pid::as_raw_pid);
    if parent != Some(setup.keeper) {
        return Err(SetupError::KeeperGone);
    }
    limit_open_files(setup.open_files).map_err(|error| step("limit open files", error))?;
    if setup.inherited == Inherited::Listener {
        move_listener().map_err(|error| step("pass on the listening socket", error))?;
    }
    Ok(())
}

/// The hard limit stays, so a program that wants more can still have it; Node takes all it may at its start.
fn limit_open_files(wanted: u64) -> rustix::io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let soft = limit.maximum.map_or(wanted, |maximum| wanted.min(maximum));
    setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum: limit.maximum })
}

/// From standard input, which becomes /dev/null, to descriptor 3.
fn move_listener() -> rustix::io::Result<()> {
    let mut listener = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), LISTENER)?;
    if listener.as_raw_fd() != LISTENER {
        // Something that was open where Lintel was started has come all the way here. This process has opened nothing
        // yet that it needs, so whatever is there is not ours.
        let _ = nix::unistd::close(LISTENER);
        listener = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), LISTENER)?;
    }
    if listener.as_raw_fd() != LISTENER {
        return Err(rustix::io::Errno::BADF);
    }
    let nothing = File::open("/dev/null")
        .map_err(|error| rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO))?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::io::fcntl_setfd(&listener, FdFlags::empty())?;
    // It stays open until the worker's program has it.
    std::mem::forget(listener);
    Ok(())
}

fn exec(setup: &Setup) -> SetupError {
    let Some((program, arguments)) = setup.command.split_first() else { return SetupError::NoCommand };
    // This also undoes what Rust changes for itself: SIGPIPE ends a program again, as is usual.
    let mut command = Command::new(program);
    command.args(arguments);
    if setup.inherited == Inherited::Listener {
        // Only now is it known; programs that read LISTEN_FDS check that it is meant for them.
        command.env("LISTEN_PID", std::process::id().to_string());
    }
    SetupError::Exec { program: program.clone(), source: command.exec() }
}

fn step(step: &'static str, error: rustix::io::Errno) -> SetupError {
    SetupError::Step { step, source: error.into() }
}
