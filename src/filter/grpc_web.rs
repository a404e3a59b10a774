//! gRPC-Web for pages of other origins: answers a browser's question whether it may call (CORS), and says in
//! responses that it may read them.
//!
//! The rules are those of the Fetch standard, section 3.3 (CORS protocol). That the filter is on a route also tells the
//! exchange to translate calls there; the translation itself lies in `wire::grpc`.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::CompileProblem;
use crate::net::Address;
use crate::reply::Reply;
use crate::wire::head::{Head, Method};
use crate::wire::token::{is_token, list};

const ORIGIN: &str = "Origin";
const VARY: &str = "Vary";
const REQUEST_METHOD: &str = "Access-Control-Request-Method";
const REQUEST_HEADERS: &str = "Access-Control-Request-Headers";
const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";
const ALLOW_METHODS: &str = "Access-Control-Allow-Methods";
const ALLOW_HEADERS: &str = "Access-Control-Allow-Headers";
const MAX_AGE: &str = "Access-Control-Max-Age";
const EXPOSE_HEADERS: &str = "Access-Control-Expose-Headers";
/// How the name of every CORS field of a response begins.
const CORS: &str = "Access-Control-";

/// Fields that the clients of gRPC-Web send of themselves.
const USUAL_HEADERS: &[u8] = b"content-type, x-grpc-web, x-user-agent, grpc-timeout, authorization";
/// Bytes of requested field names that are given back at most: a page names a few, and each may become metadata.
const MOST_HEADERS: usize = 1024;
/// How a call ended; pages read these when a call fails before its first message.
const EXPOSED: &[u8] = b"grpc-status, grpc-message, grpc-status-details-bin";
/// Seconds for which a browser may remember a preflight's answer: a day, of which each takes what it likes.
const REMEMBERED: &[u8] = b"86400";

/// Translates gRPC-Web, as pages in browsers speak it, to gRPC and back. `{}` translates and adds no CORS fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// Origins of pages that may call: `https://app.example.com`, with a port unless it is the usual one; `"*"` alone
    /// stands for every origin. Lintel then answers preflights and writes the CORS fields of responses. Unless written,
    /// both are the server's matter.
    pub origins: Option<Vec<String>>,
}

/// The compiled filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcWeb {
    /// `None` where CORS is the server's matter.
    origins: Option<Arc<Origins>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Origins {
    Any,
    /// As browsers write them: lower case, without the scheme's own port.
    Listed(Box<[Box<str>]>),
}

impl GrpcWeb {
    /// All problems are reported at once.
    pub fn compile(spec: &Spec) -> Result<Self, Vec<CompileProblem>> {
        let Some(written) = &spec.origins else { return Ok(Self { origins: None }) };
        let key = "grpc_web.origins";
        if written.is_empty() {
            let message = "`origins` is empty; name an origin, or leave the key out".to_owned();
            return Err(vec![CompileProblem { at: key.to_owned(), message }]);
        }
        if let [only] = written.as_slice()
            && only == "*"
        {
            return Ok(Self { origins: Some(Arc::new(Origins::Any)) });
        }
        let (mut listed, mut problems) = (Vec::new(), Vec::new());
        for (place, text) in written.iter().enumerate() {
            match origin(text) {
                Ok(origin) => listed.push(origin.into_boxed_str()),
                Err(message) => problems.push(CompileProblem { at: format!("{key}[{place}]"), message }),
            }
        }
        if problems.is_empty() {
            Ok(Self { origins: Some(Arc::new(Origins::Listed(listed.into()))) })
        } else {
            Err(problems)
        }
    }

    /// The answer to a CORS preflight; `None` for any other request, and where CORS is the server's matter.
    pub fn preflight(&self, request: &Head) -> Option<Reply> {
        let origins = self.origins.as_ref()?;
        let is_preflight = request.method() == Method::Options
            && [ORIGIN, REQUEST_METHOD].iter().all(|name| request.all_named(name).next().is_some());
        if !is_preflight {
            return None;
        }
        // Without the fields the browser refuses the page; the status is for people who look.
        let Some(allowed) = origins.allow(request) else {
            return Some(Reply::text(403, "403 Forbidden\nthis origin may not call\n"));
        };
        let requested = requested_headers(request);
        let reply = Reply::new(204)
            .with(ALLOW_ORIGIN, allowed)
            .with(ALLOW_METHODS, b"POST")
            .with(ALLOW_HEADERS, requested.as_deref().unwrap_or(USUAL_HEADERS))
            .with(MAX_AGE, REMEMBERED)
            .with(VARY, ORIGIN.as_bytes());
        Some(reply)
    }

