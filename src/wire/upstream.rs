//! A request to a server and its answer, whatever protocol they speak.

use std::io;
use std::task::{Context, Poll, ready};

use super::body::{Framing, Piece, ReadBodyError};
use super::downstream::Downstream;
use super::h1::ClientConnection;
use super::h2::ClientStream;
use super::head::Head;
use super::pipe::Pipe;
use super::rules::{ReadResponseError, ResponseFraming};
use crate::net::Buffer;

/// One request to a server: a connection of its own, or a stream of one that others share. Small, since it is handed on often.
#[derive(Debug)]
pub enum Upstream {
    Http1(Box<ClientConnection>),
    Http2(Box<ClientStream>),
}

macro_rules! each {
    ($self:ident, $server:ident => $call:expr) => {
        match $self {
            Self::Http1($server) => $call,
            Self::Http2($server) => $call,
        }
    };
}

impl Upstream {
    /// What the response's head says about its body.
    pub fn response(&self) -> ResponseFraming {
        each!(self, server => server.response)
    }

    pub fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// Sends a request head. `upgrade` names the protocol that is asked for.
    pub fn write_head(&mut self, head: &Head, body: Framing, upgrade: Option<&[u8]>) {
        each!(self, server => server.write_head(head, body, upgrade));
    }

    /// Reads the next head, informational or final.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut Head,
    ) -> Poll<Result<(), ReadResponseError>> {
        each!(self, server => server.poll_head(cx, head))
    }

    /// Whether this answer opens the tunnel that was asked for. A 101 has still to say which protocol it means.
    pub fn opens_tunnel(&self, head: &Head) -> bool {
        match self {
            Self::Http1(_) => head.status == 101,
            Self::Http2(server) => server.opens_tunnel(head),
        }
    }

    /// Whether the server has proved that it read the WebSocket key that was made for it.
    pub fn has_accepted(&self, head: &Head) -> bool {
        match self {
            Self::Http1(server) => server.has_accepted(head),
            Self::Http2(_) => true,
        }
    }

    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, ReadBodyError>> {
        each!(self, server => server.poll_body(cx))
    }

    pub fn piece(&self) -> &[u8] {
        each!(self, server => server.piece())
    }

    pub fn take(&mut self, count: usize) {
        each!(self, server => server.take(count));
    }

    pub fn trailers(&self) -> Option<&Head> {
        each!(self, server => server.trailers())
    }

    /// Sends the announced bytes on to a client. Says how many went.
    pub fn poll_forward(&mut self, cx: &mut Context<'_>, to: &mut Downstream<'_>) -> Poll<io::Result<usize>> {
        match (self, to) {
            (Self::Http1(server), Downstream::Http1(client)) => server.poll_forward(cx, client),
            (server, client) => {
                let count = ready!(client.poll_send(cx, server.piece()))?;
                server.take(count);
                Poll::Ready(Ok(count))
            }
        }
    }

    pub fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, server => server.poll_send(cx, bytes))
    }

    pub fn finish_body(&mut self, trailers: Option<&Head>) -> bool {
        each!(self, server => server.finish_body(trailers))
    }

    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, server => server.poll_flush(cx))
    }

    /// Takes it apart for a tunnel: the pipe, and the bytes already read.
    pub fn into_pipe(self) -> (Pipe, Buffer) {
        match self {
            Self::Http1(server) => Pipe::of_connection(server.into_connection()),
            Self::Http2(server) => (Pipe::Http2(server.into_stream()), Buffer::new()),
        }
    }
}
