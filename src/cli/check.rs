//! `lintel check`: all problems of a config, or that it is good.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::{ConfigArgs, FAILED};
use crate::config::{Loaded, Problem, Problems, Severity};

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Writes JSON to stdout
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let path = args.config.path()?;
    let result = super::load(&path).and_then(|loaded| {
        // What only shows when the parts are built, such as a key that does not fit its certificate.
        let found = crate::boot::check(&loaded);
        let is_error = |problem: &Problem| problem.severity == Severity::Error;
        let both = Problems::sorted(loaded.warnings.0.iter().chain(&found.0).cloned().collect());
        if found.0.iter().any(is_error) { Err(both) } else { Ok(Loaded { warnings: both, ..loaded }) }
    });
    if args.json {
        super::answer(&serde_json::to_string_pretty(&as_json(&path, &result))?)?;
    } else {
        match &result {
            Ok(loaded) => {
                super::show(&loaded.warnings.0);
                super::answer(&praise(&path, loaded))?;
            }
            Err(problems) => super::show(&problems.0),
        }
    }
    Ok(if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn praise(path: &Path, loaded: &Loaded) -> String {
    let said = counts(loaded).into_iter().filter(|(_, count)| *count > 0).map(|(what, count)| match count {
        1 => format!("1 {}", what.trim_end_matches('s')),
        count => format!("{count} {what}"),
    });
    format!("{} is good: {}", path.display(), said.collect::<Vec<_>>().join(", "))
}

fn counts(loaded: &Loaded) -> [(&'static str, usize); 5] {
    let file = &loaded.file;
    let servers = file.pools.values().map(|pool| pool.servers.len()).sum();
    [
        ("listeners", file.listeners.len()),
        ("pools", file.pools.len()),
        ("servers", servers),
        ("apps", file.pools.values().filter(|pool| pool.app.is_some()).count()),
        ("routes", file.routes.len()),
    ]
}

/// What programs read; keys are only ever added.
fn as_json(path: &Path, result: &Result<Loaded, Problems>) -> Value {
    let (problems, counts) = match result {
        Ok(loaded) => (&loaded.warnings.0, counts(loaded).to_vec()),
        Err(problems) => (&problems.0, Vec::new()),
    };
    let counts: serde_json::Map<_, _> =
        counts.into_iter().map(|(what, count)| (what.to_owned(), count.into())).collect();
    json!({
        "file": path.display().to_string(),
        "good": result.is_ok(),
        "counts": counts,
        "problems": problems.iter().map(problem_as_json).collect::<Vec<_>>(),
    })
}

fn problem_as_json(problem: &Problem) -> Value {
    let severity = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let place = |spot: &crate::config::Spot| json!({ "file": spot.file, "line": spot.line, "column": spot.column, "width": spot.width });
    let also = problem.also.iter().map(|(spot, word)| json!({ "place": place(spot), "message": word }));
    json!({
        "severity": severity,
        "place": problem.spot.as_ref().map(place),
        "message": problem.message,
        "help": problem.help,
        "also": also.collect::<Vec<_>>(),
    })
}
