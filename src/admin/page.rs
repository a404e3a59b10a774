//! The pages of every door: /metrics, /livez and /readyz, each a pure function from a request's head to a small response.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::http::request;
use hyper::{Method, Response, StatusCode};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::guard::Refusal;
use super::office::Office;
use crate::control::Readiness;
use crate::observe::metrics::Counter;

/// Between two lines of the log about refusals.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// What the pages are made of.
pub struct Surface {
    /// Makes the text of /metrics (Prometheus text format 0.0.4).
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    pub readiness: watch::Receiver<Readiness>,
    /// Carries orders out, once there is something to order.
    pub office: OnceLock<Office>,
    pub refused: Refused,
}

/// Those who were not let in: counted, and told of now and then.
#[derive(Debug, Default)]
pub struct Refused {
    count: Arc<Counter>,
    told: Mutex<Option<Instant>>,
}

/// Content type of what is said in words.
pub const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4";

/// A response, its body whole or still to come.
pub type Page = Response<Body>;
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The answer to a request for a page; to HEAD hyper sends it without the body.
pub fn answer(head: &request::Parts, surface: &Surface) -> Page {
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

impl Surface {
    /// Shared by all connections of all doors.
    pub fn new(
        metrics: impl Fn() -> String + Send + Sync + 'static,
        readiness: watch::Receiver<Readiness>,
    ) -> Arc<Self> {
        Arc::new(Self {
            metrics: Box::new(metrics),
            readiness,
            office: OnceLock::new(),
            refused: Refused::default(),
        })
    }
}

impl Refused {
    pub fn count(&self) -> Arc<Counter> {
        Arc::clone(&self.count)
    }

    /// Counts one, and logs at most one in a while: who sends wrong tokens decides how many there are.
    pub fn note(&self, refusal: &Refusal, now: Instant) {
        self.count.add(1);
        let mut told = self.told.lock();
        if told.is_none_or(|told| now.saturating_duration_since(told) >= BETWEEN_LINES) {
            *told = Some(now);
            let total = self.count.count();
            tracing::warn!(
                status = refusal.status.as_u16(),
                total,
                "the control interface refused: {}",
                refusal.why
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn surface(readiness: Readiness) -> Arc<Surface> {
        Surface::new(|| "lintel_up 1\n".to_owned(), watch::Sender::new(readiness).subscribe())
    }

    fn ask(method: &str, target: &str) -> StatusCode {
        let request = Request::builder().method(method).uri(target).body(()).unwrap();
        answer(&request.into_parts().0, &surface(Readiness::Ready)).status()
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
            assert_eq!(ask(method, target).as_u16(), expected, "{method} {target}");
        }
    }

    #[test]
    fn refusals_are_counted_and_told_once_in_a_while() {
        let (refused, start) = (Refused::default(), Instant::now());
        let told = |seconds| {
            refused.note(&super::super::guard::WRONG_HOST, start + Duration::from_secs(seconds));
            refused.told.lock().unwrap().duration_since(start).as_secs()
        };
        assert_eq!([told(0), told(1), told(9), told(10), told(12)], [0, 0, 0, 10, 10]);
        assert_eq!(refused.count().count(), 5);
    }
}
