//! Frames that break a rule, or seem to, by the sections of RFC 9113. Each case has a connection of its own.

use super::{Case, Comes::*, case};
use crate::support::http2::{Frame, asking, code::*, encode, flag, get, kind, post, setting};

const ENDED: u8 = flag::END_HEADERS | flag::END_STREAM;

/// HEADERS of a GET that no server answers, on stream 1.
fn held() -> Frame {
    Frame::new(kind::HEADERS, ENDED, 1, encode(&get("/hold")))
}

/// HEADERS of a POST that has more to come, on stream 1.
fn open() -> Frame {
    Frame::new(kind::HEADERS, flag::END_HEADERS, 1, encode(&asking("POST", "/hold", &[])))
}

/// HEADERS with these flags and this payload, on this stream.
fn headers(flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Frame {
    Frame::new(kind::HEADERS, flags, stream, payload)
}

fn body(flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Frame {
    Frame::new(kind::BODY, flags, stream, payload)
}

/// A frame of this kind without flags.
fn plain(kind: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Frame {
    Frame::new(kind, 0, stream, payload)
}

fn set(name: u16, value: u32) -> Vec<Frame> {
    vec![Frame::settings(&[(name, value)])]
}

pub fn cases() -> Vec<Case> {
    let mut cases = frames();
    cases.extend(bodies());
    cases.extend(heads());
    cases.extend(blocks());
    cases.extend(settings());
    cases.extend(windows());
    cases.extend(others());
    cases
}

#[rustfmt::skip] // one line each
fn frames() -> Vec<Case> {
    let reserved = { let mut bytes = plain(kind::PING, 0, *b"12345678").bytes(); bytes[5] |= 0x80; bytes };
    vec![
        case("frame-unknown", &[plain(0xfa, 0, *b"anything")], Nothing, "RFC 9113 4.1: unknown kinds are ignored"),
        case("frame-unknown-on-idle-stream", &[plain(0xfa, 1, *b"anything")], Nothing, "RFC 9113 5.5: unknown kinds are ignored"),
        case("frame-unknown-flags", &[Frame::new(kind::PING, 0xfe, 0, *b"12345678")], Nothing, "RFC 9113 4.1: flags without a meaning are ignored"),
        Case { name: "frame-reserved-bit", sent: reserved, comes: Nothing, why: "RFC 9113 4.1: MUST be ignored" },
        case("size-of-data", &[open(), body(0, 1, vec![0; 16_385])], Either(&[FRAME_SIZE_ERROR]), "RFC 9113 4.2: beyond SETTINGS_MAX_FRAME_SIZE"),
        case("size-of-headers", &[headers(ENDED, 1, vec![0; 16_385])], Connection(&[FRAME_SIZE_ERROR]), "RFC 9113 4.2: a frame with a field block"),
        case("size-of-continuation", &[headers(flag::END_STREAM, 1, encode(&get("/"))), plain(kind::CONTINUATION, 1, vec![0; 16_385])], Connection(&[FRAME_SIZE_ERROR]), "RFC 9113 4.2: a frame with a field block"),
        case("size-of-unknown", &[plain(0xfa, 0, vec![0; 16_385])], Connection(&[FRAME_SIZE_ERROR]), "RFC 9113 4.2: on stream 0"),
        case("size-at-the-limit", &[plain(0xfa, 0, vec![0; 16_384])], Nothing, "RFC 9113 4.2: 2^14 are always allowed"),
    ]
}

#[rustfmt::skip] // one line each
fn bodies() -> Vec<Case> {
    vec![
        case("data-on-stream-0", &[body(0, 0, *b"abc")], Connection(&[PROTOCOL_ERROR]), "RFC 9113 6.1"),
        case("data-on-idle-stream", &[body(0, 1, *b"abc")], Connection(&[PROTOCOL_ERROR]), "RFC 9113 5.1: idle"),
        case("data-on-even-stream", &[body(0, 2, *b"abc")], Connection(&[PROTOCOL_ERROR]), "RFC 9113 5.1: idle"),
        case("data-after-the-end", &[held(), body(0, 1, *b"abc")], Either(&[STREAM_CLOSED]), "RFC 9113 5.1: half-closed (remote)"),
        case("data-padding-of-all", &[open(), body(flag::PADDED, 1, *b"\x03\0\0\0")], Nothing, "RFC 9113 6.1: as long as the rest is nothing but padding"),
        case("data-padding-too-long", &[open(), body(flag::PADDED, 1, *b"\x04\0\0\0")], Connection(&[PROTOCOL_ERROR]), "RFC 9113 6.1: padding of the payload's length or more"),
        case("data-padded-and-empty", &[open(), body(flag::PADDED, 1, *b"")], Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]), "RFC 9113 4.2: too small for its pad length"),
    ]
}

#[rustfmt::skip] // one line each
fn heads() -> Vec<Case> {
    let block = encode(&get("/hold"));
    let padded = |padding: u8| [&[padding], block.as_slice()].concat();
    let weighed = |dependency: [u8; 4]| [dependency.as_slice(), &[15], &block].concat();
    vec![
        case("headers-on-stream-0", &[headers(ENDED, 0, block.clone())], Connection(&[PROTOCOL_ERROR]), "RFC 9113 6.2"),
        case("headers-on-even-stream", &[headers(ENDED, 2, block.clone())], Connection(&[PROTOCOL_ERROR]), "RFC 9113 5.1.1: a client's are odd"),
        case("headers-on-lower-stream", &[headers(ENDED, 5, block.clone()), headers(ENDED, 3, block.clone())], Connection(&[PROTOCOL_ERROR, STREAM_CLOSED]), "RFC 9113 5.1.1: always greater"),
        case("headers-after-the-end", &[held(), headers(ENDED, 1, block.clone())], Either(&[STREAM_CLOSED]), "RFC 9113 5.1: half-closed (remote)"),
        case("headers-after-reset", &[held(), Frame::reset(1, CANCEL), headers(ENDED, 1, block.clone())], Either(&[STREAM_CLOSED, PROTOCOL_ERROR]), "RFC 9113 5.1: closed by the sender itself"),
        case("headers-padding-too-long", &[headers(ENDED | flag::PADDED, 1, padded(255))], Connection(&[PROTOCOL_ERROR]), "RFC 9113 6.2: padding beyond the frame"),
        case("headers-padded-and-empty", &[headers(ENDED | flag::PADDED, 1, *b"")], Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]), "RFC 9113 4.2: too small for its pad length"),
        case("headers-padded", &[headers(ENDED | flag::PADDED, 1, [padded(2), vec![0; 2]].concat())], Nothing, "RFC 9113 6.2"),
        case("headers-with-priority", &[headers(ENDED | flag::PRIORITY, 1, weighed([0, 0, 0, 0]))], Nothing, "RFC 9113 5.3.2: read and ignored"),
        case("headers-depend-on-themselves", &[headers(ENDED | flag::PRIORITY, 1, weighed([0, 0, 0, 1]))], Tolerated(PROTOCOL_ERROR), "RFC 7540 5.3.1: an error; RFC 9113 5.3.2: ignored"),
        case("headers-too-short-for-priority", &[headers(ENDED | flag::PRIORITY, 1, *b"\0\0\0")], Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]), "RFC 9113 4.2: too small for its fields"),
    ]
}

