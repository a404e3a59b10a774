//! What is done to a request before it goes to a server, and to a response before it goes to the client.
//!
//! Policies are lists of filters; building turns them into one short list per phase.

pub mod headers;
pub mod spec;

pub use spec::Spec;
