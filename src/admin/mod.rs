//! The control interface: /metrics, /livez and /readyz for Prometheus and probes, over TCP or a unix socket.
//!
//! It is outside the data plane, so hyper speaks HTTP here. Through the door of `admin` orders are taken too: status,
//! rollouts, scaling, the output of workers; the door of the metrics only reads.

pub mod door;
pub mod office;
pub mod order;
pub mod page;
pub mod patient;
mod planned;
pub mod serve;
pub mod view;

pub use door::{Door, OpenError};
pub use office::Office;
pub use page::{Guard, Surface};
pub use serve::serve;
