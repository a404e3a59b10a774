//! One connection as its streams see it: what may be sent, what was taken, and how it ends.
//!
//! The session does no input or output. Streams put frames into `out`; the driver writes them and hands over the
//! frames that it reads (`receive`). All of it lives on one thread, so nothing is locked.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::fields;
use super::flood::{Flood, Guard, Rates};
use super::frame::{
    self, DEFAULT_WINDOW, ErrorCode, FrameHeader, HEADER, MAX_PAYLOAD, MAX_STREAM, Rest, Role, Settings, kind,
};
use super::hpack::{Decoder, Encoder};
use super::message::Block;
use super::out::{HIGH_WATER, Out};
use super::state::{End, State, Streams};
use crate::wire::head::Head;
use crate::wire::rules::{Limits, ParseHeadError, RequestFraming};

/// Streams remembered after they closed, so that late frames are told from nonsense.
const REMEMBERED: usize = 64;

/// A session that its driver and its streams share.
pub type Shared = Rc<RefCell<Session>>;

/// How much a peer may ask of one connection.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Streams at once.
    pub streams: u32,
    /// Bytes of a body that one stream may have sent ahead, and all of a connection; at least 65,535.
    pub stream_window: u32,
    pub connection_window: u32,
    pub rates: Rates,
    /// Limits on heads of requests.
    pub head: Limits,
}

/// What the peer did, for whoever drives the connection.
#[derive(Debug)]
pub enum Event {
    /// A request whose head is whole; its stream waits to be taken.
    Request { stream: u32, head: Head, framing: Result<RequestFraming, ParseHeadError> },
    /// A stream was reset for what the peer did with it. `malformed`: its request's head was none.
    StreamError { code: ErrorCode, detail: &'static str, malformed: bool },
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    pub code: ErrorCode,
    pub detail: &'static str,
    pub flood: Option<Flood>,
}

#[derive(Debug)]
pub struct Session {
    pub(super) role: Role,
    pub(super) limits: SessionLimits,
    pub(super) peer: Settings,
    pub(super) settings_seen: bool,
    pub(super) decoder: Decoder,
    encoder: Encoder,
    pub(super) streams: Streams,
    /// Streams that are open on the wire.
    pub(super) open: u32,
    /// Highest stream that the peer opened.
    pub(super) highest: u32,
    /// Next stream that is opened here.
    next: u32,
    /// Streams that closed lately, and whether it was a reset of ours.
    remembered: VecDeque<(u32, bool)>,
    pub(super) out: Out,
    pub(super) send_window: i64,
    pub(super) window: i64,
    unreturned: u32,
    /// A header block that is not whole yet.
    pub(super) block: Option<Block>,
    /// Streams that wait for room in `out` or in the connection's window.
    waiting: VecDeque<u32>,
    /// Streams that wait until what they sent is written.
    flushing: Vec<u32>,
    pub(super) events: VecDeque<Event>,
    pub(super) guard: Guard,
    pub(super) now_ms: u64,
    /// Streams above this one are not taken any more: GOAWAY was sent.
    pub(super) last_taken: u32,
    /// The peer's GOAWAY.
    pub(super) going_away: bool,
    pub(super) ping_answered: bool,
    /// Bytes of answers to control frames since all was last written.
    pub(super) unread: usize,
    pub(super) closed: Option<Closed>,
    driver: Option<Waker>,
    /// Heads for reuse.
    pub(super) spare: Vec<Head>,
}

impl Session {
    pub fn new(role: Role, limits: SessionLimits) -> Self {
        let mut out = Out::default();
        let header_list = limits.head.head as u32;
        match role {
            Role::Server => {
                Settings::write_for_client(&mut out.bytes, limits.streams, limits.stream_window, header_list);
            }
            Role::Client => {
                out.bytes.extend_from_slice(frame::PREFACE);
                Settings::write_for_server(&mut out.bytes, limits.stream_window, header_list);
            }
        }
        let window = i64::from(limits.connection_window).max(DEFAULT_WINDOW);
        if window > DEFAULT_WINDOW {
            frame::write_window_update(&mut out.bytes, 0, (window - DEFAULT_WINDOW) as u32);
        }
        Self {
            role,
            limits,
            peer: Settings::default(),
            settings_seen: false,
            decoder: Decoder::new(4096),
            encoder: Encoder::new(),
            streams: Streams::default(),
            open: 0,
            highest: 0,
            next: 1,
            remembered: VecDeque::new(),
            out,
            send_window: DEFAULT_WINDOW,
            window,
            unreturned: 0,
            block: None,
            waiting: VecDeque::new(),
            flushing: Vec::new(),
            events: VecDeque::new(),
            guard: Guard::new(limits.rates),
            now_ms: 0,
            last_taken: MAX_STREAM,
            going_away: false,
            ping_answered: false,
            unread: 0,
            closed: None,
            driver: None,
            spare: Vec::new(),
        }
    }

