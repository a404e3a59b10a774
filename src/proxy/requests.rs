//! Requests of a connection by HTTP/1.1: one after the other, until one side has had enough.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::bell::{Cut, Drained};
use super::connection::{goodbye, record_without_request};
use super::engine::{Engine, Heads};
use super::exchange::{Peer, Start};
use super::fault::{self, Failure, head_fault, malformation};
use super::{Next, respond, serve};
use crate::listener::Pass;
use crate::net::Deadline;
use crate::observe::Fault;
use crate::observe::metrics::{ClientTimeout, CloseReason, Malformation, RequestVersion};
use crate::server::process_ms;
use crate::wire::Downstream;
use crate::wire::h1::ServerConnection;
use crate::wire::h1::server::ReadHeadError;
use crate::wire::head::Version;

/// When Lintel drains, a kept-alive client may ask once more within this time before its connection is closed.
const LAST_REQUEST: Duration = Duration::from_secs(1);

/// What waiting for a request came to.
enum Waited {
    Request,
    /// The client ended the connection between two requests.
    Ended,
    Failed(ReadHeadError),
    /// The deadline of a head passed.
    Late,
    /// Nothing came in the time between requests.
    Idle,
    Evicted,
    /// Draining is over.
    Cut,
}

/// Serves the requests of a connection; says how it is to end.
///
/// Between two requests the connection holds no memory of an exchange: neither heads, nor a buffer, nor its future.
pub async fn run(engine: &Engine, peer: &Peer, client: &mut ServerConnection, pass: &mut Pass) -> Next {
    let mut deadline = Deadline::new();
    let mut cut = engine.cut(&peer.listener.life);
    let mut drained = engine.drained();
    let mut served = 0u64;
    loop {
        let mut wait = Wait {
            engine,
            peer,
            client,
            pass,
            deadline: &mut deadline,
            heads: None,
            served,
            first_byte: None,
            draining: false,
            woken: false,
        };
        let start = wait.begin();
        let waited = poll_fn(|cx| wait.poll(cx, &mut drained, &mut cut)).await;
        let at = wait.first_byte.unwrap_or_else(|| engine.now());
        let (start, heads) = (Start { at, ..start }, wait.heads.take());
        deadline.clear();
        let mut heads = match (waited, heads) {
            (Waited::Request, Some(heads)) => heads,
            (waited, heads) => {
                heads.into_iter().for_each(|heads| engine.keep_heads(heads));
                return Box::pin(refuse(engine, peer, client, waited, start, served)).await;
            }
        };
        served += 1;
        let version = if heads.request.version == Version::Http10 {
            RequestVersion::Http10
        } else {
            RequestVersion::Http11
        };
        peer.listener.metrics.requests.add(version, 1);
        let mut downstream = Downstream::Http1(client);
        let next = Box::pin(serve(engine, peer, &mut downstream, &mut heads, start, &mut cut)).await;
        engine.keep_heads(heads);
        if !matches!(next, Next::KeepAlive) {
            return next;
        }
    }
}

/// The time between two requests.
struct Wait<'a> {
    engine: &'a Engine,
    peer: &'a Peer,
    client: &'a mut ServerConnection,
    pass: &'a mut Pass,
    deadline: &'a mut Deadline,
    /// There from the first byte on.
    heads: Option<Box<Heads>>,
    served: u64,
    first_byte: Option<Instant>,
    draining: bool,
    /// It was polled before, so the clock has gone on.
    woken: bool,
}

