//! What goes wrong around Lintel: servers that fail in every way, and a system that runs out of what Lintel needs.
//!
//! What a single malformed response comes to is the conformance table's matter; here servers die, hang and come back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod chaos;

mod clock;
mod scarcity;
mod servers;
mod storm;
