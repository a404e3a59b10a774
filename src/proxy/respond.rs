//! An answer on its way to the client: its head once, then its body piece by piece.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::allowance::Allowance;
use super::call::WebBody;
use super::fault::Failure;
use super::upload::Upload;
use crate::net::Deadline;
use crate::observe::Fault;
use crate::reply::Reply;
use crate::wire::body::{Framing, Piece, ReadBodyError};
use crate::wire::h1::ServerConnection;
use crate::wire::head::{Head, Known, Method};
use crate::wire::rules::ResponsePlan;
use crate::wire::{Downstream, Upstream};

/// Bytes of an unread request body that are read and dropped before a connection is closed, and for how long.
const DRAINED: u64 = 16 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(3);

/// How a response goes to this client. A body that ends with the connection takes the connection with it.
pub fn plan(client: &Downstream<'_>, head: &Head, framing: Framing, method: Method) -> ResponsePlan {
    let bodyless = method == Method::Head || head.status == 204 || head.status == 304;
    let named_length = match framing {
        Framing::Length(length) => Some(length),
        // A stream of HTTP/2 ended with its head, which HTTP/1 has no other way to say.
        Framing::Empty if !bodyless && !client.is_http2() => Some(0),
        _ => head.get(Known::ContentLength).and_then(|value| std::str::from_utf8(value).ok()?.parse().ok()),
    };
    let body = match framing {
        _ if bodyless => Framing::Empty,
        Framing::Chunked | Framing::Close if client.takes_chunked() => Framing::Chunked,
        Framing::Chunked | Framing::Close => Framing::Close,
        framing => framing,
    };
    ResponsePlan {
        body,
        keep_alive: body != Framing::Close,
        named_length: if head.status == 204 { None } else { named_length },
    }
}

/// How a reply of Lintel's own is sent.
pub struct Manner<'a> {
    pub date: &'a [u8],
    /// Empty when there was no request.
    pub request_id: &'a str,
    pub keep_alive: bool,
    /// For the client to take any byte.
    pub write_idle: Duration,
}

/// Sends a reply of Lintel's own; says how many bytes its body had.
pub async fn send_reply(
    client: &mut Downstream<'_>,
    reply: &Reply,
    manner: &Manner<'_>,
) -> Result<u64, Failure> {
    let keep_alive = manner.keep_alive;
    let mut head = reply.head.clone();
    head.set_known(Known::Date, manner.date);
    if !manner.request_id.is_empty() {
        head.set_known(Known::XRequestId, manner.request_id.as_bytes());
    }
    let length = reply.body.len() as u64;
    let body = if length == 0 || head.status == 204 { Framing::Empty } else { Framing::Length(length) };
    // A stream's end says that there is no body, and gRPC's answers without one name no length.
    let named_length = (head.status != 204 && !(client.is_http2() && length == 0)).then_some(length);
    client.write_head(&head, ResponsePlan { body, keep_alive, named_length });
    let mut sent = 0;
    let mut deadline = Deadline::new();
    deadline.after(manner.write_idle);
    poll_fn(|cx| {
        while sent < reply.body.len() && body != Framing::Empty {
            match client.poll_send(cx, &reply.body[sent..]) {
                Poll::Ready(Ok(count)) => sent += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::new(Fault::ClientGone, error))),
                Poll::Pending => return poll_stalled(cx, &mut deadline),
            }
        }
        client.finish_body(None);
        Poll::Ready(Ok(()))
    })
    .await?;
    flush(client, manner.write_idle).await?;
    Ok(sent as u64)
}

/// Writes what waits for the client, which may not be silent for longer than `write_idle`.
pub async fn flush(client: &mut Downstream<'_>, write_idle: Duration) -> Result<(), Failure> {
    let mut deadline = Deadline::new();
    poll_fn(|cx| match client.poll_flush(cx) {
        Poll::Ready(outcome) => Poll::Ready(outcome.map_err(|error| Failure::new(Fault::ClientGone, error))),
        Poll::Pending => {
            // Most clients take everything at once, and no clock is read for them.
            if !deadline.is_set() {
                deadline.after(write_idle);
            }
            poll_stalled(cx, &mut deadline)
        }
    })
    .await
}

