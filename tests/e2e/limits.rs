//! Limits and deadlines: each with its reply, its record and its metric. Nobody holds anything for ever.

use std::time::{Duration, Instant};

use crate::support::lintel::front;
use crate::support::time::{stays_silent, takes};
use crate::support::{Connection, Lintel, Origin, eventually, get};

/// A config with this listener instead of the plain one.
fn with_listener(origin: &Origin, listener: &str, pool: &str) -> String {
    front(&[origin], pool)
        .replace("    address: \"127.0.0.1:0\"\n", &format!("    address: \"127.0.0.1:0\"\n    {listener}\n"))
}

/// Sends these bytes; the reply must have this status and end the connection, and the record and the metric must say so.
async fn refused(listener: &str, sent: &str, status: u16, fault: &str, metric: (&str, &[(&str, &str)])) {
    let origin = Origin::named("one");
    let lintel = Lintel::start(with_listener(&origin, listener, "")).await;
    let mut client = Connection::open(lintel.http()).await;
    client.send(sent).await;
    let response = client.response().await;
    assert_eq!(response.status(), status, "{listener}");
    assert_eq!(response.field("connection"), Some("close"));
    assert_eq!(client.rest().await, b"");
    let record = lintel.record(|record| record["fault"] == fault).await;
    assert_eq!(
        (&record["status"], record["client"].as_str()),
        (&status.into(), Some("127.0.0.1")),
        "{record}"
    );
    lintel.metric(metric.0, metric.1, 1.0).await;
    assert_eq!(origin.count(), 0);
    // One record, not two.
    assert_eq!(lintel.access_log.records().len(), 1, "{:?}", lintel.access_log.lines());
}

const MALFORMED: &str = "lintel_listener_malformed_total";
const TIMEOUTS: &str = "lintel_listener_timeouts_total";

#[tokio::test]
async fn a_head_that_is_not_complete_in_time_is_a_408() {
    let sent = "GET / HTTP/1.1\r\nHost: a\r\n";
    refused("timeouts: { head: 300ms }", sent, 408, "head_timeout", (TIMEOUTS, &[("kind", "head")])).await;
}

#[tokio::test]
async fn a_head_that_drips_in_is_a_408_all_the_same() {
    let origin = Origin::named("one");
    let lintel = Lintel::start(with_listener(&origin, "timeouts: { head: 500ms }", "")).await;
    let mut client = Connection::open(lintel.http()).await;
    let began = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX: ").await;
    let drip = async {
        loop {
            takes(Duration::from_millis(50)).await;
            client.send("y").await;
            if began.elapsed() > Duration::from_secs(5) {
                return;
            }
        }
    };
    // Each byte comes in time; the whole does not.
    assert!(stays_silent(Duration::from_millis(1500), drip).await);
    assert_eq!(client.response().await.status(), 408);
    assert_eq!(lintel.record(|record| record["fault"] == "head_timeout").await["status"], 408);
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed_and_only_counted() {
    let origin = Origin::named("one");
    let lintel = Lintel::start(with_listener(&origin, "timeouts: { head: 300ms }", "")).await;
    let mut client = Connection::open(lintel.http()).await;
    client.rest().await;
    lintel.metric("lintel_listener_silent_total", &[("listener", "http")], 1.0).await;
    get(lintel.http(), "/").await;
    lintel.record_of("/").await;
    assert_eq!(lintel.access_log.records().len(), 1, "{:?}", lintel.access_log.lines());
}

#[tokio::test]
async fn a_body_that_stops_is_a_408() {
    let origin = Origin::named("one");
    let lintel = Lintel::start(with_listener(&origin, "timeouts: { body_idle: 300ms }", "")).await;
    for framing in ["Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let mut client = Connection::open(lintel.http()).await;
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}")).await;
        assert_eq!(client.response_to("POST").await.status(), 408, "{framing}");
        assert_eq!(client.rest().await, b"");
    }
    assert_eq!(lintel.record(|record| record["status"] == 408).await["fault"], "body_timeout");
    lintel.metric(TIMEOUTS, &[("kind", "body_idle")], 2.0).await;
    origin.all_closed().await;
    assert_eq!(origin.count(), 0, "half a body is no request");
}

/// Sends so many bytes of a body, one at a time.
async fn drip(client: &mut Connection, bytes: usize) {
    for _ in 0..bytes {
        takes(Duration::from_millis(100)).await;
        client.send("y").await;
    }
}

