//! Workers: the real binary runs real Node apps, which are replaced, killed, blocked and broken under load.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod load;
mod site;

mod crashes;
mod ending;
mod frameworks;
mod output;
mod programs;
mod rollout;
mod scaling;
mod shared;
mod socket_io;
mod start;
mod tasks;
