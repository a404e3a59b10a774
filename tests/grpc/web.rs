//! gRPC-Web: calls as browsers make them, by HTTP/1.1 and HTTP/2, to a server that speaks only gRPC.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::http2::Http2;
use crate::support::port::Port;
use crate::support::{Connection, Lintel, Response};
use crate::{Server, pools};

const ORIGIN: &str = "https://app.test";
const UNARY: &str = "/lintel.test.Echo/Unary";
const STREAM: &str = "/lintel.test.Echo/ServerStream";

/// Listeners for both protocols, and a route whose calls are translated.
async fn front(servers: &[SocketAddr]) -> Lintel {
    Lintel::start(format!(
        "listeners:\n  http: {{ address: \"127.0.0.1:0\" }}\n  h2c: {{ address: \"127.0.0.1:0\", protocols: [http2] }}\n{}\
         policies:\n  web: [ {{ grpc_web: {{ origins: [\"{ORIGIN}\"] }} }} ]\n\
         routes:\n  - {{ name: web, match: {{ path: \"/lintel.test.Echo/*\" }}, policies: [web], to: echo }}\n",
        pools(servers, "timeouts: { connect: 1s }")
    ))
    .await
}

/// A frame of gRPC with a message whose text (field 1) and count (field 2) are these.
fn message(text: &str, count: u8) -> Vec<u8> {
    let mut message = vec![0x0a, u8::try_from(text.len()).unwrap()];
    message.extend_from_slice(text.as_bytes());
    message.extend_from_slice(&[0x10, count]);
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], &message].concat()
}

/// The frames of a body: their flags and what is in them.
fn frames(mut body: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let [flag, a, b, c, d, rest @ ..] = body {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        found.push((*flag, rest[..length].to_vec()));
        body = &rest[length..];
    }
    assert!(body.is_empty(), "a piece of a frame is left: {body:?}");
    found
}

/// The lines of the last frame, which must be one of trailers.
fn trailers(frames: &[(u8, Vec<u8>)]) -> String {
    let (flag, lines) = frames.last().expect("a frame");
    assert_eq!(*flag, 0x80, "{frames:?}");
    String::from_utf8(lines.clone()).unwrap()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|at| at == text.as_bytes())
}

/// Pieces that were padded one by one, as clients may send them and servers may answer.
fn decoded(text: &[u8]) -> Vec<u8> {
    text.chunks(4).flat_map(|group| STANDARD.decode(group).expect("base64")).collect()
}

async fn call(lintel: &Lintel, path: &str, content_type: &str, body: &[u8]) -> Response {
    let mut client = Connection::open(lintel.http()).await;
    client
        .send(format!(
            "POST {path} HTTP/1.1\r\nHost: a.test\r\nOrigin: {ORIGIN}\r\nContent-Type: {content_type}\r\nX-Grpc-Web: 1\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ))
        .await;
    client.send(body).await;
    client.response_to("POST").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binary_call_gets_its_trailers_as_a_frame() {
    let server = Server::start("one").await;
    let lintel = front(&[server.address]).await;
    let response = call(&lintel, UNARY, "application/grpc-web+proto", &message("hello", 1)).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.field("content-type"), Some("application/grpc-web+proto"));
    assert_eq!(response.field("access-control-allow-origin"), Some(ORIGIN));
    let frames = frames(&response.body);
    assert!(frames.len() == 2 && frames[0].0 == 0 && holds(&frames[0].1, "hello"), "{frames:?}");
    assert!(trailers(&frames).contains("grpc-status: 0\r\n") || trailers(&frames).contains("grpc-status:0"));
    let record = lintel.record_of(UNARY).await;
    assert_eq!((&record["grpc_status"], &record["version"]), (&0.into(), &"HTTP/1.1".into()), "{record}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_call_is_decoded_and_its_answer_encoded() {
    let server = Server::start("one").await;
    let lintel = front(&[server.address]).await;
    for split in [1, 7, 64] {
        // Each piece encoded on its own, with its own padding.
        let body: String = message("hello", 3).chunks(split).map(|piece| STANDARD.encode(piece)).collect();
        let response = call(&lintel, STREAM, "application/grpc-web-text", body.as_bytes()).await;
        assert_eq!(response.field("content-type"), Some("application/grpc-web-text+proto"), "{split}");
        let frames = frames(&decoded(&response.body));
        assert_eq!(frames.len(), 4, "three messages and the trailers: {frames:?}");
        assert!(frames[..3].iter().all(|(_, message)| holds(message, "hello")), "{frames:?}");
        assert!(trailers(&frames).contains("grpc-status"), "{frames:?}");
    }
    let response = call(&lintel, UNARY, "application/grpc-web-text", b"no base64!").await;
    let status = response.field("grpc-status").map(str::to_owned);
    assert_eq!((response.status(), status.as_deref()), (200, Some("13")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_by_http_2_are_translated_as_well() {
    let server = Server::start("one").await;
    let lintel = front(&[server.address]).await;
    let mut client = Http2::open(lintel.at("h2c")).await;
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", UNARY),
        ("content-type", "application/grpc-web"),
    ];
    let reply = client.exchange(&fields, &message("hello", 1)).await;
    assert!(reply.is_whole() && reply.trailers.is_empty(), "{reply:?}");
    assert_eq!(reply.field("access-control-allow-origin"), None, "no Origin was sent");
    let frames = frames(&reply.body);
    assert!(trailers(&frames).contains("grpc-status"), "{frames:?}");
}

#[tokio::test]
async fn a_page_of_another_origin_is_asked_for_first() {
    let nobody = Port::reserve();
    let lintel = front(&[nobody.address()]).await;
    for (origin, status, allowed) in [(ORIGIN, 204, Some(ORIGIN)), ("https://evil.test", 403, None)] {
        let mut client = Connection::open(lintel.http()).await;
        client
            .send(format!(
                "OPTIONS {UNARY} HTTP/1.1\r\nHost: a.test\r\nOrigin: {origin}\r\n\
                 Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type,x-grpc-web\r\n\r\n"
            ))
            .await;
        let response = client.response_to("OPTIONS").await;
        assert_eq!((response.status(), response.field("access-control-allow-origin")), (status, allowed));
    }
}

#[tokio::test]
async fn a_call_that_lintel_answers_has_its_status_in_the_head() {
    let nobody = Port::reserve();
    let lintel = front(&[nobody.address()]).await;
    let response = call(&lintel, UNARY, "application/grpc-web+proto", &message("hello", 1)).await;
    assert_eq!((response.status(), response.field("grpc-status")), (200, Some("14")));
    assert_eq!(response.field("content-type"), Some("application/grpc-web"));
    assert_eq!(response.field("access-control-allow-origin"), Some(ORIGIN), "or the page could not read it");
}
