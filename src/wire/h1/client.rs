//! A connection to a server: requests go out, responses come in.

use std::future::{Future, poll_fn};
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};

use super::connection::Connection;
use super::parse::find_end;
use super::response;
use crate::net::Stream;
use crate::wire::body::Framing;
use crate::wire::head::{Head, Known, Method};
use crate::wire::rules::{ParseHeadError, RESPONSE_LIMITS, ReadResponseError, ResponseFraming};
use crate::wire::websocket;

/// A connection to a server.
#[derive(Debug)]
pub struct ClientConnection {
    connection: Connection,
    scanned: usize,
    method: Method,
    pub response: ResponseFraming,
    /// The WebSocket key that was made here, since the client's protocol has none.
    key: Option<String>,
}

impl ClientConnection {
    /// In a box for its life: with every request it moves from the idle ones to an exchange and back.
    pub fn boxed(stream: Stream) -> Box<Self> {
        Box::new(Self {
            connection: Connection::new(stream),
            scanned: 0,
            method: Method::Get,
            response: ResponseFraming::default(),
            key: None,
        })
    }

    /// Puts a request head into the outbound bytes. `upgrade` names the protocol that is asked for.
    pub fn write_head(&mut self, head: &Head, body: Framing, upgrade: Option<&[u8]>) {
        self.method = head.method();
        self.scanned = 0;
        self.outbound.push_all(&[head.method_text().as_bytes(), b" ", head.target(), b" HTTP/1.1\r\n"]);
        self.outbound.push_fields(head);
        match body {
            Framing::Length(length) => self.write_length(length),
            Framing::Chunked => self.outbound.push_field("Transfer-Encoding", b"chunked"),
            // A method that is expected to have a body says that there is none (RFC 9110 section 8.6).
            Framing::Empty if matches!(self.method, Method::Post | Method::Put | Method::Patch) => {
                self.write_length(0)
            }
            Framing::Empty | Framing::Close => {}
        }
        if let Some(protocol) = upgrade {
            self.outbound.push_field("Connection", b"Upgrade");
            self.outbound.push_field("Upgrade", protocol);
            self.write_websocket_key(head, protocol);
        }
        self.outbound.push(b"\r\n");
        self.outbound.begin_body(body);
    }

    /// A WebSocket that came by HTTP/2 has no key, and a server of HTTP/1.1 wants one.
    fn write_websocket_key(&mut self, head: &Head, protocol: &[u8]) {
        if protocol.eq_ignore_ascii_case(b"websocket") && !head.has(Known::SecWebSocketKey) {
            let key = self.key.insert(websocket::new_key());
            self.connection.outbound.push_field(Known::SecWebSocketKey.name(), key.as_bytes());
            if !head.has(Known::SecWebSocketVersion) {
                self.connection.outbound.push_field(Known::SecWebSocketVersion.name(), b"13");
            }
        }
    }

    /// Whether a 101 answers the key that was made here, if one was (RFC 6455 section 4.1).
    pub fn has_accepted(&self, head: &Head) -> bool {
        let Some(key) = &self.key else { return true };
        head.get(Known::SecWebSocketAccept) == Some(websocket::accept(key.as_bytes()).as_bytes())
    }

    /// Reads the next head, informational or final.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut Head,
    ) -> Poll<Result<(), ReadResponseError>> {
        loop {
            let bytes = self.connection.inbound.bytes();
            if self.scanned == 0
                && !bytes.is_empty()
                && let Some((framing, end)) = response::parse_usual(bytes, self.method, head)
            {
                self.take_head(head, framing, end);
                return Poll::Ready(Ok(()));
            }
            if let Some(end) = find_end(bytes, &mut self.scanned)? {
                let framing = response::parse(&self.inbound.bytes()[..end], self.method, head)?;
                self.take_head(head, framing, end);
                return Poll::Ready(Ok(()));
            }
            if self.inbound.len() >= RESPONSE_LIMITS.head {
                return Poll::Ready(Err(ParseHeadError::TooLarge.into()));
            }
            if self.ended {
                let begun = !self.inbound.is_empty();
                return Poll::Ready(Err(if begun {
                    ReadResponseError::Truncated
                } else {
                    ReadResponseError::Ended
                }));
            }
            ready!(self.connection.poll_fill(cx, RESPONSE_LIMITS.head))?;
        }
    }

    fn take_head(&mut self, head: &Head, framing: ResponseFraming, end: usize) {
        self.inbound.consume(end);
        (self.scanned, self.response) = (0, framing);
        let body = if head.status < 200 { Framing::Empty } else { framing.body };
        self.connection.begin_incoming(body, u64::MAX);
    }

    /// Whether an idle connection is still good: open, and silent. Costs no system call while it is.
    pub fn is_reusable(&mut self) -> bool {
        if !self.inbound.is_empty() {
            return false;
        }
        if let Some(is_silent) = self.stream.is_silent() {
            return is_silent;
        }
        // Without the scheduler's budget, whose end would look like silence.
        let probe = tokio::task::unconstrained(poll_fn(|cx| self.connection.poll_fill(cx, 1)));
        let mut cx = Context::from_waker(Waker::noop());
        // An end, an error or a byte that nobody asked for: all make it useless.
        pin!(probe).poll(&mut cx).is_pending()
    }

    /// Whether another request can follow on this connection once this exchange is over.
    pub fn is_clean(&self) -> bool {
        self.response.keep_alive
            && self.is_body_done()
            && self.inbound.is_empty()
            && self.is_flushed()
            && !self.ended
    }

    pub fn into_connection(self) -> Connection {
        self.connection
    }

    fn write_length(&mut self, length: u64) {
        let mut digits = itoa::Buffer::new();
        self.outbound.push_field("Content-Length", digits.format(length).as_bytes());
    }
}

impl Deref for ClientConnection {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for ClientConnection {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}
