//! Which route a request takes: host, path, method, headers and query, most specific first.
//!
//! Also what a route asks for besides a pool: a rewrite, a redirect, a fixed response, a split by weight. All of it is
//! compiled from Specs once and pure afterwards; connections and pools are not known here.

pub mod host;
mod matcher;
pub mod path;
mod query;
pub mod redirect;
pub mod respond;
pub mod rewrite;
#[cfg(test)]
mod servers;
pub mod spec;
pub mod split;
pub mod table;

pub use host::{Host, HostError};
pub use path::{NormalPath, PathError, split_target};
pub use redirect::Redirect;
pub use rewrite::Rewrite;
pub use spec::Spec;
pub use split::Split;
pub use table::{FindError, Query, Table, TableProblem};

/// Something wrong in one route's Spec, found while compiling it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileProblem {
    /// The key below the route, such as `rewrite.host`.
    pub at: String,
    pub message: String,
}

impl CompileProblem {
    pub(crate) fn new(at: impl Into<String>, message: impl Into<String>) -> Self {
        Self { at: at.into(), message: message.into() }
    }
}