    pub fn has_streams(&self) -> bool {
        !self.streams.is_empty()
    }

    /// New streams can be opened.
    pub(super) fn takes_more(&self) -> bool {
        self.closed.is_none() && !self.going_away && self.next <= MAX_STREAM
    }

    /// Sends a PING whose answer sets `ping_answered`.
    pub(super) fn send_ping(&mut self) {
        self.ping_answered = false;
        frame::write(&mut self.out.bytes, kind::PING, 0, 0, b"lintel\0\0");
        self.wake_driver();
    }

    pub(super) fn watch(&mut self, cx: &Context<'_>) {
        self.driver = Some(cx.waker().clone());
    }

    /// Has the driver write what waits.
    pub(super) fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    /// Takes up a stream of its own for a request. `None`: this connection takes no more.
    pub(super) fn open(&mut self) -> Option<u32> {
        if !self.takes_more() {
            return None;
        }
        let stream = self.next;
        self.next += 2;
        let state = State::new(self.limits.stream_window.into(), self.peer.initial_window.into());
        self.streams.insert(stream, state);
        self.open += 1;
        Some(stream)
    }

    /// Leaves one stream.
    #[cfg(test)]
    pub(super) fn use_up(&mut self) {
        self.next = MAX_STREAM;
    }

    pub(super) fn next_own(&self) -> u32 {
        self.next
    }

    pub(super) fn set_table_size(&mut self, size: u32) {
        self.encoder.set_table_size(size);
    }

    /// Sends a header list; `write` puts the fields in.
    pub(super) fn send_headers(
        &mut self,
        stream: u32,
        rest: Rest,
        write: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) {
        let Some(state) = self.streams.get_mut(&stream) else { return };
        if state.ended.is_some() || state.sent {
            return;
        }
        let start = self.out.begin_frame();
        write(&mut self.encoder, &mut self.out.bytes);
        let most = MAX_PAYLOAD.min(self.peer.max_frame_size as usize);
        self.out.end_headers(start, stream, rest, most);
        state.bytes_out += (self.out.bytes.len() - start) as u64;
        state.last_frame = Some(self.out.position(start));
        state.mark = self.out.queued();
        state.sent = rest == Rest::Nothing;
        if state.sent {
            self.settle(stream);
        }
        self.wake_driver();
    }

