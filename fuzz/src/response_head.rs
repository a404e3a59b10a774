//! Responses of a server by HTTP/1.1: the same however they are cut; what is accepted means one thing to the client.

use std::collections::VecDeque;

use lintel::proxy::forward::prepare_response;
use lintel::wire::body::{Framing, Piece};
use lintel::wire::h1::{ClientConnection, ServerConnection, response};
use lintel::wire::head::{Head, Method};
use lintel::wire::rules::{ResponseFraming, ResponsePlan};

use crate::cuts::{self, Cut};
use crate::heads::{Fields, Plain, cut_head, fields, framing_of};
use crate::memory::{Memory, drive};

/// More informational heads than any server sends.
const MOST_HEADS: usize = 100;

#[derive(Debug, Default, PartialEq)]
struct Answer {
    heads: VecDeque<(Plain, ResponseFraming)>,
    body: Option<(Vec<u8>, Option<Fields>)>,
}

pub fn check(input: &[u8]) {
    for method in ["GET", "HEAD"] {
        let whole = read(input, Cut::Whole, method);
        for cut in cuts::all(input) {
            assert_eq!(whole, read(input, cut, method), "{method}, {cut:?}");
        }
    }
}

fn read(input: &[u8], cut: Cut, method: &str) -> Answer {
    let (memory, stream) = Memory::ending(cut.pieces(input));
    let mut server = ClientConnection::boxed(stream);
    let mut request = Head::new();
    request.set_method(method.as_bytes());
    request.set_target(b"/");
    server.write_head(&request, Framing::Empty, None);
    let _ = drive(&memory, |cx| server.poll_flush(cx));
    memory.take_written();
    let mut answer = Answer::default();
    let mut head = Head::new();
    loop {
        match drive(&memory, |cx| server.poll_head(cx, &mut head)).expect("the connection ends") {
            Ok(()) => {}
            Err(_) => return answer,
        }
        let framing = server.response;
        if matches!(cut, Cut::Whole) {
            check_head(&head, framing, request.method());
        }
        answer.heads.push_back((Plain::of(&head), framing));
        if head.status >= 200 || head.status == 101 {
            break;
        }
        if answer.heads.len() == MOST_HEADS {
            return answer;
        }
    }
    if head.status == 101 {
        return answer;
    }
    let mut body = Vec::new();
    loop {
        match drive(&memory, |cx| server.poll_body(cx)).expect("the connection ends") {
            Ok(Piece::Bytes) => {
                let count = server.piece().len().div_ceil(2);
                body.extend_from_slice(&server.piece()[..count]);
                server.take(count);
            }
            Ok(Piece::End) => break,
            Err(_) => return answer,
        }
    }
    answer.body = Some((body, server.trailers().map(fields)));
    answer
}

/// What goes on to the client is one head with the framing that was planned, and reads as what the server sent.
pub fn check_head(head: &Head, framing: ResponseFraming, method: Method) {
    let (memory, stream) = Memory::ending(Vec::new());
    let mut client = ServerConnection::boxed(stream);
    let mut sent = head.clone();
    let body = if framing.body == Framing::Close { Framing::Chunked } else { framing.body };
    let nothing = matches!(body, Framing::Empty | Framing::Length(0));
    prepare_response(&mut sent, body);
    let informational = head.status < 200;
    if informational {
        client.write_informational(&sent);
    } else {
        client.write_head(&sent, ResponsePlan { body, keep_alive: true, named_length: None });
    }
    let _ = drive(&memory, |cx| client.poll_flush(cx));
    let bytes = memory.take_written();
    let (line, cut) = cut_head(&bytes);
    let start = format!("HTTP/1.1 {} ", head.status);
    assert_eq!(line, [start.as_bytes(), head.reason()].concat(), "another status line went on");
    let wanted = if nothing { Framing::Empty } else { body };
    assert_eq!(framing_of(&cut), wanted, "another framing went on: {}", String::from_utf8_lossy(&bytes));
    let mut again = Head::new();
    let read = response::parse(&bytes, method, &mut again);
    let read = read.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&bytes)));
    let bodyless = method == Method::Head || informational || matches!(head.status, 204 | 304);
    match (read.body, body) {
        (Framing::Empty, _) if bodyless => {}
        // A body of no bytes needs a length, which whoever plans the answer gives.
        (Framing::Close, Framing::Empty) => {}
        (read, _) => assert_eq!(read, wanted),
    }
    let kept: Vec<_> = fields(&sent);
    assert!(fields(&again).starts_with(&kept), "other fields went on");
}
