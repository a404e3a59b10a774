//! A server of HTTP/2 that answers with anything: no panic, no endless loop, and every response that is taken means one
//! thing also in HTTP/1.1.

use std::task::{Context, Poll, Waker};

use lintel::wire::body::{Framing, Piece};
use lintel::wire::h2::driver::Driver;
use lintel::wire::h2::frame::kind;
use lintel::wire::h2::{ClientSession, ClientStream};
use lintel::wire::head::{Head, Method};

use crate::cuts::{self, Cut};
use crate::h2_wire::{MOST_PENDING, Script, bytes_of};
use crate::heads::{Plain, fields};
use crate::memory::Memory;
use crate::response_head::check_head;

const METHODS: [&str; 3] = ["GET", "HEAD", "POST"];

/// Bytes of the POST's body.
const BODY: usize = 100_000;

/// Informational heads after which nobody waits for the final one any more, as in `proxy::attempt`. A session holds twice as
/// many, and refuses more, so that how many come by would else depend on how fast they are taken.
const MOST_INFORMATIONAL: usize = 32;

pub fn check(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let script = Script::of(*first);
    let bytes = bytes_of(script, rest, &[0, 0, 0, kind::SETTINGS, 0, 0, 0, 0, 0]);
    let whole = Run::new(&bytes, Cut::Whole, script).run();
    let [_, fine, _, coarse] = cuts::all(input);
    let other = if bytes.len() < 2000 { fine } else { coarse };
    let parts = Run::new(&bytes, other, script).run();
    if script.plot == 0 && !script.is_slow {
        for (whole, parts) in whole.iter().zip(&parts) {
            assert_eq!(whole.heads, parts.heads, "{other:?}: other heads");
            assert_eq!(whole.ended, parts.ended, "{other:?}: another end");
            // Of a body that is cut short, more or less may have been read by then.
            assert!(whole.ended.is_none() || whole.body == parts.body, "{other:?}: another body");
        }
    }
}

struct Run {
    memory: Memory,
    session: ClientSession,
    driver: Driver,
    script: Script,
    asked: Vec<Asking>,
    steps_left: usize,
}

struct Asking {
    stream: Option<ClientStream>,
    method: Method,
    to_send: usize,
    answer: Answer,
}

/// What came of one request.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    heads: Vec<(Plain, Framing)>,
    body: Vec<u8>,
    /// The body came to its end, with these trailers.
    ended: Option<Vec<(String, Vec<u8>)>>,
}

impl Run {
    fn new(bytes: &[u8], cut: Cut, script: Script) -> Self {
        let (memory, stream) = Memory::ending(cut.pieces(bytes));
        let (session, driver) = ClientSession::new(stream);
        let steps_left = 100_000 + 40 * bytes.len();
        Self { memory, session, driver, script, asked: Vec::new(), steps_left }
    }

    fn run(mut self) -> Vec<Answer> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut room = 40_000usize;
        if self.script.is_slow {
            self.memory.set_room(200);
        }
        METHODS.iter().for_each(|method| self.ask(method));
        loop {
            assert!(self.steps_left > 0, "it goes on for ever");
            self.steps_left -= 1;
            let before = self.memory.events();
            match self.driver.poll(&mut cx) {
                Poll::Ready(Ok(_)) => continue,
                Poll::Ready(Err(_)) => break,
                Poll::Pending => {}
            }
            let mut moved = false;
            for asking in &mut self.asked {
                moved |= asking.go_on(&mut cx, self.script.plot);
            }
            if moved || self.memory.events() != before {
                continue;
            }
            assert!(self.script.is_slow, "neither side can go on, and the server reads everything");
            self.memory.take_written();
            self.memory.hold(true);
            self.memory.set_room(usize::MAX);
            let _ = self.driver.poll(&mut cx).map_ok(|_| ());
            let pending = self.memory.take_written().len();
            assert!(pending <= MOST_PENDING, "{pending} bytes were held for a server that reads nothing");
            self.memory.hold(false);
            room = room.saturating_mul(2);
            self.memory.set_room(room);
        }
        // What came before the end can still be read.
        for asking in &mut self.asked {
            while asking.go_on(&mut cx, self.script.plot) {}
        }
        assert!(self.session.open("https").is_none(), "a session that is over takes requests");
        self.asked.into_iter().map(|asking| asking.answer).collect()
    }

    fn ask(&mut self, method: &str) {
        let Some(mut stream) = self.session.open("https") else { panic!("a new session takes requests") };
        let mut head = Head::new();
        head.set_method(method.as_bytes());
        head.set_target(b"/a?b=c");
        head.add("host", b"a.example");
        // In plot 0 nothing is sent: how much of it would be by the time of a WINDOW_UPDATE is chance.
        let to_send = if method == "POST" && self.script.plot != 0 { BODY } else { 0 };
        let body = if to_send > 0 { Framing::Length(BODY as u64) } else { Framing::Empty };
        stream.write_head(&head, body, None);
        let answer = Answer::default();
        self.asked.push(Asking { stream: Some(stream), method: head.method(), to_send, answer });
    }
}

impl Asking {
    fn go_on(&mut self, cx: &mut Context<'_>, plot: u8) -> bool {
        let sent = self.send(cx);
        // Plot 1: whoever asked is slow to read the answer; 2: wants only the head.
        let has_final = self.answer.heads.last().is_some_and(|(head, _)| head.status >= 200);
        let read = match has_final {
            false if self.answer.heads.len() > MOST_INFORMATIONAL => self.stream.take().is_some(),
            false => self.read_head(cx),
            true if plot == 2 => self.stream.take().is_some(),
            true => self.read_body(cx, plot),
        };
        sent || read
    }

    fn send(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(stream) = self.stream.as_mut().filter(|_| self.to_send > 0) else { return false };
        match stream.poll_send(cx, &vec![b'b'; self.to_send.min(9000)]) {
            Poll::Ready(Ok(count)) => {
                self.to_send -= count;
                if self.to_send == 0 {
                    assert!(stream.finish_body(None));
                }
                true
            }
            Poll::Ready(Err(_)) => {
                self.to_send = 0;
                true
            }
            Poll::Pending => false,
        }
    }

    fn read_head(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let mut head = Head::new();
        match stream.poll_head(cx, &mut head) {
            Poll::Ready(Ok(())) => {
                check_head(&head, stream.response, self.method);
                self.answer.heads.push((Plain::of(&head), stream.response.body));
                true
            }
            Poll::Ready(Err(_)) => self.stream.take().is_some(),
            Poll::Pending => false,
        }
    }

    fn read_body(&mut self, cx: &mut Context<'_>, plot: u8) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        match stream.poll_body(cx) {
            Poll::Ready(Ok(Piece::Bytes)) => {
                let piece = stream.piece();
                let count = if plot == 1 { 1 } else { piece.len() };
                self.answer.body.extend_from_slice(&piece[..count]);
                stream.take(count);
            }
            Poll::Ready(Ok(Piece::End)) => {
                self.answer.ended = Some(stream.trailers().map(fields).unwrap_or_default());
                let announced = self.answer.heads.last().map(|(_, framing)| *framing);
                if let Some(Framing::Length(length)) = announced {
                    assert_eq!(length, self.answer.body.len() as u64, "a cut body is passed off as whole");
                }
                self.stream = None;
            }
            Poll::Ready(Err(_)) => self.stream = None,
            Poll::Pending => return false,
        }
        true
    }
}
