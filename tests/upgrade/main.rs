//! Upgrade: another process of the program takes over under load, or does not and changes nothing; and systemd, which is
//! told of it all. One file per topic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../workers/load.rs"]
#[allow(dead_code, reason = "the tests of workers use more of it")]
mod load;

mod house;

mod changes;
mod ending;
mod init;
mod left;
mod lossless;
mod refused;
mod sessions;
mod systemd;
mod workers;
