//! Programs that Lintel runs: what a user may ask of them, and the rules by which their processes live.
//!
//! Reading order: `spec` is what is written under `pools.NAME.app` (`command` splits its command into words, `cores`
//! answers `instances: auto`), `machine` is the life of one worker, `rollout` replaces many without an outage, `turnover`
//! says when other settings ask for one, `scaling` says how many there are to be. Rules only: nothing here starts a process,
//! sends a signal or waits; `control` drives it.

pub mod command;
pub mod cores;
pub mod machine;
pub mod rollout;
pub mod scaling;
pub mod spec;
pub mod turnover;

pub use command::Command;
pub use machine::Machine;
pub use rollout::Rollout;
pub use scaling::Scaling;
pub use spec::Spec;
pub use turnover::Turnover;
