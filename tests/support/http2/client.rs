//! A client of one HTTP/2 connection: sends exactly what it is told, and collects what comes by stream.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::net::TcpStream;

use super::fields::{Fields, all, field, get};
use super::frame::{Frame, PREFACE, kind};
use super::hpack::encode;
use super::wire::{End, Half, Wire};
use crate::support::stream::Stream;
use crate::support::time::within;
use crate::support::tls::handshake;

/// A connection to Lintel. Streams that `start` opens are numbered by it; `request` takes any number.
pub struct Http2 {
    wire: Wire,
    next: u32,
}

/// What came on a stream; what is not there is empty, and the status 0.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub fields: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
    /// Heads with a status below 200.
    pub informational: Vec<Fields>,
    pub end: End,
}

impl Reply {
    fn of(half: &Half, end: End) -> Self {
        let fields = half.head.clone().unwrap_or_default();
        Self {
            status: field(&fields, ":status").and_then(|status| status.parse().ok()).unwrap_or(0),
            fields,
            body: half.body.clone(),
            trailers: half.trailers.clone(),
            informational: half.informational.clone(),
            end,
        }
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        all(&self.fields, name)
    }

    pub fn trailer(&self, name: &str) -> Option<&str> {
        field(&self.trailers, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The code of RST_STREAM, where it was not whole before.
    pub fn reset(&self) -> Option<u32> {
        if let End::Reset(code) = self.end { Some(code) } else { None }
    }

    pub fn is_whole(&self) -> bool {
        self.end == End::Whole
    }
}

impl Http2 {
    /// Preface and SETTINGS, both ways, acknowledged.
    pub async fn open(address: SocketAddr) -> Self {
        Self::open_with(address, &[]).await
    }

    /// As `open`, with settings of its own.
    pub async fn open_with(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        Self::over(connect(address).await, settings).await
    }

    /// Over TLS, with `h2` agreed.
    pub async fn open_tls(address: SocketAddr, name: &str, config: &ClientConfig) -> Self {
        let mut config = config.clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = handshake(address, name, &Arc::new(config)).await;
        let stream = stream.unwrap_or_else(|error| panic!("TLS with {name}: {error}"));
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        Self::over(stream, &[]).await
    }

    pub async fn over(stream: impl Stream + 'static, settings: &[(u16, u32)]) -> Self {
        let mut client = Self::bare(stream);
        client.greet(settings).await;
        client
    }

    /// A connection on which nothing was said yet.
    pub async fn silent(address: SocketAddr) -> Self {
        Self::bare(connect(address).await)
    }

    pub fn bare(stream: impl Stream + 'static) -> Self {
        Self { wire: Wire::over(Box::new(stream), None), next: 1 }
    }

    /// Sends preface and SETTINGS; the first frame of the server must be its SETTINGS.
    pub async fn greet(&mut self, settings: &[(u16, u32)]) {
        self.wire.raw(PREFACE).await;
        self.wire.announce(settings).await;
        let first = self.next_frame().await.expect("SETTINGS of the server");
        assert_eq!((first.kind, first.flags, first.stream), (kind::SETTINGS, 0, 0), "RFC 9113 3.4: first");
        self.until("our SETTINGS are acknowledged", |client| (client.acks > 0).then_some(())).await;
    }

    /// HEADERS with these fields, as they are, on this stream.
    pub async fn request(&mut self, stream: u32, fields: &[(&str, &str)], end: bool) {
        let method = fields.iter().find(|(name, _)| *name == ":method").map_or("", |(_, method)| method);
        self.wire.half(stream).method = method.to_owned();
        self.next = self.next.max(stream + 2 - (stream + 1) % 2);
        within("sending", self.wire.headers(stream, &encode(fields), end)).await;
    }

    /// As `request`, on the next stream.
    pub async fn start(&mut self, fields: &[(&str, &str)], end: bool) -> u32 {
        let stream = self.next;
        self.request(stream, fields, end).await;
        stream
    }

    /// The fields again, at the end of a request.
    pub async fn trailers(&mut self, stream: u32, fields: &[(&str, &str)]) {
        within("sending", self.wire.headers(stream, &encode(fields), true)).await;
    }

    /// Any frame.
    pub async fn send_frame(&mut self, kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) {
        within("sending", self.wire.send(Frame::new(kind, flags, stream, payload))).await;
    }

    /// A whole body within the windows; false when the rest was not wanted.
    pub async fn upload(&mut self, stream: u32, bytes: &[u8], end: bool) -> bool {
        within("sending a body", self.wire.send_all(stream, bytes, end)).await
    }

    /// The next frame; `None` at the end of the connection.
    pub async fn next_frame(&mut self) -> Option<Frame> {
        within("a frame from Lintel", self.wire.next_frame()).await
    }

    /// Reads frames until there is an answer; fails with `what` when the connection ends before.
    pub async fn until<T>(&mut self, what: &str, mut ask: impl FnMut(&mut Wire) -> Option<T>) -> T {
        loop {
            if let Some(answer) = ask(&mut self.wire) {
                return answer;
            }
            if within(what, self.wire.next_frame()).await.is_none() {
                let answer = ask(&mut self.wire);
                let history = self.wire.history();
                return answer.unwrap_or_else(|| panic!("the connection ended before: {what}; {history}"));
            }
        }
    }

    /// Awaits the head of the response that is not informational, or the end of the stream.
    pub async fn head(&mut self, stream: u32) -> Reply {
        self.reply(stream, |half| half.head.is_some()).await
    }

    /// Awaits the end of the stream, and takes what came.
    pub async fn response(&mut self, stream: u32) -> Reply {
        let reply = self.reply(stream, |_| false).await;
        let half = self.wire.half(stream);
        half.body = Vec::new();
        reply
    }

    /// Awaits so much of a body, or the end of the stream.
    pub async fn received(&mut self, stream: u32, count: usize) -> Reply {
        self.reply(stream, |half| half.count >= count as u64).await
    }

    async fn reply(&mut self, stream: u32, is_enough: impl Fn(&Half) -> bool) -> Reply {
        loop {
            let end = self.wire.end_of(stream);
            if end != End::Open || is_enough(self.wire.half(stream)) {
                return Reply::of(self.wire.half(stream), end);
            }
            let what = format!("a response on stream {stream}");
            let _ = within(&what, self.wire.next_frame()).await;
        }
    }

    /// A whole request and its response.
    pub async fn exchange(&mut self, fields: &[(&str, &str)], body: &[u8]) -> Reply {
        let stream = self.start(fields, body.is_empty()).await;
        if !body.is_empty() {
            self.upload(stream, body, true).await;
        }
        self.response(stream).await
    }

    /// A GET of `path` for the host `a.test`.
    pub async fn get(&mut self, path: &str) -> Reply {
        self.exchange(&get(path), b"").await
    }

    /// Awaits RST_STREAM, whether the response was whole before or not.
    pub async fn reset_of(&mut self, stream: u32) -> u32 {
        self.until("RST_STREAM", |wire| wire.half(stream).reset).await
    }

    /// A PING and its answer: all that was sent before has been read.
    pub async fn ping(&mut self) {
        let answered = self.wire.pongs;
        self.send_frame(kind::PING, 0, 0, *b"a ping!!").await;
        self.until("a PING is answered", |wire| (wire.pongs > answered).then_some(())).await;
    }

    /// Awaits a GOAWAY with an error and the end of the connection; gives the code.
    pub async fn connection_error(&mut self) -> u32 {
        let code = self
            .until("GOAWAY with an error", |wire| {
                wire.goaways.iter().map(|(_, code)| *code).find(|code| *code != 0)
            })
            .await;
        self.closed().await;
        code
    }

    /// Awaits the end of the connection.
    pub async fn closed(&mut self) {
        within("the end of the connection", async { while self.wire.next_frame().await.is_some() {} }).await;
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = within("a connection to Lintel", TcpStream::connect(address)).await;
    let stream = stream.unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
    stream.set_nodelay(true).expect("TCP_NODELAY can be set");
    stream
}

impl Deref for Http2 {
    type Target = Wire;
    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl DerefMut for Http2 {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }
}
