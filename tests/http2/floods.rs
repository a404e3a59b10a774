//! Clients that ask for more work than they do: floods of frames, windows that stay shut, heads and prefaces without end.
//! The connection ends with ENHANCE_YOUR_CALM, it is counted, and everybody else is served.

use std::time::Duration;

use tokio::net::TcpSocket;

use crate::fronts::listening;
use crate::support::http2::{End, Frame, Http2, asking, code, encode, flag, get, kind, post, setting};
use crate::support::time::stays_silent;
use crate::support::{Connection, Conversation, Lintel, Origin, eventually};

const FLOODS: &str = "lintel_listener_http2_floods_total";
const TIMEOUTS: &str = "lintel_listener_timeouts_total";
/// Fifty of everything at once.
const TIGHT: &str = "limits: { http2: { resets_per_second: 5, control_frames_per_second: 5 } }";
const ENDED: u8 = flag::END_HEADERS | flag::END_STREAM;

/// Answers with its name; `/hold` is read and not answered, `/stuck` is not even read.
async fn serve(mut talk: Conversation) {
    while let Some(head) = talk.head().await {
        match head.target() {
            "/hold" => return talk.hang().await,
            "/stuck" => return std::future::pending().await,
            _ => talk.answer(&head, "one", b"one").await,
        }
    }
}

/// How many requests reached the server.
fn asked(origin: &Origin) -> usize {
    String::from_utf8_lossy(&origin.bytes()).matches(" HTTP/1.1\r\n").count()
}

/// A running flood: the one who floods, and one who does not.
struct Flood {
    origin: Origin,
    lintel: Lintel,
    client: Http2,
    other: Http2,
}

impl Flood {
    async fn of(listener: &str) -> Self {
        let origin = Origin::scripted(serve);
        let lintel = listening(listener, &origin).await;
        let client = Http2::open(lintel.http()).await;
        let mut other = Http2::open(lintel.http()).await;
        assert_eq!(other.get("/before").await.text(), "one");
        Self { origin, lintel, client, other }
    }

    /// Sends these frames, and awaits that they were read; false when that was too much.
    async fn survives(&mut self, frames: &[Frame]) -> bool {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
        let answered = self.client.pongs;
        self.client.raw(bytes).await;
        self.client.send_frame(kind::PING, 0, 0, *b"are you?").await;
        self.client
            .until("a sign of life", |wire| {
                let is_over = wire.ended || wire.goaways.iter().any(|(_, code)| *code != 0);
                (is_over || wire.pongs > answered).then_some(!is_over)
            })
            .await
    }

    /// Sends pieces of the flood until it ends the connection; then the reason counts, and the other one is served.
    async fn ends_as(mut self, reason: &str, pieces: usize, mut piece: impl FnMut(u32) -> Vec<Frame>) {
        let mut sent = 0;
        while self.survives(&piece(sent)).await {
            sent += 1;
            assert!((sent as usize) < pieces, "{reason}: {pieces} pieces are not too much");
        }
        self.end_as(reason).await;
    }

    async fn end_as(mut self, reason: &str) {
        assert_eq!(self.client.connection_error().await, code::ENHANCE_YOUR_CALM, "{reason}");
        assert_eq!(self.other.get("/after").await.text(), "one", "{reason}");
        self.lintel.metric(FLOODS, &[("listener", "http"), ("reason", reason)], 1.0).await;
        let calm = [("listener", "http"), ("code", "enhance_your_calm")];
        self.lintel.metric("lintel_listener_http2_errors_total", &calm, 1.0).await;
        assert_eq!(self.lintel.metrics().await.sum(FLOODS, &[]), 1.0, "{reason}: one flood, one reason");
    }
}

/// Twenty frames of one kind.
fn twenty(frame: &Frame) -> Vec<Frame> {
    vec![frame.clone(); 20]
}

fn headers(stream: u32, fields: &[(&str, &str)], flags: u8) -> Frame {
    Frame::new(kind::HEADERS, flags, stream, encode(fields))
}

/// Ten requests and their resets, on streams that were not used before.
fn ten_resets(piece: u32) -> Vec<Frame> {
    let streams = (0..10).map(|number| 1 + 2 * (piece * 10 + number));
    let both = |stream| [headers(stream, &get("/hold"), ENDED), Frame::reset(stream, code::CANCEL)];
    streams.flat_map(both).collect()
}

#[tokio::test]
async fn rapid_resets() {
    Flood::of(TIGHT).await.ends_as("rapid_reset", 20, ten_resets).await;
}

