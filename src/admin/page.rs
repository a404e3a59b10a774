//! What is answered to whom: a pure function from a request's head to a small response.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::http::{request, uri::Authority};
use hyper::{Method, Response, StatusCode};
use tokio::sync::watch;

use super::office::Office;
use crate::control::Readiness;

/// What the pages are made of.
pub struct Surface {
    /// Makes the text of /metrics (Prometheus text format 0.0.4).
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    pub readiness: watch::Receiver<Readiness>,
    /// Carries orders out, once there is something to order.
    pub office: OnceLock<Office>,
}

/// Who may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Whoever can connect: the read-only metrics address, or a unix socket with its file mode.
    Anyone,
    /// Only by a loopback name or address, or the one listened on: a web page whose name was made to point here (DNS
    /// rebinding) sends its own name as Host.
    LoopbackHost(SocketAddr),
}

/// Content type of what is said in words.
pub const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4";

/// A response, its body whole or still to come.
pub type Page = Response<Body>;
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The answer to a request; to HEAD hyper sends it without the body.
pub fn answer(head: &request::Parts, guard: &Guard, surface: &Surface) -> Page {
    if !guard.admits(head) {
        return page(
            StatusCode::FORBIDDEN,
            TEXT,
            "the Host header is neither a loopback name nor this address\n",
        );
    }
    let path = head.uri.path();
    if !matches!(path, "/metrics" | "/livez" | "/readyz") {
        return page(StatusCode::NOT_FOUND, TEXT, "not found; there are /metrics, /livez and /readyz\n");
    }
    if !matches!(head.method, Method::GET | Method::HEAD) {
        let mut refusal = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match path {
        "/metrics" => page(StatusCode::OK, METRICS, (surface.metrics)()),
        "/livez" => page(StatusCode::OK, TEXT, "ok\n"),
        _ => {
            let readiness = surface.readiness.borrow().clone();
            let status =
                if readiness == Readiness::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            page(status, TEXT, format!("{readiness}\n"))
        }
    }
}

/// A page with its whole body.
pub fn page(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Page {
    with_body(status, content_type, Full::new(body.into()).boxed_unsync())
}

pub fn with_body(status: StatusCode, content_type: &'static str, body: Body) -> Page {
    let mut page = Response::new(body);
    *page.status_mut() = status;
    let fields = page.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    page
}

impl Guard {
    /// Whether it may be answered at all.
    pub fn admits(&self, head: &request::Parts) -> bool {
        let Self::LoopbackHost(listening) = self else { return true };
        let mut hosts = head.headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        let Some(host) = host.to_str().ok().and_then(|text| text.parse::<Authority>().ok()) else {
            return false;
        };
        // In the absolute form the target's host counts (RFC 9112 section 3.2.2); both must be right.
        std::iter::once(&host).chain(head.uri.authority()).all(|host| is_local(host.host(), listening))
    }
}

fn is_local(host: &str, listening: &SocketAddr) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback() || ip == listening.ip(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

impl Surface {
    /// Shared by all connections of all doors.
    pub fn new(
        metrics: impl Fn() -> String + Send + Sync + 'static,
        readiness: watch::Receiver<Readiness>,
    ) -> Arc<Self> {
        Arc::new(Self { metrics: Box::new(metrics), readiness, office: OnceLock::new() })
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn surface(readiness: Readiness) -> Arc<Surface> {
        Surface::new(|| "lintel_up 1\n".to_owned(), watch::Sender::new(readiness).subscribe())
    }

    fn ask(method: &str, target: &str, host: &str, guard: &Guard) -> StatusCode {
        let request = Request::builder().method(method).uri(target).header(HOST, host).body(()).unwrap();
        answer(&request.into_parts().0, guard, &surface(Readiness::Ready)).status()
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        for (method, target, expected) in [
            ("GET", "/metrics", 200),
            ("HEAD", "/livez?verbose", 200),
            ("GET", "/readyz", 200),
            ("POST", "/metrics", 405),
            ("DELETE", "/", 404),
            ("GET", "/metrics/", 404),
        ] {
            assert_eq!(
                ask(method, target, "a.example", &Guard::Anyone).as_u16(),
                expected,
                "{method} {target}"
            );
        }
    }

    #[test]
    fn a_guarded_door_answers_only_to_loopback_names_and_its_own_address() {
        let guard = Guard::LoopbackHost("127.0.0.1:9900".parse().unwrap());
        for host in ["localhost", "LocalHost:9900", "127.0.0.1:9900", "127.8.8.8", "[::1]:9900", "[::1]"] {
            assert_eq!(ask("GET", "/metrics", host, &guard), 200, "{host}");
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
            assert_eq!(ask("GET", "/metrics", host, &guard), 403, "{host}");
        }
        assert_eq!(ask("GET", "http://evil.example/metrics", "localhost", &guard), 403);
        assert_eq!(ask("GET", "http://localhost:9900/metrics", "localhost", &guard), 200);
        let listening = Guard::LoopbackHost("192.0.2.7:9900".parse().unwrap());
        assert_eq!(ask("GET", "/metrics", "192.0.2.7:9900", &listening), 200);

        let none = Request::builder().uri("/livez").body(()).unwrap().into_parts().0;
        assert_eq!(answer(&none, &guard, &surface(Readiness::Ready)).status(), 403);
        let two = Request::builder().uri("/livez").header(HOST, "localhost").header(HOST, "localhost");
        assert_eq!(
            answer(&two.body(()).unwrap().into_parts().0, &guard, &surface(Readiness::Ready)).status(),
            403
        );
    }
}
