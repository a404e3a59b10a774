//! Keys to the house: canaries stand in every secret of a config and of a request, and must be found nowhere else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod files;
mod house;
mod requests;
mod words;
