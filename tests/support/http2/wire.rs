//! One end of an HTTP/2 connection: what came on which stream, and the windows both ways.
//!
//! It answers SETTINGS and PING and replenishes windows by itself, unless told not to, and does nothing else unasked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fields::{Block, Fields, check, field};
use super::frame::{Frame, flag, kind, setting};
use super::hpack::decode;
use super::origin::Seen;
use crate::support::stream::Stream;

const WINDOW: i64 = 65_535;
const FRAME_SIZE: usize = 16_384;

/// What came on one stream, and how much may come and go.
#[derive(Clone, Debug, Default)]
pub struct Half {
    /// Heads of responses with a status below 200.
    pub informational: Vec<Fields>,
    pub head: Option<Fields>,
    pub body: Vec<u8>,
    /// Bytes of the body, kept or not.
    pub count: u64,
    pub trailers: Fields,
    /// END_STREAM came.
    pub whole: bool,
    /// RST_STREAM came, with this code.
    pub reset: Option<u32>,
    /// Method of our request, to know which responses have no body.
    pub method: String,
    sent_all: bool,
    sent_reset: bool,
    /// Change of the stream's windows against those of a new stream.
    sent: i64,
    received: i64,
    owed: i64,
}

/// How a stream ended, or has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Open,
    Whole,
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY with this code, and the stream is not served.
    GoAway(u32),
    /// The connection ended without a word.
    Closed,
}

/// Where a server writes down what it saw: its number, and the notes of all connections.
pub type Notes = (usize, Arc<Mutex<Seen>>);

/// A connection of either side.
pub struct Wire {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
    outgoing: BytesMut,
    /// No byte will come.
    pub ended: bool,
    /// What the other end announced.
    pub settings: BTreeMap<u16, u32>,
    /// How often our SETTINGS were acknowledged.
    pub acks: usize,
    /// How often our PINGs were answered.
    pub pongs: usize,
    /// Every GOAWAY that came: last stream and code.
    pub goaways: Vec<(u32, u32)>,
    pub streams: BTreeMap<u32, Half>,
    /// Off: windows only shrink.
    pub replenishes: bool,
    pub answers_pings: bool,
    /// Off: bodies are counted only.
    pub keeps_bodies: bool,
    block: Option<(u32, bool, Vec<u8>)>,
    /// The connection's windows.
    pub send_window: i64,
    receive_window: i64,
    owed: i64,
    /// Windows of new streams.
    send_initial: i64,
    receive_initial: i64,
    frame_size: usize,
    /// Windows that shrink when their SETTINGS are acknowledged.
    pending: VecDeque<Option<i64>>,
    /// `None` on the side of the client.
    notes: Option<Notes>,
    last: VecDeque<String>,
}