#[rustfmt::skip] // one line each
fn blocks() -> Vec<Case> {
    let block = encode(&get("/hold"));
    let begun = || headers(flag::END_STREAM, 1, &block[..9]);
    let rest = |stream| Frame::new(kind::CONTINUATION, flag::END_HEADERS, stream, &block[9..]);
    let bad = |name, bytes: &[u8], why| case(name, &[headers(ENDED, 1, [block.as_slice(), bytes].concat())], Connection(&[COMPRESSION_ERROR]), why);
    vec![
        case("continuation", &[begun(), rest(1)], Nothing, "RFC 9113 6.10"),
        case("continuation-empty", &[begun(), plain(kind::CONTINUATION, 1, *b""), rest(1)], Nothing, "RFC 9113 6.10: any number of them"),
        case("continuation-of-nothing", &[rest(1)], Connection(&[PROTOCOL_ERROR]), "RFC 9113 6.10: MUST follow a frame without END_HEADERS"),
        case("continuation-after-the-end", &[held(), rest(1)], Connection(&[PROTOCOL_ERROR]), "RFC 9113 6.10: END_HEADERS came"),
        case("continuation-on-another-stream", &[begun(), rest(3)], Connection(&[PROTOCOL_ERROR]), "RFC 9113 6.2: the same stream"),
        case("continuation-on-stream-0", &[begun(), rest(0)], Connection(&[PROTOCOL_ERROR]), "RFC 9113 6.10"),
        case("block-interrupted-by-data", &[begun(), body(0, 1, *b"abc")], Connection(&[PROTOCOL_ERROR]), "RFC 9113 4.3: contiguous"),
        case("block-interrupted-by-ping", &[begun(), plain(kind::PING, 0, *b"12345678")], Connection(&[PROTOCOL_ERROR]), "RFC 9113 4.3: contiguous"),
        case("block-interrupted-by-headers", &[begun(), headers(ENDED, 3, block.clone())], Connection(&[PROTOCOL_ERROR]), "RFC 9113 4.3: contiguous"),
        case("block-interrupted-by-priority", &[begun(), plain(kind::PRIORITY, 1, *b"\0\0\0\0\x0f")], Connection(&[PROTOCOL_ERROR]), "RFC 9113 4.3: contiguous"),
        case("block-interrupted-by-unknown", &[begun(), plain(0xfa, 1, *b"abc")], Connection(&[PROTOCOL_ERROR]), "RFC 9113 5.5: not in the middle of a block"),
        bad("hpack-index-0", b"\x80", "RFC 7541 6.1: MUST be an error"),
        bad("hpack-index-beyond", b"\xff\x10", "RFC 7541 2.3.3: no such entry"),
        bad("hpack-name-index-beyond", b"\x7f\x10\x01a", "RFC 7541 2.3.3: no such entry"),
        bad("hpack-cut-off", b"\x00\x05ab", "RFC 7541 5.2: a string beyond its block"),
        bad("hpack-integer-without-end", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "RFC 7541 5.1: an overflow is an error"),
        bad("hpack-length-without-end", b"\x00\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "RFC 7541 5.1: an overflow is an error"),
        bad("hpack-size-inside-a-block", b"\x20", "RFC 7541 4.2: at the beginning of a block"),
        bad("huffman-padding-of-zeros", b"\x00\x81\x18\x01x", "RFC 7541 5.2: padding is of ones"),
        bad("huffman-padding-too-long", b"\x00\x82\x1f\xff\x01x", "RFC 7541 5.2: fewer than 8 bits"),
        bad("huffman-end-of-string", b"\x00\x84\xff\xff\xff\xff\x01x", "RFC 7541 5.2: EOS MUST be an error"),
        case("hpack-size-beyond-the-setting", &[headers(ENDED, 1, [b"\x3f\xe2\xff\x03".as_slice(), &block].concat())], Connection(&[COMPRESSION_ERROR]), "RFC 7541 6.3: beyond SETTINGS_HEADER_TABLE_SIZE"),
        case("hpack-size-at-the-start", &[headers(ENDED, 1, [b"\x20\x3f\xe1\x1f".as_slice(), &block].concat())], Nothing, "RFC 7541 4.2: 0, then 4096"),
    ]
}

#[rustfmt::skip] // one line each
fn settings() -> Vec<Case> {
    vec![
        case("settings-on-a-stream", &[plain(kind::SETTINGS, 1, *b"")], Connection(&[PROTOCOL_ERROR]), "RFC 9113 6.5"),
        case("settings-of-5-bytes", &[plain(kind::SETTINGS, 0, *b"\0\x03\0\0\0")], Connection(&[FRAME_SIZE_ERROR]), "RFC 9113 6.5: a multiple of 6"),
        case("settings-ack-with-payload", &[Frame::new(kind::SETTINGS, flag::ACK, 0, *b"\0\x03\0\0\0\x01")], Connection(&[FRAME_SIZE_ERROR]), "RFC 9113 6.5: an ACK is empty"),
        case("settings-ack-of-nothing", &[Frame::new(kind::SETTINGS, flag::ACK, 0, *b"")], Tolerated(PROTOCOL_ERROR), "RFC 9113 6.5: says nothing about it"),
        case("settings-unknown", &set(0xfafa, 7), Nothing, "RFC 9113 6.5.2: MUST be ignored"),
        case("settings-push-off", &set(setting::ENABLE_PUSH, 0), Nothing, "RFC 9113 6.5.2"),
        case("settings-push-2", &set(setting::ENABLE_PUSH, 2), Connection(&[PROTOCOL_ERROR]), "RFC 9113 6.5.2: 0 or 1"),
        case("settings-window-largest", &set(setting::INITIAL_WINDOW_SIZE, 0x7fff_ffff), Nothing, "RFC 9113 6.5.2: 2^31-1"),
        case("settings-window-too-large", &set(setting::INITIAL_WINDOW_SIZE, 0x8000_0000), Connection(&[FLOW_CONTROL_ERROR]), "RFC 9113 6.5.2: beyond 2^31-1"),
        case("settings-frame-size-too-small", &set(setting::MAX_FRAME_SIZE, 16_383), Connection(&[PROTOCOL_ERROR]), "RFC 9113 6.5.2: 2^14 at least"),
        case("settings-frame-size-too-large", &set(setting::MAX_FRAME_SIZE, 1 << 24), Connection(&[PROTOCOL_ERROR]), "RFC 9113 6.5.2: 2^24-1 at most"),
        case("settings-frame-size-largest", &set(setting::MAX_FRAME_SIZE, (1 << 24) - 1), Nothing, "RFC 9113 6.5.2"),
        case("settings-table-0", &set(setting::HEADER_TABLE_SIZE, 0), Nothing, "RFC 9113 6.5.2"),
        case("settings-table-largest", &set(setting::HEADER_TABLE_SIZE, u32::MAX), Nothing, "RFC 9113 6.5.2: may be larger than anybody has memory for"),
        case("settings-streams-0", &set(setting::MAX_CONCURRENT_STREAMS, 0), Nothing, "RFC 9113 6.5.2: of pushes, which there are none of"),
        case("settings-connect-protocol-2", &set(setting::ENABLE_CONNECT_PROTOCOL, 2), Tolerated(PROTOCOL_ERROR), "RFC 8441 3: 0 or 1; of no effect when a client sends it"),
        case("settings-the-same-twice", &[Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, 1), (setting::INITIAL_WINDOW_SIZE, 100)])], Nothing, "RFC 9113 6.5.3: in order, the last one counts"),
    ]
}

