//! What needs turns: bytes that are sent only after something was seen. The table cannot say these.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::support::time::stays_silent;
use crate::support::{Connection, Lintel, Origin, eventually};

const UPLOAD: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n";

/// For what must not come: long enough to catch it, short enough to wait.
const A_WHILE: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_client_that_expects_100_gets_it_before_it_sends_the_body() {
    // As Node does.
    let origin = Origin::scripted(|mut talk| async move {
        while let Some(head) = talk.head().await {
            let length = if head.field("expect").is_some() { 3 } else { 0 };
            if length > 0 {
                talk.send("HTTP/1.1 100 Continue\r\n\r\n").await;
            }
            let body = talk.exactly(length).await;
            talk.answer(&head, "one", &body).await;
        }
    });
    let lintel = Lintel::before(&[&origin], "").await;
    let mut client = Connection::open(lintel.http()).await;
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    client.send(head).await;
    assert_eq!(client.response_to("POST").await.status(), 100);
    client.send("abc").await;
    let response = client.response_to("POST").await;
    assert_eq!((response.status(), response.text().as_str()), (200, "abc"));
    assert_eq!(client.get("/").await.status(), 200);
}

#[tokio::test]
async fn a_refusal_instead_of_100_reaches_the_client_without_its_body() {
    let origin = Origin::scripted(|mut talk| async move {
        talk.head().await;
        talk.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno").await;
        talk.hang().await;
    });
    let lintel = Lintel::before(&[&origin], "").await;
    let mut client = Connection::open(lintel.http()).await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").await;
    let mut response = client.response_to("POST").await;
    if response.status() == 100 {
        // Lintel may say 100 itself; the refusal then comes as an early response.
        response = client.response_to("POST").await;
    }
    assert_eq!((response.status(), response.text().as_str()), (401, "no"));
}

#[tokio::test]
async fn an_early_response_reaches_a_client_that_is_still_sending() {
    let origin = Origin::scripted(|mut talk| async move {
        talk.head().await;
        talk.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nstop").await;
        talk.hang().await;
    });
    let lintel = Lintel::before(&[&origin], "").await;
    let mut client = Connection::open(lintel.http()).await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc").await;
    let response = client.response_to("POST").await;
    assert_eq!((response.status(), response.text().as_str()), (413, "stop"));
    // The rest of the body may be taken or not; the connection must not take it for a request.
    client.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(String::from_utf8_lossy(&client.rest().await), "");
    origin.all_closed().await;
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn an_early_response_is_not_lost_when_its_server_closes() {
    let origin = Origin::scripted(|mut talk| async move {
        talk.head().await;
        talk.send("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno").await;
        talk.half_close().await;
        talk.hang().await;
    });
    let lintel = Lintel::before(&[&origin], "").await;
    let mut client = Connection::open(lintel.http()).await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n").await;
    client.send(vec![b'x'; 50_000]).await;
    assert_eq!(client.response_to("POST").await.status(), 403);
}

#[tokio::test]
async fn a_response_that_ends_early_leaves_a_finished_upload_in_peace() {
    let origin = Origin::scripted(|mut talk| async move {
        while talk.head().await.is_some() {
            talk.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly").await;
            let mut left = 6;
            while left > 0 {
                match talk.swallow(left).await {
                    0 => return,
                    count => left -= count,
                }
            }
        }
    });
    let lintel = Lintel::before(&[&origin], "").await;
    let mut client = Connection::open(lintel.http()).await;
    client.send(UPLOAD).await;
    let early = client.response_to("POST").await;
    assert_eq!(early.text(), "early");
    if early.lists("connection", "close") {
        return; // RFC 9112 section 9.6: allowed, and said
    }
    client.send("abcdef").await;
    assert_eq!(client.get("/next").await.text(), "early");
}

#[tokio::test]
async fn a_request_body_reaches_the_server_piece_by_piece() {
    let origin = Origin::named("one");
    let lintel = Lintel::before(&[&origin], "").await;
    let mut client = Connection::open(lintel.http()).await;
    client.send(UPLOAD).await;
    for (piece, so_far) in [("ab", "ab"), ("cd", "abcd")] {
        client.send(piece).await;
        let arrived = async || origin.bytes().ends_with(so_far.as_bytes()).then_some(());
        eventually("the piece is at the server", arrived).await;
    }
    client.send("ef").await;
    assert_eq!(client.response_to("POST").await.status(), 200);
    assert_eq!(origin.request(0).await.text(), "abcdef");
}

#[tokio::test]
async fn a_response_body_reaches_the_client_piece_by_piece() {
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let origin = Origin::scripted(move |mut talk| {
        let gate = Arc::clone(&gate);
        async move {
            talk.request().await;
            talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            for piece in ["3\r\nabc\r\n", "3\r\ndef\r\n", "0\r\n\r\n"] {
                gate.notified().await;
                talk.send(piece).await;
            }
            talk.hang().await;
        }
    });
    let lintel = Lintel::before(&[&origin], "").await;
    let mut client = Connection::open(lintel.http()).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut got = Vec::new();
    for text in ["\r\n\r\n", "abc", "def"] {
        while !got.ends_with(text.as_bytes()) && !got.ends_with(format!("{text}\r\n").as_bytes()) {
            got.extend(client.bytes(1).await);
        }
        go.notify_one();
    }
    while !got.ends_with(b"0\r\n\r\n") {
        got.extend(client.bytes(1).await);
    }
}

#[tokio::test]
async fn an_informational_response_does_not_wait_for_the_final_one() {
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let origin = Origin::scripted(move |mut talk| {
        let gate = Arc::clone(&gate);
        async move {
            talk.request().await;
            talk.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n").await;
            gate.notified().await;
            talk.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            talk.hang().await;
        }
    });
    let lintel = Lintel::before(&[&origin], "").await;
    let mut client = Connection::open(lintel.http()).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 103);
    go.notify_one();
    assert_eq!(client.response().await.status(), 200);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_though_the_first_is_slow() {
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let origin = Origin::scripted(move |mut talk| {
        let gate = Arc::clone(&gate);
        async move {
            while let Some(request) = talk.request().await {
                if request.target() == "/slow" {
                    gate.notified().await;
                }
                let name = request.target().to_owned();
                talk.answer(&request, &name, name.as_bytes()).await;
            }
        }
    });
    let lintel = Lintel::before(&[&origin], "").await;
    let mut client = Connection::open(lintel.http()).await;
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /fast HTTP/1.1\r\nHost: a\r\n\r\n").await;
    origin.request(0).await;
    assert!(stays_silent(A_WHILE, client.try_response_to("GET")).await, "an answer before its turn");
    go.notify_one();
    assert_eq!(client.response().await.text(), "/slow");
    assert_eq!(client.response().await.text(), "/fast");
}

#[tokio::test]
async fn a_client_that_resets_inside_its_body_leaves_no_whole_request() {
    let origin = Origin::named("one");
    let lintel = Lintel::before(&[&origin], "").await;
    for framing in ["Content-Length: 6\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let mut client = Connection::open(lintel.http()).await;
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}")).await;
        eventually("the beginning is at the server", async || {
            (origin.open() == 1 && String::from_utf8_lossy(&origin.bytes()).contains("abc")).then_some(())
        })
        .await;
        client.reset();
        origin.all_closed().await;
        assert_eq!((origin.count(), origin.broken().len()), (0, 0), "{framing}");
    }
}

