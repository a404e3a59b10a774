//! The end of HTTP/2 connections: when Lintel ends, what runs is finished and clients are told; and idle ones go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustix::process::Signal;
use tokio::sync::Semaphore;

use crate::fronts::{before, h2c, listening};
use crate::support::http2::{End, Http2, Http2Origin, code, get, post};
use crate::support::time::takes;
use crate::support::websocket::echo_origin;
use crate::support::{Lintel, Origin, eventually, within};

const LAST_OF_ALL: u32 = 0x7fff_ffff;

/// A server whose answers wait for a permit each.
fn gated(gate: &Arc<Semaphore>) -> Origin {
    let gate = Arc::clone(gate);
    Origin::scripted(move |mut talk| {
        let gate = Arc::clone(&gate);
        async move {
            while let Some(request) = talk.request().await {
                gate.acquire().await.expect("the gate is never closed").forget();
                talk.answer(&request, "one", b"one").await;
            }
        }
    })
}

async fn goaways(client: &mut Http2, count: usize) -> (u32, u32) {
    client.until("a GOAWAY", |wire| wire.goaways.get(count - 1).copied()).await
}

#[tokio::test]
async fn what_runs_is_finished_and_what_comes_late_is_refused() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = gated(&gate);
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    // Then only time tells Lintel that the first GOAWAY arrived.
    client.answers_pings = false;
    client.request(1, &get("/running"), true).await;
    client.request(3, &post("/half-sent"), false).await;
    origin.request(0).await;
    lintel.signal(Signal::TERM);
    assert_eq!(goaways(&mut client, 1).await, (LAST_OF_ALL, code::NO_ERROR), "RFC 9113 6.8: a warning");
    // Sent before the client could know: it is served.
    client.request(5, &get("/crossing"), true).await;
    assert_eq!(goaways(&mut client, 2).await, (5, code::NO_ERROR));
    client.request(7, &get("/late"), true).await;
    client.body(3, "abc", true).await;
    gate.add_permits(10);
    for stream in [1, 3, 5] {
        let reply = client.response(stream).await;
        assert_eq!((reply.status, reply.is_whole()), (200, true), "stream {stream}");
    }
    client.closed().await;
    assert!(matches!(client.end_of(7), End::GoAway(code::NO_ERROR) | End::Reset(code::REFUSED_STREAM)));
    let ending = lintel.ending().await;
    assert_eq!(ending.code, Some(0), "{}", ending.log);
    assert!(origin.requests().iter().all(|request| request.target() != "/late"));
    let faults: Vec<_> = ending.records.iter().filter(|record| record.get("fault").is_some()).collect();
    assert!(faults.iter().all(|record| record["target"] == "/late"), "{faults:?}");
}

#[tokio::test]
async fn an_answered_ping_saves_the_second() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = gated(&gate);
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    client.request(1, &get("/running"), true).await;
    origin.request(0).await;
    lintel.signal(Signal::TERM);
    assert_eq!(goaways(&mut client, 1).await, (LAST_OF_ALL, code::NO_ERROR));
    assert_eq!(goaways(&mut client, 2).await, (1, code::NO_ERROR));
    gate.add_permits(1);
    assert_eq!(client.response(1).await.text(), "one");
    client.closed().await;
    assert_eq!(lintel.ending().await.code, Some(0));
}

#[tokio::test]
async fn idle_connections_do_not_hold_it_up() {
    let origin = Origin::named("one");
    let lintel = before(&[&origin], "").await;
    let mut idle = Http2::open(lintel.http()).await;
    idle.get("/").await;
    let mut unused = Http2::open(lintel.http()).await;
    let mut silent = Http2::silent(lintel.http()).await;
    lintel.metric("lintel_listener_connections_open", &[("listener", "http")], 3.0).await;
    let began = Instant::now();
    lintel.stop().await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    for client in [&mut idle, &mut unused] {
        client.closed().await;
        assert!(client.goaways.iter().any(|(_, code)| *code == code::NO_ERROR), "{:?}", client.goaways);
        assert!(client.goaways.iter().all(|(_, code)| *code == code::NO_ERROR), "{:?}", client.goaways);
    }
    silent.closed().await;
}

#[tokio::test]
async fn at_the_drain_timeout_what_still_runs_is_cut_off_and_recorded() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = gated(&gate);
    let lintel = Lintel::start(h2c(&[&origin], "", "") + "runtime: { drain_timeout: 500ms }\n").await;
    let mut client = Http2::open(lintel.http()).await;
    client.request(1, &get("/stuck"), true).await;
    origin.request(0).await;
    let ending = lintel.stop().await;
    let record = ending.records.iter().find(|record| record["target"] == "/stuck").expect("a record");
    assert_eq!(record["fault"], "drain_timeout");
    // Nothing was answered yet, so it can still be told why.
    assert_eq!(client.response(1).await.status, 503);
    client.closed().await;
}

