//! `lintel pause` and `lintel resume`: new requests of a pool wait, and are let go in order.

use std::process::ExitCode;

use clap::Args;

use super::server::encoded;
use super::{ConfigArgs, client};
use crate::units;

const AFTER_HELP: &str = "\
Examples:
  lintel pause api --timeout 20s && switch-database && lintel resume api

New requests wait in the pool's queue (queue.size of them; more are answered with 503), those under
way go on. The time of the pause does not count towards queue.timeout. It ends by itself after the
timeout; given again, it lasts this long from now.";

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
    /// Writes JSON to stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    /// The pool
    pool: String,
    #[command(flatten)]
    config: ConfigArgs,
    /// Writes JSON to stdout
    #[arg(long)]
    json: bool,
}

pub(super) fn pause(args: &PauseArgs) -> anyhow::Result<ExitCode> {
    let target = format!("/pools/{}/pause?timeout={}", encoded(&args.pool), args.timeout);
    let report = client::ask(&args.config.path()?, "POST", &target)?.json()?;
    let text = format!("{}: new requests wait, for {} at most", args.pool, args.timeout);
    super::answer(&if args.json { serde_json::to_string_pretty(&report)? } else { text })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn resume(args: &ResumeArgs) -> anyhow::Result<ExitCode> {
    let target = format!("/pools/{}/resume", encoded(&args.pool));
    let report = client::ask(&args.config.path()?, "POST", &target)?.json()?;
    let text = match (report["was_paused"].as_bool(), report["let_go"].as_u64()) {
        (Some(false), _) => format!("{}: was not paused", args.pool),
        (_, Some(1)) => format!("{}: goes on, with 1 request that waited", args.pool),
        (_, waited) => {
            format!("{}: goes on, with {} requests that waited", args.pool, waited.unwrap_or_default())
        }
    };
    super::answer(&if args.json { serde_json::to_string_pretty(&report)? } else { text })?;
    Ok(ExitCode::SUCCESS)
}
