//! TLS to clients: certificates picked by SNI, client certificates, tickets that hold across engine threads.

pub mod spec;

pub use spec::Spec;
