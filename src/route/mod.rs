//! Which route a request takes: host, path, method, headers and query, most specific first.

pub mod spec;

pub use spec::Spec;
