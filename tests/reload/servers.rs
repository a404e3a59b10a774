//! What survives of a server that is in both plans, and what becomes of one that is only in one of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::spread::{assert_counts, spread};
use crate::support::lintel::front;
use crate::support::played::checked;
use crate::support::time::stays_silent;
use crate::support::{Connection, Lintel, Origin, eventually, get};

/// One engine thread, so that all requests see the same idle connections.
const ONE_THREAD: &str = "runtime: { threads: 1 }\n";
/// A further route, so that two configs differ in something.
const EXTRA: &str = "  - { name: extra, match: { path: /extra }, respond: { status: 200, body: extra } }\n";
/// A server is up or down after one check.
const QUICK: &str = "health_check: { path: /healthz, interval: 100ms, timeout: 90ms, healthy_after: 1, unhealthy_after: 1 }\nbalance: round_robin";
/// The same checks at another pace: the pool is built anew.
const QUICK_TOO: &str = "health_check: { path: /healthz, interval: 150ms, timeout: 90ms, healthy_after: 1, unhealthy_after: 1 }\nbalance: round_robin";

/// A server whose answers to `/held` wait for a permit each.
pub fn gated(name: &'static str, gate: &Arc<Semaphore>) -> Origin {
    let gate = Arc::clone(gate);
    Origin::scripted(move |mut talk| {
        let gate = Arc::clone(&gate);
        async move {
            while let Some(request) = talk.request().await {
                if request.target().starts_with("/held") {
                    gate.acquire().await.expect("the gate is never closed").forget();
                }
                talk.answer(&request, name, name.as_bytes()).await;
            }
        }
    })
}

/// Sends a GET and does not wait for its answer.
pub async fn ask(lintel: &Lintel, path: &str) -> Connection {
    let mut connection = Connection::open(lintel.http()).await;
    connection.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")).await;
    connection
}

async fn is_up(lintel: &Lintel, origin: &Origin) -> bool {
    lintel.metrics().await.sum("lintel_server_up", &[("server", &origin.address())]) == 1.0
}

async fn in_flight(lintel: &Lintel, origin: &Origin) -> f64 {
    lintel.metrics().await.sum("lintel_server_in_flight", &[("server", &origin.address())])
}

#[tokio::test]
async fn equal_servers_keep_their_connections_their_counts_and_their_turn() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let before = front(&[&a, &b], "balance: round_robin") + ONE_THREAD;
    let mut lintel = Lintel::start(&*before).await;
    assert_eq!(get(lintel.http(), "/").await.text(), "a");
    assert_eq!(get(lintel.http(), "/").await.text(), "b");
    assert_eq!(get(lintel.http(), "/").await.text(), "a");
    // The pool is built anew, with the same servers.
    let after = front(&[&a, &b], "balance: round_robin\ntimeouts: { response: 59s }") + EXTRA + ONE_THREAD;
    for (yaml, extra) in [(&after, 200), (&before, 200), (&after, 200)] {
        lintel.reload(yaml).await;
        let next = [get(lintel.http(), "/").await.text(), get(lintel.http(), "/").await.text()];
        assert_eq!(next, ["b", "a"], "the round goes on where it was");
        assert_eq!(get(lintel.http(), "/extra").await.status(), extra);
        if yaml == &before {
            // That was one more, to the pool.
            get(lintel.http(), "/").await;
        }
    }
    assert_eq!((a.connections(), b.connections()), (1, 1), "idle connections stay over reloads");
    lintel.metric("lintel_server_requests_total", &[("server", &a.address())], 5.0).await;
}

#[tokio::test]
async fn a_server_that_is_down_stays_down_and_one_that_is_up_needs_no_new_check() {
    let ((a, a_status), (b, _)) = (checked("a", 200), checked("b", 200));
    let mut lintel = Lintel::start(front(&[&a, &b], QUICK)).await;
    a_status.store(500, Ordering::SeqCst);
    eventually("it is down", async || (!is_up(&lintel, &a).await).then_some(())).await;
    for pool in [QUICK_TOO, QUICK, QUICK_TOO] {
        lintel.reload(&front(&[&a, &b], pool)).await;
        assert_counts(&spread(lintel.http(), "/", 10).await, &["b"], 10..=10);
        assert!(!is_up(&lintel, &a).await && is_up(&lintel, &b).await);
    }
    a_status.store(200, Ordering::SeqCst);
    eventually("it is up", async || is_up(&lintel, &a).await.then_some(())).await;
}

