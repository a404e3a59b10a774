//! Second tries: what is tried again, what never is, and how many there may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};

use crate::support::client::try_get;
use crate::support::node::NodeApp;
use crate::support::{Connection, Lintel, Origin, eventually, get};

/// A server that reads every request and then resets the connection.
fn resetting() -> Origin {
    Origin::scripted(|mut talk| async move {
        talk.request().await;
        talk.reset();
    })
}

const NO_EJECTION: &str = "outlier_detection: { consecutive_failures: 1000 }";

fn pool(lines: &str) -> String {
    format!("balance: round_robin\n{NO_EJECTION}\n{lines}")
}

#[tokio::test]
async fn a_server_that_refuses_connections_costs_no_request_whatever_its_method() {
    let (down, up) = (Origin::down("down"), Origin::named("up"));
    let lintel = Lintel::before(&[&down, &up], &pool("")).await;
    let mut connection = Connection::open(lintel.http()).await;
    for _ in 0..20 {
        assert_eq!(connection.get("/").await.text(), "up");
        let post = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(connection.exchange(post).await.text(), "abc");
    }
    lintel.metric("lintel_pool_retries_total", &[("pool", "web"), ("reason", "connect_failure")], 10.0).await;
    let record = lintel.record(|record| record["attempts"] == 2).await;
    assert_eq!((&record["status"], record["server"].as_str()), (&200.into(), Some(&*up.address())));
}

#[tokio::test]
async fn a_get_whose_connection_was_reset_is_tried_on_another_server() {
    let (bad, good) = (resetting(), Origin::named("good"));
    let lintel = Lintel::before(&[&bad, &good], &pool("")).await;
    for _ in 0..10 {
        assert_eq!(get(lintel.http(), "/").await.text(), "good");
    }
    assert!(bad.count() >= 1);
    lintel.metric("lintel_pool_retries_total", &[("reason", "reset")], 1.0).await;
}

#[tokio::test]
async fn a_post_is_never_sent_twice() {
    let (bad, other) = (resetting(), resetting());
    let lintel = Lintel::before(&[&bad, &other], &pool("")).await;
    let mut connection = Connection::open(lintel.http()).await;
    let response = connection.exchange("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").await;
    assert_eq!(response.status(), 502);
    assert_eq!(bad.count() + other.count(), 1);
    assert_eq!(lintel.record(|record| record["status"] == 502).await["fault"], "server_reset");
}

#[tokio::test]
async fn a_put_is_sent_again_with_its_whole_body_while_that_is_small() {
    let (bad, good) = (resetting(), Origin::named("good"));
    let lintel = Lintel::before(&[&bad, &good], &pool("")).await;
    while bad.count() == 0 {
        let mut connection = Connection::open(lintel.http()).await;
        let body = "x".repeat(60_000);
        let put = format!("PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        assert_eq!(connection.exchange(&put).await.text(), body);
    }
    let bad_before = bad.count();
    while bad.count() == bad_before {
        let mut connection = Connection::open(lintel.http()).await;
        let chunked = "PUT /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(connection.exchange(chunked).await.text(), "abcde");
    }
    // Beyond 64 KiB the beginning is gone when it would be needed again.
    let large = "x".repeat(200_000);
    let put = format!("PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{large}", large.len());
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let mut connection = Connection::open(lintel.http()).await;
        statuses.push(connection.exchange(&put).await.status());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 502]);
}

#[tokio::test]
async fn nothing_is_tried_again_after_a_byte_of_the_response_went_out() {
    let cut = || {
        Origin::scripted(|mut talk| async move {
            talk.request().await;
            talk.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n").await;
            talk.send("abc").await;
            // The client has it when the next request comes; this server never sees one.
            crate::support::time::takes(Duration::from_millis(100)).await;
            talk.reset();
        })
    };
    let (one, two) = (cut(), cut());
    let lintel = Lintel::before(&[&one, &two], &pool("")).await;
    assert!(try_get(lintel.http(), "/").await.is_err());
    assert_eq!(one.count() + two.count(), 1);
    assert_eq!(lintel.record_of("/").await["fault"], "response_truncated");
}

