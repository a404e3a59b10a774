//! The input and output of one connection: reads frames into its session, writes what its session has to say.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::AsyncWrite;

use super::frame::{ErrorCode, FrameHeader, HEADER, MAX_PAYLOAD, PREFACE, Role};
use super::session::{Closed, Event, Session, SessionLimits, Shared};
use crate::net::{Buffer, Stream};

/// Nothing more is read while this much waits to be written.
const UNREAD: usize = 128 * 1024;

/// Bytes that are read and dropped after the last frame.
const LINGERED: usize = 16 * 1024 * 1024;

/// A connection with its session.
#[derive(Debug)]
pub struct Driver {
    stream: Stream,
    inbound: Buffer,
    pub session: Shared,
    started: Instant,
    /// Bytes of the client's preface still to come.
    preface: usize,
    /// The peer has sent its last byte.
    ended: bool,
    shut: bool,
    /// Bytes dropped after the end.
    lingered: usize,
    /// Bytes read since the connection began.
    pub read: u64,
}

impl Driver {
    pub fn new(stream: Stream, role: Role, limits: SessionLimits) -> Self {
        Self {
            stream,
            inbound: Buffer::new(),
            session: Rc::new(RefCell::new(Session::new(role, limits))),
            started: Instant::now(),
            preface: if role == Role::Server { PREFACE.len() } else { 0 },
            ended: false,
            shut: false,
            lingered: 0,
            read: 0,
        }
    }

    /// Bytes written since the connection began.
    pub fn written(&self) -> u64 {
        self.session.borrow().out.written()
    }

    /// Whether all that the session has to say is written.
    pub fn is_flushed(&self) -> bool {
        self.session.borrow().out.pending() == 0
    }

    /// The peer has shown that it speaks HTTP/2.
    pub fn is_open(&self) -> bool {
        self.session.borrow().settings_seen
    }

    /// A header block has begun and is not whole.
    pub fn is_inside_head(&self) -> bool {
        self.session.borrow().block.is_some()
    }

    /// Reads and writes until something happened (`Ok`), or the connection is over and what it had to say is written.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, Closed>> {
        loop {
            if let Some(event) = self.session.borrow_mut().events.pop_front() {
                return Poll::Ready(Ok(event));
            }
            let is_written = self.poll_write(cx);
            let closed = self.session.borrow().closed;
            if let Some(closed) = closed {
                if self.ended {
                    return Poll::Ready(Err(closed));
                }
                ready!(is_written);
                return Poll::Ready(Err(closed));
            }
            self.session.borrow_mut().watch(cx);
            if self.session.borrow().out.pending() >= UNREAD {
                return Poll::Pending;
            }
            if self.take_frames() {
                continue;
            }
            match ready!(self.inbound.poll_fill(cx, &mut self.stream, HEADER + MAX_PAYLOAD)) {
                Ok(0) | Err(_) => self.lose("the connection ended"),
                Ok(count) => self.read += count as u64,
            }
        }
    }

    /// The session is over; what it has to say may still wait.
    pub fn is_closed(&self) -> bool {
        self.session.borrow().closed.is_some()
    }

    /// Ends our direction, then reads and drops what still comes, so that the peer sees our last frames and not a reset.
    pub fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.ended {
            if !self.shut {
                if ready!(Pin::new(&mut self.stream).poll_shutdown(cx)).is_err() {
                    return Poll::Ready(());
                }
                self.shut = true;
            }
            let held = self.inbound.len();
            self.inbound.consume(held);
            let outcome = ready!(self.inbound.poll_fill(cx, &mut self.stream, MAX_PAYLOAD));
            self.lingered += outcome.as_ref().ok().copied().unwrap_or_default();
            self.ended = !matches!(outcome, Ok(1..)) || self.lingered > LINGERED;
        }
        Poll::Ready(())
    }

    /// Ends the session without a word to the peer.
    pub fn lose(&mut self, why: &'static str) {
        self.ended = true;
        self.session.borrow_mut().close(Closed { code: ErrorCode::NoError, detail: why, flood: None });
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut session = self.session.borrow_mut();
        if self.ended {
            return Poll::Ready(());
        }
        let outcome = session.out.poll_write(cx, &mut self.stream);
        session.wake_flushed();
        match outcome {
            Poll::Ready(Ok(())) => {
                session.unread = 0;
                if !session.has_streams() {
                    session.out.release();
                }
                session.wake_waiting(usize::MAX);
                Poll::Ready(())
            }
            Poll::Ready(Err(_)) => {
                drop(session);
                self.lose("the connection failed");
                Poll::Ready(())
            }
            Poll::Pending => {
                session.wake_waiting(1);
                Poll::Pending
            }
        }
    }

    /// Hands all whole frames over; true when any was.
    fn take_frames(&mut self) -> bool {
        let mut session = self.session.borrow_mut();
        if self.preface > 0 && !take_preface(&mut self.inbound, &mut self.preface) {
            session.fail(ErrorCode::Protocol, "the preface is not that of HTTP/2", None);
            return true;
        }
        session.now_ms = self.started.elapsed().as_millis() as u64;
        let mut any = false;
        while self.preface == 0 && session.closed.is_none() && session.out.pending() < UNREAD {
            let Some(header) = FrameHeader::parse(self.inbound.bytes()) else { break };
            if header.length > MAX_PAYLOAD {
                session.receive(header, &[]);
                return true;
            }
            let Some(payload) = self.inbound.bytes().get(HEADER..HEADER + header.length) else { break };
            session.receive(header, payload);
            self.inbound.consume(HEADER + header.length);
            any = true;
        }
        any
    }
}

/// Takes what is there of the preface; false when it is another.
fn take_preface(inbound: &mut Buffer, left: &mut usize) -> bool {
    let expected = &PREFACE[PREFACE.len() - *left..];
    let count = inbound.len().min(expected.len());
    if inbound.bytes()[..count] != expected[..count] {
        return false;
    }
    inbound.consume(count);
    *left -= count;
    true
}
