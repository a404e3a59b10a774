//! Nothing is lost: requests on new and kept connections, by HTTP/2, and WebSockets, over one upgrade after the other.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use rustix::process::Signal;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::house::{House, app, code_of, signal};
use crate::load::{Load, all_whole};
use crate::support::http2::{self, Http2};
use crate::support::time::takes;
use crate::support::websocket::{self, echo_origin};
use crate::support::{Origin, get, within};

/// The load of the test, or that of LINTEL_TEST_LOAD: requests a second.
fn rate() -> u32 {
    std::env::var("LINTEL_TEST_LOAD").ok().and_then(|rate| rate.parse().ok()).unwrap_or(150)
}

fn sockets() -> usize {
    std::env::var("LINTEL_TEST_SOCKETS").ok().and_then(|count| count.parse().ok()).unwrap_or(20)
}

/// How one WebSocket fared: echoes, and the code and time of its end.
struct Fate {
    echoes: usize,
    code: CloseCode,
    at: Instant,
}

/// Sends twice a second, and must hear each text again, until it is told goodbye.
async fn chat(mut socket: websocket::Socket, delay: Duration) -> Fate {
    takes(delay).await;
    let mut echoes = 0;
    loop {
        takes(Duration::from_millis(500)).await;
        let text = format!("text {echoes}");
        // Where it is refused the goodbye is there to be read.
        let _ = socket.send(Message::text(&*text)).await;
        loop {
            match within("an echo or a goodbye", socket.next())
                .await
                .expect("an end by a Close")
                .expect("whole frames")
            {
                Message::Text(found) => {
                    assert_eq!(found.as_str(), text);
                    echoes += 1;
                    break;
                }
                Message::Close(frame) => {
                    return Fate { echoes, code: frame.expect("a code").code, at: Instant::now() };
                }
                _ => {}
            }
        }
    }
}

/// Asks one request after the other on one connection of HTTP/2 after the other; how many, until it is dropped.
async fn ask_by_http2(address: SocketAddr, mut over: tokio::sync::watch::Receiver<bool>) -> usize {
    let mut answered = 0;
    while !*over.borrow_and_update() {
        let mut client = Http2::open(address).await;
        while !*over.borrow_and_update() && client.goaways.is_empty() {
            let stream = client.start(&http2::get("/"), true).await;
            let reply = client.response(stream).await;
            assert_eq!(reply.status, 200, "{reply:?}");
            answered += 1;
            takes(Duration::from_millis(20)).await;
        }
    }
    answered
}

fn with_sockets(origin: &Origin) -> String {
    app(2, "", "health_check: { path: /, interval: 1s, timeout: 1s }")
        .replace("pools:\n", &format!("  h2: {{ address: \"127.0.0.1:0\", protocols: [http2] }}\npools:\n  echo: {{ servers: [\"{}\"] }}\n", origin.address()))
        .replace("routes:\n", "routes:\n  - { name: ws, match: { path: /ws }, to: echo }\n")
        + "runtime: { drain_timeout: 4s }\n"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_nothing_fails_and_workers_keep_their_processes() {
    let origin = echo_origin("echo");
    let house = House::start(with_sockets(&origin)).await;
    let before = house.ready(2).await;
    let address = house.http();
    let load = Load::both(address, rate());
    let (over, watched) = tokio::sync::watch::channel(false);
    let by_http2 = tokio::spawn(ask_by_http2(house.at("h2"), watched));
    let mut chats = JoinSet::new();
    for number in 0..sockets() {
        // Open before the upgrade: of the old process.
        let socket = websocket::open(address, "/ws").await;
        chats.spawn(chat(socket, Duration::from_millis(number as u64 * 500 / sockets() as u64)));
    }
    load[0].goes_on(50).await;

    let (old, began) = (house.first, Instant::now());
    let new = house.upgrade().await;
    assert_ne!(old, new);
    assert_eq!(house.ready(2).await, before, "the same processes");
    // A new one is the new process's, while those of before live on in the old one.
    let mut late = websocket::open(address, "/ws").await;
    assert_eq!(code_of(old).await, 0);
    let (mut ends, mut echoes) = (Vec::new(), 0);
    while let Some(fate) = chats.join_next().await {
        let fate = fate.unwrap();
        assert_eq!(fate.code, CloseCode::Away);
        echoes += fate.echoes;
        ends.push(fate.at.duration_since(began));
    }
    ends.sort();
    let spread = ends[ends.len() - 1].saturating_sub(ends[0]);
    assert!(spread >= Duration::from_secs(1), "goodbyes over {spread:?} of 4 s: {ends:?}");
    assert_eq!(websocket::echo(&mut late, "hello").await, "hello");
    load[0].goes_on(50).await;

    // By the signal, and again by the command.
    signal(new, Signal::USR2);
    let third = house.successor_of(new).await;
    assert_eq!(code_of(new).await, 0);
    house.upgrade().await;
    assert_eq!(code_of(third).await, 0);
    assert_eq!(house.ready(2).await, before, "still the same processes");
    load[0].goes_on(50).await;
    over.send_replace(true);
    assert!(by_http2.await.unwrap() > 10);
    let mut asked = Vec::new();
    for load in load {
        let tally = load.tally().await;
        tally.assert_whole();
        asked.push(tally.sent);
    }
    println!(
        "{asked:?} requests, {echoes} echoes of {} sockets, goodbyes from {:?} to {:?}",
        ends.len(),
        ends[0],
        ends[ends.len() - 1]
    );
    house.stop().await;
}

/// Many short connections at the moment when one accepts no more and the other does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_workers_it_is_the_same() {
    let origin = Origin::named("one");
    let yaml = crate::support::lintel::front(&[&origin], "") + "runtime: { drain_timeout: 10s }\n";
    let house = House::start(yaml).await;
    let load = Load::both(house.http(), rate() * 2);
    load[0].goes_on(20).await;
    let mut serving = house.first;
    for _ in 0..3 {
        let next = house.upgrade().await;
        assert_eq!(get(house.http(), "/").await.text(), "one");
        assert_eq!(code_of(serving).await, 0);
        serving = next;
    }
    load[0].goes_on(20).await;
    all_whole(load).await;
    house.stop().await;
}
