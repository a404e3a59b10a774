//! Connections: how long they live, pipelining, HTTP/1.0, and what belongs to one hop (RFC 9112 section 9, RFC 9110 7.6).

use crate::case::{Case, Does, Got::*, Seen, case, passed};

#[rustfmt::skip] // one line each
pub fn cases() -> Vec<Case> {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    vec![
        // Pipelining
        case("pipeline-two", "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", "RFC 9112 9.3.2: answered in order").got(&[Status(200), Status(200), Kept]).seen(&[Seen::Lines(&["GET /1 HTTP/1.1", "GET /2 HTTP/1.1"])]),
        case("pipeline-after-length", "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nabGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", "RFC 9112 9.3.2: the next one begins where the length ends").got(&[Status(200), Status(200), Kept]).seen(&[Seen::Lines(&["POST /1 HTTP/1.1", "GET /2 HTTP/1.1"]), Seen::Body("ab")]),
        case("pipeline-after-chunks", "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", "RFC 9112 9.3.2: the next one begins where the trailers end").got(&[Status(200), Status(200), Kept]).seen(&[Seen::Lines(&["POST /1 HTTP/1.1", "GET /2 HTTP/1.1"]), Seen::Body("ab")]),
        case("pipeline-empty-line-between", "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", "RFC 9112 2.2: at least one empty line is ignored").got(&[Status(200), Status(200), Kept]).seen(&[Seen::Lines(&["GET /1 HTTP/1.1", "GET /2 HTTP/1.1"])]),
        case("pipeline-second-malformed", "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost : a\r\n\r\n", "RFC 9112 9.3.2: the first is answered, then 400 and close").got(&[Status(200), Status(400), Closed]).seen(&[Seen::Lines(&["GET /1 HTTP/1.1"])]),
        case("pipeline-first-malformed", "GET /1 HTTP/1.1\r\nHost : a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", "RFC 9112 9.6: nothing after the error is looked at").got(&[Status(400), Closed]).seen(&[Seen::Nothing]),
        case("pipeline-after-bad-chunks", "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", "where the body ends nobody knows, so nothing follows").got(&[Status(400), Closed]).seen(&[Seen::NoWhole]),
        case("pipeline-after-close", "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", "RFC 9112 9.6: nothing after close is looked at").got(&[Status(200), Has("connection", "close"), Closed]).seen(&[Seen::Lines(&["GET /1 HTTP/1.1"])]),
        case("pipeline-head-then-get", "HEAD /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", "RFC 9110 9.3.2: no content after HEAD, so the second answer is in its place").got(&[Status(200), Body(""), Status(200), Body("ok"), Kept]).seen(&[Seen::Lines(&["HEAD /1 HTTP/1.1", "GET /2 HTTP/1.1"])]),
        case("pipeline-then-half-close", "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", "RFC 9112 9.6: a client that sends nothing more still reads").half_closed().got(&[Status(200), Status(200), Closed]).seen(&[Seen::Lines(&["GET /1 HTTP/1.1", "GET /2 HTTP/1.1"])]),
        // How long it lives
        case("half-close-after-a-request", get, "RFC 9112 9.6: a client that sends nothing more still reads").half_closed().got(&[Status(200), Body("ok"), Closed]).seen(&[Seen::Lines(&["GET / HTTP/1.1"])]),
        case("half-close-inside-a-head", "GET / HTTP/1.1\r\nHo", "RFC 9112 8: an incomplete request; 400 is allowed").half_closed().got(&[May(400), Closed]).seen(&[Seen::Nothing]),
        case("connection-close", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "RFC 9112 9.6: the client closes, so the answer says close").got(&[Status(200), Has("connection", "close"), Closed]).seen(&[Seen::Lacks("connection")]),
        case("connection-close-case", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Keep-Alive, CLOSE\r\n\r\n", "RFC 9110 7.6.1: options are case-insensitive, and close wins").got(&[Status(200), Has("connection", "close"), Closed]),
        case("connection-close-second-line", "GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n\r\n", "RFC 9110 5.3: two lines are one list").got(&[Status(200), Has("connection", "close"), Closed]),
        passed("connection-keep-alive", "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", &[Seen::Omits("connection", "keep-alive")], "RFC 9110 7.6.1: for this hop"),
        case("connection-of-the-server-is-its-own", get, "RFC 9110 7.6.1: the server closes its connection, not the client's").server(Does::AnswersAndEnds(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok".into())).got(&[Status(200), Lacks("connection"), Body("ok"), Kept]).seen(&[Seen::Dropped]),
        // HTTP/1.0
        case("http-1-0", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", "RFC 9112 9.3: HTTP/1.0 closes unless asked otherwise").got(&[Status(200), Body("ok"), Closed]).seen(&[Seen::Lines(&["GET / HTTP/1.1"])]),
        case("http-1-0-keep-alive", "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", "RFC 9112 9.3: kept, and said so").got(&[Status(200), Has("connection", "keep-alive"), Kept]),
        case("http-1-0-proxy-connection", "GET / HTTP/1.0\r\nHost: a\r\nProxy-Connection: keep-alive\r\n\r\n", "RFC 9112 C.2.2: Proxy-Connection counts for nothing").got(&[Status(200), Closed]).seen(&[Seen::Lacks("proxy-connection")]),
        case("http-1-0-body", "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "RFC 1945 7.2.2: a length frames a body").got(&[Status(200), Closed]).seen(&[Seen::Body("abc")]),
        case("http-1-0-chunked-answer", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", "RFC 9112 7: an HTTP/1.0 client knows no chunks").server(Does::Answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n".into())).got(&[Status(200), Lacks("transfer-encoding"), Lacks("trailer"), Body("abc"), Closed]),
        case("http-1-0-chunked-answer-keep-alive", "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", "RFC 9112 6.3: without a length only the close ends it").server(Does::Answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".into())).got(&[Status(200), Lacks("transfer-encoding"), Body("abc"), Closed]),
        case("http-1-0-close-delimited-answer", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", "RFC 9112 6.3: the close ends it on both sides").server(Does::AnswersAndEnds(b"HTTP/1.1 200 OK\r\n\r\nabc".into())).got(&[Status(200), Body("abc"), Closed]),
        case("http-1-0-informational", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", "RFC 9110 15.2: no 1xx to an HTTP/1.0 client").server(Does::Answers(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".into())).got(&[Status(200), Body("ok"), Closed]),
        // What belongs to one hop
        passed("hop-nominated-field", "GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Secret, x-other\r\nx-secret: 1\r\nX-Other: 2\r\nX-Stays: 3\r\n\r\n", &[Seen::Lacks("x-secret"), Seen::Lacks("x-other"), Seen::Has("x-stays", "3"), Seen::Omits("connection", "secret")], "RFC 9110 7.6.1: MUST be removed"),
        passed("hop-keep-alive", "GET / HTTP/1.1\r\nHost: a\r\nKeep-Alive: timeout=9\r\n\r\n", &[Seen::Lacks("keep-alive")], "RFC 9110 7.6.1: removed, nominated or not"),
        passed("hop-proxy-connection", "GET / HTTP/1.1\r\nHost: a\r\nProxy-Connection: keep-alive\r\n\r\n", &[Seen::Lacks("proxy-connection")], "RFC 9110 7.6.1: removed, nominated or not"),
        passed("hop-te", "GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: gzip, trailers\r\n\r\n", &[Seen::Omits("te", "gzip")], "RFC 9110 10.1.4: speaks of this hop; gzip as a transfer coding is not ours"),
        passed("hop-proxy-authorization", "GET / HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic eA==\r\n\r\n", &[Seen::Lacks("proxy-authorization")], "RFC 9110 11.7.2: meant for this proxy"),
        passed("hop-upgrade-not-allowed", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: foo/2\r\n\r\n", &[Seen::Lacks("upgrade"), Seen::Lacks("connection")], "RFC 9110 7.8: ignored unless a route allows it"),
        passed("hop-upgrade-h2c", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", &[Seen::Lacks("upgrade"), Seen::Lacks("http2-settings"), Seen::Lacks("connection")], "a tunnel past every rule; RFC 9113 dropped it"),
        passed("hop-upgrade-without-connection", "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", &[Seen::Lacks("upgrade")], "RFC 9110 7.8: Upgrade without the connection option is not one"),
        passed("hop-nominated-forwarded-for", "GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Forwarded-For, X-Request-Id, Via\r\n\r\n", &[Seen::Has("x-forwarded-for", "127.0.0.1"), Seen::Contains("via", "1.1 "), Seen::Present("x-request-id")], "a client cannot take out what Lintel adds"),
        case("hop-nominated-host", "GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n", "RFC 9110 7.6.1: routing must not be taken out").got(&[Status(400), Closed]).seen(&[Seen::Nothing]),
        case("hop-response-nominated-field", get, "RFC 9110 7.6.1: both ways").server(Does::Answers(b"HTTP/1.1 200 OK\r\nConnection: X-Secret\r\nX-Secret: 1\r\nX-Stays: 2\r\nContent-Length: 2\r\n\r\nok".into())).got(&[Status(200), Lacks("x-secret"), Lacks("connection"), Has("x-stays", "2"), Kept]),
        case("hop-response-keep-alive", get, "RFC 9110 7.6.1: both ways").server(Does::Answers(b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok".into())).got(&[Status(200), Lacks("keep-alive"), Lacks("connection"), Kept]),
        case("hop-response-upgrade", get, "RFC 9110 7.8: an offer to this hop alone").server(Does::Answers(b"HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nok".into())).got(&[Status(200), Lacks("upgrade"), Lacks("connection"), Kept]),
        case("hop-response-proxy-connection", get, "RFC 9110 7.6.1: both ways").server(Does::Answers(b"HTTP/1.1 200 OK\r\nProxy-Connection: keep-alive\r\nContent-Length: 2\r\n\r\nok".into())).got(&[Status(200), Lacks("proxy-connection"), Kept]),
        case("hop-response-nominated-length", get, "RFC 9110 7.6.1: framing is never taken out; refusing is right as well").server(Does::Answers(b"HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 2\r\n\r\nok".into())).got(&[OneOf(&[200, 502]), Kept]),
    ]
}
