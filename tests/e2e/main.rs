//! End-to-end tests: the real binary, real sockets, scripted servers and real Node apps. One file per topic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;
