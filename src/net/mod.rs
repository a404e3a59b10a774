//! Sockets below any protocol: addresses, the byte stream, its deadline and its buffers.

pub mod address;
pub mod buffer;
pub mod deadline;
pub mod splice;
pub mod stream;
pub mod transport;

pub use address::{Address, Endpoint};
pub use buffer::Buffer;
pub use deadline::Deadline;
pub use stream::Stream;
pub use transport::Transport;
