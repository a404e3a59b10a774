//! Messages on the wire: heads, bodies and the drivers of each protocol. Knows bytes, nothing of routes or pools.
//!
//! The exchange in `proxy` is written against `Downstream` and `Upstream`. HTTP/1.1 is the one driver yet;
//! with a second these become enums of drivers, and the exchange stays as it is.

pub mod body;
pub mod h1;
pub mod head;
pub mod rules;
pub mod token;
pub mod websocket;

/// A request from a client, and the way back to it.
pub type Downstream = h1::ServerConnection;

/// A request to a server, and its answer.
pub type Upstream = h1::ClientConnection;
