//! One try at one server: take or make a connection, send the request, await the head.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::fault::Failure;
use super::forward::prepare_response;
use super::upload::Upload;
use crate::net::{Address, Deadline};
use crate::observe::Fault;
use crate::observe::metrics::RetryReason;
use crate::pool::Lease;
use crate::snapshot::PoolPlan;
use crate::upstream::{ClientTls, ConnectError, connect};
use crate::wire::body::Framing;
use crate::wire::h1::ClientConnection;
use crate::wire::head::Head;
use crate::wire::rules::ReadResponseError;
use crate::wire::{Downstream, Upstream};

use super::engine::{Engine, Heads};

/// More informational heads than this before the final one are no answer.
const MOST_INFORMATIONAL: u32 = 32;

/// What one try came to, short of an answer.
#[derive(Debug)]
pub struct Failed {
    pub failure: Failure,
    pub kind: Kind,
    /// The connection had served before.
    pub reused: bool,
}

impl Failed {
    fn new(failure: Failure, kind: Kind) -> Self {
        Self { failure, kind, reused: false }
    }
}

/// How far a failed try came, for the decision about another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing was sent.
    Connect,
    /// Nothing was sent, and no server is at fault: there was no descriptor or memory for a connection.
    Scarce,
    /// The server says that it did nothing about the request.
    Unprocessed,
    /// The connection ended before an answer.
    Reset,
    /// The connection ended inside the head, or because the server's machine is silent: not for having been idle too long.
    Broken,
    /// No answer in time.
    TimedOut,
    /// The process that was to answer has ended; it may not have begun.
    Ended,
    /// Nonsense: another try would not help, or might do harm.
    Final,
    /// The client's fault.
    Client,
}

impl Kind {
    pub fn retry_reason(self) -> RetryReason {
        match self {
            Self::Connect | Self::Scarce => RetryReason::ConnectFailure,
            Self::TimedOut => RetryReason::Timeout,
            _ => RetryReason::Reset,
        }
    }
}

/// A connection that has answered.
pub struct Answered {
    pub server: Upstream,
    /// The head is a 101 that was asked for.
    pub switched: bool,
    pub reused: bool,
    /// Making the connection; `None` when one was reused.
    pub connect: Option<Duration>,
    /// From the request's last byte to the head.
    pub latency: Duration,
}

/// What is asked of a server.
pub struct Ask<'a> {
    pub engine: &'a Engine,
    pub plan: &'a PoolPlan,
    pub lease: &'a Lease,
    pub body: Framing,
    pub upgrade: Option<&'a [u8]>,
    /// Takes no idle connection.
    pub fresh: bool,
}

/// Sends the request and waits for the head of the answer, which ends up in `heads.response`.
pub async fn run(
    ask: &Ask<'_>,
    client: &mut Downstream<'_>,
    upload: &mut Upload,
    heads: &mut Heads,
) -> Result<Answered, Failed> {
    let started = ask.engine.now();
    let (mut server, reused) = match take(ask, started) {
        Some(taken) => taken,
        // Its future is large, and mostly not needed.
        None => Box::pin(open(ask, started)).await?,
    };
    let connect = (!reused).then(|| ask.engine.now().saturating_duration_since(started));
    server.write_head(&heads.outgoing, ask.body, ask.upgrade);
    heads.deadline.clear();
    let mut exchange = Awaiting {
        engine: ask.engine,
        upload,
        deadline: &mut heads.deadline,
        response: ask.plan.response,
        sent: None,
        informational: 0,
        upgrade: ask.upgrade.is_some(),
    };
    let response = &mut heads.response;
    let state = &ask.lease.server().state;
    let mut dead = pin!(state.is_worker().then(|| state.dead()));
    let outcome = poll_fn(|cx| {
        let polled = exchange.poll(cx, client, &mut server, response);
        // What it had still said is read first.
        if polled.is_pending()
            && let Some(dead) = dead.as_mut().as_pin_mut()
            && dead.poll(cx).is_ready()
        {
            return Poll::Ready(Err(worker_ended()));
        }
        polled
    })
    .await;
    // A shared connection that ends under its requests is its server's failure, however often it had served.
    let reused_alone = reused && !server.is_http2();
    let switched = outcome.map_err(|failed| Failed { reused: reused_alone, ..failed })?;
    let latency = ask.engine.now().saturating_duration_since(exchange.sent.unwrap_or(started));
    Ok(Answered { server, switched, reused, connect, latency })
}

