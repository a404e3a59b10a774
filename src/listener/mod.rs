//! Sockets that clients connect to: bind, accept within limits, read the PROXY header.
//!
//! Which engine thread serves a connection, and the deadlines of its first bytes, are decided above.

mod acceptor;
pub mod fd_limit;
mod gate;
pub mod proxy_protocol;
mod socket;
pub mod spec;
mod trusted;

pub use acceptor::{Accepted, Acceptor};
pub use gate::{Entrance, Evicted, Gate, Pass, Refused};
pub use socket::{BindError, Share, Socket, bind};
pub use spec::Spec;
pub use trusted::{Trusted, TrustedPeer};
