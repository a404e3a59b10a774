//! Answers frame by frame from a scripted server: those that are read, those that are refused, and what is sent back.

use proptest::prelude::*;
use tokio::io::duplex;

use super::*;

const WHOLE: u8 = flag::END_HEADERS | flag::END_STREAM;

/// A frame as bytes.
fn framed(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write(&mut out, kind, flags, stream, payload);
    out
}

fn settings() -> Vec<u8> {
    framed(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let (mut out, mut encoder) = (Vec::new(), Encoder::new());
    encoder.begin(&mut out);
    for (name, value) in fields {
        encoder.field(&mut out, name.as_bytes(), value.as_bytes());
    }
    out
}

fn head(flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    framed(kind::HEADERS, flags, 1, &block(fields))
}

fn go_away(last: u32, code: ErrorCode, debug: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write_go_away(&mut out, last, code, debug);
    out
}

fn reset(code: ErrorCode) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write_reset(&mut out, 1, code);
    out
}

/// What a server sends once it has the request; its end of the connection is closed behind it.
fn script(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = settings();
    frames.iter().for_each(|frame| bytes.extend_from_slice(frame));
    bytes
}

/// A server that sends these bytes in pieces; all that it was sent comes from the second.
fn server(bytes: Vec<u8>, piece: usize) -> (tokio::io::DuplexStream, tokio::task::JoinHandle<Vec<u8>>) {
    let (ours, mut theirs) = duplex(1 << 20);
    let heard = tokio::spawn(async move {
        for piece in bytes.chunks(piece) {
            theirs.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        theirs.shutdown().await.unwrap();
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.unwrap();
        heard
    });
    (ours, heard)
}

fn get() -> Box<[u8]> {
    opening(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "app:1")], &[])
}

async fn status_of_script(bytes: Vec<u8>) -> Result<u16, Failure> {
    status(server(bytes, 1 << 20).0, &get()).await
}

async fn answer_of(frames: &[Vec<u8>]) -> Result<Answer, Failure> {
    answer(server(script(frames), 1 << 20).0, &get(), |_| true).await
}

/// The frames behind the preface.
fn frames_in(bytes: &[u8]) -> Vec<(FrameHeader, Vec<u8>)> {
    let mut rest = bytes.strip_prefix(frame::PREFACE).expect("the preface comes first");
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let header = FrameHeader::parse(rest).expect("a whole header");
        frames.push((header, rest[frame::HEADER..frame::HEADER + header.length].to_vec()));
        rest = &rest[frame::HEADER + header.length..];
    }
    frames
}

fn fields_in(block: &[u8]) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Decoder::new(4096).decode(block, &mut |name, value| fields.push((text(name), text(value)))).unwrap();
    fields
}

#[test]
fn a_request_is_all_there_at_once() {
    let fields = [(":method", "POST"), (":path", "/a/B"), ("te", "trailers")];
    let frames = frames_in(&opening(&fields, b"body"));
    let kinds: Vec<_> = frames.iter().map(|(header, _)| (header.kind, header.flags, header.stream)).collect();
    let expected =
        [(kind::SETTINGS, 0, 0), (kind::HEADERS, flag::END_HEADERS, 1), (kind::BODY, flag::END_STREAM, 1)];
    assert_eq!(kinds, expected);
    assert_eq!(frames[0].1[..6], [0, 2, 0, 0, 0, 0], "no pushes");
    let sent = fields_in(&frames[1].1);
    assert!(sent.iter().map(|(name, value)| (&**name, &**value)).eq(fields));
    assert_eq!(frames[2].1, b"body");
    assert_eq!(frames_in(&get())[1].0.flags, WHOLE, "a request without a body ends with its head");
}

#[test]
fn a_long_head_goes_on_in_continuation() {
    let path = format!("/{}", "x".repeat(40_000));
    let frames = frames_in(&opening(&[(":method", "GET"), (":path", &path)], &[]));
    let kinds: Vec<_> = frames[1..].iter().map(|(header, _)| (header.kind, header.flags)).collect();
    let expected =
        [(kind::HEADERS, flag::END_STREAM), (kind::CONTINUATION, 0), (kind::CONTINUATION, flag::END_HEADERS)];
    assert_eq!(kinds, expected);
    let whole: Vec<u8> = frames[1..].iter().flat_map(|(_, piece)| piece.clone()).collect();
    assert_eq!(fields_in(&whole)[1].1, path);
}