#[tokio::test]
async fn statuses_are_tried_again_only_where_that_is_written() {
    let busy = || Origin::answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy");
    let (bad, good) = (busy(), Origin::named("good"));
    let lintel =
        Lintel::before(&[&bad, &good], &pool("retries: { on: [connect_failure, reset, 503] }")).await;
    for _ in 0..10 {
        assert_eq!(get(lintel.http(), "/").await.text(), "good");
    }
    assert!(bad.count() >= 1);
    lintel.metric("lintel_pool_retries_total", &[("reason", "503")], 1.0).await;

    let only = busy();
    let lintel = Lintel::before(&[&only], &pool("")).await;
    assert_eq!(get(lintel.http(), "/").await.text(), "busy");
    // When all tries end in it, the last answer goes to the client.
    let (one, two) = (busy(), busy());
    let lintel = Lintel::before(&[&one, &two], &pool("retries: { on: [503] }")).await;
    assert_eq!(get(lintel.http(), "/").await.status(), 503);
    assert_eq!((one.count(), two.count()), (1, 1));
}

#[tokio::test]
async fn no_attempts_means_none() {
    let (down, up) = (Origin::down("down"), Origin::named("up"));
    let lintel = Lintel::before(&[&down, &up], &pool("retries: { attempts: 0 }")).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(get(lintel.http(), "/").await.status());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 502, 502]);
}

#[tokio::test]
async fn retries_are_at_most_ten_and_a_fifth_of_the_requests() {
    let servers = [resetting(), resetting(), resetting()];
    let lintel = Lintel::before(&servers.each_ref(), &pool("")).await;
    for _ in 0..100 {
        assert_eq!(get(lintel.http(), "/").await.status(), 502);
    }
    let sent: usize = servers.iter().map(Origin::count).sum();
    assert!((110..=131).contains(&sent), "{sent} requests were sent for 100");
    lintel.metric("lintel_pool_retries_denied_total", &[("pool", "web")], 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_costs_no_get_while_two_others_live() {
    let (one, two, mut three) = tokio::join!(NodeApp::start(1), NodeApp::start(2), NodeApp::start(3));
    let yaml = format!(
        "listeners: {{ http: {{ address: \"127.0.0.1:0\" }} }}\npools: {{ web: {{ servers: [\"{}\", \"{}\", \"{}\"] }} }}\nroutes: [{{ name: all, to: web }}]\n",
        one.address, two.address, three.address
    );
    let lintel = Lintel::start(yaml).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let address = lintel.http();
    let clients = stream::iter(0..9).map(|_| {
        let answered = Arc::clone(&answered);
        async move {
            let mut connection = Connection::open(address).await;
            for _ in 0..60 {
                let response = connection.get("/slow?ms=20").await;
                assert_eq!(response.status(), 200, "{}", response.text());
                answered.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let load = clients.buffer_unordered(9).collect::<Vec<()>>();
    let kill = async {
        eventually("the load runs", async || (answered.load(Ordering::SeqCst) > 100).then_some(())).await;
        three.kill().await;
    };
    tokio::join!(load, kill);
    assert_eq!(answered.load(Ordering::SeqCst), 9 * 60);
    // Some were executing on it, or were sent to it afterwards.
    lintel.metric("lintel_pool_retries_total", &[("pool", "web")], 1.0).await;
    lintel.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_dropped_a_second_before_the_servers_hint() {
    let origin = Origin::scripted(|mut talk| async move {
        while talk.request().await.is_some() {
            talk.send("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=3\r\nContent-Length: 2\r\n\r\nok").await;
        }
    });
    let lintel = Lintel::before(&[&origin], "").await;
    let began = Instant::now();
    get(lintel.http(), "/").await;
    origin.connection_closed(0).await;
    let lived = began.elapsed();
    assert!((Duration::from_millis(800)..Duration::from_millis(2900)).contains(&lived), "{lived:?}");
}

#[tokio::test]
async fn an_idle_connection_lives_no_longer_than_is_written() {
    let origin = Origin::named("one");
    let lintel = Lintel::before(&[&origin], "timeouts: { server_keep_alive: 1s }").await;
    let began = Instant::now();
    get(lintel.http(), "/").await;
    origin.connection_closed(0).await;
    let lived = began.elapsed();
    assert!((Duration::from_millis(400)..Duration::from_millis(2500)).contains(&lived), "{lived:?}");
}

#[tokio::test]
async fn a_server_that_closes_idle_connections_costs_no_request() {
    // Closes after every answer without having said so; Lintel must notice before it sends the next one.
    let origin = Origin::scripted(|mut talk| async move {
        if let Some(request) = talk.request().await {
            talk.answer(&request, "one", b"one").await;
        }
    });
    let lintel = Lintel::before(&[&origin], "").await;
    let mut connection = Connection::open(lintel.http()).await;
    for index in 0..20 {
        let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(connection.exchange(post).await.text(), "one");
        origin.connection_closed(index).await;
    }
}
