//! Bytes of a connection that wait to be written, whose frames can still be amended while they wait.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::frame::{FrameHeader, HEADER, Rest, flag, kind};
use crate::net::Stream;

/// Streams put in no more data while this much waits.
pub const HIGH_WATER: usize = 64 * 1024;

/// Written bytes are taken out of the memory when there are this many.
const COMPACTED: usize = 64 * 1024;

/// Memory that an empty queue keeps while streams are open.
const KEPT: usize = 16 * 1024;

/// A queue of bytes. Positions count from the first byte of the connection.
#[derive(Debug, Default)]
pub struct Out {
    pub bytes: Vec<u8>,
    sent: usize,
    /// Position of the first byte of `bytes`.
    base: u64,
}

impl Out {
    /// Bytes that wait.
    pub fn pending(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Position behind the last byte.
    pub fn queued(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// Position of the first byte that is not written.
    pub fn written(&self) -> u64 {
        self.base + self.sent as u64
    }

    /// Makes a frame of what is appended after `begin_frame` said `start`; blocks too long for one are continued.
    pub fn end_headers(&mut self, start: usize, stream: u32, rest: Rest, most: usize) {
        let end_stream = if rest == Rest::Nothing { flag::END_STREAM } else { 0 };
        let length = self.bytes.len() - start - HEADER;
        if length <= most {
            let flags = flag::END_HEADERS | end_stream;
            return self.fill_header(start, FrameHeader { length, kind: kind::HEADERS, flags, stream });
        }
        let tail = self.bytes.split_off(start + HEADER + most);
        self.fill_header(start, FrameHeader { length: most, kind: kind::HEADERS, flags: end_stream, stream });
        let mut pieces = tail.chunks(most).peekable();
        while let Some(piece) = pieces.next() {
            let flags = if pieces.peek().is_none() { flag::END_HEADERS } else { 0 };
            super::frame::write(&mut self.bytes, kind::CONTINUATION, flags, stream, piece);
        }
    }

    /// Leaves room for a frame's header; says where.
    pub fn begin_frame(&mut self) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; HEADER]);
        start
    }

    /// Position of a place in `bytes`.
    pub fn position(&self, place: usize) -> u64 {
        self.base + place as u64
    }

    /// Lets the frame at `position` end its stream, if it has not been written.
    pub fn mark_end(&mut self, position: u64) -> bool {
        if position < self.written() {
            return false;
        }
        let place = (position - self.base) as usize + 4;
        self.bytes.get_mut(place).map(|flags| *flags |= flag::END_STREAM).is_some()
    }

    /// Writes what waits; ready when nothing does.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<()>> {
        while self.pending() > 0 {
            let count = ready!(Pin::new(&mut *stream).poll_write(cx, &self.bytes[self.sent..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
            if self.pending() == 0 || self.sent >= COMPACTED {
                self.compact();
            }
        }
        Pin::new(stream).poll_flush(cx)
    }

    /// Gives the memory of an empty queue back: no stream is open.
    pub fn release(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
    }

    fn compact(&mut self) {
        self.base += self.sent as u64;
        self.bytes.drain(..self.sent);
        self.sent = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
    }

    fn fill_header(&mut self, start: usize, header: FrameHeader) {
        let written = header.bytes();
        if let Some(place) = self.bytes.get_mut(start..start + HEADER) {
            place.copy_from_slice(&written);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(mut bytes: &[u8]) -> Vec<(u8, u8, usize)> {
        let mut found = Vec::new();
        while let Some(header) = FrameHeader::parse(bytes) {
            found.push((header.kind, header.flags, header.length));
            bytes = &bytes[HEADER + header.length..];
        }
        assert!(bytes.is_empty());
        found
    }

    #[test]
    fn a_long_header_block_is_continued() {
        for (length, expected) in [
            (10, vec![(1, 5, 10)]),
            (100, vec![(1, 5, 100)]),
            (101, vec![(1, 1, 100), (9, 4, 1)]),
            (300, vec![(1, 1, 100), (9, 0, 100), (9, 4, 100)]),
        ] {
            let mut out = Out::default();
            let start = out.begin_frame();
            out.bytes.extend(std::iter::repeat_n(7, length));
            out.end_headers(start, 1, Rest::Nothing, 100);
            assert_eq!(frames(&out.bytes), expected, "{length}");
        }
    }

    #[test]
    fn a_waiting_frame_can_end_its_stream_later() {
        let mut out = Out::default();
        super::super::frame::write(&mut out.bytes, kind::BODY, 0, 1, b"a");
        let position = out.position(out.bytes.len());
        super::super::frame::write(&mut out.bytes, kind::BODY, 0, 3, b"b");
        assert!(out.mark_end(position));
        assert_eq!(frames(&out.bytes), [(0, 0, 1), (0, 1, 1)]);
        out.sent = out.bytes.len();
        out.compact();
        assert!(!out.mark_end(position), "it is written");
        assert_eq!((out.pending(), out.queued(), out.written()), (0, 20, 20));
    }
}
