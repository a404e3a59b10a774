//! Requests of a connection by HTTP/1.1: one after the other, until one side has had enough.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::connection::{goodbye, record_without_request};
use super::engine::{Engine, Heads};
use super::exchange::{Peer, Start};
use super::fault::{self, Failure, head_fault, malformation};
use super::{Next, respond, serve};
use crate::clock;
use crate::listener::Pass;
use crate::net::{Deadline, Stream};
use crate::observe::Fault;
use crate::observe::metrics::{ClientTimeout, CloseReason, Malformation, RequestVersion};
use crate::server::process_ms;
use crate::wire::h1::ServerConnection;
use crate::wire::h1::server::ReadHeadError;
use crate::wire::head::Version;
use crate::wire::{Downstream, Pipe};

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
}

/// Serves a connection of HTTP/1.1 to its end.
pub async fn run(engine: &Engine, peer: &Peer, stream: Stream, mut pass: Pass) {
    let metrics = &peer.listener.metrics;
    let mut client = ServerConnection::new(stream);
    let mut deadline = Deadline::new();
    let mut cut = pin!(engine.cut(&peer.listener.life));
    let mut served = 0u64;
    let next = loop {
        let mut heads = engine.take_heads();
        let (waited, start) = {
            let next = next_request(engine, peer, &mut client, &mut heads, &mut deadline, &mut pass, served);
            tokio::select! {
                biased;
                next = next => next,
                () = cut.as_mut() => {
                    engine.keep_heads(heads);
                    break Next::Close;
                }
            }
        };
        match waited {
            Waited::Request => {}
            Waited::Failed(_) | Waited::Late | Waited::Ended | Waited::Idle | Waited::Evicted => {
                engine.keep_heads(heads);
                break refuse(engine, peer, &mut client, waited, start, served).await;
            }
        }
        served += 1;
        let version = if heads.request.version == Version::Http10 {
            RequestVersion::Http10
        } else {
            RequestVersion::Http11
        };
        metrics.requests.add(version, 1);
        let next =
            serve(engine, peer, &mut Downstream::Http1(&mut client), &mut heads, start, cut.as_mut()).await;
        engine.keep_heads(heads);
        if !matches!(next, Next::KeepAlive) {
            break next;
        }
    };
    metrics.bytes_in.add(client.read);
    metrics.bytes_out.add(client.written());
    match next {
        Next::Tunnel(handover) => handover.run(engine, Pipe::of_connection(client.into_connection())).await,
        Next::Abort if client.ends_with_connection() => client.stream.reset_on_drop(),
        // What came of a cut body still goes out; its framing shows that it is cut.
        Next::Abort | Next::Close | Next::KeepAlive => {
            pass.silent(process_ms(Instant::now()));
            tokio::select! {
                biased;
                () = pass.evicted() => {}
                () = respond::linger(&mut client) => {}
            }
        }
    }
}

/// Waits for a head, no longer than it may take, and not while the connection's place is needed by another.
async fn next_request(
    engine: &Engine,
    peer: &Peer,
    client: &mut ServerConnection,
    heads: &mut Heads,
    deadline: &mut Deadline,
    pass: &mut Pass,
    served: u64,
) -> (Waited, Start) {
    let timeouts = &peer.listener.timeouts;
    let began = Instant::now();
    let (read, written) = (client.read - client.surplus().len() as u64, client.written());
    let mut first_byte = client.has_begun().then_some(began);
    deadline.after(if served == 0 || first_byte.is_some() { timeouts.head } else { timeouts.keep_alive });
    let mut drained = pin!(engine.drained());
    let mut draining = false;
    let waited = poll_fn(|cx| {
        match client.poll_head(cx, peer.listener.limits, &mut heads.request) {
            // A place that was given away in this very moment is gone: the client was told nothing yet and asks again.
            Poll::Ready(Ok(true)) if pass.busy().is_err() => return Poll::Ready(Waited::Evicted),
            Poll::Ready(Ok(true)) => return Poll::Ready(Waited::Request),
            Poll::Ready(Ok(false)) => return Poll::Ready(Waited::Ended),
            Poll::Ready(Err(error)) => return Poll::Ready(Waited::Failed(error)),
            Poll::Pending => {}
        }
        if first_byte.is_none() && client.has_begun() {
            first_byte = Some(Instant::now());
            deadline.after(timeouts.head);
        }
        pass.silent(process_ms(began));
        if !draining && drained.as_mut().poll(cx).is_ready() {
            draining = true;
            if first_byte.is_none() {
                deadline.after(LAST_REQUEST);
            }
        }
        if pass.poll_evicted(cx).is_ready() {
            return Poll::Ready(Waited::Evicted);
        }
        let idle = first_byte.is_none() && (served > 0 || draining);
        deadline.poll_passed(cx).map(|()| if idle { Waited::Idle } else { Waited::Late })
    })
    .await;
    deadline.clear();
    let at = first_byte.unwrap_or_else(Instant::now);
    (waited, Start { at, time: clock::since_epoch().saturating_sub(at.elapsed()), read, written })
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
        Waited::Request => return Next::Close,
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