#[tokio::test]
async fn the_status_of_the_final_head_counts() {
    let frames = [
        framed(kind::WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0]),
        framed(0x42, 0xff, 7, b"nobody knows"),
        head(flag::END_HEADERS, &[(":status", "103"), ("link", "</a>")]),
        framed(kind::PRIORITY, 0, 1, &[0; 5]),
        go_away(frame::MAX_STREAM, ErrorCode::NoError, "soon"),
        head(flag::END_HEADERS, &[(":status", "204"), ("server", "x")]),
    ];
    for piece in [1, 3, 1 << 20] {
        let (stream, _) = server(script(&frames), piece);
        assert_eq!(status(stream, &get()).await.unwrap(), 204, "in pieces of {piece}");
    }
}

#[tokio::test]
async fn settings_and_pings_are_acknowledged_and_the_end_is_said() {
    let frames = [
        framed(kind::PING, 0, 0, b"12345678"),
        framed(kind::PING, flag::ACK, 0, b"87654321"),
        framed(kind::SETTINGS, flag::ACK, 0, &[]),
        head(WHOLE, &[(":status", "200")]),
    ];
    let (stream, heard) = server(script(&frames), 1 << 20);
    assert_eq!(status(stream, &get()).await.unwrap(), 200);
    let heard = frames_in(&heard.await.unwrap());
    let replies: Vec<_> =
        heard[2..].iter().map(|(header, payload)| (header.kind, header.flags, &**payload)).collect();
    let expected: [(u8, u8, &[u8]); 3] = [
        (kind::SETTINGS, flag::ACK, b""),
        (kind::PING, flag::ACK, b"12345678"),
        (kind::GOAWAY, 0, &[0, 0, 0, 0, 0, 0, 0, 0]),
    ];
    assert_eq!(replies, expected);
}

#[tokio::test]
async fn header_blocks_are_joined_and_their_padding_is_taken_off() {
    let fields = block(&[(":status", "200"), ("content-type", "application/grpc")]);
    let (front, back) = fields.split_at(7);
    let first = [&[3, 0, 0, 0, 0, 16][..], front, &[0; 3]].concat();
    let frames = [
        framed(kind::HEADERS, flag::PADDED | flag::PRIORITY, 1, &first),
        framed(kind::CONTINUATION, 0, 1, &[]),
        framed(kind::CONTINUATION, flag::END_HEADERS, 1, back),
        framed(kind::BODY, flag::PADDED, 1, b"\x02ab\0\0"),
        framed(kind::BODY, 0, 1, b"cd"),
        head(WHOLE, &[("grpc-status", "0"), ("grpc-message", "fine")]),
    ];
    let answer = answer_of(&frames).await.unwrap();
    assert_eq!((answer.status, &*answer.body), (200, b"abcd".as_slice()));
    assert_eq!(answer.head.content_type.as_deref(), Some(b"application/grpc".as_slice()));
    let trailers = answer.trailers.unwrap();
    assert_eq!(trailers.grpc_status.as_deref(), Some(b"0".as_slice()));
    assert_eq!(trailers.grpc_message.as_deref(), Some(b"fine".as_slice()));
}

#[tokio::test]
async fn an_answer_may_end_with_its_head_or_its_body() {
    let alone = answer_of(&[head(WHOLE, &[(":status", "200"), ("grpc-status", "5")])]).await.unwrap();
    assert!(alone.trailers.is_none() && alone.head.grpc_status.as_deref() == Some(b"5"));
    let frames = [
        head(flag::END_HEADERS, &[(":status", "200")]),
        framed(kind::BODY, flag::END_STREAM, 1, b"hello"),
        reset(ErrorCode::NoError),
    ];
    let page = answer_of(&frames).await.unwrap();
    assert!(page.trailers.is_none() && page.body == b"hello");
}

#[tokio::test]
async fn an_answer_whose_head_is_not_wanted_is_not_read_on() {
    let frames = [
        head(flag::END_HEADERS, &[(":status", "404"), ("content-type", "text/html")]),
        framed(kind::BODY, 0, 1, b"<html>"),
    ];
    let page = answer(server(script(&frames), 1 << 20).0, &get(), |_| false).await.unwrap();
    assert_eq!((page.status, page.body.len()), (404, 0));
}