    /// Lets a page of an allowed origin read `response`. What the server said about CORS is replaced; responses to
    /// others stay as they are.
    pub fn allow(&self, request: &Head, response: &mut Head) {
        let Some(allowed) = self.origins.as_ref().and_then(|origins| origins.allow(request)) else { return };
        response.retain(|field| !is_cors(field.name));
        response.add(ALLOW_ORIGIN, allowed);
        response.add(EXPOSE_HEADERS, EXPOSED);
        vary_by_origin(response);
    }
}

impl Origins {
    /// The value of Access-Control-Allow-Origin if the request is of an allowed origin.
    fn allow<'a>(&self, request: &'a Head) -> Option<&'a [u8]> {
        let mut origins = request.all_named(ORIGIN);
        // Two are no browser's, and which one counts would be a guess.
        let (Some(origin), None) = (origins.next(), origins.next()) else { return None };
        match self {
            Self::Any => Some(b"*"),
            Self::Listed(listed) => listed.iter().any(|one| one.as_bytes() == origin).then_some(origin),
        }
    }
}

/// The field names that a preflight asks for, as one list; `None` when it names none, too many, or what is no name.
fn requested_headers(request: &Head) -> Option<Vec<u8>> {
    let mut names = Vec::new();
    for name in request.all_named(REQUEST_HEADERS).flat_map(list) {
        if !is_token(name) || names.len() + name.len() > MOST_HEADERS {
            return None;
        }
        append(&mut names, name);
    }
    (!names.is_empty()).then_some(names)
}

fn is_cors(name: &str) -> bool {
    name.get(..CORS.len()).is_some_and(|start| start.eq_ignore_ascii_case(CORS))
}

/// Tells caches that the response depends on the origin (RFC 9110 section 12.5.5).
fn vary_by_origin(response: &mut Head) {
    let mut members = Vec::new();
    for member in response.all_named(VARY).flat_map(list) {
        if member == b"*" || member.eq_ignore_ascii_case(ORIGIN.as_bytes()) {
            return;
        }
        append(&mut members, member);
    }
    append(&mut members, ORIGIN.as_bytes());
    response.set(VARY, &members);
}

fn append(members: &mut Vec<u8>, member: &[u8]) {
    if !members.is_empty() {
        members.extend_from_slice(b", ");
    }
    members.extend_from_slice(member);
}

/// An origin as browsers write it (RFC 6454 section 6.2), from one that a user wrote.
fn origin(text: &str) -> Result<String, String> {
    let shown = text.escape_default();
    if text == "*" {
        return Err("`*` stands for every origin, so it must stand alone".to_owned());
    }
    let wrong = || format!("`{shown}` is no origin; write SCHEME://HOST or SCHEME://HOST:PORT");
    let (scheme, authority) = text.split_once("://").ok_or_else(wrong)?;
    if !is_scheme(scheme) {
        return Err(wrong());
    }
    if let Some((authority, _)) = authority.split_once(['/', '?', '#']) {
        let right = origin(&format!("{scheme}://{authority}")).map_err(|_| wrong())?;
        return Err(format!("an origin has no path; write `{right}`"));
    }
    let (host, port) = split_port(authority);
    if host.is_empty() || port == Some("") {
        return Err(wrong());
    }
    // An address with some port; which one is looked at below.
    let address: Address = format!("{host}:{}", port.unwrap_or("1")).parse().map_err(|_| wrong())?;
    let (host, number) = match &address {
        Address::Inet(address) => match address.ip() {
            std::net::IpAddr::V6(ip) => (format!("[{ip}]"), address.port()),
            ip => (ip.to_string(), address.port()),
        },
        Address::Host { port, .. } => (host.to_owned(), *port),
        Address::Unix(_) => return Err(wrong()),
    };
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(format!(
            "browsers send origins in lower case; write `{}`",
            text.to_ascii_lowercase().escape_default()
        ));
    }
    let is_usual = matches!((scheme, number), ("http", 80) | ("https", 443));
    match port {
        // Browsers leave the usual port out.
        Some(_) if !is_usual => Ok(format!("{scheme}://{host}:{number}")),
        _ => Ok(format!("{scheme}://{host}")),
    }
}

/// RFC 3986 section 3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Host and port; a colon inside brackets is the host's.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests;
