//! Connections to servers: connect, TLS, and the idle ones of each engine thread.

pub mod spec;

pub use spec::TlsSpec;