/// The reset comes in the same bytes as the head, so it is known before anything is done about the request.
#[tokio::test]
async fn a_request_that_is_given_up_with_its_head_troubles_no_server() {
    let mut flood = Flood::of("").await;
    let records = async |flood: &Flood| flood.lintel.metrics().await.sum("lintel_route_requests_total", &[]);
    let (recorded, connections) = (records(&flood).await, flood.origin.connections());
    assert!(flood.survives(&ten_resets(0)).await);
    eventually("ten records", async || (records(&flood).await >= recorded + 10.0).then_some(())).await;
    assert_eq!(flood.origin.connections(), connections);
}

#[tokio::test]
async fn resets_cost_the_servers_nothing_that_stays() {
    let mut flood = Flood::of("").await;
    for piece in 0..15 {
        assert!(flood.survives(&ten_resets(piece)).await, "150 at once are within the default");
    }
    let is_free =
        async || (flood.lintel.metrics().await.sum("lintel_server_in_flight", &[]) == 0.0).then_some(());
    eventually("all places are free", is_free).await;
    assert!(flood.origin.open() <= 151, "at most one connection for each");
}

#[tokio::test]
async fn control_frames_of_every_kind() {
    let unknown = Frame::new(0xfa, 0, 0, *b"anything");
    let priority = Frame::new(kind::PRIORITY, 0, 1, *b"\0\0\0\0\x0f");
    let empty = Frame::settings(&[]);
    let changing = Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, 70_000)]);
    let ping = Frame::new(kind::PING, 0, 0, *b"12345678");
    for (reason, frame) in [
        ("priority", priority),
        ("priority", unknown),
        ("settings", empty),
        ("settings", changing),
        ("ping", ping),
        ("window_update", Frame::window_update(0, 1)),
    ] {
        // An answer to any PING counts as a sign of life, also to one of the flood.
        Flood::of(TIGHT).await.ends_as(reason, 60, |_| twenty(&frame)).await;
    }
}

#[tokio::test]
async fn window_updates_of_a_stream() {
    let mut flood = Flood::of(TIGHT).await;
    assert!(flood.survives(&[headers(1, &get("/hold"), ENDED)]).await);
    flood.ends_as("window_update", 20, |_| twenty(&Frame::window_update(1, 1))).await;
}

#[tokio::test]
async fn what_is_within_the_limits_is_no_flood() {
    let mut flood = Flood::of(TIGHT).await;
    for frame in [
        Frame::new(0xfa, 0, 0, *b"anything"),
        Frame::settings(&[]),
        Frame::new(kind::PING, 0, 0, *b"12345678"),
        Frame::window_update(0, 1),
    ] {
        assert!(flood.survives(&twenty(&frame)).await);
        assert!(
            flood.survives(&twenty(&frame)).await,
            "{frame:?}: forty of each kind, where fifty are allowed"
        );
    }
    assert_eq!(flood.client.get("/").await.text(), "one");
    assert_eq!(flood.lintel.metrics().await.sum(FLOODS, &[]), 0.0);
}

#[tokio::test]
async fn window_updates_for_what_was_received_are_no_flood() {
    let origin =
        Origin::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n{}", "x".repeat(2000)));
    let lintel = listening(TIGHT, &origin).await;
    // A byte at a time: two thousand updates, and none of them surplus.
    let mut client = Http2::open_with(lintel.http(), &[(setting::INITIAL_WINDOW_SIZE, 1)]).await;
    let reply = client.get("/").await;
    assert_eq!((reply.status, reply.body.len(), reply.is_whole()), (200, 2000, true));
    assert_eq!(lintel.metrics().await.sum(FLOODS, &[]), 0.0);
}

#[tokio::test]
async fn data_frames_without_data() {
    let mut flood = Flood::of(TIGHT).await;
    assert!(flood.survives(&[headers(1, &post("/hold"), flag::END_HEADERS)]).await);
    flood.ends_as("empty_data", 20, |_| twenty(&Frame::new(kind::BODY, 0, 1, *b""))).await;
    // Padding is not content.
    let mut flood = Flood::of(TIGHT).await;
    assert!(flood.survives(&[headers(1, &post("/hold"), flag::END_HEADERS)]).await);
    let padded = Frame::new(kind::BODY, flag::PADDED, 1, *b"\x03\0\0\0");
    flood.ends_as("empty_data", 20, |_| twenty(&padded)).await;
}

