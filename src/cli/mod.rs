//! What a person types. One file per command; each takes its arguments and gives an exit code.
//!
//! Answers go to stdout, problems and errors to stderr, both without colours where they do not belong.

mod check;
mod client;
mod completions;
mod drain;
mod events;
mod import;
mod keeper;
mod logs;
mod pause;
mod plan;
mod reference;
mod reload;
mod rollout;
mod run;
mod schema;
mod server;
mod status;
mod table;
mod tls;
mod upgrade;
mod worker_setup;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Loaded, Problems, render};

/// Where a config is looked for when none is named.
const DEFAULT_FILES: [&str; 2] = ["lintel.yaml", "/etc/lintel/lintel.yaml"];

/// Exit code for a config with problems and for a start that failed. Clap exits with 2 on wrong usage.
const FAILED: u8 = 1;

const AFTER_HELP: &str = "\
Examples:
  lintel run                          start with ./lintel.yaml, else /etc/lintel/lintel.yaml
  lintel run -c conf/demo.yaml        start with this file
  lintel status                       pools, servers and workers of the one that runs
  lintel plan                         what `lintel reload` would change, and for whom
  lintel reload                       take the file as it is now, without dropping anything
  lintel rollout app                  new workers for the pool `app`, one by one
  lintel logs app -f                  what its workers write
  lintel check                        say what is wrong in the config, all at once
  lintel check --json | jq .problems  the same for programs
  lintel import pm2 > lintel.yaml     make a config from ./ecosystem.config.js
  lintel schema > lintel.schema.json  for the editor: completion and hints while writing YAML
  lintel completions bash > /etc/bash_completion.d/lintel

Exit codes:
  0  all is well
  1  the config has problems, or the start failed
  2  wrong usage; of `lintel plan` also: a reload would change something";

/// The front door for Node.js and any HTTP backends: TLS, routing, health checks, balancing and sticky sessions from one
/// YAML file.
#[derive(Debug, Parser)]
#[command(name = "lintel", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts and serves until it is told to end (SIGTERM or SIGINT)
    Run(run::RunArgs),
    /// Shows pools, servers and workers of the Lintel that runs
    Status(status::StatusArgs),
    /// Says what a reload would change in the Lintel that runs, and changes nothing
    Plan(plan::PlanArgs),
    /// Has the Lintel that runs take its config file as it is now
    Reload(reload::ReloadArgs),
    /// Replaces the workers of a pool by new ones, without a failed request
    Rollout(rollout::RolloutArgs),
    /// Has the program's file, as it is now, take over from the Lintel that runs
    Upgrade(upgrade::UpgradeArgs),
    /// Gives a pool more or fewer workers
    Scale(rollout::ScaleArgs),
    /// Gives a server no new work, and waits until it has none
    Drain(drain::DrainArgs),
    /// Gives a drained server work again
    Undrain(drain::UndrainArgs),
    /// Adds a server to a pool, takes one out, or weighs one anew
    Server(server::ServerArgs),
    /// Has new requests of a pool wait, for a deployment or a switch of its database
    Pause(pause::PauseArgs),
    /// Lets the requests of a paused pool go
    Resume(pause::ResumeArgs),
    /// Shows what the workers of a pool write
    Logs(logs::LogsArgs),
    /// Shows what happens in the Lintel that runs, as it happens
    Events(events::EventsArgs),
    /// Says what is wrong in a config, or that it is good
    Check(check::CheckArgs),
    /// Makes a config from the file of another program
    Import(import::ImportArgs),
    /// Prints the JSON Schema of the config file
    Schema,
    /// Prints a script that completes commands in a shell
    Completions(completions::CompletionsArgs),
    /// Prints the reference of all keys, as docs/reference.md has it
    #[command(hide = true)]
    Reference,
    /// Starts and ends workers for the Lintel that started it
    #[command(hide = true)]
    Keeper,
    /// Becomes a worker's program
    #[command(hide = true)]
    WorkerSetup(worker_setup::WorkerSetupArgs),
}

/// The config file of a command.
#[derive(Debug, Args)]
struct ConfigArgs {
    /// The config file [default: ./lintel.yaml, else /etc/lintel/lintel.yaml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the command that the arguments name; the first one is the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<ExitCode> {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, on stdout and with code 0.
            error.print()?;
            return Ok(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(FAILED)));
        }
    };
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Rollout(args) => rollout::rollout(&args),
        Command::Upgrade(args) => upgrade::run(&args),
        Command::Scale(args) => rollout::scale(&args),
        Command::Drain(args) => drain::drain(&args),
        Command::Undrain(args) => drain::undrain(&args),
        Command::Server(args) => server::run(&args),
        Command::Pause(args) => pause::pause(&args),
        Command::Resume(args) => pause::resume(&args),
        Command::Logs(args) => logs::run(&args),
        Command::Events(args) => events::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Schema => schema::run(),
        Command::Completions(args) => completions::run(&args),
        Command::Reference => reference::run(),
        Command::Keeper => keeper::run(),
        Command::WorkerSetup(args) => Ok(worker_setup::run(args)),
    }
}

/// Writes an error and what caused it, and gives the exit code.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    if let Some(problems) = error.downcast_ref::<Problems>() {
        show(&problems.0);
        return ExitCode::from(FAILED);
    }
    let style = anstyle::AnsiColor::Red.on_default().bold();
    // There is nobody left to tell when stderr is gone.
    let _ = writeln!(anstream::stderr(), "{style}lintel:{style:#} {error:#}");
    ExitCode::from(FAILED)
}

impl ConfigArgs {
    /// The file that is named, or the first default that exists.
    fn path(&self) -> anyhow::Result<PathBuf> {
        if let Some(path) = &self.config {
            return Ok(path.clone());
        }
        let found = DEFAULT_FILES.into_iter().map(Path::new).find(|path| path.exists());
        found.map(Path::to_owned).ok_or_else(|| {
            anyhow::anyhow!(
                "there is neither ./{} nor {}; name the config with -c FILE",
                DEFAULT_FILES[0],
                DEFAULT_FILES[1]
            )
        })
    }
}

/// Loads a config with this process's environment.
fn load(path: &Path) -> Result<Loaded, Problems> {
    config::load(path, &|name| std::env::var(name).ok())
}

/// Shows problems on stderr.
fn show(problems: &[config::Problem]) {
    let _ = write!(anstream::stderr(), "{}", render::coloured(problems));
}

/// Writes an answer to stdout. A reader that went away early, as `head` does, is no error.
fn answer(text: &str) -> anyhow::Result<()> {
    match writeln!(anstream::stdout(), "{}", text.trim_end_matches('\n')) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
