//! Sockets that clients connect to: bind, accept within limits, read the PROXY header.

pub mod spec;

pub use spec::Spec;
