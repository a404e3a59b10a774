//! Whether servers get work: active checks, ejection by what exchanges saw, and no server at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::spread::{assert_counts, spread};
use crate::support::client::try_get;
use crate::support::lintel::message_of;
use crate::support::played::checked;
use crate::support::{Lintel, Origin, eventually, get};

const QUICK: &str = "health_check: { path: /healthz, interval: 100ms, timeout: 90ms, healthy_after: 2, unhealthy_after: 2 }\nbalance: round_robin";

async fn is_up(lintel: &Lintel, origin: &Origin) -> bool {
    lintel.metrics().await.sum("lintel_server_up", &[("server", &origin.address())]) == 1.0
}

#[tokio::test]
async fn a_server_that_fails_its_checks_gets_no_work_until_it_passes_them_again() {
    let ((a, status), (b, _)) = (checked("a", 200), checked("b", 200));
    let lintel = Lintel::before(&[&a, &b], QUICK).await;
    assert_counts(&spread(lintel.http(), "/", 20).await, &["a", "b"], 9..=11);
    status.store(500, Ordering::SeqCst);
    eventually("it is down", async || (!is_up(&lintel, &a).await).then_some(())).await;
    assert_counts(&spread(lintel.http(), "/", 20).await, &["b"], 20..=20);
    status.store(204, Ordering::SeqCst);
    eventually("it is up", async || is_up(&lintel, &a).await.then_some(())).await;
    assert_counts(&spread(lintel.http(), "/", 20).await, &["a", "b"], 9..=11);
    // Each change is logged with the server and its reason.
    let changes: Vec<_> =
        lintel.log.records().into_iter().filter(|line| line.to_string().contains(&a.address())).collect();
    assert!(changes.iter().any(|line| line.to_string().contains("500")), "{changes:?}");
    assert!(changes.len() >= 2 && changes.iter().all(|line| !message_of(line).is_empty()), "{changes:?}");
    lintel.metric("lintel_server_checks_total", &[("server", &a.address()), ("outcome", "ok")], 2.0).await;
    lintel
        .metric("lintel_server_checks_total", &[("server", &a.address()), ("outcome", "status")], 2.0)
        .await;
}

#[tokio::test]
async fn the_first_check_decides_before_the_first_request() {
    let ((good, _), (bad, _)) = (checked("good", 200), checked("bad", 503));
    let lintel = Lintel::before(&[&good, &bad], "health_check: /healthz\nbalance: round_robin").await;
    assert_counts(&spread(lintel.http(), "/", 20).await, &["good"], 20..=20);
}

#[tokio::test]
async fn a_check_asks_what_it_is_told_to() {
    let (origin, _) = checked("a", 418);
    let check = "health_check: { path: \"/healthz?deep=1\", host: check.test, status: [418], interval: 100ms, timeout: 90ms }";
    let lintel = Lintel::before(&[&origin], check).await;
    assert_eq!(get(lintel.http(), "/").await.text(), "a");
    let request =
        origin.requests().into_iter().find(|request| request.target() == "/healthz?deep=1").expect("a check");
    assert_eq!((request.method(), request.field("host")), ("GET", Some("check.test")));
}

#[tokio::test]
async fn a_tcp_check_only_connects() {
    let (up, down) = (Origin::named("up"), Origin::down("down"));
    let check =
        "health_check: { tcp: true, interval: 100ms, timeout: 90ms, healthy_after: 1, unhealthy_after: 1 }";
    let lintel = Lintel::before(&[&up, &down], &format!("{check}\nbalance: round_robin")).await;
    assert_counts(&spread(lintel.http(), "/", 20).await, &["up"], 20..=20);
    assert!(up.requests().iter().all(|request| request.target() == "/"), "a check sent something");
    down.revive();
    eventually("it is up", async || is_up(&lintel, &down).await.then_some(())).await;
    assert_counts(&spread(lintel.http(), "/", 20).await, &["up", "down"], 9..=11);
}

#[tokio::test]
async fn a_check_that_takes_too_long_has_failed() {
    let hanging = Origin::scripted(|mut talk| async move {
        talk.request().await;
        talk.hang().await;
    });
    let lintel =
        Lintel::before(&[&hanging], "health_check: { path: /healthz, interval: 100ms, timeout: 90ms }").await;
    let response = get(lintel.http(), "/").await;
    assert_eq!(response.status(), 503);
    lintel.metric("lintel_server_checks_total", &[("outcome", "timeout")], 1.0).await;
}

#[tokio::test]
async fn with_no_server_up_the_answer_is_503_at_once_with_retry_after() {
    let (bad, _) = checked("bad", 500);
    let lintel = Lintel::before(&[&bad], QUICK).await;
    let began = std::time::Instant::now();
    let response = get(lintel.http(), "/").await;
    assert!(began.elapsed() < std::time::Duration::from_secs(3), "it waited {:?}", began.elapsed());
    assert_eq!(response.status(), 503);
    let seconds: u32 = response.field("retry-after").expect("Retry-After").parse().expect("seconds");
    assert!(seconds >= 1);
    assert_eq!(lintel.record_of("/").await["fault"], "no_server_up");
    lintel.metric("lintel_pool_no_server_up_total", &[("pool", "web")], 1.0).await;
    lintel.metric("lintel_route_requests_total", &[("route", "all"), ("status", "503")], 1.0).await;
}

#[tokio::test]
async fn a_server_whose_exchanges_fail_is_ejected_for_a_while() {
    let fails = Arc::new(AtomicBool::new(true));
    let shared = Arc::clone(&fails);
    let shaky = Origin::scripted(move |mut talk| {
        let fails = Arc::clone(&shared);
        async move {
            while let Some(request) = talk.request().await {
                if fails.load(Ordering::SeqCst) {
                    return talk.reset();
                }
                talk.answer(&request, "shaky", b"shaky").await;
            }
        }
    });
    let good = Origin::named("good");
    let pool = "balance: round_robin\noutlier_detection: { consecutive_failures: 3, ejection_time: 2s, max_ejected: 50% }";
    let lintel = Lintel::before(&[&shaky, &good], pool).await;
    while lintel.metrics().await.sum("lintel_server_ejections_total", &[("server", &shaky.address())]) < 1.0 {
        assert_eq!(get(lintel.http(), "/").await.text(), "good");
        assert!(shaky.count() <= 4, "it should be out by now");
    }
    let seen = shaky.count();
    assert_eq!(seen, 3);
    assert_counts(&spread(lintel.http(), "/", 10).await, &["good"], 10..=10);
    assert_eq!(shaky.count(), seen, "it got work while it was out");
    fails.store(false, Ordering::SeqCst);
    let back = async || (try_get(lintel.http(), "/").await.ok()?.text() == "shaky").then_some(());
    eventually("it is back", back).await;
}

#[tokio::test]
async fn ejection_leaves_at_least_the_share_that_is_written() {
    let failing = || Origin::answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy");
    let servers = [failing(), failing(), failing(), failing()];
    let pool = "balance: round_robin\noutlier_detection: { consecutive_failures: 2, ejection_time: 60s, max_ejected: 50% }";
    let lintel = Lintel::before(&servers.each_ref(), pool).await;
    for _ in 0..40 {
        assert_eq!(get(lintel.http(), "/").await.text(), "busy", "an answer of a server, not of Lintel");
    }
    assert_eq!(lintel.metrics().await.sum("lintel_server_ejected", &[("pool", "web")]), 2.0);
}
