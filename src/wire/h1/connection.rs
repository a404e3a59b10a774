//! What both ends of HTTP/1.1 share: a stream, the body being read from it and the bytes going out.
//!
//! Everything is polled, never split: one task drives both directions of an exchange, so a connection
//! needs no lock and no second owner.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::chunk::{Decoder, Step};
use super::outbound::Outbound;
use crate::net::Stream;
use crate::net::buffer::{BLOCK, Buffer, FLOW};
use crate::net::splice::{LEAST, Splice};
use crate::wire::body::{Framing, Piece, ReadBodyError};
use crate::wire::head::Head;

/// The body being read.
#[derive(Debug, Default)]
enum Incoming {
    #[default]
    Done,
    Length(u64),
    Chunked(Box<Decoder>),
    Close,
}

/// How bytes of the body reach the connection that they go on by.
#[derive(Debug, Default)]
enum Way {
    /// Through the read buffer, as far as is known.
    #[default]
    Copied,
    /// By a pipe in the kernel, which is held while bytes are in it.
    Spliced(Option<Splice>),
    /// Through the read buffer to the end: the kernel cannot, or has no pipe to give.
    OnlyCopied,
}

/// A connection that speaks HTTP/1.1.
#[derive(Debug)]
pub struct Connection {
    pub stream: Stream,
    pub(super) inbound: Buffer,
    pub(super) outbound: Outbound,
    incoming: Incoming,
    /// Bytes at the front of `inbound` that belong to the body.
    available: usize,
    way: Way,
    trailers: Option<Box<Head>>,
    /// Body bytes taken of the current message.
    body_read: u64,
    /// Most body bytes that the current message may have.
    body_limit: u64,
    /// What one read of the body asks for: more once it came back full.
    flow: usize,
    /// The other end has sent its last byte.
    pub(super) ended: bool,
    /// Bytes read from the stream since the connection began.
    pub read: u64,
}