#[rustfmt::skip] // one line each
fn windows() -> Vec<Case> {
    let most = 0x7fff_ffff;
    let wider = Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, 65_536)]);
    vec![
        case("window-0-of-connection", &[Frame::window_update(0, 0)], Connection(&[PROTOCOL_ERROR]), "RFC 9113 6.9"),
        case("window-0-of-stream", &[held(), Frame::window_update(1, 0)], Stream(PROTOCOL_ERROR), "RFC 9113 6.9: a stream's error"),
        case("window-reserved-bit", &[Frame::window_update(0, 0x8000_0000)], Connection(&[PROTOCOL_ERROR]), "RFC 9113 6.9: without the reserved bit, 0"),
        case("window-of-3-bytes", &[plain(kind::WINDOW_UPDATE, 0, *b"\0\0\x01")], Connection(&[FRAME_SIZE_ERROR]), "RFC 9113 6.9"),
        case("window-of-idle-stream", &[Frame::window_update(1, 1)], Connection(&[PROTOCOL_ERROR]), "RFC 9113 5.1: idle"),
        case("window-of-ended-stream", &[held(), Frame::window_update(1, 1)], Nothing, "RFC 9113 6.9: half-closed (remote)"),
        case("window-of-reset-stream", &[held(), Frame::reset(1, CANCEL), Frame::window_update(1, 1)], Tolerated(STREAM_CLOSED), "RFC 9113 5.1: closed"),
        case("window-of-connection-too-large", &[Frame::window_update(0, most)], Connection(&[FLOW_CONTROL_ERROR]), "RFC 9113 6.9.1: beyond 2^31-1"),
        case("window-of-connection-largest", &[Frame::window_update(0, most - 65_535)], Nothing, "RFC 9113 6.9.1: 2^31-1"),
        case("window-of-stream-too-large", &[held(), Frame::window_update(1, most)], Stream(FLOW_CONTROL_ERROR), "RFC 9113 6.9.1: a stream's error"),
        case("window-by-settings-too-large", &[held(), Frame::window_update(1, most - 65_535), wider], Connection(&[FLOW_CONTROL_ERROR]), "RFC 9113 6.9.2: of the connection"),
    ]
}

