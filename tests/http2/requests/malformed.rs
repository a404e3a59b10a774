//! Requests that are malformed (RFC 9113 section 8.1.1), by RFC 9113 itself or by the documents it builds on.

use super::{Case, Comes::*, Pairs, case};
use crate::support::http2::{asking, post};

/// A GET with these fields besides.
fn with(more: &[(&'static str, &'static str)]) -> Pairs {
    asking("GET", "/", more)
}

/// A POST with this content-length.
fn long(length: &'static str) -> Pairs {
    asking("POST", "/", &[("content-length", length)])
}

/// Pseudo fields in this order and number.
fn bare(fields: &[(&'static str, &'static str)]) -> Pairs {
    fields.to_vec()
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const AUTHORITY: (&str, &str) = (":authority", "a.test");
const PATH: (&str, &str) = (":path", "/");

pub fn cases() -> Vec<Case> {
    [pseudo(), names_and_values(), lengths(), trailers()].concat()
}

#[rustfmt::skip] // one line each
fn pseudo() -> Vec<Case> {
    vec![
        case("method-missing", bare(&[SCHEME, AUTHORITY, PATH]), Malformed, "RFC 9113 8.3.1: exactly one"),
        case("scheme-missing", bare(&[METHOD, AUTHORITY, PATH]), Malformed, "RFC 9113 8.3.1: exactly one"),
        case("path-missing", bare(&[METHOD, SCHEME, AUTHORITY]), Malformed, "RFC 9113 8.3.1: exactly one"),
        case("authority-and-host-missing", bare(&[METHOD, SCHEME, PATH]), Refused, "RFC 9113 8.3.1: one of the two for http"),
        case("method-twice", bare(&[METHOD, METHOD, SCHEME, AUTHORITY, PATH]), Malformed, "RFC 9113 8.3: a name appears once"),
        case("scheme-twice", bare(&[METHOD, SCHEME, SCHEME, AUTHORITY, PATH]), Malformed, "RFC 9113 8.3: a name appears once"),
        case("authority-twice", bare(&[METHOD, SCHEME, AUTHORITY, AUTHORITY, PATH]), Malformed, "RFC 9113 8.3: a name appears once"),
        case("path-twice", bare(&[METHOD, SCHEME, AUTHORITY, PATH, PATH]), Malformed, "RFC 9113 8.3: a name appears once"),
        case("path-twice-different", bare(&[METHOD, SCHEME, AUTHORITY, PATH, (":path", "/admin")]), Malformed, "RFC 9113 8.3: a name appears once"),
        case("path-empty", asking("GET", "", &[]), Malformed, "RFC 9113 8.3.1: MUST NOT be empty"),
        case("path-relative", asking("GET", "a", &[]), Refused, "RFC 9113 8.3.1: an absolute path"),
        case("path-absolute-form", asking("GET", "http://b.test/", &[]), Refused, "RFC 9113 8.3.1: path and query, nothing else"),
        case("path-query-only", asking("GET", "?a", &[]), Refused, "RFC 9113 8.3.1: an absolute path"),
        case("path-asterisk-of-get", asking("GET", "*", &[]), Refused, "RFC 9113 8.3.1: for OPTIONS alone"),
        case("path-with-fragment", asking("GET", "/a#b", &[]), Refused, "RFC 9110 4.2.5: never sent"),
        case("method-empty", asking("", "/", &[]), Refused, "RFC 9110 9.1: a token"),
        case("method-no-token", asking("G(T", "/", &[]), Refused, "RFC 9110 9.1: a token"),
        case("scheme-empty", bare(&[METHOD, (":scheme", ""), AUTHORITY, PATH]), Refused, "RFC 3986 3.1: at least one letter"),
        case("scheme-other", bare(&[METHOD, (":scheme", "ftp"), AUTHORITY, PATH]), Refused, "not ours to serve"),
        case("scheme-with-authority", bare(&[METHOD, (":scheme", "http://b.test/?"), AUTHORITY, PATH]), Refused, "a scheme that becomes a URL where it is pasted before"),
        case("authority-empty", bare(&[METHOD, SCHEME, (":authority", ""), PATH]), Refused, "RFC 9113 8.3.1: MUST NOT be empty for http"),
        case("authority-with-userinfo", bare(&[METHOD, SCHEME, (":authority", "u:p@a.test"), PATH]), Refused, "RFC 9113 8.3.1: MUST NOT include userinfo"),
        case("authority-with-bad-port", bare(&[METHOD, SCHEME, (":authority", "a.test:b"), PATH]), Refused, "RFC 3986 3.2.3: digits"),
        case("authority-list", bare(&[METHOD, SCHEME, (":authority", "a.test, b.test"), PATH]), Refused, "RFC 3986 3.2.2: one host"),
        case("host-of-another", with(&[("host", "b.test")]), Malformed, "RFC 9113 8.3.1: another entity than :authority"),
        case("host-twice", with(&[("host", "a.test"), ("host", "a.test")]), Refused, "RFC 9112 3.2: once"),
        case("host-twice-without-authority", bare(&[METHOD, SCHEME, PATH, ("host", "a.test"), ("host", "b.test")]), Refused, "RFC 9112 3.2: once"),
        case("host-empty-without-authority", bare(&[METHOD, SCHEME, PATH, ("host", "")]), Refused, "RFC 9113 8.3.1: MUST NOT be empty for http"),
        case("pseudo-unknown", bare(&[METHOD, SCHEME, AUTHORITY, PATH, (":foo", "bar")]), Malformed, "RFC 9113 8.3: undefined pseudo fields"),
        case("pseudo-of-responses", bare(&[METHOD, SCHEME, AUTHORITY, PATH, (":status", "200")]), Malformed, "RFC 9113 8.3: of responses alone"),
        case("pseudo-late", bare(&[METHOD, SCHEME, AUTHORITY, ("x", "y"), PATH]), Malformed, "RFC 9113 8.3: before all others"),
        case("pseudo-upper-case", bare(&[METHOD, SCHEME, AUTHORITY, (":Path", "/")]), Malformed, "RFC 9113 8.2: lower case"),
        case("pseudo-empty-name", with(&[(":", "x")]), Malformed, "RFC 9113 8.3: undefined pseudo fields"),
        case("protocol-without-connect", bare(&[METHOD, SCHEME, AUTHORITY, PATH, (":protocol", "websocket")]), Refused, "RFC 8441 4: of CONNECT alone"),
        case("connect-extended-without-path", bare(&[(":method", "CONNECT"), (":protocol", "websocket"), SCHEME, AUTHORITY]), Malformed, "RFC 8441 4: :scheme and :path MUST be there"),
        case("connect-extended-without-scheme", bare(&[(":method", "CONNECT"), (":protocol", "websocket"), AUTHORITY, PATH]), Malformed, "RFC 8441 4: :scheme and :path MUST be there"),
        case("no-field-at-all", bare(&[]), Malformed, "RFC 9113 8.3.1: not even a method"),
    ]
}

#[rustfmt::skip] // one line each
fn names_and_values() -> Vec<Case> {
    vec![
        case("name-upper-case", with(&[("X-Upper", "y")]), Malformed, "RFC 9113 8.2.1: 0x41-0x5a"),
        case("name-one-upper-case", with(&[("xY", "y")]), Malformed, "RFC 9113 8.2.1: 0x41-0x5a"),
        case("name-empty", with(&[("", "y")]), Malformed, "RFC 9110 5.1: a token"),
        case("name-with-space", with(&[("a b", "y")]), Malformed, "RFC 9113 8.2.1: 0x00-0x20"),
        case("name-with-leading-space", with(&[(" a", "y")]), Malformed, "RFC 9113 8.2.1: 0x00-0x20"),
        case("name-with-trailing-space", with(&[("a ", "y")]), Malformed, "RFC 9113 8.2.1: 0x00-0x20"),
        case("name-with-tab", with(&[("a\tb", "y")]), Malformed, "RFC 9113 8.2.1: 0x00-0x20"),
        case("name-with-colon", with(&[("a:b", "y")]), Malformed, "RFC 9113 8.2.1: a colon only before pseudo fields"),
        case("name-with-nul", with(&[("a\0b", "y")]), Malformed, "RFC 9113 8.2.1: 0x00-0x20"),
        case("name-with-cr", with(&[("a\rb", "y")]), Malformed, "RFC 9113 8.2.1: 0x00-0x20"),
        case("name-with-lf", with(&[("a\nb", "y")]), Malformed, "RFC 9113 8.2.1: 0x00-0x20"),
        case("name-with-del", with(&[("a\x7fb", "y")]), Malformed, "RFC 9113 8.2.1: 0x7f-0xff"),
        case("name-with-high-bytes", with(&[("caf\u{e9}", "y")]), Malformed, "RFC 9113 8.2.1: 0x7f-0xff"),
        case("name-no-token", with(&[("a(b", "y")]), Refused, "RFC 9110 5.1: a token"),
        case("value-with-nul", with(&[("x", "a\0b")]), Malformed, "RFC 9113 8.2.1: NUL at any position"),
        case("value-with-cr", with(&[("x", "a\rb")]), Malformed, "RFC 9113 8.2.1: CR at any position"),
        case("value-with-lf", with(&[("x", "a\nb")]), Malformed, "RFC 9113 8.2.1: LF at any position"),
        case("value-ends-in-lf", with(&[("x", "a\n")]), Malformed, "RFC 9113 8.2.1: LF at any position"),
        case("value-with-leading-space", with(&[("x", " a")]), Malformed, "RFC 9113 8.2.1: MUST NOT start with white space"),
        case("value-with-trailing-space", with(&[("x", "a ")]), Malformed, "RFC 9113 8.2.1: MUST NOT end with white space"),
        case("value-with-leading-tab", with(&[("x", "\ta")]), Malformed, "RFC 9113 8.2.1: MUST NOT start with white space"),
        case("value-with-trailing-tab", with(&[("x", "a\t")]), Malformed, "RFC 9113 8.2.1: MUST NOT end with white space"),
        case("value-only-a-space", with(&[("x", " ")]), Malformed, "RFC 9113 8.2.1: white space at both ends"),
        case("value-with-control-byte", with(&[("x", "a\x01b")]), Refused, "RFC 9110 5.5: no CTL"),
        case("value-with-del", with(&[("x", "a\x7fb")]), Refused, "RFC 9110 5.5: no CTL"),
        case("method-with-cr", asking("GE\rT", "/", &[]), Malformed, "RFC 9113 8.2.1: pseudo fields as well"),
        case("path-with-lf", asking("GET", "/a\nb", &[]), Malformed, "RFC 9113 8.2.1: pseudo fields as well"),
        case("path-with-nul", asking("GET", "/a\0b", &[]), Malformed, "RFC 9113 8.2.1: pseudo fields as well"),
        case("path-with-trailing-space", asking("GET", "/a ", &[]), Refused, "RFC 9113 8.2.1: pseudo fields as well"),
        case("connection", with(&[("connection", "close")]), Malformed, "RFC 9113 8.2.2: of HTTP/1.1 connections"),
        case("connection-nominates", with(&[("connection", "x"), ("x", "y")]), Malformed, "RFC 9113 8.2.2: of HTTP/1.1 connections"),
        case("keep-alive", with(&[("keep-alive", "timeout=5")]), Malformed, "RFC 9113 8.2.2: of HTTP/1.1 connections"),
        case("proxy-connection", with(&[("proxy-connection", "keep-alive")]), Malformed, "RFC 9113 8.2.2: of HTTP/1.1 connections"),
        case("transfer-encoding", with(&[("transfer-encoding", "chunked")]), Malformed, "RFC 9113 8.2.2: of HTTP/1.1 connections"),
        case("upgrade", with(&[("upgrade", "websocket")]), Malformed, "RFC 9113 8.2.2: of HTTP/1.1 connections"),
        case("te-gzip", with(&[("te", "gzip")]), Malformed, "RFC 9113 8.2.2: nothing but trailers"),
        case("te-trailers-and-gzip", with(&[("te", "trailers, gzip")]), Malformed, "RFC 9113 8.2.2: nothing but trailers"),
    ]
}

#[rustfmt::skip] // one line each
fn lengths() -> Vec<Case> {
    vec![
        case("length-without-body", long("3"), Malformed, "RFC 9113 8.1.1: not the sum of DATA"),
        case("length-without-body-of-get", with(&[("content-length", "3")]), Malformed, "RFC 9113 8.1.1: not the sum of DATA"),
        case("length-too-long", long("4"), Malformed, "RFC 9113 8.1.1: not the sum of DATA").body(&["abc"]),
        case("length-too-long-empty-end", long("4"), Malformed, "RFC 9113 8.1.1: not the sum of DATA").body(&["abc", ""]),
        case("length-too-long-by-trailers", long("4"), Malformed, "RFC 9113 8.1.1: not the sum of DATA").body(&["abc"]).trailers(&[("x", "y")]),
        case("length-too-short", long("2"), Malformed, "RFC 9113 8.1.1: not the sum of DATA").body(&["abc"]),
        case("length-too-short-second-frame", long("3"), Malformed, "RFC 9113 8.1.1: not the sum of DATA").body(&["abc", "d"]),
        case("length-zero-with-body", long("0"), Clean, "RFC 9113 8.1.1: not the sum of DATA; the server may have had its whole request").body(&["abc"]),
        case("length-not-a-number", long("x"), Refused, "RFC 9110 8.6: digits").body(&["abc"]),
        case("length-signed", long("+3"), Refused, "RFC 9110 8.6: digits").body(&["abc"]),
        case("length-list", long("3, 3"), Refused, "RFC 9110 8.6: refused rather than repaired").body(&["abc"]),
        case("length-empty", long(""), Refused, "RFC 9110 8.6: digits").body(&["abc"]),
        case("length-twice-different", asking("POST", "/", &[("content-length", "3"), ("content-length", "4")]), Refused, "RFC 9110 8.6: one length").body(&["abc"]),
        case("length-over-64-bits", long("18446744073709551619"), Clean, "2^64 + 3 wraps to 3; 400, 413 or RST_STREAM").body(&["abc"]),
    ]
}

#[rustfmt::skip] // one line each
fn trailers() -> Vec<Case> {
    let ending = |name, trailers: &[(&'static str, &'static str)], why| {
        case(name, post("/"), Malformed, why).body(&["abc"]).trailers(trailers)
    };
    vec![
        ending("trailers-with-path", &[(":path", "/")], "RFC 9113 8.3: no pseudo fields in trailers"),
        ending("trailers-with-status", &[(":status", "200")], "RFC 9113 8.3: no pseudo fields in trailers"),
        ending("trailers-with-late-pseudo", &[("x", "y"), (":method", "GET")], "RFC 9113 8.3: no pseudo fields in trailers"),
        ending("trailers-upper-case", &[("X-Sum", "1")], "RFC 9113 8.2.1: as in a head"),
        ending("trailers-with-connection", &[("connection", "close")], "RFC 9113 8.2.2: as in a head"),
        ending("trailers-with-transfer-encoding", &[("transfer-encoding", "chunked")], "RFC 9113 8.2.2: as in a head"),
        ending("trailers-with-crlf", &[("x", "a\r\nb: c")], "RFC 9113 8.2.1: as in a head"),
        ending("trailers-with-nul", &[("x", "a\0")], "RFC 9113 8.2.1: as in a head"),
        ending("trailers-with-space-around", &[("x", " a")], "RFC 9113 8.2.1: as in a head"),
    ]
}
