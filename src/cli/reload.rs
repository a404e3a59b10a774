//! `lintel reload`: has the running process take its config file as it is now.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::{ConfigArgs, FAILED, client};

#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Writes JSON to stdout
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ReloadArgs) -> anyhow::Result<ExitCode> {
    let answer = client::ask(&args.config.path()?, "POST", "/reload")?;
    let code = if answer.is_success() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) };
    let report = answer.value()?;
    if args.json {
        super::answer(&serde_json::to_string_pretty(&report)?)?;
        return Ok(code);
    }
    if let Some(error) = report["error"].as_str() {
        for problem in report["problems"].as_array().into_iter().flatten() {
            anstream::eprint!("{}", problem["text"].as_str().unwrap_or_default());
        }
        anstream::eprintln!("lintel: {error}");
        return Ok(code);
    }
    for warning in texts(&report["warnings"]) {
        anstream::eprintln!("warning: {warning}");
    }
    let late: Vec<&str> = texts(&report["needs_restart"]).collect();
    if !late.is_empty() {
        anstream::eprintln!("only after a restart: {}", late.join(", "));
    }
    super::answer(&format!("reloaded; config {}", report["hash"].as_str().unwrap_or_default()))?;
    Ok(code)
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}
