//! The control interface: /metrics, /livez and /readyz for Prometheus and probes, and orders, over TCP or a unix socket.
//!
//! It is outside the data plane, so hyper speaks HTTP here. `operation` lists what can be asked, `guard` says by whom,
//! `order` reads it, `office` carries it out, `view` shows what came of it; the door of the metrics only has the pages.

pub mod door;
mod follow;
pub mod guard;
pub mod locks;
pub mod office;
pub mod openapi;
pub mod operation;
pub mod order;
pub mod page;
pub mod patient;
mod planned;
mod schema;
pub mod serve;
pub mod token;
pub mod view;

pub use door::{Door, OpenError};
pub use follow::Followers;
pub use guard::CONTROL_HEADER;
pub use locks::Locks;
pub use office::Office;
pub use page::Surface;
pub use serve::{Entry, serve};
