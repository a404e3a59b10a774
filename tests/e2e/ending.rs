//! Ending: what runs is finished, clients are told, and nothing is lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::lintel::front;
use crate::support::time::takes;
use crate::support::websocket::{self, echo, echo_origin};
use crate::support::{Connection, Lintel, Origin, eventually, within};

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

/// A server that takes a little while.
fn brisk(name: &'static str) -> Origin {
    Origin::scripted(move |mut talk| async move {
        while let Some(request) = talk.request().await {
            takes(Duration::from_millis(5)).await;
            talk.answer(&request, name, name.as_bytes()).await;
        }
    })
}

async fn refuses(address: SocketAddr) {
    eventually("new connections are refused", async || {
        TcpStream::connect(address).await.is_err().then_some(())
    })
    .await;
}

#[derive(Default)]
struct Load {
    answered: AtomicUsize,
    lost: AtomicUsize,
    told: AtomicUsize,
    over: AtomicBool,
}

impl Load {
    /// A client that keeps its connection, and stops when it is told to.
    async fn keeps(&self, address: SocketAddr) {
        while !self.over.load(Ordering::SeqCst) {
            let Ok(stream) = TcpStream::connect(address).await else { return };
            let mut connection = Connection::over(stream);
            for served in 0.. {
                connection.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
                match connection.try_response_to("GET").await {
                    Ok(response) => {
                        self.answered.fetch_add(1, Ordering::SeqCst);
                        if response.lists("connection", "close") {
                            self.told.fetch_add(1, Ordering::SeqCst);
                            break;
                        }
                    }
                    Err(why) => {
                        eprintln!("lost on a connection that served {served} requests before: {why}");
                        self.lost.fetch_add(1, Ordering::SeqCst);
                        break;
                    }
                }
            }
        }
    }

