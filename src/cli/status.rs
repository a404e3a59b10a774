//! `lintel status`: what runs and how it is.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::table::Table;
use super::{ConfigArgs, client};
use crate::clock;

/// Between the two looks that requests per second are worked out of.
const BETWEEN: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Writes JSON to stdout
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let path = args.config.path()?;
    let first = client::ask(&path, "GET", "/status")?.json()?;
    if args.json {
        super::answer(&serde_json::to_string_pretty(&first)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    std::thread::sleep(BETWEEN);
    let second = client::ask(&path, "GET", "/status")?.json()?;
    super::answer(&picture(&first, &second))?;
    Ok(ExitCode::SUCCESS)
}

fn picture(first: &Value, second: &Value) -> String {
    let mut text = format!("lintel {}\n", word(&second["version"]));
    text += &refusal(&second["last_reload"], clock::since_epoch());
    for listener in items(&second["listeners"]) {
        text += &format!(
            "listener {} on {}, {} connections\n",
            word(&listener["name"]),
            word(&listener["address"]),
            listener["connections"]
        );
    }
    for pool in items(&second["pools"]) {
        text += &format!("\npool {}", word(&pool["name"]));
        if pool["waiting"].as_u64().unwrap_or_default() > 0 {
            text += &format!(", {} requests wait", pool["waiting"]);
        }
        if let Some(left) = pool["paused_s"].as_f64() {
            text += &format!(", paused for {left:.0} s at most");
        }
        text += "\n";
        text += &servers(first, pool);
        for server in items(&pool["removed"]) {
            text += &format!("  {} of the file is taken out{}\n", word(&server["name"]), lasting(server));
        }
        text += &workers(pool);
    }
    text
}

/// What is wrong in a config that was not taken, and since when.
fn refusal(last: &Value, now: Duration) -> String {
    let problems: Vec<&str> = items(&last["problems"]).filter_map(Value::as_str).collect();
    if problems.is_empty() {
        return String::new();
    }
    let ago = now.as_secs().saturating_sub(last["at"].as_u64().unwrap_or_default());
    let mut text =
        format!("the config was refused {} ago, and the one before is in force:\n", span(ago as f64));
    for problem in problems {
        text += &format!("  {problem}\n");
    }
    text
}

fn servers(before: &Value, pool: &Value) -> String {
    let mut heads = vec!["server", "state", "in flight", "requests/s", "p99 ms", "address"];
    // Only where there is something to say.
    let has_weights = items(&pool["servers"]).any(|server| server["weight"].as_u64().unwrap_or(1) != 1);
    let has_orders = items(&pool["servers"]).any(|server| items(&server["orders"]).next().is_some());
    heads.extend(has_weights.then_some("weight"));
    heads.extend(has_orders.then_some("by order"));
    let mut table = Table::new(&heads);
    for server in items(&pool["servers"]) {
        let asked = server["requests"].as_u64().unwrap_or_default();
        let earlier = earlier(before, word(&pool["name"]), word(&server["name"])).unwrap_or(asked);
        let rate = asked.saturating_sub(earlier) as f64 / BETWEEN.as_secs_f64();
        let is_drained = items(&server["orders"]).any(|order| order["what"] == "drained");
        // A server that drains without an order is a worker on its way out.
        let state =
            if is_drained && server["state"] == "draining" { "drained" } else { word(&server["state"]) };
        let mut row = vec![
            word(&server["name"]).to_owned(),
            state.to_owned(),
            server["in_flight"].to_string(),
            format!("{rate:.0}"),
            server["p99_ms"].as_f64().map_or_else(|| "-".to_owned(), |ms| format!("{ms}")),
            word(&server["address"]).to_owned(),
        ];
        row.extend(has_weights.then(|| server["weight"].to_string()));
        let orders = items(&server["orders"]);
        let orders: Vec<_> =
            orders.map(|order| format!("{}{}", word(&order["what"]), lasting(order))).collect();
        row.extend(has_orders.then(|| orders.join(", ")));
        table.row(row);
    }
    table.to_string()
}

/// What an order is after a reload.
fn lasting(order: &Value) -> &'static str {
    if order["kept"] == true { " (kept)" } else { "" }
}

fn earlier(before: &Value, pool: &str, server: &str) -> Option<u64> {
    let pool = items(&before["pools"]).find(|found| found["name"] == pool)?;
    items(&pool["servers"]).find(|found| found["name"] == server)?["requests"].as_u64()
}