#[tokio::test]
async fn a_body_that_drips_below_its_rate_is_a_408_and_one_that_may_drip_is_served() {
    let origin = Origin::named("one");
    let lintel = Lintel::start(with_listener(&origin, "timeouts: { body_idle: 2s }", "")).await;
    let mut client = Connection::open(lintel.http()).await;
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n").await;
    // Each byte comes in time; all of them do not.
    drip(&mut client, 25).await;
    assert_eq!(client.response_to("POST").await.status(), 408);
    let record = lintel.record(|record| record["status"] == 408).await;
    assert_eq!(record["fault"], "body_timeout", "{record}");
    assert!(record["detail"].as_str().unwrap().contains("body_rate"), "{record}");
    lintel.metric(TIMEOUTS, &[("kind", "body_idle")], 1.0).await;
    assert_eq!(origin.count(), 0, "half a body is no request");

    let off = "timeouts: { body_idle: 2s, body_rate: off }";
    let lintel = Lintel::start(with_listener(&origin, off, "")).await;
    let mut client = Connection::open(lintel.http()).await;
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n").await;
    drip(&mut client, 30).await;
    assert_eq!(client.response_to("POST").await.text(), "y".repeat(30));
}

#[tokio::test]
async fn a_request_that_is_answered_already_may_go_on_in_drips() {
    // A talk in both directions: the answer begins before the body has ended.
    let origin = Origin::scripted(|mut talk| async move {
        talk.head().await;
        talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
        let body = talk.exactly(30).await;
        talk.send(format!("1e\r\n{}\r\n0\r\n\r\n", String::from_utf8_lossy(&body))).await;
        talk.hang().await;
    });
    let listener = "timeouts: { body_idle: 2s, body_rate: 1GiB/s }";
    let lintel = Lintel::start(with_listener(&origin, listener, "")).await;
    let mut client = Connection::open(lintel.http()).await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n").await;
    eventually("the answer has begun", async || (origin.connections() > 0).then_some(())).await;
    drip(&mut client, 30).await;
    assert_eq!(client.response_to("POST").await.text(), format!("hello{}", "y".repeat(30)));
}

#[tokio::test]
async fn an_answer_taken_below_the_rate_is_cut_and_one_that_waits_for_its_server_is_not() {
    let origin = Origin::scripted(|mut talk| async move {
        let Some(request) = talk.request().await else { return };
        if request.target() == "/events" {
            talk.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await;
            for _ in 0..12 {
                takes(Duration::from_millis(300)).await;
                talk.send("data: x\n\n").await;
            }
            return;
        }
        talk.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await;
        while talk.send(vec![b'x'; 64 * 1024]).await {}
    });
    let listener = "timeouts: { write_idle: 3s, body_rate: 1GiB/s }";
    let lintel = Lintel::start(with_listener(&origin, listener, "")).await;
    let mut events = Connection::open(lintel.http()).await;
    events.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut client = Connection::open(lintel.http()).await;
    client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let slowly = async {
        loop {
            client.bytes(256 * 1024).await;
            takes(Duration::from_millis(50)).await;
        }
    };
    let record = tokio::select! {
        () = slowly => unreachable!("it reads for ever"),
        record = lintel.record_of("/large") => record,
    };
    assert_eq!(record["fault"], "write_timeout", "{record}");
    assert!(record["detail"].as_str().unwrap().contains("body_rate"), "{record}");
    lintel.metric(TIMEOUTS, &[("kind", "write_idle")], 1.0).await;
    let answer = events.response().await;
    assert_eq!(answer.text(), "data: x\n\n".repeat(12), "a stream of events is as slow as its server");
}

#[tokio::test]
async fn a_kept_alive_connection_is_closed_after_its_time_without_a_word() {
    let origin = Origin::named("one");
    let lintel = Lintel::start(with_listener(&origin, "timeouts: { keep_alive: 300ms }", "")).await;
    let mut client = Connection::open(lintel.http()).await;
    client.get("/").await;
    assert_eq!(client.rest().await, b"");
    lintel.metric(TIMEOUTS, &[("kind", "keep_alive")], 1.0).await;
    assert_eq!(lintel.access_log.records().len(), 1, "{:?}", lintel.access_log.lines());
}

