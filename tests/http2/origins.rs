//! Pools of HTTP/2 servers: few connections for many requests, the servers' limits, what is tried again, and servers
//! that fall silent.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use crate::fronts::{NO_RETRIES, TO_HTTP2, before};
use crate::spread::at_once;
use crate::support::http2::{Frame, Http2, Http2Origin, Talk, code, get, kind, post, setting};
use crate::support::{Connection, Lintel, eventually};

/// A server that answers when it has a permit for each, with these settings.
fn gated(settings: &[(u16, u32)], gate: &Arc<Semaphore>) -> Http2Origin {
    let gate = Arc::clone(gate);
    Http2Origin::with(settings, None, move |mut talk| {
        let gate = Arc::clone(&gate);
        async move { serve_gated(&mut talk, &gate).await }
    })
}

async fn serve_gated(talk: &mut Talk, gate: &Semaphore) {
    let mut waiting = VecDeque::new();
    loop {
        tokio::select! {
            asked = talk.request() => match asked {
                Some(asked) => waiting.push_back(asked),
                None => return,
            },
            permit = gate.acquire(), if !waiting.is_empty() => {
                permit.expect("the gate is never closed").forget();
                if let Some(asked) = waiting.pop_front() {
                    talk.answer(&asked, "one", b"one").await;
                }
            }
        }
    }
}

/// A server of which only the first `bad` requests, over all servers that share the count, go to `misbehaves`.
fn faulty<F>(
    count: &Arc<AtomicUsize>,
    bad: usize,
    misbehaves: impl Fn(Talk, u32) -> F + Send + Sync + 'static,
) -> Http2Origin
where
    F: Future<Output = Option<Talk>> + Send + 'static,
{
    let (count, misbehaves) = (Arc::clone(count), Arc::new(misbehaves));
    Http2Origin::scripted(move |mut talk| {
        let (count, misbehaves) = (Arc::clone(&count), Arc::clone(&misbehaves));
        async move {
            while let Some(asked) = talk.request().await {
                if count.fetch_add(1, Ordering::SeqCst) >= bad {
                    talk.answer(&asked, "good", &[b"good ", asked.body.as_slice()].concat()).await;
                    continue;
                }
                match misbehaves(talk, asked.stream).await {
                    Some(back) => talk = back,
                    None => return,
                }
            }
        }
    })
}

#[tokio::test]
async fn many_requests_share_few_connections() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = gated(&[], &gate);
    let lintel =
        Lintel::start(crate::support::lintel::front(&[&origin], TO_HTTP2) + "runtime: { threads: 2 }\n")
            .await;
    let address = lintel.http();
    let running = tokio::spawn(async move { at_once(address, 80).await });
    origin.head(79).await;
    gate.add_permits(80);
    assert_eq!(running.await.unwrap(), vec!["one"; 80]);
    assert!(origin.connections() <= 4, "{} connections for two threads", origin.connections());
    assert!(origin.peak() >= 20, "{} at once on one", origin.peak());
}

#[tokio::test]
async fn a_servers_limit_of_streams_is_never_exceeded() {
    for limit in [1, 3] {
        let gate = Arc::new(Semaphore::new(0));
        let origin = gated(&[(setting::MAX_CONCURRENT_STREAMS, limit)], &gate);
        let lintel = Lintel::before(&[&origin], TO_HTTP2).await;
        let address = lintel.http();
        gate.add_permits(1);
        crate::support::get(address, "/first").await;
        let running = tokio::spawn(async move { at_once(address, 12).await });
        origin.head(12).await;
        gate.add_permits(12);
        assert_eq!(running.await.unwrap(), vec!["one"; 12]);
        assert!(origin.peak() <= limit as usize, "{} at once where {limit} are allowed", origin.peak());
        assert!(origin.connections() >= 12 / limit as usize);
    }
}

