//! A client's connection from its first byte to its last: PROXY header, TLS, then request after request.
//!
//! A connection that ends before a complete head leaves one record; one that served requests adds none, and
//! one without a byte is only counted.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::engine::{Engine, Heads};
use super::exchange::{Peer, Start};
use super::fault::{self, Failure};
use super::respond::Manner;
use super::{Next, respond, serve};
use crate::clock;
use crate::listener::Pass;
use crate::listener::proxy_protocol::{self, Header, ReadHeaderError};
use crate::net::{Deadline, Stream, Transport};
use crate::observe::metrics::{ClientTimeout, CloseReason, Handshake, Malformation, RequestVersion};
use crate::observe::{Fault, Record};
use crate::reply::Reply;
use crate::server::process_ms;
use crate::snapshot::Listener;
use crate::tls::{HandshakeError, HandshakeFailure};
use crate::wire::Downstream;
use crate::wire::h1::server::ReadHeadError;
use crate::wire::head::Version;
use crate::wire::rules::ParseHeadError;

/// When Lintel drains, a kept-alive client may ask once more within this time before its connection is closed.
const LAST_REQUEST: Duration = Duration::from_secs(1);

/// For a client to read why its handshake failed.
const ALERT_TIME: Duration = Duration::from_secs(2);

/// A connection as it was accepted.
pub struct Accepted {
    pub listener: Arc<Listener>,
    pub transport: Transport,
    /// The other end of the socket; `None` on a unix socket.
    pub address: Option<SocketAddr>,
    /// Port it came to; 0 on a unix socket.
    pub port: u16,
    pub pass: Pass,
}

/// Why a connection ended before a complete head.
struct Ended {
    failure: Failure,
    reason: CloseReason,
}

/// Serves one connection to its end.
pub async fn run(engine: &Engine, accepted: Accepted) {
    let Accepted { listener, transport, address, port, mut pass } = accepted;
    let started = Instant::now();
    let trusted = listener.trusted.vouch_for(address.map(|address| address.ip()));
    let mut peer = Peer { trusted, listener, address, port, session: None };
    let opened = tokio::select! {
        biased;
        opened = open(&mut peer, transport) => opened,
        () = pass.evicted() => Err(Some(Ended { failure: Fault::ConnectionLimit.into(), reason: CloseReason::Evicted })),
    };
    match opened {
        Ok(stream) => requests(engine, &peer, stream, pass).await,
        Err(Some(ended)) => {
            peer.listener.metrics.closed.add(ended.reason, 1);
            record_without_request(engine, &peer, &ended.failure, None, started.elapsed());
        }
        Err(None) => peer.listener.metrics.silent.add(1),
    }
}

/// PROXY header and TLS handshake. `Err(None)` is a connection that ended without a byte.
async fn open(peer: &mut Peer, mut transport: Transport) -> Result<Stream, Option<Ended>> {
    let listener = Arc::clone(&peer.listener);
    let limit = listener.timeouts.tls_handshake;
    if listener.requires_proxy_header() {
        read_proxy_header(peer, &mut transport, limit).await?;
    }
    let Some(tls) = &listener.tls else { return Ok(Stream::Plain(transport)) };
    let started = Instant::now();
    match pingora_timeout::timeout(limit, tls.accept(transport)).await {
        Ok(Ok((stream, session))) => {
            let outcome = match (session.version, session.resumed) {
                ("TLSv1.3", false) => Handshake::Tls13,
                ("TLSv1.3", true) => Handshake::Tls13Resumed,
                (_, false) => Handshake::Tls12,
                (_, true) => Handshake::Tls12Resumed,
            };
            listener.metrics.handshakes.add(outcome, 1);
            listener.metrics.handshake_duration.observe(started.elapsed());
            peer.session = Some(session);
            Ok(Stream::Server(Box::new(stream)))
        }
        Ok(Err(error)) => Err(refuse_handshake(peer, error).await),
        Err(_) => Err(refuse_handshake(peer, HandshakeError::timed_out()).await),
    }
}

async fn read_proxy_header(
    peer: &mut Peer,
    transport: &mut Transport,
    limit: Duration,
) -> Result<(), Option<Ended>> {
    let refuse = |fault, detail: String| {
        Err(Some(Ended { failure: Failure::new(fault, detail), reason: CloseReason::ProxyHeader }))
    };
    if peer.trusted.is_none() {
        return refuse(Fault::ProxyHeaderBad, "the address may not send a PROXY header".to_owned());
    }
    match pingora_timeout::timeout(limit, proxy_protocol::read_header(transport)).await {
        Ok(Ok(Header::Inet { source, destination })) => {
            peer.address = Some(source);
            peer.trusted = peer.listener.trusted.vouch_for(Some(source.ip()));
            peer.port = destination.port();
            Ok(())
        }
        Ok(Ok(Header::Unchanged | Header::Unix)) => Ok(()),
        Ok(Err(ReadHeaderError::Silent)) => Err(None),
        Ok(Err(error)) => refuse(Fault::ProxyHeaderBad, error.to_string()),
        Err(_) => {
            peer.listener.metrics.timeouts.add(ClientTimeout::ProxyHeader, 1);
            refuse(Fault::ProxyHeaderTimeout, format!("no PROXY header within {limit:?}"))
        }
    }
}