/// A stream of an open connection, or an idle connection; says whether it had served before. A tunnel never goes back, so
/// it does not take a warm connection from those that do.
fn take(ask: &Ask<'_>, now: Instant) -> Option<(Upstream, bool)> {
    let server = ask.lease.server();
    match &ask.plan.http2 {
        _ if ask.upgrade.is_some() => None,
        Some(http2) => {
            let stream = ask.engine.sessions.find(server.id, http2)?;
            let reused = stream.reused;
            Some((Upstream::Http2(Box::new(stream)), reused))
        }
        None if ask.fresh => None,
        None => ask.engine.idle.take(server, now).map(|server| (Upstream::Http1(server), true)),
    }
}

/// A stream, or a new connection. Says whether it had served before.
async fn open(ask: &Ask<'_>, started: Instant) -> Result<(Upstream, bool), Failed> {
    if ask.plan.http2.is_some() {
        return open_stream(ask).await;
    }
    let server = ask.lease.server();
    match connect(&server.endpoint, ask.tls(), ask.plan.connect).await {
        Ok(stream) => {
            server.metrics.connect.observe(ask.engine.now().saturating_duration_since(started));
            Ok((Upstream::Http1(ClientConnection::boxed(stream)), false))
        }
        Err(error) => Err(refused(error)),
    }
}

/// A stream of one of the connections that are shared.
async fn open_stream(ask: &Ask<'_>) -> Result<(Upstream, bool), Failed> {
    let Some(http2) = &ask.plan.http2 else { return Err(Failed::new(Fault::Bug.into(), Kind::Final)) };
    let server = ask.lease.server();
    let stream =
        ask.engine.sessions.open(server, ask.tls(), ask.plan.connect, http2).await.map_err(refused)?;
    if ask.upgrade.is_some() && !stream.takes_tunnels() {
        let detail = "the server does not take WebSockets over HTTP/2 (RFC 8441)";
        return Err(Failed::new(Failure::new(Fault::UpgradeRefused, detail), Kind::Final));
    }
    let reused = stream.reused;
    Ok((Upstream::Http2(Box::new(stream)), reused))
}

fn refused(error: ConnectError) -> Failed {
    let (fault, kind) = match error {
        ConnectError::Refused { .. } => (Fault::ConnectFailed, Kind::Connect),
        ConnectError::Scarce { .. } => (Fault::ConnectFailed, Kind::Scarce),
        ConnectError::Timeout { .. } => (Fault::ConnectTimeout, Kind::Connect),
        ConnectError::Tls { .. } => (Fault::ServerTlsFailed, Kind::Connect),
    };
    Failed::new(Failure::new(fault, error), kind)
}

impl<'a> Ask<'a> {
    fn tls(&self) -> Option<(&'a ClientTls, &'a Address)> {
        self.plan.tls.as_ref().map(|tls| (tls, &self.lease.server().spec.address))
    }
}

/// The time between the request's first byte out and the answer's head.
struct Awaiting<'a> {
    engine: &'a Engine,
    upload: &'a mut Upload,
    deadline: &'a mut Deadline,
    response: Duration,
    /// When the server had all of the request.
    sent: Option<Instant>,
    informational: u32,
    upgrade: bool,
}

