//! One check by HTTP/2 (RFC 9113), over a connection of its own: one request on stream 1, and its answer.
//!
//! It needs no session of `wire::h2`: those belong to engine threads, and one small request fills no window and shares
//! its connection with nobody. All that a server sends is bounded here; how long it may take is the caller's matter.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::active::{FIELD_LIMIT, Failure, HEAD_LIMIT};
use crate::wire::h2::frame::{self, DEFAULT_WINDOW, ErrorCode, FrameHeader, Settings, flag, kind};
use crate::wire::h2::hpack::{DEFAULT_TABLE_SIZE, Decoder, Encoder};

/// The one stream.
const STREAM: u32 = 1;
/// Bytes of a body that is read, padding included.
const BODY_LIMIT: usize = 64 * 1024;
/// Frames of all kinds until the answer is complete.
const FRAME_LIMIT: u32 = 1000;
/// Characters of a text of the server's in a reason.
const TEXT_LIMIT: usize = 200;

/// All that a new connection sends for one request: the preface, SETTINGS, and the frames of stream 1.
///
/// Without a body, HEADERS ends the stream. A body must fit into one frame.
pub fn opening(fields: &[(&str, &str)], body: &[u8]) -> Box<[u8]> {
    let mut out = frame::PREFACE.to_vec();
    Settings::write_for_server(&mut out, DEFAULT_WINDOW as u32, HEAD_LIMIT as u32);
    let mut block = Vec::new();
    let mut encoder = Encoder::new();
    encoder.begin(&mut block);
    for (name, value) in fields {
        encoder.field(&mut block, name.as_bytes(), value.as_bytes());
    }
    let mut kind = kind::HEADERS;
    let mut flags = if body.is_empty() { flag::END_STREAM } else { 0 };
    let mut pieces = block.chunks(frame::MAX_PAYLOAD).peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            flags |= flag::END_HEADERS;
        }
        frame::write(&mut out, kind, flags, STREAM, piece);
        (kind, flags) = (kind::CONTINUATION, 0);
    }
    if !body.is_empty() {
        frame::write(&mut out, kind::BODY, flag::END_STREAM, STREAM, body);
    }
    out.into()
}

/// Sends a request and reads up to the final response's head; its status. A body stays unread.
pub async fn status<S>(stream: S, opening: &[u8]) -> Result<u16, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = Connection::open(stream, opening).await?;
    let (status, ..) = connection.final_head().await?;
    connection.leave().await;
    Ok(status)
}

/// Sends a request and reads the whole of its answer, or its head alone where that is not `wanted`: a page may be
/// longer than what is read.
pub async fn answer<S>(stream: S, opening: &[u8], wanted: fn(&Fields) -> bool) -> Result<Answer, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = Connection::open(stream, opening).await?;
    let (status, head, ended) = connection.final_head().await?;
    let mut ended = ended || !wanted(&head);
    let mut answer = Answer { status, head, body: Vec::new(), trailers: None };
    let mut received = 0;
    while !ended {
        let part = connection.part().await?;
        ended = part.ends;
        match part.content {
            Content::Body(bytes, length) => {
                received += length;
                if received > BODY_LIMIT {
                    return Err(Failure::BodyTooLarge);
                }
                answer.body.extend_from_slice(&bytes);
            }
            Content::Fields(fields) if ended && fields.status.is_none() => answer.trailers = Some(fields),
            Content::Fields(_) => return Err(broke("a head comes after the final one")),
        }
    }
    connection.leave().await;
    Ok(answer)
}

/// An answer from its head to its trailers.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: Fields,
    pub body: Vec<u8>,
    pub trailers: Option<Fields>,
}

/// What of a header block matters to a check.
#[derive(Debug, Default)]
pub struct Fields {
    /// `:status`, which trailers do not have.
    pub status: Option<u16>,
    pub content_type: Option<Vec<u8>>,
    pub grpc_status: Option<Vec<u8>>,
    pub grpc_message: Option<Vec<u8>>,
}

/// A piece of what comes on the stream.
struct Part {
    content: Content,
    /// It is the last one.
    ends: bool,
}

enum Content {
    Fields(Fields),
    /// A piece of the body, and its length with its padding.
    Body(Vec<u8>, usize),
}

/// How far the server has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its SETTINGS, the first frame of each side, have not come yet (RFC 9113 section 3.4).
    Silent,
    Greeted,
    /// The head of its final response has come.
    Answering,
}