#[tokio::test]
async fn later_blocks_refer_to_what_earlier_ones_said() {
    // A literal that enters the dynamic table, and later its index there, 62.
    let interim = [&block(&[(":status", "103")])[..], b"\x40\x0bgrpc-status\x0214"].concat();
    let last = [&block(&[(":status", "200")])[..], b"\xbe"].concat();
    let frames =
        [framed(kind::HEADERS, flag::END_HEADERS, 1, &interim), framed(kind::HEADERS, WHOLE, 1, &last)];
    assert_eq!(answer_of(&frames).await.unwrap().head.grpc_status.as_deref(), Some(b"14".as_slice()));
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_named() {
    for (bytes, said) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(), "answered by HTTP/1, not by HTTP/2"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "answered bytes that are not HTTP/2"),
        // A TLS alert.
        (b"\x15\x03\x03\0\x02\x02\x46", "answered bytes that are not HTTP/2"),
        (b"", "closed the connection without an answer"),
    ] {
        assert_eq!(status_of_script(bytes.to_vec()).await.unwrap_err().to_string(), said);
    }
    let headers_first = head(WHOLE, &[(":status", "200")]);
    let failure = status_of_script(headers_first).await.unwrap_err();
    assert_eq!(failure.to_string(), "answered bytes that are not HTTP/2");
}

#[tokio::test]
async fn an_end_before_the_answer_says_why() {
    let begun = || head(flag::END_HEADERS, &[(":status", "200")]);
    for (frames, said) in [
        (vec![], "closed the connection without an answer"),
        (vec![begun()], "closed the connection within its answer"),
        (vec![reset(ErrorCode::RefusedStream)], "reset the request (RST_STREAM refused_stream)"),
        (vec![begun(), reset(ErrorCode::Internal)], "reset the request (RST_STREAM internal_error)"),
        (vec![reset(ErrorCode::Other(0x77))], "reset the request (RST_STREAM 0x77)"),
        (vec![go_away(0, ErrorCode::NoError, "")], "ended the connection (GOAWAY no_error)"),
        (
            vec![go_away(1, ErrorCode::EnhanceYourCalm, "too\nmany")],
            "ended the connection (GOAWAY enhance_your_calm): too\u{fffd}many",
        ),
        (vec![go_away(1, ErrorCode::NoError, "")], "closed the connection without an answer"),
    ] {
        assert_eq!(answer_of(&frames).await.unwrap_err().to_string(), said);
    }
    let long = go_away(0, ErrorCode::Internal, &"x".repeat(1000));
    assert!(answer_of(&[long]).await.unwrap_err().to_string().len() < 300);
}

#[tokio::test]
async fn broken_rules_are_told() {
    let begun = || head(flag::END_HEADERS, &[(":status", "200")]);
    let unfinished = || framed(kind::HEADERS, 0, 1, &block(&[(":status", "200")]));
    for (frames, said) in [
        (vec![framed(kind::BODY, 0, 1, b"x")], "a body comes before its head"),
        (vec![head(WHOLE, &[("server", "x")])], "a head has no `:status`"),
        (vec![head(WHOLE, &[(":status", "20")])], "`:status` is not a number of three digits"),
        (vec![head(WHOLE, &[(":status", "2 0")])], "`:status` is not a number of three digits"),
        (vec![head(WHOLE, &[(":status", "200"), (":status", "200")])], "a head has two `:status`"),
        (vec![head(flag::END_HEADERS, &[(":status", "101")])], "it answers with 101"),
        (vec![head(WHOLE, &[(":status", "100")])], "a 1xx ends the answer"),
        (vec![begun(), begun()], "a head comes after the final one"),
        (vec![begun(), head(flag::END_HEADERS, &[("x", "y")])], "a head comes after the final one"),
        (vec![unfinished(), settings()], "a header block is interrupted"),
        (
            vec![unfinished(), framed(kind::CONTINUATION, flag::END_HEADERS, 3, &[])],
            "a header block is interrupted",
        ),
        (vec![framed(kind::CONTINUATION, 0, 1, &[])], "CONTINUATION follows no HEADERS"),
        (vec![framed(kind::PUSH_PROMISE, 0, 1, &[0, 0, 0, 2])], "it pushes, which was ruled out"),
        (vec![framed(kind::HEADERS, WHOLE, 2, &[0x88])], "a frame is on a stream that it cannot be on"),
        (vec![framed(kind::PING, 0, 1, &[0; 8])], "a frame is on a stream that it cannot be on"),
        (vec![framed(kind::PING, 0, 0, &[0; 7])], "a frame does not have the size of its kind"),
        (vec![framed(kind::SETTINGS, 0, 0, &[0; 5])], "a frame does not have the size of its kind"),
        (vec![framed(kind::SETTINGS, flag::ACK, 0, &[0; 6])], "a frame does not have the size of its kind"),
        (vec![framed(kind::GOAWAY, 0, 0, &[0; 7])], "a frame does not have the size of its kind"),
        (vec![framed(kind::RST_STREAM, 0, 1, &[0; 3])], "a frame does not have the size of its kind"),
        (
            vec![framed(kind::SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 1])],
            "ENABLE_PUSH is not a value that this side may send",
        ),
        (
            vec![framed(kind::HEADERS, WHOLE | flag::PADDED, 1, &[9, 0x88])],
            "the padding of a frame is longer than the frame",
        ),
        (vec![framed(kind::HEADERS, WHOLE, 1, &[0x80])], "index 0 is used as the index of a field"),
    ] {
        let failure = answer_of(&frames).await.unwrap_err().to_string();
        assert_eq!(failure, format!("broke a rule of HTTP/2: {said}"));
    }
}

