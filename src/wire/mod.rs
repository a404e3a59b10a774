//! Messages on the wire: heads, bodies and the drivers of each protocol. Knows bytes, nothing of routes or pools.
//!
//! The exchange in `proxy` is written against `Downstream` and `Upstream`, enums of the drivers.

pub mod body;
pub mod downstream;
pub mod grpc;
pub mod h1;
pub mod h2;
pub mod head;
mod known;
pub mod pipe;
pub mod rules;
pub mod token;
pub mod upstream;
pub mod websocket;

pub use downstream::Downstream;
pub use pipe::Pipe;
pub use upstream::Upstream;
