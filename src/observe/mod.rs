//! What can be seen from outside: metrics, access log, program log.

pub mod access_log;
pub mod metrics;
pub mod spec;

pub use spec::Spec;
