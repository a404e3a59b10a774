//! The control interface: /metrics, /livez and /readyz for Prometheus and probes, over TCP or a unix socket.
//!
//! It is outside the data plane, so hyper speaks HTTP here. It reads; nothing can be changed through it yet.

pub mod door;
pub mod page;
pub mod patient;
pub mod serve;

pub use door::{Door, OpenError};
pub use page::{Guard, Surface};
pub use serve::serve;
