//! Names, values and pseudo fields that would split or frame an HTTP/1.1 request if they were copied as they are.
//!
//! Whatever comes of a case, the server sees nothing, or one request that a strict reader takes.

use super::{Case, Comes::*, Pairs, case};
use crate::support::http2::{asking, post};

fn with(more: &[(&'static str, &'static str)]) -> Pairs {
    asking("GET", "/", more)
}

/// A POST with this body and these fields besides.
fn sending(
    name: &'static str,
    more: &[(&'static str, &'static str)],
    body: &'static str,
    why: &'static str,
) -> Case {
    case(name, asking("POST", "/", more), Malformed, why).body(&[body])
}

fn of_authority(authority: &'static str) -> Pairs {
    vec![(":method", "GET"), (":scheme", "http"), (":authority", authority), (":path", "/")]
}

const NEXT: &str = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
const CHUNKS: &str = "0\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n";

#[rustfmt::skip] // one line each
pub fn cases() -> Vec<Case> {
    vec![
        // Framing that HTTP/2 does not have
        sending("coding-chunked", &[("transfer-encoding", "chunked")], CHUNKS, "H2.TE: the textbook attack"),
        sending("coding-chunked-upper-case", &[("Transfer-Encoding", "chunked")], CHUNKS, "H2.TE by a name in another case"),
        sending("coding-identity", &[("transfer-encoding", "identity")], CHUNKS, "no coding is harmless in HTTP/2"),
        sending("coding-empty", &[("transfer-encoding", "")], CHUNKS, "no coding is harmless in HTTP/2"),
        sending("coding-and-length", &[("transfer-encoding", "chunked"), ("content-length", "40")], CHUNKS, "both, as in CL.TE"),
        sending("coding-by-value", &[("x", "y\r\ntransfer-encoding: chunked")], CHUNKS, "H2.TE by a line break in a value"),
        sending("coding-by-lf", &[("x", "y\ntransfer-encoding: chunked")], CHUNKS, "for those who take LF for a line's end"),
        sending("coding-by-cr", &[("x", "y\rtransfer-encoding: chunked")], CHUNKS, "for those who take CR for a line's end"),
        sending("coding-by-name", &[("x: y\r\ntransfer-encoding", "chunked")], CHUNKS, "H2.TE by a line break in a name"),
        sending("coding-by-name-with-colon", &[("transfer-encoding: chunked\r\nx", "y")], CHUNKS, "a whole line as a name"),
        sending("coding-by-name-with-space", &[("transfer-encoding ", "chunked")], CHUNKS, "the classic space before the colon"),
        sending("coding-by-name-with-tab", &[("transfer-encoding\t", "chunked")], CHUNKS, "the same with a tab"),
        sending("coding-by-vertical-tab", &[("transfer-encoding", "\x0bchunked")], CHUNKS, "forbidden whatever its value"),
        case("length-zero", asking("POST", "/", &[("content-length", "0")]), Clean, "H2.CL: the body would be the next request").body(&[NEXT]),
        sending("length-short", &[("content-length", "1")], NEXT, "H2.CL: the rest would be the next request"),
        sending("length-long", &[("content-length", "400")], NEXT, "the next request would be the rest"),
        case("length-with-a-line", asking("POST", "/", &[("content-length", "0\r\nX: y")]), Malformed, "a line break in a length").body(&[NEXT]),
        case("length-with-a-space", asking("POST", "/", &[("content-length", "0 ")]), Malformed, "white space at the end").body(&[NEXT]),
        case("length-by-value", asking("POST", "/", &[("x", "y\r\ncontent-length: 0")]), Malformed, "a second length").body(&[NEXT]),
        case("length-by-trailer", post("/"), Clean, "a length that comes late; RST_STREAM, or left out").body(&["abc"]).trailers(&[("content-length", "0")]),
        case("coding-disguised", asking("POST", "/", &[("transfer_encoding", "chunked")]), Clean, "CGI-like servers read _ as -").body(&[CHUNKS]),
        case("length-disguised", asking("POST", "/", &[("content_length", "0")]), Clean, "CGI-like servers read _ as -").body(&[NEXT]),
        // Requests in fields
        case("value-with-a-request", with(&[("x", "y\r\n\r\nGET /admin HTTP/1.1\r\nHost: a")]), Malformed, "a head that ends in a value"),
        case("value-with-a-request-by-lf", with(&[("x", "y\n\nGET /admin HTTP/1.1\nHost: a")]), Malformed, "the same with LF alone"),
        case("value-with-a-host", with(&[("x", "y\r\nHost: b")]), Malformed, "a second Host"),
        case("name-with-a-request", with(&[("x: y\r\n\r\nGET /admin HTTP/1.1\r\nx", "y")]), Malformed, "a head that ends in a name"),
        case("name-with-a-field", with(&[("x: y\r\nz", "y")]), Malformed, "two fields in one name"),
        case("cookie-with-a-line", with(&[("cookie", "a=1"), ("cookie", "b=2\r\nx: y")]), Malformed, "joined crumbs are checked, too"),
        case("user-agent-with-a-line", with(&[("user-agent", "me\r\nx-client-cert-subject: CN=root")]), Malformed, "a field of Lintel's own"),
        // Pseudo fields
        case("path-with-version-and-host", asking("GET", "/a HTTP/1.1\r\nHost: b", &[]), Malformed, "a request line that ends in the path"),
        case("path-with-a-request", asking("GET", "/ HTTP/1.1\r\nHost: b\r\n\r\nGET /admin", &[]), Malformed, "a whole request in the path"),
        case("path-with-version", asking("GET", "/a HTTP/1.1", &[]), Refused, "two versions in one line"),
        case("path-with-old-version", asking("GET", "/a HTTP/1.0", &[]), Refused, "two versions in one line"),
        case("path-with-space", asking("GET", "/a b", &[]), Refused, "a line with four words"),
        case("path-with-tab", asking("GET", "/a\tb", &[]), Refused, "some split at tabs"),
        case("path-with-vertical-tab", asking("GET", "/a\x0bb", &[]), Refused, "some split at VT"),
        case("path-with-del", asking("GET", "/a\x7fb", &[]), Refused, "no control bytes in a URI"),
        case("path-double-slash", asking("GET", "//b.test/admin", &[]), Clean, "an authority for those who resolve it"),
        case("path-with-high-bytes", asking("GET", "/caf\u{e9}", &[]), Clean, "no URI, but common over HTTP/1.1"),
        case("path-with-backslash", asking("GET", "/\\b.test", &[]), Clean, "some take it for a slash"),
        case("method-with-target", asking("GET / HTTP/1.1", "/", &[]), Refused, "two targets in one line"),
        case("method-with-a-request", asking("GET /admin HTTP/1.1\r\nHost: a\r\n\r\nGET", "/", &[]), Malformed, "a whole request in the method"),
        case("method-with-space", asking("GET /admin", "/", &[]), Refused, "a line with four words"),
        case("method-with-trailing-space", asking("GET ", "/", &[]), Refused, "white space at the end"),
        case("method-with-tab", asking("GET\t/admin", "/", &[]), Refused, "some split at tabs"),
        case("authority-with-space", of_authority("a.test b.test"), Refused, "no host"),
        case("authority-with-path", of_authority("a.test/admin"), Refused, "host and port alone"),
        case("authority-with-query", of_authority("a.test?b"), Refused, "host and port alone"),
        case("authority-with-fragment", of_authority("a.test#b"), Refused, "host and port alone"),
        case("authority-with-backslash", of_authority("a.test\\b"), Refused, "some take it for a slash"),
        case("authority-with-a-line", of_authority("a.test\r\nx: y"), Malformed, "a field in the Host"),
        case("authority-with-a-request", of_authority("a.test\r\n\r\nGET /admin HTTP/1.1\r\nHost: a"), Malformed, "a head that ends in the Host"),
        case("authority-with-at", of_authority("a.test@b.test"), Refused, "userinfo, by which hosts are confused"),
        case("authority-with-quote", of_authority("\"a\""), Refused, "would break out of Forwarded's quotes"),
        case("scheme-with-a-line", vec![(":method", "GET"), (":scheme", "http\r\nx: y"), (":authority", "a.test"), (":path", "/")], Malformed, "told on as X-Forwarded-Proto by some"),
        case("host-with-a-line", vec![(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "a.test\r\nx: y")], Malformed, "a field in the Host"),
        case("host-with-space", vec![(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "a.test b.test")], Refused, "no host"),
        // Trailers
        case("trailers-with-a-request", post("/"), Malformed, "trailers that end early").body(&["abc"]).trailers(&[("x", "y\r\n\r\nGET /admin HTTP/1.1\r\nHost: a")]),
        case("trailers-with-coding", post("/"), Malformed, "framing that comes late").body(&["abc"]).trailers(&[("transfer-encoding", "chunked")]),
        case("trailers-with-host", post("/"), Clean, "RFC 9110 6.5.1: routing must not come late; RST_STREAM, or left out").body(&["abc"]).trailers(&[("host", "b.test")]),
    ]
}
