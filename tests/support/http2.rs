//! HTTP/2 frame by frame (RFC 9113, RFC 8441): a client, and servers behind Lintel. It shares no code with the program.
//!
//! Both ends send exactly what they are told, and read strictly: what RFC 9113 forbids Lintel to send fails the test.

mod client;
mod fields;
pub mod frame;
mod hpack;
mod origin;
mod wire;

pub use client::{Http2, Reply};
pub use fields::{Fields, all, asking, field, get, post};
pub use frame::{Frame, PREFACE, code, flag, kind, setting};
pub use hpack::{decode, encode};
pub use origin::{Asked, Http2Origin, Talk};
pub use wire::{End, Half, Wire};