#[tokio::test]
async fn a_server_that_was_down_gets_work_again_when_its_checks_are_taken_away() {
    let ((a, a_status), (b, _)) = (checked("a", 200), checked("b", 200));
    let mut lintel = Lintel::start(front(&[&a, &b], QUICK)).await;
    a_status.store(500, Ordering::SeqCst);
    eventually("it is down", async || (!is_up(&lintel, &a).await).then_some(())).await;
    lintel.reload(&front(&[&a, &b], "balance: round_robin")).await;
    assert_counts(&spread(lintel.http(), "/", 10).await, &["a", "b"], 5..=5);
}

#[tokio::test]
async fn checks_that_are_new_take_nobody_out_before_they_have_answered() {
    let ((a, _), (b, _)) = (checked("a", 200), checked("b", 200));
    let mut lintel = Lintel::start(front(&[&a, &b], "balance: round_robin")).await;
    for (round, pool) in ["balance: round_robin", QUICK].into_iter().cycle().take(12).enumerate() {
        lintel.reload(&front(&[&a, &b], pool)).await;
        let answer = get(lintel.http(), "/").await;
        assert_eq!(answer.status(), 200, "in round {round}, with {pool}: {}", answer.text());
    }
}

#[tokio::test]
async fn an_ejected_server_stays_out() {
    let (a, b) = (Origin::answering("HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n"), Origin::named("b"));
    let pool = "balance: round_robin\noutlier_detection: { consecutive_failures: 2, ejection_time: 5m }";
    let mut lintel = Lintel::start(front(&[&a, &b], pool)).await;
    for _ in 0..4 {
        get(lintel.http(), "/").await;
    }
    lintel.metric("lintel_server_ejections_total", &[("server", &a.address())], 1.0).await;
    lintel.reload(&front(&[&a, &b], &format!("{pool}\ntimeouts: {{ response: 59s }}"))).await;
    assert_counts(&spread(lintel.http(), "/", 10).await, &["b"], 10..=10);
}

#[tokio::test]
async fn requests_in_flight_stay_counted_and_end_as_they_would_have() {
    let gate = Arc::new(Semaphore::new(0));
    let (a, b) = (gated("a", &gate), Origin::named("b"));
    let mut lintel = Lintel::start(front(&[&a], "")).await;
    let mut held = ask(&lintel, "/held").await;
    a.request(0).await;
    lintel.reload(&front(&[&a, &b], "timeouts: { response: 59s }")).await;
    assert_eq!(in_flight(&lintel, &a).await, 1.0);
    assert_counts(&spread(lintel.http(), "/", 6).await, &["b"], 6..=6);
    gate.add_permits(1);
    assert_eq!(held.response().await.text(), "a");
    eventually("nothing is in flight", async || (in_flight(&lintel, &a).await == 0.0).then_some(())).await;
    assert_eq!(held.get("/").await.status(), 200, "its connection goes on");
}

#[tokio::test]
async fn another_weight_counts_at_once_on_the_same_server() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let weighed = |weight: u32| {
        let yaml = front(&[&a, &b], "balance: round_robin") + ONE_THREAD;
        yaml.replace(
            &format!("\"{}\"", a.address()),
            &format!("{{ address: \"{}\", weight: {weight} }}", a.address()),
        )
    };
    let mut lintel = Lintel::start(weighed(1)).await;
    assert_counts(&spread(lintel.http(), "/", 8).await, &["a", "b"], 4..=4);
    lintel.reload(&weighed(3)).await;
    let counts = spread(lintel.http(), "/", 40).await;
    assert_eq!((counts["a"], counts["b"]), (30, 10));
    lintel.reload(&weighed(1)).await;
    assert_counts(&spread(lintel.http(), "/", 8).await, &["a", "b"], 4..=4);
    assert_eq!((a.connections(), b.connections()), (1, 1));
    lintel.metric("lintel_server_requests_total", &[("server", &a.address())], 38.0).await;
}

#[tokio::test]
async fn a_server_that_joins_a_working_pool_starts_slowly_and_the_others_do_not() {
    let (a, b, c) = (Origin::named("a"), Origin::named("b"), Origin::named("c"));
    let pool = "balance: round_robin\nslow_start: 60s";
    let mut lintel = Lintel::start(front(&[&a, &b], pool)).await;
    assert_counts(&spread(lintel.http(), "/", 10).await, &["a", "b"], 5..=5);
    lintel.reload(&front(&[&a, &b, &c], pool)).await;
    let counts = spread(lintel.http(), "/", 60).await;
    assert_counts(&counts, &["a", "b"], 25..=32);
    // What began slowly goes on slowly.
    lintel.reload(&(front(&[&a, &b, &c], &format!("{pool}\ntimeouts: {{ response: 59s }}")) + EXTRA)).await;
    let counts = spread(lintel.http(), "/", 60).await;
    assert_counts(&counts, &["a", "b"], 25..=32);
}

