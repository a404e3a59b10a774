//! What is said of requests with secrets. The access log has the query as it was sent, and says so in its page; nothing
//! else has it.

use crate::house::{CANARY, House, canary};
use crate::support::lintel::{Setup, front};
use crate::support::{Connection, Origin, get, raw};

/// Requests that carry a secret wherever one can be, whole and malformed; none has one in its query or Referer.
fn requests() -> Vec<String> {
    let secret = |of: &str| canary(of);
    let fields = format!(
        "Host: a.test\r\nAuthorization: Bearer {}\r\nCookie: sid={}; s={}\r\nProxy-Authorization: Basic {}\r\nX-Api-Key: {}\r\nX-Auth-Token: {CANARY}-match\r\n",
        secret("authorization"),
        secret("cookie"),
        secret("sticky-cookie"),
        secret("proxy"),
        secret("key"),
    );
    let body = secret("body");
    let length = body.len();
    vec![
        format!("GET /plain HTTP/1.1\r\n{fields}\r\n"),
        format!("POST /echo HTTP/1.1\r\n{fields}Content-Length: {length}\r\n\r\n{body}"),
        format!("GET /held/x HTTP/1.1\r\n{fields}\r\n"),
        format!("GET /up/x HTTP/1.1\r\n{fields}\r\n"),
        format!(
            "GET /ws HTTP/1.1\r\n{fields}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {body}\r\nSec-WebSocket-Protocol: {body}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ),
        // Malformed at, before and behind a secret.
        format!("GET / HTTP/1.1\r\n{fields}Authorization : {body}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{fields}Cookie: {body}\0\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{fields}Transfer-Encoding: {body}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{fields}Content-Length: {body}\r\n\r\n"),
        format!("POST / HTTP/1.1\r\n{fields}Transfer-Encoding: chunked\r\n\r\n{body}\r\n"),
        format!("GET / {body}\r\n{fields}\r\n"),
        format!("{body}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{fields}Expect: {body}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{fields}X-Long: {}\r\n\r\n", canary(&"x".repeat(64 * 1024))),
    ]
}

#[tokio::test]
async fn no_secret_of_a_request_is_told_by_logs_metrics_or_replies() {
    let house = House::start().await;
    for request in requests() {
        let mut connection = Connection::open(house.lintel.http()).await;
        connection.send(&request).await;
        connection.half_close().await;
        let answer = String::from_utf8_lossy(&connection.rest().await).into_owned();
        // The server's own echo and what `policies` add to an answer are the client's to see.
        if answer.contains("HTTP/1.1 4") || answer.contains("HTTP/1.1 5") {
            let own: Vec<&str> = answer
                .lines()
                .filter(|line| !line.starts_with("Set-Cookie:") && !line.starts_with("set-cookie:"))
                .collect();
            house.holds_none("a reply", &own.join("\n"));
        }
    }
    // TLS that is none.
    raw(house.lintel.at("https"), format!("GET /{} HTTP/1.1\r\n\r\n", canary("plain"))).await;

    get(house.lintel.http(), "/last").await;
    house.lintel.record_of("/last").await;
    house.holds_none("/metrics", &get(house.lintel.at("metrics"), "/metrics").await.text());
    for page in ["/status", "/pools", "/routes", "/listeners"] {
        house.holds_none(page, &house.lintel.control("GET", page).await.text());
    }
    house.holds_none("the access log", &house.lintel.access_log.text());
    house.holds_none("the program log", &house.lintel.log.text());
    // The servers did get them, or this test would prove nothing.
    let seen = String::from_utf8_lossy(&house.origin.bytes()).into_owned();
    for of in ["cookie", "body", "key"] {
        assert!(seen.contains(&canary(of)) || of == "key", "no {of} reached the server");
    }
    let House { lintel, .. } = house;
    let ending = lintel.stop().await;
    assert!(!ending.log.contains(CANARY), "the program log tells a secret at the end");
}

#[tokio::test]
async fn a_query_is_told_by_the_access_log_alone() {
    let house = House::start().await;
    let target = format!("/asked?token={}", canary("query"));
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: a.test\r\nReferer: http://r.test/?k={}\r\nUser-Agent: {}\r\nConnection: close\r\n\r\n",
        canary("referer"),
        canary("agent"),
    );
    raw(house.lintel.http(), request).await;
    let mut record = house.lintel.record_of(&target).await;
    for documented in ["target", "referer", "user_agent"] {
        let told = record.as_object_mut().unwrap().remove(documented).unwrap();
        assert!(told.as_str().unwrap().contains(CANARY), "{documented}: {told}");
    }
    house.holds_none("the rest of the record", &record.to_string());
    house.holds_none("/metrics", &get(house.lintel.at("metrics"), "/metrics").await.text());
    house.holds_none("/status", &house.lintel.control("GET", "/status").await.text());
    house.holds_none("the program log", &house.lintel.log.text());
}

#[tokio::test]
async fn what_servers_send_is_told_by_no_log() {
    for answer in [
        format!(
            "HTTP/1.1 200 OK\r\nSet-Cookie: a={CANARY}\r\nAuthorization: {CANARY}\r\nContent-Length: 10\r\n\r\n{CANARY}"
        ),
        format!("HTTP/1.1 200 OK\r\nSet-Cookie : {CANARY}\r\nContent-Length: 0\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: {CANARY}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{CANARY}\r\n"),
        format!("{CANARY} 200 OK\r\n\r\n"),
        format!("HTTP/1.1 200 {CANARY}\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let origin = Origin::answering(answer.clone());
        let yaml = front(&[&origin], "")
            + "observability:\n  log: { format: json, level: trace }\n  metrics: { address: \"127.0.0.1:0\" }\n";
        let lintel = Setup::new(yaml).env("RUST_LOG", "trace").start().await;
        raw(lintel.http(), "GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await;
        lintel.record_of("/x").await;
        for (what, text) in [("access log", lintel.access_log.text()), ("program log", lintel.log.text())] {
            assert!(!text.contains(CANARY), "the {what} tells what {answer:?} holds: {text}");
        }
    }
}
