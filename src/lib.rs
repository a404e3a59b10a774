//! Lintel: the front door for Node.js and any HTTP backends.
//!
//! The crate in reading order, from the bottom up. A module imports from lower floors only; `tests/tidy.rs` checks it.

// Floor 0: what everything stands on.
pub mod clock;
pub mod life;
pub mod net;
pub mod units;
// Floor 1: bytes, one server, what can be seen.
pub mod observe;
pub mod reply;
pub mod server;
pub mod wire;
// Floor 2: the parts, each with its own Spec.
pub mod discovery;
pub mod filter;
pub mod health;
pub mod keeper;
pub mod listener;
pub mod pool;
pub mod route;
pub mod tls;
pub mod upstream;
pub mod worker;
// Floor 3: the file.
pub mod config;
// Floor 4: the compiled plan; configs made from the files of others.
pub mod import;
pub mod snapshot;
// Floor 5: one request; and what keeps the plan true.
pub mod control;
pub mod proxy;
// Floor 6 to 8: the control interface, the composition root, the command line.
pub mod admin;
pub mod boot;
pub mod cli;
