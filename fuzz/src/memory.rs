//! A connection in memory: pieces come in, with a pause before each; what goes out is kept.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use lintel::net::{Stream, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Our end of the connection; the other is the `Stream` made with it.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Mutex<Both>>);

#[derive(Debug)]
struct Both {
    pieces: VecDeque<Vec<u8>>,
    /// Bytes taken of the first piece.
    taken: usize,
    /// The next read finds nothing, as between two packets.
    pause: bool,
    /// After the last piece comes the end; else silence.
    ends: bool,
    /// Nothing can be read for now.
    held: bool,
    written: Vec<u8>,
    /// Bytes that can still be written.
    room: usize,
    /// Whatever happened, counted.
    events: u64,
}

impl Memory {
    /// A connection that delivers these pieces and then ends, and takes all that is written.
    pub fn ending(pieces: Vec<Vec<u8>>) -> (Self, Stream) {
        let both = Both {
            pieces: pieces.into(),
            taken: 0,
            pause: false,
            ends: true,
            held: false,
            written: Vec::new(),
            room: usize::MAX,
            events: 0,
        };
        let memory = Self(Arc::new(Mutex::new(both)));
        let stream = memory.transport();
        (memory, Stream::Plain(stream))
    }

    /// The other end.
    pub fn transport(&self) -> Transport {
        Transport::other(self.clone())
    }

    /// Changes whenever bytes moved or a pause ended.
    pub fn events(&self) -> u64 {
        self.lock().events
    }

    /// Bytes not yet read.
    pub fn unread(&self) -> usize {
        let both = self.lock();
        both.pieces.iter().map(Vec::len).sum::<usize>() - both.taken
    }

    pub fn is_ended(&self) -> bool {
        let both = self.lock();
        both.ends && both.pieces.is_empty()
    }

    /// What was written since the last time.
    pub fn take_written(&self) -> Vec<u8> {
        std::mem::take(&mut self.lock().written)
    }

    /// Lets so many more bytes be written.
    pub fn set_room(&self, room: usize) {
        self.lock().room = room;
    }

    /// Delivers nothing until it is called again with false.
    pub fn hold(&self, held: bool) {
        self.lock().held = held;
    }

    /// After the last piece comes silence.
    pub fn stay_open(&self) {
        self.lock().ends = false;
    }

    fn lock(&self) -> MutexGuard<'_, Both> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Memory {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut guard = self.lock();
        let both = &mut *guard;
        if both.held {
            return Poll::Pending;
        }
        if both.pause {
            both.pause = false;
            both.events += 1;
            return Poll::Pending;
        }
        let taken = both.taken;
        let Some(piece) = both.pieces.front() else {
            return if both.ends { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        let count = buf.remaining().min(piece.len() - taken);
        buf.put_slice(&piece[taken..taken + count]);
        let is_used = taken + count == piece.len();
        both.events += 1;
        if is_used {
            both.pieces.pop_front();
            (both.taken, both.pause) = (0, true);
        } else {
            both.taken += count;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Memory {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut both = self.lock();
        let count = bytes.len().min(both.room);
        if count == 0 && !bytes.is_empty() {
            return Poll::Pending;
        }
        both.room -= count;
        both.events += 1;
        both.written.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Polls until it is ready, or until nothing happens on the connection any more.
pub fn drive<T>(memory: &Memory, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    loop {
        let before = memory.events();
        if let Poll::Ready(outcome) = poll(&mut cx) {
            return Some(outcome);
        }
        if memory.events() == before {
            return None;
        }
    }
}