#[tokio::test]
async fn a_limit_that_a_server_lowers_later_is_kept() {
    let gate = Arc::new(Semaphore::new(0));
    let shared = Arc::clone(&gate);
    let origin = Http2Origin::with(&[(setting::MAX_CONCURRENT_STREAMS, 50)], None, move |mut talk| {
        let gate = Arc::clone(&shared);
        async move {
            if talk.index == 0 {
                let Some(first) = talk.request().await else { return };
                talk.announce(&[(setting::MAX_CONCURRENT_STREAMS, 1)]).await;
                while talk.acks < 2 && talk.next_frame().await.is_some() {}
                talk.answer(&first, "one", b"one").await;
            }
            serve_gated(&mut talk, &gate).await;
        }
    });
    let lintel = before(&[&origin], TO_HTTP2).await;
    // One client, so one thread, which knows the connection.
    let mut client = Http2::open(lintel.http()).await;
    client.get("/first").await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(client.start(&get("/"), true).await);
    }
    origin.head(5).await;
    let on_the_first = origin.heads().iter().filter(|asked| asked.connection == 0).count();
    assert!(on_the_first <= 2, "{on_the_first}: one that is over, and one where one is allowed");
    gate.add_permits(5);
    for stream in streams {
        assert_eq!(client.response(stream).await.text(), "one");
    }
}

#[tokio::test]
async fn the_pools_own_limit_of_streams_is_kept() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = gated(&[], &gate);
    let lintel = Lintel::before(&[&origin], &format!("{TO_HTTP2}\nhttp2: {{ streams: 4 }}")).await;
    let address = lintel.http();
    let running = tokio::spawn(async move { at_once(address, 20).await });
    origin.head(19).await;
    gate.add_permits(20);
    assert_eq!(running.await.unwrap(), vec!["one"; 20]);
    assert!(origin.peak() <= 4 && origin.connections() >= 5, "{} on {}", origin.peak(), origin.connections());
}

#[tokio::test]
async fn requests_of_one_client_are_spread_over_the_servers() {
    let (one, two) = (Http2Origin::named("one"), Http2Origin::named("two"));
    let lintel = before(&[&one, &two], &format!("{TO_HTTP2}\nbalance: round_robin")).await;
    let mut client = Http2::open(lintel.http()).await;
    for _ in 0..20 {
        client.get("/").await;
    }
    assert_eq!((one.count(), two.count()), (10, 10));
}

#[tokio::test]
async fn a_post_that_was_refused_unprocessed_is_tried_again() {
    let count = Arc::new(AtomicUsize::new(0));
    let refusing = |mut talk: Talk, stream| async move {
        talk.reset(stream, code::REFUSED_STREAM).await;
        Some(talk)
    };
    let (one, two) = (faulty(&count, 1, refusing), faulty(&count, 1, refusing));
    let lintel = before(&[&one, &two], TO_HTTP2).await;
    let mut client = Http2::open(lintel.http()).await;
    let reply = client.exchange(&post("/"), b"abc").await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "good abc"));
    assert_eq!(one.count() + two.count(), 2);
    let record = lintel.record_of("/").await;
    assert_eq!((&record["attempts"], &record["status"]), (&2.into(), &200.into()), "{record}");
}

/// Goes away without this stream.
async fn leave_out(mut talk: Talk, stream: u32) -> Option<Talk> {
    talk.go_away(stream.saturating_sub(2), code::NO_ERROR).await;
    talk.hang().await;
    None
}

#[tokio::test]
async fn a_post_that_a_goaway_leaves_out_is_tried_again() {
    let count = Arc::new(AtomicUsize::new(0));
    let (one, two) = (faulty(&count, 1, leave_out), faulty(&count, 1, leave_out));
    let lintel = before(&[&one, &two], TO_HTTP2).await;
    let mut client = Http2::open(lintel.http()).await;
    for number in 0..4 {
        let reply = client.exchange(&post("/"), b"abc").await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "good abc"), "{number}");
    }
    assert_eq!(one.count() + two.count(), 5);
    assert!(one.connections() + two.connections() >= 2, "the one that goes away gets no further request");
}

