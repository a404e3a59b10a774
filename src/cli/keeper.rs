//! `lintel keeper`, hidden: the parent of all workers. Lintel starts it itself.

use std::process::ExitCode;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    crate::keeper::run()?;
    Ok(ExitCode::SUCCESS)
}
