//! Bytes on their way from one socket to another through a pipe in the kernel, by splice(2): they are never copied.
//!
//! A pipe is held only while bytes are in it. Empty ones go to a stock kept by each engine thread; one that still has
//! bytes when it is dropped is closed, so that nobody meets another's bytes.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use rustix::process::{Resource, getrlimit};

use super::Buffer;
use super::buffer::BLOCK;

/// Bytes that a pipe takes. Smaller ones need more calls, larger ones were measured to save no more; and as much may lie in
/// the kernel for each client that is slow.
const SIZE: usize = 256 * 1024;
/// A body with fewer bytes left is copied: for so few it was measured that nothing is gained.
pub const LEAST: u64 = 16 * 1024;
/// Empty pipes that a thread keeps for reuse.
const STOCK: usize = 8;
/// Pipes of the whole process: half of what the kernel lets the pipes of one user hold (fs.pipe-user-pages-soft).
const MOST: usize = 128;
/// And one for so many files that may be open: they take two, and no connection is to go without for them.
const FILES_EACH: u64 = 40;

/// Pipes there are. The limits are those of the process, and nobody looks here but for a new one.
static OPEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static PIPES: RefCell<Vec<Splice>> = const { RefCell::new(Vec::new()) };
}

/// A pipe, and how many bytes are in it.
#[derive(Debug)]
pub struct Splice {
    out: OwnedFd,
    into: OwnedFd,
    held: usize,
}

impl Splice {
    /// An empty pipe; `None` when there is none to be had, and the bytes have to be copied.
    pub fn take() -> Option<Self> {
        PIPES.with_borrow_mut(Vec::pop).or_else(Self::open)
    }

    fn open() -> Option<Self> {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / FILES_EACH;
        let most = usize::try_from(files).unwrap_or(MOST).min(MOST);
        OPEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < most).then_some(open + 1))
            .ok()?;
        let made = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
            .and_then(|(out, into)| fcntl_setpipe_size(&into, SIZE).map(|_| Self { out, into, held: 0 }));
        if made.is_err() {
            OPEN.fetch_sub(1, Ordering::Relaxed);
        }
        made.ok()
    }

    /// Bytes in it.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Gives it back for another body, if it is empty.
    pub fn keep(self) {
        if self.held == 0 {
            // A connection may be dropped while its thread ends, when the stock is gone already.
            let _ = PIPES.try_with(|pipes| {
                let mut pipes = pipes.borrow_mut();
                if pipes.len() < STOCK {
                    pipes.push(self);
                }
            });
        }
    }

    /// Moves up to `most` bytes, and no more than fit, from a socket into it. 0 is the end, most likely.
    pub fn fill(&mut self, socket: impl AsFd, most: u64) -> io::Result<usize> {
        let most = usize::try_from(most).unwrap_or(SIZE).min(SIZE);
        let count = splice(socket, None, &self.into, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)?;
        self.held += count;
        Ok(count)
    }

    /// Moves bytes from it into a socket.
    pub fn empty(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let count = splice(&self.out, None, socket, None, self.held, flags)?;
        self.held = self.held.saturating_sub(count);
        Ok(count)
    }

    /// Moves all that is in it into a buffer, to be copied after all.
    pub fn pour(&mut self, buffer: &mut Buffer) -> io::Result<()> {
        let mut block = vec![0; BLOCK];
        while self.held > 0 {
            match rustix::io::read(&self.out, &mut block)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => {
                    buffer.put(&block[..count]);
                    self.held = self.held.saturating_sub(count);
                }
            }
        }
        Ok(())
    }
}

impl Drop for Splice {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A pipe of this thread with `bytes` in it.
    fn holding(bytes: &[u8]) -> Splice {
        let (mut from, into) = UnixStream::pair().unwrap();
        from.write_all(bytes).unwrap();
        let mut pipe = Splice::take().unwrap();
        assert_eq!(pipe.fill(&into, u64::MAX).unwrap(), bytes.len());
        pipe
    }

    #[test]
    fn only_an_empty_pipe_is_used_again() {
        let used = holding(b"of another");
        used.keep();
        assert!(PIPES.with_borrow(Vec::is_empty), "there are bytes of another in it");
        let mut pipe = holding(b"abc");
        let mut buffer = Buffer::new();
        buffer.put(b"before ");
        pipe.pour(&mut buffer).unwrap();
        assert_eq!(buffer.bytes(), b"before abc");
        pipe.keep();
        assert_eq!(PIPES.with_borrow(Vec::len), 1);
        assert_eq!(holding(b"next").held(), 4);
        assert_eq!(PIPES.with_borrow(Vec::len), 0);
    }

    #[test]
    fn a_thread_keeps_a_few_empty_pipes_and_no_more() {
        let pipes: Vec<Splice> = (0..STOCK + 3).map(|_| Splice::take().unwrap()).collect();
        pipes.into_iter().for_each(Splice::keep);
        assert_eq!(PIPES.with_borrow(Vec::len), STOCK);
    }

    #[test]
    fn a_refusal_loses_nothing() {
        let mut pipe = holding(b"abc");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(pipe.fill(&listener, 10).is_err());
        assert!(pipe.empty(&listener).is_err());
        let mut buffer = Buffer::new();
        pipe.pour(&mut buffer).unwrap();
        assert_eq!(buffer.bytes(), b"abc");
    }
}
