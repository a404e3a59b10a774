//! Messages in the frames of the peer: header blocks and bodies (RFC 9113 section 8.1).

use super::fields::{Reader, Section};
use super::flood::{Flood, TINY};
use super::frame::{ErrorCode, FrameHeader, Rest, Role, flag, without_padding};
use super::receive::{Wrong, depends_on};
use super::session::{Event, Session};
use super::state::{End, State};
use crate::wire::body::Framing;
use crate::wire::head::Head;
use crate::wire::rules::{ParseHeadError, RequestFraming, ResponseFraming};

use ErrorCode as E;
use Wrong::{Connection, Stream};

/// CONTINUATION frames of one header block.
const MOST_CONTINUATIONS: u32 = 64;

/// Heads of one response that may wait to be taken.
const MOST_HEADS: usize = 64;

/// A header block may be this many times as long as the limit of a head, so that too long a head can still be answered.
const BLOCK_FACTOR: usize = 4;

/// A header block whose end has not come.
#[derive(Debug)]
pub struct Block {
    pub stream: u32,
    rest: Rest,
    bytes: Vec<u8>,
    continuations: u32,
}

impl Session {
    pub(super) fn body(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Wrong> {
        if header.stream == 0 {
            return Err(Connection(E::Protocol, "DATA on stream 0"));
        }
        let Some(content) = without_padding(header, payload) else {
            return Err(Connection(E::Protocol, "the padding is longer than the frame"));
        };
        if self.is_idle(header.stream) {
            return Err(Connection(E::Protocol, "DATA on an idle stream"));
        }
        let (rest, length) = (header.rest(), header.length as i64);
        if content.is_empty() && rest == Rest::More {
            self.guard.count(Flood::EmptyData, self.now_ms)?;
        } else if content.len() < TINY && rest == Rest::More {
            self.guard.count(Flood::SmallData, self.now_ms)?;
        }
        self.window -= length;
        if self.window < 0 {
            return Err(Connection(E::FlowControl, "DATA beyond the connection's window"));
        }
        let stream = header.stream;
        let outcome = match self.streams.get_mut(&stream) {
            Some(state) if !state.closed => take_body(stream, state, length, content, rest),
            _ => Err(Stream(stream, E::StreamClosed, "DATA on a closed stream")),
        };
        let kept = if outcome.is_ok() { content.len() } else { 0 };
        self.give_back_to_connection(header.length - kept);
        if outcome.is_ok() && header.length > kept {
            // Padding takes part in the stream's window too.
            self.return_padding(stream, header.length - kept);
        }
        match outcome {
            // Frames that were under way when we reset the stream.
            Err(Stream(_, E::StreamClosed, _)) if self.remembers(stream) == Some(true) => Ok(()),
            Ok(()) if rest == Rest::Nothing => {
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

    pub(super) fn headers(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Wrong> {
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
        let block = Block { stream: header.stream, rest: header.rest(), bytes: Vec::new(), continuations: 0 };
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

    pub(super) fn continuation(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Wrong> {
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
                    let outcome = reader.finish_response(method, block.rest);
                    self.response(block, outcome, head)
                }
            };
        }
        if self.role == Role::Client && !stream.is_multiple_of(2) && !self.is_idle(stream) {
            // On its way when the stream was reset here (RFC 9113 section 5.1).
            self.spare.push(head);
            return Ok(());
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
        let outcome = reader.finish_request(block.rest);
        self.request(block, outcome, head, bytes.len())
    }

    /// A new stream of the client.
    fn request(
        &mut self,
        block: &Block,
        framing: Result<RequestFraming, ParseHeadError>,
        head: Head,
        size: usize,
    ) -> Result<(), Wrong> {
        let stream = block.stream;
        self.highest = stream;
        if stream > self.last_taken {
            // It came after our GOAWAY, which says so; more of it may follow.
            self.remember(stream, Some(End::Ours(E::RefusedStream, "")));
            return Ok(());
        }
        // Streams that were reset but whose servers are still being told count, up to as many again.
        if self.open >= self.limits.streams || self.streams.len() >= 2 * self.limits.streams as usize {
            self.spare.push(head);
            self.remember(stream, Some(End::Ours(E::RefusedStream, "")));
            return Err(Stream(stream, E::RefusedStream, "more streams at once than MAX_CONCURRENT_STREAMS"));
        }
        let mut state = State::new(self.limits.stream_window.into(), self.peer.initial_window.into());
        state.has_head = true;
        state.received = block.rest == Rest::Nothing;
        state.bytes_in = (size + super::frame::HEADER) as u64;
        if let Ok(framing) = &framing
            && !framing.upgrade
            && !state.received
        {
            state.expected = expected(framing.body);
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
        framing: Result<ResponseFraming, ParseHeadError>,
        head: Head,
    ) -> Result<(), Wrong> {
        let Some(state) = self.streams.get_mut(&block.stream) else { return Ok(()) };
        let framing = match framing {
            Ok(framing) => framing,
            Err(ParseHeadError::Malformed(detail)) => return Err(Stream(block.stream, E::Protocol, detail)),
            Err(_) => return Err(Stream(block.stream, E::Protocol, "the response's head is too large")),
        };
        if state.heads.len() >= MOST_HEADS {
            return Err(Stream(block.stream, E::EnhanceYourCalm, "informational heads without end"));
        }
        if head.status >= 200 {
            state.has_head = true;
            state.received = block.rest == Rest::Nothing;
            state.expected = if state.received { None } else { expected(framing.body) };
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
        if block.rest == Rest::More {
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
}

/// What Content-Length promises of the DATA to come.
fn expected(body: Framing) -> Option<u64> {
    match body {
        Framing::Length(length) => Some(length),
        Framing::Empty => Some(0),
        Framing::Chunked | Framing::Close => None,
    }
}

fn take_body(stream: u32, state: &mut State, length: i64, content: &[u8], rest: Rest) -> Result<(), Wrong> {
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
        match left.checked_sub(content.len() as u64) {
            Some(lacking) => *left = lacking,
            None => return Err(Stream(stream, E::Protocol, "the body is longer than Content-Length")),
        }
        if rest == Rest::Nothing && *left > 0 {
            return Err(Stream(stream, E::Protocol, "the body is shorter than Content-Length"));
        }
    }
    state.bytes_in += length as u64 + super::frame::HEADER as u64;
    state.inbound.put(content);
    state.received = rest == Rest::Nothing;
    state.wake();
    Ok(())
}