    /// Takes bytes of a body as far as windows and memory allow.
    pub(super) fn poll_send(
        &mut self,
        stream: u32,
        cx: &Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(state) = self.streams.get_mut(&stream) else { return Poll::Ready(Err(gone())) };
        if let Some(end) = state.ended {
            return Poll::Ready(Err(end.error()));
        }
        if state.sent || bytes.is_empty() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let is_full = self.out.pending() >= HIGH_WATER;
        if state.send_window <= 0 || self.send_window <= 0 || is_full {
            state.watch(cx);
            if state.send_window > 0 && !state.waiting {
                state.waiting = true;
                self.waiting.push_back(stream);
            }
            return Poll::Pending;
        }
        let window = usize::try_from(state.send_window.min(self.send_window)).unwrap_or_default();
        let length = bytes.len().min(window).min(MAX_PAYLOAD);
        let start = self.out.bytes.len();
        frame::write(&mut self.out.bytes, kind::BODY, 0, stream, &bytes[..length]);
        state.send_window -= length as i64;
        self.send_window -= length as i64;
        state.bytes_out += (HEADER + length) as u64;
        state.last_frame = Some(self.out.position(start));
        state.mark = self.out.queued();
        // What the peer sends because of this is no flood: window updates, pings that measure, short answers.
        for (kind, frames) in [(Flood::WindowUpdate, 2), (Flood::Ping, 1), (Flood::SmallData, 1)] {
            self.guard.excuse(kind, frames);
        }
        self.wake_driver();
        self.wake_waiting(1);
        Poll::Ready(Ok(length))
    }

    /// Ends our direction.
    pub(super) fn finish(&mut self, stream: u32, trailers: Option<&Head>) {
        if let Some(trailers) = trailers.filter(|trailers| !trailers.is_empty()) {
            return self.send_headers(stream, Rest::Nothing, |encoder, out| {
                fields::write_trailers(encoder, out, trailers);
            });
        }
        let Some(state) = self.streams.get_mut(&stream) else { return };
        if state.ended.is_some() || state.sent {
            return;
        }
        let amended = state.last_frame.is_some_and(|position| self.out.mark_end(position));
        if !amended {
            let header = FrameHeader { length: 0, kind: kind::BODY, flags: frame::flag::END_STREAM, stream };
            header.write(&mut self.out.bytes);
            state.bytes_out += HEADER as u64;
            state.mark = self.out.queued();
        }
        state.sent = true;
        self.settle(stream);
        self.wake_driver();
    }

    /// Ready when all that the stream sent is written.
    pub(super) fn poll_flush(&mut self, stream: u32, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let written = self.out.written();
        let Some(state) = self.streams.get_mut(&stream) else { return Poll::Ready(Ok(())) };
        if state.mark <= written {
            return Poll::Ready(Ok(()));
        }
        if let Some(end) = state.ended {
            return Poll::Ready(Err(end.error()));
        }
        state.watch(cx);
        if !self.flushing.contains(&stream) {
            self.flushing.push(stream);
        }
        Poll::Pending
    }

    /// Resets a stream that is not over.
    pub(super) fn reset(&mut self, stream: u32, end: End, code: ErrorCode) {
        let Some(state) = self.streams.get_mut(&stream) else { return };
        // A stream on which nothing was sent is none to the server, which must not be told of it (RFC 9113 section 6.4).
        if !state.is_over() && (self.role == Role::Server || state.mark > 0) {
            frame::write_reset(&mut self.out.bytes, stream, code);
        }
        self.end(stream, end);
        self.wake_driver();
    }

    /// Ends a stream without telling the peer.
    pub(super) fn end(&mut self, stream: u32, end: End) {
        let Some(state) = self.streams.get_mut(&stream) else { return };
        state.ended.get_or_insert(end);
        // What came whole can still be read, though its sender wants no more from here.
        let unread = if state.received { 0 } else { state.inbound.len() };
        state.inbound.consume(unread);
        state.wake();
        self.settle(stream);
        self.give_back_to_connection(unread);
    }

    /// Gives bytes that were taken back to the peer's windows.
    pub(super) fn give_back(&mut self, stream: u32, count: usize) {
        if let Some(state) = self.streams.get_mut(&stream)
            && !state.received
            && state.ended.is_none()
        {
            state.unreturned += count as u32;
            if state.unreturned >= self.limits.stream_window / 2 {
                frame::write_window_update(&mut self.out.bytes, stream, state.unreturned);
                state.window += i64::from(state.unreturned);
                state.unreturned = 0;
                self.wake_driver();
            }
        }
        self.give_back_to_connection(count);
    }

