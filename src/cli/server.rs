//! `lintel server`: servers of a pool that come, go or get another weight while it runs.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::drain::split;
use super::{ConfigArgs, client};

const AFTER_HELP: &str = "\
Examples:
  lintel server add api 10.0.0.24:3000 --weight 2
  lintel server weight api/10.0.0.24:3000 1
  lintel server remove api/10.0.0.24:3000

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
        pool: String,
        /// IP:PORT or unix:/PATH
        address: String,
        #[arg(long, default_value_t = 1)]
        weight: u32,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Takes a server out of its pool; what runs on it goes on for runtime.drain_timeout
    Remove {
        #[arg(value_name = "POOL/SERVER")]
        server: String,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Gives a server another share of the work, 1 to 1000
    Weight {
        #[arg(value_name = "POOL/SERVER")]
        server: String,
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
}

pub(super) fn run(args: &ServerArgs) -> anyhow::Result<ExitCode> {
    let (order, method, target, done) = match &args.command {
        ServerCommand::Add { pool, address, weight, order } => {
            let target = format!("/pools/{pool}/servers?address={}&weight={weight}", encoded(address));
            (order, "POST", target, format!("{pool}/{address}: added"))
        }
        ServerCommand::Remove { server, order } => {
            let (pool, name) = split(server)?;
            let target = format!("/pools/{pool}/servers/{}?", encoded(name));
            (order, "DELETE", target, format!("{server}: taken out"))
        }
        ServerCommand::Weight { server, weight, order } => {
            let (pool, name) = split(server)?;
            let target = format!("/pools/{pool}/servers/{}/weight?weight={weight}", encoded(name));
            (order, "POST", target, format!("{server}: weight {weight}"))
        }
    };
    let keep = if order.keep { "&keep=1" } else { "" };
    client::ask(&order.config.path()?, method, &format!("{target}{keep}"))?.json()?;
    super::answer(&done)?;
    Ok(ExitCode::SUCCESS)
}

/// The name of a server as a part of a path: it may have slashes.
pub(super) fn encoded(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}
