//! The harness of the end-to-end and conformance tests: the real binary, scripted servers, and clients that count bytes.
//!
//! Nothing here knows a topic; it starts, sends, records and waits. All waiting goes through `time`.
#![allow(dead_code, unused_imports)] // each test target uses its own part

pub mod client;
pub mod http2;
pub mod lintel;
pub mod message;
pub mod metrics;
pub mod node;
pub mod origin;
pub mod output;
pub mod played;
pub mod port;
pub mod process;
pub mod stream;
pub mod time;
pub mod tls;
pub mod websocket;

pub use client::{Connection, get, raw};
pub use lintel::Lintel;
pub use message::{Request, Response};
pub use origin::{Conversation, Origin};
pub use time::{eventually, within};
