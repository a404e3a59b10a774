//! Large bodies with little memory, back-pressure both ways, and event streams.

use std::time::Duration;

use crate::support::lintel::front;
use crate::support::time::{stays_silent, takes, within};
use crate::support::{Connection, Conversation, Lintel, Origin, get};

const GIB: u64 = 1024 * 1024 * 1024;
/// How much Lintel may grow while it moves any amount.
const GROWTH: u64 = 16 * 1024 * 1024;
/// How much may be on its way between a side that sends and one that does not read: sockets' buffers, above all.
const ON_ITS_WAY: u64 = 48 * 1024 * 1024;

/// Reads bodies of any length without keeping them, and sends any length without having it.
fn bulk() -> Origin {
    Origin::scripted(|mut talk| async move {
        while let Some(head) = talk.head().await {
            match head.method() {
                "POST" => take(&mut talk, head.field("content-length").unwrap().parse().unwrap()).await,
                _ => give(&mut talk, head.target().trim_start_matches('/').parse().unwrap_or(0)).await,
            }
        }
    })
}

async fn take(talk: &mut Conversation, length: u64) {
    let mut left = length;
    while left > 0 {
        match talk.swallow(usize::try_from(left.min(1 << 20)).unwrap()).await {
            0 => return,
            count => left -= count as u64,
        }
    }
    let text = length.to_string();
    talk.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())).await;
}

