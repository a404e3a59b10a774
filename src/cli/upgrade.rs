//! `lintel upgrade`: another process of the program takes over from the running one, and nothing is lost.

use std::process::ExitCode;

use clap::Args;

use super::{ConfigArgs, client};

const AFTER_HELP: &str = "\
Put the new binary in the place of the old one first (by `mv`, not by writing into it), then:
  lintel upgrade

The new process takes over sockets, workers, session tickets and Socket.IO sessions. The old one serves what it has
begun, at most for runtime.drain_timeout. If the new one does not start, the old one goes on and this says why.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct UpgradeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Writes JSON to stdout
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &UpgradeArgs) -> anyhow::Result<ExitCode> {
    let report = client::ask(&args.config.path()?, "POST", "/upgrade")?.json()?;
    let text = format!("process {} serves; process {} drains", report["pid"], report["before"]);
    super::answer(&if args.json { serde_json::to_string_pretty(&report)? } else { text })?;
    Ok(ExitCode::SUCCESS)
}
