//! What each frame of the peer means for the session (RFC 9113 sections 5 and 6).
//!
//! Every mistake ends in the stream error or connection error that the RFC names for it.

use super::fields::{Reader, Section};
use super::flood::{Flood, TINY};
use super::frame::{ErrorCode, FrameHeader, MAX_PAYLOAD, MAX_WINDOW, flag, kind, without_padding};
use super::session::{Closed, Event, Role, Session};
use super::state::{End, State};
use crate::wire::body::Framing;
use crate::wire::head::Head;
use crate::wire::rules::ParseHeadError;

use ErrorCode as E;
use Wrong::{Connection, Stream};

/// CONTINUATION frames of one header block.
const MOST_CONTINUATIONS: u32 = 64;

/// Bytes of answers to PING and SETTINGS that may wait to be written.
const MOST_UNREAD: usize = 64 * 1024;

/// A header block may be this many times as long as the limit of a head, so that too long a head can still be answered.
const BLOCK_FACTOR: usize = 4;

/// A header block whose end has not come.
#[derive(Debug)]
pub struct Block {
    pub stream: u32,
    end_stream: bool,
    bytes: Vec<u8>,
    continuations: u32,
}

/// A mistake of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    Connection(ErrorCode, &'static str),
    Stream(u32, ErrorCode, &'static str),
    Flood(Flood),
}

impl From<Flood> for Wrong {
    fn from(flood: Flood) -> Self {
        Self::Flood(flood)
    }
}

impl Session {
    /// Takes one whole frame. What is wrong with it is answered here; a closed session takes nothing more.
    pub fn receive(&mut self, header: FrameHeader, payload: &[u8]) {
        if self.closed.is_some() {
            return;
        }
        match self.frame(header, payload) {
            Ok(()) => {}
            Err(Wrong::Stream(stream, code, detail)) => self.fail_stream(stream, code, detail),
            Err(Wrong::Connection(code, detail)) => self.fail(code, detail, None),
            Err(Wrong::Flood(flood)) => self.fail(E::EnhanceYourCalm, flood.detail(), Some(flood)),
        }
    }

    /// Ends the connection for a mistake of the peer.
    pub fn fail(&mut self, code: ErrorCode, detail: &'static str, flood: Option<Flood>) {
        self.go_away(self.highest, code, detail);
        self.close(Closed { code, detail, flood });
    }

    fn fail_stream(&mut self, stream: u32, code: ErrorCode, detail: &'static str) {
        // A server is trusted not to make mistakes on purpose.
        if self.role == Role::Server
            && let Err(flood) = self.guard.count(Flood::StreamErrors, self.now_ms)
        {
            return self.fail(E::EnhanceYourCalm, flood.detail(), Some(flood));
        }
        self.events.push_back(Event::StreamError { code, detail, malformed: false });
        if self.streams.get(&stream).is_some_and(|state| !state.is_over()) {
            self.reset(stream, End::Ours(code, detail), code);
        } else {
            super::frame::write_reset(&mut self.out.bytes, stream, code);
        }
    }

