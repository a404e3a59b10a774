//! Connections to servers: connect, TLS, and the idle ones of each engine thread.

pub mod spec;
pub mod tls;

pub use spec::TlsSpec;
