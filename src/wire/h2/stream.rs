//! One stream as an exchange holds it: a body in, a body out.
//!
//! Bytes that came are taken over from the session in one piece, so that they can be looked at without it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame::ErrorCode;
use super::session::{Shared, gone};
use super::state::{End, State};
use crate::net::Buffer;
use crate::wire::body::{Framing, Piece, ReadBodyError};
use crate::wire::head::Head;

/// A stream that is held. Letting it go resets what is not done.
#[derive(Debug)]
pub struct Stream {
    pub(super) number: u32,
    pub(super) session: Shared,
    inbound: Buffer,
    trailers: Option<Box<Head>>,
    /// The body was read to its end.
    done: bool,
    body_read: u64,
    body_limit: u64,
    /// What the announced length of the outgoing body still lacks.
    left: Option<u64>,
    /// No body may go out: HEAD, 204, 304.
    bodyless: bool,
}

impl Stream {
    pub(super) fn new(number: u32, session: Shared) -> Self {
        Self {
            number,
            session,
            inbound: Buffer::new(),
            trailers: None,
            done: false,
            body_read: 0,
            body_limit: u64::MAX,
            left: None,
            bodyless: false,
        }
    }

    /// Prepares to read a body of at most `limit` bytes.
    pub(super) fn begin_incoming(&mut self, limit: u64) {
        self.body_limit = limit;
    }

    pub(super) fn begin_outgoing(&mut self, framing: Framing) {
        self.left = match framing {
            Framing::Length(length) => Some(length),
            _ => None,
        };
        self.bodyless = framing == Framing::Empty;
    }

    /// Whether the body was read to its end, or there is none.
    pub fn is_body_done(&self) -> bool {
        self.done
            || self.inbound.is_empty()
                && self.with(|state| state.received && state.inbound.is_empty() && state.trailers.is_none())
    }

    pub fn body_read(&self) -> u64 {
        self.body_read
    }

    pub fn trailers(&self) -> Option<&Head> {
        self.trailers.as_deref()
    }

    /// Why the stream ended early.
    pub fn ended(&self) -> Option<End> {
        match self.session.borrow().streams.get(&self.number) {
            Some(state) => state.ended,
            None => Some(End::Lost("the stream is gone")),
        }
    }

    /// Waits for bytes of the body, or for its end.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, ReadBodyError>> {
        if self.inbound.is_empty() && !self.done {
            let mut session = self.session.borrow_mut();
            let Some(state) = session.streams.get_mut(&self.number) else {
                return Poll::Ready(Err(ReadBodyError::Io(gone())));
            };
            std::mem::swap(&mut self.inbound, &mut state.inbound);
            if self.inbound.is_empty() {
                if state.received {
                    self.trailers = state.trailers.take();
                    self.done = true;
                } else if let Some(end) = state.ended {
                    return Poll::Ready(Err(explain(end)));
                } else {
                    state.watch(cx);
                    return Poll::Pending;
                }
            }
        }
        if self.body_read + self.inbound.len() as u64 > self.body_limit {
            return Poll::Ready(Err(ReadBodyError::TooLarge));
        }
        Poll::Ready(Ok(if self.inbound.is_empty() { Piece::End } else { Piece::Bytes }))
    }

    /// The bytes that `poll_body` announced.
    pub fn piece(&self) -> &[u8] {
        self.inbound.bytes()
    }

    /// Takes `count` of the announced bytes; the peer may send as many again.
    pub fn take(&mut self, count: usize) {
        let count = count.min(self.inbound.len());
        self.inbound.consume(count);
        self.body_read += count as u64;
        self.session.borrow_mut().give_back(self.number, count);
    }

    /// Sends bytes of a body that was begun; those beyond its announced length are taken and dropped.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let allowed = match self.left {
            _ if self.bodyless => 0,
            Some(left) => bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)),
            None => bytes.len(),
        };
        if allowed == 0 {
            return Poll::Ready(Ok(bytes.len()));
        }
        let count = ready!(self.session.borrow_mut().poll_send(self.number, cx, &bytes[..allowed]))?;
        if let Some(left) = &mut self.left {
            *left -= count as u64;
        }
        Poll::Ready(Ok(count))
    }

    /// Ends the outgoing body; false when announced bytes are missing.
    pub fn finish_body(&mut self, trailers: Option<&Head>) -> bool {
        if self.left.is_some_and(|left| left > 0) && !self.bodyless {
            return false;
        }
        self.session.borrow_mut().finish(self.number, trailers);
        true
    }

    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.borrow_mut().poll_flush(self.number, cx)
    }

    pub fn is_flushed(&self) -> bool {
        let session = self.session.borrow();
        session.streams.get(&self.number).is_none_or(|state| state.mark <= session.out.written())
    }

    /// Watches for the other end to reset the stream while nothing is awaited from it.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut session = self.session.borrow_mut();
        let Some(state) = session.streams.get_mut(&self.number) else { return Poll::Ready(Err(gone())) };
        if let Some(end) = state.ended {
            return Poll::Ready(Err(end.error()));
        }
        state.watch(cx);
        Poll::Pending
    }

    /// Bytes of the stream's frames that came, and that went.
    pub fn bytes(&self) -> (u64, u64) {
        self.with(|state| (state.bytes_in, state.bytes_out))
    }

    pub fn reset(&mut self, code: ErrorCode) {
        self.session.borrow_mut().reset(self.number, End::Ours(code, ""), code);
    }

    fn with<T: Default>(&self, read: impl FnOnce(&State) -> T) -> T {
        self.session.borrow().streams.get(&self.number).map(read).unwrap_or_default()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // A panic inside the session leaves it borrowed; the connection ends then anyway.
        if let Ok(mut session) = self.session.try_borrow_mut() {
            session.release(self.number, self.inbound.len());
        }
    }
}

fn explain(end: End) -> ReadBodyError {
    match end {
        End::Ours(_, detail) if !detail.is_empty() => ReadBodyError::Malformed(detail),
        end => ReadBodyError::Io(end.error()),
    }
}

/// A tunnel through the stream.
impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match ready!(this.poll_body(cx)) {
            Ok(Piece::Bytes) => {
                let count = this.piece().len().min(buf.remaining());
                buf.put_slice(&this.piece()[..count]);
                this.take(count);
                Poll::Ready(Ok(()))
            }
            Ok(Piece::End) => Poll::Ready(Ok(())),
            Err(ReadBodyError::Io(error)) => Poll::Ready(Err(error)),
            Err(error) => Poll::Ready(Err(io::Error::other(error))),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, bytes)
    }

    /// The driver writes by itself.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().finish_body(None);
        Poll::Ready(Ok(()))
    }
}
