//! What runs for long: WebSockets and downloads go on over reloads, and on what was taken away until its time is up.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::lintel::front;
use crate::support::time::{stays_silent, takes};
use crate::support::websocket::{self, Socket, echo, echo_origin};
use crate::support::{Connection, Lintel, Origin, get, within};

/// Ends what was taken away soon.
const SOON: &str = "runtime: { drain_timeout: 500ms }\n";
/// Longer than any test.
const LATE: &str = "runtime: { drain_timeout: 5m }\n";

/// A route of its own for what a test takes away, to the pool `other` of this server.
fn with_other(yaml: &str, origin: &Origin) -> String {
    yaml.replace("pools:\n", &format!("pools:\n  other: {{ servers: [\"{}\"] }}\n", origin.address()))
        .replace("routes:\n", "routes:\n  - { name: other, match: { path: /other/* }, to: other }\n")
}

fn with_listener(yaml: &str) -> String {
    yaml.replace("listeners:\n", "listeners:\n  second: { address: \"127.0.0.2:0\" }\n")
}

async fn closed_with(socket: &mut Socket) -> CloseCode {
    let last = within("a Close", socket.next()).await.expect("a message").expect("a whole frame");
    let Message::Close(Some(frame)) = last else { panic!("{last:?} is no Close") };
    frame.code
}

/// A server that sends a byte every 20 ms for as long as anybody listens.
fn endless() -> Origin {
    Origin::scripted(|mut talk| async move {
        while talk.request().await.is_some() {
            talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            while talk.send("1\r\nx\r\n").await {
                takes(Duration::from_millis(20)).await;
            }
        }
    })
}

/// A download under way.
async fn download(address: std::net::SocketAddr, path: &str) -> Connection {
    let mut connection = Connection::open(address).await;
    connection.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")).await;
    goes_on(&mut connection).await;
    connection
}

async fn goes_on(connection: &mut Connection) {
    assert_eq!(connection.bytes(200).await.len(), 200, "the download goes on");
}

#[tokio::test]
async fn what_runs_goes_on_over_reloads_that_touch_other_things() {
    let (sockets, files) = (echo_origin("one"), endless());
    let base = with_other(&front(&[&sockets], ""), &files) + SOON;
    let changed = [
        with_listener(&base),
        base.replace("    to: web\n", "    to: web\n  - { name: more, match: { path: /more }, respond: { status: 200 } }\n"),
        base.replace("  web:\n", "  web:\n    max_in_flight: 50\n    timeouts: { response: 59s }\n"),
        base.replace("    address: \"127.0.0.1:0\"\n", "    address: \"127.0.0.1:0\"\n    limits: { headers: 50 }\n"),
        base.clone(),
    ];
    let mut lintel = Lintel::start(&*base).await;
    let mut socket = websocket::open(lintel.http(), "/ws").await;
    let mut download = download(lintel.http(), "/other/file").await;
    let began = Instant::now();
    for yaml in changed.iter().cycle().take(12) {
        lintel.reload(yaml).await;
        assert_eq!(echo(&mut socket, "still there").await, "still there");
        goes_on(&mut download).await;
    }
    // Well beyond drain_timeout nobody has said goodbye.
    assert!(stays_silent(Duration::from_secs(1), socket.next()).await, "after {:?}", began.elapsed());
    goes_on(&mut download).await;
    assert_eq!(echo(&mut socket, "the end").await, "the end");
}

#[tokio::test]
async fn on_what_was_taken_away_they_go_on_until_its_time_is_up() {
    let (sockets, files, web) = (echo_origin("one"), endless(), Origin::named("web"));
    let base = front(&[&web], "") + LATE;
    for (target, without) in [
        (with_other(&base, &sockets), base.clone()),
        (with_other(&base, &files), base.clone()),
        (with_listener(&with_other(&base, &sockets)), with_other(&base, &sockets)),
        (with_listener(&with_other(&base, &files)), with_other(&base, &files)),
    ] {
        let mut lintel = Lintel::start(&*target).await;
        let address = if target.contains("second") { lintel.at("second") } else { lintel.http() };
        if target.contains(&sockets.address()) {
            let mut socket = websocket::open(address, "/other/ws").await;
            lintel.reload(&without).await;
            assert!(stays_silent(Duration::from_millis(300), socket.next()).await);
            assert_eq!(echo(&mut socket, "hello").await, "hello");
        } else {
            let mut download = download(address, "/other/file").await;
            lintel.reload(&without).await;
            goes_on(&mut download).await;
            goes_on(&mut download).await;
        }
        assert_eq!(get(lintel.http(), "/").await.text(), "web");
    }
}

#[tokio::test]
async fn a_route_that_is_gone_says_goodbye_to_its_websockets_when_its_time_is_up() {
    let (sockets, web) = (echo_origin("one"), Origin::named("web"));
    // The pool stays, so that it is the route alone that goes away.
    let base = front(&[&web], "") + SOON;
    let target = with_other(&base, &sockets);
    let without = target.replace("path: /other/*", "path: /elsewhere/*").replace("name: other", "name: elsewhere");
    let mut lintel = Lintel::start(&*target).await;
    let mut socket = websocket::open(lintel.http(), "/other/ws").await;
    lintel.reload(&without).await;
    let began = Instant::now();
    assert_eq!(closed_with(&mut socket).await, CloseCode::Away);
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
    drop(socket);
    let record = lintel.record_of("/other/ws").await;
    assert_eq!(record["status"], 101, "{record}");
    assert!(record.get("fault").is_none_or(|fault| fault.is_null() || fault == "drain_timeout"), "{record}");
}

