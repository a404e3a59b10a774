//! `lintel plan`: what a reload would change in the running process, without changing it.

use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde_json::{Value, json};

use super::{ConfigArgs, FAILED, client};
use crate::admin::view;
use crate::config::Problems;

/// Exit code when a reload would change something.
const CHANGES: u8 = 2;

/// Sections in the order of the answer, with their headings; those of pools stand together.
const GROUPS: [(&str, &[&str]); 7] = [
    ("Listeners", &["listeners"]),
    ("Pools", &["pools", "servers", "workers"]),
    ("Policies", &["policies"]),
    ("Routes", &["routes"]),
    ("Observability", &["observability"]),
    ("Admin", &["admin"]),
    ("Runtime", &["runtime"]),
];

const ADDED: Style = AnsiColor::Green.on_default();
const REMOVED: Style = AnsiColor::Red.on_default();
const CHANGED: Style = AnsiColor::Yellow.on_default();

const AFTER_HELP: &str = "\
Exit codes:
  0  a reload would change nothing
  1  the config has problems and a reload would be refused, or no Lintel runs
  2  a reload would change something (wrong usage has this code too, and no answer on stdout)";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Writes JSON to stdout
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let plan = match client::ask(&args.config.path()?, "GET", "/plan") {
        Ok(answer) => answer.value()?,
        // A file with problems may not even say where its Lintel is to be found.
        Err(error) => match error.downcast::<Problems>() {
            Ok(problems) if args.json => refusal(&problems),
            Ok(problems) => return Err(problems.into()),
            Err(error) => return Err(error),
        },
    };
    if args.json {
        super::answer(&serde_json::to_string_pretty(&plan)?)?;
    } else if let Some(error) = plan["error"].as_str() {
        for problem in items(&plan["problems"]) {
            anstream::eprint!("{}", word(&problem["text"]));
        }
        anstream::eprintln!("lintel: {error}");
    } else {
        for warning in items(&plan["warnings"]).filter_map(Value::as_str) {
            anstream::eprintln!("warning: {warning}");
        }
        super::answer(&picture(&plan))?;
    }
    Ok(match plan["changes"].as_array().map(Vec::len) {
        None => ExitCode::from(FAILED),
        Some(0) => ExitCode::SUCCESS,
        Some(_) => ExitCode::from(CHANGES),
    })
}

/// What the running process would say of a file with problems.
fn refusal(problems: &Problems) -> Value {
    let problems: Vec<Value> = problems.0.iter().map(|problem| view::json(view::problem(problem))).collect();
    json!({ "error": "the config has problems; a reload would change nothing", "problems": problems })
}

fn picture(plan: &Value) -> String {
    let mut text = String::new();
    let bold = Style::new().bold();
    for (heading, sections) in GROUPS {
        let changes: Vec<&Value> =
            items(&plan["changes"]).filter(|change| sections.contains(&word(&change["section"]))).collect();
        if changes.is_empty() {
            continue;
        }
        text += &format!("{bold}{heading}{bold:#}\n");
        changes.into_iter().for_each(|change| text += &of_change(change));
        text += "\n";
    }
    text + &format!("{bold}{}{bold:#}\n", word(&plan["summary"]))
}

fn of_change(change: &Value) -> String {
    let (sign, style) = match word(&change["kind"]) {
        "added" => ("+", ADDED),
        "removed" => ("-", REMOVED),
        _ => ("~", CHANGED),
    };
    let mut text = format!("  {style}{sign} {}{style:#}\n", word(&change["what"]));
    let dim = Style::new().dimmed();
    for key in items(&change["keys"]) {
        // What comes or goes as a whole has one side only.
        let value = match sign {
            "+" => word(&key["new"]),
            "-" => word(&key["old"]),
            _ => word(&key["text"]),
        };
        match word(&key["name"]) {
            "" => text += &format!("      {value}\n"),
            name => text += &format!("      {name}: {value}\n"),
        }
    }
    for effect in items(&change["effects"]).filter_map(Value::as_str) {
        text += &format!("      {dim}=> {effect}{dim:#}\n");
    }
    text
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_is_grouped_and_signed() {
        let change =
            |kind: &str, section: &str, what: &str, keys: &[(&str, &str, &str)], effects: &[&str]| {
                let keys = keys.iter().map(|(name, old, new)| {
                    let text = format!("{old} -> {new}");
                    json!({ "name": name, "old": old, "new": new, "text": text })
                });
                let keys: Vec<Value> = keys.collect();
                json!({ "kind": kind, "section": section, "what": what, "keys": keys, "effects": effects })
            };
        let plan = json!({
            "changes": [
                change("changed", "listeners", "listener https", &[("limits.body", "100MiB", "1MiB")], &["12 connections open"]),
                change("changed", "pools", "pool api", &[("balance", "random", "p2c")], &[]),
                change("removed", "servers", "server 10.0.0.1:80 of api", &[("weight", "2", "")], &["nothing in flight"]),
                change("changed", "workers", "workers of api", &[("instances", "2", "4")], &["2 workers more"]),
                change("added", "policies", "policy branded", &[("", "", "[{ headers: {} }]")], &[]),
                change("added", "routes", "route chat", &[("to", "", "api")], &[]),
                change("changed", "runtime", "runtime", &[("threads", "auto", "4")], &["only after a restart: runtime.threads"]),
            ],
            "summary": "2 added, 1 removed, 4 changed; only after a restart: runtime.threads",
        });
        let coloured = picture(&plan);
        assert!(
            coloured.contains("\u{1b}[32m+ route chat") && coloured.contains("\u{1b}[31m- server"),
            "{coloured}"
        );
        let expected = "\
Listeners
  ~ listener https
      limits.body: 100MiB -> 1MiB
      => 12 connections open

Pools
  ~ pool api
      balance: random -> p2c
  - server 10.0.0.1:80 of api
      weight: 2
      => nothing in flight
  ~ workers of api
      instances: 2 -> 4
      => 2 workers more

Policies
  + policy branded
      [{ headers: {} }]

Routes
  + route chat
      to: api

Runtime
  ~ runtime
      threads: auto -> 4
      => only after a restart: runtime.threads

2 added, 1 removed, 4 changed; only after a restart: runtime.threads
";
        assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), expected);
    }

    #[test]
    fn without_changes_there_is_one_line() {
        let plan = json!({ "changes": [], "summary": "nothing would change" });
        assert_eq!(anstream::adapter::strip_str(&picture(&plan)).to_string(), "nothing would change\n");
    }
}
