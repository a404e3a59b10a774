//! `lintel rollout` and `lintel scale`: new workers, or more or fewer of them, without a failed request.

use std::process::ExitCode;

use clap::Args;

use super::{ConfigArgs, client};

#[derive(Debug, Args)]
pub(super) struct RolloutArgs {
    /// The pool whose workers are replaced
    pool: String,
    #[command(flatten)]
    config: ConfigArgs,
    /// Writes JSON to stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ScaleArgs {
    /// The pool
    pool: String,
    /// How many workers it is to have
    instances: u32,
    #[command(flatten)]
    config: ConfigArgs,
    /// Writes JSON to stdout
    #[arg(long)]
    json: bool,
}

pub(super) fn rollout(args: &RolloutArgs) -> anyhow::Result<ExitCode> {
    let path = args.config.path()?;
    let report = client::ask(&path, "POST", &format!("/pools/{}/rollout", args.pool))?.json()?;
    let text = format!("{}: {} workers replaced in {} s", args.pool, report["replaced"], report["seconds"]);
    super::answer(&if args.json { serde_json::to_string_pretty(&report)? } else { text })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn scale(args: &ScaleArgs) -> anyhow::Result<ExitCode> {
    let path = args.config.path()?;
    let target = format!("/pools/{}/scale?instances={}", args.pool, args.instances);
    let report = client::ask(&path, "POST", &target)?.json()?;
    let text = format!("{}: {} workers", args.pool, report["instances"]);
    super::answer(&if args.json { serde_json::to_string_pretty(&report)? } else { text })?;
    Ok(ExitCode::SUCCESS)
}
