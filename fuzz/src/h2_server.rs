//! A client of HTTP/2 that sends anything: no panic, no endless loop, nothing held beyond its limits, and every request
//! that is taken means one thing also in HTTP/1.1.

use std::task::{Context, Poll, Waker};

use lintel::wire::body::{Framing, Piece};
use lintel::wire::h2::frame::{PREFACE, kind};
use lintel::wire::h2::{Asked, ErrorCode, Rates, ServerSession, ServerStream, SessionLimits};
use lintel::wire::head::Head;
use lintel::wire::rules::{Limits, ResponsePlan};

use crate::cuts::{self, Cut};
use crate::h2_wire::{MOST_PENDING, Script, bytes_of};
use crate::heads::{Plain, check_onward};
use crate::memory::Memory;

const STREAMS: u32 = 8;
const WINDOW: u32 = 65_535;

fn limits(rate: u32) -> SessionLimits {
    SessionLimits {
        streams: STREAMS,
        stream_window: WINDOW,
        connection_window: WINDOW,
        rates: Rates { resets: rate, control: rate },
        head: Limits { head: 4096, fields: 40, target: 1024 },
    }
}

pub fn check(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let script = Script::of(*first);
    let opening = [PREFACE, &[0, 0, 0, kind::SETTINGS, 0, 0, 0, 0, 0]].concat();
    let bytes = bytes_of(script, rest, &opening);
    // Only where nothing depends on time must all cuts come to the same.
    let is_timeless = script.plot == 0 && !script.is_slow;
    let whole = Run::new(&bytes, Cut::Whole, script, is_timeless).run();
    let [_, fine, _, coarse] = cuts::all(input);
    let other = if bytes.len() < 2000 { fine } else { coarse };
    let parts = Run::new(&bytes, other, script, is_timeless).run();
    if is_timeless {
        assert_eq!(whole, parts, "{other:?} is served in another way");
    }
}

struct Run {
    memory: Memory,
    session: ServerSession,
    script: Script,
    streams: Vec<Served>,
    seen: Vec<(Plain, bool)>,
    steps_left: usize,
}

struct Served {
    stream: Box<ServerStream>,
    stage: Stage,
    held: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Reading,
    Answering { left: usize },
    Done,
}

impl Run {
    fn new(bytes: &[u8], cut: Cut, script: Script, is_timeless: bool) -> Self {
        let (memory, stream) = Memory::ending(cut.pieces(bytes));
        let rate = if is_timeless { u32::MAX } else { 20 };
        let session = ServerSession::new(stream, limits(rate));
        Self {
            memory,
            session,
            script,
            streams: Vec::new(),
            seen: Vec::new(),
            steps_left: 100_000 + 40 * bytes.len(),
        }
    }

