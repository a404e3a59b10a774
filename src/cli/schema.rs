//! `lintel schema`: the JSON Schema of the config file, for editors.

use std::process::ExitCode;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    super::answer(&serde_json::to_string_pretty(&crate::config::schema())?)?;
    Ok(ExitCode::SUCCESS)
}
