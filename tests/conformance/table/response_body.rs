//! Bodies of responses: framing both ways, HEAD and bare statuses, and responses that end early (RFC 9112 section 6.3).

use crate::case::{Case, Does, Got::*, Seen, answered, case, ended};

#[rustfmt::skip] // one line each
pub fn cases() -> Vec<Case> {
    let head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    vec![
        // Bare responses
        answered("head-with-length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", &[Status(200), Has("content-length", "100"), Body(""), Kept], "RFC 9110 9.3.2: the length of what GET would give").sent(head),
        answered("head-without-length", "HTTP/1.1 200 OK\r\nX: 1\r\n\r\n", &[Status(200), Has("x", "1"), Body(""), Kept], "RFC 9110 9.3.2: no content, so no close either").sent(head),
        answered("head-chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &[Status(200), Body(""), Kept], "RFC 9112 6.1: says how GET would be framed").sent(head),
        answered("head-with-a-body", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", &[Status(200), Body(""), Kept], "RFC 9110 9.3.2: MUST NOT; what follows is nobody's response").sent(head).seen(&[Seen::Dropped]),
        answered("no-content", "HTTP/1.1 204 No Content\r\nX: 1\r\n\r\n", &[Status(204), Has("x", "1"), Body(""), Kept], "RFC 9110 15.3.5: no content"),
        answered("no-content-with-length-zero", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", &[Status(204), Lacks("content-length"), Kept], "RFC 9110 8.6: MUST NOT, but Node apps do; not passed on"),
        answered("no-content-with-length", "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc", &[OneOf(&[204, 502]), Lacks("transfer-encoding"), Kept], "RFC 9112 6.3: ends after its head, whatever the fields say").seen(&[Seen::Dropped]),
        answered("no-content-chunked", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[OneOf(&[204, 502]), Lacks("transfer-encoding"), Kept], "RFC 9112 6.1: MUST NOT; ends after its head").seen(&[Seen::Dropped]),
        answered("not-modified-with-length", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 100\r\n\r\n", &[Status(304), Has("etag", "\"a\""), Body(""), Kept], "RFC 9110 15.4.5: the length of what would have come"),
        answered("not-modified-without-length", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", &[Status(304), Lacks("content-length"), Body(""), Kept], "RFC 9110 15.4.5: no content"),
        answered("reset-content", "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", &[Status(205), Body(""), Kept], "RFC 9110 15.3.6: framed as any other"),
        answered("empty-body", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", &[Status(200), Has("content-length", "0"), Body(""), Kept], "RFC 9110 8.6: a length of nothing"),
        // Framing
        answered("chunked-body", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", &[Status(200), Has("transfer-encoding", "chunked"), Lacks("content-length"), Body("abc"), Kept], "RFC 9112 7.1: framed anew"),
        answered("chunked-body-extension", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0;c\r\n\r\n", &[Status(200), Body("abc"), Kept], "RFC 9112 7.1.1: extensions end here"),
        answered("chunked-body-trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", &[Status(200), Body("abc"), Trailer("X-Sum", "1"), Kept], "RFC 9110 6.5: forwarded"),
        answered("chunked-body-trailer-framing", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n", &[Unfinished], "RFC 9110 6.5.1: framing must not come late"),
        answered("chunked-body-coding-case", "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", &[Status(200), Body("abc"), Kept], "RFC 9112 7: codings are case-insensitive"),
        ended("close-delimited-body", "HTTP/1.1 200 OK\r\n\r\nabc", &[Status(200), Has("transfer-encoding", "chunked"), Body("abc"), Kept], "RFC 9112 6.3: an HTTP/1.1 client gets chunks, so it can tell the end from a cut"),
        ended("close-delimited-1-0-server", "HTTP/1.0 200 OK\r\n\r\nabc", &[Status(200), Has("transfer-encoding", "chunked"), Body("abc"), Kept], "RFC 9112 6.3: HTTP/1.0 servers end like this"),
        ended("length-1-0-server", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", &[Status(200), Body("abc"), Kept], "RFC 9112 9.3: framed, and its connection is not used again").seen(&[Seen::Dropped]),
        answered("length-1-0-server-kept", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc", &[Status(200), Lacks("connection"), Body("abc"), Kept], "RFC 9112 9.3: HTTP/1.0 with keep-alive"),
        answered("more-than-the-length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", &[Status(200), Body("ok"), Kept], "RFC 9112 6.3: what is beyond is nobody's response").seen(&[Seen::Dropped]),
        answered("more-than-the-last-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", &[Status(200), Body("ok"), Kept], "RFC 9112 6.3: what is beyond is nobody's response").seen(&[Seen::Dropped]),
        answered("more-than-no-content", "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", &[Status(204), Kept], "RFC 9112 6.3: what is beyond is nobody's response").seen(&[Seen::Dropped]),
        // Cut off
        ended("length-cut-off", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", &[Unfinished], "RFC 9112 8: the client must see that it is incomplete").seen(&[Seen::Dropped]),
        ended("chunks-cut-off", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", &[Unfinished], "RFC 9112 8: no last chunk may be made up").seen(&[Seen::Dropped]),
        ended("chunks-cut-off-inside", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", &[Unfinished], "RFC 9112 8: no last chunk may be made up").seen(&[Seen::Dropped]),
        ended("chunks-cut-off-in-trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: ", &[Unfinished], "RFC 9112 8: no last chunk may be made up").seen(&[Seen::Dropped]),
        case("close-delimited-reset", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "RFC 9112 8: a reset is no end of a body").server(Does::AnswersAndResets(b"HTTP/1.1 200 OK\r\n\r\nabc".into())).got(&[Unfinished]),
        case("length-reset", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "RFC 9112 8: the client must see that it is incomplete").server(Does::AnswersAndResets(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".into())).got(&[Unfinished]),
        answered("chunk-size-garbage", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n", &[Unfinished], "RFC 9112 7.1: HEXDIG").seen(&[Seen::Dropped]),
        answered("chunk-size-bare-line-feed", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", &[Unfinished], "RFC 9112 7.1: CRLF").seen(&[Seen::Dropped]),
        answered("chunk-size-wraps", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n", &[Unfinished], "2^64 + 3 wraps to 3").seen(&[Seen::Dropped]),
        answered("chunk-without-its-end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n", &[Unfinished], "RFC 9112 7.1: CRLF behind the content").seen(&[Seen::Dropped]),
        // Errors of the server are its answers
        answered("server-error-goes-on", "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops", &[Status(500), Body("oops"), Kept], "an answer is an answer; only retries.on changes that"),
        answered("server-503-goes-on", "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy", &[Status(503), Has("retry-after", "7"), Body("busy"), Kept], "an answer is an answer; only retries.on changes that"),
    ]
}
