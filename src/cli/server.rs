//! `lintel server`: servers of a pool that come, go or get another weight while it runs.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::drain::{place, split};
use super::{ConfigArgs, client};

const AFTER_HELP: &str = "\
Examples:
  lintel server add api 10.0.0.24:3000 --weight 2
  lintel server weight api/10.0.0.24:3000 1
  lintel server remove api/10.0.0.24:3000
  lintel server add api unix:/run/api/4.sock --keep

The next reload goes back to the file, unless --keep is given.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ServerArgs {
    #[command(subcommand)]
    command: ServerCommand,
}

#[derive(Debug, Subcommand)]
enum ServerCommand {
    /// Adds a server to a pool
    Add {
        /// The pool
        pool: String,
        /// IP:PORT or unix:/PATH
        address: String,
        /// Its share of the work, 1 to 1000
        #[arg(long, default_value_t = 1)]
        weight: u32,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Takes a server out of its pool; what runs on it goes on for runtime.drain_timeout
    Remove {
        /// The pool and the server, as `lintel status` names them
        #[arg(value_name = "POOL/SERVER")]
        server: String,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Gives a server another share of the work, 1 to 1000
    Weight {
        /// The pool and the server, as `lintel status` names them
        #[arg(value_name = "POOL/SERVER")]
        server: String,
        /// 1 to 1000
        weight: u32,
        #[command(flatten)]
        order: OrderArgs,
    },
}

#[derive(Debug, Args)]
struct OrderArgs {
    /// Stays so over reloads
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    config: ConfigArgs,
    /// Writes JSON to stdout
    #[arg(long)]
    json: bool,
}

impl OrderArgs {
    fn lasts(&self) -> &'static str {
        if self.keep { "for good" } else { "until the next reload" }
    }
}

pub(super) fn run(args: &ServerArgs) -> anyhow::Result<ExitCode> {
    let (order, method, target, done) = match &args.command {
        ServerCommand::Add { pool, address, weight, order } => {
            let target =
                format!("/pools/{}/servers?address={}&weight={weight}", encoded(pool), encoded(address));
            (order, "POST", target, format!("{pool}/{address}: added {}", order.lasts()))
        }
        ServerCommand::Remove { server, order } => {
            let (pool, name) = split(server)?;
            let lasts = order.lasts();
            let done =
                format!("{server}: taken out {lasts}; what runs on it goes on for runtime.drain_timeout");
            (order, "DELETE", format!("{}?", place(pool, name)), done)
        }
        ServerCommand::Weight { server, weight, order } => {
            let (pool, name) = split(server)?;
            let target = format!("{}/weight?weight={weight}", place(pool, name));
            (order, "POST", target, format!("{server}: weight {weight} {}", order.lasts()))
        }
    };
    let keep = if order.keep { "&keep=1" } else { "" };
    let report = client::ask(&order.config.path()?, method, &format!("{target}{keep}"))?.json()?;
    super::answer(&if order.json { serde_json::to_string_pretty(&report)? } else { done })?;
    if report["servers"].as_array().is_some_and(Vec::is_empty) {
        anstream::eprintln!("the pool has no server now: its requests are answered with 503");
    }
    Ok(ExitCode::SUCCESS)
}

/// A name as a part of a path: that of a server may have slashes.
pub(super) fn encoded(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}
