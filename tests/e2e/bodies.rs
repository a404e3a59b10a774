//! Large bodies of a known length, which go through the kernel where they can: whole, counted, and ended as any others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit};

use crate::support::lintel::{Setup, front};
use crate::support::time::takes;
use crate::support::{Connection, Conversation, Lintel, Origin, eventually, get};

/// Far more than a pipe takes.
const LARGE: usize = 3_000_011;
/// However slow the machine is, an idle connection to the server is not given up in between.
const PATIENT: &str = "timeouts: { server_keep_alive: 10m }";

/// Bytes in which a piece that is lost, doubled or in the wrong place is seen.
fn body(length: usize) -> Vec<u8> {
    (0..length / 8 + 1).flat_map(|nth| (nth as u64).to_be_bytes()).take(length).collect()
}

/// Sends every body back, and `/LENGTH` to whom has none.
async fn mirror(mut talk: Conversation) {
    while let Some(head) = talk.head().await {
        let sent = match head.field("content-length") {
            Some(length) => talk.exactly(length.parse().unwrap()).await,
            None => body(head.target().trim_start_matches('/').parse().unwrap()),
        };
        talk.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len())).await;
        talk.send(sent).await;
    }
}

async fn post(connection: &mut Connection, bytes: &[u8]) -> Vec<u8> {
    let head = format!("POST /back HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", bytes.len());
    connection.send([head.as_bytes(), bytes].concat()).await;
    connection.response_to("POST").await.body
}

/// Pipes that the process has; some are not those of bodies.
fn pipes(lintel: &Lintel) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", lintel.id())).unwrap();
    let to = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    to.filter(|to| to.to_string_lossy().starts_with("pipe:")).count()
}

#[tokio::test]
async fn large_bodies_are_whole_both_ways_over_tcp_and_unix_sockets_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    for origin in [Origin::scripted(mirror), Origin::scripted_at(&folder.path().join("server"), mirror)] {
        let lintel = Lintel::before(&[&origin], PATIENT).await;
        let mut connection = Connection::open(lintel.http()).await;
        assert_eq!(connection.get("/10").await.body.len(), 10);
        let before = pipes(&lintel);
        for length in [16_000, 40_000, 100_000, 1_000_003, LARGE] {
            let sent = body(length);
            assert!(post(&mut connection, &sent).await == sent, "{length}");
            assert!(connection.get(&format!("/{length}")).await.body == sent, "{length}");
            let record = lintel.record_of(&format!("/{length}")).await;
            assert_eq!(record["body_out"], length, "{record}");
            let is_posted = |record: &serde_json::Value| record["body_in"] == length;
            let record = lintel.record(is_posted).await;
            assert_eq!(record["body_out"], length, "{record}");
        }
        assert_eq!(origin.connections(), 1, "a connection serves again after a large body");
        assert!(pipes(&lintel) > before, "they go through the kernel");
    }
}

#[tokio::test]
async fn without_a_descriptor_for_a_pipe_large_bodies_are_copied() {
    let origin = Origin::scripted(mirror);
    let lintel = Lintel::before(&[&origin], PATIENT).await;
    let mut connection = Connection::open(lintel.http()).await;
    assert_eq!(connection.get("/10").await.body.len(), 10);
    let before = pipes(&lintel);
    let none = Rlimit { current: Some(3), maximum: Some(3) };
    let id = Pid::from_raw(lintel.id().cast_signed()).unwrap();
    rustix::process::prlimit(Some(id), Resource::Nofile, none).unwrap();
    let sent = body(LARGE);
    assert!(post(&mut connection, &sent).await == sent);
    assert!(connection.get(&format!("/{LARGE}")).await.body == sent);
    assert_eq!(pipes(&lintel), before);
}

#[tokio::test]
async fn a_large_answer_that_its_server_breaks_off_is_cut_and_never_passed_off_as_whole() {
    let origin = Origin::scripted(|mut talk| async move {
        while let Some(request) = talk.request().await {
            let length = if request.target() == "/whole" { 700_000 } else { 1_000_000 };
            talk.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")).await;
            talk.send(body(700_000)).await;
            if length > 700_000 {
                return;
            }
        }
    });
    let lintel = Lintel::before(&[&origin], "").await;
    let mut connection = Connection::open(lintel.http()).await;
    connection.send("GET /cut HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let rest = connection.rest().await;
    let head = rest.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    let arrived = &rest[head..];
    assert!(arrived.len() <= 700_000 && arrived == &body(700_000)[..arrived.len()]);
    let record = lintel.record_of("/cut").await;
    assert_eq!(
        (record["fault"].as_str(), record["body_out"].as_u64()),
        (Some("response_truncated"), Some(700_000))
    );
    // What others are sent is theirs alone.
    assert!(get(lintel.http(), "/whole").await.body == body(700_000));
}

#[tokio::test]
async fn what_comes_behind_a_large_body_is_the_next_request_or_spoils_its_servers_connection() {
    let said = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&said);
    let origin = Origin::scripted(move |mut talk| {
        let count = Arc::clone(&count);
        async move {
            let Some(head) = talk.head().await else { return };
            let sent = talk.exactly(head.field("content-length").unwrap().parse().unwrap()).await;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len());
            // As if it answered a request that was never sent.
            let more = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
            talk.send([head.as_bytes(), &sent, more].concat()).await;
            count.fetch_add(1, Ordering::SeqCst);
            talk.hang().await;
        }
    });
    let lintel = Lintel::before(&[&origin], "").await;
    let mut connection = Connection::open(lintel.http()).await;
    let request = |sent: &[u8]| {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", sent.len());
        [head.as_bytes(), sent].concat()
    };
    let (one, two) = (body(1_000_003), body(300_000));
    connection.send([request(&one), request(&two)].concat()).await;
    assert!(connection.response_to("POST").await.body == one);
    assert!(connection.response_to("POST").await.body == two);
    eventually("both servers said more", async || (said.load(Ordering::SeqCst) == 2).then_some(())).await;
    assert!(post(&mut connection, &two).await == two);
    assert_eq!(origin.connections(), 3, "no connection serves again that said too much");
}

