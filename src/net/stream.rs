//! A connection's bytes: its transport, plain or below a finished TLS session.
//!
//! An enum and not a trait object: the kinds are few and every read and write goes through here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{client, server};

use super::Transport;

/// TCP or a unix socket, with or without TLS.
#[derive(Debug)]
pub enum Stream {
    Plain(Transport),
    /// TLS to a client.
    Server(Box<server::TlsStream<Transport>>),
    /// TLS to a server.
    Client(Box<client::TlsStream<Transport>>),
}

impl Stream {
    /// Ready when a read may give something; below TLS only a read tells.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(transport) => transport.poll_readable(cx),
            Self::Server(_) | Self::Client(_) => Poll::Ready(Ok(())),
        }
    }

    /// The socket below, if its bytes are those of the protocol above.
    pub fn plain_socket(&self) -> Option<&Transport> {
        match self {
            Self::Plain(transport) if transport.socket().is_some() => Some(transport),
            _ => None,
        }
    }

    /// Whether it is open and has nothing to read; what there is of it is lost. `None` where only a read tells.
    pub fn is_silent(&self) -> Option<bool> {
        match self {
            Self::Plain(transport) => transport.is_silent(),
            Self::Server(_) | Self::Client(_) => None,
        }
    }

    /// Makes the end of this connection a reset, so that the peer does not take what it got for everything.
    ///
    /// A body that ends with the connection (HTTP/1.0) has no other way to be seen as cut.
    pub fn reset_on_drop(&self) {
        let transport = match self {
            Self::Plain(transport) => transport,
            Self::Server(tls) => tls.get_ref().0,
            Self::Client(tls) => tls.get_ref().0,
        };
        if let Some(socket) = transport.socket() {
            let _ = set_socket_linger(socket, Some(Duration::ZERO));
        }
    }
}

macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Plain(plain) => {
                let $stream = Pin::new(plain);
                $call
            }
            Self::Server(tls) => {
                let $stream = Pin::new(tls.as_mut());
                $call
            }
            Self::Client(tls) => {
                let $stream = Pin::new(tls.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write_vectored(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(plain) => plain.is_write_vectored(),
            Self::Server(tls) => tls.is_write_vectored(),
            Self::Client(tls) => tls.is_write_vectored(),
        }
    }

    /// What is written to a plain connection has left already.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Server(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
            Self::Client(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_shutdown(cx))
    }
}
