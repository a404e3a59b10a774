//! What keeps the running plan true, on a runtime of its own: probers, name look-ups, and what they need at start.
//!
//! It writes server sets and health into parts that the data plane reads; it never touches a request.

pub mod command;
pub mod directories;
pub mod first_round;
pub mod plan;
pub mod prober;
pub mod readiness;
pub mod resolver;
pub mod task;
pub mod threads;
pub mod workers;

pub use directories::Directories;
pub use prober::Prober;
pub use readiness::Readiness;
pub use resolver::Resolver;
pub use workers::Workers;
