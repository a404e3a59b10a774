//! Requests that are fine, and what an HTTP/1.1 server gets of them.

use super::{Case, Comes::*, Pairs, Saw::*, case};
use crate::support::http2::{asking, get, post};

fn with(more: &[(&'static str, &'static str)]) -> Pairs {
    asking("GET", "/", more)
}

const ONLY_HOST: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "b.test:81")];
const CONNECT: [(&str, &str); 2] = [(":method", "CONNECT"), (":authority", "b.test:443")];

#[rustfmt::skip] // one line each
pub fn cases() -> Vec<Case> {
    vec![
        case("plain", get("/a?b=c"), Served(&[Line("GET /a?b=c HTTP/1.1"), Has("host", "a.test"), Has("x-forwarded-for", "127.0.0.1"), Has("x-forwarded-proto", "http"), Lacks("transfer-encoding"), Lacks("content-length")]), "RFC 9113 8.3.1: the plain case"),
        case("authority-with-port", vec![(":method", "GET"), (":scheme", "http"), (":authority", "a.test:8080"), (":path", "/")], Served(&[Has("host", "a.test:8080")]), "RFC 9113 8.3.1: forwarded as it came"),
        case("pseudo-in-any-order", vec![(":path", "/x"), (":authority", "a.test"), (":scheme", "http"), (":method", "GET")], Served(&[Line("GET /x HTTP/1.1")]), "RFC 9113 8.3: no order among them"),
        case("host-same-as-authority", with(&[("host", "a.test")]), Served(&[Has("host", "a.test")]), "RFC 9113 8.3.1: the same entity, told once"),
        case("host-alone", ONLY_HOST.to_vec(), Served(&[Has("host", "b.test:81")]), "RFC 9113 8.3.1: of requests that were HTTP/1.1 before"),
        case("options-asterisk", asking("OPTIONS", "*", &[]), Served(&[Line("OPTIONS * HTTP/1.1")]), "RFC 9113 8.3.1: asterisk-form"),
        case("method-unknown", asking("BREW", "/pot", &[]), Served(&[Line("BREW /pot HTTP/1.1")]), "RFC 9110 9.1: the set of methods is open"),
        case("method-trace", asking("TRACE", "/", &[]), Status(405), "as over HTTP/1.1"),
        case("connect-plain", CONNECT.to_vec(), Status(405), "RFC 9113 8.5: a front door tunnels to nobody's choice"),
        case("te-trailers", with(&[("te", "trailers")]), Served(&[Line("GET / HTTP/1.1")]), "RFC 9113 8.2.2: the one value allowed"),
        case("cookie-crumbs", with(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")]), Served(&[Has("cookie", "a=1; b=2; c=3"), Has("x", "y")]), "RFC 9113 8.2.3: MUST be one before HTTP/1.1"),
        case("cookie-whole", with(&[("cookie", "a=1; b=2")]), Served(&[Has("cookie", "a=1; b=2")]), "RFC 9113 8.2.3: one crumb is a cookie"),
        case("field-repeated", with(&[("x", "1"), ("x", "2")]), Served(&[All("x", &["1", "2"])]), "RFC 9110 5.3: in their order"),
        case("value-empty", with(&[("x", "")]), Served(&[Has("x", "")]), "RFC 9110 5.5: a value may be empty"),
        case("value-with-tab-inside", with(&[("x", "b\tc d")]), Served(&[Has("x", "b\tc d")]), "RFC 9113 8.2.1: only at the ends it is wrong"),
        case("value-with-colon", with(&[("x", "b:c: d")]), Served(&[Has("x", "b:c: d")]), "values are not parsed"),
        case("value-obs-text", with(&[("x", "\u{e9}")]), Served(&[Has("x", "\u{c3}\u{a9}")]), "RFC 9110 5.5: goes on as it came"),
        case("name-every-sign", with(&[("!#$%&'*+-.^`|~9", "b")]), Served(&[Has("!#$%&'*+-.^`|~9", "b")]), "RFC 9110 5.6.2: a name is any token"),
        case("trailer-field", with(&[("trailer", "x")]), Served(&[]), "RFC 9110 6.6.2: an announcement, no trailer"),
        case("forwarded-by-a-stranger", with(&[("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=6.6.6.6")]), Served(&[Has("x-forwarded-for", "127.0.0.1")]), "nobody is trusted unless written"),
        case("body", post("/echo"), Served(&[Body("abc"), Has("transfer-encoding", "chunked"), Lacks("content-length")]), "RFC 9113 8.1: a body without a length").body(&["abc"]),
        case("body-with-length", asking("POST", "/echo", &[("content-length", "3")]), Served(&[Body("abc"), Has("content-length", "3"), Lacks("transfer-encoding")]), "RFC 9113 8.1.1: the length is told on").body(&["abc"]),
        case("body-in-pieces", asking("POST", "/echo", &[("content-length", "3")]), Served(&[Body("abc")]), "RFC 9113 8.1: frames do not matter").body(&["a", "", "b", "c", ""]),
        case("body-empty", post("/echo"), Served(&[Body(""), Line("POST /echo HTTP/1.1")]), "RFC 9113 8.1: an empty DATA frame ends it").body(&[""]),
        case("body-none-of-post", post("/"), Served(&[Body(""), Line("POST / HTTP/1.1"), Lacks("transfer-encoding")]), "RFC 9110 8.6: HEADERS alone"),
        case("body-length-zero", asking("POST", "/", &[("content-length", "0")]), Served(&[Body(""), Has("content-length", "0")]), "RFC 9113 8.1.1: equal to the sum of no DATA"),
        case("body-of-get", asking("GET", "/echo", &[]), Served(&[Body("abc"), Line("GET /echo HTTP/1.1")]), "RFC 9110 9.3.1: unusual, but framed").body(&["abc"]),
        case("body-like-chunks", post("/echo"), Served(&[Body("0\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n")]), "content is content").body(&["0\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n"]),
        case("body-and-trailers", post("/echo"), Served(&[Body("abc"), Trailer("x-sum", "1"), Lacks("x-sum")]), "RFC 9113 8.1: trailers become trailers").body(&["abc"]).trailers(&[("x-sum", "1")]),
        case("trailers-without-body", post("/echo"), Served(&[Body("")]), "RFC 9113 8.1: HEADERS twice, and no DATA").trailers(&[("x-sum", "1")]),
        case("body-with-length-and-trailers", asking("POST", "/echo", &[("content-length", "3")]), Served(&[Body("abc")]), "RFC 9112 7.1.2: no trailers where there are no chunks; they may be lost").body(&["abc"]).trailers(&[("x-sum", "1")]),
    ]
}
