//! The stream of what happens.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;

use crate::place::{Ask, CANARIES, Place};
use crate::support::within;

struct Stream(Lines<BufReader<UnixStream>>);

impl Stream {
    async fn open(place: &Place) -> Self {
        let mut stream = UnixStream::connect(place.lintel.path().join("run/admin.sock")).await.unwrap();
        stream.write_all(b"GET /events HTTP/1.0\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        loop {
            let line = within("the head of the events", lines.next_line()).await.unwrap().unwrap();
            if line == ": listening" {
                return Self(lines);
            }
        }
    }

    async fn next(&mut self, message: &str) -> Value {
        loop {
            let line = within(message, self.0.next_line()).await.unwrap().expect("the stream goes on");
            for canary in CANARIES {
                assert!(!line.contains(canary), "{line}");
            }
            let Some(text) = line.strip_prefix("data: ") else { continue };
            let event: Value = serde_json::from_str(text).unwrap();
            if event["message"] == message {
                return event;
            }
        }
    }
}

#[tokio::test]
async fn what_happens_is_told_to_all_who_listen() {
    let mut place = Place::new().await;
    let (mut one, mut other) = (Stream::open(&place).await, Stream::open(&place).await);
    place.json("POST", "/pools/web/servers?address=192.0.2.9:9").await;
    let event = one.next("added by order").await;
    assert_eq!(event["fields"]["server"], "192.0.2.9:9");
    assert_eq!(event["fields"]["pool"], "web");
    assert_eq!(event["level"], "info");
    assert!(event["at"].as_str().unwrap().ends_with('Z'));
    place.json("POST", "/pools/web/servers/192.0.2.9%3A9/drain").await;
    one.next("drained by order").await;
    let yaml = place.yaml.replace("  http: {", "  more: { address: \"127.0.0.1:0\" }\n  http: {");
    place.lintel.reload(&yaml).await;
    assert_eq!(one.next("listening").await["fields"]["listener"], "more");
    one.next("the new config is in force").await;
    other.next("drained by order").await;
    other.next("the new config is in force").await;
    place.lintel.rewrite("listeners: {}");
    place.lintel.order("/reload").await;
    loop {
        let line = within("a problem", one.0.next_line()).await.unwrap().unwrap();
        if line.contains("config refused") {
            assert!(line.contains("\"level\":\"error\""), "{line}");
            break;
        }
    }
}

#[tokio::test]
async fn only_so_many_follow_at_once_and_their_places_come_back() {
    let place = Place::new().await;
    let mut streams = Vec::new();
    for _ in 0..32 {
        streams.push(Stream::open(&place).await);
    }
    let answer = place.ask(&Ask::new("GET", "/events")).await;
    assert_eq!(answer.status(), 503, "{}", answer.text());
    drop(streams.pop());
    crate::support::eventually("there is room again", async || {
        let mut stream = UnixStream::connect(place.lintel.path().join("run/admin.sock")).await.unwrap();
        stream.write_all(b"GET /events HTTP/1.0\r\n\r\n").await.unwrap();
        let first = BufReader::new(stream).lines().next_line().await.unwrap().unwrap();
        first.contains("200").then_some(())
    })
    .await;
}
