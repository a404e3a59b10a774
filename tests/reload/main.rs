//! Reload: what changes at once, what survives, what ends gently, and what refuses a bad file. One file per topic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../workers/load.rs"]
#[allow(dead_code, reason = "the tests of workers use more of it")]
mod load;
#[path = "../workers/site.rs"]
#[allow(dead_code, reason = "the tests of workers use more of it")]
mod site;
#[path = "../e2e/spread.rs"]
#[allow(dead_code, reason = "the end-to-end tests use more of it")]
mod spread;

mod apps;
mod bar;
mod listeners;
mod ongoing;
mod pools;
mod refused;
mod servers;
mod tls;
mod watch;
