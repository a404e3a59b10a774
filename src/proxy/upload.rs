//! A request's body on its way to the server, while the answer is awaited or already flowing.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::net::Deadline;
use crate::observe::Fault;
use crate::wire::body::{Piece, ReadBodyError};
use crate::wire::grpc::web::Malformed;
use crate::wire::{Downstream, Upstream};

use super::allowance::Allowance;
use super::call::TextBody;
use super::fault::Failure;
use super::forward;

/// Bodies up to this size can be sent a second time.
pub const REPLAYABLE: usize = 64 * 1024;

const TOO_SLOW: &str = "the client sent the body slower than `body_rate`";

/// The body of one exchange over all its attempts.
#[derive(Debug)]
pub struct Upload {
    state: State,
    /// What was sent so far, while it is short enough to be sent again; `None` when it cannot be.
    replay: Option<Vec<u8>>,
    /// Bytes of `replay` that the current server has.
    replayed: usize,
    /// Body bytes that came from the client.
    pub received: u64,
    deadline: Deadline,
    waits_for: WaitsFor,
    client: Allowance,
    server_idle: Duration,
    /// The body is base64 of gRPC-Web.
    text: Option<Box<TextBody>>,
    is_empty: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Sending,
    /// All is handed over; bytes may wait in the server's connection.
    Flushing,
    Done,
    /// The server takes no more; its answer may still come.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WaitsFor {
    Nothing,
    Client,
    Server,
}

impl Upload {
    /// A body that is sent once; how long either side may make it wait.
    pub fn new(client: Allowance, server_idle: Duration) -> Self {
        Self {
            state: State::Sending,
            replay: None,
            replayed: 0,
            received: 0,
            deadline: Deadline::new(),
            waits_for: WaitsFor::Nothing,
            client,
            server_idle,
            text: None,
            is_empty: false,
        }
    }

    /// No body: what the client sends belongs to the tunnel that it asks for.
    pub fn empty(server_idle: Duration) -> Self {
        Self {
            is_empty: true,
            state: State::Flushing,
            ..Self::new(Allowance::new(server_idle, None), server_idle)
        }
    }

    /// Keeps what is sent, so that it can be sent a second time; not what is decoded on its way.
    pub fn kept(mut self) -> Self {
        self.replay = self.text.is_none().then(Vec::new);
        self
    }

    /// Decodes the body on its way, if it has to be.
    pub fn decoded(mut self, text: Option<Box<TextBody>>) -> Self {
        self.text = text;
        if self.text.is_some() {
            self.replay = None;
        }
        self
    }

    /// The answer has begun: from here on the client may take its time, since what it sends may be one side of a talk.
    pub fn answered(&mut self) {
        self.client.forget_rate();
        // A deadline that was drawn in by the rate is not that of a silence.
        self.waits_for = WaitsFor::Nothing;
    }

    /// Begins anew with another server.
    pub fn restart(&mut self) {
        self.state = if self.is_empty { State::Flushing } else { State::Sending };
        self.replayed = 0;
        self.waits_for = WaitsFor::Nothing;
        // What comes in between is not the client's time.
        self.client.pass_over();
    }

    /// Whether the whole body so far can be sent again.
    pub fn is_replayable(&self) -> bool {
        self.replay.is_some() || self.received == 0
    }

