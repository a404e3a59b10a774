//! Requests of a client by HTTP/2: each is a stream with a head, a body, and an answer.

use std::ops::{Deref, DerefMut};
use std::task::{Context, Poll};

use super::driver::Driver;
use super::fields;
use super::frame::{ErrorCode, MAX_STREAM, Rest, Role};
use super::session::{Closed, Event, SessionLimits};
use super::state::End;
use super::stream::Stream;
use crate::net;
use crate::wire::body::Framing;
use crate::wire::head::{Head, Method};
use crate::wire::rules::{ParseHeadError, RequestFraming, ResponsePlan};

/// A client's connection.
#[derive(Debug)]
pub struct ServerSession {
    driver: Driver,
}

/// What a client did.
#[derive(Debug)]
pub enum Asked {
    /// A request; a head that is refused comes with why.
    Request { stream: Box<ServerStream>, head: Head, refused: Option<ParseHeadError> },
    /// A mistake that cost a stream. `malformed`: its request's head was none.
    StreamError { code: ErrorCode, detail: &'static str, malformed: bool },
}

impl ServerSession {
    pub fn new(stream: net::Stream, limits: SessionLimits) -> Self {
        Self { driver: Driver::new(stream, Role::Server, limits) }
    }

    /// Waits for the next thing that the client does; reads and writes for all its streams meanwhile.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Asked, Closed>> {
        self.driver.poll(cx).map_ok(|event| match event {
            Event::StreamError { code, detail, malformed } => Asked::StreamError { code, detail, malformed },
            Event::Request { stream, head, framing } => {
                let stream = Stream::new(stream, self.driver.session.clone());
                let refused = framing.err();
                let request =
                    framing.unwrap_or(RequestFraming { keep_alive: true, ..RequestFraming::default() });
                let method = head.method();
                let stream = Box::new(ServerStream { stream, request, method });
                Asked::Request { stream, head, refused }
            }
        })
    }

    /// Whether a request is under way.
    pub fn has_streams(&self) -> bool {
        self.driver.session.borrow().has_streams()
    }

    /// The client said that it will ask for nothing more.
    pub fn is_left(&self) -> bool {
        self.driver.session.borrow().going_away
    }

    /// Gives back the memory of a head.
    pub fn keep(&mut self, mut head: Head) {
        head.clear();
        let mut session = self.driver.session.borrow_mut();
        if session.spare.len() < 4 {
            session.spare.push(head);
        }
    }

    /// Asks the client to send no new requests; those that are under way to here are still served.
    pub fn announce_end(&mut self) {
        let mut session = self.driver.session.borrow_mut();
        session.go_away(MAX_STREAM, ErrorCode::NoError, "");
        session.send_ping();
    }

    /// The client has answered the PING that followed the announcement, so it has read that.
    pub fn has_heard(&self) -> bool {
        self.driver.session.borrow().ping_answered
    }

    /// Takes no new requests.
    pub fn take_no_more(&mut self, code: ErrorCode, detail: &'static str) {
        let mut session = self.driver.session.borrow_mut();
        let last = session.highest;
        session.go_away(last, code, detail);
    }

    /// Ends the connection: GOAWAY is written as far as it goes.
    pub fn close(&mut self, code: ErrorCode, detail: &'static str) {
        self.driver.session.borrow_mut().fail(code, detail, None);
    }
}

impl Deref for ServerSession {
    type Target = Driver;
    fn deref(&self) -> &Driver {
        &self.driver
    }
}

impl DerefMut for ServerSession {
    fn deref_mut(&mut self) -> &mut Driver {
        &mut self.driver
    }
}

/// One request of a client.
#[derive(Debug)]
pub struct ServerStream {
    stream: Stream,
    /// The request being served, for the rules of its response.
    pub request: RequestFraming,
    method: Method,
}

impl ServerStream {
    /// Begins to read the body. A limit of `u64::MAX` is none.
    pub fn begin_request_body(&mut self, limit: u64) {
        self.stream.begin_incoming(limit);
    }

    /// Sends a response head.
    pub fn write_head(&mut self, head: &Head, plan: ResponsePlan) {
        let body = if self.method == Method::Head { Framing::Empty } else { plan.body };
        let length = match plan.body {
            Framing::Length(length) => Some(length),
            Framing::Empty => plan.named_length,
            Framing::Chunked | Framing::Close => None,
        };
        let rest = if body == Framing::Empty { Rest::Nothing } else { Rest::More };
        let mut session = self.stream.session.borrow_mut();
        session.send_headers(self.stream.number, rest, |encoder, out| {
            fields::write_response(encoder, out, head);
            if let Some(length) = length {
                let mut digits = itoa::Buffer::new();
                encoder.field(out, b"content-length", digits.format(length).as_bytes());
            }
        });
        drop(session);
        self.stream.begin_outgoing(body);
    }

    /// Sends an informational head (1xx).
    pub fn write_informational(&mut self, head: &Head) {
        let number = self.stream.number;
        let mut session = self.stream.session.borrow_mut();
        session.send_headers(number, Rest::More, |encoder, out| fields::write_response(encoder, out, head));
        // It cannot end the stream.
        if let Some(state) = session.streams.get_mut(&number) {
            state.last_frame = None;
        }
    }

    /// Agrees to the tunnel that an extended CONNECT asked for (RFC 8441 section 5).
    pub fn write_switch(&mut self, head: &Head) {
        self.write_informational(head);
    }

    /// An error that no answer can follow.
    pub fn is_cut(&self) -> bool {
        self.stream.ended().is_some()
    }

    /// The client has reset it, or is gone.
    pub fn is_given_up(&self) -> bool {
        matches!(self.stream.ended(), Some(End::Peer(_) | End::Lost(_)))
    }

    /// Ends the stream so that the client sees that its response is not whole.
    pub fn abort(&mut self, code: ErrorCode) {
        self.stream.reset(code);
    }

    /// The code that Lintel reset the stream with, if it did.
    pub fn reset_code(&self) -> Option<ErrorCode> {
        match self.stream.ended() {
            Some(End::Ours(code, _)) => Some(code),
            _ => None,
        }
    }

    pub fn into_stream(mut self) -> Stream {
        // What a tunnel carries is no body.
        self.stream.begin_incoming(u64::MAX);
        self.stream
    }
}

impl Deref for ServerStream {
    type Target = Stream;
    fn deref(&self) -> &Stream {
        &self.stream
    }
}

impl DerefMut for ServerStream {
    fn deref_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }
}
