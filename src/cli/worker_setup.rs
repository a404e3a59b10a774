//! `lintel worker-setup`, hidden: what the keeper starts, and what becomes a worker's program.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;

use crate::keeper::{Inherited, Setup, become_worker};

/// What shells exit with when a program cannot be started.
const NOT_STARTED: u8 = 127;

#[derive(Debug, Args)]
pub(super) struct WorkerSetupArgs {
    /// The process id of the keeper
    #[arg(long)]
    keeper: i32,
    /// The soft limit on open files
    #[arg(long)]
    open_files: u64,
    /// Standard input is the listening socket, and becomes descriptor 3
    #[arg(long)]
    listener: bool,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

pub(super) fn run(args: WorkerSetupArgs) -> ExitCode {
    let inherited = if args.listener { Inherited::Listener } else { Inherited::Nothing };
    let WorkerSetupArgs { command, keeper, open_files, .. } = args;
    let error = become_worker(&Setup { command, keeper, open_files, inherited });
    super::fail(&error.into());
    ExitCode::from(NOT_STARTED)
}