impl Wire {
    pub fn over(stream: Box<dyn Stream>, notes: Option<Notes>) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            outgoing: BytesMut::new(),
            ended: false,
            settings: BTreeMap::new(),
            acks: 0,
            pongs: 0,
            goaways: Vec::new(),
            streams: BTreeMap::new(),
            replenishes: true,
            answers_pings: true,
            keeps_bodies: true,
            block: None,
            send_window: WINDOW,
            receive_window: WINDOW,
            owed: 0,
            send_initial: WINDOW,
            receive_initial: WINDOW,
            frame_size: FRAME_SIZE,
            pending: VecDeque::new(),
            notes,
            last: VecDeque::new(),
        }
    }

    pub fn half(&mut self, stream: u32) -> &mut Half {
        self.streams.entry(stream).or_default()
    }

    /// Reads the preface of a client; false when something else came, or nothing.
    pub async fn preface(&mut self, preface: &[u8]) -> bool {
        while self.buffer.len() < preface.len() && self.fill().await {}
        let came = self.buffer.split_to(preface.len().min(self.buffer.len()));
        if came != preface && !came.is_empty() {
            self.complain(format!("not a preface: {}", came.escape_ascii()));
        }
        !self.ended
    }

    /// Sends bytes that are not looked at.
    pub async fn raw(&mut self, bytes: impl AsRef<[u8]>) {
        self.outgoing.extend_from_slice(bytes.as_ref());
        self.flush().await;
    }

    pub async fn send(&mut self, frame: Frame) {
        self.queue(&frame);
        self.flush().await;
    }

    /// HEADERS, with as many CONTINUATION as it takes.
    pub async fn headers(&mut self, stream: u32, block: &[u8], end: bool) {
        let mut pieces = block.chunks(FRAME_SIZE).peekable();
        let ending = if end { flag::END_STREAM } else { 0 };
        let whole = |is_last: bool| if is_last { flag::END_HEADERS } else { 0 };
        let first = pieces.next().unwrap_or_default();
        self.queue(&Frame::new(kind::HEADERS, ending | whole(pieces.peek().is_none()), stream, first));
        while let Some(piece) = pieces.next() {
            self.queue(&Frame::new(kind::CONTINUATION, whole(pieces.peek().is_none()), stream, piece));
        }
        self.flush().await;
    }

    /// One DATA frame, whatever the windows say.
    pub async fn body(&mut self, stream: u32, bytes: impl AsRef<[u8]>, end: bool) {
        let flags = if end { flag::END_STREAM } else { 0 };
        self.send(Frame::new(kind::BODY, flags, stream, bytes.as_ref())).await;
    }

    /// As many DATA frames as it takes, each within the windows; false when nobody wants the rest.
    pub async fn send_all(&mut self, stream: u32, bytes: &[u8], end: bool) -> bool {
        let mut rest = bytes;
        loop {
            let half = self.half(stream);
            if half.reset.is_some() || half.sent_reset || self.ended {
                return false;
            }
            let room = self.room(stream).min(rest.len()).min(FRAME_SIZE);
            let is_last = room == rest.len();
            if room > 0 || (is_last && end) {
                self.body(stream, &rest[..room], end && is_last).await;
                rest = &rest[room..];
            }
            if is_last {
                return true;
            }
            if room == 0 && self.next_frame().await.is_none() {
                return false;
            }
        }
    }

    /// Bytes of a body that may be sent now.
    pub fn room(&mut self, stream: u32) -> usize {
        let of_stream = self.send_initial + self.half(stream).sent;
        usize::try_from(of_stream.min(self.send_window)).unwrap_or(0)
    }

    pub async fn reset(&mut self, stream: u32, code: u32) {
        self.send(Frame::reset(stream, code)).await;
    }

    /// Lets so many bytes more come, on a stream or (0) on the connection.
    pub async fn grow(&mut self, stream: u32, increment: u32) {
        match stream {
            0 => self.receive_window += i64::from(increment),
            _ => self.half(stream).received += i64::from(increment),
        }
        self.send(Frame::window_update(stream, increment)).await;
    }

    /// Announces these settings; larger windows count at once, smaller ones when they are acknowledged.
    pub async fn announce(&mut self, values: &[(u16, u32)]) {
        let value = |name| values.iter().find(|(found, _)| *found == name).map(|(_, value)| *value);
        if let Some(size) = value(setting::MAX_FRAME_SIZE) {
            self.frame_size = size as usize;
        }
        let window = value(setting::INITIAL_WINDOW_SIZE).map(i64::from);
        let is_first = self.streams.is_empty();
        let at_once = window.filter(|window| is_first || *window >= self.receive_initial);
        self.receive_initial = at_once.unwrap_or(self.receive_initial);
        self.pending.push_back(window.filter(|_| at_once.is_none()));
        self.send(Frame::settings(values)).await;
    }

    /// The next frame, already counted in; `None` at the end.
    pub async fn next_frame(&mut self) -> Option<Frame> {
        loop {
            self.flush().await;
            if let Some(frame) = Frame::take(&mut self.buffer) {
                if let Err(why) = self.absorb(&frame) {
                    self.complain(why);
                    return None;
                }
                self.flush().await;
                return Some(frame);
            }
            if self.ended || !self.fill().await {
                return None;
            }
        }
    }

    async fn fill(&mut self) -> bool {
        // A reset ends the connection as well; what came before it counts.
        let more = matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..));
        self.ended |= !more;
        more
    }

    /// Writes what is queued. Whether the other end still listens shows when reading.
    pub async fn flush(&mut self) {
        while !self.outgoing.is_empty() {
            if !matches!(self.stream.write_buf(&mut self.outgoing).await, Ok(1..)) {
                self.outgoing.clear();
            }
        }
        let _ = self.stream.flush().await;
    }

    pub async fn half_close(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Makes the coming close a reset.
    pub fn arm_reset(&self) {
        self.stream.arm_reset();
    }

    /// How a stream ended so far.
    pub fn end_of(&self, stream: u32) -> End {
        let half = self.streams.get(&stream);
        let refused = self.goaways.iter().find(|(last, code)| *last < stream || (*code != 0 && self.ended));
        match (half, refused) {
            (Some(Half { whole: true, .. }), _) => End::Whole,
            (Some(Half { reset: Some(code), .. }), _) => End::Reset(*code),
            (_, Some((_, code))) => End::GoAway(*code),
            _ if self.ended => End::Closed,
            _ => End::Open,
        }
    }

    /// Streams that neither side has ended.
    pub fn open_streams(&self) -> usize {
        let is_open = |half: &&Half| {
            let begun = half.head.is_some() || half.sent_all;
            begun && half.reset.is_none() && !half.sent_reset && !(half.whole && half.sent_all)
        };
        self.streams.values().filter(is_open).count()
    }

    /// The last frames that came, for messages of tests that fail.
    pub fn history(&self) -> String {
        self.last.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    fn complain(&mut self, why: String) {
        self.ended = true;
        match &self.notes {
            Some((_, seen)) => seen.lock().broken.push(why),
            None => panic!("Lintel sent what it must not: {why}; last frames: {}", self.history()),
        }
    }

    fn queue(&mut self, frame: &Frame) {
        let is_message = matches!(frame.kind, kind::BODY | kind::HEADERS);
        if is_message || frame.kind == kind::RST_STREAM {
            let half = self.streams.entry(frame.stream).or_default();
            half.sent_all |= is_message && frame.has(flag::END_STREAM);
            half.sent_reset |= frame.kind == kind::RST_STREAM;
            if frame.kind == kind::BODY {
                half.sent -= frame.payload.len() as i64;
                self.send_window -= frame.payload.len() as i64;
            }
        }
        self.outgoing.extend_from_slice(&frame.bytes());
    }

    fn absorb(&mut self, frame: &Frame) -> Result<(), String> {
        if self.last.len() == 30 {
            self.last.pop_front();
        }
        let size = frame.payload.len();
        self.last.push_back(format!("{}/{:#x}@{}:{size}", frame.kind, frame.flags, frame.stream));
        if size > self.frame_size {
            return Err(format!("a frame of {size} bytes"));
        }
        if let Some((stream, _, _)) = &self.block
            && (frame.kind != kind::CONTINUATION || frame.stream != *stream)
        {
            return Err(format!("frame {} inside the block of stream {stream}", frame.kind));
        }
        match frame.kind {
            kind::BODY => self.absorb_body(frame)?,
            kind::HEADERS => {
                self.block = Some((frame.stream, frame.has(flag::END_STREAM), frame.content().to_vec()));
                self.end_block(frame)?;
            }
            kind::CONTINUATION => {
                let (_, _, block) = self.block.as_mut().ok_or("CONTINUATION of nothing")?;
                block.extend_from_slice(&frame.payload);
                self.end_block(frame)?;
            }
            kind::RST_STREAM => {
                self.half(frame.stream).reset = Some(frame.word(0));
                self.note(|index, seen, _| seen.resets.push((index, frame.stream, frame.word(0))));
            }
            kind::SETTINGS => self.absorb_settings(frame),
            kind::PING if frame.has(flag::ACK) => self.pongs += 1,
            kind::PING if self.answers_pings => {
                self.queue(&Frame::new(kind::PING, flag::ACK, 0, frame.payload.clone()));
            }
            kind::GOAWAY => self.goaways.push((frame.word(0), frame.word(4))),
            kind::WINDOW_UPDATE if frame.stream == 0 => self.send_window += i64::from(frame.word(0)),
            kind::WINDOW_UPDATE => self.half(frame.stream).sent += i64::from(frame.word(0)),
            kind::PUSH_PROMISE => return Err("PUSH_PROMISE".into()),
            _ => {}
        }
        Ok(())
    }

    fn absorb_settings(&mut self, frame: &Frame) {
        if frame.has(flag::ACK) {
            self.acks += 1;
            let smaller = self.pending.pop_front().flatten();
            self.receive_initial = smaller.unwrap_or(self.receive_initial);
            return;
        }
        for pair in frame.payload.chunks_exact(6) {
            let name = u16::from_be_bytes([pair[0], pair[1]]);
            let value = u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]);
            if name == setting::INITIAL_WINDOW_SIZE {
                self.send_initial = i64::from(value);
            }
            self.settings.insert(name, value);
        }
        self.queue(&Frame::new(kind::SETTINGS, flag::ACK, 0, []));
    }

    fn absorb_body(&mut self, frame: &Frame) -> Result<(), String> {
        let (stream, size) = (frame.stream, frame.payload.len() as i64);
        let (initial, keeps) = (self.receive_initial, self.keeps_bodies);
        self.receive_window -= size;
        self.owed += size;
        let half = self.streams.entry(stream).or_default();
        if half.head.is_none() || half.whole || half.reset.is_some() {
            return Err(format!("DATA on stream {stream}, which is not open"));
        }
        half.received -= size;
        half.owed += size;
        half.count += frame.content().len() as u64;
        if keeps {
            half.body.extend_from_slice(frame.content());
        }
        let (room, is_over) = (initial + half.received, frame.has(flag::END_STREAM) || half.sent_reset);
        if room < 0 || self.receive_window < 0 {
            return Err(format!("more than fits the window of stream {stream} or the connection's"));
        }
        if self.replenishes && !is_over && half.owed > 0 && half.owed * 2 >= initial {
            let owed = std::mem::take(&mut half.owed);
            half.received += owed;
            self.queue(&Frame::window_update(stream, u32::try_from(owed).expect("a window's size")));
        }
        if self.replenishes && self.owed > 0 && self.owed * 2 >= WINDOW.min(self.receive_window + self.owed) {
            let owed = std::mem::take(&mut self.owed);
            self.receive_window += owed;
            self.queue(&Frame::window_update(0, u32::try_from(owed).expect("a window's size")));
        }
        if frame.has(flag::END_STREAM) { self.end_stream(stream) } else { Ok(()) }
    }

    fn end_block(&mut self, frame: &Frame) -> Result<(), String> {
        if !frame.has(flag::END_HEADERS) {
            return Ok(());
        }
        let (stream, end, block) = self.block.take().ok_or("no block")?;
        let fields = decode(&block)?;
        let is_server = self.notes.is_some();
        let highest = self.streams.keys().next_back().copied().unwrap_or(0);
        let half = self.streams.entry(stream).or_default();
        if half.whole || half.reset.is_some() {
            return Err(format!("HEADERS on stream {stream}, which is over"));
        }
        if half.head.is_some() {
            check(&fields, Block::Trailers)?;
            half.trailers = fields;
            return if end { self.end_stream(stream) } else { Err("trailers without END_STREAM".into()) };
        }
        if is_server {
            check(&fields, Block::Request)?;
            if stream % 2 == 0 || stream < highest {
                return Err(format!("stream {stream} after {highest}"));
            }
            half.head = Some(fields);
            let open = self.open_streams();
            self.note(|index, seen, half| seen.begun(index, stream, open, half));
        } else {
            check(&fields, Block::Response)?;
            let is_informational = field(&fields, ":status").is_some_and(|status| status.starts_with('1'));
            match is_informational {
                true if end => return Err(format!("an informational head that ends stream {stream}")),
                true => half.informational.push(fields),
                false => half.head = Some(fields),
            }
        }
        if end { self.end_stream(stream) } else { Ok(()) }
    }

    fn end_stream(&mut self, stream: u32) -> Result<(), String> {
        let half = self.half(stream);
        half.whole = true;
        let head = half.head.as_ref().ok_or("a stream that ends without a head")?;
        let is_bare = half.method == "HEAD" || field(head, ":status") == Some("304");
        let length = field(head, "content-length").filter(|_| !is_bare);
        if length.is_some_and(|length| length != half.count.to_string()) {
            return Err(format!("{} bytes where content-length is {length:?}", half.count));
        }
        if is_bare && half.count > 0 {
            return Err(format!("a body of {} bytes where there is none", half.count));
        }
        self.note(|index, seen, half| seen.whole(index, stream, half));
        Ok(())
    }

    /// Writes down, on the side of the server.
    fn note(&mut self, write: impl FnOnce(usize, &mut Seen, &BTreeMap<u32, Half>)) {
        if let Some((index, seen)) = &self.notes {
            write(*index, &mut seen.lock(), &self.streams);
        }
    }
}
