//! Who may ask what through which door: a pure function of a request's head, where it came in, and who sent it.
//!
//! A unix socket is guarded by its file's mode. Over TCP, web pages and other users of the machine can connect: Host and
//! Origin must be this door's own (DNS rebinding, cross-site requests), and whoever changes something needs the token.
//! Off loopback nothing is answered without the token or a client certificate.

use std::net::{IpAddr, SocketAddr};

use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;

use super::operation::Effect;
use super::token::Token;

/// A header without which nothing is changed: web pages of other origins cannot send it unasked.
pub const CONTROL_HEADER: &str = "lintel-control";

/// Where a door is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A unix socket for this user alone; also the read-only metrics address, which is open to whoever can connect.
    Own,
    /// Only this machine connects, all its users and the web pages they look at.
    Loopback(SocketAddr),
    /// Others connect too.
    Outside,
}

/// What is known of who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    Anybody,
    /// Showed a certificate of `admin.tls.client_auth`.
    Certified,
}

/// Who may ask through one door.
#[derive(Clone, Copy, Debug)]
pub struct Guard<'a> {
    pub place: Place,
    pub token: Option<&'a Token>,
}

/// Why a request is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub why: &'static str,
}

const fn refusal(status: StatusCode, why: &'static str) -> Refusal {
    Refusal { status, why }
}

pub const WRONG_HOST: Refusal =
    refusal(StatusCode::FORBIDDEN, "the Host header is neither a loopback name nor this address");
const WRONG_ORIGIN: Refusal =
    refusal(StatusCode::FORBIDDEN, "web pages of other origins may not ask here (Origin)");
const WRONG_TOKEN: Refusal = refusal(StatusCode::UNAUTHORIZED, "the token is wrong");
const NO_TOKEN: Refusal = refusal(
    StatusCode::UNAUTHORIZED,
    "send `Authorization: Bearer TOKEN` with the token of admin.token.file",
);
const NO_TOKEN_KNOWN: Refusal = refusal(
    StatusCode::FORBIDDEN,
    "nothing is changed over TCP without a token: write `admin: { address: ..., token: { file: ... } }` in the config, \
     or leave `admin.address` out and ask over the unix socket",
);
const NO_CONTROL_HEADER: Refusal =
    refusal(StatusCode::FORBIDDEN, "send the header `Lintel-Control: 1` to change something");

impl Guard<'_> {
    /// Whether it may be answered at all.
    pub fn admit(&self, head: &Parts, caller: Caller) -> Result<(), Refusal> {
        if self.place == Place::Own {
            return Ok(());
        }
        if let Place::Loopback(listening) = &self.place
            && !names_loopback(head, listening)
        {
            return Err(WRONG_HOST);
        }
        if !is_own_origin(&head.headers) {
            return Err(WRONG_ORIGIN);
        }
        match self.sent_token(&head.headers)? {
            None if self.place == Place::Outside && caller == Caller::Anybody => Err(NO_TOKEN),
            _ => Ok(()),
        }
    }

    /// Whether something with this effect may be asked by who was admitted.
    pub fn permit(&self, head: &Parts, caller: Caller, effect: Effect) -> Result<(), Refusal> {
        if effect == Effect::Reads {
            return Ok(());
        }
        if sole(&head.headers, &HeaderName::from_static(CONTROL_HEADER)) != Some(b"1") {
            return Err(NO_CONTROL_HEADER);
        }
        if self.place == Place::Own || caller == Caller::Certified {
            return Ok(());
        }
        match (self.token, self.sent_token(&head.headers)?) {
            (_, Some(())) => Ok(()),
            (Some(_), None) => Err(NO_TOKEN),
            (None, None) => Err(NO_TOKEN_KNOWN),
        }
    }

    /// Whether the right token was sent; one that is wrong is refused even where none is needed.
    fn sent_token(&self, headers: &HeaderMap) -> Result<Option<()>, Refusal> {
        let (Some(token), true) = (self.token, headers.contains_key(AUTHORIZATION)) else { return Ok(None) };
        let sent = sole(headers, &AUTHORIZATION).and_then(bearer).ok_or(WRONG_TOKEN)?;
        if token.is(sent) { Ok(Some(())) } else { Err(WRONG_TOKEN) }
    }
}

/// The value of a header that is there once.
fn sole<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.as_bytes()),
        _ => None,
    }
}

/// The token of `Bearer TOKEN` (RFC 6750 section 2.1); the scheme is known in any case (RFC 9110 section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn names_loopback(head: &Parts, listening: &SocketAddr) -> bool {
    let host = sole(&head.headers, &HOST).and_then(|host| Authority::try_from(host).ok());
    let Some(host) = host else { return false };
    // In the absolute form the target's host counts (RFC 9112 section 3.2.2); both must be right.
    std::iter::once(&host).chain(head.uri.authority()).all(|host| is_local(host.host(), listening))
}

