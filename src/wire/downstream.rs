//! A request from a client and the way back to it, whatever protocol it came by.

use std::io;
use std::task::{Context, Poll, ready};

use super::body::{Piece, ReadBodyError};
use super::h1::ServerConnection;
use super::h2::{ErrorCode, ServerStream};
use super::head::Head;
use super::rules::{RequestFraming, ResponsePlan};
use super::upstream::Upstream;

/// One request being served. The connection belongs to whoever reads requests from it.
#[derive(Debug)]
pub enum Downstream<'c> {
    Http1(&'c mut ServerConnection),
    Http2(&'c mut ServerStream),
}

macro_rules! each {
    ($self:ident, $client:ident => $call:expr) => {
        match $self {
            Self::Http1($client) => $call,
            Self::Http2($client) => $call,
        }
    };
}

impl Downstream<'_> {
    /// What the request's head says about its body.
    pub fn request(&self) -> RequestFraming {
        each!(self, client => client.request)
    }

    /// No other request is to be read from the connection.
    pub fn close_after(&mut self) {
        each!(self, client => client.request.keep_alive = false);
    }

    pub fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// Begins to read the request's body. A limit of `u64::MAX` is none.
    pub fn begin_request_body(&mut self, limit: u64) {
        each!(self, client => client.begin_request_body(limit));
    }

    /// Whether the request's body was read to its end.
    pub fn is_body_done(&self) -> bool {
        each!(self, client => client.is_body_done())
    }

    /// Body bytes taken so far.
    pub fn body_read(&self) -> u64 {
        each!(self, client => client.body_read())
    }

    /// Bytes that came up to the end of this request, and bytes that went: of the connection, or of the stream alone.
    pub fn bytes(&self) -> (u64, u64) {
        match self {
            Self::Http1(client) => (client.read - client.surplus().len() as u64, client.written()),
            Self::Http2(client) => client.bytes(),
        }
    }

    /// Waits for bytes of the body, or for its end.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, ReadBodyError>> {
        each!(self, client => client.poll_body(cx))
    }

    /// The bytes that `poll_body` announced.
    pub fn piece(&self) -> &[u8] {
        each!(self, client => client.piece())
    }

    /// Takes `count` of the announced bytes.
    pub fn take(&mut self, count: usize) {
        each!(self, client => client.take(count));
    }

    /// Takes all of the announced bytes; nobody wants them.
    pub fn drop_piece(&mut self) {
        match self {
            Self::Http1(client) => client.drop_piece(),
            Self::Http2(client) => {
                let count = client.piece().len();
                client.take(count);
            }
        }
    }

    /// Trailer fields; there after `Piece::End`.
    pub fn trailers(&self) -> Option<&Head> {
        each!(self, client => client.trailers())
    }

    /// Sends the announced bytes on to a server, and goes on showing those that follow. Says how many went.
    pub fn poll_copy(&mut self, cx: &mut Context<'_>, to: &mut Upstream) -> Poll<io::Result<usize>> {
        let count = ready!(to.poll_send(cx, self.piece()))?;
        self.take(count);
        Poll::Ready(Ok(count))
    }

    /// Sends the announced bytes on to a server. Says how many went.
    pub fn poll_forward(&mut self, cx: &mut Context<'_>, to: &mut Upstream) -> Poll<io::Result<usize>> {
        match (self, to) {
            (Self::Http1(client), Upstream::Http1(server)) => client.poll_forward(cx, server),
            (client, server) => client.poll_copy(cx, server),
        }
    }

    /// Whether the client understands a body without a length.
    pub fn takes_chunked(&self) -> bool {
        match self {
            Self::Http1(client) => client.takes_chunked(),
            Self::Http2(_) => true,
        }
    }

    pub fn write_head(&mut self, head: &Head, plan: ResponsePlan) {
        each!(self, client => client.write_head(head, plan));
    }

    pub fn write_informational(&mut self, head: &Head) {
        each!(self, client => client.write_informational(head));
    }

    /// Agrees to the protocol that was asked for: 101, or 200 to an extended CONNECT.
    pub fn write_switch(&mut self, head: &Head, protocol: &[u8]) {
        match self {
            Self::Http1(client) => client.write_switch(head, protocol),
            Self::Http2(client) => client.write_switch(head),
        }
    }

    pub fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, client => client.poll_send(cx, bytes))
    }

    /// Ends the response's body; false when announced bytes are missing.
    pub fn finish_body(&mut self, trailers: Option<&Head>) -> bool {
        each!(self, client => client.finish_body(trailers))
    }

    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, client => client.poll_flush(cx))
    }

    pub fn is_flushed(&self) -> bool {
        each!(self, client => client.is_flushed())
    }

    /// Watches for the client to go while nothing is awaited from it.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, client => client.poll_gone(cx))
    }

    /// Whether the last response head said that another request can follow.
    pub fn keeps_alive(&self) -> bool {
        match self {
            Self::Http1(client) => client.keeps_alive(),
            Self::Http2(_) => true,
        }
    }

    /// Nothing can be answered any more.
    pub fn is_cut(&self) -> bool {
        match self {
            Self::Http1(_) => false,
            Self::Http2(client) => client.is_cut(),
        }
    }

    /// The client has reset its stream, or its connection of HTTP/2 is gone.
    pub fn is_given_up(&self) -> bool {
        match self {
            Self::Http1(_) => false,
            Self::Http2(client) => client.is_given_up(),
        }
    }

    /// Shows the client that its response is not whole. A connection of HTTP/1.1 is cut by its owner.
    pub fn abort(&mut self, code: ErrorCode) {
        if let Self::Http2(client) = self {
            client.abort(code);
        }
    }
}
