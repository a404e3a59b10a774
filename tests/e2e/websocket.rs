//! WebSockets and other upgrades: agreed by both sides, pumped both ways, counted, and ended.

use std::collections::BTreeMap;

use futures_util::{SinkExt, StreamExt, stream};
use tokio_tungstenite::tungstenite::Message;

use crate::support::lintel::front;
use crate::support::time::within;
use crate::support::websocket::{self, echo, echo_origin, next, try_open};
use crate::support::{Connection, Lintel, Origin, eventually};

const AT_ONCE: usize = 2000;

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[tokio::test]
async fn messages_of_every_kind_and_size_go_both_ways() {
    let origin = echo_origin("one");
    let lintel = Lintel::before(&[&origin], "").await;
    let mut socket = websocket::open(lintel.http(), "/ws").await;
    for length in [0, 1, 125, 126, 65_535, 65_536, 1_000_000] {
        let text = "x".repeat(length);
        assert_eq!(echo(&mut socket, &text).await, text, "{length}");
    }
    socket.send(Message::binary(vec![0, 255, 128])).await.unwrap();
    let answer = within("a binary echo", socket.next()).await.unwrap().unwrap();
    assert_eq!(answer.into_data().as_ref(), [0, 255, 128]);
    socket.close(None).await.unwrap();
    assert!(next(&mut socket).await.is_err(), "the server answers the Close");
    drop(socket);
    let record = lintel.record_of("/ws").await;
    assert_eq!((&record["status"], &record["tunnel"]), (&101.into(), &true.into()));
    assert!(record["bytes_out"].as_u64() > Some(1_000_000), "{record}");
    let request = origin.request(0).await;
    assert!(request.lists("connection", "upgrade") && request.lists("upgrade", "websocket"));
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_websockets_at_once_all_echo() {
    let (one, two) = (echo_origin("one"), echo_origin("two"));
    let lintel = Lintel::before(&[&one, &two], "").await;
    let address = lintel.http();
    let opened = stream::iter(0..AT_ONCE).map(|_| websocket::open(address, "/ws")).buffer_unordered(64);
    let mut sockets: Vec<_> = opened.collect().await;
    lintel.metric("lintel_pool_tunnels_open", &[("pool", "web")], AT_ONCE as f64).await;
    // All are open; now all speak, and none mixes up what it hears.
    let echoes = stream::iter(sockets.iter_mut().enumerate()).map(|(number, socket)| async move {
        let text = format!("hello from {number}");
        assert_eq!(echo(socket, &text).await, text);
        echo(socket, "who").await
    });
    let names: Vec<String> = echoes.buffer_unordered(64).collect().await;
    let mut counts = BTreeMap::new();
    names.iter().for_each(|name| *counts.entry(name.as_str()).or_insert(0usize) += 1);
    // Open sockets count as in flight, so least_connections halves them.
    for (name, count) in &counts {
        assert!((AT_ONCE * 45 / 100..=AT_ONCE * 55 / 100).contains(count), "{name}: {counts:?}");
    }
    drop(sockets);
    let all_closed = async || {
        let open = lintel.metrics().await.sum("lintel_server_in_flight", &[("pool", "web")]);
        (open == 0.0).then_some(())
    };
    eventually("every place in flight is free again", all_closed).await;
    lintel.stop().await;
}

#[tokio::test]
async fn bytes_sent_with_the_upgrade_and_with_its_answer_are_not_lost() {
    let origin = Origin::scripted(|mut talk| async move {
        talk.request().await;
        talk.send([AGREED.as_bytes(), b"\x82\x03xyz"].concat()).await;
        while talk.read().await {}
    });
    let lintel = Lintel::before(&[&origin], "").await;
    let mut client = Connection::open(lintel.http()).await;
    // A masked frame right behind the request, before anybody agreed.
    client.send([UPGRADE.as_bytes(), b"\x82\x83\0\0\0\0abc"].concat()).await;
    let response = client.response().await;
    assert_eq!(
        (response.status(), response.field("sec-websocket-accept")),
        (101, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
    );
    assert!(response.lists("connection", "upgrade") && response.lists("upgrade", "websocket"));
    assert_eq!(client.bytes(5).await, b"\x82\x03xyz");
    let arrived = async || origin.bytes().ends_with(b"\x82\x83\0\0\0\0abc").then_some(());
    eventually("the early frame is at the server", arrived).await;
}

#[tokio::test]
async fn a_server_that_refuses_is_heard() {
    let origin = Origin::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    let lintel = Lintel::before(&[&origin], "").await;
    let mut client = Connection::open(lintel.http()).await;
    client.send(UPGRADE).await;
    let response = client.response().await;
    assert_eq!((response.status(), response.text().as_str()), (403, "no"));
    assert_eq!(client.get("/").await.status(), 403, "the connection is still HTTP");
}

/// Node 20 without an `upgrade` listener is silent to a malformed request that follows: whoever got that connection would wait.
#[tokio::test]
async fn a_connection_whose_server_declined_an_upgrade_is_not_used_again() {
    let origin = Origin::named("one");
    let lintel = Lintel::before(&[&origin], "").await;
    let mut client = Connection::open(lintel.http()).await;
    assert_eq!(client.exchange(UPGRADE).await.status(), 200);
    for path in ["/second", "/third"] {
        assert_eq!(client.get(path).await.status(), 200);
    }
    assert_eq!(origin.connections(), 2, "the plain requests share one");
    origin.connection_closed(0).await;
}

#[tokio::test]
async fn a_101_that_does_not_fit_is_a_502() {
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    ] {
        let origin = Origin::answering(answer);
        let lintel = Lintel::before(&[&origin], "").await;
        let mut client = Connection::open(lintel.http()).await;
        client.send(UPGRADE).await;
        assert_eq!(client.response().await.status(), 502, "{answer}");
        assert_eq!(lintel.record_of("/ws").await["status"], 502);
    }
}

#[tokio::test]
async fn other_upgrades_pass_only_where_a_route_allows_them() {
    let origin = Origin::scripted(|mut talk| async move {
        let Some(request) = talk.request().await else { return };
        if request.field("upgrade") != Some("echo/1") {
            return talk.answer(&request, "plain", b"plain").await;
        }
        talk.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n").await;
        talk.send("ready").await;
        talk.hang().await;
    });
    let request = "GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n";
    let yaml = front(&[&origin], "");
    let lintel = Lintel::start(&*yaml).await;
    let mut client = Connection::open(lintel.http()).await;
    assert_eq!(client.exchange(request).await.text(), "plain");

    let allowed = yaml.replace("    to: web", "    to: web\n    upgrades: [echo/1]");
    let lintel = Lintel::start(allowed).await;
    let mut client = Connection::open(lintel.http()).await;
    client.send(request).await;
    assert_eq!(client.response().await.status(), 101);
    assert_eq!(client.bytes(5).await, b"ready");
    client.send("anything").await;
    eventually("it is at the server", async || origin.bytes().ends_with(b"anything").then_some(())).await;
}

#[tokio::test]
async fn the_end_of_one_side_is_the_end_of_the_other() {
    let origin = echo_origin("one");
    let lintel = Lintel::before(&[&origin], "").await;
    let mut socket = websocket::open(lintel.http(), "/ws").await;
    assert_eq!(echo(&mut socket, "a").await, "a");
    drop(socket);
    origin.all_closed().await;

    let mut socket = websocket::open(lintel.http(), "/ws").await;
    assert_eq!(echo(&mut socket, "a").await, "a");
    origin.kill().await;
    assert!(within("the end of the socket", next(&mut socket)).await.is_err());
}

#[tokio::test]
async fn a_silent_tunnel_is_closed_and_a_talking_one_is_not() {
    let origin = echo_origin("one");
    let lintel = Lintel::before(&[&origin], "timeouts: { tunnel_idle: 1s }").await;
    let mut silent = websocket::open(lintel.http(), "/silent").await;
    let mut talking = websocket::open(lintel.http(), "/talking").await;
    let mut silent_ended = std::pin::pin!(within("the silent one is closed", next(&mut silent)));
    loop {
        tokio::select! {
            ended = &mut silent_ended => {
                assert!(ended.is_err());
                break;
            }
            answer = echo(&mut talking, "tick") => assert_eq!(answer, "tick"),
        }
    }
    // An echo that was on its way when the other one ended may come first.
    talking.send(Message::text("still here")).await.unwrap();
    while next(&mut talking).await.expect("it is open") != "still here" {}
    assert_eq!(lintel.record_of("/silent").await["fault"], "tunnel_idle");
}

#[tokio::test]
async fn a_websocket_needs_a_place_in_flight() {
    let origin = echo_origin("one");
    let lintel = Lintel::before(&[&origin], "max_in_flight: 2\nqueue: { size: 1, timeout: 200ms }").await;
    let first = websocket::open(lintel.http(), "/1").await;
    let _second = websocket::open(lintel.http(), "/2").await;
    assert!(try_open(lintel.http(), "/3").await.is_err(), "both places are taken");
    assert_eq!(lintel.record_of("/3").await["fault"], "queue_timeout");
    drop(first);
    eventually("the place is free", async || try_open(lintel.http(), "/4").await.ok()).await;
}

#[tokio::test]
async fn a_client_that_does_not_notice_the_end_keeps_no_place() {
    let origin = Origin::scripted(|mut talk| async move {
        talk.request().await;
        talk.send(AGREED).await;
        talk.send(b"\x88\x02\x03\xe8").await; // Close, and the end
    });
    let lintel = Lintel::before(&[&origin], "").await;
    let mut client = Connection::open(lintel.http()).await;
    client.send(UPGRADE).await;
    assert_eq!(client.response().await.status(), 101);
    // It reads nothing more, and closes nothing.
    let is_free = async || {
        let metrics = lintel.metrics().await;
        (metrics.sum("lintel_server_in_flight", &[]) == 0.0 && lintel.access_log.text().contains("/ws"))
            .then_some(())
    };
    eventually("its place is free", is_free).await;
    drop(client);
}
