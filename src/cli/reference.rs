//! `lintel reference`, hidden: what docs/reference.md is made with.

use std::process::ExitCode;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    super::answer(&crate::config::reference::markdown())?;
    Ok(ExitCode::SUCCESS)
}