#[tokio::test]
async fn data_frames_of_one_byte() {
    let mut flood = Flood::of("").await;
    assert!(flood.survives(&[headers(1, &post("/hold"), flag::END_HEADERS)]).await);
    let piece = vec![Frame::new(kind::BODY, 0, 1, *b"x"); 500];
    flood.ends_as("small_data", 400, |_| piece.clone()).await;
}

#[tokio::test]
async fn malformed_requests_without_end() {
    let malformed = |piece: u32| {
        let streams = (0..10).map(|number| 1 + 2 * (piece * 10 + number));
        streams.map(|stream| headers(stream, &asking("GET", "/", &[("Upper", "case")]), ENDED)).collect()
    };
    Flood::of("").await.ends_as("stream_errors", 200, malformed).await;
}

#[tokio::test]
async fn window_updates_that_make_the_server_reset() {
    // Resets that a client provokes cost as much as its own.
    let provoking = |piece: u32| {
        let streams = (0..10).map(|number| 1 + 2 * (piece * 10 + number));
        let both = |stream| [headers(stream, &get("/hold"), ENDED), Frame::window_update(stream, 0)];
        streams.flat_map(both).collect()
    };
    Flood::of("").await.ends_as("stream_errors", 200, provoking).await;
}

#[tokio::test]
async fn a_head_in_too_many_frames() {
    let mut flood = Flood::of("").await;
    let mut frames = vec![headers(1, &get("/"), flag::END_STREAM)];
    frames.extend(vec![Frame::new(kind::CONTINUATION, 0, 1, *b""); 65]);
    flood.client.raw(frames.iter().flat_map(Frame::bytes).collect::<Vec<u8>>()).await;
    flood.end_as("continuation").await;
}

#[tokio::test]
async fn a_head_without_end() {
    let mut flood = Flood::of("limits: { head: 4KiB, uri: 1KiB }").await;
    let mut frames = vec![headers(1, &get("/"), flag::END_STREAM)];
    let piece = encode(&[("x", "y".repeat(4000))]);
    frames.extend(vec![Frame::new(kind::CONTINUATION, 0, 1, piece); 5]);
    flood.client.raw(frames.iter().flat_map(Frame::bytes).collect::<Vec<u8>>()).await;
    flood.end_as("header_block").await;
}

#[tokio::test]
async fn a_head_that_unpacks_to_much_is_not_unpacked() {
    let mut flood = Flood::of("").await;
    let before = flood.lintel.resident_bytes();
    // An entry of 4000 bytes for the dynamic table, and then a byte for each further one (RFC 7541 section 7.3).
    let mut block = encode(&get("/"));
    let mut entry = encode(&[("x", "y".repeat(4000))]);
    entry[0] = 0x40;
    block.extend_from_slice(&entry);
    block.extend_from_slice(&[0xbe; 12_000]);
    let frame = Frame::new(kind::HEADERS, ENDED, 1, block);
    flood.client.send(frame).await;
    let reply = flood.client.response(1).await;
    let is_refused = reply.status == 431 || reply.end == End::GoAway(code::ENHANCE_YOUR_CALM);
    assert!(is_refused, "{} {:?}", reply.status, reply.end);
    assert!(flood.lintel.resident_bytes().saturating_sub(before) < 8 * 1024 * 1024);
    assert_eq!(flood.other.get("/after").await.text(), "one");
    assert_eq!(asked(&flood.origin), 2);
}

#[tokio::test]
async fn answers_that_nobody_reads() {
    let origin = Origin::scripted(serve);
    let lintel = listening("limits: { http2: { control_frames_per_second: 100000 } }", &origin).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = Http2::bare(socket.connect(lintel.http()).await.unwrap());
    client.greet(&[]).await;
    let before = lintel.resident_bytes();
    let piece = Frame::new(kind::PING, 0, 0, *b"12345678").bytes().repeat(4096);
    // It never reads; sooner or later nothing can be sent, or the connection is over.
    for _ in 0..2000 {
        if stays_silent(Duration::from_millis(1000), client.raw(&piece)).await {
            break;
        }
        if lintel.metrics().await.sum(FLOODS, &[("reason", "unread")]) > 0.0 {
            break;
        }
    }
    lintel.metric(FLOODS, &[("listener", "http"), ("reason", "unread")], 1.0).await;
    assert!(lintel.resident_bytes().saturating_sub(before) < 16 * 1024 * 1024);
    assert_eq!(Http2::open(lintel.http()).await.get("/").await.text(), "one");
}

