//! Servers that come, go and get another weight while Lintel runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::load::Load;
use crate::support::lintel::front;
use crate::support::time::takes;
use crate::support::websocket::{self, echo, echo_origin};
use crate::support::{Connection, Lintel, Origin, eventually, get, within};

async fn names(lintel: &Lintel) -> Vec<String> {
    let status = lintel.status().await;
    let servers = status["pools"][0]["servers"].as_array().into_iter().flatten();
    servers.map(|server| server["name"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Who answers so many requests, one after the other.
async fn shares(lintel: &Lintel, requests: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..requests {
        *shares.entry(get(lintel.http(), "/").await.text()).or_default() += 1;
    }
    shares
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_come_and_go_under_load_without_a_failed_request() {
    let origins = [Origin::named("one"), Origin::named("two"), Origin::named("three")];
    let lintel = Lintel::before(&[&origins[0]], "").await;
    let load = Load::start(lintel.http(), 8);
    load.more(50).await;
    for turn in 0..12 {
        let (comes, goes) = (&origins[(turn + 1) % 3], &origins[turn % 3]);
        let said = lintel.run(&["server", "add", "web", &comes.address()]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        let before = comes.count();
        load.more(30).await;
        assert!(comes.count() > before, "a new server gets work");
        let said = lintel.run(&["server", "remove", &format!("web/{}", goes.address())]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        // Requests that were picked before may still be on their way.
        eventually("it is idle", async || {
            let before = goes.count();
            load.more(30).await;
            (goes.count() == before).then_some(())
        })
        .await;
    }
    let answers = load.stop().await;
    assert!(answers.len() > 700, "{}", answers.len());
    lintel.stop().await;
}

#[tokio::test]
async fn a_weight_counts_at_once_and_a_reload_forgets_it_unless_it_is_to_be_kept() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let yaml = front(&[&one, &two], "balance: round_robin");
    let mut lintel = Lintel::start(yaml.clone()).await;
    let name = format!("web/{}", one.address());
    assert_eq!(shares(&lintel, 20).await["one"], 10);
    let said = lintel.run(&["server", "weight", &name, "4"]).await;
    assert_eq!(
        (said.code, said.stdout.trim()),
        (Some(0), format!("{name}: weight 4 until the next reload").as_str())
    );
    assert_eq!(shares(&lintel, 20).await["one"], 16);
    lintel.reload(&yaml).await;
    assert_eq!(shares(&lintel, 20).await["one"], 10);
    assert_eq!(lintel.run(&["server", "weight", &name, "4", "--keep"]).await.code, Some(0));
    lintel.reload(&yaml).await;
    lintel.reload(&yaml).await;
    assert_eq!(shares(&lintel, 20).await["one"], 16);
    let picture = lintel.run(&["status"]).await.stdout;
    assert!(picture.contains("weighed (kept)"), "{picture}");
    for weight in ["0", "1001", "x"] {
        let answer =
            lintel.order(&format!("/pools/web/servers/{}/weight?weight={weight}", one.address())).await;
        assert_eq!(answer.status(), 400, "{}", answer.text());
        assert!(answer.text().contains("1000") || answer.text().contains("number"), "{}", answer.text());
    }
}

#[tokio::test]
async fn what_was_added_or_taken_out_is_forgotten_by_a_reload_unless_it_is_to_be_kept() {
    let (one, two, three) = (Origin::named("one"), Origin::named("two"), Origin::named("three"));
    let yaml = front(&[&one, &two], "");
    let mut lintel = Lintel::start(yaml.clone()).await;
    let remove = |origin: &Origin| format!("web/{}", origin.address());
    lintel.run(&["server", "add", "web", &three.address()]).await;
    lintel.run(&["server", "remove", &remove(&one)]).await;
    assert_eq!(names(&lintel).await, [two.address(), three.address()]);
    lintel.reload(&yaml).await;
    assert_eq!(names(&lintel).await, [one.address(), two.address()]);
    lintel.run(&["server", "add", "web", &three.address(), "--keep", "--weight", "3"]).await;
    lintel.run(&["server", "remove", &remove(&one), "--keep"]).await;
    for _ in 0..2 {
        lintel.reload(&yaml).await;
        assert_eq!(names(&lintel).await, [two.address(), three.address()]);
    }
    let picture = lintel.run(&["status"]).await.stdout;
    assert!(picture.contains(&format!("{} of the file is taken out (kept)", one.address())), "{picture}");
    assert!(picture.contains("added (kept)"), "{picture}");
    let lines = lintel.log.records();
    assert!(!lines.iter().any(|line| line["level"] == "ERROR"), "{lines:?}");
}

#[tokio::test]
async fn what_cannot_be_added_is_refused_and_the_message_says_what_can() {
    let one = Origin::named("one");
    let lintel = Lintel::before(&[&one], "").await;
    for (address, part) in [
        ("app.internal:3000", "is a host name; add the addresses"),
        ("unix:relative.sock", "unix:/run/app.sock"),
        ("10.0.0.1", "10.0.0.1:3000"),
        (&*one.address(), "is in the pool already"),
    ] {
        let said = lintel.run(&["server", "add", "web", address]).await;
        assert_eq!(said.code, Some(1), "{address}: {said:?}");
        assert!(said.stderr.contains(part), "{address}: {said:?}");
    }
    assert_eq!(names(&lintel).await, [one.address()]);
    let answer = lintel.order("/pools/web/servers").await;
    assert_eq!(answer.status(), 400, "{}", answer.text());
}

#[tokio::test]
async fn an_added_server_gets_no_work_before_its_first_check_where_the_pool_has_one() {
    let one = Origin::named("one");
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let opens = Arc::clone(&gate);
    // Answers checks only when it may, and everything else at once.
    let late = Origin::scripted(move |mut talk| {
        let gate = Arc::clone(&opens);
        async move {
            while let Some(request) = talk.request().await {
                if request.target() == "/healthz" {
                    gate.acquire().await.expect("the gate is never closed").forget();
                }
                talk.answer(&request, "late", b"late").await;
            }
        }
    });
    let check = "balance: round_robin\nhealth_check: { path: /healthz, interval: 1s, timeout: 900ms, healthy_after: 1 }";
    let lintel = Lintel::before(&[&one], check).await;
    let answer = lintel.order(&format!("/pools/web/servers?address={}", late.address())).await;
    let state: Value = serde_json::from_str(&answer.text()).expect("JSON");
    assert_eq!(state["servers"][1]["state"], "unknown");
    late.request(0).await;
    assert_eq!(shares(&lintel, 20).await["one"], 20);
    gate.add_permits(100);
    eventually("it is up and gets work", async || {
        (get(lintel.http(), "/").await.text() == "late").then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_runs_on_a_server_that_is_taken_out_goes_on_until_drain_timeout_and_is_then_ended() {
    let sockets = echo_origin("sockets");
    let download = Origin::scripted(|mut talk| async move {
        talk.request().await;
        talk.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").await;
        while talk.send([b'x'; 1000]).await {
            takes(Duration::from_millis(20)).await;
        }
    });
    let yaml = format!("{}runtime: {{ drain_timeout: 2s }}\n", front(&[&sockets], ""));
    let lintel = Lintel::start(yaml).await;
    let mut socket = websocket::open(lintel.http(), "/ws").await;
    lintel.order(&format!("/pools/web/servers?address={}", download.address())).await;
    lintel.order(&format!("/pools/web/servers/{}/drain?timeout=1h", sockets.address())).await;
    let mut running = Connection::open(lintel.http()).await;
    running.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(running.bytes(15).await, b"HTTP/1.1 200 OK");
    let began = std::time::Instant::now();
    for origin in [&sockets, &download] {
        let said = lintel.run(&["server", "remove", &format!("web/{}", origin.address())]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    assert_eq!(get(lintel.http(), "/").await.status(), 503);
    assert_eq!(echo(&mut socket, "still").await, "still");
    assert_eq!(running.bytes(20_000).await.len(), 20_000, "the download goes on");
    let closed = within("the goodbye", async {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Close(frame) = message {
                return frame.map(|frame| frame.code);
            }
        }
        None
    });
    assert_eq!(closed.await, Some(CloseCode::Restart), "though it was drained with an hour's time");
    assert!(began.elapsed() > Duration::from_millis(1900), "{:?}", began.elapsed());
    within("the download is cut", running.rest()).await;
    assert!(began.elapsed() > Duration::from_secs(10) && began.elapsed() < Duration::from_secs(25));
    let record = lintel.record_of("/big").await;
    assert_eq!(record["fault"], "drain_timeout", "{record}");
}
