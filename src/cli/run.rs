//! `lintel run`: load the config, hand it to `boot`, and serve.

use std::process::ExitCode;

use clap::Args;

use super::{ConfigArgs, FAILED};
use crate::boot::Start;

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Takes over from the process that started this one
    #[arg(long, hide = true)]
    take_over: bool,
}

pub(super) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let path = args.config.path()?;
    match super::load(&path) {
        Ok(loaded) => {
            let start = if args.take_over { Start::TakeOver } else { Start::Fresh };
            crate::boot::run(&path, loaded, start)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            super::show(&problems.0);
            if args.take_over {
                crate::boot::upgrade::decline(&problems)?;
            }
            Ok(ExitCode::from(FAILED))
        }
    }
}