impl Awaiting<'_> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Downstream<'_>,
        server: &mut Upstream,
        response: &mut Head,
    ) -> Poll<Result<bool, Failed>> {
        let client_failed = |failure| Poll::Ready(Err(Failed::new(failure, Kind::Client)));
        let uploading = match self.upload.poll(cx, client, server) {
            Poll::Ready(Ok(())) => false,
            // The server may have answered already, 413 for one; that answer is better than ours.
            Poll::Ready(Err(failure)) => match server.poll_head(cx, response) {
                Poll::Ready(Ok(())) if response.status >= 200 => return Poll::Ready(Ok(false)),
                _ if failure.fault == Fault::ResponseTimeout => {
                    return Poll::Ready(Err(Failed::new(failure, Kind::Final)));
                }
                _ => return client_failed(failure),
            },
            Poll::Pending => true,
        };
        if !uploading && self.sent.is_none() {
            self.sent = Some(self.engine.now());
        }
        loop {
            match server.poll_head(cx, response) {
                Poll::Ready(Ok(())) if self.upgrade && server.opens_tunnel(response) => {
                    return Poll::Ready(Ok(true));
                }
                Poll::Ready(Ok(())) if response.status == 101 => return Poll::Ready(Err(unasked_switch())),
                Poll::Ready(Ok(())) if response.status >= 200 => return Poll::Ready(Ok(false)),
                Poll::Ready(Ok(())) => self.relay(client, response)?,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(explain(error))),
                Poll::Pending => break,
            }
        }
        if let Poll::Ready(Err(error)) = client.poll_flush(cx) {
            return client_failed(Failure::new(Fault::ClientGone, error));
        }
        if uploading {
            return Poll::Pending;
        }
        // A client that only ended its own direction still reads; one that is gone has reset the connection.
        if let Poll::Ready(Err(error)) = client.poll_gone(cx) {
            return client_failed(Failure::new(Fault::ClientGone, error));
        }
        if !self.deadline.is_set() {
            self.deadline.set((self.engine.now() + self.response).into());
        }
        match self.deadline.poll_passed_by(cx, self.engine.now()) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                let failure = Failure::new(
                    Fault::ResponseTimeout,
                    format!("no response head within {:?}", self.response),
                );
                Poll::Ready(Err(Failed::new(failure, Kind::TimedOut)))
            }
        }
    }

    fn relay(&mut self, client: &mut Downstream<'_>, response: &mut Head) -> Result<(), Failed> {
        self.informational += 1;
        if self.informational > MOST_INFORMATIONAL {
            let failure =
                Failure::new(Fault::BadResponse, "the server sends informational heads without end");
            return Err(Failed::new(failure, Kind::Final));
        }
        prepare_response(response, Framing::Empty);
        client.write_informational(response);
        Ok(())
    }
}

/// The connection may be one that no process will ever accept.
fn worker_ended() -> Failed {
    Failed::new(Failure::new(Fault::ServerReset, "the worker's process ended"), Kind::Ended)
}

/// A 101 counts only when both sides agree (RFC 9110 section 7.8).
fn unasked_switch() -> Failed {
    let failure = Failure::new(Fault::BadResponse, "the server switched protocols without being asked");
    Failed::new(failure, Kind::Final)
}

fn explain(error: ReadResponseError) -> Failed {
    let (fault, kind) = match &error {
        ReadResponseError::Unprocessed(_) => (Fault::ServerReset, Kind::Unprocessed),
        ReadResponseError::Io(cause) if cause.kind() == io::ErrorKind::TimedOut => {
            (Fault::ServerReset, Kind::Broken)
        }
        ReadResponseError::Io(_) | ReadResponseError::Ended => (Fault::ServerReset, Kind::Reset),
        ReadResponseError::Truncated => (Fault::ServerReset, Kind::Broken),
        ReadResponseError::Parse(_) => (Fault::BadResponse, Kind::Final),
    };
    Failed::new(Failure::new(fault, error), kind)
}