#[tokio::test]
async fn a_client_that_takes_no_bytes_is_dropped_with_its_server_connection() {
    let origin = Origin::scripted(|mut talk| async move {
        talk.request().await;
        talk.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await;
        while talk.send(vec![b'x'; 64 * 1024]).await {}
    });
    let lintel = Lintel::start(with_listener(&origin, "timeouts: { write_idle: 500ms }", "")).await;
    let mut client = Connection::open(lintel.http()).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    origin.request(0).await;
    origin.all_closed().await;
    assert_eq!(lintel.record_of("/").await["fault"], "write_timeout");
    lintel.metric(TIMEOUTS, &[("kind", "write_idle")], 1.0).await;
    drop(client);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_a_504() {
    let origin = Origin::scripted(|mut talk| async move {
        talk.request().await;
        talk.hang().await;
    });
    let lintel = Lintel::before(&[&origin], "timeouts: { response: 300ms }").await;
    assert_eq!(get(lintel.http(), "/").await.status(), 504);
    let record = lintel.record_of("/").await;
    assert_eq!((&record["status"], &record["fault"]), (&504.into(), &"response_timeout".into()));
    lintel.metric("lintel_server_failures_total", &[("kind", "timeout")], 1.0).await;
    origin.all_closed().await;
}

#[tokio::test]
async fn a_response_that_stops_is_cut_off() {
    let origin = Origin::scripted(|mut talk| async move {
        talk.request().await;
        talk.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await;
        talk.hang().await;
    });
    let lintel = Lintel::before(&[&origin], "timeouts: { body_idle: 300ms }").await;
    assert!(crate::support::client::try_get(lintel.http(), "/").await.is_err());
    let record = lintel.record_of("/").await;
    assert_eq!((&record["status"], &record["fault"]), (&200.into(), &"server_body_timeout".into()));
}

#[tokio::test]
async fn a_body_too_large_is_a_413_whether_it_says_so_or_not() {
    let by_length = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n";
    refused(
        "limits: { body: 1KiB }",
        by_length,
        413,
        "body_too_large",
        (MALFORMED, &[("reason", "body_too_large")]),
    )
    .await;
    let chunked = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n{}\r\n0\r\n\r\n",
        "x".repeat(1025)
    );
    refused(
        "limits: { body: 1KiB }",
        &chunked,
        413,
        "body_too_large",
        (MALFORMED, &[("reason", "body_too_large")]),
    )
    .await;
}

#[tokio::test]
async fn a_target_too_long_is_a_414() {
    let sent = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(256));
    refused("limits: { uri: 256B }", &sent, 414, "uri_too_long", (MALFORMED, &[("reason", "uri_too_long")]))
        .await;
}

#[tokio::test]
async fn a_head_too_large_or_with_too_many_fields_is_a_431() {
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(2048));
    refused(
        "limits: { head: 2KiB, uri: 1KiB }",
        &large,
        431,
        "head_too_large",
        (MALFORMED, &[("reason", "head_too_large")]),
    )
    .await;
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(5));
    refused(
        "limits: { headers: 5 }",
        &many,
        431,
        "too_many_headers",
        (MALFORMED, &[("reason", "too_many_headers")]),
    )
    .await;
}

#[tokio::test]
async fn the_documented_defaults_are_the_limits() {
    let origin = Origin::named("one");
    let lintel = Lintel::before(&[&origin], "").await;
    let head = |extra: String| format!("GET / HTTP/1.1\r\nHost: a\r\n{extra}\r\n");
    let with_head_of =
        |bytes: usize| head(format!("X: {}\r\n", "y".repeat(bytes - head("X: \r\n".into()).len())));
    let with_fields = |fields: usize| head("X: y\r\n".repeat(fields - 1));
    let with_target_of = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(bytes - 1));
    let with_body_of = |bytes: u64| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n");
    for (within, beyond, status) in [
        (with_head_of(32 * 1024), with_head_of(32 * 1024 + 1), 431),
        (with_fields(100), with_fields(101), 431),
        (with_target_of(8 * 1024), with_target_of(8 * 1024 + 1), 414),
    ] {
        assert_eq!(Connection::open(lintel.http()).await.exchange(&within).await.status(), 200);
        assert_eq!(Connection::open(lintel.http()).await.exchange(&beyond).await.status(), status);
    }
    let mut client = Connection::open(lintel.http()).await;
    assert_eq!(client.exchange(&with_body_of(100 * 1024 * 1024 + 1)).await.status(), 413);
}

#[tokio::test]
async fn beyond_max_in_flight_requests_wait_in_order_and_beyond_the_queue_they_are_503() {
    let origin = Origin::scripted(|mut talk| async move {
        while let Some(request) = talk.request().await {
            if request.target() == "/hold" {
                talk.hang().await;
            }
            let path = request.target().to_owned();
            talk.answer(&request, "one", path.as_bytes()).await;
        }
    });
    let lintel = Lintel::before(&[&origin], "max_in_flight: 1\nqueue: { size: 2, timeout: 30s }").await;
    let mut holder = Connection::open(lintel.http()).await;
    holder.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").await;
    origin.request(0).await;
    let mut waiting = Vec::new();
    for number in 1..=2 {
        let mut client = Connection::open(lintel.http()).await;
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        lintel.metric("lintel_pool_queue_length", &[("pool", "web")], f64::from(number)).await;
        waiting.push(client);
    }
    let refused = get(lintel.http(), "/3").await;
    assert_eq!(refused.status(), 503);
    assert!(refused.field("retry-after").is_some());
    assert_eq!(lintel.record_of("/3").await["fault"], "queue_full");
    lintel.metric("lintel_pool_queue_full_total", &[("pool", "web")], 1.0).await;
    // The holder leaves; those who wait are served, the first first.
    holder.reset();
    for (client, number) in waiting.iter_mut().zip(1..) {
        assert_eq!(client.response().await.text(), format!("/{number}"));
    }
    let order: Vec<String> = origin.requests().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(order, ["/hold", "/1", "/2"]);
    let record = lintel.record_of("/2").await;
    assert!(record["queue_ms"].as_f64() > Some(0.0), "{record}");
}