    /// Serves the connection to its end; gives the requests that were taken.
    fn run(mut self) -> Vec<(Plain, bool)> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut room = 40_000usize;
        if self.script.is_slow {
            self.memory.set_room(50);
        }
        loop {
            self.step();
            let before = self.memory.events();
            match self.session.poll(&mut cx) {
                Poll::Ready(Ok(Asked::Request { stream, head, refused })) => {
                    self.take(stream, head, refused.is_some());
                    continue;
                }
                Poll::Ready(Ok(Asked::StreamError { .. })) => continue,
                Poll::Ready(Err(_)) => break,
                Poll::Pending => {}
            }
            if self.serve(&mut cx) || self.memory.events() != before {
                continue;
            }
            // Stuck: the client reads nothing. See what is held for it, then let it read on.
            assert!(self.script.is_slow, "neither side can go on, and the client reads everything");
            self.check_held(&mut cx);
            room = room.saturating_mul(2);
            self.memory.set_room(room);
        }
        for served in &mut self.streams {
            // Whatever is done after the end must be harmless.
            let _ = served.stream.poll_body(&mut cx);
            let _ = served.stream.poll_flush(&mut cx);
            let _ = served.stream.finish_body(None);
        }
        self.streams.clear();
        assert!(!self.session.has_streams(), "streams are kept that nobody holds");
        self.seen
    }

    fn step(&mut self) {
        assert!(self.steps_left > 0, "it goes on for ever");
        self.steps_left -= 1;
    }

    fn take(&mut self, mut stream: Box<ServerStream>, head: Head, refused: bool) {
        let framing = stream.request;
        self.seen.push((Plain::of(&head), refused));
        if !refused && !framing.upgrade {
            check_onward(&head, framing.body);
        }
        if let Framing::Close = framing.body {
            panic!("a request that ends with its connection");
        }
        stream.begin_request_body(20_000);
        self.session.keep(head);
        if self.script.plot == 3 {
            // Nobody wants it.
            return drop(stream);
        }
        self.streams.push(Served { stream, stage: Stage::Reading, held: 0 });
        assert!(self.streams.len() <= 2 * STREAMS as usize, "more streams than are allowed");
    }

    /// Goes on with every stream; whether anything was done.
    fn serve(&mut self, cx: &mut Context<'_>) -> bool {
        let plot = self.script.plot;
        let mut moved = false;
        for served in &mut self.streams {
            moved |= served.go_on(cx, plot);
        }
        let held: usize = self.streams.iter().map(|served| served.held).sum();
        assert!(held <= WINDOW as usize, "{held} bytes of bodies are held, beyond the window");
        self.streams.retain(|served| served.stage != Stage::Done);
        moved
    }

    /// What waits to be written, seen by letting it all out while nothing more is read.
    fn check_held(&mut self, cx: &mut Context<'_>) {
        self.memory.take_written();
        self.memory.hold(true);
        self.memory.set_room(usize::MAX);
        let _ = self.session.poll(cx).map_ok(|_| ());
        let pending = self.memory.take_written().len();
        assert!(pending <= MOST_PENDING, "{pending} bytes were held for a client that reads nothing");
        self.memory.hold(false);
    }
}

impl Served {
    fn go_on(&mut self, cx: &mut Context<'_>, plot: u8) -> bool {
        match self.stage {
            Stage::Reading if plot == 0 => {
                // Reads nothing, answers nothing: only what the peer does counts.
                if let Poll::Ready(Ok(Piece::Bytes)) = self.stream.poll_body(cx) {
                    self.held = self.stream.piece().len();
                }
                false
            }
            Stage::Reading => self.read(cx, plot),
            Stage::Answering { left } => self.answer(cx, left, plot),
            Stage::Done => false,
        }
    }

    fn read(&mut self, cx: &mut Context<'_>, plot: u8) -> bool {
        match self.stream.poll_body(cx) {
            Poll::Ready(Ok(Piece::Bytes)) if plot != 4 => {
                let count = self.stream.piece().len().div_ceil(2);
                self.stream.take(count);
                true
            }
            Poll::Ready(Ok(_)) => {
                self.begin_answer(plot);
                true
            }
            Poll::Ready(Err(_)) => {
                self.stage = Stage::Done;
                true
            }
            Poll::Pending if plot == 5 => {
                self.stream.abort(ErrorCode::Cancel);
                self.stage = Stage::Done;
                true
            }
            Poll::Pending => false,
        }
    }

    fn begin_answer(&mut self, plot: u8) {
        let mut head = Head::response(103, "");
        head.add("link", b"</a>");
        self.stream.write_informational(&head);
        let mut head = Head::response(200, "OK");
        head.add("content-type", b"text/plain");
        let (length, body) = match plot {
            1 => (0, Framing::Empty),
            2 => (3000, Framing::Length(3000)),
            _ => (200_000, Framing::Chunked),
        };
        self.stream.write_head(&head, ResponsePlan { body, keep_alive: true, named_length: None });
        self.stage = Stage::Answering { left: length };
    }

    fn answer(&mut self, cx: &mut Context<'_>, left: usize, plot: u8) -> bool {
        if left == 0 {
            let mut trailers = Head::new();
            trailers.add("x-sum", b"7");
            assert!(self.stream.finish_body((plot == 6).then_some(&trailers)));
            self.stage = Stage::Done;
            return true;
        }
        match self.stream.poll_send(cx, &vec![b'a'; left.min(20_000)]) {
            Poll::Ready(Ok(count)) => {
                assert!(count > 0);
                self.stage = Stage::Answering { left: left - count };
                true
            }
            Poll::Ready(Err(_)) => {
                self.stage = Stage::Done;
                true
            }
            Poll::Pending => false,
        }
    }
}
