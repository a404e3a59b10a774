//! A read buffer that holds memory only while it holds bytes or waits for a message to go on.
//!
//! Empty buffers give their memory back to a stock kept by each engine thread, so that an idle
//! connection costs none.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes that one read asks for, and the size of a stocked block.
pub const BLOCK: usize = 16 * 1024;
/// Bytes that one read of a flow asks for, once reads of a block came back full.
pub const FLOW: usize = 64 * 1024;

/// Blocks of each size that a thread keeps for reuse: 1 MiB.
const STOCK: usize = 64;
const STOCK_OF_FLOWS: usize = 16;

thread_local! {
    static BLOCKS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static FLOWS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes read and not yet used.
#[derive(Debug, Default)]
pub struct Buffer {
    /// Initialised over its whole length; the bytes in use are `start..end`.
    block: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes read and not yet used.
    pub fn bytes(&self) -> &[u8] {
        self.block.get(self.start..self.end).unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Marks `count` bytes as used; gives the memory back with the last of them.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.is_empty() {
            self.release();
        }
    }

    /// Puts bytes in as if they had been read.
    pub fn put(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len());
        self.block[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Reads once, behind what is there, whatever of `limit` is not yet filled.
    ///
    /// `Ok(0)` is the end of the stream, or a full buffer: `limit` bytes are there already.
    pub fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        limit: usize,
    ) -> Poll<std::io::Result<usize>> {
        self.poll_read(cx, stream, limit.saturating_sub(self.len()).min(BLOCK))
    }

    /// The same for a body that flows: up to `FLOW` bytes.
    pub fn poll_flow<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        limit: usize,
    ) -> Poll<std::io::Result<usize>> {
        self.poll_read(cx, stream, limit.saturating_sub(self.len()).min(FLOW))
    }

    fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        wanted: usize,
    ) -> Poll<std::io::Result<usize>> {
        if wanted == 0 {
            return Poll::Ready(Ok(0));
        }
        self.make_room(if self.is_empty() { wanted } else { wanted.min(BLOCK / 4) });
        let room_end = (self.end + wanted).min(self.block.len());
        let mut target = ReadBuf::new(&mut self.block[self.end..room_end]);
        let outcome = Pin::new(stream).poll_read(cx, &mut target);
        let count = target.filled().len();
        if outcome.is_pending() && self.is_empty() {
            self.release();
        }
        ready!(outcome)?;
        self.end += count;
        if count == 0 && self.is_empty() {
            self.release();
        }
        Poll::Ready(Ok(count))
    }

    fn make_room(&mut self, wanted: usize) {
        if self.block.is_empty() {
            self.block = if wanted > BLOCK {
                FLOWS.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; FLOW])
            } else {
                BLOCKS.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; BLOCK])
            };
        }
        if self.block.len() - self.end >= wanted {
            return;
        }
        self.block.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.block.len() - self.end < wanted {
            let length = (self.end + wanted).next_multiple_of(BLOCK);
            self.block.resize(length, 0);
        }
    }

    fn release(&mut self) {
        (self.start, self.end) = (0, 0);
        let block = std::mem::take(&mut self.block);
        let (stock, most) = match block.len() {
            BLOCK => (&BLOCKS, STOCK),
            FLOW => (&FLOWS, STOCK_OF_FLOWS),
            _ => return,
        };
        // A buffer may be dropped while its thread ends, when the stock is gone already.
        let _ = stock.try_with(|blocks| {
            let mut blocks = blocks.borrow_mut();
            if blocks.len() < most {
                blocks.push(block);
            }
        });
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn fill(buffer: &mut Buffer, mut input: &[u8], limit: usize) -> usize {
        let mut cx = Context::from_waker(Waker::noop());
        match buffer.poll_fill(&mut cx, &mut input, limit) {
            Poll::Ready(count) => count.unwrap(),
            Poll::Pending => panic!("a slice is always ready"),
        }
    }

    #[test]
    fn a_buffer_never_holds_more_than_its_limit() {
        let mut buffer = Buffer::new();
        assert_eq!(fill(&mut buffer, &[7; 100], 60), 60);
        assert_eq!(fill(&mut buffer, &[7; 100], 60), 0);
        buffer.consume(10);
        assert_eq!(fill(&mut buffer, &[8; 100], 60), 10);
        assert_eq!(buffer.len(), 60);
    }

    #[test]
    fn bytes_stay_in_order_while_the_block_is_moved_and_grown() {
        let mut buffer = Buffer::new();
        let mut expected = std::collections::VecDeque::<u8>::new();
        for round in 0..200u32 {
            let piece: Vec<u8> = (0..701).map(|n| (round + n) as u8).collect();
            buffer.put(&piece);
            expected.extend(&piece);
            let used = (round as usize * 37) % 900;
            let used = used.min(buffer.len());
            expected.drain(..used);
            buffer.consume(used);
            assert!(buffer.bytes().iter().eq(expected.iter()));
        }
    }

    #[test]
    fn an_empty_buffer_holds_no_memory() {
        let mut buffer = Buffer::new();
        buffer.put(b"abc");
        buffer.consume(3);
        assert_eq!(buffer.block.capacity(), 0);
    }

    #[test]
    fn a_flow_is_read_in_larger_pieces() {
        let bytes = vec![7; 200_000];
        let (mut stream, mut cx) = (&bytes[..], Context::from_waker(std::task::Waker::noop()));
        let mut buffer = Buffer::new();
        for (read, expected) in
            [(false, BLOCK), (true, FLOW), (false, BLOCK), (true, FLOW), (true, 200_000 - 2 * (BLOCK + FLOW))]
        {
            let polled = match read {
                true => buffer.poll_flow(&mut cx, &mut stream, usize::MAX),
                false => buffer.poll_fill(&mut cx, &mut stream, usize::MAX),
            };
            assert!(matches!(polled, Poll::Ready(Ok(count)) if count == expected), "{polled:?}");
            assert!(buffer.bytes().iter().all(|byte| *byte == 7));
            buffer.consume(expected);
        }
    }
}