fn workers(pool: &Value) -> String {
    let Some(workers) = pool["app"]["workers"].as_array() else { return String::new() };
    let heads =
        ["worker", "state", "pid", "uptime", "restarts", "memory", "cpu", "loop", "delay ms", "last exit"];
    let mut table = Table::new(&heads);
    for worker in workers {
        let percent =
            |value: &Value| value.as_f64().map_or("-".to_owned(), |share| format!("{:.0}%", share * 100.0));
        table.row(vec![
            worker["index"].to_string(),
            word(&worker["state"]).to_owned(),
            worker["pid"].as_u64().map_or("-".to_owned(), |pid| pid.to_string()),
            worker["uptime_s"].as_f64().map_or("-".to_owned(), span),
            worker["restarts"].to_string(),
            worker["memory"].as_u64().map_or("-".to_owned(), |bytes| format!("{} MiB", bytes >> 20)),
            percent(&worker["cpu"]),
            percent(&worker["elu"]),
            worker["lag_p99_ms"].as_f64().map_or("-".to_owned(), |ms| format!("{ms:.1}")),
            worker["last_exit"].as_str().unwrap_or("-").to_owned(),
        ]);
    }
    table.to_string()
}

/// Seconds as people say them.
fn span(seconds: f64) -> String {
    let seconds = seconds as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refused_config_is_told_with_its_problems_until_it_is_mended() {
        let last = |problems: Value| json!({ "at": 1000, "problems": problems });
        let now = Duration::from_secs(1075);
        let text = refusal(&last(json!(["lintel.yaml:2:1: unknown key `a`"])), now);
        assert_eq!(
            text,
            "the config was refused 1m 15s ago, and the one before is in force:\n  lintel.yaml:2:1: unknown key `a`\n"
        );
        assert_eq!(refusal(&last(json!([])), now), "");
    }

    #[test]
    fn the_picture_shows_rates_and_workers() {
        let status = |requests: u32| {
            json!({
                "version": "1", "listeners": [{ "name": "http", "address": ":80", "connections": 2 }],
                "pools": [{
                    "name": "api", "waiting": 3,
                    "servers": [{ "name": "api/0", "state": "up", "in_flight": 1, "requests": requests,
                                  "p99_ms": 25.0, "address": "unix:/x" }],
                    "app": { "workers": [{ "index": 0, "state": "ready", "pid": 7, "uptime_s": 3700.0, "restarts": 1,
                                           "memory": 64 << 20, "cpu": 0.5, "elu": 0.25, "lag_p99_ms": 3.0, "last_exit": "signal 9" }] },
                }],
            })
        };
        let text = picture(&status(100), &status(160));
        for part in ["3 requests wait", "120", "api/0", "1h 1m", "64 MiB", "25%", "signal 9"] {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
        assert!(!text.contains("by order") && !text.contains("weight"), "{text}");
    }

    #[test]
    fn the_picture_shows_what_was_ordered() {
        let server = |name: &str, state: &str, orders: Value| {
            json!({ "name": name, "state": state, "in_flight": 0, "requests": 0, "weight": 3, "p99_ms": null,
                    "address": name, "orders": orders })
        };
        let status = json!({
            "version": "1", "listeners": [],
            "pools": [{
                "name": "api", "waiting": 7, "paused_s": 11.6,
                "removed": [{ "name": "10.0.0.9:80", "kept": true }],
                "servers": [
                    server("10.0.0.1:80", "draining", json!([
                        { "what": "drained", "kept": false }, { "what": "weighed", "kept": true }])),
                    server("10.0.0.2:80", "up", json!([])),
                    server("10.0.0.3:80", "draining", json!([])),
                ],
            }],
        });
        let text = picture(&status, &status);
        let line =
            |server: &str| text.lines().find(|line| line.contains(server)).unwrap_or_default().to_owned();
        assert!(text.contains("pool api, 7 requests wait, paused for 12 s at most"), "{text}");
        assert!(
            line("10.0.0.1:80").contains(" drained ")
                && line("10.0.0.1:80").contains("drained, weighed (kept)")
        );
        assert!(line("10.0.0.3:80").contains("draining"), "{text}");
        assert!(text.contains("10.0.0.9:80 of the file is taken out (kept)"), "{text}");
    }
}