    fn frame(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Wrong> {
        if header.length > MAX_PAYLOAD {
            return Err(Connection(E::FrameSize, "a frame is larger than MAX_FRAME_SIZE"));
        }
        if !self.settings_seen && (header.kind != kind::SETTINGS || header.has(flag::ACK)) {
            return Err(Connection(E::Protocol, "the first frame is not SETTINGS"));
        }
        if let Some(block) = &self.block
            && (header.kind != kind::CONTINUATION || header.stream != block.stream)
        {
            return Err(Connection(E::Protocol, "a frame inside a header block"));
        }
        match header.kind {
            kind::DATA => self.data(header, payload),
            kind::HEADERS => self.headers(header, payload),
            kind::PRIORITY => self.priority(header, payload),
            kind::RST_STREAM => self.reset_by_peer(header, payload),
            kind::SETTINGS => self.settings(header, payload),
            kind::PUSH_PROMISE => Err(Connection(E::Protocol, "PUSH_PROMISE is not allowed")),
            kind::PING => self.ping(header, payload),
            kind::GOAWAY => self.peer_goes_away(header, payload),
            kind::WINDOW_UPDATE => self.window_update(header, payload),
            kind::CONTINUATION => self.continuation(header, payload),
            _ => Ok(self.guard.count(Flood::Priority, self.now_ms)?),
        }
    }

    /// Whether a stream was never opened.
    fn is_idle(&self, stream: u32) -> bool {
        let by_peer = (stream % 2 == 1) == (self.role == Role::Server);
        if by_peer { stream > self.highest } else { stream >= self.next_own() }
    }

    fn data(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Wrong> {
        if header.stream == 0 {
            return Err(Connection(E::Protocol, "DATA on stream 0"));
        }
        let Some(data) = without_padding(header, payload) else {
            return Err(Connection(E::Protocol, "the padding is longer than the frame"));
        };
        if self.is_idle(header.stream) {
            return Err(Connection(E::Protocol, "DATA on an idle stream"));
        }
        let (ended, length) = (header.has(flag::END_STREAM), header.length as i64);
        if data.is_empty() && !ended {
            self.guard.count(Flood::EmptyData, self.now_ms)?;
        } else if data.len() < TINY && !ended {
            self.guard.count(Flood::SmallData, self.now_ms)?;
        }
        self.window -= length;
        if self.window < 0 {
            return Err(Connection(E::FlowControl, "DATA beyond the connection's window"));
        }
        let stream = header.stream;
        let outcome = match self.streams.get_mut(&stream) {
            Some(state) if !state.closed => take_data(stream, state, length, data, ended),
            _ => Err(Stream(stream, E::StreamClosed, "DATA on a closed stream")),
        };
        let kept = if outcome.is_ok() { data.len() } else { 0 };
        self.give_back_to_connection(header.length - kept);
        if outcome.is_ok() && header.length > kept {
            // Padding takes part in the stream's window too.
            self.return_padding(stream, header.length - kept);
        }
        match outcome {
            // Frames that were under way when we reset the stream.
            Err(Stream(_, E::StreamClosed, _)) if self.remembers(stream) == Some(true) => Ok(()),
            Ok(()) if ended => {
                self.settle(stream);
                Ok(())
            }
            other => other,
        }
    }

    fn return_padding(&mut self, stream: u32, count: usize) {
        if let Some(state) = self.streams.get_mut(&stream) {
            state.unreturned += count as u32;
        }
    }

    fn headers(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Wrong> {
        if header.stream == 0 {
            return Err(Connection(E::Protocol, "HEADERS on stream 0"));
        }
        let Some(mut fragment) = without_padding(header, payload) else {
            return Err(Connection(E::Protocol, "the padding is longer than the frame"));
        };
        let mut on_itself = false;
        if header.has(flag::PRIORITY) {
            let Some((priority, rest)) = fragment.split_at_checked(5) else {
                return Err(Connection(E::FrameSize, "HEADERS is too short for its priority"));
            };
            on_itself = depends_on(priority) == header.stream;
            fragment = rest;
        }
        let block = Block {
            stream: header.stream,
            end_stream: header.has(flag::END_STREAM),
            bytes: Vec::new(),
            continuations: 0,
        };
        if header.has(flag::END_HEADERS) {
            self.header_block(&block, fragment)?;
        } else {
            self.block = Some(Block { bytes: fragment.to_vec(), ..block });
        }
        if on_itself {
            // Its request is not served.
            if matches!(self.events.back(), Some(Event::Request { stream, .. }) if *stream == header.stream) {
                self.events.pop_back();
            }
            if let Some(state) = self.streams.get_mut(&header.stream) {
                state.held = false;
            }
            return Err(Stream(header.stream, E::Protocol, "a stream depends on itself"));
        }
        Ok(())
    }

    fn continuation(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Wrong> {
        let Some(mut block) = self.block.take() else {
            return Err(Connection(E::Protocol, "CONTINUATION without a header block"));
        };
        block.continuations += 1;
        if block.continuations > MOST_CONTINUATIONS {
            return Err(Flood::Continuation.into());
        }
        block.bytes.extend_from_slice(payload);
        if block.bytes.len() > self.limits.head.head.saturating_mul(BLOCK_FACTOR) {
            return Err(Flood::HeaderBlock.into());
        }
        if header.has(flag::END_HEADERS) {
            let bytes = std::mem::take(&mut block.bytes);
            return self.header_block(&block, &bytes);
        }
        self.block = Some(block);
        Ok(())
    }

    /// A whole header block: always decoded, so that the tables stay in step, whatever becomes of it.
    fn header_block(&mut self, block: &Block, bytes: &[u8]) -> Result<(), Wrong> {
        let stream = block.stream;
        let section = match self.streams.get(&stream) {
            Some(state) if state.has_head => Section::Trailers,
            Some(_) => Section::Response,
            None if self.role == Role::Server => Section::Request,
            None => Section::Response,
        };
        let mut head = self.spare.pop().unwrap_or_default();
        let mut reader = Reader::new(&mut head, section, self.limits.head);
        if self.decoder.decode(bytes, &mut |name, value| reader.take(name, value)).is_err() {
            return Err(Connection(E::Compression, "the header block cannot be decoded"));
        }
        if let Some(state) = self.streams.get_mut(&stream).filter(|state| !state.closed) {
            state.bytes_in += (bytes.len() + super::frame::HEADER) as u64;
            if state.received {
                return Err(Stream(stream, E::StreamClosed, "HEADERS after the end of the stream"));
            }
            return match section {
                Section::Trailers => {
                    let outcome = reader.finish_trailers();
                    self.trailers(block, outcome, head)
                }
                _ => {
                    let method = state.method;
                    let outcome = reader.finish_response(method, block.end_stream);
                    self.response(block, outcome, head)
                }
            };
        }
        if stream.is_multiple_of(2) || self.role == Role::Client {
            return Err(Connection(E::Protocol, "HEADERS on a stream that this side cannot open"));
        }
        if stream <= self.highest {
            return match self.remembers(stream) {
                Some(true) => Ok(()),
                Some(false) => Err(Connection(E::StreamClosed, "HEADERS on a closed stream")),
                None => Err(Connection(E::Protocol, "stream numbers must grow")),
            };
        }
        let outcome = reader.finish_request(block.end_stream);
        self.request(block, outcome, head, bytes.len())
    }

    /// A new stream of the client.
    fn request(
        &mut self,
        block: &Block,
        framing: Result<crate::wire::rules::RequestFraming, ParseHeadError>,
        head: Head,
        size: usize,
    ) -> Result<(), Wrong> {
        let stream = block.stream;
        self.highest = stream;
        if stream > self.last_taken {
            // It came after our GOAWAY, which says so.
            return Ok(());
        }
        // Streams that were reset but whose servers are still being told count, up to as many again.
        if self.open >= self.limits.streams || self.streams.len() >= 2 * self.limits.streams as usize {
            self.spare.push(head);
            return Err(Stream(stream, E::RefusedStream, "more streams at once than MAX_CONCURRENT_STREAMS"));
        }
        let mut state = State::new(self.limits.stream_window.into(), self.peer.initial_window.into());
        state.has_head = true;
        state.received = block.end_stream;
        state.bytes_in = (size + super::frame::HEADER) as u64;
        if let Ok(framing) = &framing {
            state.expected = expected(framing.body, framing.upgrade || block.end_stream);
        }
        if let Err(ParseHeadError::Malformed(detail)) = framing {
            self.streams.insert(stream, State { held: false, ..state });
            self.open += 1;
            self.events.push_back(Event::StreamError { code: E::Protocol, detail, malformed: true });
            self.reset(stream, End::Ours(E::Protocol, detail), E::Protocol);
            return Ok(self.guard.count(Flood::StreamErrors, self.now_ms)?);
        }
        self.streams.insert(stream, state);
        self.open += 1;
        self.events.push_back(Event::Request { stream, head, framing });
        Ok(())
    }

    fn response(
        &mut self,
        block: &Block,
        framing: Result<crate::wire::rules::ResponseFraming, ParseHeadError>,
        head: Head,
    ) -> Result<(), Wrong> {
        let Some(state) = self.streams.get_mut(&block.stream) else { return Ok(()) };
        let framing = match framing {
            Ok(framing) => framing,
            Err(ParseHeadError::Malformed(detail)) => return Err(Stream(block.stream, E::Protocol, detail)),
            Err(_) => return Err(Stream(block.stream, E::Protocol, "the response's head is too large")),
        };
        if head.status >= 200 {
            state.has_head = true;
            state.received = block.end_stream;
            state.expected = expected(framing.body, block.end_stream);
        }
        state.heads.push_back((head, framing));
        state.wake();
        self.settle(block.stream);
        Ok(())
    }

    fn trailers(
        &mut self,
        block: &Block,
        outcome: Result<(), ParseHeadError>,
        head: Head,
    ) -> Result<(), Wrong> {
        let Some(state) = self.streams.get_mut(&block.stream) else { return Ok(()) };
        match outcome {
            Ok(()) => {}
            Err(ParseHeadError::Malformed(detail)) => return Err(Stream(block.stream, E::Protocol, detail)),
            Err(_) => return Err(Stream(block.stream, E::Protocol, "the trailers are too large")),
        }
        if !block.end_stream {
            return Err(Stream(block.stream, E::Protocol, "a second head that does not end the stream"));
        }
        if state.expected.is_some_and(|left| left > 0) {
            return Err(Stream(block.stream, E::Protocol, "the body is shorter than Content-Length"));
        }
        state.trailers = (!head.is_empty()).then(|| Box::new(head));
        state.received = true;
        state.wake();
        self.settle(block.stream);
        Ok(())
    }

    fn priority(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Wrong> {
        self.guard.count(Flood::Priority, self.now_ms)?;
        if header.stream == 0 {
            return Err(Connection(E::Protocol, "PRIORITY on stream 0"));
        }
        let idle = self.is_idle(header.stream);
        if payload.len() != 5 {
            return Err(if idle {
                Connection(E::FrameSize, "PRIORITY has not five bytes")
            } else {
                Stream(header.stream, E::FrameSize, "PRIORITY has not five bytes")
            });
        }
        match (depends_on(payload) == header.stream, idle) {
            (false, _) => Ok(()),
            (true, true) => Err(Connection(E::Protocol, "a stream depends on itself")),
            (true, false) => Err(Stream(header.stream, E::Protocol, "a stream depends on itself")),
        }
    }

    fn reset_by_peer(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Wrong> {
        let [a, b, c, d] = *payload else {
            return Err(Connection(E::FrameSize, "RST_STREAM has not four bytes"));
        };
        if header.stream == 0 || self.is_idle(header.stream) {
            return Err(Connection(E::Protocol, "RST_STREAM on a stream that is not open"));
        }
        if self.role == Role::Server {
            self.guard.count(Flood::RapidReset, self.now_ms)?;
        }
        let code = ErrorCode::of(u32::from_be_bytes([a, b, c, d]));
        let end = if code == E::RefusedStream { End::Unprocessed } else { End::Peer(code) };
        self.end(header.stream, end);
        Ok(())
    }

    fn settings(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Wrong> {
        if header.stream != 0 {
            return Err(Connection(E::Protocol, "SETTINGS on a stream"));
        }
        if header.has(flag::ACK) {
            return match payload {
                [] => Ok(()),
                _ => Err(Connection(E::FrameSize, "an acknowledgement of SETTINGS has a payload")),
            };
        }
        if !payload.len().is_multiple_of(6) {
            return Err(Connection(E::FrameSize, "SETTINGS is no multiple of six bytes"));
        }
        self.guard.count(Flood::Settings, self.now_ms)?;
        let before = i64::from(self.peer.initial_window);
        let of_client = self.role == Role::Server;
        self.peer.apply(payload, of_client).map_err(|(code, detail)| Connection(code, detail))?;
        self.settings_seen = true;
        self.set_table_size(self.peer.header_table_size);
        let change = i64::from(self.peer.initial_window) - before;
        for state in self.streams.values_mut() {
            state.send_window += change;
            if state.send_window > MAX_WINDOW {
                return Err(Connection(E::FlowControl, "INITIAL_WINDOW_SIZE makes a window too large"));
            }
            if change > 0 {
                state.wake();
            }
        }
        super::frame::write(&mut self.out.bytes, kind::SETTINGS, flag::ACK, 0, &[]);
        self.count_answer(super::frame::HEADER)
    }

    fn ping(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Wrong> {
        if header.stream != 0 {
            return Err(Connection(E::Protocol, "PING on a stream"));
        }
        if payload.len() != 8 {
            return Err(Connection(E::FrameSize, "PING has not eight bytes"));
        }
        if header.has(flag::ACK) {
            self.ping_answered = true;
            return Ok(());
        }
        self.guard.count(Flood::Ping, self.now_ms)?;
        super::frame::write(&mut self.out.bytes, kind::PING, flag::ACK, 0, payload);
        self.count_answer(super::frame::HEADER + payload.len())
    }

    /// Answers that wait to be read are bounded, since a peer asks for them at no cost.
    fn count_answer(&mut self, length: usize) -> Result<(), Wrong> {
        self.unread += length;
        if self.unread > MOST_UNREAD { Err(Flood::Unread.into()) } else { Ok(()) }
    }

    fn peer_goes_away(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Wrong> {
        if header.stream != 0 {
            return Err(Connection(E::Protocol, "GOAWAY on a stream"));
        }
        let [a, b, c, d, _, _, _, _, ..] = *payload else {
            return Err(Connection(E::FrameSize, "GOAWAY is too short"));
        };
        self.going_away = true;
        if self.role == Role::Client {
            let last = u32::from_be_bytes([a, b, c, d]) & super::frame::MAX_STREAM;
            let above: Vec<u32> = self.streams.keys().copied().filter(|stream| *stream > last).collect();
            for stream in above {
                self.end(stream, End::Unprocessed);
            }
        }
        Ok(())
    }

    fn window_update(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Wrong> {
        let [a, b, c, d] = *payload else {
            return Err(Connection(E::FrameSize, "WINDOW_UPDATE has not four bytes"));
        };
        let stream = header.stream;
        let increment = i64::from(u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff);
        if stream != 0 && self.is_idle(stream) {
            return Err(Connection(E::Protocol, "WINDOW_UPDATE on an idle stream"));
        }
        if increment > 0 {
            self.guard.count(Flood::WindowUpdate, self.now_ms)?;
        }
        match (stream, increment) {
            (0, 0) => return Err(Connection(E::Protocol, "WINDOW_UPDATE of nothing")),
            (_, 0) => return Err(Stream(stream, E::Protocol, "WINDOW_UPDATE of nothing")),
            (0, _) => {
                self.send_window += increment;
                if self.send_window > MAX_WINDOW {
                    return Err(Connection(E::FlowControl, "the connection's window is above 2^31-1"));
                }
                self.wake_waiting(usize::MAX);
            }
            _ => {
                let Some(state) = self.streams.get_mut(&stream) else { return Ok(()) };
                state.send_window += increment;
                if state.send_window > MAX_WINDOW {
                    return Err(Stream(stream, E::FlowControl, "a stream's window is above 2^31-1"));
                }
                state.wake();
            }
        }
        Ok(())
    }
}

/// What Content-Length promises of the DATA to come; `ended`: none may come, or it is no body.
fn expected(body: Framing, ended: bool) -> Option<u64> {
    match body {
        _ if ended => None,
        Framing::Length(length) => Some(length),
        Framing::Empty => Some(0),
        Framing::Chunked | Framing::Close => None,
    }
}

fn depends_on(priority: &[u8]) -> u32 {
    match *priority {
        [a, b, c, d, ..] => u32::from_be_bytes([a, b, c, d]) & super::frame::MAX_STREAM,
        _ => 0,
    }
}

fn take_data(stream: u32, state: &mut State, length: i64, data: &[u8], ended: bool) -> Result<(), Wrong> {
    if state.received {
        return Err(Stream(stream, E::StreamClosed, "DATA after the end of the stream"));
    }
    if !state.has_head {
        return Err(Stream(stream, E::Protocol, "DATA before the head"));
    }
    state.window -= length;
    if state.window < 0 {
        return Err(Stream(stream, E::FlowControl, "DATA beyond the stream's window"));
    }
    if let Some(left) = &mut state.expected {
        match left.checked_sub(data.len() as u64) {
            Some(rest) => *left = rest,
            None => return Err(Stream(stream, E::Protocol, "the body is longer than Content-Length")),
        }
        if ended && *left > 0 {
            return Err(Stream(stream, E::Protocol, "the body is shorter than Content-Length"));
        }
    }
    state.bytes_in += length as u64 + super::frame::HEADER as u64;
    state.inbound.put(data);
    state.received = ended;
    state.wake();
    Ok(())
}
