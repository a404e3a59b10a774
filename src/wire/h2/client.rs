//! Requests to a server by HTTP/2: many at a time over one connection.

use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::driver::Driver;
use super::fields;
use super::flood::Rates;
use super::frame::{ErrorCode, Rest, Role};
use super::session::{SessionLimits, Shared, gone};
use super::state::End;
use super::stream::Stream;
use crate::net::{self, Deadline};
use crate::wire::body::Framing;
use crate::wire::head::{Head, Known, Method};
use crate::wire::rules::{ParseHeadError, RESPONSE_LIMITS, ReadResponseError, ResponseFraming};

/// Receive windows: the most that a slow client makes Lintel hold of one response, and of a connection's responses.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// A server may do as many of anything as it likes.
const TRUSTED: Rates = Rates { resets: u32::MAX, control: u32::MAX };

/// For a server to take the last bytes of a connection that is over.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// How often a server is asked whether it is still there, while it owes answers and is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liveness {
    pub ping_after: Duration,
    pub ping_timeout: Duration,
}

/// A connection to a server, for whoever opens streams on it.
#[derive(Clone, Debug)]
pub struct ClientSession {
    session: Shared,
}

impl ClientSession {
    /// Begins to speak HTTP/2 on a connection. The driver must be run for anything to happen.
    pub fn new(stream: net::Stream) -> (Self, Driver) {
        let limits = SessionLimits {
            streams: 0,
            stream_window: STREAM_WINDOW,
            connection_window: CONNECTION_WINDOW,
            rates: TRUSTED,
            head: RESPONSE_LIMITS,
        };
        let driver = Driver::new(stream, Role::Client, limits);
        (Self { session: Rc::clone(&driver.session) }, driver)
    }

    /// Another request can be sent, no more than `most` being under way.
    pub fn has_room(&self, most: u32) -> bool {
        let session = self.session.borrow();
        session.takes_more() && session.streams.len() < most.min(session.peer.max_concurrent_streams) as usize
    }

    /// Nothing is under way.
    pub fn is_idle(&self) -> bool {
        !self.session.borrow().has_streams()
    }

    /// New requests are taken, now or when others end.
    pub fn is_usable(&self) -> bool {
        self.session.borrow().takes_more()
    }

    /// Lets the connection end when its last stream has.
    pub fn leave(&self) {
        let mut session = self.session.borrow_mut();
        session.going_away = true;
        session.wake_driver();
    }

    /// A stream for one request.
    pub fn open(&self, scheme: &'static str) -> Option<ClientStream> {
        let number = self.session.borrow_mut().open()?;
        Some(ClientStream {
            stream: Stream::new(number, Rc::clone(&self.session)),
            response: ResponseFraming::default(),
            scheme,
            reused: number > 1,
        })
    }
}

