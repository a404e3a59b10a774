//! `lintel drain` and `lintel undrain`: no new work for a server, and the end of that.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use super::server::encoded;
use super::{ConfigArgs, client};
use crate::units;

/// Between two looks at what is left.
const BETWEEN: Duration = Duration::from_millis(250);
/// Between two lines where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(5);
/// The time passed and the server still has work.
const NOT_DONE: u8 = 3;

const AFTER_HELP: &str = "\
Examples:
  lintel drain api/10.0.0.21:3000                before the machine is taken away
  lintel drain api/10.0.0.21:3000 --timeout 5m   spread the goodbyes of WebSockets over five minutes
  lintel drain app/0                             a worker of the app of the pool `app`
  lintel undrain api/10.0.0.21:3000              it gets work again

A drained server gets no new work. Sessions that are bound to it stay; WebSockets are told to come
back elsewhere (1012), spread over the timeout. What still runs when the time is over goes on, and
the server stays drained. Given again, WebSockets that are left get this timeout from now.

Exit codes:
  0  nothing is left on it
  1  the order was not carried out, or was taken back meanwhile
  3  the time is over and something is left";

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
    /// Writes JSON to stdout
    #[arg(long)]
    json: bool,
}

pub(super) fn drain(args: &DrainArgs) -> anyhow::Result<ExitCode> {
    let path = args.config.path()?;
    let (pool, server) = split(&args.server)?;
    let keep = if args.keep { "&keep=1" } else { "" };
    let target = format!("{}/drain?timeout={}{keep}", place(pool, server), args.timeout);
    let mut state = client::ask(&path, "POST", &target)?.json()?;
    let end = Instant::now() + args.timeout.std();
    // As the answer names it: a worker can be named by its number.
    let name = state["name"].as_str().unwrap_or(server).to_owned();
    warn_of_the_last(&client::ask(&path, "GET", "/status")?.json()?, pool);
    let mut progress = Progress::new(if args.json { Shown::Nothing } else { Shown::AsFits });
    while !args.no_wait && left(&state) > 0 && Instant::now() < end {
        std::thread::sleep(BETWEEN.min(end.saturating_duration_since(Instant::now())));
        state = find(&client::ask(&path, "GET", "/status")?.json()?, pool, &name)
            .with_context(|| format!("{} is not in the pool any more", args.server))?;
        if !is_drained(&state) {
            progress.end();
            anyhow::bail!(
                "{} gets work again: by `lintel undrain`, or by a reload (--keep outlasts those)",
                args.server
            );
        }
        if left(&state) > 0 {
            progress.show(&args.server, left(&state), end.saturating_duration_since(Instant::now()));
        }
    }
    progress.end();
    let count = left(&state);
    let text = match count {
        0 => format!("{}: drained, nothing is left on it", args.server),
        count => format!("{}: gets no new work, {count} in flight go on", args.server),
    };
    super::answer(&if args.json { serde_json::to_string_pretty(&state)? } else { text })?;
    Ok(if count == 0 || args.no_wait { ExitCode::SUCCESS } else { ExitCode::from(NOT_DONE) })
}

pub(super) fn undrain(args: &UndrainArgs) -> anyhow::Result<ExitCode> {
    let (pool, server) = split(&args.server)?;
    let target = format!("{}/undrain", place(pool, server));
    let state = client::ask(&args.config.path()?, "POST", &target)?.json()?;
    let text = match state["state"].as_str() {
        Some("up") | None => format!("{}: gets work again", args.server),
        Some(other) => format!("{}: drained no more, but it is {other}", args.server),
    };
    super::answer(&if args.json { serde_json::to_string_pretty(&state)? } else { text })?;
    Ok(ExitCode::SUCCESS)
}

/// What is left, in one line that is written over where there is a terminal, else in a line now and then.
struct Progress {
    shown: Shown,
    said: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    AsFits,
}

impl Progress {
    fn new(shown: Shown) -> Self {
        Self { shown, said: None }
    }

    fn show(&mut self, server: &str, count: u64, left: Duration) {
        if self.shown == Shown::Nothing {
            return;
        }
        let line = format!("{server}: {count} in flight, {} s left", left.as_secs_f64().ceil());
        if std::io::stderr().is_terminal() {
            anstream::eprint!("\r{line}\x1b[K");
        } else if self.said.is_none_or(|said| said.elapsed() >= BETWEEN_LINES) {
            anstream::eprintln!("{line}");
        } else {
            return;
        }
        self.said = Some(Instant::now());
    }

    fn end(&self) {
        if self.said.is_some() && std::io::stderr().is_terminal() {
            anstream::eprintln!();
        }
    }
}

/// A pool has no slash in its name; a server may.
pub(super) fn split(name: &str) -> anyhow::Result<(&str, &str)> {
    let parts = name.split_once('/').filter(|(pool, server)| !pool.is_empty() && !server.is_empty());
    parts.ok_or_else(|| {
        anyhow::anyhow!(
            "`{name}` is no server; write POOL/SERVER, such as api/10.0.0.21:3000 (see `lintel status`)"
        )
    })
}

/// Where the control interface has a server.
pub(super) fn place(pool: &str, server: &str) -> String {
    format!("/pools/{}/servers/{}", encoded(pool), encoded(server))
}

/// Says so when nobody is left to do the work.
fn warn_of_the_last(status: &Value, pool: &str) {
    let works = |server: &Value| matches!(server["state"].as_str(), Some("up" | "ejected"));
    if !servers(status, pool).any(works) {
        anstream::eprintln!(
            "no other server of {pool} is up: its requests are answered with 503 from now on"
        );
    }
}

fn left(state: &Value) -> u64 {
    state["in_flight"].as_u64().unwrap_or_default()
}

fn is_drained(state: &Value) -> bool {
    state["orders"].as_array().into_iter().flatten().any(|order| order["what"] == "drained")
}

fn find(status: &Value, pool: &str, server: &str) -> Option<Value> {
    servers(status, pool).find(|found| found["name"] == server).cloned()
}

fn servers<'a>(status: &'a Value, pool: &'a str) -> impl Iterator<Item = &'a Value> {
    let pools = status["pools"].as_array().into_iter().flatten();
    pools.filter(move |found| found["name"] == pool).flat_map(|found| found["servers"].as_array()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_have_slashes_and_colons_and_a_pool_has_none() {
        for (name, parts) in [
            ("app/0", ("app", "0")),
            ("app/app/0", ("app", "app/0")),
            ("api/unix:/run/a.sock", ("api", "unix:/run/a.sock")),
            ("api/[::1]:80", ("api", "[::1]:80")),
        ] {
            assert_eq!(split(name).unwrap(), parts);
        }
        for name in ["api", "", "/", "api/", "/10.0.0.1:80"] {
            let refusal = split(name).unwrap_err().to_string();
            assert!(refusal.contains("write POOL/SERVER"), "{refusal}");
        }
        assert_eq!(place("a", "unix:/x"), "/pools/a/servers/unix%3A%2Fx");
    }
}
