//! WebSockets by extended CONNECT (RFC 8441): from HTTP/2 clients to servers of both versions, and from HTTP/1.1 clients
//! to HTTP/2 servers.

use std::collections::BTreeMap;

use crate::fronts::{NO_RETRIES, TO_HTTP2, before};
use crate::support::http2::{Http2, Http2Origin, Talk, code, setting};
use crate::support::websocket::{self, echo, echo_origin, try_open};
use crate::support::{Lintel, Origin, eventually};

/// The fields of a WebSocket on this path.
fn upgrade(path: &str) -> [(&str, &str); 7] {
    [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", path),
        ("sec-websocket-version", "13"),
        ("origin", "http://a.test"),
    ]
}

/// A short text as a client sends it, masked with zeros (RFC 6455 section 5.2).
fn masked(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 126).expect("a short text");
    [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
}

/// A short text as a server sends it.
fn bare(text: &str) -> Vec<u8> {
    [&[0x81, u8::try_from(text.len()).expect("a short text")], text.as_bytes()].concat()
}

/// Opens a WebSocket on a stream of its own.
async fn open(client: &mut Http2, path: &str) -> u32 {
    let stream = client.start(&upgrade(path), false).await;
    let reply = client.head(stream).await;
    assert_eq!(reply.status, 200, "{:?}", reply.end);
    stream
}

/// Sends a short text and awaits its echo, as the only bytes since the last ones.
async fn echoes(client: &mut Http2, stream: u32, text: &str) -> String {
    let before = client.half(stream).body.len();
    client.body(stream, masked(text), false).await;
    let reply = client.received(stream, before + 2 + text.len()).await;
    String::from_utf8_lossy(&reply.body[before + 2..]).into_owned()
}

/// A server of HTTP/2 that takes extended CONNECT and echoes short texts.
fn echo_by_connect() -> Http2Origin {
    Http2Origin::with(&[(setting::ENABLE_CONNECT_PROTOCOL, 1)], None, |mut talk| async move {
        let mut read = BTreeMap::new();
        loop {
            let opened: Vec<u32> = talk.streams.keys().copied().collect();
            for stream in opened {
                let Some(at) = read.get_mut(&stream) else {
                    if talk.half(stream).head.is_some() {
                        read.insert(stream, 0);
                        talk.fields(stream, &[(":status", "200")], false).await;
                    }
                    continue;
                };
                *at += answer(&mut talk, stream, *at).await;
            }
            if talk.next_frame().await.is_none() {
                return;
            }
        }
    })
}