fn is_local(host: &str, listening: &SocketAddr) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback() || ip == listening.ip(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// Only browsers send Origin: it must be that of a page that this door itself could have shown.
fn is_own_origin(headers: &HeaderMap) -> bool {
    if !headers.contains_key(ORIGIN) {
        return true;
    }
    let (Some(origin), Some(host)) = (sole(headers, &ORIGIN), sole(headers, &HOST)) else { return false };
    let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn head(target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn token() -> Token {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "0123456789abcdef").unwrap();
        Token::read(file.path()).unwrap()
    }

    fn loopback() -> Place {
        Place::Loopback("127.0.0.1:9900".parse().unwrap())
    }

    /// The status of a refusal, or 200.
    fn ask(guard: Guard<'_>, caller: Caller, effect: Effect, headers: &[(&str, &str)]) -> u16 {
        let head = head("/reload", headers);
        let outcome = guard.admit(&head, caller).and_then(|()| guard.permit(&head, caller, effect));
        outcome.map_or_else(|refusal| refusal.status.as_u16(), |()| 200)
    }

    #[test]
    fn a_door_on_loopback_answers_to_loopback_names_and_its_own_address_only() {
        let guard = Guard { place: loopback(), token: None };
        let admits = |target: &str, headers: &[(&str, &str)]| {
            guard.admit(&head(target, headers), Caller::Anybody).is_ok()
        };
        for host in ["localhost", "LocalHost:9900", "127.0.0.1:9900", "127.8.8.8", "[::1]:9900", "[::1]"] {
            assert!(admits("/", &[("host", host)]), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "",
            "localhost@evil",
            "a b",
        ] {
            assert!(!admits("/", &[("host", host)]), "{host}");
        }
        assert!(!admits("http://evil.example/", &[("host", "localhost")]));
        assert!(admits("http://localhost:9900/", &[("host", "localhost")]));
        assert!(!admits("/", &[]));
        assert!(!admits("/", &[("host", "localhost"), ("host", "localhost")]));
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let guard = Guard { place: loopback(), token: None };
        for (origin, expected) in [
            ("http://localhost:9900", 200),
            ("https://LOCALHOST:9900", 200),
            ("http://localhost", 403),
            ("http://localhost:9901", 403),
            ("https://evil.example", 403),
            ("null", 403),
            ("", 403),
        ] {
            let headers = [("host", "localhost:9900"), ("origin", origin)];
            assert_eq!(ask(guard, Caller::Anybody, Effect::Reads, &headers), expected, "{origin}");
        }
    }

    #[test]
    fn changes_need_the_header_and_over_tcp_the_token() {
        let token = token();
        let host = ("host", "localhost:9900");
        let control = ("lintel-control", "1");
        let right = ("authorization", "Bearer 0123456789abcdef");
        let wrong = ("authorization", "Bearer 0123456789abcdeF");
        let own = Guard { place: Place::Own, token: Some(&token) };
        let without = Guard { place: loopback(), token: None };
        let with = Guard { place: loopback(), token: Some(&token) };
        let outside = Guard { place: Place::Outside, token: Some(&token) };
        let anybody = Caller::Anybody;
        for (guard, caller, effect, headers, expected) in [
            (own, anybody, Effect::Changes, vec![control], 200),
            (own, anybody, Effect::Changes, vec![], 403),
            (own, anybody, Effect::Changes, vec![("lintel-control", "yes")], 403),
            (without, anybody, Effect::Reads, vec![host], 200),
            (without, anybody, Effect::Changes, vec![host, control], 403),
            (without, anybody, Effect::Changes, vec![host, control, right], 403),
            (with, anybody, Effect::Reads, vec![host], 200),
            (with, anybody, Effect::Reads, vec![host, wrong], 401),
            (with, anybody, Effect::Changes, vec![host, control], 401),
            (with, anybody, Effect::Changes, vec![host, control, wrong], 401),
            (with, anybody, Effect::Changes, vec![host, control, right, right], 401),
            (with, anybody, Effect::Changes, vec![host, control, ("authorization", "Basic eDp5")], 401),
            (
                with,
                anybody,
                Effect::Changes,
                vec![host, control, ("authorization", "bearer  0123456789abcdef")],
                200,
            ),
            (with, anybody, Effect::Changes, vec![host, control, right], 200),
            (with, anybody, Effect::Changes, vec![host, right], 403),
            (outside, anybody, Effect::Reads, vec![host], 401),
            (outside, anybody, Effect::Reads, vec![("host", "gate.example"), right], 200),
            (outside, Caller::Certified, Effect::Reads, vec![host], 200),
            (outside, Caller::Certified, Effect::Changes, vec![host, control], 200),
            (outside, Caller::Certified, Effect::Changes, vec![host], 403),
            (outside, Caller::Certified, Effect::Reads, vec![host, wrong], 401),
        ] {
            assert_eq!(ask(guard, caller, effect, &headers), expected, "{guard:?} {effect:?} {headers:?}");
        }
    }
}