impl Wait<'_> {
    fn begin(&mut self) -> Start {
        let (client, timeouts) = (&*self.client, &self.peer.listener.timeouts);
        // A request that was sent ahead begins when its turn comes.
        let now = if self.served == 0 { self.engine.tick() } else { self.engine.now() };
        self.first_byte = client.has_begun().then_some(now);
        let is_head_due = self.served == 0 || self.first_byte.is_some();
        self.deadline.set((now + if is_head_due { timeouts.head } else { timeouts.keep_alive }).into());
        Start { at: now, read: client.read - client.surplus().len() as u64, written: client.written() }
    }

    /// Waits for a head, no longer than it may take, and not while the connection's place is needed by another.
    fn poll(&mut self, cx: &mut Context<'_>, drained: &mut Drained<'_>, cut: &mut Cut<'_>) -> Poll<Waited> {
        let now = if self.woken { self.engine.tick() } else { self.engine.now() };
        self.woken = true;
        match self.poll_head(cx) {
            // A place that was given away in this very moment is gone: the client was told nothing yet and asks again.
            Poll::Ready(Ok(true)) if self.pass.busy().is_err() => return Poll::Ready(Waited::Evicted),
            Poll::Ready(Ok(true)) => return Poll::Ready(Waited::Request),
            Poll::Ready(Ok(false)) => return Poll::Ready(Waited::Ended),
            Poll::Ready(Err(error)) => return Poll::Ready(Waited::Failed(error)),
            Poll::Pending => {}
        }
        if self.first_byte.is_none() && self.client.has_begun() {
            self.first_byte = Some(now);
            self.deadline.set((now + self.peer.listener.timeouts.head).into());
        }
        if self.pass.is_busy() {
            self.pass.silent(process_ms(now));
        }
        if !self.draining && drained.poll_begun(cx).is_ready() {
            self.draining = true;
            if self.first_byte.is_none() {
                self.deadline.set((now + LAST_REQUEST).into());
            }
        }
        if self.pass.poll_evicted(cx).is_ready() {
            return Poll::Ready(Waited::Evicted);
        }
        let idle = self.first_byte.is_none() && (self.served > 0 || self.draining);
        match self.deadline.poll_passed_by(cx, now) {
            Poll::Ready(()) if idle => Poll::Ready(Waited::Idle),
            Poll::Ready(()) => Poll::Ready(Waited::Late),
            Poll::Pending => cut.poll_over(cx).map(|()| Waited::Cut),
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ReadHeadError>> {
        let limits = self.peer.listener.limits;
        if self.heads.is_none() && !ready!(self.client.poll_begun(cx, limits))? {
            return Poll::Ready(Ok(false));
        }
        let heads = self.heads.get_or_insert_with(|| self.engine.take_heads());
        self.client.poll_head(cx, limits, &mut heads.request)
    }
}

/// Ends a connection on which no request can be served any more.
async fn refuse(
    engine: &Engine,
    peer: &Peer,
    client: &mut ServerConnection,
    waited: Waited,
    start: Start,
    served: u64,
) -> Next {
    let metrics = &peer.listener.metrics;
    let begun = client.has_begun();
    let (failure, reason) = match waited {
        Waited::Request | Waited::Cut => return Next::Close,
        Waited::Ended | Waited::Failed(ReadHeadError::Io(_)) if !begun => {
            if served == 0 && client.read == 0 {
                metrics.silent.add(1);
            }
            return Next::Abort;
        }
        Waited::Idle => {
            metrics.timeouts.add(ClientTimeout::KeepAlive, 1);
            return Next::Close;
        }
        Waited::Evicted => {
            metrics.closed.add(CloseReason::Evicted, 1);
            if served > 0 && !begun {
                return Next::Abort;
            }
            (Failure::new(Fault::ConnectionLimit, "closed to make room for others"), None)
        }
        Waited::Late if !begun => {
            metrics.timeouts.add(ClientTimeout::Head, 1);
            metrics.silent.add(1);
            return Next::Close;
        }
        Waited::Late => {
            metrics.timeouts.add(ClientTimeout::Head, 1);
            let detail = format!("no whole head within {:?}", peer.listener.timeouts.head);
            (Failure::new(Fault::HeadTimeout, detail), Some(CloseReason::Timeout))
        }
        Waited::Ended => (
            Failure::new(Fault::ClientGone, "the connection ended inside a head"),
            Some(CloseReason::ClientGone),
        ),
        Waited::Failed(ReadHeadError::Parse(error)) => {
            metrics.malformed.add(malformation(error), 1);
            (Failure::new(head_fault(error), error), Some(CloseReason::Malformed))
        }
        Waited::Failed(error) => {
            metrics.malformed.add(Malformation::Truncated, 1);
            (Failure::new(Fault::ClientGone, error), Some(CloseReason::ClientGone))
        }
    };
    if let Some(reason) = reason {
        metrics.closed.add(reason, 1);
    }
    let reply = fault::reply(failure.fault, "");
    // Whoever never sent a byte gets none: it may not speak HTTP at all.
    let answers = reply.head.status != 499 && begun;
    let status = answers.then_some(reply.head.status);
    record_without_request(engine, peer, &failure, status, start.at.elapsed());
    if !answers {
        return Next::Close;
    }
    match respond::send_reply(&mut Downstream::Http1(client), &reply, &goodbye(peer, &engine.date())).await {
        Ok(_) => Next::Close,
        Err(_) => Next::Abort,
    }
}
