//! Requests on a connection of HTTP/1.1: the same however they are cut; what is accepted means one thing.

use lintel::wire::body::{Framing, Piece};
use lintel::wire::h1::{ServerConnection, request};
use lintel::wire::head::Head;
use lintel::wire::rules::{Limits, RequestFraming};

use crate::cuts::{self, Cut};
use crate::heads::{Fields, Plain, WIDE, check_onward, fields};
use crate::memory::{Memory, drive};

/// Small, so that they are reached.
const LIMITS: Limits = Limits { head: 2048, fields: 24, target: 512 };
const BODY_LIMIT: u64 = 1500;

#[derive(Debug, PartialEq)]
struct Message {
    head: Plain,
    framing: RequestFraming,
    /// `None` where it could not be read to its end.
    body: Option<(Vec<u8>, Option<Fields>)>,
}

#[derive(Debug, PartialEq)]
enum End {
    Clean,
    /// The client asked for no more.
    Closes,
    Refused,
}

pub fn check(input: &[u8]) {
    let whole = read(input, Cut::Whole);
    for cut in cuts::all(input) {
        let parts = read(input, cut);
        assert_eq!(whole.0, parts.0, "{cut:?} reads other requests");
        assert_eq!(whole.1, parts.1, "{cut:?} ends in another way");
    }
}

fn read(input: &[u8], cut: Cut) -> (Vec<Message>, End) {
    let (memory, stream) = Memory::ending(cut.pieces(input));
    let mut client = ServerConnection::boxed(stream);
    let mut messages = Vec::new();
    let mut head = Head::new();
    loop {
        match drive(&memory, |cx| client.poll_head(cx, LIMITS, &mut head)).expect("the connection ends") {
            Ok(true) => {}
            Ok(false) => return (messages, End::Clean),
            Err(_) => return (messages, End::Refused),
        }
        let framing = client.request;
        if matches!(cut, Cut::Whole) {
            check_head(&head, framing);
        }
        client.begin_request_body(BODY_LIMIT);
        let body = read_body(&memory, &mut client, framing.body);
        let is_whole = body.is_some();
        messages.push(Message { head: Plain::of(&head), framing, body });
        match (is_whole, framing.keep_alive) {
            (false, _) => return (messages, End::Refused),
            (true, false) => return (messages, End::Closes),
            (true, true) => {}
        }
    }
}

fn read_body(
    memory: &Memory,
    client: &mut ServerConnection,
    framing: Framing,
) -> Option<(Vec<u8>, Option<Fields>)> {
    let mut body = Vec::new();
    loop {
        match drive(memory, |cx| client.poll_body(cx)).expect("the connection ends") {
            Ok(Piece::Bytes) => {
                let piece = client.piece();
                assert!(!piece.is_empty());
                // Not all at once, as a slow server takes it.
                let count = piece.len().div_ceil(2);
                body.extend_from_slice(&piece[..count]);
                client.take(count);
            }
            Ok(Piece::End) => break,
            Err(_) => return None,
        }
    }
    assert!(client.is_body_done() && client.body_read() == body.len() as u64);
    if let Framing::Length(length) = framing {
        assert_eq!(length, body.len() as u64);
    }
    Some((body, client.trailers().map(fields)))
}

/// What is accepted is the same when it is written anew, and when it is sent on.
fn check_head(head: &Head, framing: RequestFraming) {
    let mut text = [head.method_text().as_bytes(), b" ", head.target(), b" "].concat();
    text.extend_from_slice(head.version.as_str().as_bytes());
    text.extend_from_slice(b"\r\n");
    head.lines().for_each(|lines| text.extend_from_slice(lines));
    text.extend_from_slice(b"\r\n");
    let mut again = Head::new();
    let read = request::parse(&text, WIDE, &mut again);
    assert_eq!(read, Ok(framing), "written anew: {}", String::from_utf8_lossy(&text));
    assert_eq!(Plain::of(head), Plain::of(&again));
    check_onward(head, framing.body);
}
