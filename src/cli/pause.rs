//! `lintel pause` and `lintel resume`: new requests of a pool wait, and are let go in order.

use std::process::ExitCode;

use clap::Args;

use super::{ConfigArgs, client};
use crate::units;

const AFTER_HELP: &str = "\
Examples:
  lintel pause api --timeout 20s && switch-database && lintel resume api

New requests wait in the pool's queue (queue.size of them; more are answered 503), those under way go on. The pause ends by
itself after the timeout.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct PauseArgs {
    /// The pool
    pool: String,
    /// When the pause ends by itself: 1s to 10m
    #[arg(long, default_value = "30s")]
    timeout: units::Duration,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    /// The pool
    pool: String,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn pause(args: &PauseArgs) -> anyhow::Result<ExitCode> {
    let target = format!("/pools/{}/pause?timeout={}", args.pool, args.timeout);
    client::ask(&args.config.path()?, "POST", &target)?.json()?;
    super::answer(&format!("{}: paused for {} at most", args.pool, args.timeout))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn resume(args: &ResumeArgs) -> anyhow::Result<ExitCode> {
    let report =
        client::ask(&args.config.path()?, "POST", &format!("/pools/{}/resume", args.pool))?.json()?;
    super::answer(&format!("{}: {} requests let go", args.pool, report["let_go"]))?;
    Ok(ExitCode::SUCCESS)
}
