//! What the fuzz targets check, one module a target; `fuzz_targets/` only names them.
//!
//! A check takes any bytes and panics when something is wrong. Whatever a target needs by chance (where to cut, how large
//! a piece is) follows from the input alone, so that an input shows the same thing each time, and stays readable.
#![forbid(unsafe_code)]

pub mod chunked;
pub mod config;
pub mod cookies;
pub mod cuts;
pub mod forwarded;
pub mod h2_client;
pub mod h2_server;
pub mod h2_wire;
pub mod heads;
pub mod memory;
pub mod path;
pub mod proxy_header;
pub mod request_head;
pub mod response_head;
pub mod websocket;
