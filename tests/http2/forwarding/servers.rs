//! Servers that speak HTTP/2, behind clients of both versions.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::fronts::{NO_RETRIES, TO_HTTP2, before};
use crate::support::http2::{Http2, Http2Origin, asking, code, field, post};
use crate::support::{Connection, Lintel, eventually};

/// A Lintel with an HTTP/1.1 listener before this server.
async fn before_http1(server: &Http2Origin) -> Lintel {
    Lintel::before(&[server], TO_HTTP2).await
}

fn without_retries() -> String {
    format!("protocol: http2\n{NO_RETRIES}")
}

#[tokio::test]
async fn a_request_of_http_1_1_becomes_one_of_http_2() {
    let origin = Http2Origin::named("one");
    let lintel = before_http1(&origin).await;
    let mut client = Connection::open(lintel.http()).await;
    let request = "GET /a%20b?c=d HTTP/1.1\r\nHost: shop.test:81\r\nX-Odd: 1\r\nX-Odd: 2\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers, gzip\r\nCookie: a=1; b=2\r\n\r\n";
    let response = client.exchange(request).await;
    assert_eq!((response.status(), response.text().as_str()), (200, "one"));
    let asked = origin.request(0).await;
    assert_eq!((asked.method(), asked.path()), ("GET", "/a%20b?c=d"));
    assert_eq!((asked.field(":scheme"), asked.field(":authority")), (Some("http"), Some("shop.test:81")));
    assert_eq!((asked.all("x-odd"), asked.field("x-hop")), (vec!["1", "2"], None));
    assert_eq!(asked.field("host"), None, "RFC 9113 8.3.1: :authority instead");
    assert_eq!(asked.all("cookie").join("; "), "a=1; b=2");
    assert_eq!(asked.field("x-forwarded-for"), Some("127.0.0.1"));
    let record = lintel.record_of("/a%20b?c=d").await;
    assert_eq!((&record["version"], &record["status"]), (&"HTTP/1.1".into(), &200.into()), "{record}");
    assert_eq!(client.get("/again").await.status(), 200, "the connection is kept");
}

#[tokio::test]
async fn bodies_and_trailers_of_http_1_1_go_both_ways() {
    let origin = Http2Origin::scripted(|mut talk| async move {
        while let Some(asked) = talk.request().await {
            talk.fields(asked.stream, &[(":status", "200"), ("trailer", "x-sum")], false).await;
            talk.send_all(asked.stream, &asked.body, false).await;
            talk.fields(asked.stream, &[("x-sum", "6")], true).await;
        }
    });
    let lintel = before_http1(&origin).await;
    let mut client = Connection::open(lintel.http()).await;
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Count: 5\r\n\r\n";
    let response = client.exchange(chunked).await;
    assert_eq!(response.text(), "abcde");
    assert!(response.trailers.iter().any(|(name, value)| name.eq_ignore_ascii_case("x-sum") && value == "6"));
    let asked = origin.request(0).await;
    assert_eq!((asked.text().as_str(), field(&asked.trailers, "x-count")), ("abcde", Some("5")));
    let sized = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(client.exchange(sized).await.text(), "abc");
    assert_eq!(origin.request(1).await.field("content-length"), Some("3"));
}

