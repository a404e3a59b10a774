//! The first steps of an exchange: who asks, for what, and which route takes it.

use super::engine::Engine;
use super::exchange::Exchange;
use super::fault::Failure;
use super::forward::{announced_client, announced_scheme, is_loop};
use crate::listener::TrustedPeer;
use crate::observe::Fault;
use crate::observe::metrics::Malformation;
use crate::reply::Reply;
use crate::route::table::{FindError, Query};
use crate::route::{Host, NormalPath, redirect, split_target};
use crate::snapshot::Route;
use crate::wire::Downstream;
use crate::wire::body::Framing;
use crate::wire::head::{Head, Known};

/// Longest request id that is taken over from a trusted peer.
const LONGEST_REQUEST_ID: usize = 128;

/// What a request asks for, checked and brought to its normal form.
pub struct Asked<'h> {
    /// `None` when the request names none (HTTP/1.0).
    pub host: Option<Host>,
    pub path: NormalPath<'h>,
}

/// Finds out who asks, and for what.
pub fn begin<'h>(
    engine: &Engine,
    exchange: &mut Exchange<'_>,
    client: &mut Downstream<'_>,
    request: &'h Head,
) -> Result<Asked<'h>, Failure> {
    client.begin_request_body(exchange.peer.listener.body_limit);
    exchange.request_id = request_id(engine, exchange.peer.trusted, request);
    if exchange.peer.trusted.is_some() {
        let trusted = &exchange.peer.listener.trusted;
        exchange.client = announced_client(request, |address| trusted.contains(address)).or(exchange.client);
        exchange.scheme = announced_scheme(request).unwrap_or(exchange.scheme);
    }
    let malformed = &exchange.peer.listener.metrics.malformed;
    let bad = |what: Malformation, error: &dyn std::fmt::Display| {
        malformed.add(what, 1);
        Failure::new(Fault::BadRequest, error)
    };
    let host =
        request.get(Known::Host).filter(|host| !host.is_empty() || request.version.as_str() != "HTTP/1.0");
    let host = host.map(Host::of).transpose().map_err(|error| bad(Malformation::Host, &error))?;
    let (path, _) = split_target(request.target());
    let path = NormalPath::of(path).map_err(|error| bad(Malformation::Target, &error))?;
    if is_loop(request, &engine.process.pseudonym) {
        return Err(Failure::new(Fault::Loop, "the request passed through this process before"));
    }
    Ok(Asked { host, path })
}

/// Whether the connection's certificate fits the host that is asked for (RFC 9110 section 15.5.20).
pub fn check_connection(exchange: &Exchange<'_>, asked: &Asked<'_>) -> Result<(), Failure> {
    let peer = exchange.peer;
    let (Some(tls), Some(session), Some(host)) = (&peer.listener.tls, &peer.session, &asked.host) else {
        return Ok(());
    };
    if tls.misdirects(session, host.name()) {
        return Err(Failure::new(
            Fault::Misdirected,
            "the host needs another certificate than the connection has",
        ));
    }
    Ok(())
}

/// The answer of a listener that sends everything to another one.
pub fn listener_redirect(exchange: &Exchange<'_>, asked: &Asked<'_>, request: &Head) -> Option<Reply> {
    let to = exchange.peer.listener.redirect_to.as_ref()?;
    let port = to.port.load(std::sync::atomic::Ordering::Relaxed);
    match &asked.host {
        Some(host) => Some(redirect::to_listener(to.scheme, host, port, request.target())),
        // Without a host there is nowhere to send the client.
        None => Some(Reply::text(400, "400 Bad Request\nno Host\n")),
    }
}

/// The route that takes the request.
pub fn route<'s>(
    exchange: &mut Exchange<'s>,
    asked: &Asked<'_>,
    request: &Head,
) -> Result<&'s Route, Failure> {
    let query = Query {
        host: asked.host.as_ref(),
        path: &asked.path,
        head: request,
        listener: &exchange.peer.listener.name,
    };
    match exchange.snapshot.routes.find(&query) {
        Ok((_, route)) => {
            exchange.route = Some(route);
            Ok(route)
        }
        Err(error @ FindError::NoRoute) => Err(Failure::new(Fault::NoRoute, error)),
        Err(error @ FindError::AmbiguousPath) => Err(Failure::new(Fault::BadRequest, error)),
    }
}

/// A body that says itself that it is too large is refused before a server is asked.
pub fn limit_body(exchange: &Exchange<'_>, client: &Downstream<'_>) -> Result<(), Failure> {
    match client.request().body {
        Framing::Length(length) if length > exchange.peer.listener.body_limit => {
            Err(Failure::new(Fault::BodyTooLarge, format!("the body has {length} bytes")))
        }
        _ => Ok(()),
    }
}

/// A trusted peer's request id, or a new one of 128 random bits.
fn request_id(engine: &Engine, trusted: Option<TrustedPeer>, request: &Head) -> String {
    let is_usable = |id: &&[u8]| {
        (1..=LONGEST_REQUEST_ID).contains(&id.len())
            && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte))
    };
    let given = request.get(Known::XRequestId).filter(is_usable).filter(|_| trusted.is_some());
    match given.and_then(|id| std::str::from_utf8(id).ok()) {
        Some(id) => id.to_owned(),
        None => hex([engine.random(), engine.random()]),
    }
}

/// Both numbers in hexadecimal with all their digits; by hand, since every request needs it.
fn hex(numbers: [u64; 2]) -> String {
    let mut text = [0; 32];
    let halves = numbers.into_iter().flat_map(|number| [(number >> 32) as u32, number as u32]);
    for (digits, half) in text.chunks_exact_mut(8).zip(halves) {
        digits.copy_from_slice(&hex_digits(half));
    }
    str::from_utf8(&text).unwrap_or_default().to_owned()
}

/// The eight digits of a number, all in one step: each gets a byte of its own.
fn hex_digits(number: u32) -> [u8; 8] {
    const ONES: u64 = u64::MAX / 255;
    let mut digits = u64::from(number);
    digits = (digits | digits << 16) & 0x0000_ffff_0000_ffff;
    digits = (digits | digits << 8) & 0x00ff_00ff_00ff_00ff;
    digits = (digits | digits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let is_letter = (digits + ONES * 6) >> 4 & ONES;
    let text = digits + ONES * u64::from(b'0') + is_letter * u64::from(b'a' - b'0' - 10);
    text.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_has_all_its_digits() {
        for numbers in [[0, u64::MAX], [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210], [9, 10]] {
            assert_eq!(hex(numbers), format!("{:016x}{:016x}", numbers[0], numbers[1]));
        }
    }
}