#[tokio::test]
async fn a_server_that_is_taken_away_gets_nothing_new_and_finishes_what_it_has() {
    let gate = Arc::new(Semaphore::new(0));
    let (a, b) = (gated("a", &gate), Origin::named("b"));
    let both = front(&[&a, &b], "balance: round_robin");
    let mut lintel = Lintel::start(&*both).await;
    let mut held = ask(&lintel, "/held").await;
    a.request(0).await;
    lintel.reload(&front(&[&b], "balance: round_robin")).await;
    assert_counts(&spread(lintel.http(), "/", 6).await, &["b"], 6..=6);
    gate.add_permits(1);
    assert_eq!(held.response().await.text(), "a");
    assert_eq!(a.count(), 1);
    // Nobody looks at its numbers any more, and it can come back.
    eventually("its series are gone", async || {
        let metrics = lintel.metrics().await;
        (!metrics.has("lintel_server_requests_total", &[("server", &a.address())])).then_some(())
    })
    .await;
    lintel.reload(&both).await;
    assert_counts(&spread(lintel.http(), "/", 10).await, &["a", "b"], 5..=5);
}

#[tokio::test]
async fn whoever_waits_in_the_queue_is_served_as_soon_as_a_reload_makes_room() {
    let gate = Arc::new(Semaphore::new(0));
    let (a, b) = (gated("a", &gate), Origin::named("b"));
    let limited = |limit: u32| format!("max_in_flight: {limit}\nqueue: {{ size: 10, timeout: 30s }}");
    for (servers, limit, server) in [(vec![&a, &b], 1, "b"), (vec![&a], 2, "a")] {
        let seen = a.count();
        let mut lintel = Lintel::start(front(&[&a], &limited(1))).await;
        let mut held = ask(&lintel, "/held").await;
        a.request(seen).await;
        let mut waiter = ask(&lintel, "/waits").await;
        lintel.metric("lintel_pool_queue_length", &[("pool", "web")], 1.0).await;
        // One that changes nothing about it lets it wait, where it was.
        lintel.reload(&(front(&[&a], &limited(1)) + EXTRA)).await;
        lintel.reload(&front(&[&a], &format!("{}\ntimeouts: {{ response: 59s }}", limited(1)))).await;
        assert!(stays_silent(Duration::from_millis(300), waiter.bytes(1)).await);
        lintel.reload(&front(&servers, &limited(limit))).await;
        assert_eq!(waiter.response().await.text(), server);
        lintel.metric("lintel_server_in_flight", &[("server", &a.address())], 1.0).await;
        gate.add_permits(1);
        assert_eq!(held.response().await.text(), "a");
    }
}

#[tokio::test]
async fn a_place_that_is_freed_after_a_reload_goes_to_who_waited_before_it() {
    let gate = Arc::new(Semaphore::new(0));
    let a = gated("a", &gate);
    let pool = "max_in_flight: 1\nqueue: { size: 10, timeout: 30s }";
    let mut lintel = Lintel::start(front(&[&a], pool)).await;
    let mut held = ask(&lintel, "/held").await;
    a.request(0).await;
    let mut waiter = ask(&lintel, "/waits").await;
    lintel.metric("lintel_pool_queue_length", &[("pool", "web")], 1.0).await;
    lintel.reload(&front(&[&a], &format!("{pool}\ntimeouts: {{ response: 59s }}"))).await;
    let mut newcomer = ask(&lintel, "/new").await;
    lintel.metric("lintel_pool_queue_length", &[("pool", "web")], 2.0).await;
    gate.add_permits(1);
    assert_eq!(held.response().await.status(), 200);
    assert_eq!((waiter.response().await.status(), newcomer.response().await.status()), (200, 200));
    let order: Vec<String> = a.requests().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(order, ["/held", "/waits", "/new"]);
    // A server that was full and goes away leaves its waiters to the next.
    gate.forget_permits(10);
    let b = Origin::named("b");
    let mut held = ask(&lintel, "/held").await;
    a.request(3).await;
    let mut waiter = ask(&lintel, "/waits").await;
    lintel.metric("lintel_pool_queue_length", &[("pool", "web")], 1.0).await;
    lintel.reload(&front(&[&b], pool)).await;
    assert_eq!(waiter.response().await.text(), "b");
    gate.add_permits(1);
    assert_eq!(held.response().await.text(), "a");
}
