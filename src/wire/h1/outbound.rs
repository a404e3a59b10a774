//! Bytes on their way out of a connection, with the framing of the body they belong to.
//!
//! Small pieces are gathered, so that a head and a small body leave in one write; large ones go out of
//! the reader's buffer without a copy. Memory is held only while bytes wait.

use std::cell::RefCell;
use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::net::Stream;
use crate::net::splice::Splice;
use crate::wire::body::Framing;
use crate::wire::head::Head;

/// Pieces up to this size are copied and gathered.
const GATHERED_PIECE: usize = 4 * 1024;
/// No more is gathered before it is written.
const GATHERED: usize = 32 * 1024;
/// Largest chunk that is written.
const CHUNK: usize = 64 * 1024;
/// Buffers that a thread keeps for reuse, and how large they may be.
const STOCK: usize = 64;
const STOCKED_SIZE: usize = 64 * 1024;

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// What is left of the body that is being written.
#[derive(Debug, Default)]
enum Body {
    /// No body, or all of it is written.
    #[default]
    Done,
    Length(u64),
    /// `left` bytes of the open chunk.
    Chunked {
        left: usize,
    },
    Close,
}

/// The writing half of a connection.
#[derive(Debug, Default)]
pub struct Outbound {
    waiting: Vec<u8>,
    sent: usize,
    body: Body,
    /// Bytes written to the stream since the connection began.
    pub written: u64,
}

impl Outbound {
    /// Puts bytes behind what waits.
    pub fn push(&mut self, bytes: &[u8]) {
        self.hold();
        self.waiting.extend_from_slice(bytes);
    }

    /// Puts pieces behind what waits, one after the other.
    pub fn push_all(&mut self, pieces: &[&[u8]]) {
        self.hold();
        pieces.iter().for_each(|piece| self.waiting.extend_from_slice(piece));
    }

    /// Takes memory, if it has none.
    fn hold(&mut self) {
        if self.waiting.capacity() == 0 {
            self.waiting = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(4096));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.sent == self.waiting.len()
    }

    /// Begins a body; its bytes come by `poll_send`.
    pub fn begin_body(&mut self, framing: Framing) {
        self.body = match framing {
            Framing::Empty => Body::Done,
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked { left: 0 },
            Framing::Close => Body::Close,
        };
    }

    /// Takes bytes of the body: gathers them, or writes them with what waits. Says how many it took, never none of some.
    ///
    /// Bytes beyond the announced length, and those of a body that may not be sent (HEAD), are taken and dropped.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.waiting.len() - self.sent > GATHERED {
            ready!(self.poll_write_waiting(cx, stream))?;
        }
        let allowed = match &mut self.body {
            Body::Done => return Poll::Ready(Ok(bytes.len())),
            Body::Length(left) => bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX)),
            Body::Chunked { left: 0 } => {
                let size = bytes.len().min(CHUNK);
                self.body = Body::Chunked { left: size };
                self.push_chunk_size(size);
                size
            }
            Body::Chunked { left } => bytes.len().min(*left),
            Body::Close => bytes.len(),
        };
        let piece = &bytes[..allowed];
        let taken = if piece.len() <= GATHERED_PIECE {
            self.push(piece);
            piece.len()
        } else {
            ready!(self.poll_write_with(cx, stream, piece))?
        };
        self.count(taken);
        Poll::Ready(Ok(taken))
    }

    /// Whether just so many bytes of the body are still to come.
    pub fn awaits(&self, count: u64) -> bool {
        matches!(self.body, Body::Length(left) if left == count)
    }

    /// Writes what waits, and behind it bytes of the body that are in a pipe. Says how many of those went.
    pub fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        pipe: &mut Splice,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_write_waiting(cx, stream))?;
        let Some(socket) = stream.plain_socket() else {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        };
        let count = ready!(socket.poll_empty(cx, pipe))?;
        self.advance(count, 0)?;
        self.count(count);
        Poll::Ready(Ok(count))
    }

    /// The body ends with the connection, so a client cannot tell an early end from the real one.
    pub fn ends_with_connection(&self) -> bool {
        matches!(self.body, Body::Close)
    }

    /// Ends the body with what its framing asks for; false when bytes that were announced are missing.
    pub fn finish_body(&mut self, trailers: Option<&Head>) -> bool {
        match std::mem::take(&mut self.body) {
            Body::Done | Body::Length(0) => true,
            // It is not over before the connection is: until then its end can still be missing.
            Body::Close => {
                self.body = Body::Close;
                true
            }
            Body::Length(_) => false,
            Body::Chunked { left } => {
                self.push(b"0\r\n");
                trailers.into_iter().for_each(|trailers| self.push_fields(trailers));
                self.push(b"\r\n");
                left == 0
            }
        }
    }

    /// Writes all that waits and flushes what the stream itself holds.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<()>> {
        ready!(self.poll_write_waiting(cx, stream))?;
        Pin::new(stream).poll_flush(cx)
    }

    pub fn push_field(&mut self, name: &str, value: &[u8]) {
        self.push_all(&[name.as_bytes(), b": ", value, b"\r\n"]);
    }

    pub fn push_fields(&mut self, head: &Head) {
        head.lines().for_each(|lines| self.push(lines));
    }

    fn push_chunk_size(&mut self, size: usize) {
        self.push(b"");
        // Writing to memory cannot fail.
        let _ = write!(self.waiting, "{size:x}\r\n");
    }

    fn count(&mut self, taken: usize) {
        match &mut self.body {
            Body::Length(left) => *left -= taken as u64,
            Body::Chunked { left } => {
                *left -= taken;
                if *left == 0 {
                    self.push(b"\r\n");
                }
            }
            Body::Done | Body::Close => {}
        }
    }

    /// One write of what waits and `piece` behind it; ready once a byte of `piece` was taken.
    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        piece: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let waiting = &self.waiting[self.sent..];
            let count = if waiting.is_empty() {
                ready!(Pin::new(&mut *stream).poll_write(cx, piece))?
            } else {
                let pieces = [IoSlice::new(waiting), IoSlice::new(piece)];
                ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &pieces))?
            };
            let of_waiting = count.min(waiting.len());
            self.advance(count, of_waiting)?;
            if count > of_waiting {
                return Poll::Ready(Ok(count - of_waiting));
            }
        }
    }

    fn poll_write_waiting(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let count = ready!(Pin::new(&mut *stream).poll_write(cx, &self.waiting[self.sent..]))?;
            self.advance(count, count)?;
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, count: usize, of_waiting: usize) -> io::Result<()> {
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.written += count as u64;
        self.sent += of_waiting;
        if self.is_empty() {
            self.release();
        }
        Ok(())
    }

    fn release(&mut self) {
        self.sent = 0;
        let mut buffer = std::mem::take(&mut self.waiting);
        buffer.clear();
        if (1..=STOCKED_SIZE).contains(&buffer.capacity()) {
            // The stock is gone already while its thread ends.
            let _ = BUFFERS.try_with(|buffers| {
                let mut buffers = buffers.borrow_mut();
                if buffers.len() < STOCK {
                    buffers.push(buffer);
                }
            });
        }
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        self.release();
    }
}
