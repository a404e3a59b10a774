//! Connections to servers: connect, TLS, and the idle ones of each engine thread.

pub mod connect;
pub mod idle;
pub mod sessions;
pub mod spec;
pub mod tls;

pub use connect::{ConnectError, Limits, connect};
pub use idle::Idle;
pub use sessions::{Http2, Sessions};
pub use spec::{Http2Spec, TlsSpec};
pub use tls::{ClientTls, SystemRoots};
