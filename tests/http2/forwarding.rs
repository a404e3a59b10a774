//! Requests and responses on their way between HTTP/2 clients and HTTP/1.1 servers: bodies, trailers, early and
//! informational responses, back-pressure, and every way to break off. HTTP/2 servers are in `servers`.

mod servers;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::fronts::{NO_EJECTION, NO_RETRIES, before};
use crate::support::http2::{Http2, asking, code, field, get, post, setting};
use crate::support::time::{takes, within};
use crate::support::{Lintel, Origin, eventually};

const GROWTH: u64 = 16 * 1024 * 1024;
/// How much may be on its way between a side that sends and one that does not read: sockets' buffers, above all.
const ON_ITS_WAY: u64 = 48 * 1024 * 1024;

/// One Lintel before a server that answers everything with these bytes.
async fn answered(bytes: &str) -> (Origin, Lintel, Http2) {
    let origin = Origin::answering(bytes);
    let lintel = before(&[&origin], "").await;
    let client = Http2::open(lintel.http()).await;
    (origin, lintel, client)
}

#[tokio::test]
async fn a_response_loses_what_is_of_http_1_1_alone() {
    let (_origin, lintel, mut client) = answered(
        "HTTP/1.1 404 Gone Fishing\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\nX-CamelCase: Kept\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nno",
    )
    .await;
    let reply = client.get("/").await;
    assert_eq!((reply.status, reply.text().as_str(), reply.field("content-length")), (404, "no", Some("2")));
    assert_eq!((reply.field("x-camelcase"), reply.field("x-hop")), (Some("Kept"), None));
    assert_eq!(reply.all("set-cookie"), ["a=1", "b=2"]);
    assert!(reply.field("x-request-id").is_some());
    let record = lintel.record_of("/").await;
    assert_eq!((&record["status"], &record["body_out"]), (&404.into(), &2.into()), "{record}");
    assert_eq!((&record["version"], &record["host"]), (&"HTTP/2.0".into(), &"a.test".into()), "{record}");
}

#[tokio::test]
async fn chunks_and_trailers_of_a_response_become_data_and_trailers() {
    let (_origin, _lintel, mut client) = answered(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\nX-Sum: 6\r\n\r\n",
    )
    .await;
    let reply = client.exchange(&asking("GET", "/", &[("te", "trailers")]), b"").await;
    assert_eq!((reply.text().as_str(), reply.trailer("x-sum")), ("abc", Some("6")));
    assert_eq!(reply.field("content-length"), None);
    assert!(reply.is_whole());
}

#[tokio::test]
async fn a_response_until_close_is_whole_and_an_empty_one_too() {
    let origin = Origin::scripted(|mut talk| async move {
        let Some(request) = talk.request().await else { return };
        let body = if request.target() == "/empty" { "" } else { "until the end" };
        talk.send(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}")).await;
    });
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    for (path, body) in [("/", "until the end"), ("/empty", "")] {
        let reply = client.get(path).await;
        assert_eq!((reply.text().as_str(), reply.is_whole()), (body, true), "{path}");
    }
}

#[tokio::test]
async fn responses_without_a_body_end_with_their_head() {
    for (method, head, length) in [
        ("HEAD", "200 OK\r\nContent-Length: 1000", Some("1000")),
        ("HEAD", "200 OK\r\nTransfer-Encoding: chunked", None),
        ("GET", "204 No Content", None),
        ("GET", "304 Not Modified\r\nContent-Length: 1000\r\nETag: \"x\"", Some("1000")),
        ("GET", "200 OK\r\nContent-Length: 0", Some("0")),
    ] {
        let (_origin, _lintel, mut client) = answered(&format!("HTTP/1.1 {head}\r\n\r\n")).await;
        let reply = client.exchange(&asking(method, "/", &[]), b"").await;
        assert!(reply.is_whole() && reply.body.is_empty(), "{method} {head}: {:?}", reply.end);
        assert_eq!(reply.field("content-length"), length, "{method} {head}");
        let again = client.exchange(&asking(method, "/again", &[]), b"").await;
        assert!(again.is_whole(), "{method} {head}: the next stream");
    }
}