#[tokio::test]
async fn who_waits_too_long_in_the_queue_gets_503_and_who_leaves_it_frees_his_place() {
    let origin = Origin::scripted(|mut talk| async move {
        talk.request().await;
        talk.hang().await;
    });
    let lintel = Lintel::before(&[&origin], "max_in_flight: 1\nqueue: { size: 1, timeout: 500ms }").await;
    let mut holder = Connection::open(lintel.http()).await;
    holder.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").await;
    origin.request(0).await;
    let response = get(lintel.http(), "/waits").await;
    assert_eq!((response.status(), response.field("retry-after").is_some()), (503, true));
    assert_eq!(lintel.record_of("/waits").await["fault"], "queue_timeout");
    lintel.metric("lintel_pool_queue_timeouts_total", &[("pool", "web")], 1.0).await;

    let lintel = Lintel::before(&[&origin], "max_in_flight: 1\nqueue: { size: 1, timeout: 60s }").await;
    let mut holder = Connection::open(lintel.http()).await;
    holder.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").await;
    origin.request(1).await;
    let mut waiter = Connection::open(lintel.http()).await;
    waiter.send("GET /leaves HTTP/1.1\r\nHost: a\r\n\r\n").await;
    lintel.metric("lintel_pool_queue_length", &[("pool", "web")], 1.0).await;
    waiter.reset();
    let left = async || (lintel.metrics().await.sum("lintel_pool_queue_length", &[]) == 0.0).then_some(());
    eventually("the queue is empty", left).await;
    assert_eq!(lintel.record_of("/leaves").await["fault"], "client_gone");
}

#[tokio::test]
async fn at_the_limit_of_connections_the_longest_silent_makes_room() {
    let origin = Origin::named("one");
    let lintel = Lintel::start(with_listener(&origin, "limits: { connections: 2 }", "")).await;
    let mut oldest = Connection::open(lintel.http()).await;
    oldest.get("/1").await;
    // Silence is measured in milliseconds; a scrape takes longer.
    lintel.metric("lintel_listener_requests_total", &[("listener", "http")], 1.0).await;
    let mut second = Connection::open(lintel.http()).await;
    second.get("/2").await;
    let mut newcomer = Connection::open(lintel.http()).await;
    assert_eq!(newcomer.get("/3").await.text(), "one");
    assert_eq!(oldest.rest().await, b"");
    assert_eq!(second.get("/4").await.text(), "one");
    lintel.metric("lintel_listener_closed_total", &[("listener", "http"), ("reason", "evicted")], 1.0).await;
}

#[tokio::test]
async fn at_the_limit_of_busy_connections_the_newcomer_is_refused() {
    let origin = Origin::scripted(|mut talk| async move {
        talk.request().await;
        talk.hang().await;
    });
    let lintel = Lintel::start(with_listener(&origin, "limits: { connections: 2 }", "")).await;
    let mut busy = Vec::new();
    for number in 0..2 {
        let mut client = Connection::open(lintel.http()).await;
        client.send("GET /busy HTTP/1.1\r\nHost: a\r\n\r\n").await;
        origin.request(number).await;
        busy.push(client);
    }
    let mut newcomer = Connection::open(lintel.http()).await;
    newcomer.send("GET /late HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let reply = newcomer.rest().await;
    assert!(reply.is_empty() || reply.starts_with(b"HTTP/1.1 503 "), "{}", reply.escape_ascii());
    lintel.metric("lintel_listener_closed_total", &[("listener", "http"), ("reason", "limit")], 1.0).await;
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn idle_connections_to_a_server_are_kept_up_to_their_number() {
    let origin = Origin::named("one");
    let lintel = Lintel::before(&[&origin], "idle_connections: 2").await;
    crate::spread::spread_at_once(lintel.http(), "/", 80, 8).await;
    eventually("all but two are closed", async || (origin.open() <= 2).then_some(())).await;
}
