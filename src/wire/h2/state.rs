//! What a connection knows of each of its streams (RFC 9113 section 5.1).

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::task::{Context, Waker};

use super::frame::ErrorCode;
use crate::net::Buffer;
use crate::wire::head::{Head, Method};
use crate::wire::rules::ResponseFraming;

/// Why a stream ended before both sides were done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer reset it.
    Peer(ErrorCode),
    /// Lintel reset it, for what the peer did or because nobody wants it any more.
    Ours(ErrorCode, &'static str),
    /// The peer has not looked at it and never will: it can be tried again.
    Unprocessed,
    /// The connection is gone.
    Lost(&'static str),
}

impl End {
    pub fn error(self) -> io::Error {
        let text = match self {
            Self::Peer(code) => format!("stream reset by the other end: {}", code.name()),
            Self::Ours(code, "") => format!("stream reset: {}", code.name()),
            Self::Ours(_, detail) => detail.to_owned(),
            Self::Unprocessed => "the other end did not take the stream".to_owned(),
            Self::Lost(why) => why.to_owned(),
        };
        io::Error::new(io::ErrorKind::ConnectionReset, text)
    }
}

/// One stream.
#[derive(Debug)]
pub struct State {
    /// Body bytes that came and were not yet taken by the handle.
    pub inbound: Buffer,
    /// The peer has ended its direction.
    pub received: bool,
    /// The final head of a response, or the head of a request, has come.
    pub has_head: bool,
    /// What Content-Length says is still to come.
    pub expected: Option<u64>,
    /// Heads of responses that were not yet taken.
    pub heads: VecDeque<(Head, ResponseFraming)>,
    /// Method of the request, for the rules of its response.
    pub method: Method,
    pub trailers: Option<Box<Head>>,
    /// Bytes that the peer may still send.
    pub window: i64,
    /// Bytes taken and not yet given back to the peer's window.
    pub unreturned: u32,
    /// Bytes that may still be sent.
    pub send_window: i64,
    /// Our direction is ended.
    pub sent: bool,
    /// Position of the header of the stream's last frame that could still end it.
    pub last_frame: Option<u64>,
    /// Position behind the stream's last byte.
    pub mark: u64,
    /// Stands in the queue of those that wait for the connection.
    pub waiting: bool,
    pub ended: Option<End>,
    /// Counted as closed already.
    pub closed: bool,
    /// Somebody holds it.
    pub held: bool,
    pub waker: Option<Waker>,
    /// Bytes of the stream's frames, headers included.
    pub bytes_in: u64,
    pub bytes_out: u64,
}

impl State {
    pub fn new(window: i64, send_window: i64) -> Self {
        Self {
            inbound: Buffer::new(),
            received: false,
            has_head: false,
            expected: None,
            heads: VecDeque::new(),
            method: Method::Get,
            trailers: None,
            window,
            unreturned: 0,
            send_window,
            sent: false,
            last_frame: None,
            mark: 0,
            waiting: false,
            ended: None,
            closed: false,
            held: true,
            waker: None,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// Neither side sends any more.
    pub fn is_over(&self) -> bool {
        self.ended.is_some() || (self.received && self.sent)
    }

    /// The task that is told of whatever happens next; one task drives a stream in both directions.
    pub fn watch(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }

    pub fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Streams by number. The numbers are chosen by the peer, but there are few of them at a time.
pub type Streams = HashMap<u32, State, BuildHasherDefault<NumberHasher>>;

/// Spreads stream numbers with one multiplication.
#[derive(Debug, Default)]
pub struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