    pub(super) fn give_back_to_connection(&mut self, count: usize) {
        self.unreturned += count as u32;
        if self.unreturned >= self.limits.connection_window / 2 {
            frame::write_window_update(&mut self.out.bytes, 0, self.unreturned);
            self.window += i64::from(self.unreturned);
            self.unreturned = 0;
            self.wake_driver();
        }
    }

    /// The holder of a stream lets it go; `unread` bytes of it were never taken.
    pub(super) fn release(&mut self, stream: u32, unread: usize) {
        self.give_back_to_connection(unread);
        let Some(state) = self.streams.get_mut(&stream) else { return };
        state.held = false;
        if !state.is_over() {
            // Everything was said, and what the client still says is not needed (RFC 9113 section 8.1).
            let done = state.sent && self.role == Role::Server;
            let code = if done { ErrorCode::NoError } else { ErrorCode::Cancel };
            self.reset(stream, End::Ours(code, ""), code);
        } else {
            self.settle(stream);
        }
        self.wake_waiting(1);
        // A driver that waits for its last stream looks again.
        self.wake_driver();
    }

    /// Counts a stream that is over as closed, and forgets it when nobody holds it.
    pub(super) fn settle(&mut self, stream: u32) {
        let Some(state) = self.streams.get_mut(&stream) else { return };
        if !state.is_over() {
            return;
        }
        if !state.closed {
            state.closed = true;
            self.open = self.open.saturating_sub(1);
            let ended = state.ended;
            self.remember(stream, ended);
        }
        let Some(state) = self.streams.get(&stream).filter(|state| !state.held) else { return };
        let unread = state.inbound.len();
        self.streams.remove(&stream);
        self.give_back_to_connection(unread);
    }

    /// Notes a stream as closed: behind a reset of ours more of it may be on its way.
    pub(super) fn remember(&mut self, stream: u32, ended: Option<End>) {
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back((stream, matches!(ended, Some(End::Ours(..)))));
    }

    /// Whether a stream closed lately, and if so whether by a reset of ours.
    pub(super) fn remembers(&self, stream: u32) -> Option<bool> {
        self.remembered.iter().rev().find(|(number, _)| *number == stream).map(|(_, ours)| *ours)
    }

    /// Wakes streams whose bytes have all been written.
    pub(super) fn wake_flushed(&mut self) {
        let written = self.out.written();
        let streams = &mut self.streams;
        self.flushing.retain(|stream| match streams.get_mut(stream) {
            Some(state) if state.mark > written && state.ended.is_none() => true,
            Some(state) => {
                state.wake();
                false
            }
            None => false,
        });
    }

    /// Wakes streams that wait to send.
    pub(super) fn wake_waiting(&mut self, most: usize) {
        if self.send_window <= 0 && self.out.pending() > 0 || self.out.pending() >= HIGH_WATER {
            return;
        }
        for _ in 0..most {
            let Some(stream) = self.waiting.pop_front() else { return };
            if let Some(state) = self.streams.get_mut(&stream) {
                state.waiting = false;
                state.wake();
            }
        }
    }

    /// Tells the peer that streams above `last` are not taken any more.
    pub fn go_away(&mut self, last: u32, code: ErrorCode, detail: &str) {
        frame::write_go_away(&mut self.out.bytes, last, code, detail);
        self.last_taken = self.last_taken.min(last);
        self.wake_driver();
    }

    /// Ends the connection for what the peer did, or because it is gone. Streams end with it.
    pub(super) fn close(&mut self, closed: Closed) {
        if self.closed.is_some() {
            return;
        }
        self.closed = Some(closed);
        let streams: Vec<u32> = self.streams.keys().copied().collect();
        for stream in streams {
            self.end(stream, End::Lost(closed.detail));
        }
        self.wake_driver();
    }
}

pub(super) fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the stream is gone")
}
