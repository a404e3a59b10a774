//! The composition root: runtimes, listeners, engine threads, control, admin.

use crate::config;

/// Starts everything that a config asks for and serves until told to end.
pub fn run(_loaded: config::Loaded) -> anyhow::Result<()> {
    anyhow::bail!("serving is not built in yet")
}