async fn give(talk: &mut Conversation, length: u64) {
    talk.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")).await;
    let piece = vec![b'x'; 1 << 20];
    let mut left = length;
    while left > 0 {
        let count = left.min(piece.len() as u64);
        if !talk.send(&piece[..usize::try_from(count).unwrap()]).await {
            return;
        }
        left -= count;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_each_way_costs_less_than_16_mib() {
    let origin = bulk();
    let yaml =
        front(&[&origin], "").replace("\"127.0.0.1:0\"\n", "\"127.0.0.1:0\"\n    limits: { body: 2GiB }\n");
    let lintel = Lintel::start(yaml).await;
    get(lintel.http(), "/1").await;
    let before = lintel.resident_bytes();

    let mut connection = Connection::open(lintel.http()).await;
    connection.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {GIB}\r\n\r\n")).await;
    let piece = vec![b'x'; 1 << 20];
    let mut peak = before;
    for _ in 0..GIB / (1 << 20) {
        connection.send(&piece).await;
        peak = peak.max(lintel.resident_bytes());
    }
    assert_eq!(connection.response_to("POST").await.text(), GIB.to_string());
    assert!(peak - before < GROWTH, "POST: {} KiB more", (peak - before) / 1024);

    let mut connection = Connection::open(lintel.http()).await;
    connection.send(format!("GET /{GIB} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
    let drained = connection.drain().await;
    assert!(drained > GIB && drained < GIB + 4096, "{drained} bytes");
    let after = lintel.resident_bytes();
    assert!(after.saturating_sub(before) < GROWTH, "GET: {} KiB more", (after - before) / 1024);

    let record = lintel.record(|record| record["method"] == "POST").await;
    assert_eq!(record["body_in"], GIB);
    assert_eq!(lintel.record_of(&format!("/{GIB}")).await["body_out"], GIB);
}

#[tokio::test]
async fn a_client_waits_for_a_server_that_does_not_read() {
    let origin = Origin::scripted(|mut talk| async move {
        talk.head().await;
        std::future::pending::<()>().await;
    });
    let yaml =
        front(&[&origin], "").replace("\"127.0.0.1:0\"\n", "\"127.0.0.1:0\"\n    limits: { body: 2GiB }\n");
    let lintel = Lintel::start(yaml).await;
    get(lintel.at("metrics"), "/livez").await;
    let before = lintel.resident_bytes();
    let mut connection = Connection::open(lintel.http()).await;
    connection.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {GIB}\r\n\r\n")).await;
    let piece = vec![b'x'; 1 << 16];
    let mut sent = 0;
    while !stays_silent(Duration::from_millis(500), connection.send(&piece)).await {
        sent += piece.len() as u64;
        assert!(sent < ON_ITS_WAY, "{sent} bytes went somewhere");
    }
    assert!(lintel.resident_bytes().saturating_sub(before) < GROWTH);
}

#[tokio::test]
async fn a_server_waits_for_a_client_that_does_not_read() {
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = std::sync::Arc::clone(&sent);
    let origin = Origin::scripted(move |mut talk| {
        let count = std::sync::Arc::clone(&count);
        async move {
            talk.request().await;
            talk.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n")).await;
            let piece = vec![b'x'; 1 << 16];
            while talk.send(&piece).await {
                count.fetch_add(piece.len() as u64, std::sync::atomic::Ordering::SeqCst);
            }
        }
    });
    let lintel = Lintel::before(&[&origin], "").await;
    get(lintel.at("metrics"), "/livez").await;
    let before = lintel.resident_bytes();
    let mut connection = Connection::open(lintel.http()).await;
    connection.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let sent = || sent.load(std::sync::atomic::Ordering::SeqCst);
    let standstill = async {
        let mut last = 0;
        loop {
            takes(Duration::from_millis(500)).await;
            if sent() > 0 && sent() == last {
                return last;
            }
            last = sent();
            assert!(last < ON_ITS_WAY, "{last} bytes went somewhere");
        }
    };
    let stopped_at = within("the server stands still", standstill).await;
    assert!(stopped_at < ON_ITS_WAY);
    assert!(lintel.resident_bytes().saturating_sub(before) < GROWTH);
    // And goes on when the client does.
    connection.bytes(usize::try_from(stopped_at).unwrap()).await;
    crate::support::eventually("it goes on", async || (sent() > stopped_at).then_some(())).await;
}

#[tokio::test]
async fn an_event_stream_may_be_silent_for_longer_than_a_body() {
    let origin = Origin::scripted(|mut talk| async move {
        while let Some(request) = talk.request().await {
            let kind =
                if request.target() == "/events" { "text/event-stream; charset=utf-8" } else { "text/plain" };
            talk.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
            ))
            .await;
            talk.send("9\r\ndata: 1\n\n\r\n").await;
            takes(Duration::from_millis(900)).await;
            talk.send("9\r\ndata: 2\n\n\r\n0\r\n\r\n").await;
        }
    });
    let lintel = Lintel::before(&[&origin], "timeouts: { body_idle: 300ms, tunnel_idle: 30s }").await;
    assert_eq!(get(lintel.http(), "/events").await.text(), "data: 1\n\ndata: 2\n\n");
    assert!(crate::support::client::try_get(lintel.http(), "/text").await.is_err());
    assert_eq!(lintel.record_of("/text").await["fault"], "server_body_timeout");
}

#[tokio::test]
async fn a_body_that_is_sent_and_received_at_once_does_not_lock_up() {
    let origin = Origin::scripted(|mut talk| async move {
        let Some(head) = talk.head().await else { return };
        let length: usize = head.field("content-length").unwrap().parse().unwrap();
        talk.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")).await;
        let mut left = length;
        while left > 0 {
            let count = talk.swallow(left.min(1 << 16)).await;
            if count == 0 || !talk.send(vec![b'y'; count]).await {
                return;
            }
            left -= count;
        }
    });
    let lintel = Lintel::before(&[&origin], "").await;
    let length = 32 * 1024 * 1024;
    let (stream, _) = Connection::open(lintel.http()).await.into_parts();
    let (mut reading, mut writing) = tokio::io::split(stream);
    let upload = async {
        let head =
            format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut writing, head.as_bytes()).await.unwrap();
        let piece = vec![b'x'; 1 << 16];
        for _ in 0..length / piece.len() {
            tokio::io::AsyncWriteExt::write_all(&mut writing, &piece).await.unwrap();
        }
    };
    let download = async {
        let mut count = 0;
        let mut piece = vec![0; 1 << 16];
        while count < length {
            match tokio::io::AsyncReadExt::read(&mut reading, &mut piece).await {
                Ok(read @ 1..) => count += read,
                _ => break,
            }
        }
        count
    };
    let (_, count) = within("both ways at once", async { tokio::join!(upload, download) }).await;
    assert!(count >= length, "{count} of {length}");
}

#[tokio::test]
async fn a_client_that_breaks_its_request_off_ends_the_stream_that_it_was_answered_with() {
    let origin = Origin::scripted(|mut talk| async move {
        if talk.head().await.is_some() {
            talk.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n").await;
            // It says nothing more, and would for an hour.
            talk.hang().await;
        }
    });
    let lintel = Lintel::before(&[&origin], "").await;
    let mut client = Connection::open(lintel.http()).await;
    client.send("POST /events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    client.until(b"data: 1\n\n").await;
    client.send("no chunk\r\n").await;
    client.reset();
    origin.connection_closed(0).await;
    let record = lintel.record_of("/events").await;
    assert_eq!((&record["fault"], &record["body_out"]), (&"client_gone".into(), &9.into()), "{record}");
}
