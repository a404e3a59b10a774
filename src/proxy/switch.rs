//! The step from an exchange to a tunnel: both sides agree, and each is told in the words of its protocol.
//!
//! HTTP/1.1 has a 101 and a key for it (RFC 6455), HTTP/2 an extended CONNECT and a 200 (RFC 8441).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::Next;
use super::answer::{add_cookie, add_request_id};
use super::engine::{Engine, Heads};
use super::exchange::{Exchange, Kept};
use super::fault::Failure;
use super::forward;
use super::outcome::observe_body;
use super::relay::Request;
use super::respond;
use super::tunnel::Tunnel;
use crate::life::Life;
use crate::net::Buffer;
use crate::observe::Fault;
use crate::pool::Lease;
use crate::snapshot::PoolPlan;
use crate::wire::body::Framing;
use crate::wire::head::{Head, Known};
use crate::wire::token::list;
use crate::wire::{Downstream, Pipe, Upstream, websocket};

/// A tunnel ready to run, with all it needs after the snapshot is gone.
pub struct Handover {
    pub server: Upstream,
    pub lease: Lease,
    pub idle: Duration,
    /// What both sides agreed to speak.
    pub protocol: Vec<u8>,
    pub kept: Kept,
    pub plan: Arc<PoolPlan>,
    /// Of the route that it came by.
    pub route: Arc<Life>,
}

/// Joins client and server after an answer that opens what was asked for.
pub async fn switch(
    engine: &Engine,
    exchange: &mut Exchange<'_>,
    client: &mut Downstream<'_>,
    heads: &mut Heads,
    request: &Request<'_>,
    lease: Lease,
    server: Upstream,
) -> Result<Next, Failure> {
    let asked = request.upgrade.as_deref().unwrap_or_default();
    check(&heads.response, &server, asked)?;
    forward::prepare_response(&mut heads.response, Framing::Empty);
    add_cookie(exchange, heads, request, &lease);
    if let Some(route) = exchange.route {
        route.filters.edit_response(&mut heads.response);
    }
    add_request_id(exchange, &mut heads.response, request);
    let latency = exchange.first_byte.unwrap_or_default();
    observe_body(&lease, 101, latency, None, engine.now());
    translate(client, &server, heads);
    client.write_switch(&heads.response, asked);
    (exchange.status, exchange.answered, exchange.tunnel) = (heads.response.status, true, true);
    respond::flush(client, exchange.peer.listener.timeouts.write_idle).await?;
    let plan = &request.target.plan;
    Ok(Next::Tunnel(Box::new(Handover {
        server,
        lease,
        idle: plan.tunnel_idle,
        protocol: asked.to_vec(),
        kept: exchange.keep(heads),
        plan: Arc::clone(plan),
        route: exchange.route.map(|route| Arc::clone(&route.life)).unwrap_or_default(),
    })))
}

/// Whether the answer means the protocol that was asked for.
fn check(response: &Head, server: &Upstream, asked: &[u8]) -> Result<(), Failure> {
    if server.is_http2() {
        return Ok(());
    }
    let is_upgrade =
        response.all(Known::Connection).flat_map(list).any(|option| option.eq_ignore_ascii_case(b"upgrade"));
    let agreed =
        response.all(Known::Upgrade).flat_map(list).any(|protocol| protocol.eq_ignore_ascii_case(asked));
    if !(agreed && is_upgrade) {
        let detail = "the server switched to another protocol than was asked for";
        return Err(Failure::new(Fault::UpgradeRefused, detail));
    }
    if !server.has_accepted(response) {
        let detail = "the server's Sec-WebSocket-Accept does not answer the key that it was sent";
        return Err(Failure::new(Fault::UpgradeRefused, detail));
    }
    Ok(())
}

/// Says it as the client's protocol does.
fn translate(client: &Downstream<'_>, server: &Upstream, heads: &mut Heads) {
    let Heads { request, response, .. } = heads;
    if client.is_http2() {
        response.status = 200;
        response.remove_known(Known::SecWebSocketAccept);
    } else if server.is_http2() {
        response.status = 101;
        response.set_reason(b"Switching Protocols");
        if let Some(key) = request.get(Known::SecWebSocketKey) {
            let accept = websocket::accept(key);
            response.set_known(Known::SecWebSocketAccept, accept.as_bytes());
        }
    }
}

impl Handover {
    /// The tunnel's whole life, up to its record. In a box: whoever runs it holds no other room for it.
    pub fn run<'e>(
        self: Box<Self>,
        engine: &'e Engine,
        client: (Pipe, Buffer),
    ) -> Pin<Box<impl Future<Output = ()> + use<'e>>> {
        let Self { server, lease, idle, protocol, kept, plan, route } = *self;
        let mut tunnel = Tunnel::new(client, server.into_pipe(), idle, &protocol);
        Box::pin(async move {
            plan.pool.metrics.tunnels.add(1);
            plan.pool.metrics.tunnels_open.add(1);
            let (moved, outcome) = tunnel.run(engine, &lease, [&kept.listener.life, &route]).await;
            kept.listener.metrics.bytes_in.add(moved.from_client);
            kept.listener.metrics.bytes_out.add(moved.from_server);
            drop(lease);
            plan.pool.metrics.tunnels_open.sub(1);
            kept.record((moved.from_client, moved.from_server), outcome.err().as_ref());
        })
    }
}