#[rustfmt::skip] // one line each
fn others() -> Vec<Case> {
    let finished = headers(ENDED, 1, encode(&post("/")));
    let promise = [&[0, 0, 0, 2], encode(&get("/")).as_slice()].concat();
    vec![
        case("priority", &[plain(kind::PRIORITY, 3, *b"\0\0\0\0\x0f")], Nothing, "RFC 9113 6.3: on any stream, ignored"),
        case("priority-on-stream-0", &[plain(kind::PRIORITY, 0, *b"\0\0\0\0\x0f")], Connection(&[PROTOCOL_ERROR]), "RFC 9113 6.3"),
        case("priority-of-4-bytes", &[held(), plain(kind::PRIORITY, 1, *b"\0\0\0\0")], Either(&[FRAME_SIZE_ERROR]), "RFC 9113 6.3: a stream's error"),
        case("priority-on-itself", &[held(), plain(kind::PRIORITY, 1, *b"\0\0\0\x01\x0f")], Tolerated(PROTOCOL_ERROR), "RFC 7540 5.3.1: an error; RFC 9113 6.3: ignored"),
        case("reset-on-stream-0", &[Frame::reset(0, CANCEL)], Connection(&[PROTOCOL_ERROR]), "RFC 9113 6.4"),
        case("reset-of-idle-stream", &[Frame::reset(1, CANCEL)], Connection(&[PROTOCOL_ERROR]), "RFC 9113 6.4"),
        case("reset-of-3-bytes", &[held(), plain(kind::RST_STREAM, 1, *b"\0\0\0")], Connection(&[FRAME_SIZE_ERROR]), "RFC 9113 6.4"),
        case("reset-twice", &[held(), Frame::reset(1, CANCEL), Frame::reset(1, CANCEL)], Tolerated(STREAM_CLOSED), "RFC 9113 5.1: closed"),
        case("reset-with-unknown-code", &[held(), Frame::reset(1, 0xdead)], Nothing, "RFC 9113 7: no special treatment"),
        case("ping-on-a-stream", &[finished.clone(), plain(kind::PING, 1, *b"12345678")], Connection(&[PROTOCOL_ERROR]), "RFC 9113 6.7"),
        case("ping-of-7-bytes", &[plain(kind::PING, 0, *b"1234567")], Connection(&[FRAME_SIZE_ERROR]), "RFC 9113 6.7"),
        case("ping-of-9-bytes", &[plain(kind::PING, 0, *b"123456789")], Connection(&[FRAME_SIZE_ERROR]), "RFC 9113 6.7"),
        case("ping-ack-of-nothing", &[Frame::new(kind::PING, flag::ACK, 0, *b"12345678")], Nothing, "RFC 9113 6.7: MUST NOT be answered"),
        case("goaway-on-a-stream", &[finished, plain(kind::GOAWAY, 1, *b"\0\0\0\0\0\0\0\0")], Connection(&[PROTOCOL_ERROR]), "RFC 9113 6.8"),
        case("goaway-of-7-bytes", &[plain(kind::GOAWAY, 0, *b"\0\0\0\0\0\0\0")], Connection(&[FRAME_SIZE_ERROR]), "RFC 9113 4.2: too small for its fields"),
        case("push-promise", &[Frame::new(kind::PUSH_PROMISE, flag::END_HEADERS, 1, promise)], Connection(&[PROTOCOL_ERROR]), "RFC 9113 8.4: a client cannot push"),
        case("push-promise-on-open-stream", &[open(), Frame::new(kind::PUSH_PROMISE, flag::END_HEADERS, 1, [0, 0, 0, 2])], Connection(&[PROTOCOL_ERROR]), "RFC 9113 8.4: a client cannot push"),
    ]
}