fn poll_stalled(cx: &mut Context<'_>, deadline: &mut Deadline) -> Poll<Result<(), Failure>> {
    deadline
        .poll_passed(cx)
        .map(|()| Err(Failure::new(Fault::WriteTimeout, "the client took no byte in time")))
}

/// Takes what is already there of an unread request body; true when that was all of it.
pub async fn take_rest(client: &mut Downstream<'_>) -> bool {
    poll_fn(|cx| {
        loop {
            match client.poll_body(cx) {
                Poll::Ready(Ok(Piece::Bytes)) => {
                    client.drop_piece();
                }
                Poll::Ready(Ok(Piece::End)) => return Poll::Ready(true),
                _ => return Poll::Ready(false),
            }
        }
    })
    .await
}

/// Ends a connection so that the client can read our last bytes: a reset would take them away.
pub async fn linger(client: &mut ServerConnection) {
    let mut deadline = Deadline::new();
    deadline.after(DRAIN_TIME);
    let mut shut = false;
    poll_fn(|cx| {
        if deadline.poll_passed(cx).is_ready() {
            return Poll::Ready(());
        }
        if !shut {
            match client.poll_shutdown(cx) {
                Poll::Ready(Ok(())) => shut = true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        client.poll_drain(cx, DRAINED)
    })
    .await;
}

/// Deadlines of a response body.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two pieces from the server.
    pub server_idle: Duration,
    /// For the client to take any byte, and all of them.
    pub client: Allowance,
}

/// Moves the body from server to client while the request's body may still be going the other way.
pub struct Download<'a> {
    pub upload: &'a mut Upload,
    /// Body bytes taken for the client.
    pub bytes: u64,
    pub pace: Pace,
    /// First bytes of the body that were looked at before they go on.
    pub held: Vec<u8>,
    pub held_sent: usize,
    deadline: Deadline,
    waits_for: WaitsFor,
    upload_failed: bool,
    /// The body is translated to gRPC-Web.
    pub web: Option<Box<WebBody>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitsFor {
    Nothing,
    Client,
    Server,
}

impl<'a> Download<'a> {
    pub fn new(upload: &'a mut Upload, pace: Pace) -> Self {
        upload.answered();
        Self {
            upload,
            bytes: 0,
            pace,
            held: Vec::new(),
            held_sent: 0,
            deadline: Deadline::new(),
            waits_for: WaitsFor::Nothing,
            upload_failed: false,
            web: None,
        }
    }

    /// Reads up to `most` first bytes of the body into `held`, until `enough` says so or the body ends.
    pub async fn hold(
        &mut self,
        server: &mut Upstream,
        most: usize,
        mut enough: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), Failure> {
        self.deadline.after(self.pace.server_idle);
        poll_fn(|cx| {
            while self.held.len() < most && !enough(&self.held) {
                match server.poll_body(cx) {
                    Poll::Ready(Ok(Piece::Bytes)) => {
                        let count = server.piece().len().min(most - self.held.len());
                        self.held.extend_from_slice(&server.piece()[..count]);
                        server.take(count);
                    }
                    Poll::Ready(Ok(Piece::End)) => break,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(explain(error))),
                    Poll::Pending if self.deadline.poll_passed(cx).is_ready() => {
                        return Poll::Ready(Err(Failure::new(
                            Fault::ServerBodyTimeout,
                            "the body stopped in time",
                        )));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Takes all of it from the server. Its end may still wait for the client: the server is free before the client can
    /// know that it is.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Downstream<'_>,
        server: &mut Upstream,
    ) -> Poll<Result<(), Failure>> {
        self.poll_upload(cx, client, server)?;
        loop {
            if self.held_sent < self.held.len() {
                match client.poll_send(cx, &self.held[self.held_sent..]) {
                    Poll::Ready(Ok(count)) => {
                        self.held_sent += count;
                        self.bytes += count as u64;
                        continue;
                    }
                    Poll::Ready(Err(error)) => return gone(error),
                    Poll::Pending => return self.wait(cx, WaitsFor::Client),
                }
            }
            match server.poll_body(cx) {
                Poll::Ready(Ok(Piece::Bytes)) if self.web.is_some() => self.translate(server),
                Poll::Ready(Ok(Piece::Bytes)) => match server.poll_forward(cx, client) {
                    Poll::Ready(Ok(count)) => {
                        self.bytes += count as u64;
                        self.waits_for = WaitsFor::Nothing;
                    }
                    Poll::Ready(Err(error)) => return gone(error),
                    Poll::Pending => return self.wait(cx, WaitsFor::Client),
                },
                Poll::Ready(Ok(Piece::End)) if self.ends_translation(server) => {}
                Poll::Ready(Ok(Piece::End)) => return Poll::Ready(self.finish(client, server)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(explain(error))),
                Poll::Pending if self.pauses_translation() => {}
                Poll::Pending => {
                    match client.poll_flush(cx) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(error)) => return gone(error),
                        Poll::Pending => return self.wait(cx, WaitsFor::Client),
                    }
                    if (self.upload_failed || self.upload.is_over())
                        && let Poll::Ready(Err(error)) = client.poll_gone(cx)
                    {
                        return gone(error);
                    }
                    return self.wait(cx, WaitsFor::Server);
                }
            }
        }
    }

    /// The request's body goes on while the server still reads it; its failure ends only itself, unless the client is gone.
    fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Downstream<'_>,
        server: &mut Upstream,
    ) -> Result<(), Failure> {
        if self.upload_failed || self.upload.is_over() {
            return Ok(());
        }
        match self.upload.poll(cx, client, server) {
            Poll::Ready(Err(failure)) if failure.fault == Fault::ClientGone => Err(failure),
            Poll::Ready(Err(_)) => {
                self.upload_failed = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes a piece of the server's and holds it as gRPC-Web has it.
    fn translate(&mut self, server: &mut Upstream) {
        (self.held_sent, self.waits_for) = (0, WaitsFor::Nothing);
        self.held.clear();
        if let Some(web) = &mut self.web {
            web.write(server.piece(), &mut self.held);
        }
        let count = server.piece().len();
        server.take(count);
    }

    /// Holds the last frame, once; false when there is nothing more to send.
    fn ends_translation(&mut self, server: &Upstream) -> bool {
        (self.held_sent, self.held) = (0, Vec::new());
        if let Some(web) = &mut self.web {
            web.end(server.trailers(), &mut self.held);
        }
        !self.held.is_empty()
    }

    /// Holds what a silent server leaves unsent; false when that is nothing.
    fn pauses_translation(&mut self) -> bool {
        let Some(web) = &mut self.web else { return false };
        (self.held_sent, self.held) = (0, Vec::new());
        web.pause(&mut self.held);
        !self.held.is_empty()
    }

    fn finish(&mut self, client: &mut Downstream<'_>, server: &Upstream) -> Result<(), Failure> {
        let trailers = if client.takes_chunked() && self.web.is_none() { server.trailers() } else { None };
        if !client.finish_body(trailers) {
            return Err(Failure::new(Fault::ResponseTruncated, "the body is shorter than its length"));
        }
        Ok(())
    }

    fn wait(&mut self, cx: &mut Context<'_>, side: WaitsFor) -> Poll<Result<(), Failure>> {
        if self.waits_for != side {
            self.waits_for = side;
            let now = Instant::now();
            self.deadline.set(if side == WaitsFor::Client {
                self.pace.client.wait(self.bytes, now)
            } else {
                self.pace.client.rest(now);
                now + self.pace.server_idle
            });
        }
        self.deadline.poll_passed(cx).map(|()| {
            Err(match side {
                WaitsFor::Client if self.pace.client.is_short() => {
                    Failure::new(Fault::WriteTimeout, "the client took the answer slower than `body_rate`")
                }
                WaitsFor::Client => Failure::new(Fault::WriteTimeout, "the client took no byte in time"),
                _ => Failure::new(Fault::ServerBodyTimeout, "the server sent no more of the body in time"),
            })
        })
    }
}

fn gone(error: std::io::Error) -> Poll<Result<(), Failure>> {
    Poll::Ready(Err(Failure::new(Fault::ClientGone, error)))
}

fn explain(error: ReadBodyError) -> Failure {
    let fault = match error {
        ReadBodyError::Malformed(_) => Fault::BadResponse,
        _ => Fault::ResponseTruncated,
    };
    Failure::new(fault, error)
}
