//! One byte stream for TCP, unix sockets and TLS, so that clients and servers are written once.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// A connection of either side.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Makes the coming close a reset, where the protocol has one.
    fn arm_reset(&self) {}
}

impl Stream for TcpStream {
    fn arm_reset(&self) {
        let socket = socket2::SockRef::from(self);
        socket.set_linger(Some(Duration::ZERO)).expect("SO_LINGER can be set");
    }
}

impl Stream for UnixStream {}

impl Stream for tokio_rustls::client::TlsStream<TcpStream> {
    fn arm_reset(&self) {
        self.get_ref().0.arm_reset();
    }
}

impl Stream for tokio_rustls::server::TlsStream<TcpStream> {
    fn arm_reset(&self) {
        self.get_ref().0.arm_reset();
    }
}
