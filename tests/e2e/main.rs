//! End-to-end tests: the real binary, real sockets, scripted servers and real Node apps. One file per topic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod load;
mod spread;

mod balancing;
mod bodies;
mod browser;
mod command_line;
mod demo;
mod drain;
mod ending;
mod forwarding;
mod health;
mod limits;
mod names;
mod observability;
mod pause;
mod plan;
mod proxy_protocol;
mod retries;
mod routes;
mod servers;
mod socket_io;
mod sticky;
mod streaming;
mod tls;
mod tls_to_servers;
mod websocket;
