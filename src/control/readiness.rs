//! Whether this process wants traffic, for `/readyz`.
//!
//! ```text
//!     Starting --- first round of checks and look-ups, or its deadline ---> Ready --- SIGTERM ---> Draining
//! ```

use std::borrow::Cow;
use std::fmt;

/// Kept in a `tokio::sync::watch`: boot and control write it, `admin` reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Not yet, with what is being waited for.
    Starting(Cow<'static, str>),
    Ready,
    /// Finishing what runs; nothing new should come.
    Draining,
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting(reason) => write!(f, "starting: {reason}"),
            Self::Ready => f.write_str("ready"),
            Self::Draining => f.write_str("draining"),
        }
    }
}