/// Echoes what came beyond this place in whole frames; gives its length.
async fn answer(talk: &mut Talk, stream: u32, from: usize) -> usize {
    let came = talk.half(stream).body[from..].to_vec();
    let mut taken = 0;
    while let [first, length, mask @ ..] = &came[taken..] {
        let length = usize::from(length & 0x7f);
        let Some(payload) = mask.get(4..4 + length) else { break };
        let text: Vec<u8> =
            payload.iter().zip(mask[..4].iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        taken += 6 + length;
        // Close comes back as it is, and ends the stream.
        let head = [*first, u8::try_from(length).expect("a short text")];
        talk.body(stream, [&head, text.as_slice()].concat(), *first == 0x88).await;
    }
    taken
}

#[tokio::test]
async fn a_stream_becomes_a_websocket_of_a_server_of_http_1_1() {
    let origin = echo_origin("one");
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    assert_eq!(client.settings.get(&setting::ENABLE_CONNECT_PROTOCOL), Some(&1));
    let stream = client.start(&upgrade("/ws?a=b"), false).await;
    let reply = client.head(stream).await;
    assert_eq!(reply.status, 200);
    for name in ["sec-websocket-accept", "connection", "upgrade", "content-length"] {
        assert_eq!(reply.field(name), None, "{name} is of HTTP/1.1");
    }
    for text in ["hello", "", "who?"] {
        assert_eq!(echoes(&mut client, stream, text).await, text);
    }
    let request = origin.request(0).await;
    assert_eq!(request.line, "GET /ws?a=b HTTP/1.1");
    assert!(request.lists("connection", "upgrade") && request.lists("upgrade", "websocket"));
    assert_eq!((request.all("sec-websocket-version"), request.field("host")), (vec!["13"], Some("a.test")));
    let keys = request.all("sec-websocket-key");
    assert!(
        keys.len() == 1 && keys[0].len() == 24 && keys[0].ends_with("=="),
        "{keys:?}: 16 bytes in base64"
    );
    assert_eq!(
        (request.field("origin"), request.field("x-forwarded-for")),
        (Some("http://a.test"), Some("127.0.0.1"))
    );
    client.body(stream, b"\x88\x80\0\0\0\0", false).await;
    client.response(stream).await;
    let record = lintel.record_of("/ws?a=b").await;
    assert_eq!((&record["tunnel"], &record["version"]), (&true.into(), &"HTTP/2.0".into()), "{record}");
}

#[tokio::test]
async fn every_websocket_has_a_key_of_its_own() {
    let origin = echo_origin("one");
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    open(&mut client, "/1").await;
    open(&mut client, "/2").await;
    let (one, two) = (origin.request(0).await, origin.request(1).await);
    assert_ne!(one.field("sec-websocket-key"), two.field("sec-websocket-key"));
}

#[tokio::test]
async fn a_hundred_websockets_share_one_connection_with_requests() {
    let origin = echo_origin("one");
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(client.start(&upgrade("/ws"), false).await);
    }
    for stream in &streams {
        assert_eq!(client.head(*stream).await.status, 200);
    }
    lintel.metric("lintel_pool_tunnels_open", &[("pool", "web")], 100.0).await;
    for stream in &streams {
        client.body(*stream, masked(&format!("hello from {stream}")), false).await;
    }
    for stream in &streams {
        let wanted = bare(&format!("hello from {stream}"));
        assert_eq!(client.received(*stream, wanted.len()).await.body, wanted);
    }
    drop(client);
    origin.all_closed().await;
    let is_free = async || (lintel.metrics().await.sum("lintel_server_in_flight", &[]) == 0.0).then_some(());
    eventually("every place in flight is free again", is_free).await;
}

#[tokio::test]
async fn large_messages_and_early_ones_arrive() {
    let origin = echo_origin("one");
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    // Sent before anybody agreed.
    let stream = client.start(&upgrade("/ws"), false).await;
    client.body(stream, masked("early"), false).await;
    assert_eq!(client.received(stream, 7).await.body, bare("early"));
    let length = 1_000_000u64.to_be_bytes();
    let payload = vec![b'x'; 1_000_000];
    let message = [b"\x82\xff".as_slice(), &length, b"\0\0\0\0", &payload].concat();
    assert!(client.upload(stream, &message, false).await);
    let reply = client.received(stream, 7 + 10 + payload.len()).await;
    assert_eq!(&reply.body[7..17], [b"\x82\x7f".as_slice(), &length].concat());
    assert!(reply.body[17..] == payload);
}

#[tokio::test]
async fn the_end_of_the_client_is_the_end_of_the_server() {
    let origin = echo_origin("one");
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    let stream = open(&mut client, "/ends").await;
    client.body(stream, "", true).await;
    origin.connection_closed(0).await;
    let stream = open(&mut client, "/resets").await;
    assert_eq!(echoes(&mut client, stream, "a").await, "a");
    client.reset(stream, code::CANCEL).await;
    origin.connection_closed(1).await;
    lintel.record_of("/resets").await;
    client.ping().await;
}

#[tokio::test]
async fn the_end_of_the_server_is_the_end_of_the_stream() {
    let origin = echo_origin("one");
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    let stream = open(&mut client, "/closes").await;
    // A Close, its answer, and the end of the connection: END_STREAM (RFC 8441 section 5).
    client.body(stream, b"\x88\x82\0\0\0\0\x03\xe8", false).await;
    let reply = client.response(stream).await;
    assert_eq!((reply.body.as_slice(), reply.is_whole()), (b"\x88\x02\x03\xe8".as_slice(), true));
    let stream = open(&mut client, "/dies").await;
    assert_eq!(echoes(&mut client, stream, "a").await, "a");
    origin.kill().await;
    let reply = client.response(stream).await;
    assert!(reply.is_whole() || reply.reset().is_some(), "{:?}", reply.end);
    client.ping().await;
}