#[tokio::test]
async fn responses_without_a_body_have_none_over_http_1_1() {
    let origin = Http2Origin::scripted(|mut talk| async move {
        while let Some(asked) = talk.request().await {
            let status = asked.path().trim_start_matches('/').to_owned();
            let head: &[(&str, &str)] = match &*status {
                "204" => &[(":status", "204")],
                _ => &[(":status", &status), ("content-length", "9")],
            };
            talk.fields(asked.stream, head, true).await;
        }
    });
    let lintel = before_http1(&origin).await;
    let mut client = Connection::open(lintel.http()).await;
    for (method, status) in [("GET", 204), ("GET", 304), ("HEAD", 200), ("HEAD", 404)] {
        client.send(format!("{method} /{status} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!(client.response_to(method).await.status(), status, "{method}");
    }
}

#[tokio::test]
async fn answers_that_end_with_their_head_have_an_end_over_http_1_1() {
    let origin = Http2Origin::scripted(|mut talk| async move {
        while let Some(asked) = talk.request().await {
            let status = asked.path().trim_start_matches('/').to_owned();
            talk.fields(asked.stream, &[(":status", &status)], true).await;
        }
    });
    let lintel = before_http1(&origin).await;
    let mut client = Connection::open(lintel.http()).await;
    for (method, status) in [("GET", 200), ("POST", 201), ("GET", 302), ("DELETE", 200), ("GET", 404)] {
        client.send(format!("{method} /{status} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let response = client.response_to(method).await;
        assert_eq!((response.status(), response.field("content-length")), (status, Some("0")), "{method}");
    }
    client.send("HEAD /200 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let response = client.response_to("HEAD").await;
    assert_eq!((response.status(), response.field("content-length")), (200, None), "nobody knows it");
}

#[tokio::test]
async fn early_hints_of_http_2_reach_both_kinds_of_clients() {
    let origin = Http2Origin::scripted(|mut talk| async move {
        while let Some(asked) = talk.request().await {
            talk.fields(asked.stream, &[(":status", "103"), ("link", "</a.css>")], false).await;
            talk.answer(&asked, "one", b"one").await;
        }
    });
    let lintel = before_http1(&origin).await;
    let mut client = Connection::open(lintel.http()).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let hint = client.response().await;
    assert_eq!((hint.status(), hint.field("link")), (103, Some("</a.css>")));
    assert_eq!(client.response().await.text(), "one");

    let lintel = before(&[&origin], TO_HTTP2).await;
    let reply = Http2::open(lintel.http()).await.get("/").await;
    assert_eq!((reply.informational.len(), reply.text().as_str()), (1, "one"));
}

#[tokio::test]
async fn http_2_on_both_sides_keeps_everything() {
    let origin = Http2Origin::scripted(|mut talk| async move {
        while let Some(asked) = talk.request().await {
            talk.fields(asked.stream, &[(":status", "200"), ("content-type", "text/plain")], false).await;
            talk.send_all(asked.stream, &asked.body, false).await;
            talk.fields(asked.stream, &[("x-sum", "6")], true).await;
        }
    });
    let lintel = before(&[&origin], TO_HTTP2).await;
    let mut client = Http2::open(lintel.http()).await;
    let fields = asking("POST", "/a?b", &[("te", "trailers"), ("x", "1"), ("x", "2"), ("cookie", "a=1")]);
    let stream = client.start(&fields, false).await;
    client.upload(stream, &vec![b'x'; 300_000], false).await;
    client.trailers(stream, &[("x-count", "5")]).await;
    let reply = client.response(stream).await;
    assert_eq!((reply.status, reply.body.len(), reply.trailer("x-sum")), (200, 300_000, Some("6")));
    let asked = origin.request(0).await;
    assert_eq!((asked.path(), asked.all("x"), asked.body.len()), ("/a?b", vec!["1", "2"], 300_000));
    assert_eq!((asked.field("te"), field(&asked.trailers, "x-count")), (Some("trailers"), Some("5")));
    assert_eq!((asked.field(":authority"), asked.field("cookie")), (Some("a.test"), Some("a=1")));
}

#[tokio::test]
async fn messages_go_to_and_fro_while_both_sides_are_open() {
    let origin = Http2Origin::scripted(|mut talk| async move {
        let Some(asked) = talk.head().await else { return };
        talk.fields(asked.stream, &[(":status", "200")], false).await;
        let mut returned = 0;
        while talk.next_frame().await.is_some() {
            let half = talk.half(asked.stream);
            let (piece, is_over) = (half.body[returned..].to_vec(), half.whole);
            returned += piece.len();
            if !piece.is_empty() || is_over {
                talk.body(asked.stream, piece, is_over).await;
            }
            if is_over {
                return talk.hang().await;
            }
        }
    });
    let lintel = before(&[&origin], TO_HTTP2).await;
    let mut client = Http2::open(lintel.http()).await;
    let stream = client.start(&post("/"), false).await;
    assert_eq!(client.head(stream).await.status, 200, "before the request is over");
    let mut said = String::new();
    for word in ["one", "two", "three"] {
        client.body(stream, word, false).await;
        said.push_str(word);
        assert_eq!(client.received(stream, said.len()).await.text(), said);
    }
    client.body(stream, "", true).await;
    assert!(client.response(stream).await.is_whole());
}

#[tokio::test]
async fn windows_of_a_server_are_kept() {
    for window in [1, 10, 70_000] {
        let settings = [(crate::support::http2::setting::INITIAL_WINDOW_SIZE, window)];
        let origin = Http2Origin::polite("one", &settings, None);
        let lintel = before(&[&origin], TO_HTTP2).await;
        let mut client = Http2::open(lintel.http()).await;
        let body = vec![b'x'; if window == 70_000 { 1_000_000 } else { 100 }];
        assert_eq!(client.exchange(&post("/echo"), &body).await.body, body, "{window}");
        assert!(origin.broken().is_empty(), "{:?}", origin.broken());
    }
}

#[tokio::test]
async fn a_server_that_resets_is_a_502_before_its_head_and_a_reset_after() {
    let cut = Arc::new(Notify::new());
    let gate = Arc::clone(&cut);
    let origin = Http2Origin::scripted(move |mut talk| {
        let gate = Arc::clone(&gate);
        async move {
            while let Some(asked) = talk.request().await {
                if asked.path() == "/after" {
                    talk.fields(asked.stream, &[(":status", "200"), ("content-length", "10")], false).await;
                    talk.body(asked.stream, "abc", false).await;
                    gate.notified().await;
                }
                talk.reset(asked.stream, code::INTERNAL_ERROR).await;
            }
        }
    });
    let lintel = before(&[&origin], &without_retries()).await;
    let mut client = Http2::open(lintel.http()).await;
    let reply = client.exchange(&post("/before"), b"abc").await;
    assert_eq!((reply.status, reply.is_whole()), (502, true));
    assert_eq!(lintel.record_of("/before").await["fault"], "server_reset");
    let stream = client.start(&post("/after"), true).await;
    assert_eq!(client.received(stream, 3).await.text(), "abc");
    cut.notify_one();
    assert_eq!(client.response(stream).await.reset(), Some(code::INTERNAL_ERROR));
    assert_eq!(lintel.record_of("/after").await["fault"], "response_truncated");
    assert_eq!(origin.connections(), 1, "a stream's error is not the connection's");

    let lintel = Lintel::before(&[&origin], &without_retries()).await;
    let mut client = Connection::open(lintel.http()).await;
    client.send("GET /after HTTP/1.1\r\nHost: a\r\n\r\n").await;
    cut.notify_one();
    assert!(client.try_response_to("GET").await.is_err(), "cut off in the middle of its length");
}

#[tokio::test]
async fn a_server_that_sends_more_or_less_than_its_length_is_not_believed() {
    for sent in ["ab", "abcd"] {
        let origin = Http2Origin::scripted(move |mut talk| async move {
            while let Some(asked) = talk.request().await {
                talk.fields(asked.stream, &[(":status", "200"), ("content-length", "3")], false).await;
                talk.body(asked.stream, sent, true).await;
            }
        });
        let lintel = before(&[&origin], &without_retries()).await;
        let reply = Http2::open(lintel.http()).await.get("/").await;
        assert!(reply.reset().is_some() || reply.status == 502, "{sent}: {} {:?}", reply.status, reply.end);
        let lintel = before_http1(&origin).await;
        let mut client = Connection::open(lintel.http()).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(client.try_response_to("GET").await.map_or(true, |response| response.status() == 502));
    }
}

#[tokio::test]
async fn malformed_responses_are_a_502() {
    let malformed: [&[(&str, &str)]; 9] = [
        &[("x", "y")],
        &[(":status", "200"), (":status", "200")],
        &[(":status", "20")],
        &[(":status", "200"), ("X-Upper", "y")],
        &[(":status", "200"), ("connection", "close")],
        &[(":status", "200"), ("transfer-encoding", "chunked")],
        &[(":status", "200"), ("x", "a\r\nset-cookie: b")],
        &[(":status", "200"), (":path", "/")],
        &[(":status", "101")],
    ];
    for head in malformed {
        let origin = Http2Origin::scripted(move |mut talk| async move {
            while let Some(asked) = talk.request().await {
                talk.fields(asked.stream, head, true).await;
            }
        });
        let lintel = Lintel::before(&[&origin], &without_retries()).await;
        let response = crate::support::get(lintel.http(), "/").await;
        assert_eq!(response.status(), 502, "{head:?}");
        assert_eq!(lintel.record_of("/").await["fault"], "bad_response", "{head:?}");
    }
}

#[tokio::test]
async fn a_response_before_the_end_of_the_request_ends_with_no_error() {
    let origin = Http2Origin::scripted(|mut talk| async move {
        while let Some(asked) = talk.head().await {
            talk.fields(asked.stream, &[(":status", "403"), ("content-length", "2")], false).await;
            talk.body(asked.stream, "no", true).await;
            talk.reset(asked.stream, code::NO_ERROR).await;
        }
    });
    let lintel = before(&[&origin], &without_retries()).await;
    let mut client = Http2::open(lintel.http()).await;
    for _ in 0..3 {
        let stream = client.start(&post("/"), false).await;
        client.body(stream, "the beginning", false).await;
        let reply = client.response(stream).await;
        assert_eq!((reply.status, reply.text().as_str(), reply.is_whole()), (403, "no", true));
    }
    let lintel = before_http1(&origin).await;
    let mut client = Connection::open(lintel.http()).await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc").await;
    assert_eq!(client.response_to("POST").await.status(), 403);
}

#[tokio::test]
async fn a_client_that_leaves_resets_its_stream_and_no_other() {
    let origin = Http2Origin::scripted(|mut talk| async move {
        while let Some(asked) = talk.request().await {
            if asked.path() != "/hold" {
                talk.answer(&asked, "one", b"one").await;
            }
        }
    });
    let lintel = before(&[&origin], TO_HTTP2).await;
    let mut client = Http2::open(lintel.http()).await;
    let held = client.start(&asking("GET", "/hold", &[]), true).await;
    origin.head(0).await;
    client.reset(held, code::CANCEL).await;
    assert_eq!(origin.reset_code().await, code::CANCEL);
    assert_eq!(client.get("/").await.text(), "one");
    let lintel = before_http1(&origin).await;
    let mut leaver = Connection::open(lintel.http()).await;
    leaver.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").await;
    origin.head(2).await;
    leaver.reset();
    eventually("the second stream is reset", async || (origin.resets().len() == 2).then_some(())).await;
}
