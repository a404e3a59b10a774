//! A named set of interchangeable servers: pick one for a request, count what it has in flight, keep clients on theirs.

pub mod spec;

pub use spec::Spec;