struct Connection<S> {
    stream: S,
    /// Bytes that have come, of frames that have not been taken yet.
    input: Vec<u8>,
    decoder: Decoder,
    stage: Stage,
    frames: u32,
    /// Bytes of all header blocks so far, and of what they say if that is more.
    heads: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn open(mut stream: S, opening: &[u8]) -> Result<Self, Failure> {
        stream.write_all(opening).await.map_err(Failure::Broken)?;
        stream.flush().await.map_err(Failure::Broken)?;
        let decoder = Decoder::new(DEFAULT_TABLE_SIZE as usize);
        Ok(Self { stream, input: Vec::new(), decoder, stage: Stage::Silent, frames: 0, heads: 0 })
    }

    /// Says that no more will be asked, as far as that can be said without waiting.
    async fn leave(mut self) {
        let mut bye = Vec::new();
        frame::write_go_away(&mut bye, 0, ErrorCode::NoError, "");
        poll_fn(|cx| {
            let mut stream = Pin::new(&mut self.stream);
            let _ = stream.as_mut().poll_write(cx, &bye);
            let _ = stream.poll_shutdown(cx);
            Poll::Ready(())
        })
        .await;
    }

    /// The head of the final response, past those of 1xx: status, fields, and whether nothing follows it.
    async fn final_head(&mut self) -> Result<(u16, Fields, bool), Failure> {
        loop {
            let Part { content, ends } = self.part().await?;
            let Content::Fields(fields) = content else {
                return Err(broke("a body comes before its head"));
            };
            match fields.status {
                None => return Err(broke("a head has no `:status`")),
                // RFC 9113 section 8.6.
                Some(101) => return Err(broke("it answers with 101")),
                Some(100..=199) if ends => return Err(broke("a 1xx ends the answer")),
                Some(100..=199) => {}
                Some(status) => {
                    self.stage = Stage::Answering;
                    return Ok((status, fields, ends));
                }
            }
        }
    }

    /// The next piece on the stream. What concerns the connection is dealt with on the way.
    async fn part(&mut self) -> Result<Part, Failure> {
        loop {
            let (header, payload) = self.frame().await?;
            let ends = header.has(flag::END_STREAM);
            match (header.kind, header.stream) {
                (kind::SETTINGS, 0) => self.settings(header, &payload).await?,
                (kind::PING, 0) => self.ping(header, &payload).await?,
                (kind::GOAWAY, 0) => went_away(&payload)?,
                (kind::HEADERS, STREAM) => {
                    let fields = self.fields(header, &payload).await?;
                    return Ok(Part { content: Content::Fields(fields), ends });
                }
                (kind::BODY, STREAM) => {
                    let bytes = frame::without_padding(header, &payload).ok_or_else(padding)?;
                    return Ok(Part { content: Content::Body(bytes.to_vec(), header.length), ends });
                }
                (kind::RST_STREAM, STREAM) => {
                    let code = number(&payload).ok_or_else(size)?;
                    return Err(Failure::Reset(ErrorCode::of(code)));
                }
                (kind::SETTINGS | kind::PING | kind::GOAWAY, _) | (kind::HEADERS | kind::BODY, _) => {
                    return Err(broke("a frame is on a stream that it cannot be on"));
                }
                (kind::PUSH_PROMISE, _) => return Err(broke("it pushes, which was ruled out")),
                (kind::CONTINUATION, _) => return Err(broke("CONTINUATION follows no HEADERS")),
                // WINDOW_UPDATE, PRIORITY, and kinds that nobody knows (RFC 9113 section 5.5).
                _ => {}
            }
        }
    }