    /// Nothing is left to do for it.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Done | State::Refused)
    }

    /// The server has all of it.
    pub fn is_complete(&self) -> bool {
        self.state == State::Done
    }

    /// Moves bytes as far as they go; ready when nothing is left to do, or when the client failed.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Downstream<'_>,
        server: &mut Upstream,
    ) -> Poll<Result<(), Failure>> {
        loop {
            match self.state {
                State::Done | State::Refused => return Poll::Ready(Ok(())),
                State::Flushing => match server.poll_flush(cx) {
                    Poll::Ready(Ok(())) => self.state = State::Done,
                    Poll::Ready(Err(_)) => self.state = State::Refused,
                    Poll::Pending => return self.wait(cx, WaitsFor::Server),
                },
                State::Sending if self.has_replay_left() => match self.poll_replay(cx, server) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => self.state = State::Refused,
                    Poll::Pending => return self.wait(cx, WaitsFor::Server),
                },
                State::Sending if self.has_decoded_left() => match self.poll_decoded(cx, server) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => self.state = State::Refused,
                    Poll::Pending => return self.wait(cx, WaitsFor::Server),
                },
                State::Sending => match client.poll_body(cx) {
                    Poll::Ready(Ok(Piece::Bytes)) if self.text.is_some() => self.decode(client)?,
                    Poll::Ready(Ok(Piece::End)) if self.ends_inside_text() => {
                        return Poll::Ready(Err(no_text()));
                    }
                    Poll::Ready(Ok(Piece::Bytes)) => match self.poll_forward(cx, client, server) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(_)) => self.state = State::Refused,
                        Poll::Pending => return self.wait(cx, WaitsFor::Server),
                    },
                    Poll::Ready(Ok(Piece::End)) => {
                        let trailers = client.trailers().map(forward::late_fields);
                        server.finish_body(trailers.as_ref());
                        self.state = State::Flushing;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(explain(error))),
                    Poll::Pending => match server.poll_flush(cx) {
                        Poll::Ready(Ok(())) => return self.wait(cx, WaitsFor::Client),
                        Poll::Ready(Err(_)) => self.state = State::Refused,
                        Poll::Pending => return self.wait(cx, WaitsFor::Server),
                    },
                },
            }
        }
    }

    fn has_decoded_left(&self) -> bool {
        self.text.as_ref().is_some_and(|text| !text.waiting().is_empty())
    }

    fn ends_inside_text(&self) -> bool {
        self.text.as_ref().is_some_and(|text| text.finish().is_err())
    }

    fn decode(&mut self, client: &mut Downstream<'_>) -> Result<(), Failure> {
        let Some(text) = &mut self.text else { return Ok(()) };
        text.take(client.piece()).map_err(|_| no_text())?;
        let count = client.piece().len();
        client.take(count);
        self.received += count as u64;
        self.waits_for = WaitsFor::Nothing;
        Ok(())
    }

    fn poll_decoded(&mut self, cx: &mut Context<'_>, server: &mut Upstream) -> Poll<io::Result<()>> {
        let Some(text) = &mut self.text else { return Poll::Ready(Ok(())) };
        let sent = std::task::ready!(server.poll_send(cx, text.waiting()))?;
        text.advance(sent);
        self.waits_for = WaitsFor::Nothing;
        Poll::Ready(Ok(()))
    }

    fn has_replay_left(&self) -> bool {
        self.replay.as_ref().is_some_and(|replay| self.replayed < replay.len())
    }

    fn poll_replay(&mut self, cx: &mut Context<'_>, server: &mut Upstream) -> Poll<io::Result<()>> {
        let replay = self.replay.as_deref().unwrap_or_default();
        let sent = std::task::ready!(server.poll_send(cx, &replay[self.replayed..]))?;
        self.replayed += sent;
        self.waits_for = WaitsFor::Nothing;
        Poll::Ready(Ok(()))
    }

    fn poll_forward(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Downstream<'_>,
        server: &mut Upstream,
    ) -> Poll<io::Result<()>> {
        let piece = client.piece();
        let before = self.replay.as_ref().map_or(0, Vec::len);
        match &mut self.replay {
            Some(replay) if replay.len() + piece.len() <= REPLAYABLE => replay.extend_from_slice(piece),
            replay => *replay = None,
        }
        let sent = match &self.replay {
            Some(_) => client.poll_copy(cx, server),
            None => client.poll_forward(cx, server),
        };
        let count = match &sent {
            Poll::Ready(Ok(count)) => *count,
            _ => 0,
        };
        if let Some(replay) = &mut self.replay {
            replay.truncate(before + count);
            self.replayed = replay.len();
        }
        self.received += count as u64;
        std::task::ready!(sent)?;
        self.waits_for = WaitsFor::Nothing;
        Poll::Ready(Ok(()))
    }

    /// Waits for one side, no longer than that side may take.
    fn wait(&mut self, cx: &mut Context<'_>, side: WaitsFor) -> Poll<Result<(), Failure>> {
        if self.waits_for != side {
            self.waits_for = side;
            let now = Instant::now();
            self.deadline.set(if side == WaitsFor::Client {
                self.client.wait(self.received, now)
            } else {
                self.client.rest(now);
                now + self.server_idle
            });
        }
        match self.deadline.poll_passed(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) if side == WaitsFor::Client => Poll::Ready(Err(Failure::new(
                Fault::BodyTimeout,
                if self.client.is_short() { TOO_SLOW } else { "the client sent no more of the body in time" },
            ))),
            Poll::Ready(()) => Poll::Ready(Err(Failure::new(
                Fault::ResponseTimeout,
                "the server took no more of the body in time",
            ))),
        }
    }
}

fn no_text() -> Failure {
    Failure::new(Fault::BadRequest, Malformed)
}

/// What is wrong with a request's body.
pub fn explain(error: ReadBodyError) -> Failure {
    match error {
        ReadBodyError::Malformed(_) => Failure::new(Fault::BadRequest, error),
        ReadBodyError::TooLarge => Failure::new(Fault::BodyTooLarge, error),
        ReadBodyError::Io(_) | ReadBodyError::Truncated => Failure::new(Fault::ClientGone, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_decoded_is_never_taken_for_something_that_can_be_sent_again() {
        let idle = Duration::from_secs(1);
        let client = Allowance::new(idle, None);
        let text = || Some(Box::<TextBody>::default());
        for upload in [
            Upload::new(client, idle).decoded(text()).kept(),
            Upload::new(client, idle).kept().decoded(text()),
        ] {
            assert!(upload.is_replayable(), "nothing was sent yet");
            assert!(!Upload { received: 1, ..upload }.is_replayable());
        }
        assert!(Upload { received: 1, ..Upload::new(client, idle).kept() }.is_replayable());
    }
}
