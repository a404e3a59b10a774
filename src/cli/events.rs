//! `lintel events`: what happens in the Lintel that runs, as it happens.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::{ConfigArgs, client};

const AFTER_HELP: &str = "\
Examples:
  lintel events                                  reloads, servers up and down, workers, rollouts, drains
  lintel events --json | jq 'select(.level == \"warn\")'

Goes on until Ctrl-C. Events that come faster than they are read are lost; a line says how many.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct EventsArgs {
    /// Writes each event as a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &EventsArgs) -> anyhow::Result<ExitCode> {
    let answer = client::ask(&args.config.path()?, "GET", "/events")?;
    if !answer.is_success() {
        answer.json()?;
        return Ok(ExitCode::FAILURE);
    }
    for line in answer.lines() {
        let line = line?;
        // Comments, numbers and kinds of events are for other readers.
        let Some(text) = line.strip_prefix("data: ") else { continue };
        super::answer(&if args.json { text.to_owned() } else { readable(text) })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One event as a line for people.
fn readable(text: &str) -> String {
    let Ok(event) = serde_json::from_str::<Value>(text) else { return text.to_owned() };
    if let Some(missed) = event["missed"].as_u64() {
        return format!("... {missed} events came faster than they were read");
    }
    let word = |name: &str| event[name].as_str().unwrap_or_default();
    let seconds = word("at").get(..19).unwrap_or_default();
    let mut line = format!("{seconds}Z {:<5} {}", word("level"), word("message"));
    for (name, value) in event["fields"].as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        line += &format!("  {name}={value}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_for_people() {
        let event = r#"{"at":"2026-01-02T03:04:05.678Z","level":"warn","message":"server is down","fields":{"pool":"api","failed":3}}"#;
        assert_eq!(readable(event), "2026-01-02T03:04:05Z warn  server is down  pool=api  failed=3");
        assert_eq!(readable(r#"{"missed":7}"#), "... 7 events came faster than they were read");
    }
}