#[tokio::test]
async fn clients_that_leave_inside_large_bodies_leave_nothing_to_those_who_follow() {
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    let origin = Origin::scripted(move |mut talk| {
        let count = Arc::clone(&count);
        async move {
            let Some(head) = talk.head().await else { return };
            match head.target() {
                "/read" => {
                    talk.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await;
                    while talk.send(vec![b'x'; 64 * 1024]).await {}
                }
                "/written" => loop {
                    match talk.swallow(64 * 1024).await {
                        0 => return,
                        bytes => count.fetch_add(bytes, Ordering::SeqCst),
                    };
                },
                _ => {
                    let sent = talk.exactly(head.field("content-length").unwrap().parse().unwrap()).await;
                    talk.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len())).await;
                    talk.send(sent).await;
                }
            }
        }
    });
    let lintel = Lintel::before(&[&origin], "").await;
    for round in 1..=3 {
        let mut reader = Connection::open(lintel.http()).await;
        reader.send("GET /read HTTP/1.1\r\nHost: a\r\n\r\n").await;
        reader.bytes(1_000_000).await;
        reader.reset();
        let mut writer = Connection::open(lintel.http()).await;
        writer.send("POST /written HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n").await;
        writer.send(vec![b'x'; 500_000]).await;
        let is_there = async || (taken.load(Ordering::SeqCst) == round * 500_000).then_some(());
        eventually("the server has what was sent", is_there).await;
        writer.reset();
    }
    eventually("all of them are told of", async || {
        let records = lintel.access_log.records();
        (records.iter().filter(|record| record["fault"] == "client_gone").count() == 6).then_some(())
    })
    .await;
    origin.all_closed().await;
    let sent = body(LARGE);
    for _ in 0..3 {
        let mut connection = Connection::open(lintel.http()).await;
        assert!(post(&mut connection, &sent).await == sent);
    }
}

#[tokio::test]
async fn a_large_upload_that_begins_to_drip_is_a_408() {
    let origin = Origin::scripted(mirror);
    let yaml = front(&[&origin], "").replace(
        "\"127.0.0.1:0\"\n",
        "\"127.0.0.1:0\"\n    timeouts: { body_idle: 5s, body_rate: 1GiB/s }\n",
    );
    let lintel = Setup::new(yaml).start().await;
    let mut client = Connection::open(lintel.http()).await;
    client.send(format!("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n")).await;
    client.send(body(1_000_000)).await;
    let (stream, _) = client.into_parts();
    let (reading, mut writing) = tokio::io::split(stream);
    let dripping = async {
        loop {
            takes(Duration::from_millis(100)).await;
            if tokio::io::AsyncWriteExt::write_all(&mut writing, b"y").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let record = tokio::select! {
        () = dripping => unreachable!("it drips for ever"),
        record = lintel.record_of("/slow") => record,
    };
    assert_eq!((record["status"].as_u64(), record["fault"].as_str()), (Some(408), Some("body_timeout")));
    assert!(record["body_in"].as_u64().unwrap() >= 1_000_000, "{record}");
    drop(reading);
}

#[tokio::test]
async fn a_client_is_told_why_its_large_upload_is_refused_half_way() {
    let origin = Origin::scripted(|mut talk| async move {
        talk.head().await;
        talk.exactly(400_000).await;
        talk.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\n\r\nlarge").await;
    });
    let lintel = Lintel::before(&[&origin], "").await;
    let mut client = Connection::open(lintel.http()).await;
    client.send(format!("POST /refused HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n")).await;
    client.send(body(400_000)).await;
    let answer = client.response_to("POST").await;
    assert_eq!((answer.status(), answer.body), (413, b"large".to_vec()));
    let record = lintel.record_of("/refused").await;
    assert_eq!(
        (record["status"].as_u64(), record["body_in"].as_u64()),
        (Some(413), Some(400_000)),
        "{record}"
    );
}