#[tokio::test]
async fn who_does_not_greet_in_time_is_let_go() {
    let origin = Origin::scripted(serve);
    let lintel = listening("timeouts: { head: 300ms }", &origin).await;
    for (number, sent) in [b"".as_slice(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n"].into_iter().enumerate() {
        let mut client = Connection::open(lintel.http()).await;
        client.send(sent).await;
        client.rest().await;
        lintel.metric(TIMEOUTS, &[("kind", "preface")], (number + 1) as f64).await;
    }
}

#[tokio::test]
async fn a_head_that_stops_ends_the_connection() {
    let origin = Origin::scripted(serve);
    let lintel = listening("timeouts: { head: 300ms }", &origin).await;
    let mut client = Http2::open(lintel.http()).await;
    client.send(headers(1, &get("/"), flag::END_STREAM)).await;
    client.closed().await;
    assert_eq!(asked(&origin), 0);
}

#[tokio::test]
async fn a_body_that_stops_is_a_408_and_the_connection_goes_on() {
    let origin = Origin::scripted(serve);
    let lintel = listening("timeouts: { body_idle: 300ms }", &origin).await;
    let mut client = Http2::open(lintel.http()).await;
    let stream = client.start(&post("/hold"), false).await;
    client.body(stream, "abc", false).await;
    assert_eq!(client.response(stream).await.status, 408);
    assert_eq!(lintel.record_of("/hold").await["fault"], "body_timeout");
    lintel.metric(TIMEOUTS, &[("kind", "body_idle")], 1.0).await;
    assert_eq!(client.get("/").await.text(), "one");
}

#[tokio::test]
async fn a_window_that_stays_shut_costs_the_stream() {
    let origin = Origin::scripted(serve);
    let lintel = listening("timeouts: { write_idle: 300ms }", &origin).await;
    let mut client = Http2::open_with(lintel.http(), &[(setting::INITIAL_WINDOW_SIZE, 0)]).await;
    let stream = client.start(&get("/stalls"), true).await;
    let reply = client.response(stream).await;
    assert_eq!((reply.status, reply.reset()), (200, Some(code::CANCEL)));
    assert_eq!(lintel.record_of("/stalls").await["fault"], "write_timeout");
    lintel.metric(TIMEOUTS, &[("kind", "write_idle")], 1.0).await;
    let head = client.exchange(&asking("HEAD", "/", &[]), b"").await;
    assert_eq!((head.status, head.is_whole()), (200, true), "what needs no window is served");
}

#[tokio::test]
async fn a_connection_whose_window_stays_shut_costs_its_streams() {
    let body = "x".repeat(40_000);
    let origin = Origin::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n{body}"));
    let lintel = listening("timeouts: { write_idle: 300ms }", &origin).await;
    let mut client = Http2::open(lintel.http()).await;
    client.replenishes = false;
    let streams = [client.start(&get("/1"), true).await, client.start(&get("/2"), true).await];
    let mut ends = Vec::new();
    for stream in streams {
        ends.push(client.response(stream).await.reset());
    }
    assert!(ends.contains(&Some(code::CANCEL)), "{ends:?}: 80000 bytes do not fit into 65535");
    lintel.metric(TIMEOUTS, &[("kind", "write_idle")], 1.0).await;
    client.grow(0, 1_000_000).await;
    assert_eq!(client.get("/3").await.text(), body);
}

#[tokio::test]
async fn bodies_for_servers_that_do_not_read_cost_little_memory() {
    let origin = Origin::scripted(serve);
    let lintel = listening("", &origin).await;
    let mut client = Http2::open(lintel.http()).await;
    client.ping().await;
    let before = lintel.resident_bytes();
    let mut streams = Vec::new();
    for _ in 0..128 {
        streams.push(client.start(&post("/stuck"), false).await);
    }
    let piece = vec![b'x'; 16_384];
    let mut sent = 0;
    for _ in 0..20 {
        for stream in &streams {
            let room = client.room(*stream).min(piece.len());
            if room > 0 {
                client.body(*stream, &piece[..room], false).await;
                sent += room;
            }
        }
        client.ping().await;
    }
    assert!(sent >= 1024 * 1024, "{sent}: the window of the connection at least");
    let grown = lintel.resident_bytes().saturating_sub(before);
    assert!(grown < 24 * 1024 * 1024, "{} KiB more for {sent} bytes", grown / 1024);
    assert_eq!(Http2::open(lintel.http()).await.get("/").await.text(), "one");
}
