//! The small parent of all workers: a process of its own, so that what it holds can outlive the one that serves.
//!
//! `lintel` (`client`) --socket pair (`protocol`)--> `lintel keeper` (`process`) --> `lintel worker-setup` (`setup`), which
//! becomes the worker's command. The keeper starts, signals and reaps, holds the workers' listening sockets, and ends every
//! group it started once Lintel is gone. It knows nothing of pools, restarts, readiness or logs: all that is decided above.

mod account;
mod client;
mod process;
pub(crate) mod protocol;
mod setup;
mod socket;

pub use account::user_id;
pub use client::{Handover, Keeper, Report, Running, SpawnError, Spawned};
pub use process::run;
pub use protocol::{Exit, Order, To};
pub use rustix::process::Signal;
pub use setup::{Inherited, Setup, SetupError, become_worker};