    /// Takes the server's settings; none of them changes what is sent.
    async fn settings(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Failure> {
        let is_ack = header.has(flag::ACK);
        if !payload.len().is_multiple_of(6) || (is_ack && !payload.is_empty()) {
            return Err(size());
        }
        if is_ack {
            return Ok(());
        }
        Settings::default().apply(payload, frame::Role::Server).map_err(|(_, detail)| broke(detail))?;
        self.reply(kind::SETTINGS, &[]).await;
        Ok(())
    }

    async fn ping(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Failure> {
        if payload.len() != 8 {
            return Err(size());
        }
        if !header.has(flag::ACK) {
            self.reply(kind::PING, payload).await;
        }
        Ok(())
    }

    /// Sends an acknowledgement. Where that fails, the answer may be here already; if not, reading tells.
    async fn reply(&mut self, kind: u8, payload: &[u8]) {
        let mut out = Vec::new();
        frame::write(&mut out, kind, flag::ACK, 0, payload);
        if self.stream.write_all(&out).await.is_ok() {
            let _ = self.stream.flush().await;
        }
    }

    /// Reads the rest of a header block that begins with this frame, and what it says.
    async fn fields(&mut self, first: FrameHeader, payload: &[u8]) -> Result<Fields, Failure> {
        let mut block = frame::without_padding(first, payload).ok_or_else(padding)?;
        if first.has(flag::PRIORITY) {
            block = block.get(5..).ok_or_else(size)?;
        }
        let mut block = block.to_vec();
        let mut header = first;
        while !header.has(flag::END_HEADERS) {
            let piece;
            (header, piece) = self.frame().await?;
            if (header.kind, header.stream) != (kind::CONTINUATION, STREAM) {
                return Err(broke("a header block is interrupted"));
            }
            block.extend_from_slice(&piece);
            if block.len() > HEAD_LIMIT {
                return Err(Failure::HeadTooLarge);
            }
        }
        self.decode(&block)
    }

    fn decode(&mut self, block: &[u8]) -> Result<Fields, Failure> {
        let (mut fields, mut count, mut wrong) = (Fields::default(), 0, None);
        let mut said = 0;
        let decoded = self.decoder.decode(block, &mut |name, value| {
            // As SETTINGS_MAX_HEADER_LIST_SIZE counts (RFC 9113 section 6.5.2).
            said += name.len() + value.len() + 32;
            count += 1;
            if said > HEAD_LIMIT {
                return;
            }
            match name {
                b":status" if fields.status.is_some() => wrong = Some("a head has two `:status`"),
                b":status" => {
                    fields.status = status_of(value);
                    if fields.status.is_none() {
                        wrong = Some("`:status` is not a number of three digits");
                    }
                }
                b"content-type" => fields.content_type = Some(value.to_vec()),
                b"grpc-status" => fields.grpc_status = Some(value.to_vec()),
                b"grpc-message" => fields.grpc_message = Some(value.to_vec()),
                _ => {}
            }
        });
        decoded.map_err(|error| Failure::Http2(error.to_string()))?;
        self.heads += said.max(block.len());
        if self.heads > HEAD_LIMIT || count > FIELD_LIMIT {
            return Err(Failure::HeadTooLarge);
        }
        wrong.map_or(Ok(fields), |detail| Err(broke(detail)))
    }

    /// The next frame, whatever it is.
    async fn frame(&mut self) -> Result<(FrameHeader, Vec<u8>), Failure> {
        let header = loop {
            if let Some(header) = FrameHeader::parse(&self.input) {
                break header;
            }
            self.fill().await?;
        };
        if self.stage == Stage::Silent {
            if self.input.starts_with(b"HTTP/1") {
                return Err(Failure::Http1);
            }
            if header.kind != kind::SETTINGS || header.stream != 0 || header.has(flag::ACK) {
                return Err(Failure::NotHttp2);
            }
        }
        if header.length > frame::MAX_PAYLOAD {
            return Err(broke("a frame is larger than 16KiB"));
        }
        let whole = frame::HEADER + header.length;
        while self.input.len() < whole {
            self.fill().await?;
        }
        self.stage = if self.stage == Stage::Silent { Stage::Greeted } else { self.stage };
        self.frames += 1;
        if self.frames > FRAME_LIMIT {
            return Err(broke("1000 frames are no answer yet"));
        }
        Ok((header, self.input.drain(..whole).skip(frame::HEADER).collect()))
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => Err(match self.stage {
                Stage::Silent if !self.input.is_empty() => Failure::NotHttp2,
                Stage::Silent | Stage::Greeted => Failure::Closed,
                Stage::Answering => Failure::ClosedEarly,
            }),
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::Broken(error)),
        }
    }
}

/// Whether a GOAWAY leaves room for the answer: it is graceful, and the request was heard (RFC 9113 section 6.8).
fn went_away(payload: &[u8]) -> Result<(), Failure> {
    let (last, rest) = payload.split_at_checked(4).ok_or_else(size)?;
    let last = number(last).ok_or_else(size)? & frame::MAX_STREAM;
    let (code, debug) = rest.split_at_checked(4).ok_or_else(size)?;
    let code = ErrorCode::of(number(code).ok_or_else(size)?);
    if code == ErrorCode::NoError && last >= STREAM {
        return Ok(());
    }
    Err(Failure::GoAway { code, debug: readable(debug) })
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

fn status_of(value: &[u8]) -> Option<u16> {
    match value {
        [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] => std::str::from_utf8(value).ok()?.parse().ok(),
        _ => None,
    }
}

fn broke(detail: &str) -> Failure {
    Failure::Http2(detail.to_owned())
}

fn padding() -> Failure {
    broke("the padding of a frame is longer than the frame")
}

fn size() -> Failure {
    broke("a frame does not have the size of its kind")
}

/// A text of the server's, fit for one line of a log.
pub fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let fit = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    text.trim().chars().map(fit).take(TEXT_LIMIT).collect()
}

#[cfg(test)]
mod tests;
