//! What each frame of the peer means for the session (RFC 9113 sections 5 and 6).
//!
//! Every mistake ends in the stream error or connection error that the RFC names for it.

use super::flood::Flood;
use super::frame::{ErrorCode, FrameHeader, MAX_PAYLOAD, MAX_WINDOW, Role, flag, kind};
use super::session::{Closed, Event, Session};
use super::state::End;

use ErrorCode as E;
use Wrong::{Connection, Stream};

/// Bytes of answers to PING and SETTINGS that may wait to be written.
const MOST_UNREAD: usize = 64 * 1024;

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
        // It may not grow (RFC 9113 section 6.8).
        self.go_away(self.highest.min(self.last_taken), code, detail);
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
            kind::BODY => self.body(header, payload),
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
    pub(super) fn is_idle(&self, stream: u32) -> bool {
        let by_peer = (stream % 2 == 1) == (self.role == Role::Server);
        if by_peer { stream > self.highest } else { stream >= self.next_own() }
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
        let sender = if self.role == Role::Server { Role::Client } else { Role::Server };
        self.peer.apply(payload, sender).map_err(|(code, detail)| Connection(code, detail))?;
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

/// The stream that a priority names.
pub(super) fn depends_on(priority: &[u8]) -> u32 {
    match *priority {
        [a, b, c, d, ..] => u32::from_be_bytes([a, b, c, d]) & super::frame::MAX_STREAM,
        _ => 0,
    }
}