#[tokio::test]
async fn all_that_a_server_sends_is_bounded() {
    let too_large = "answered a head of more than 16KiB or 256 fields";
    let long = "x".repeat(HEAD_LIMIT / 2);
    let half = framed(kind::HEADERS, 0, 1, &block(&[(":status", "200"), ("x", &long)]));
    let rest = framed(kind::CONTINUATION, 0, 1, &block(&[("x", &long)]));
    assert_eq!(answer_of(&[half, rest]).await.unwrap_err().to_string(), too_large);
    // A few bytes that say much: one long field, and then its index again and again.
    let long = "x".repeat(1000);
    let bomb = [&[0x40, 1, b'x', 0x7f, 0xe9, 0x06][..], long.as_bytes(), &[0xbe; 100]].concat();
    let bomb = framed(kind::HEADERS, WHOLE, 1, &bomb);
    assert_eq!(answer_of(&[bomb]).await.unwrap_err().to_string(), too_large);
    let many = vec![("a", ""); FIELD_LIMIT + 1];
    assert_eq!(answer_of(&[head(WHOLE, &many)]).await.unwrap_err().to_string(), too_large);
    let interim = head(flag::END_HEADERS, &[(":status", "103"), ("x", &long)]);
    assert_eq!(answer_of(&vec![interim; 20]).await.unwrap_err().to_string(), too_large);

    let mut frames = vec![head(flag::END_HEADERS, &[(":status", "200")])];
    frames.extend(vec![framed(kind::BODY, 0, 1, &[0; 16 * 1024]); 5]);
    assert_eq!(answer_of(&frames).await.unwrap_err().to_string(), "answered a body of more than 64KiB");

    let pings = vec![framed(kind::PING, flag::ACK, 0, &[0; 8]); 1000];
    let failure = answer_of(&pings).await.unwrap_err().to_string();
    assert_eq!(failure, "broke a rule of HTTP/2: 1000 frames are no answer yet");
    let failure = answer_of(&[framed(0x42, 0, 0, &[0; 16 * 1024 + 1])]).await.unwrap_err().to_string();
    assert_eq!(failure, "broke a rule of HTTP/2: a frame is larger than 16KiB");
}

#[tokio::test]
async fn an_answer_is_read_though_the_server_takes_no_more() {
    let (ours, mut theirs) = duplex(1 << 20);
    theirs.write_all(&script(&[head(WHOLE, &[(":status", "200")])])).await.unwrap();
    // What is sent behind the request comes to nobody.
    let request = get();
    let mut connection = Connection::open(ours, &request).await.unwrap();
    drop(theirs);
    assert_eq!(connection.final_head().await.unwrap().0, 200);
    connection.leave().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_frames_end_in_an_answer_or_a_reason(
        frames in proptest::collection::vec(
            (0_u8..11, any::<u8>(), 0_u32..3, proptest::collection::vec(any::<u8>(), 0..24)),
            0..12,
        ),
        tail in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut frames: Vec<_> =
            frames.iter().map(|(kind, flags, stream, payload)| framed(*kind, *flags, *stream, payload)).collect();
        frames.push(tail);
        runtime.block_on(async {
            let _ = answer_of(&frames).await;
            let _ = status_of_script(frames.concat()).await;
        });
    }
}
