//! What carries a connection's bytes: a TCP or unix socket on the runtime of its thread.
//!
//! Thin on purpose: every read and write of every connection goes through here. pingora's stream keeps account of
//! each read (four readings of the clock for a small exchange) and a buffer that is not needed here.

use std::fmt::Debug;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::splice::Splice;

/// A write of so many bytes is hardly ever taken in part.
const SMALL: usize = 8 * 1024;

/// One end of a connection. What is written has left, so there is nothing to flush.
#[derive(Debug)]
pub struct Transport {
    carrier: Carrier,
    /// Bytes that come before those of the carrier.
    put_back: Vec<u8>,
    /// The last read filled all the room it was given, so there may be more.
    flows: bool,
}

#[derive(Debug)]
enum Carrier {
    Tcp(TcpStream),
    Unix(UnixStream),
    Other(Box<dyn Duplex>),
}

/// A stream that is no socket, such as one in memory.
pub trait Duplex: AsyncRead + AsyncWrite + Debug + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Debug + Send + Sync + Unpin> Duplex for S {}

/// Calls the kernel whenever the socket may be ready, until it was.
macro_rules! when_ready {
    ($self:ident, $cx:ident, $poll:ident, $interest:expr, $socket:ident => $call:expr) => {
        loop {
            let outcome = match &$self.carrier {
                Carrier::Tcp($socket) => {
                    ready!($socket.$poll($cx))?;
                    $socket.try_io($interest, || $call)
                }
                Carrier::Unix($socket) => {
                    ready!($socket.$poll($cx))?;
                    $socket.try_io($interest, || $call)
                }
                Carrier::Other(_) => Err(io::ErrorKind::Unsupported.into()),
            };
            match outcome.as_ref().map_err(io::Error::kind) {
                Err(io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                _ => return Poll::Ready(outcome),
            }
        }
    };
}

impl Transport {
    /// A connection that is no socket: what fuzzing drives connections with.
    pub fn other(stream: impl Duplex + 'static) -> Self {
        Carrier::Other(Box::new(stream)).into()
    }

    /// The next read gives these bytes, which were read before.
    pub fn put_back(&mut self, bytes: &[u8]) {
        self.put_back.splice(0..0, bytes.iter().copied());
    }

    /// Ready when a read would give something: bytes, an end, an error. Cheaper than a read that finds nothing.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.carrier {
            _ if !self.put_back.is_empty() => Poll::Ready(Ok(())),
            Carrier::Tcp(stream) => stream.poll_read_ready(cx),
            Carrier::Unix(stream) => stream.poll_read_ready(cx),
            Carrier::Other(_) => Poll::Ready(Ok(())),
        }
    }

    /// Whether it is open and has nothing to read; what there is of it is lost. `None` where only a read tells.
    pub fn is_silent(&self) -> Option<bool> {
        let mut byte = [0];
        let read = match &self.carrier {
            _ if !self.put_back.is_empty() => return Some(false),
            Carrier::Tcp(stream) => stream.try_read(&mut byte),
            Carrier::Unix(stream) => stream.try_read(&mut byte),
            Carrier::Other(_) => return None,
        };
        Some(read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock))
    }

    /// Its descriptor, if it is a socket.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.carrier {
            Carrier::Tcp(stream) => Some(stream.as_fd()),
            Carrier::Unix(stream) => Some(stream.as_fd()),
            Carrier::Other(_) => None,
        }
    }

    /// Fills a pipe with bytes that came, at most so many. Only a socket can; whoever else fails reads, and is told why.
    pub fn poll_fill(&self, cx: &mut Context<'_>, pipe: &mut Splice, most: u64) -> Poll<io::Result<usize>> {
        if !self.put_back.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        }
        when_ready!(self, cx, poll_read_ready, Interest::READABLE, socket => pipe.fill(socket, most))
    }

    /// Empties a pipe as far as the other end takes it. Only a socket can.
    pub fn poll_empty(&self, cx: &mut Context<'_>, pipe: &mut Splice) -> Poll<io::Result<usize>> {
        when_ready!(self, cx, poll_write_ready, Interest::WRITABLE, socket => pipe.empty(socket))
    }

    fn read_put_back(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.put_back.len().min(buf.remaining());
        buf.put_slice(&self.put_back[..count]);
        self.put_back.drain(..count);
        if self.put_back.is_empty() {
            self.put_back = Vec::new();
        }
    }
}

impl From<Carrier> for Transport {
    fn from(carrier: Carrier) -> Self {
        Self { carrier, put_back: Vec::new(), flows: false }
    }
}

impl From<TcpStream> for Transport {
    fn from(stream: TcpStream) -> Self {
        Carrier::Tcp(stream).into()
    }
}

impl From<UnixStream> for Transport {
    fn from(stream: UnixStream) -> Self {
        Carrier::Unix(stream).into()
    }
}

/// Reads what is there; `None` where nothing is.
///
/// Like tokio's own read but for the budget, which a read that leaves nothing behind need not ask: the next one waits for
/// an event, and so for the scheduler.
fn try_read(stream: &TcpStream, buf: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
    let room = buf.initialize_unfilled();
    let wanted = room.len();
    match stream.try_read(room) {
        Ok(count) => {
            if (1..wanted).contains(&count) {
                // All was taken (epoll(7), edge-triggered): without a word of that the next read would ask the kernel.
                let _ = stream.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            }
            buf.advance(count);
            Some(Ok(()))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => Some(Err(error)),
    }
}

macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.get_mut().carrier {
            Carrier::Tcp(tcp) => {
                let $stream = Pin::new(tcp);
                $call
            }
            Carrier::Unix(unix) => {
                let $stream = Pin::new(unix);
                $call
            }
            Carrier::Other(other) => {
                let $stream = Pin::new(other.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.put_back.is_empty() {
            self.read_put_back(buf);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        if !self.flows
            && let Carrier::Tcp(stream) = &self.carrier
            && let Some(read) = try_read(stream, buf)
        {
            self.flows = buf.remaining() == 0;
            return Poll::Ready(read);
        }
        // Whoever sends without end is read by the scheduler's budget, so that others come to their turn.
        let this = self.as_mut();
        let polled = each!(this, stream => stream.poll_read(cx, buf));
        self.flows = buf.remaining() == 0 && buf.filled().len() > before;
        polled
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Carrier::Tcp(stream) = &self.carrier
            && bytes.len() <= SMALL
        {
            // Nearly always taken at once and whole, and then nothing has to be asked or noted first.
            let written = stream.try_write(bytes);
            if !written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                return Poll::Ready(written);
            }
        }
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
        match &self.carrier {
            Carrier::Tcp(_) | Carrier::Unix(_) => true,
            Carrier::Other(other) => other.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn what_is_put_back_comes_before_what_is_to_come() {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut one, mut other) = (Transport::from(one), Transport::from(other));
        other.write_all(b"def").await.unwrap();
        one.put_back(b"bc");
        one.put_back(b"a");
        let mut bytes = [0; 2];
        assert_eq!(one.read(&mut bytes).await.unwrap(), 2);
        assert_eq!(&bytes, b"ab");
        let mut rest = [0; 4];
        one.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"cdef");
        assert_eq!(one.put_back.capacity(), 0);
    }
}
