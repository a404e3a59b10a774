//! Pause: new requests wait in line, and are let go in the order in which they came.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::load::Load;
use crate::support::lintel::front;
use crate::support::time::{stays_silent, takes};
use crate::support::{Connection, Lintel, Origin, Response, eventually, get, within};

async fn waiting(lintel: &Lintel) -> u64 {
    lintel.status().await["pools"][0]["waiting"].as_u64().unwrap_or_default()
}

/// Awaits that so many wait.
async fn waits(lintel: &Lintel, count: u64) {
    eventually(&format!("{count} wait"), async || (waiting(lintel).await == count).then_some(())).await;
}

fn ask(lintel: &Lintel, path: &str) -> tokio::task::JoinHandle<Response> {
    let (address, path) = (lintel.http(), path.to_owned());
    tokio::spawn(async move { get(address, &path).await })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_seconds_under_load_fail_no_request() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let lintel = Lintel::before(&[&one, &two], "max_in_flight: 4").await;
    let load = Load::start(lintel.http(), 4);
    load.more(50).await;
    for _ in 0..2 {
        let said = lintel.run(&["pause", "web", "--timeout", "2s"]).await;
        assert_eq!((said.code, said.stdout.trim()), (Some(0), "web: new requests wait, for 2s at most"));
        waits(&lintel, 4).await;
        lintel.metric("lintel_pool_paused", &[("pool", "web")], 1.0).await;
        lintel.metric("lintel_pool_queue_length", &[("pool", "web")], 4.0).await;
        let (seen, in_flight) = (one.count() + two.count(), lintel.metrics().await);
        assert_eq!(in_flight.sum("lintel_server_in_flight", &[("pool", "web")]), 0.0);
        eventually("the pause is over", async || (waiting(&lintel).await == 0).then_some(())).await;
        load.more(50).await;
        assert!(one.count() + two.count() > seen);
    }
    let metrics = lintel.metrics().await;
    assert_eq!(metrics.sum("lintel_pool_paused", &[("pool", "web")]), 0.0);
    assert_eq!(metrics.sum("lintel_pool_queue_timeouts_total", &[("pool", "web")]), 0.0);
    load.stop().await;
    lintel.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_let_go_in_the_order_in_which_they_came() {
    let origin = Origin::named("one");
    let lintel = Lintel::before(&[&origin], "max_in_flight: 1").await;
    lintel.run(&["pause", "web"]).await;
    let mut clients = Vec::new();
    for number in 0..30 {
        clients.push(ask(&lintel, &format!("/{number}")));
        waits(&lintel, number + 1).await;
    }
    assert_eq!(origin.count(), 0);
    let picture = lintel.run(&["status"]).await.stdout;
    assert!(picture.contains("pool web, 30 requests wait, paused for"), "{picture}");
    let said = lintel.run(&["resume", "web"]).await;
    assert_eq!((said.code, said.stdout.trim()), (Some(0), "web: goes on, with 30 requests that waited"));
    for client in clients {
        assert_eq!(within("an answer", client).await.expect("no client panics").status(), 200);
    }
    let order: Vec<String> = origin.requests().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(order, (0..30).map(|number| format!("/{number}")).collect::<Vec<_>>());
    let said = lintel.run(&["resume", "web"]).await;
    assert_eq!((said.code, said.stdout.trim()), (Some(0), "web: was not paused"), "which is no error");
}

#[tokio::test]
async fn beyond_the_size_of_the_queue_requests_are_refused_and_who_leaves_is_out_of_line() {
    let origin = Origin::named("one");
    let lintel = Lintel::before(&[&origin], "queue: { size: 2, timeout: 1s }").await;
    lintel.run(&["pause", "web", "--timeout", "20s"]).await;
    let mut leaves = Connection::open(lintel.http()).await;
    leaves.send("GET /leaves HTTP/1.1\r\nHost: a\r\n\r\n").await;
    waits(&lintel, 1).await;
    let stays = ask(&lintel, "/stays");
    waits(&lintel, 2).await;
    let refused = get(lintel.http(), "/refused").await;
    assert_eq!((refused.status(), refused.field("retry-after")), (503, Some("1")));
    drop(leaves);
    waits(&lintel, 1).await;
    assert_eq!(lintel.record_of("/leaves").await["status"], 499);
    let later = ask(&lintel, "/later");
    waits(&lintel, 2).await;
    // Longer than queue.timeout, which the pause does not count towards.
    takes(Duration::from_millis(1500)).await;
    let said = lintel.run(&["resume", "web", "--json"]).await;
    let report: Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!((&report["let_go"], &report["was_paused"]), (&2.into(), &true.into()));
    for client in [stays, later] {
        assert_eq!(within("an answer", client).await.expect("no client panics").status(), 200);
    }
    let queued = lintel.record_of("/stays").await["queue_ms"].as_f64().unwrap_or_default();
    assert!(queued >= 1500.0, "{queued}");
    assert!(origin.requests().iter().all(|request| request.target() != "/leaves"));
}

#[tokio::test]
async fn what_is_under_way_goes_on_and_the_timeout_ends_the_pause() {
    let origin = Origin::scripted(|mut talk| async move {
        while let Some(request) = talk.request().await {
            if request.target() == "/slow" {
                talk.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsl").await;
                talk.exactly(1).await;
                talk.send("ow").await;
            } else {
                talk.answer(&request, "one", b"one").await;
            }
        }
    });
    let lintel = Lintel::before(&[&origin], "").await;
    let mut slow = Connection::open(lintel.http()).await;
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(slow.bytes(10).await.len(), 10);
    let began = Instant::now();
    let answer = lintel.order("/pools/web/pause?timeout=1s").await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    // Given again, it lasts that long from then on.
    let answer = lintel.order("/pools/web/pause?timeout=3s").await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let waits_too = ask(&lintel, "/later");
    waits(&lintel, 1).await;
    assert!(!waits_too.is_finished());
    assert_eq!(within("an answer", waits_too).await.expect("no client panics").status(), 200);
    let passed = began.elapsed();
    assert!(passed > Duration::from_millis(2900) && passed < Duration::from_secs(10), "{passed:?}");
    let over = lintel.log.record("the end of the pause in the log", |line| {
        crate::support::lintel::message_of(line) == "the pause is over by its timeout"
    });
    over.await;
    for timeout in ["999ms", "11m", "5", "x"] {
        let answer = lintel.order(&format!("/pools/web/pause?timeout={timeout}")).await;
        assert_eq!(answer.status(), 400, "{timeout}: {}", answer.text());
    }
    assert_eq!(lintel.order("/pools/nobody/resume").await.status(), 404);
}

#[tokio::test]
async fn a_reload_in_the_middle_keeps_the_pause_and_those_who_wait() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let mut lintel = Lintel::start(front(&[&one], "")).await;
    lintel.run(&["pause", "web"]).await;
    let before = ask(&lintel, "/before");
    waits(&lintel, 1).await;
    lintel.reload(&front(&[&two], "max_in_flight: 1\nqueue: { size: 5 }")).await;
    let after = ask(&lintel, "/after");
    waits(&lintel, 2).await;
    lintel.metric("lintel_pool_paused", &[("pool", "web")], 1.0).await;
    assert!(stays_silent(Duration::from_millis(1200), two.request(0)).await);
    lintel.run(&["resume", "web"]).await;
    for client in [before, after] {
        assert_eq!(within("an answer", client).await.expect("no client panics").text(), "two");
    }
    assert_eq!(one.count(), 0);
}

#[tokio::test]
async fn a_retry_waits_as_well_and_has_the_time_it_had() {
    // Ends the first connection after a request, without an answer; the test pauses the pool in between.
    let breaks = Origin::scripted(|mut talk| async move {
        talk.request().await;
        talk.swallow(1).await;
    });
    let lintel = Lintel::before(&[&breaks], "balance: round_robin\nqueue: { timeout: 1s }").await;
    let running = ask(&lintel, "/");
    breaks.request(0).await;
    lintel.run(&["pause", "web"]).await;
    let good = Origin::named("good");
    lintel.order(&format!("/pools/web/servers?address={}", good.address())).await;
    breaks.kill().await;
    waits(&lintel, 1).await;
    assert!(stays_silent(Duration::from_millis(1500), good.request(0)).await);
    assert!(!running.is_finished());
    lintel.run(&["resume", "web"]).await;
    assert_eq!(within("an answer", running).await.expect("no client panics").text(), "good");
}
