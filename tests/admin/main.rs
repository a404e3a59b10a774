//! The control interface as programs meet it: what it answers, whom it refuses, and its description held against both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod described;
mod doors;
mod events;
mod place;
