//! What the program as a whole is told to do, by whom it can be told: signals, the control interface, a changed file.

use std::path::PathBuf;

use serde_json::Value;
use tokio::sync::oneshot;

use super::plan::Plan;
use crate::config::Problems;

/// Carried out one after the other, in the composition root.
#[derive(Debug)]
pub enum Command {
    /// Reads the config file again and takes it; gives what changed.
    Reload(oneshot::Sender<Result<Reloaded, Problems>>),
    /// Reads the config file again and says what taking it would change; nothing changes.
    Plan(oneshot::Sender<Result<Plan, Problems>>),
    /// Shows the config in force.
    Config(oneshot::Sender<InForce>),
    /// Has the program's file, as it is now, take over; gives the new process id, or why the old process serves on.
    Upgrade(oneshot::Sender<Result<u32, String>>),
}

/// What a reload has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Names the text that is in force.
    pub hash: String,
    pub warnings: Vec<String>,
    /// Keys that changed and only count after a restart.
    pub needs_restart: Vec<&'static str>,
}

/// The config in force as it may be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct InForce {
    /// Where it was read.
    pub path: PathBuf,
    /// Names the text that is in force.
    pub hash: String,
    /// Defaults written out, secrets masked.
    pub config: Value,
}

/// How the last try to reload went; kept for who asks later.
#[derive(Clone, Debug, Default)]
pub struct LastReload {
    /// Seconds since 1970; 0 for the start.
    pub at: u64,
    /// What was wrong, as people read it; empty when the file was taken.
    pub problems: Vec<String>,
}
