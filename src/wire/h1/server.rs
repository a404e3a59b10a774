//! A connection from a client: requests come in, responses go out.

use std::io;
use std::ops::{Deref, DerefMut};
use std::task::{Context, Poll, ready};

use super::connection::Connection;
use super::parse::find_end;
use super::request;
use crate::net::Stream;
use crate::wire::body::Framing;
use crate::wire::head::{Head, Known, Method, Version};
use crate::wire::rules::{LONGEST_METHOD, Limits, ParseHeadError, RequestFraming, ResponsePlan};

/// Why no request could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadHeadError {
    #[error("connection failed in a head: {0}")]
    Io(#[from] io::Error),
    #[error("connection ended inside a head")]
    Truncated,
    #[error(transparent)]
    Parse(#[from] ParseHeadError),
}

/// A client's connection.
#[derive(Debug)]
pub struct ServerConnection {
    connection: Connection,
    scanned: usize,
    /// The request being served, for the rules of its response.
    pub request: RequestFraming,
    /// The client said with it that it sends no other, whatever was decided here since.
    is_last: bool,
    version: Version,
    method: Method,
    /// The last response head said that the connection stays open.
    stays: bool,
}

impl ServerConnection {
    /// In a box: it lives as long as its connection, and is handed on once in a while.
    pub fn boxed(stream: Stream) -> Box<Self> {
        Box::new(Self {
            connection: Connection::new(stream),
            scanned: 0,
            request: RequestFraming::default(),
            is_last: false,
            version: Version::Http11,
            method: Method::Get,
            stays: false,
        })
    }

    /// Whether any byte of a next request is there.
    pub fn has_begun(&self) -> bool {
        !self.inbound.is_empty()
    }

    /// Whether the client said with its request that it sends no other, or has ended its direction, and all that it sent was
    /// read. Never below TLS, where the end of a session is still to be told.
    pub fn has_heard_all(&self) -> bool {
        let is_last = self.ended || self.is_last;
        let is_plain = matches!(self.stream, Stream::Plain(_));
        is_last && is_plain && self.is_body_done() && self.inbound.is_empty()
    }

    /// Waits for a byte of a next request; `false` is the end of the connection.
    pub fn poll_begun(&mut self, cx: &mut Context<'_>, limits: Limits) -> Poll<io::Result<bool>> {
        if !self.has_begun() && !self.ended {
            ready!(self.connection.poll_fill(cx, limits.head + 1))?;
        }
        Poll::Ready(Ok(self.has_begun()))
    }

    /// Reads the next head. `false` is the end of the connection between two requests.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        limits: Limits,
        head: &mut Head,
    ) -> Poll<Result<bool, ReadHeadError>> {
        loop {
            self.skip_empty_lines();
            if self.scanned == 0 && self.has_begun() {
                let bytes = self.connection.inbound.bytes();
                if let Some((framing, end)) = request::parse_usual(bytes, limits, head) {
                    return Poll::Ready(Ok(self.take_head(head, framing, end)));
                }
            }
            let end = match find_end(self.connection.inbound.bytes(), &mut self.scanned) {
                Ok(end) => end,
                Err(error) => return Poll::Ready(Err(error.into())),
            };
            if let Some(end) = end {
                if end > limits.head {
                    return Poll::Ready(Err(ParseHeadError::TooLarge.into()));
                }
                let framing = request::parse(&self.inbound.bytes()[..end], limits, head)?;
                return Poll::Ready(Ok(self.take_head(head, framing, end)));
            }
            self.check_unfinished(limits)?;
            if self.ended {
                let begun = self.has_begun();
                return Poll::Ready(if begun { Err(ReadHeadError::Truncated) } else { Ok(false) });
            }
            ready!(self.connection.poll_fill(cx, limits.head + 1))?;
        }
    }

    fn take_head(&mut self, head: &Head, framing: RequestFraming, end: usize) -> bool {
        self.inbound.consume(end);
        self.scanned = 0;
        (self.request, self.version, self.method) = (framing, head.version, head.method());
        self.is_last = !framing.keep_alive;
        true
    }

    /// Begins to read the body of the request whose head was read. A limit of `u64::MAX` is none.
    pub fn begin_request_body(&mut self, limit: u64) {
        let framing = self.request.body;
        self.connection.begin_incoming(framing, limit);
    }

    /// Puts a response head into the outbound bytes.
    pub fn write_head(&mut self, head: &Head, plan: ResponsePlan) {
        self.write_status_line(head);
        self.outbound.push_fields(head);
        match plan.body {
            Framing::Length(length) => self.write_length(length),
            Framing::Chunked => self.outbound.push_field("Transfer-Encoding", b"chunked"),
            Framing::Empty => plan.named_length.into_iter().for_each(|length| self.write_length(length)),
            Framing::Close => {}
        }
        match (plan.keep_alive, self.version) {
            (false, _) => self.outbound.push_field("Connection", b"close"),
            (true, Version::Http10) => self.outbound.push_field("Connection", b"keep-alive"),
            (true, _) => {}
        }
        self.outbound.push(b"\r\n");
        self.stays = plan.keep_alive;
        let body = if self.method == Method::Head { Framing::Empty } else { plan.body };
        self.outbound.begin_body(body);
    }

    /// Puts an informational head (1xx) into the outbound bytes; HTTP/1.0 knows none (RFC 9110 section 15.2).
    pub fn write_informational(&mut self, head: &Head) {
        if self.version == Version::Http10 {
            return;
        }
        self.write_status_line(head);
        self.outbound.push_fields(head);
        self.outbound.push(b"\r\n");
    }

    /// Puts the 101 that agrees to another protocol into the outbound bytes.
    pub fn write_switch(&mut self, head: &Head, protocol: &[u8]) {
        self.write_status_line(head);
        self.outbound.push_fields(head);
        self.outbound.push_field("Connection", b"Upgrade");
        self.outbound.push_field(Known::Upgrade.name(), protocol);
        self.outbound.push(b"\r\n");
    }

    /// Whether the last response head said that the connection stays open.
    pub fn keeps_alive(&self) -> bool {
        self.stays
    }

    /// Whether the client understands a chunked body.
    pub fn takes_chunked(&self) -> bool {
        self.version >= Version::Http11
    }

    pub fn into_connection(self) -> Connection {
        self.connection
    }

    fn write_status_line(&mut self, head: &Head) {
        let mut digits = itoa::Buffer::new();
        let status = digits.format(head.status).as_bytes();
        self.outbound.push_all(&[b"HTTP/1.1 ", status, b" ", head.reason(), b"\r\n"]);
    }

    fn write_length(&mut self, length: u64) {
        let mut digits = itoa::Buffer::new();
        self.outbound.push_field("Content-Length", digits.format(length).as_bytes());
    }

    /// Empty lines before a request are passed over (RFC 9112 section 2.2); they count against the head's limit.
    fn skip_empty_lines(&mut self) {
        while self.inbound.bytes().starts_with(b"\r\n") {
            self.inbound.consume(2);
            self.scanned = 0;
        }
    }

    /// Refuses what can no longer become a head within its limits.
    fn check_unfinished(&self, limits: Limits) -> Result<(), ParseHeadError> {
        let bytes = self.inbound.bytes();
        let in_first_line = memchr::memchr(b'\n', bytes).is_none();
        // A method, the version, two spaces and CR stand around the target.
        if in_first_line && bytes.len() > limits.target + LONGEST_METHOD + 11 {
            return Err(ParseHeadError::TargetTooLong);
        }
        if bytes.len() > limits.head {
            return Err(ParseHeadError::TooLarge);
        }
        // Not a byte of HTTP: say so now and not at the deadline. A TLS hello begins with 0x16.
        match bytes.first() {
            Some(first) if !first.is_ascii_graphic() && *first != b'\r' => {
                Err(ParseHeadError::Malformed("the first byte cannot begin a request"))
            }
            _ => Ok(()),
        }
    }
}

impl Deref for ServerConnection {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for ServerConnection {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    use super::*;
    use crate::net::Transport;

    const LIMITS: Limits = Limits { head: 1024, fields: 10, target: 64 };

    #[tokio::test]
    async fn only_the_client_says_that_nothing_more_comes() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut client = ServerConnection::boxed(Stream::Plain(Transport::from(ours)));
        for (field, is_last) in [("X: y", false), ("Connection: close", true)] {
            theirs
                .write_all(format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n").as_bytes())
                .await
                .unwrap();
            let mut head = Head::new();
            assert!(poll_fn(|cx| client.poll_head(cx, LIMITS, &mut head)).await.unwrap());
            client.begin_request_body(0);
            // As for an answer behind which Lintel closes, whatever the client had in mind.
            client.request.keep_alive = false;
            assert_eq!(client.has_heard_all(), is_last, "{field}");
        }
    }
}
