//! The composition root: makes the parts, joins them, starts the threads, and ends them in order.
//!
//! ```text
//! file -> plan -> sockets -> control runtime: checks, look-ups, metrics -> engine threads accept -> ready
//! reload: file -> plan -> sockets; then, with no problem left: publish, reconcile
//! SIGTERM -> no more accepts -> running exchanges end -> exit 0, at the latest at drain_timeout
//! ```

pub mod accept;
pub mod control;
pub mod doors;
pub mod engines;
pub mod farewell;
pub mod front;
pub mod handover;
pub mod inherited;
pub mod init;
pub mod listeners;
pub mod plan;
pub mod reload;
pub mod running;
pub mod service;
pub mod signals;
pub mod upgrade;
pub mod warm;
pub mod watch;

use std::path::Path;

use anyhow::Context as _;

use crate::admin::Locks;
use crate::config::{Loaded, Problems};
use crate::observe::log;
use crate::observe::metrics::Metrics;
use crate::snapshot::{self, build::Surroundings};

use running::Running;
use upgrade::Heir;

/// How the program comes to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// By itself.
    Fresh,
    /// In the place of another process, which is at standard input.
    TakeOver,
}

/// Runs until a signal ends it. `path` is the file that `loaded` was read from, and that a reload reads.
pub fn run(path: &Path, loaded: Loaded, start: Start) -> anyhow::Result<()> {
    std::panic::set_hook(Box::new(|panic| tracing::error!(bug = true, "{panic}")));
    let log = log::start(&loaded.file.observability.log).context("cannot start the program log")?;
    for warning in &loaded.warnings.0 {
        tracing::warn!("{}", warning.message);
    }
    let control = control_runtime()?;
    let outcome = control.block_on(async {
        let mut heir = match start {
            Start::Fresh => None,
            Start::TakeOver => Some(Heir::receive().await.context("cannot take over from the Lintel before")?),
        };
        match Running::start(path, loaded, log, heir.as_mut()).await {
            Ok(running) => {
                if let Some(heir) = heir {
                    heir.serve(&running.live).await;
                }
                running.serve().await
            }
            Err(error) => {
                if let Some(heir) = heir {
                    heir.fail(&error).await;
                }
                Err(error)
            }
        }
    });
    control.shutdown_background();
    outcome
}

/// Everything that `lintel run` checks before it serves, without serving: certificates, keys, routes.
pub fn check(loaded: &Loaded) -> Problems {
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let surroundings = Surroundings { metrics, access_log: None, state_directory: None, before: None };
    let locks = Locks::read(&loaded.file.admin).err().unwrap_or_default();
    let locks: Vec<_> =
        locks.iter().map(|error| loaded.source.problem_at(&error.at, &error.message)).collect();
    match snapshot::build(&loaded.file, &surroundings) {
        Ok(_) if !locks.is_empty() => Problems(locks),
        Ok(built) => Problems(
            built
                .warnings
                .iter()
                .map(|warning| loaded.source.warning_at(&warning.at, &warning.message))
                .collect(),
        ),
        Err(problems) => Problems(located(loaded, &problems).0.into_iter().chain(locks).collect()),
    }
}

/// Problems of a plan with their places in the file.
fn located(loaded: &Loaded, problems: &[snapshot::Problem]) -> Problems {
    Problems(problems.iter().map(|problem| loaded.source.problem_at(&problem.at, &problem.message)).collect())
}

fn control_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("lintel-control")
        .enable_all()
        .build()
        .context("cannot start the control runtime")
}
