//! HTTP/2 end to end (RFC 9113, RFC 8441): the real binary, frames byte by byte, and servers of both versions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod crowd;
mod ending;
mod floods;
mod forwarding;
mod frames;
mod fronts;
mod origins;
mod requests;
mod spread;
mod websocket;