#[tokio::test]
async fn a_listener_that_is_gone_says_goodbye_to_its_websockets_when_its_time_is_up() {
    let sockets = echo_origin("one");
    let base = front(&[&sockets], "") + SOON;
    let mut lintel = Lintel::start(with_listener(&base)).await;
    let (mut gone, mut stays) =
        (websocket::open(lintel.at("second"), "/gone").await, websocket::open(lintel.http(), "/stays").await);
    lintel.reload(&base).await;
    assert_eq!(closed_with(&mut gone).await, CloseCode::Away);
    assert!(stays_silent(Duration::from_millis(300), stays.next()).await);
    assert_eq!(echo(&mut stays, "hello").await, "hello");
}

#[tokio::test]
async fn a_server_that_is_gone_has_its_websockets_come_back_to_another() {
    let (one, two) = (echo_origin("one"), echo_origin("two"));
    let base = front(&[&two], "") + SOON;
    let mut lintel = Lintel::start(front(&[&one], "") + SOON).await;
    let mut socket = websocket::open(lintel.http(), "/ws").await;
    assert_eq!(echo(&mut socket, "who").await, "one");
    lintel.reload(&base).await;
    assert_eq!(closed_with(&mut socket).await, CloseCode::Restart);
    let mut again = websocket::open(lintel.http(), "/ws").await;
    assert_eq!(echo(&mut again, "who").await, "two");
}

#[tokio::test]
async fn a_pool_that_is_gone_lets_its_websockets_go() {
    let (sockets, web) = (echo_origin("one"), Origin::named("web"));
    let base = front(&[&web], "") + SOON;
    let mut lintel = Lintel::start(with_other(&base, &sockets)).await;
    let mut socket = websocket::open(lintel.http(), "/other/ws").await;
    // The route stays and leads to what answers plainly.
    let moved = base.replace("routes:\n", "routes:\n  - { name: other, match: { path: /other/* }, to: web }\n");
    lintel.reload(&moved).await;
    assert_eq!(closed_with(&mut socket).await, CloseCode::Restart);
}

/// Nobody speaks for as long as a client is polite, so this one takes its 15 s of goodbyes.
#[tokio::test]
async fn downloads_on_what_is_gone_are_cut_at_the_end_and_recorded() {
    let (files, web) = (endless(), Origin::named("web"));
    let base = with_listener(&(front(&[&web], "") + SOON));
    let target = with_other(&base, &files);
    let moved = target.replace("path: /other/*", "path: /elsewhere/*").replace("name: other", "name: elsewhere");
    let without_listener = target.replace("  second: { address: \"127.0.0.2:0\" }\n", "");
    for (without, is_listener) in [(base.clone(), false), (moved, false), (without_listener, true)] {
        let mut lintel = Lintel::start(&*target).await;
        let address = if is_listener { lintel.at("second") } else { lintel.http() };
        let mut download = download(address, "/other/file").await;
        lintel.reload(&without).await;
        let ended = within("the end of the download", download.drain()).await;
        assert!(ended > 0);
        let record = lintel.record_of("/other/file").await;
        assert_eq!(record["fault"], "drain_timeout", "{record}");
        assert_eq!(get(lintel.http(), "/").await.text(), "web");
    }
}

#[tokio::test]
async fn an_upload_goes_on_over_reloads_to_where_it_began() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let mut lintel = Lintel::start(front(&[&one], "") + LATE).await;
    let mut upload = Connection::open(lintel.http()).await;
    upload.send("POST /echo HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nabc").await;
    crate::support::eventually("its beginning is there", async || one.bytes().ends_with(b"abc").then_some(())).await;
    lintel.reload(&(front(&[&two], "") + LATE)).await;
    upload.send("def").await;
    lintel.reload(&(front(&[&two], "").replace("name: all", "name: every") + LATE)).await;
    upload.send("ghi").await;
    assert_eq!(upload.response_to("POST").await.text(), "abcdefghi");
    assert_eq!(upload.get("/").await.text(), "two", "the next request sees the new config");
}

/// What is taken away and comes back before its time is up is another one: the old end goes on.
#[tokio::test]
async fn a_route_that_comes_back_keeps_its_new_websockets() {
    let (sockets, web) = (echo_origin("one"), Origin::named("web"));
    let base = front(&[&web], "") + SOON;
    let target = with_other(&base, &sockets);
    let mut lintel = Lintel::start(&*target).await;
    let mut old = websocket::open(lintel.http(), "/other/ws").await;
    lintel.reload(&base).await;
    lintel.reload(&target).await;
    let mut new = websocket::open(lintel.http(), "/other/ws").await;
    let code = closed_with(&mut old).await;
    assert!([CloseCode::Away, CloseCode::Restart].contains(&code), "{code:?}");
    assert!(stays_silent(Duration::from_millis(500), new.next()).await);
    assert_eq!(echo(&mut new, "hello").await, "hello");
}
