//! HTTP/2 (RFC 9113): frames, header compression, the streams of a connection to either side.
//!
//! ```text
//! socket <-> driver <-> session (one for all streams) <-> stream (one for each exchange)
//! ```
//!
//! What the peer must not do ends its stream or its connection with the error that the RFC names; what it may do, but
//! not so often, is counted (`flood`).

pub mod client;
pub mod driver;
pub mod fields;
pub mod flood;
pub mod frame;
pub mod hpack;
pub mod message;
pub mod out;
pub mod receive;
pub mod server;
pub mod session;
pub mod state;
pub mod stream;

pub use client::{ClientSession, ClientStream, Liveness};
pub use flood::{Flood, Rates};
pub use frame::ErrorCode;
pub use server::{Asked, ServerSession, ServerStream};
pub use session::{Closed, SessionLimits};
pub use stream::Stream;
