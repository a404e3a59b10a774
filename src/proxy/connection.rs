//! A client's connection from its first byte to its last: PROXY header, TLS, then requests in its protocol.
//!
//! A connection that ends before a complete head leaves one record; one that served requests adds none, and
//! one without a byte is only counted.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::engine::Engine;
use super::exchange::Peer;
use super::fault::Failure;
use super::respond::Manner;
use super::{Next, requests, respond, streams};
use crate::clock;
use crate::listener::Pass;
use crate::listener::proxy_protocol::{self, Header, ReadHeaderError};
use crate::net::{Stream, Transport};
use crate::observe::metrics::{ClientTimeout, CloseReason, Handshake};
use crate::observe::{Fault, Record};
use crate::reply::Reply;
use crate::server::process_ms;
use crate::snapshot::Listener;
use crate::tls::{HandshakeError, HandshakeFailure};
use crate::wire::h1::ServerConnection;
use crate::wire::{Downstream, Pipe};

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

/// Serves one connection to its end. What only some phases need is in boxes, for an idle connection to be small.
pub async fn run(engine: &Rc<Engine>, accepted: Box<Accepted>) {
    let Some((peer, stream, mut pass)) = Box::pin(enter(engine, accepted)).await else { return };
    if peer.listener.is_http2(peer.session.as_ref()) {
        return Box::pin(streams::run(engine, peer, stream, pass)).await;
    }
    let mut client = ServerConnection::boxed(stream);
    let next = requests::run(engine, &peer, &mut client, &mut pass).await;
    let metrics = &peer.listener.metrics;
    metrics.bytes_in.add(client.read);
    metrics.bytes_out.add(client.written());
    match next {
        Next::Tunnel(handover) => handover.run(engine, Pipe::of_connection(client.into_connection())).await,
        Next::Abort if client.ends_with_connection() => client.stream.reset_on_drop(),
        // Nothing more can come, so that no reset can take our last bytes away.
        Next::Close if client.has_heard_all() => {}
        // What came of a cut body still goes out; its framing shows that it is cut.
        Next::Abort | Next::Close | Next::KeepAlive => Box::pin(leave(&mut client, &mut pass)).await,
    }
}

/// Ends a connection, unless its place is needed before the client has read everything.
async fn leave(client: &mut ServerConnection, pass: &mut Pass) {
    pass.silent(process_ms(Instant::now()));
    tokio::select! {
        biased;
        () = pass.evicted() => {}
        () = respond::linger(client) => {}
    }
}

/// What comes before requests; `None` when the connection has ended in it.
async fn enter(engine: &Engine, accepted: Box<Accepted>) -> Option<(Peer, Stream, Pass)> {
    let Accepted { listener, transport, address, port, mut pass } = *accepted;
    let started = Instant::now();
    let trusted = listener.trusted.vouch_for(address.map(|address| address.ip()));
    let mut peer = Peer { trusted, listener, address, port, session: None };
    let opened = tokio::select! {
        biased;
        opened = open(&mut peer, transport) => opened,
        () = pass.evicted() => Err(Some(Ended { failure: Fault::ConnectionLimit.into(), reason: CloseReason::Evicted })),
    };
    match opened {
        Ok(stream) => return Some((peer, stream, pass)),
        Err(Some(ended)) => {
            peer.listener.metrics.closed.add(ended.reason, 1);
            record_without_request(engine, &peer, &ended.failure, None, started.elapsed());
        }
        Err(None) => peer.listener.metrics.silent.add(1),
    }
    None
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
    let mut client = ServerConnection::boxed(Stream::Plain(transport));
    let reply = Reply::text(400, "400 Bad Request\nThis port speaks HTTPS; the request came without TLS.\n");
    let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + clock::since_epoch());
    if respond::send_reply(&mut Downstream::Http1(&mut client), &reply, &goodbye(peer, date.as_bytes()))
        .await
        .is_ok()
    {
        respond::linger(&mut client).await;
    }
}

/// A reply without a request, after which the connection ends.
pub fn goodbye<'a>(peer: &Peer, date: &'a [u8]) -> Manner<'a> {
    Manner { date, request_id: "", keep_alive: false, write_idle: peer.listener.timeouts.write_idle }
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
pub fn record_without_request(
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
