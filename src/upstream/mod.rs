//! Connections to servers: connect, TLS, and the idle ones of each engine thread.

pub mod connect;
pub mod idle;
pub mod spec;
pub mod tls;

pub use connect::{ConnectError, connect};
pub use idle::Idle;
pub use spec::TlsSpec;
pub use tls::{ClientTls, SystemRoots};
