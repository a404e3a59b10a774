//! Frames (RFC 9113 sections 3 to 6): what breaks a connection, what breaks a stream, and with which code. A table, and
//! what takes turns.

mod table;

use std::fmt::Write as _;

use crate::fronts::{before, listening};
use crate::support::http2::{End, Frame, Http2, code, encode, flag, get, kind, post, setting};
use crate::support::{Lintel, Origin, eventually};

/// What comes of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comes {
    /// GOAWAY with one of these codes, and the end of the connection.
    Connection(&'static [u32]),
    /// RST_STREAM of stream 1 with this code; the connection serves on.
    Stream(u32),
    /// One or the other: RFC 9113 leaves the choice.
    Either(&'static [u32]),
    /// Nothing: the connection serves on.
    Nothing,
    /// Nothing, or an error with this code.
    Tolerated(u32),
}

/// What was sent after the greeting, and what comes of it.
struct Case {
    name: &'static str,
    sent: Vec<u8>,
    comes: Comes,
    /// The source.
    why: &'static str,
}

fn case(name: &'static str, frames: &[Frame], comes: Comes, why: &'static str) -> Case {
    Case { name, sent: frames.iter().flat_map(Frame::bytes).collect(), comes, why }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    Connection(u32),
    Stream(u32),
    Nothing,
    Closed,
}

/// The stream on which every case asks whether it is still served.
const PROBE: u32 = 101;

/// A server that answers nothing on `/hold`.
fn holding() -> Origin {
    Origin::scripted(|mut talk| async move {
        while let Some(head) = talk.head().await {
            if head.target() == "/hold" {
                return talk.hang().await;
            }
            talk.answer(&head, "one", b"one").await;
        }
    })
}

async fn play_one(case: &Case, lintel: &Lintel) -> Came {
    let mut client = Http2::open(lintel.http()).await;
    client.raw(&case.sent).await;
    client.request(PROBE, &get("/probe"), true).await;
    match client.response(PROBE).await.end {
        End::Whole => client.half(1).reset.map_or(Came::Nothing, Came::Stream),
        End::GoAway(code) => {
            client.closed().await;
            Came::Connection(code)
        }
        _ => Came::Closed,
    }
}

fn fits(comes: Comes, came: Came) -> bool {
    match (comes, came) {
        (Comes::Connection(codes), Came::Connection(code)) => codes.contains(&code),
        (Comes::Stream(wanted), Came::Stream(code)) => wanted == code,
        (Comes::Either(codes), Came::Connection(code) | Came::Stream(code)) => codes.contains(&code),
        (Comes::Nothing | Comes::Tolerated(_), Came::Nothing) => true,
        (Comes::Tolerated(wanted), Came::Connection(code) | Came::Stream(code)) => wanted == code,
        _ => false,
    }
}

#[tokio::test]
async fn every_broken_rule_has_its_code() {
    let origin = holding();
    let lintel = before(&[&origin], "").await;
    let mut report = String::new();
    let (cases, mut failed) = (table::cases(), 0);
    for case in &cases {
        let came = play_one(case, &lintel).await;
        if !fits(case.comes, came) {
            failed += 1;
            let _ = writeln!(report, "  {} ({}): {:?} where {:?}", case.name, case.why, came, case.comes);
        }
    }
    assert!(failed == 0, "{failed} of {} cases do not hold:\n{report}", cases.len());
    assert_eq!(Http2::open(lintel.http()).await.get("/").await.text(), "one");
}

#[tokio::test]
async fn the_settings_are_as_configured() {
    let origin = Origin::named("one");
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    client.ping().await;
    let value = |client: &Http2, name| client.settings.get(&name).copied();
    assert_eq!(value(&client, setting::MAX_CONCURRENT_STREAMS), Some(128));
    assert_eq!(value(&client, setting::INITIAL_WINDOW_SIZE), Some(256 * 1024));
    assert_eq!(value(&client, setting::ENABLE_CONNECT_PROTOCOL), Some(1), "RFC 8441");
    assert!(
        value(&client, setting::ENABLE_PUSH).unwrap_or(0) == 0,
        "RFC 9113 6.5.2: a server does not send 1"
    );
    assert!(value(&client, setting::MAX_FRAME_SIZE).is_none_or(|size| (16_384..1 << 24).contains(&size)));
    assert_eq!(client.send_window, 1024 * 1024, "the window of the connection");

    let limits = "limits: { http2: { streams: 7, stream_window: 100KiB, connection_window: 300KiB } }";
    let lintel = listening(limits, &origin).await;
    let mut client = Http2::open(lintel.http()).await;
    client.ping().await;
    assert_eq!(value(&client, setting::MAX_CONCURRENT_STREAMS), Some(7));
    assert_eq!(value(&client, setting::INITIAL_WINDOW_SIZE), Some(100 * 1024));
    assert_eq!(client.send_window, 300 * 1024);
}

#[tokio::test]
async fn a_stream_beyond_the_limit_is_refused_and_a_free_place_is_taken() {
    let origin = holding();
    let lintel = listening("limits: { http2: { streams: 2 } }", &origin).await;
    let mut client = Http2::open(lintel.http()).await;
    for stream in [1, 3, 5] {
        client.request(stream, &get("/hold"), true).await;
    }
    assert_eq!(client.response(5).await.reset(), Some(code::REFUSED_STREAM));
    client.reset(1, code::CANCEL).await;
    client.request(7, &get("/"), true).await;
    assert_eq!(client.response(7).await.text(), "one");
    assert_eq!(client.half(3).reset, None);
}

#[tokio::test]
async fn frames_in_small_pieces_are_frames() {
    let origin = Origin::named("one");
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    let block = encode(&post("/echo"));
    let mut frames = Vec::new();
    frames.extend(Frame::new(kind::HEADERS, 0, 1, &block[..3]).bytes());
    frames.extend(Frame::new(kind::CONTINUATION, 0, 1, []).bytes());
    frames.extend(Frame::new(kind::CONTINUATION, 0, 1, &block[3..9]).bytes());
    frames.extend(Frame::new(kind::CONTINUATION, flag::END_HEADERS, 1, &block[9..]).bytes());
    frames.extend(Frame::new(kind::BODY, 0, 1, *b"ab").bytes());
    frames.extend(Frame::new(kind::BODY, flag::END_STREAM | flag::PADDED, 1, *b"\x03c\0\0\0").bytes());
    for byte in frames {
        client.raw([byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.response(1).await.text(), "abc");
}

#[tokio::test]
async fn a_ping_comes_back_as_it_was_sent() {
    let origin = Origin::named("one");
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    client.send_frame(kind::PING, 0, 0, *b"12345678").await;
    loop {
        let frame = client.next_frame().await.expect("an answer");
        if frame.kind == kind::PING {
            assert_eq!(frame, Frame::new(kind::PING, flag::ACK, 0, *b"12345678"));
            return;
        }
    }
}

#[tokio::test]
async fn a_client_that_goes_away_gets_what_it_asked_for() {
    let origin = Origin::named("one");
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    client.request(1, &post("/echo"), false).await;
    client.send(Frame::goaway(0, code::NO_ERROR)).await;
    client.body(1, "abc", true).await;
    assert_eq!(client.response(1).await.text(), "abc");
    client.closed().await;
    assert!(client.goaways.iter().all(|(_, code)| *code == 0), "{:?}", client.goaways);
}

#[tokio::test]
async fn more_than_the_window_is_an_error_of_flow_control() {
    let origin = holding();
    let lintel = before(&[&origin], "max_in_flight: 1\nqueue: { size: 10, timeout: 60s }").await;
    let mut client = Http2::open(lintel.http()).await;
    client.request(1, &get("/hold"), true).await;
    eventually("the place is taken", async || (origin.open() == 1).then_some(())).await;
    // It waits in the queue, so nobody takes its body.
    client.request(3, &post("/"), false).await;
    client.ping().await;
    let window = client.room(3);
    let frame = Frame::new(kind::BODY, 0, 3, vec![b'x'; 16_384]);
    let beyond: Vec<u8> = (0..window / 16_384 * 2).flat_map(|_| frame.bytes()).collect();
    client.raw(&beyond).await;
    let code = client
        .until("an error of flow control", |wire| {
            let of_connection = wire.goaways.iter().map(|(_, code)| *code).find(|code| *code != 0);
            wire.half(3).reset.or(of_connection)
        })
        .await;
    assert_eq!(code, code::FLOW_CONTROL_ERROR);
}

#[tokio::test]
async fn a_window_that_settings_change_changes_for_running_streams() {
    let origin = Origin::named("one");
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open_with(lintel.http(), &[(setting::INITIAL_WINDOW_SIZE, 0)]).await;
    client.replenishes = false;
    client.request(1, &post("/echo"), false).await;
    client.body(1, "0123456789", true).await;
    assert_eq!(client.head(1).await.status, 200);
    client.ping().await;
    assert_eq!(client.half(1).count, 0, "a window of nothing");
    client.announce(&[(setting::INITIAL_WINDOW_SIZE, 4)]).await;
    assert_eq!(client.received(1, 4).await.body, b"0123");
    // Below what was used: negative, and no error (RFC 9113 section 6.9.2).
    client.announce(&[(setting::INITIAL_WINDOW_SIZE, 1)]).await;
    client.ping().await;
    client.grow(1, 4).await;
    assert_eq!(client.received(1, 5).await.body, b"01234");
    client.ping().await;
    assert_eq!(client.half(1).count, 5);
    client.grow(1, 100).await;
    assert_eq!(client.response(1).await.text(), "0123456789");
}

#[tokio::test]
async fn what_does_not_begin_with_the_preface_is_not_served() {
    let origin = Origin::named("one");
    let lintel = before(&[&origin], "").await;
    for sent in [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rx",
        b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    ] {
        let mut client = crate::support::Connection::open(lintel.http()).await;
        client.send(sent).await;
        let reply = client.rest().await;
        // SETTINGS, GOAWAY, or a word in HTTP/1.1 that this is HTTP/2.
        let is_fine = reply.is_empty()
            || reply.starts_with(b"HTTP/1.1 4")
            || reply.get(3) == Some(&4)
            || reply.get(3) == Some(&7);
        assert!(is_fine, "{}: {}", sent.escape_ascii(), reply.escape_ascii());
    }
    let mut client = Http2::silent(lintel.http()).await;
    client.raw(crate::support::http2::PREFACE).await;
    client.send_frame(kind::PING, 0, 0, *b"12345678").await;
    assert_eq!(client.connection_error().await, code::PROTOCOL_ERROR, "RFC 9113 3.4: SETTINGS come first");
    assert_eq!(origin.count(), 0);
}