#[tokio::test]
async fn early_hints_come_before_the_response() {
    let (_origin, _lintel, mut client) = answered(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    let reply = client.get("/").await;
    let hints: Vec<_> = reply.informational.iter().map(|head| field(head, "link")).collect();
    assert_eq!((reply.status, hints), (200, vec![Some("</a.css>"), Some("</b.css>")]));
    assert!(reply.informational.iter().all(|head| field(head, ":status") == Some("103")));
}

#[tokio::test]
async fn who_expects_100_continue_is_told_and_sends() {
    let origin = Origin::scripted(|mut talk| async move {
        let Some(head) = talk.head().await else { return };
        talk.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        let body = talk.exactly(3).await;
        talk.answer(&head, "one", &body).await;
    });
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    let fields = asking("POST", "/echo", &[("expect", "100-continue"), ("content-length", "3")]);
    let stream = client.start(&fields, false).await;
    let continued = |wire: &mut crate::support::http2::Wire| {
        wire.half(stream).informational.iter().any(|head| field(head, ":status") == Some("100")).then_some(())
    };
    client.until("100 Continue", continued).await;
    client.body(stream, "abc", true).await;
    assert_eq!(client.response(stream).await.text(), "abc");
}

#[tokio::test]
async fn pieces_of_a_response_are_not_held_back() {
    let step = Arc::new(tokio::sync::Semaphore::new(0));
    let gate = Arc::clone(&step);
    let origin = Origin::scripted(move |mut talk| {
        let gate = Arc::clone(&gate);
        async move {
            talk.request().await;
            talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            for piece in ["5\r\nfirst\r\n", "6\r\nsecond\r\n", "0\r\n\r\n"] {
                gate.acquire().await.expect("the gate is never closed").forget();
                talk.send(piece).await;
            }
        }
    });
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    let stream = client.start(&get("/"), true).await;
    assert_eq!(client.head(stream).await.status, 200);
    step.add_permits(1);
    assert_eq!(client.received(stream, 5).await.text(), "first");
    step.add_permits(1);
    assert_eq!(client.received(stream, 11).await.text(), "firstsecond");
    step.add_permits(1);
    assert!(client.response(stream).await.is_whole());
}

#[tokio::test]
async fn pieces_of_a_request_are_not_held_back() {
    let origin = Origin::named("one");
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    let stream = client.start(&post("/echo"), false).await;
    for piece in ["first", "second"] {
        client.body(stream, piece, false).await;
        let arrived = async || {
            let bytes = String::from_utf8_lossy(&origin.bytes()).into_owned();
            bytes.contains(piece).then_some(())
        };
        eventually("the piece is at the server", arrived).await;
    }
    client.body(stream, "", true).await;
    assert_eq!(client.response(stream).await.text(), "firstsecond");
}

#[tokio::test]
async fn streams_do_not_wait_for_each_other() {
    let origin = Origin::scripted(|mut talk| async move {
        while let Some(request) = talk.request().await {
            if request.target() == "/hold" {
                return talk.hang().await;
            }
            let path = request.target().to_owned();
            talk.answer(&request, "one", path.as_bytes()).await;
        }
    });
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    let held = client.start(&get("/hold"), true).await;
    let paths: Vec<String> = (0..50).map(|number| format!("/{number}")).collect();
    let mut streams = Vec::new();
    for path in &paths {
        streams.push((client.start(&get(path), true).await, path));
    }
    for (stream, path) in streams.into_iter().rev() {
        assert_eq!(&client.response(stream).await.text(), path);
    }
    assert_eq!(client.half(held).head, None);
}

#[tokio::test]
async fn a_response_before_the_end_of_the_request_is_passed_on() {
    let origin = Origin::scripted(|mut talk| async move {
        talk.head().await;
        talk.send("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno").await;
        talk.hang().await;
    });
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    let stream = client.start(&post("/"), false).await;
    client.body(stream, "the beginning", false).await;
    let reply = client.response(stream).await;
    assert_eq!((reply.status, reply.text().as_str(), reply.is_whole()), (403, "no", true));
    // The rest of the request is not wanted (RFC 9113 section 8.1).
    assert_eq!(client.reset_of(stream).await, code::NO_ERROR);
    origin.all_closed().await;
    client.ping().await;
}

#[tokio::test]
async fn large_bodies_go_both_ways_on_many_streams() {
    let origin = Origin::named("one");
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    let body: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
    let mut streams = Vec::new();
    for _ in 0..4 {
        let stream = client.start(&post("/echo"), false).await;
        assert!(client.upload(stream, &body, true).await);
        streams.push(stream);
    }
    for stream in streams {
        assert!(client.response(stream).await.body == body, "what came back is not what was sent");
    }
    let record = lintel.record_of("/echo").await;
    assert_eq!((&record["body_in"], &record["body_out"]), (&body.len().into(), &body.len().into()));
}

/// A server that sends without end, and how much went out of it.
fn endless() -> (Origin, Arc<AtomicU64>) {
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let origin = Origin::scripted(move |mut talk| {
        let count = Arc::clone(&count);
        async move {
            talk.request().await;
            talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            let piece = [b"10000\r\n".as_slice(), &[b'x'; 1 << 16], b"\r\n"].concat();
            while talk.send(&piece).await {
                count.fetch_add(1 << 16, Ordering::SeqCst);
            }
        }
    });
    (origin, sent)
}

#[tokio::test]
async fn a_server_waits_for_a_client_that_gives_no_window() {
    let (origin, sent) = endless();
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    client.ping().await;
    let before = lintel.resident_bytes();
    client.replenishes = false;
    let stream = client.start(&get("/"), true).await;
    assert_eq!(client.received(stream, 65_535).await.body.len(), 65_535);
    let sent = || sent.load(Ordering::SeqCst);
    let standstill = async {
        let mut last = 0;
        loop {
            takes(Duration::from_millis(500)).await;
            if sent() == last {
                return last;
            }
            last = sent();
            assert!(last < ON_ITS_WAY, "{last} bytes went somewhere");
        }
    };
    let stopped_at = within("the server stands still", standstill).await;
    assert!(lintel.resident_bytes().saturating_sub(before) < GROWTH);
    client.ping().await;
    assert_eq!(client.half(stream).count, 65_535, "not a byte beyond the window");
    // And goes on when the client does.
    client.keeps_bodies = false;
    client.replenishes = true;
    client.grow(stream, 1 << 30).await;
    client.grow(0, 1 << 30).await;
    client.received(stream, usize::try_from(stopped_at).unwrap()).await;
    eventually("it goes on", async || (sent() > stopped_at).then_some(())).await;
}

#[tokio::test]
async fn a_client_waits_for_a_server_that_does_not_read() {
    let origin = Origin::scripted(|mut talk| async move {
        talk.head().await;
        std::future::pending::<()>().await;
    });
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    client.ping().await;
    let before = lintel.resident_bytes();
    let stream = client.start(&post("/"), false).await;
    let piece = vec![b'x'; 1 << 16];
    let mut sent = 0;
    while !crate::support::time::stays_silent(
        Duration::from_millis(500),
        client.send_all(stream, &piece, false),
    )
    .await
    {
        sent += piece.len() as u64;
        assert!(sent < ON_ITS_WAY, "{sent} bytes went somewhere");
    }
    assert!(lintel.resident_bytes().saturating_sub(before) < GROWTH);
    // Other streams have windows of their own, and the connection's is not used up.
    client.ping().await;
}

#[tokio::test]
async fn a_client_that_resets_a_stream_frees_the_server_at_once() {
    let origin = Origin::scripted(|mut talk| async move {
        talk.head().await;
        talk.hang().await;
    });
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    for (number, fields) in [get("/get"), post("/post")].into_iter().enumerate() {
        let stream = client.start(&fields, number == 0).await;
        eventually("it is at the server", async || (origin.open() == 1).then_some(())).await;
        client.reset(stream, code::CANCEL).await;
        origin.connection_closed(number).await;
    }
    let record = lintel.record_of("/get").await;
    assert_eq!((&record["status"], &record["fault"]), (&499.into(), &"client_gone".into()));
    lintel.record_of("/post").await;
    let is_free = async || (lintel.metrics().await.sum("lintel_server_in_flight", &[]) == 0.0).then_some(());
    eventually("the places are free", is_free).await;
    client.ping().await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_all_its_requests_at_the_servers() {
    let origin = Origin::scripted(|mut talk| async move {
        talk.request().await;
        talk.hang().await;
    });
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    for _ in 0..10 {
        client.start(&get("/leaves"), true).await;
    }
    origin.request(9).await;
    client.arm_reset();
    drop(client);
    origin.all_closed().await;
    let gone = async || {
        let records = lintel.access_log.records();
        (records.iter().filter(|record| record["fault"] == "client_gone").count() == 10).then_some(())
    };
    eventually("a record for each", gone).await;
}

#[tokio::test]
async fn a_server_that_breaks_off_is_a_502_or_a_reset() {
    for (sent, status) in [
        ("", 502),
        ("HTTP/1.1 200 OK\r\nContent-Le", 502),
        ("this is not HTTP\r\n\r\n", 502),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", 200),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", 200),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n", 200),
    ] {
        let origin = Origin::scripted(move |mut talk| async move {
            talk.request().await;
            talk.send(sent).await;
        });
        let lintel = before(&[&origin], NO_RETRIES).await;
        let mut client = Http2::open(lintel.http()).await;
        let reply = client.exchange(&post("/"), b"abc").await;
        match status {
            502 => assert_eq!((reply.status, reply.is_whole()), (502, true), "{sent:?}"),
            // Its head may still have been on its way when the end came.
            _ if reply.status == 502 => assert!(reply.is_whole(), "{sent:?}"),
            _ => assert_eq!(reply.reset(), Some(code::INTERNAL_ERROR), "{sent:?}"),
        }
        let record = lintel.record_of("/").await;
        assert!(record["fault"].is_string(), "{record}");
        client.ping().await;
    }
}

#[tokio::test]
async fn a_response_that_was_cut_after_its_head_is_a_reset() {
    let step = Arc::new(tokio::sync::Semaphore::new(0));
    let gate = Arc::clone(&step);
    let origin = Origin::scripted(move |mut talk| {
        let gate = Arc::clone(&gate);
        async move {
            talk.request().await;
            talk.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await;
            gate.acquire().await.expect("the gate is never closed").forget();
            talk.reset();
        }
    });
    let lintel = before(&[&origin], NO_EJECTION).await;
    let mut client = Http2::open(lintel.http()).await;
    let stream = client.start(&get("/cut"), true).await;
    assert_eq!(client.received(stream, 3).await.text(), "abc");
    step.add_permits(1);
    assert_eq!(client.response(stream).await.reset(), Some(code::INTERNAL_ERROR));
    assert_eq!(lintel.record_of("/cut").await["fault"], "response_truncated");
    lintel.metric("lintel_listener_http2_errors_total", &[("code", "internal_error")], 1.0).await;
}

#[tokio::test]
async fn large_heads_of_responses_come_in_as_many_frames_as_it_takes() {
    let value = "v".repeat(20_000);
    let (_origin, _lintel, mut client) =
        answered(&format!("HTTP/1.1 200 OK\r\nX: {value}\r\nContent-Length: 0\r\n\r\n")).await;
    client.announce(&[(setting::HEADER_TABLE_SIZE, 0)]).await;
    let reply = client.get("/").await;
    assert_eq!((reply.status, reply.field("x")), (200, Some(&*value)));
}