/// Runs a connection to a server until it ends, or has no stream and takes none.
pub async fn run(mut driver: Driver, liveness: Liveness) {
    let (mut deadline, mut closing) = (Deadline::new(), Deadline::new());
    let mut read = 0;
    let mut asked = false;
    std::future::poll_fn(|cx| {
        loop {
            match driver.poll(cx) {
                // A mistake of the server's; its stream has heard of it.
                Poll::Ready(Ok(_)) => continue,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            let mut session = driver.session.borrow_mut();
            if session.closed.is_some() {
                drop(session);
                if !closing.is_set() {
                    closing.after(CLOSE_TIME);
                }
                std::task::ready!(closing.poll_passed(cx));
                driver.lose("the server did not take our last bytes");
                continue;
            }
            if !session.has_streams() && !session.takes_more() {
                session.fail(ErrorCode::NoError, "", None);
                continue;
            }
            if !session.has_streams() {
                deadline.clear();
                asked = false;
            } else if driver.read != read || !deadline.is_set() {
                (read, asked) = (driver.read, false);
                deadline.after(liveness.ping_after);
            }
            std::task::ready!(deadline.poll_passed(cx));
            if asked {
                drop(session);
                driver.lose("the server did not answer a PING");
            } else {
                asked = true;
                session.send_ping();
                deadline.after(liveness.ping_timeout);
            }
        }
    })
    .await;
}

/// One request to a server.
#[derive(Debug)]
pub struct ClientStream {
    stream: Stream,
    pub response: ResponseFraming,
    /// `http` or `https`, for `:scheme`.
    scheme: &'static str,
    /// The connection had served before.
    pub reused: bool,
}

impl ClientStream {
    /// Sends a request head. `upgrade` names the protocol that is asked for, by extended CONNECT.
    pub fn write_head(&mut self, head: &Head, body: Framing, upgrade: Option<&[u8]>) {
        let method = if upgrade.is_some() { Method::Connect } else { head.method() };
        let (number, scheme) = (self.stream.number, self.scheme);
        let mut session = self.stream.session.borrow_mut();
        if let Some(state) = session.streams.get_mut(&number) {
            state.method = method;
        }
        let ends = body == Framing::Empty && upgrade.is_none();
        let rest = if ends { Rest::Nothing } else { Rest::More };
        session.send_headers(number, rest, |encoder, out| {
            fields::write_request(encoder, out, head, scheme, upgrade);
            let length = match body {
                Framing::Length(length) => Some(length),
                Framing::Empty if matches!(method, Method::Post | Method::Put | Method::Patch) => Some(0),
                _ => None,
            };
            if let Some(length) = length {
                let mut digits = itoa::Buffer::new();
                encoder.field(out, b"content-length", digits.format(length).as_bytes());
            }
        });
        drop(session);
        self.stream.begin_outgoing(if upgrade.is_some() { Framing::Close } else { body });
    }

    /// Reads the next head, informational or final.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut Head,
    ) -> Poll<Result<(), ReadResponseError>> {
        let mut session = self.stream.session.borrow_mut();
        let Some(state) = session.streams.get_mut(&self.stream.number) else {
            return Poll::Ready(Err(ReadResponseError::Io(gone())));
        };
        if let Some((next, framing)) = state.heads.pop_front() {
            head.clone_from(&next);
            self.response = framing;
            session.spare.push(next);
            return Poll::Ready(Ok(()));
        }
        match state.ended {
            None => {}
            Some(End::Unprocessed) => {
                return Poll::Ready(Err(ReadResponseError::Unprocessed(End::Unprocessed.error())));
            }
            Some(End::Ours(_, detail)) => return Poll::Ready(Err(ParseHeadError::Malformed(detail).into())),
            Some(end) => return Poll::Ready(Err(ReadResponseError::Io(end.error()))),
        }
        state.watch(cx);
        Poll::Pending
    }

    /// The server understands extended CONNECT (RFC 8441).
    pub fn takes_tunnels(&self) -> bool {
        self.stream.session.borrow().peer.connect_protocol
    }

    /// Whether a 200 to an extended CONNECT opened a tunnel.
    pub fn opens_tunnel(&self, head: &Head) -> bool {
        (200..300).contains(&head.status) && !head.has(Known::ContentLength)
    }

    pub fn into_stream(self) -> Stream {
        self.stream
    }
}

impl Deref for ClientStream {
    type Target = Stream;
    fn deref(&self) -> &Stream {
        &self.stream
    }
}

impl DerefMut for ClientStream {
    fn deref_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Transport;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_takes_no_byte_of_a_connection_that_is_over_holds_it_for_moments() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let (session, driver) = ClientSession::new(net::Stream::Plain(Transport::other(ours)));
        session.leave();
        let liveness =
            Liveness { ping_after: Duration::from_secs(60), ping_timeout: Duration::from_secs(60) };
        tokio::time::timeout(2 * CLOSE_TIME, run(driver, liveness)).await.expect("it ends");
        assert!(!session.is_usable());
    }

    #[tokio::test]
    async fn a_stream_on_which_nothing_was_sent_is_not_reset() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let (session, _driver) = ClientSession::new(net::Stream::Plain(Transport::other(ours)));
        let queued = || session.session.borrow().out.queued();
        let before = queued();
        drop(session.open("http").unwrap());
        assert_eq!(queued(), before);
        let mut stream = session.open("http").unwrap();
        stream.write_head(&Head::new(), Framing::Close, None);
        let asked = queued();
        drop(stream);
        assert!(queued() > asked, "one that was opened is");
    }

    #[tokio::test]
    async fn a_connection_without_a_number_for_another_stream_is_not_used() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let (session, _driver) = ClientSession::new(net::Stream::Plain(Transport::other(ours)));
        session.session.borrow_mut().use_up();
        assert!(session.open("http").is_some(), "the last one");
        assert!(session.open("http").is_none() && !session.is_usable());
    }
}
