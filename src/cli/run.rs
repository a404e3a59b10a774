//! `lintel run`: load the config, hand it to `boot`, and serve.

use std::process::ExitCode;

use clap::Args;

use super::{ConfigArgs, FAILED};

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let path = args.config.path()?;
    match super::load(&path) {
        Ok(loaded) => {
            crate::boot::run(&path, loaded)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            super::show(&problems.0);
            Ok(ExitCode::from(FAILED))
        }
    }
}
