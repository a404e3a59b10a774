//! Bytes on their way from one socket to another through a pipe of the kernel (splice(2)), never copied into Lintel.
//!
//! A pipe is held only while it holds bytes; empty ones go back to a stock kept by each engine thread.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// Empty pipes that a thread keeps for reuse.
const STOCK: usize = 64;
/// Pipes that a thread has in use at most.
const MOST: usize = 512;

thread_local! {
    static PIPES: RefCell<Vec<Splice>> = const { RefCell::new(Vec::new()) };
    static USED: Cell<usize> = const { Cell::new(0) };
    static TUNE: (bool, usize, usize) = {
        let number = |name: &str, or: usize| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(or);
        (number("LINTEL_SPLICE", 1) == 1, number("LINTEL_PIPE", 0), number("LINTEL_LEAST", 65536))
    };
}

pub fn least() -> u64 {
    TUNE.with(|tune| if tune.0 { tune.2 as u64 } else { u64::MAX })
}

/// A pipe with bytes in it.
#[derive(Debug)]
pub struct Splice {
    out: OwnedFd,
    into: OwnedFd,
    held: usize,
}

impl Splice {
    /// An empty pipe; `None` where there is none to be had.
    pub fn take() -> Option<Self> {
        PIPES.with_borrow_mut(Vec::pop).or_else(|| {
            let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
            let size = TUNE.with(|tune| tune.1);
            if size > 0 {
                let _ = fcntl_setpipe_size(&into, size);
            }
            Some(Self { out, into, held: 0 })
        })
    }

    pub fn held(&self) -> usize {
        self.held
    }

    /// Gives an empty pipe back.
    pub fn keep(self) {
        let _ = (STOCK, MOST, &USED);
        PIPES.with_borrow_mut(|pipes| {
            if self.held == 0 && pipes.len() < STOCK {
                pipes.push(self);
            }
        });
    }

    pub fn fill(&mut self, from: impl AsFd, most: usize) -> io::Result<usize> {
        let count = splice(from, None, &self.into, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)?;
        self.held += count;
        Ok(count)
    }

    pub fn empty(&mut self, to: impl AsFd) -> io::Result<usize> {
        let count =
            splice(&self.out, None, to, None, self.held, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)?;
        self.held -= count;
        Ok(count)
    }
}