#[tokio::test]
async fn a_server_that_refuses_is_heard() {
    let origin = Origin::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    let stream = client.start(&upgrade("/ws"), false).await;
    let reply = client.response(stream).await;
    assert_eq!((reply.status, reply.text().as_str(), reply.is_whole()), (403, "no", true));
    assert_eq!(client.get("/").await.status, 403, "the connection goes on");
}

#[tokio::test]
async fn a_server_that_answers_the_key_of_another_is_a_502() {
    let origin = Origin::answering(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    );
    let lintel = before(&[&origin], NO_RETRIES).await;
    let mut client = Http2::open(lintel.http()).await;
    let stream = client.start(&upgrade("/ws"), false).await;
    // Lintel made the key, so nobody else can check the answer (RFC 6455 section 4.1).
    assert_eq!(client.response(stream).await.status, 502);
}

#[tokio::test]
async fn other_protocols_are_not_served() {
    let origin = Origin::named("one");
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    for protocol in ["chat", "connect-udp", "WebSocket/2"] {
        let mut fields = upgrade("/ws");
        fields[1].1 = protocol;
        let stream = client.start(&fields, false).await;
        let reply = client.response(stream).await;
        assert!(
            (400..=501).contains(&reply.status) || reply.reset().is_some(),
            "{protocol}: {}",
            reply.status
        );
    }
    assert_eq!(client.get("/").await.text(), "one");
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_silent_websocket_is_closed() {
    let origin = echo_origin("one");
    let lintel = before(&[&origin], "timeouts: { tunnel_idle: 300ms }").await;
    let mut client = Http2::open(lintel.http()).await;
    let stream = open(&mut client, "/silent").await;
    client.response(stream).await;
    assert_eq!(lintel.record_of("/silent").await["fault"], "tunnel_idle");
    origin.all_closed().await;
    client.ping().await;
}

#[tokio::test]
async fn http_2_on_both_sides_passes_the_connect_on() {
    let origin = echo_by_connect();
    let lintel = before(&[&origin], TO_HTTP2).await;
    let mut client = Http2::open(lintel.http()).await;
    let one = open(&mut client, "/one").await;
    let two = open(&mut client, "/two").await;
    assert_eq!(echoes(&mut client, one, "hello").await, "hello");
    assert_eq!(echoes(&mut client, two, "other").await, "other");
    let asked = origin.head(0).await;
    assert_eq!(
        (asked.method(), asked.field(":protocol"), asked.path()),
        ("CONNECT", Some("websocket"), "/one")
    );
    assert_eq!((asked.field("sec-websocket-version"), asked.field("sec-websocket-key")), (Some("13"), None));
    client.reset(one, code::CANCEL).await;
    assert_eq!(origin.reset_code().await, code::CANCEL);
    client.body(two, b"\x88\x80\0\0\0\0", true).await;
    assert!(client.response(two).await.is_whole());
}

#[tokio::test]
async fn an_upgrade_of_http_1_1_becomes_a_connect() {
    let origin = echo_by_connect();
    let lintel = Lintel::before(&[&origin], TO_HTTP2).await;
    let mut socket = websocket::open(lintel.http(), "/ws").await;
    for text in ["hello", "again"] {
        assert_eq!(echo(&mut socket, text).await, text);
    }
    let asked = origin.head(0).await;
    assert_eq!(
        (asked.method(), asked.field(":protocol"), asked.path()),
        ("CONNECT", Some("websocket"), "/ws")
    );
    assert_eq!((asked.field(":scheme"), asked.field(":authority")), (Some("http"), Some("a.test")));
    assert_eq!(asked.field("sec-websocket-key"), None, "RFC 8441 5: not used");
    drop(socket);
    let is_over = async || {
        let is_free = lintel.metrics().await.sum("lintel_server_in_flight", &[]) == 0.0;
        is_free.then_some(())
    };
    eventually("its place is free", is_over).await;
}

#[tokio::test]
async fn a_server_without_the_extension_gets_no_connect() {
    let origin = Http2Origin::named("one");
    let lintel = Lintel::before(&[&origin], &format!("protocol: http2\n{NO_RETRIES}")).await;
    assert!(try_open(lintel.http(), "/ws").await.is_err());
    assert!(lintel.record_of("/ws").await["status"].as_u64() >= Some(400));
    assert_eq!(origin.heads().len(), 0, "RFC 8441 3: not before the server says that it may");
    assert_eq!(crate::support::get(lintel.http(), "/").await.text(), "one");
}