#[tokio::test]
async fn a_request_that_passed_this_lintel_before_is_a_loop() {
    let origin = Origin::named("one");
    let lintel = Lintel::before(&[&origin], "").await;
    let mut client = Connection::open(lintel.http()).await;
    client.get("/first").await;
    let via = origin.request(0).await.field("via").expect("a Via").to_owned();
    client.send(format!("GET /again HTTP/1.1\r\nHost: a\r\nVia: 1.0 fred, {via}\r\n\r\n")).await;
    assert_eq!(client.response().await.status(), 508);
    assert_eq!(lintel.record_of("/again").await["fault"], "loop");
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn two_processes_have_different_pseudonyms_that_tell_no_secret() {
    let origin = Origin::named("one");
    let mut pseudonyms = Vec::new();
    for _ in 0..2 {
        let lintel = Lintel::before(&[&origin], "").await;
        Connection::open(lintel.http()).await.get("/").await;
        let via = origin.request(pseudonyms.len()).await.field("via").expect("a Via").to_owned();
        pseudonyms.push(via.strip_prefix("1.1 ").expect("HTTP/1.1").to_owned());
    }
    assert_ne!(pseudonyms[0], pseudonyms[1]);
    assert!(pseudonyms.iter().all(|pseudonym| pseudonym.starts_with("lintel-")), "{pseudonyms:?}");
}

#[tokio::test]
async fn a_client_that_sends_nothing_more_waits_for_a_slow_response() {
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let origin = Origin::scripted(move |mut talk| {
        let gate = Arc::clone(&gate);
        async move {
            while let Some(request) = talk.request().await {
                gate.notified().await;
                talk.answer(&request, "slow", b"slow").await;
            }
        }
    });
    let lintel = Lintel::before(&[&origin], "").await;
    let mut client = Connection::open(lintel.http()).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.half_close().await;
    origin.request(0).await;
    // RFC 9112 section 9.6: a half-close is no sign that the client is gone.
    assert!(stays_silent(A_WHILE, client.try_response_to("GET")).await, "given up");
    go.notify_one();
    assert_eq!(client.response().await.text(), "slow");
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn hundreds_of_pipelined_requests_are_answered_in_order() {
    let origin = Origin::scripted(|mut talk| async move {
        while let Some(request) = talk.request().await {
            let name = request.target().to_owned();
            talk.answer(&request, "one", name.as_bytes()).await;
        }
    });
    let lintel = Lintel::before(&[&origin], "").await;
    let mut client = Connection::open(lintel.http()).await;
    let requests: String =
        (0..500).map(|number| format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    client.send(requests).await;
    for number in 0..500 {
        assert_eq!(client.response().await.text(), format!("/{number}"));
    }
}

#[tokio::test]
async fn a_server_that_resets_during_an_upload_is_a_502_that_the_client_can_read() {
    let origin = Origin::scripted(|mut talk| async move {
        talk.head().await;
        talk.reset();
    });
    let lintel = Lintel::before(&[&origin], "").await;
    let mut client = Connection::open(lintel.http()).await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n").await;
    client.send(vec![b'x'; 50_000]).await;
    assert_eq!(client.response_to("POST").await.status(), 502);
}
