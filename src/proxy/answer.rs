//! The head of a server's answer on its way to the client: what it gains, and how it is framed there.

use super::call::WebBody;
use super::engine::{Engine, Heads};
use super::exchange::Exchange;
use super::relay::Request;
use super::{forward, respond};
use crate::pool::{Lease, Link};
use crate::wire::body::Framing;
use crate::wire::head::{Head, Known};
use crate::wire::{Downstream, Upstream};

/// Writes the head of an answer as the client gets it. Says how its body is translated, where it is.
pub fn write_head(
    engine: &Engine,
    exchange: &Exchange<'_>,
    client: &mut Downstream<'_>,
    heads: &mut Heads,
    request: &Request<'_>,
    lease: &Lease,
    server: &Upstream,
) -> Option<Box<WebBody>> {
    let response = &mut heads.response;
    // A body that is not wholly read when the answer begins may never be.
    let keep_alive =
        client.request().keep_alive && client.is_body_done() && engine.keeps_alive(&exchange.peer.listener);
    let mut framing = server.response().body;
    let web = exchange.call.as_ref().and_then(|call| call.prepare_response(response, framing));
    if web.is_some() {
        framing = Framing::Chunked;
    }
    let mut plan = respond::plan(client, response, framing, heads.request.method());
    plan.keep_alive &= keep_alive;
    forward::prepare_response(response, plan.body);
    if !response.has(Known::Date) {
        response.add_known(Known::Date, &engine.date());
    }
    add_cookie(exchange, heads, request, lease);
    let response = &mut heads.response;
    if let Some(route) = exchange.route {
        route.filters.edit_response(response);
    }
    add_request_id(exchange, response, request);
    if let Some(call) = &exchange.call {
        call.allow(&heads.request, response);
    }
    client.write_head(response, plan);
    web
}

/// Names the server to a client whose pool is sticky by cookie and that does not name it already.
pub fn add_cookie(exchange: &Exchange<'_>, heads: &mut Heads, request: &Request<'_>, lease: &Lease) {
    let link = if exchange.scheme == "https" { Link::Tls } else { Link::Plain };
    if let Some(cookie) = request.target.plan.pool.sticky_cookie(&heads.request, lease.server(), link) {
        heads.response.add_known(Known::SetCookie, cookie.as_bytes());
    }
}

/// Names the request to a client, where its server has been told as well.
pub fn add_request_id(exchange: &Exchange<'_>, response: &mut Head, request: &Request<'_>) {
    if request.target.plan.told.has(Known::XRequestId) {
        response.set_known(Known::XRequestId, exchange.request_id.as_bytes());
    }
}
