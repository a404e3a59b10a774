//! `lintel logs`: what workers write.

use std::process::ExitCode;

use clap::Args;

use super::{ConfigArgs, client};

#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// The pool whose workers are shown
    pool: String,
    /// Only this worker, by its index
    #[arg(short, long, value_name = "INDEX")]
    worker: Option<u32>,
    /// Lines that were written before
    #[arg(short = 'n', long, default_value_t = 100)]
    lines: usize,
    /// Goes on with what is written from now on
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &LogsArgs) -> anyhow::Result<ExitCode> {
    let path = args.config.path()?;
    let mut target = format!("/pools/{}/logs?lines={}", args.pool, args.lines);
    if let Some(worker) = args.worker {
        target += &format!("&worker={worker}");
    }
    if args.follow {
        target += "&follow=1";
    }
    let answer = client::ask(&path, "GET", &target)?;
    if answer.status != 200 {
        answer.json()?;
        return Ok(ExitCode::FAILURE);
    }
    for line in answer.lines() {
        super::answer(&line?)?;
    }
    Ok(ExitCode::SUCCESS)
}
