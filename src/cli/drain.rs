//! `lintel drain` and `lintel undrain`: no new work for a server, and the end of that.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use super::server::encoded;
use super::{ConfigArgs, client};
use crate::units;

/// Between two looks at what is left.
const BETWEEN: Duration = Duration::from_millis(500);
/// The time passed and the server still has work.
const NOT_DONE: u8 = 3;

const AFTER_HELP: &str = "\
Examples:
  lintel drain api/10.0.0.21:3000                before the machine is taken away
  lintel drain api/10.0.0.21:3000 --timeout 5m   spread the goodbyes of WebSockets over five minutes
  lintel undrain api/10.0.0.21:3000              it gets work again

A drained server gets no new work. Sessions that are bound to it stay, WebSockets are told to come back elsewhere (1012),
spread over the timeout. What still runs when the time is over goes on.

Exit codes: 0 nothing is left on it, 3 the time is over and something is.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct DrainArgs {
    /// The pool and the server, as `lintel status` names them
    #[arg(value_name = "POOL/SERVER")]
    server: String,
    /// How long WebSockets have, and how long this waits
    #[arg(long, default_value = "30s")]
    timeout: units::Duration,
    /// Does not wait until nothing is left
    #[arg(long)]
    no_wait: bool,
    /// Stays drained over reloads
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    config: ConfigArgs,
    /// Writes JSON to stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct UndrainArgs {
    /// The pool and the server, as `lintel status` names them
    #[arg(value_name = "POOL/SERVER")]
    server: String,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn drain(args: &DrainArgs) -> anyhow::Result<ExitCode> {
    let path = args.config.path()?;
    let (pool, server) = split(&args.server)?;
    let keep = if args.keep { "&keep=1" } else { "" };
    let target = format!("/pools/{pool}/servers/{}/drain?timeout={}{keep}", encoded(server), args.timeout);
    let mut state = client::ask(&path, "POST", &target)?.json()?;
    let end = Instant::now() + args.timeout.std();
    let shows = std::io::stderr().is_terminal() && !args.json;
    while !args.no_wait && left(&state) > 0 && Instant::now() < end {
        if shows {
            let seconds = end.saturating_duration_since(Instant::now()).as_secs();
            anstream::eprint!("\r{}: {} in flight, {seconds} s left   ", args.server, left(&state));
        }
        std::thread::sleep(BETWEEN);
        state = find(&client::ask(&path, "GET", "/status")?.json()?, pool, server);
    }
    if shows {
        anstream::eprintln!();
    }
    let count = left(&state);
    let text = match count {
        0 => format!("{}: drained", args.server),
        count => format!("{}: drained of new work, {count} in flight", args.server),
    };
    super::answer(&if args.json { serde_json::to_string_pretty(&state)? } else { text })?;
    Ok(if count == 0 || args.no_wait { ExitCode::SUCCESS } else { ExitCode::from(NOT_DONE) })
}

pub(super) fn undrain(args: &UndrainArgs) -> anyhow::Result<ExitCode> {
    let (pool, server) = split(&args.server)?;
    let target = format!("/pools/{pool}/servers/{}/undrain", encoded(server));
    client::ask(&args.config.path()?, "POST", &target)?.json()?;
    super::answer(&format!("{}: gets work again", args.server))?;
    Ok(ExitCode::SUCCESS)
}

/// A pool has no slash in its name; a server may.
pub(super) fn split(name: &str) -> anyhow::Result<(&str, &str)> {
    name.split_once('/').ok_or_else(|| {
        anyhow::anyhow!(
            "`{name}` is no server; write POOL/SERVER, such as api/10.0.0.21:3000 (see `lintel status`)"
        )
    })
}

fn left(state: &Value) -> u64 {
    state["in_flight"].as_u64().unwrap_or_default()
}

fn find(status: &Value, pool: &str, server: &str) -> Value {
    let pools = status["pools"].as_array().into_iter().flatten();
    let servers = pools.filter(|found| found["name"] == pool).flat_map(|found| found["servers"].as_array());
    servers.flatten().find(|found| found["name"] == server).cloned().unwrap_or_default()
}
