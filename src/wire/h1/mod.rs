//! HTTP/1.1 and HTTP/1.0 (RFC 9112): the parser, the framing of bodies, and a connection to either side.
//!
//! Parsing is strict: what two implementations could read in two ways is refused, never repaired.

pub mod chunk;
pub mod client;
pub mod connection;
pub mod outbound;
pub mod parse;
pub mod request;
pub mod response;
pub mod server;
mod usual;

pub use client::ClientConnection;
pub use connection::Connection;
pub use server::ServerConnection;
