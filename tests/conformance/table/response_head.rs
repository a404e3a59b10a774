//! Heads of responses: what a server says wrongly is a 502, never the client's problem (RFC 9112 sections 4 to 6).

use crate::case::{Case, Does, Got::*, Seen, answered, case, ended};

/// The answer to a response that is refused: the client's connection stays.
const BAD: &[crate::case::Got] = &[Status(502), Kept];
const OK: &[crate::case::Got] = &[Status(200), Body("ok"), Kept];

#[rustfmt::skip] // one line each
pub fn cases() -> Vec<Case> {
    let huge_head = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\nok", "y".repeat(200_000));
    let many_fields = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 2\r\n\r\nok", "X: y\r\n".repeat(5000));
    let dropped = |case: Case| case.seen(&[Seen::Dropped]);
    vec![
        // Status line
        answered("status-plain", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\n\r\nok", &[Status(200), Has("x-a", "1"), Has("content-length", "2"), Body("ok"), Kept], "RFC 9112 4: the plain case"),
        answered("status-without-reason", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", OK, "RFC 9112 4: the reason may be empty"),
        answered("status-without-reason-and-space", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", OK, "RFC 9112 4 wants the space; many servers leave it out, and nothing is unclear"),
        answered("status-unknown", "HTTP/1.1 299 Fine\r\nContent-Length: 2\r\n\r\nok", &[Status(299), Body("ok"), Kept], "RFC 9110 15: unknown codes go on"),
        answered("status-reason-obs-text", b"HTTP/1.1 200 tr\xe8s bien\r\nContent-Length: 2\r\n\r\nok", OK, "RFC 9112 4: obs-text in a reason"),
        dropped(answered("status-two-digits", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok", BAD, "RFC 9112 4: three digits")),
        dropped(answered("status-four-digits", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok", BAD, "RFC 9112 4: three digits")),
        dropped(answered("status-not-a-number", "HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok", BAD, "RFC 9112 4: three digits")),
        dropped(answered("status-below-100", "HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok", BAD, "RFC 9110 15: 100 to 599")),
        dropped(answered("status-version-2", "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", BAD, "RFC 9112 2.3: not what was asked")),
        dropped(answered("status-other-protocol", "ICY 200 OK\r\nContent-Length: 2\r\n\r\nok", BAD, "RFC 9112 4: not HTTP")),
        dropped(ended("status-garbage", "hello\r\n\r\n", BAD, "RFC 9112 4: not HTTP")),
        dropped(ended("status-http-0-9", "<html>hello</html>", BAD, "RFC 9112 4: HTTP/0.9 is not spoken")),
        dropped(ended("head-cut-off", "HTTP/1.1 200 OK\r\nContent-Le", BAD, "RFC 9112 8: an incomplete response")),
        dropped(ended("head-never-begun", "", BAD, "RFC 9112 8: no response at all")),
        case("head-reset", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "RFC 9112 8: no response at all").server(Does::AnswersAndResets(Vec::new())).got(BAD),
        // Fields
        answered("response-fields-stay", "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nServer: x\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok", &[Status(200), All("set-cookie", &["a=1", "b=2"]), Has("server", "x"), Kept], "RFC 9110 5.3: Set-Cookie is never joined"),
        answered("response-obs-text", b"HTTP/1.1 200 OK\r\nX: caf\xe9\r\nContent-Length: 2\r\n\r\nok", &[Status(200), Has("x", "caf\u{e9}"), Kept], "RFC 9110 5.5: obs-text goes on as it came"),
        answered("response-obs-fold", "HTTP/1.1 200 OK\r\nX: b\r\n Set-Cookie: evil=1\r\nContent-Length: 2\r\n\r\nok", &[OneOf(&[502, 200]), Lacks("set-cookie"), Kept], "RFC 9112 5.2: 502, or unfolded to spaces; never a field of its own"),
        answered("response-space-before-colon", "HTTP/1.1 200 OK\r\nX : b\r\nContent-Length: 2\r\n\r\nok", &[OneOf(&[502, 200]), Kept], "RFC 9112 5.1: a proxy MUST remove the space; refusing is safer"),
        dropped(answered("response-nul", "HTTP/1.1 200 OK\r\nX: b\0c\r\nContent-Length: 2\r\n\r\nok", BAD, "RFC 9110 5.5: invalid and dangerous")),
        dropped(answered("response-bare-cr", "HTTP/1.1 200 OK\r\nX: b\rSet-Cookie: evil=1\r\nContent-Length: 2\r\n\r\nok", BAD, "RFC 9110 5.5: invalid and dangerous")),
        answered("response-bare-lf", "HTTP/1.1 200 OK\nX: b\nContent-Length: 2\n\nok", &[OneOf(&[502, 200]), Kept], "RFC 9112 2.2 allows LF alone; refusing is safer"),
        dropped(answered("response-control-byte", "HTTP/1.1 200 OK\r\nX: b\x01c\r\nContent-Length: 2\r\n\r\nok", BAD, "RFC 9110 5.5: no control bytes")),
        dropped(answered("response-name-not-a-token", "HTTP/1.1 200 OK\r\nX y: b\r\nContent-Length: 2\r\n\r\nok", BAD, "RFC 9110 5.1: a name is a token")),
        dropped(answered("response-name-empty", "HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 2\r\n\r\nok", BAD, "RFC 9110 5.1: a name is a token")),
        dropped(answered("response-without-colon", "HTTP/1.1 200 OK\r\nhello\r\nContent-Length: 2\r\n\r\nok", BAD, "RFC 9112 5: a field has a colon")),
        dropped(answered("response-head-too-large", huge_head, BAD, "a server may not fill our memory")),
        dropped(answered("response-too-many-fields", many_fields, BAD, "a server may not fill our memory")),
        // Lengths
        answered("response-length-twice-equal", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", &[OneOf(&[200, 502]), Kept], "RFC 9110 8.6 lets us choose; the client sees one length or none of it"),
        dropped(answered("response-length-twice-different", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", BAD, "RFC 9112 6.3: MUST be a 502")),
        dropped(answered("response-length-list-different", "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok", BAD, "RFC 9112 6.3: MUST be a 502")),
        dropped(answered("response-length-plus-sign", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", BAD, "RFC 9112 6.3: MUST be a 502")),
        dropped(answered("response-length-negative", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", BAD, "RFC 9112 6.3: MUST be a 502")),
        dropped(answered("response-length-empty", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok", BAD, "RFC 9112 6.3: MUST be a 502")),
        dropped(answered("response-length-huge", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nok", BAD, "2^64 + 2 wraps to 2")),
        dropped(answered("response-length-and-chunked", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", BAD, "RFC 9112 6.3: ought to be handled as an error")),
        dropped(answered("response-coding-gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok", BAD, "RFC 9112 6.1: not asked for by TE")),
        dropped(answered("response-coding-gzip-chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", BAD, "RFC 9112 6.1: not asked for by TE")),
        dropped(answered("response-coding-chunked-twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", BAD, "RFC 9112 6.1: MUST NOT")),
        dropped(answered("response-coding-in-1-0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", BAD, "RFC 9112 6.1: faulty framing")),
        // Informational
        answered("informational-103", "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", &[Status(103), Has("link", "</a.css>"), Status(200), Body("ok"), Kept], "RFC 9110 15.2: a proxy MUST forward 1xx"),
        answered("informational-several", "HTTP/1.1 103 A\r\nX: 1\r\n\r\nHTTP/1.1 103 A\r\nX: 2\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", &[Status(103), Has("x", "1"), Status(103), Has("x", "2"), Status(200), Body("ok"), Kept], "RFC 9110 15.2: one or more"),
        answered("informational-102", "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", &[Status(102), Status(200), Body("ok"), Kept], "RFC 2518 10.1: keeps clients from giving up"),
        answered("informational-100-unasked", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", &[May(100), Status(200), Body("ok"), Kept], "RFC 9110 15.2.1: a client must be ready for it, asked or not"),
        answered("informational-hop-fields", "HTTP/1.1 103 A\r\nConnection: X-Secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", &[Status(103), Lacks("connection"), Lacks("keep-alive"), Lacks("x-secret"), Status(200), Kept], "RFC 9110 7.6.1: in every head"),
        answered("informational-with-length", "HTTP/1.1 103 A\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", &[Status(103), Lacks("content-length"), Status(200), Body("ok"), Kept], "RFC 9110 8.6: MUST NOT; a careless client would take the next head for content"),
        answered("informational-101-unasked", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n", BAD, "RFC 9110 15.2.2: nobody asked to switch").seen(&[Seen::Dropped]),
        dropped(ended("informational-then-end", "HTTP/1.1 103 A\r\n\r\n", &[May(103), Status(502), Kept], "RFC 9110 15.2: no final response came")),
    ]
}