async fn refuse_handshake(peer: &Peer, error: HandshakeError) -> Option<Ended> {
    let kind = error.kind;
    if kind == HandshakeFailure::Silent {
        return None;
    }
    let metrics = &peer.listener.metrics;
    metrics.handshake_failures.add(kind, 1);
    let fault = if kind == HandshakeFailure::Timeout { Fault::TlsTimeout } else { Fault::TlsFailed };
    if kind == HandshakeFailure::Timeout {
        metrics.timeouts.add(ClientTimeout::TlsHandshake, 1);
    }
    let failure = Failure::new(fault, &error.detail);
    if kind != HandshakeFailure::PlainHttp {
        error.close(ALERT_TIME).await;
    } else if let Some(transport) = error.into_transport() {
        answer_plain_http(peer, transport).await;
    }
    Some(Ended { failure, reason: CloseReason::Tls })
}

/// Tells a client that speaks HTTP to a TLS port what is wrong, as others do.
async fn answer_plain_http(peer: &Peer, transport: Transport) {
    let mut client = Downstream::new(Stream::Plain(transport));
    let reply = Reply::text(400, "400 Bad Request\nThis port speaks HTTPS; the request came without TLS.\n");
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    if respond::send_reply(&mut client, &reply, &goodbye(peer, date.as_bytes())).await.is_ok() {
        respond::linger(&mut client).await;
    }
}

/// A reply without a request, after which the connection ends.
fn goodbye<'a>(peer: &Peer, date: &'a [u8]) -> Manner<'a> {
    Manner { date, request_id: "", keep_alive: false, write_idle: peer.listener.timeouts.write_idle }
}

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

async fn requests(engine: &Engine, peer: &Peer, stream: Stream, mut pass: Pass) {
    let metrics = &peer.listener.metrics;
    let mut client = Downstream::new(stream);
    let mut deadline = Deadline::new();
    let mut cut = pin!(engine.cut());
    let mut served = 0u64;
    let next = loop {
        let mut heads = engine.take_heads();
        let (waited, start) =
            next_request(engine, peer, &mut client, &mut heads, &mut deadline, &mut pass, served).await;
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
        let next = serve(engine, peer, &mut client, &mut heads, start, cut.as_mut()).await;
        engine.keep_heads(heads);
        if !matches!(next, Next::KeepAlive) {
            break next;
        }
    };
    metrics.bytes_in.add(client.read);
    metrics.bytes_out.add(client.written());
    match next {
        Next::Tunnel(handover) => handover.run(engine, client).await,
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
    client: &mut Downstream,
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
    client: &mut Downstream,
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
    match respond::send_reply(client, &reply, &goodbye(peer, &engine.date())).await {
        Ok(_) => Next::Close,
        Err(_) => Next::Abort,
    }
}

fn head_fault(error: ParseHeadError) -> Fault {
    match error {
        ParseHeadError::Malformed(_) => Fault::BadRequest,
        ParseHeadError::TransferCoding => Fault::TransferCodingUnknown,
        ParseHeadError::TooLarge => Fault::HeadTooLarge,
        ParseHeadError::TooManyFields => Fault::TooManyHeaders,
        ParseHeadError::TargetTooLong => Fault::UriTooLong,
        ParseHeadError::Version => Fault::VersionUnsupported,
        ParseHeadError::Expectation => Fault::ExpectationFailed,
        ParseHeadError::Method => Fault::MethodRefused,
    }
}

fn malformation(error: ParseHeadError) -> Malformation {
    match error {
        ParseHeadError::Malformed(what) if what.starts_with("Host") => Malformation::Host,
        ParseHeadError::Malformed(what) if what.starts_with("the target") => Malformation::Target,
        ParseHeadError::Malformed(_) => Malformation::Head,
        ParseHeadError::TooLarge => Malformation::HeadTooLarge,
        ParseHeadError::TooManyFields => Malformation::TooManyHeaders,
        ParseHeadError::TargetTooLong => Malformation::UriTooLong,
        ParseHeadError::Version => Malformation::Version,
        ParseHeadError::TransferCoding => Malformation::TransferCoding,
        ParseHeadError::Expectation => Malformation::Expectation,
        ParseHeadError::Method => Malformation::Method,
    }
}

/// The record of a newcomer for whom there was no room.
pub fn refuse_newcomer(engine: &Engine, listener: &Arc<Listener>, address: Option<SocketAddr>) {
    listener.metrics.closed.add(CloseReason::Limit, 1);
    let peer = Peer { listener: Arc::clone(listener), address, trusted: None, port: 0, session: None };
    let failure =
        Failure::new(Fault::ConnectionLimit, "limits.connections is reached, and no connection is silent");
    record_without_request(engine, &peer, &failure, None, Duration::ZERO);
}

/// The record of a connection that ended before a complete head.
fn record_without_request(
    engine: &Engine,
    peer: &Peer,
    failure: &Failure,
    status: Option<u16>,
    duration: Duration,
) {
    let snapshot = engine.snapshot();
    let Some(log) = &snapshot.access_log else { return };
    let session = peer.session.as_ref();
    log.write(&Record {
        time: clock::since_epoch().saturating_sub(duration),
        listener: &peer.listener.name,
        client: peer.ip(),
        peer: peer.address,
        status,
        fault: Some(failure.fault),
        detail: &failure.detail,
        duration,
        tls_version: session.map_or("", |session| session.version),
        sni: session.and_then(|session| session.server_name.as_deref()).unwrap_or_default(),
        ..Record::default()
    });
}