    /// A client with a connection for each request.
    async fn comes_and_goes(&self, address: SocketAddr) {
        while !self.over.load(Ordering::SeqCst) {
            let Ok(stream) = TcpStream::connect(address).await else { return };
            let mut connection = Connection::over(stream);
            connection
                .send("POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc")
                .await;
            match connection.try_response_to("POST").await {
                Ok(_) => self.answered.fetch_add(1, Ordering::SeqCst),
                Err(why) => {
                    eprintln!("lost on a new connection: {why}");
                    self.lost.fetch_add(1, Ordering::SeqCst)
                }
            };
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_loses_no_request() {
    let (one, two) = (brisk("one"), brisk("two"));
    let lintel = Lintel::before(&[&one, &two], "").await;
    let address = lintel.http();
    let load = Arc::new(Load::default());
    let mut clients = Vec::new();
    for number in 0..24 {
        let load = Arc::clone(&load);
        clients.push(tokio::spawn(async move {
            if number % 3 == 0 { load.comes_and_goes(address).await } else { load.keeps(address).await }
        }));
    }
    eventually("the load runs", async || (load.answered.load(Ordering::SeqCst) > 500).then_some(())).await;
    let ending = lintel.stop().await;
    load.over.store(true, Ordering::SeqCst);
    within("the clients end", join_all(clients)).await;
    assert_eq!(load.lost.load(Ordering::SeqCst), 0);
    assert!(
        load.told.load(Ordering::SeqCst) >= 8,
        "{} kept-alive clients were told",
        load.told.load(Ordering::SeqCst)
    );
    assert_eq!(ending.records.len(), load.answered.load(Ordering::SeqCst), "a record for every answer");
    let faults: Vec<_> = ending.records.iter().filter(|record| record.get("fault").is_some()).collect();
    assert!(faults.is_empty(), "{faults:?}");
}

#[tokio::test]
async fn what_runs_is_finished_and_new_connections_are_refused() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = gated(&gate);
    for signal in [Signal::TERM, Signal::INT] {
        let seen = origin.count();
        let lintel = Lintel::before(&[&origin], "").await;
        let mut running = Connection::open(lintel.http()).await;
        running.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        origin.request(seen).await;
        lintel.signal(signal);
        refuses(lintel.http()).await;
        gate.add_permits(1);
        let response = running.response().await;
        assert_eq!((response.text().as_str(), response.field("connection")), ("one", Some("close")));
        let done = Instant::now();
        assert_eq!(lintel.ending().await.code, Some(0), "{signal:?}");
        assert!(done.elapsed() < Duration::from_secs(5), "it waited for nothing");
    }
}

#[tokio::test]
async fn a_half_sent_request_is_finished() {
    let origin = Origin::named("one");
    let lintel = Lintel::before(&[&origin], "").await;
    let mut client = Connection::open(lintel.http()).await;
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc").await;
    eventually("the beginning is at the server", async || origin.bytes().ends_with(b"abc").then_some(()))
        .await;
    lintel.signal(Signal::TERM);
    refuses(lintel.http()).await;
    client.send("def").await;
    assert_eq!(client.response_to("POST").await.text(), "abcdef");
    assert_eq!(lintel.ending().await.code, Some(0));
}

#[tokio::test]
async fn idle_connections_do_not_hold_it_up() {
    let origin = Origin::named("one");
    let lintel = Lintel::before(&[&origin], "").await;
    let mut idle = Connection::open(lintel.http()).await;
    idle.get("/").await;
    let mut silent = Connection::open(lintel.http()).await;
    lintel.metric("lintel_listener_connections_open", &[("listener", "http")], 2.0).await;
    let began = Instant::now();
    lintel.stop().await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!((idle.rest().await.len(), silent.rest().await.len()), (0, 0));
}

#[tokio::test]
async fn at_the_drain_timeout_what_still_runs_is_cut_off_and_recorded() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = gated(&gate);
    let lintel = Lintel::start(front(&[&origin], "") + "runtime: { drain_timeout: 500ms }\n").await;
    let mut client = Connection::open(lintel.http()).await;
    client.send("GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n").await;
    origin.request(0).await;
    let ending = lintel.stop().await;
    let record = ending.records.iter().find(|record| record["target"] == "/stuck").expect("a record");
    assert_eq!(record["fault"], "drain_timeout");
}

#[tokio::test]
async fn the_record_of_an_answer_that_is_cut_off_says_how_far_it_came() {
    let origin = Origin::scripted(|mut talk| async move {
        talk.request().await;
        talk.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nten bytes!").await;
        talk.hang().await;
    });
    let lintel = Lintel::start(front(&[&origin], "") + "runtime: { drain_timeout: 500ms }\n").await;
    let mut client = Connection::open(lintel.http()).await;
    client.send("GET /part HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.until(b"ten bytes!").await;
    let ending = lintel.stop().await;
    let record = ending.records.iter().find(|record| record["target"] == "/part").expect("a record");
    assert_eq!((&record["fault"], &record["body_out"]), (&"drain_timeout".into(), &10.into()), "{record}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = gated(&gate);
    let lintel = Lintel::start(front(&[&origin], "") + "runtime: { drain_timeout: 1h }\n").await;
    let mut client = Connection::open(lintel.http()).await;
    client.send("GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n").await;
    origin.request(0).await;
    lintel.signal(Signal::TERM);
    refuses(lintel.http()).await;
    lintel.signal(Signal::TERM);
    let ending = lintel.ending().await;
    assert!(!ending.log.contains("panicked"), "{}", ending.log);
}

#[tokio::test]
async fn websockets_are_told_to_go_away_at_a_frame_boundary() {
    let origin = echo_origin("one");
    let lintel = Lintel::start(front(&[&origin], "") + "runtime: { drain_timeout: 20s }\n").await;
    let mut socket = websocket::open(lintel.http(), "/ws").await;
    assert_eq!(echo(&mut socket, "before").await, "before");
    let began = Instant::now();
    lintel.signal(Signal::TERM);
    let last = within("a last message", socket.next()).await.expect("a message").expect("a whole frame");
    let Message::Close(Some(frame)) = last else { panic!("{last:?} is no Close") };
    assert_eq!(frame.code, CloseCode::Away);
    drop(socket);
    assert_eq!(lintel.ending().await.code, Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "nobody waits for the drain timeout: {:?}",
        began.elapsed()
    );
}