#[tokio::test]
async fn the_only_server_is_asked_again_for_what_it_left_out_and_is_not_held_to_have_failed() {
    let count = Arc::new(AtomicUsize::new(0));
    let origin = faulty(&count, 1, leave_out);
    let options = "protocol: http2\noutlier_detection: { consecutive_failures: 1 }";
    let lintel = before(&[&origin], options).await;
    let mut client = Http2::open(lintel.http()).await;
    for number in 0..3 {
        let reply = client.exchange(&post("/"), b"abc").await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "good abc"), "{number}");
    }
    assert_eq!(lintel.metrics().await.sum("lintel_server_ejections_total", &[]), 0.0);
}

#[tokio::test]
async fn an_answer_to_a_request_that_was_given_up_ends_no_other() {
    let origin = Http2Origin::scripted(|mut talk| async move {
        let (Some(first), Some(second)) = (talk.head().await, talk.head().await) else { return };
        // Behind it comes the reset of the first, which is answered all the same.
        let Some(third) = talk.head().await else { return };
        talk.fields(first.stream, &[(":status", "200")], false).await;
        talk.fields(first.stream, &[("x-late", "1")], true).await;
        talk.answer(&third, "one", b"third").await;
        talk.answer(&second, "one", b"second").await;
        talk.hang().await;
    });
    let lintel = before(&[&origin], TO_HTTP2).await;
    let mut client = Http2::open(lintel.http()).await;
    let first = client.start(&get("/first"), true).await;
    let second = client.start(&get("/second"), true).await;
    origin.head(1).await;
    client.send_frame(kind::RST_STREAM, 0, first, code::CANCEL.to_be_bytes()).await;
    origin.reset_code().await;
    let third = client.start(&get("/third"), true).await;
    assert_eq!(client.response(third).await.text(), "third");
    assert_eq!(client.response(second).await.text(), "second");
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_post_that_may_have_been_processed_is_not_tried_again() {
    let count = Arc::new(AtomicUsize::new(0));
    let failing = |mut talk: Talk, stream| async move {
        talk.reset(stream, code::INTERNAL_ERROR).await;
        Some(talk)
    };
    let (one, two) = (faulty(&count, 1, failing), faulty(&count, 1, failing));
    let lintel = before(&[&one, &two], TO_HTTP2).await;
    let mut client = Http2::open(lintel.http()).await;
    assert_eq!(client.exchange(&post("/"), b"abc").await.status, 502);
    assert_eq!(one.count() + two.count(), 1);
    // A GET is another matter.
    count.store(0, Ordering::SeqCst);
    assert_eq!(client.get("/").await.text(), "good ");
}

#[tokio::test]
async fn what_a_server_that_goes_away_has_begun_is_finished() {
    let gate = Arc::new(Semaphore::new(0));
    let last = Arc::clone(&gate);
    let origin = Http2Origin::scripted(move |mut talk| {
        let gate = Arc::clone(&last);
        async move {
            let Some(asked) = talk.request().await else { return };
            if talk.index == 0 {
                talk.go_away(asked.stream, code::NO_ERROR).await;
                gate.acquire().await.expect("the gate is never closed").forget();
            }
            let name = talk.index.to_string();
            talk.answer(&asked, "one", name.as_bytes()).await;
            if talk.index == 0 {
                return talk.hang().await;
            }
            while let Some(asked) = talk.request().await {
                talk.answer(&asked, "one", name.as_bytes()).await;
            }
        }
    });
    let lintel = before(&[&origin], TO_HTTP2).await;
    let mut client = Http2::open(lintel.http()).await;
    let first = client.start(&post("/first"), true).await;
    origin.head(0).await;
    let gone = async || {
        let mut next = Http2::open(lintel.http()).await;
        (next.get("/next").await.text() == "1").then_some(())
    };
    // The GOAWAY may still be on its way; a request that comes before it waits for the gate.
    gate.add_permits(1);
    eventually("the next ones have a connection of their own", gone).await;
    assert_eq!(client.response(first).await.text(), "0");
    origin.connection_closed(0).await;
}

#[tokio::test]
async fn a_server_that_falls_silent_loses_its_requests_and_its_connection() {
    let origin = Http2Origin::scripted(|mut talk| async move {
        if talk.index == 0 {
            talk.answers_pings = false;
            return talk.hang().await;
        }
        while let Some(asked) = talk.request().await {
            talk.answer(&asked, "one", b"one").await;
        }
    });
    let pool = format!(
        "protocol: http2\n{NO_RETRIES}\nhttp2: {{ ping_after: 200ms, ping_timeout: 200ms }}\ntimeouts: {{ response: 60s }}"
    );
    let lintel = before(&[&origin], &pool).await;
    let mut client = Http2::open(lintel.http()).await;
    let streams = [client.start(&post("/1"), true).await, client.start(&post("/2"), true).await];
    for stream in streams {
        let status = client.response(stream).await.status;
        assert!(matches!(status, 502 | 504), "{status}");
    }
    origin.connection_closed(0).await;
    assert_eq!(client.get("/3").await.text(), "one");
    assert!(origin.connections() >= 2);
}

#[tokio::test]
async fn a_server_that_only_takes_its_time_is_left_alone() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = gated(&[], &gate);
    let pool = format!("{TO_HTTP2}\nhttp2: {{ ping_after: 100ms, ping_timeout: 30s }}");
    let lintel = before(&[&origin], &pool).await;
    let mut client = Http2::open(lintel.http()).await;
    let stream = client.start(&get("/"), true).await;
    origin.head(0).await;
    crate::support::time::takes(std::time::Duration::from_millis(700)).await;
    gate.add_permits(1);
    assert_eq!(client.response(stream).await.text(), "one");
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_server_that_dies_is_replaced() {
    let (one, two) = (Http2Origin::named("one"), Http2Origin::named("two"));
    let lintel = before(&[&one, &two], &format!("{TO_HTTP2}\nbalance: round_robin")).await;
    let mut client = Http2::open(lintel.http()).await;
    for _ in 0..4 {
        client.get("/").await;
    }
    one.kill().await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.text(), "two");
    }
    one.revive();
    eventually("it is back", async || (client.get("/").await.text() == "one").then_some(())).await;
}