#[tokio::test]
async fn a_connection_without_streams_goes_after_its_time() {
    let origin = Origin::named("one");
    let lintel = listening("timeouts: { keep_alive: 300ms }", &origin).await;
    let mut client = Http2::open(lintel.http()).await;
    assert_eq!(client.get("/").await.text(), "one");
    client.closed().await;
    assert_eq!(
        client.goaways.last(),
        Some(&(1, code::NO_ERROR)),
        "with the last stream, so that nothing is lost"
    );
    lintel.metric("lintel_listener_timeouts_total", &[("kind", "keep_alive")], 1.0).await;
    assert_eq!(lintel.access_log.records().len(), 1, "{:?}", lintel.access_log.lines());
}

#[tokio::test]
async fn a_connection_with_a_stream_is_not_idle() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = gated(&gate);
    let lintel = listening("timeouts: { keep_alive: 200ms }", &origin).await;
    let mut client = Http2::open(lintel.http()).await;
    let stream = client.start(&get("/"), true).await;
    takes(Duration::from_millis(800)).await;
    gate.add_permits(1);
    assert_eq!(client.response(stream).await.text(), "one");
}

#[tokio::test]
async fn websockets_are_told_to_go_away_at_a_frame_boundary() {
    let origin = echo_origin("one");
    let lintel = Lintel::start(h2c(&[&origin], "", "") + "runtime: { drain_timeout: 20s }\n").await;
    let mut client = Http2::open(lintel.http()).await;
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", "/ws"),
        ("sec-websocket-version", "13"),
    ];
    let stream = client.start(&fields, false).await;
    assert_eq!(client.head(stream).await.status, 200);
    let began = Instant::now();
    lintel.signal(Signal::TERM);
    let reply = client.received(stream, 4).await;
    // Close 1001, as over HTTP/1.1.
    assert!(reply.body.starts_with(b"\x88") && reply.body[2..4] == [0x03, 0xe9], "{:?}", reply.body);
    client.body(stream, b"\x88\x82\0\0\0\0\x03\xe9", true).await;
    client.closed().await;
    assert_eq!(lintel.ending().await.code, Some(0));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}: nobody waits for the timeout", began.elapsed());
}

#[derive(Default)]
struct Load {
    answered: AtomicUsize,
    lost: AtomicUsize,
    told: AtomicUsize,
    over: AtomicBool,
}

impl Load {
    /// A client with four requests at a time, which stops when it is told to.
    async fn runs(&self, mut client: Http2) {
        while !self.over.load(Ordering::SeqCst) {
            let mut streams = Vec::new();
            for _ in 0..4 {
                streams.push(client.start(&post("/echo"), false).await);
            }
            for stream in &streams {
                client.body(*stream, "abc", true).await;
            }
            for stream in streams {
                match client.response(stream).await.end {
                    End::Whole => self.answered.fetch_add(1, Ordering::SeqCst),
                    // Known not to be processed: it may be sent elsewhere.
                    End::GoAway(code::NO_ERROR) | End::Reset(code::REFUSED_STREAM) => 0,
                    end => {
                        eprintln!("lost on stream {stream}: {end:?}");
                        self.lost.fetch_add(1, Ordering::SeqCst)
                    }
                };
            }
            if !client.goaways.is_empty() {
                self.told.fetch_add(1, Ordering::SeqCst);
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_loses_no_request() {
    let (one, two) = (Origin::named("one"), Http2Origin::named("two"));
    for (server, pool) in [(&one, ""), (&*two, "protocol: http2")] {
        let lintel = before(&[server], pool).await;
        let load = Arc::new(Load::default());
        let mut clients = Vec::new();
        for _ in 0..12 {
            let (load, client) = (Arc::clone(&load), Http2::open(lintel.http()).await);
            clients.push(tokio::spawn(async move { load.runs(client).await }));
        }
        let runs = async || (load.answered.load(Ordering::SeqCst) > 500).then_some(());
        eventually("the load runs", runs).await;
        let ending = lintel.stop().await;
        load.over.store(true, Ordering::SeqCst);
        for ended in within("the clients end", join_all(clients)).await {
            ended.expect("no client met what must not be");
        }
        assert_eq!(load.lost.load(Ordering::SeqCst), 0, "{pool}");
        assert_eq!(load.told.load(Ordering::SeqCst), 12, "every client was told");
        let answered = ending.records.iter().filter(|record| record["status"] == 200).count();
        assert_eq!(answered, load.answered.load(Ordering::SeqCst), "a record for every answer");
    }
}