impl Connection {
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            inbound: Buffer::new(),
            outbound: Outbound::default(),
            incoming: Incoming::Done,
            available: 0,
            way: Way::Copied,
            trailers: None,
            body_read: 0,
            body_limit: u64::MAX,
            flow: BLOCK,
            ended: false,
            read: 0,
        }
    }

    /// Bytes written since the connection began.
    pub fn written(&self) -> u64 {
        self.outbound.written
    }

    /// Prepares to read the body of a message whose head was just taken.
    pub(super) fn begin_incoming(&mut self, framing: Framing, limit: u64) {
        self.incoming = match framing {
            Framing::Empty => Incoming::Done,
            Framing::Length(length) => Incoming::Length(length),
            Framing::Chunked => Incoming::Chunked(Box::default()),
            Framing::Close => Incoming::Close,
        };
        (self.available, self.body_read, self.body_limit, self.flow) = (0, 0, limit, BLOCK);
        (self.trailers, self.way) = (None, Way::Copied);
    }

    /// Whether the incoming body was read to its end.
    pub fn is_body_done(&self) -> bool {
        matches!(self.incoming, Incoming::Done)
    }

    /// Body bytes taken so far of the current message.
    pub fn body_read(&self) -> u64 {
        self.body_read
    }

    /// Trailer fields; there after `Piece::End`.
    pub fn trailers(&self) -> Option<&Head> {
        self.trailers.as_deref()
    }

    /// Waits for bytes of the body, or for its end.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, ReadBodyError>> {
        loop {
            let announced = self.announced();
            if self.body_read + announced as u64 > self.body_limit {
                return Poll::Ready(Err(ReadBodyError::TooLarge));
            }
            if announced > 0 {
                return Poll::Ready(Ok(Piece::Bytes));
            }
            let wanted = match &mut self.incoming {
                Incoming::Done => return Poll::Ready(Ok(Piece::End)),
                Incoming::Length(0) => {
                    self.incoming = Incoming::Done;
                    continue;
                }
                Incoming::Length(left) if !self.inbound.is_empty() => {
                    self.available = self.inbound.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    continue;
                }
                Incoming::Close if !self.inbound.is_empty() => {
                    self.available = self.inbound.len();
                    continue;
                }
                Incoming::Length(left) if matches!(self.way, Way::Spliced(_)) => {
                    let left = *left;
                    ready!(self.poll_fill_pipe(cx, left));
                    continue;
                }
                Incoming::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX).min(self.flow),
                Incoming::Close => self.flow,
                Incoming::Chunked(decoder) => match decoder.step(self.inbound.bytes(), &mut self.trailers)? {
                    Step::Bytes(count) => {
                        self.available = count;
                        continue;
                    }
                    Step::Skip(count) => {
                        self.inbound.consume(count);
                        continue;
                    }
                    Step::End(count) => {
                        self.inbound.consume(count);
                        self.incoming = Incoming::Done;
                        continue;
                    }
                    Step::More(room) => room.clamp(BLOCK / 4, self.flow),
                },
            };
            match ready!(self.poll_flow(cx, wanted))? {
                0 if matches!(self.incoming, Incoming::Close) => self.incoming = Incoming::Done,
                0 => return Poll::Ready(Err(ReadBodyError::Truncated)),
                _ => {}
            }
        }
    }

    /// How many bytes `poll_body` announced.
    fn announced(&self) -> usize {
        match &self.way {
            Way::Spliced(Some(pipe)) => pipe.held(),
            _ => self.available,
        }
    }

    /// The bytes that `poll_body` announced. None are to be seen once `poll_forward` has begun to pass them by.
    pub fn piece(&self) -> &[u8] {
        &self.inbound.bytes()[..self.available]
    }

    /// Takes `count` of the announced bytes.
    pub fn take(&mut self, count: usize) {
        let count = count.min(self.available);
        self.inbound.consume(count);
        self.available -= count;
        self.count(count);
    }

    /// Takes all announced bytes, wherever they are; nobody wants them.
    pub fn drop_piece(&mut self) {
        match std::mem::take(&mut self.way) {
            Way::Spliced(Some(pipe)) => self.count(pipe.held()),
            way => {
                self.way = way;
                self.take(self.available);
            }
        }
    }

    fn count(&mut self, taken: usize) {
        self.body_read += taken as u64;
        match &mut self.incoming {
            Incoming::Length(left) => *left -= taken as u64,
            Incoming::Chunked(decoder) => decoder.take(taken),
            Incoming::Done | Incoming::Close => {}
        }
    }

    /// Sends the announced bytes of this connection's body on by `to`. Says how many went.
    ///
    /// Where much is to follow it does so through the kernel, and `piece` shows nothing of it.
    pub fn poll_forward(&mut self, cx: &mut Context<'_>, to: &mut Connection) -> Poll<io::Result<usize>> {
        if let Way::Spliced(Some(pipe)) = &mut self.way {
            match ready!(to.outbound.poll_splice(cx, &mut to.stream, pipe)) {
                Err(error) if is_refusal(&error) => self.pour()?,
                sent => return Poll::Ready(sent.inspect(|count| self.note_spliced(*count))),
            }
        }
        let piece = &self.inbound.bytes()[..self.available];
        let count = ready!(to.outbound.poll_send(cx, &mut to.stream, piece))?;
        self.take(count);
        if self.can_splice(to) {
            self.way = Way::Spliced(None);
        }
        Poll::Ready(Ok(count))
    }

    /// Whether what follows can go through the kernel, and is enough for it.
    fn can_splice(&self, to: &Connection) -> bool {
        let Incoming::Length(left) = self.incoming else { return false };
        left >= LEAST
            && self.inbound.is_empty()
            && matches!(self.way, Way::Copied)
            && to.outbound.awaits(left)
            && self.stream.plain_socket().is_some()
            && to.stream.plain_socket().is_some()
    }

    /// Waits for bytes in a pipe, or for the knowledge that they have to be read.
    fn poll_fill_pipe(&mut self, cx: &mut Context<'_>, most: u64) -> Poll<()> {
        if let (Some(socket), Some(mut pipe)) = (self.stream.plain_socket(), Splice::take()) {
            let filled = socket.poll_fill(cx, &mut pipe, most);
            if let Poll::Ready(Ok(count @ 1..)) = filled {
                self.read += count as u64;
                self.way = Way::Spliced(Some(pipe));
                return Poll::Ready(());
            }
            pipe.keep();
            ready!(filled).ok();
        }
        // Reading tells an end from an error, and from a kernel that cannot.
        self.way = Way::OnlyCopied;
        Poll::Ready(())
    }

    fn note_spliced(&mut self, count: usize) {
        self.count(count);
        if let Way::Spliced(pipe) = &mut self.way
            && pipe.as_ref().is_some_and(|pipe| pipe.held() == 0)
        {
            pipe.take().into_iter().for_each(Splice::keep);
        }
    }

    /// Takes what is in the pipe into the read buffer.
    fn pour(&mut self) -> io::Result<()> {
        if let Way::Spliced(Some(mut pipe)) = std::mem::replace(&mut self.way, Way::OnlyCopied) {
            self.available = pipe.held();
            pipe.pour(&mut self.inbound)?;
            pipe.keep();
        }
        Ok(())
    }

    /// Sends bytes of a body that was begun.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.outbound.poll_send(cx, &mut self.stream, bytes)
    }

    /// Ends the outgoing body; false when announced bytes are missing, so that the connection must be closed.
    pub fn finish_body(&mut self, trailers: Option<&Head>) -> bool {
        self.outbound.finish_body(trailers)
    }

    /// Whether an early end of the outgoing body would be taken for the real one.
    pub fn ends_with_connection(&self) -> bool {
        self.outbound.ends_with_connection()
    }

    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outbound.poll_flush(cx, &mut self.stream)
    }

    pub fn is_flushed(&self) -> bool {
        self.outbound.is_empty()
    }

    /// Ends the outgoing direction after what waits.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_flow(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        let count = ready!(self.inbound.poll_flow(cx, &mut self.stream, wanted))?;
        self.note_read(count, wanted);
        if count == BLOCK {
            self.flow = FLOW;
        }
        Poll::Ready(Ok(count))
    }

    fn note_read(&mut self, count: usize, limit: usize) {
        self.read += count as u64;
        if count == 0 && self.inbound.len() < limit {
            self.ended = true;
        }
    }

    /// Reads on into the buffer up to `limit` bytes in it; 0 is the end, or a full buffer.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<usize>> {
        // Most often nothing is there yet, and then no buffer is taken.
        if self.inbound.is_empty() && limit > 0 {
            ready!(self.stream.poll_readable(cx))?;
        }
        let count = ready!(self.inbound.poll_fill(cx, &mut self.stream, limit))?;
        self.note_read(count, limit);
        Poll::Ready(Ok(count))
    }

    /// Watches for the other end to go while nothing is awaited from it: ready with its end or its error.
    ///
    /// What it sends early (a pipelined request) is kept, up to one block; then it is watched no longer.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if self.inbound.len() >= BLOCK {
                return Poll::Pending;
            }
            ready!(self.poll_fill(cx, BLOCK))?;
        }
    }

    /// Reads and drops what still comes, so that the other end sees our last bytes and not a reset.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, most: u64) -> Poll<()> {
        let start = self.read;
        loop {
            let held = self.inbound.len();
            self.inbound.consume(held);
            match ready!(self.poll_fill(cx, BLOCK)) {
                Ok(count) if count > 0 && self.read - start < most => {}
                _ => return Poll::Ready(()),
            }
        }
    }

    /// Bytes that were read beyond the current message.
    pub fn surplus(&self) -> &[u8] {
        &self.inbound.bytes()[self.available..]
    }

    /// Takes the connection apart for a tunnel: the stream, and the bytes already read.
    pub fn into_tunnel(self) -> (Stream, Buffer) {
        (self.stream, self.inbound)
    }
}

/// The kernel says that it does not splice here, and nothing about the connection.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported)
}

#[cfg(test)]
mod tests;
