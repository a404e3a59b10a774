//! What can be seen from outside: metrics, access log, program log.
//!
//! The data plane only counts (relaxed atomics) and appends (to its own thread's batch); formatting for Prometheus,
//! files and pipes happen on other threads. Nothing here decides anything.

pub mod access_log;
pub mod events;
pub mod fault;
mod label;
pub mod log;
pub mod metrics;
pub mod record;
pub mod spec;

pub use access_log::AccessLog;
pub use events::Events;
pub use fault::Fault;
pub use label::Label;
pub use metrics::Metrics;
pub use record::Record;
pub use spec::Spec;
