//! Bytes both ways after an upgrade: a whole connection, or one stream of HTTP/2.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{h1, h2};
use crate::net::{Buffer, Stream};

/// One end of a tunnel.
#[derive(Debug)]
pub enum Pipe {
    Connection(Stream),
    Http2(h2::Stream),
}

impl Pipe {
    /// The pipe that a connection has become, and the bytes already read from it.
    pub fn of_connection(connection: h1::Connection) -> (Self, Buffer) {
        let (stream, inbound) = connection.into_tunnel();
        (Self::Connection(stream), inbound)
    }

    /// Ready when a read may give something; of a stream only a read tells.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Connection(stream) => stream.poll_readable(cx),
            Self::Http2(_) => Poll::Ready(Ok(())),
        }
    }
}

macro_rules! each {
    ($self:ident, $end:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Connection(stream) => {
                let $end = Pin::new(stream);
                $call
            }
            Self::Http2(stream) => {
                let $end = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, end => end.poll_read(cx, buf))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, end => end.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, end => end.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, end => end.poll_shutdown(cx))
    }
}