#[tokio::test]
async fn a_server_that_does_not_speak_http_2_is_a_502() {
    let origin = crate::support::Origin::answering("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let lintel = Lintel::before(&[&origin], &format!("protocol: http2\n{NO_RETRIES}")).await;
    let response = crate::support::get(lintel.http(), "/").await;
    assert_eq!(response.status(), 502);
    assert!(lintel.record_of("/").await["fault"].is_string());
}

#[tokio::test]
async fn what_a_server_must_not_send_costs_its_connection() {
    let bad: [(u8, u8, u32, &[u8]); 5] = [
        (kind::PUSH_PROMISE, 4, 1, b"\0\0\0\x02\x82\x86\x84"),
        (kind::BODY, 0, 7, b"abc"),
        (kind::SETTINGS, 0, 0, b"\0\x02\0\0\0\x02"),
        (kind::WINDOW_UPDATE, 0, 0, b"\0\0\0\0"),
        (kind::HEADERS, 5, 2, b"\x88"),
    ];
    for (kind, flags, stream, payload) in bad {
        let origin = Http2Origin::scripted(move |mut talk| async move {
            while let Some(asked) = talk.request().await {
                if talk.index == 0 {
                    let frame = Frame::new(kind, flags, stream, payload);
                    talk.send(frame).await;
                    return talk.hang().await;
                }
                talk.answer(&asked, "one", b"one").await;
            }
        });
        let lintel = Lintel::before(&[&origin], &format!("protocol: http2\n{NO_RETRIES}")).await;
        let mut client = Connection::open(lintel.http()).await;
        let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(client.exchange(request).await.status(), 502, "frame {kind}");
        origin.connection_closed(0).await;
        assert_eq!(client.exchange(request).await.text(), "one", "frame {kind}");
    }
}
