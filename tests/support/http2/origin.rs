//! Servers behind Lintel that speak HTTP/2: a script per connection, and a record of what was asked.
//!
//! What Lintel must not send to a server is written down, and fails the test when the server is dropped.

use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_rustls::TlsAcceptor;

use super::fields::{Fields, all, field};
use super::frame::{Frame, PREFACE};
use super::hpack::encode;
use super::wire::{Half, Wire};
use crate::support::origin::{Conversation, Origin};
use crate::support::stream::Stream;
use crate::support::time::eventually;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Which connection, counted from 0.
    pub connection: usize,
    pub stream: u32,
    pub fields: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
}

impl Asked {
    fn of(connection: usize, stream: u32, half: &Half) -> Self {
        let fields = half.head.clone().unwrap_or_default();
        Self { connection, stream, fields, body: half.body.clone(), trailers: half.trailers.clone() }
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        all(&self.fields, name)
    }

    pub fn method(&self) -> &str {
        self.field(":method").unwrap_or_default()
    }

    pub fn path(&self) -> &str {
        self.field(":path").unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What all connections of a server saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Heads, in the order in which they came.
    heads: Vec<Asked>,
    /// Whole requests, in the order of their ends.
    requests: Vec<Asked>,
    /// RST_STREAM: connection, stream and code.
    pub resets: Vec<(usize, u32, u32)>,
    /// The most streams that were open at once on one connection.
    peak: usize,
    /// What no server takes.
    pub broken: Vec<String>,
}

impl Seen {
    pub fn begun(&mut self, index: usize, stream: u32, open: usize, halves: &Halves) {
        self.heads.push(Asked::of(index, stream, &halves[&stream]));
        self.peak = self.peak.max(open);
    }

    pub fn whole(&mut self, index: usize, stream: u32, halves: &Halves) {
        self.requests.push(Asked::of(index, stream, &halves[&stream]));
    }
}

type Halves = std::collections::BTreeMap<u32, Half>;

/// A server of the tests; as an `Origin` it has an address and connections.
pub struct Http2Origin {
    origin: Origin,
    seen: Arc<Mutex<Seen>>,
}

impl Http2Origin {
    /// Runs `script` for every connection that greets properly.
    pub fn scripted<F>(script: impl Fn(Talk) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::with(&[], None, script)
    }

    /// As `scripted`, with settings, and over TLS where there is an acceptor.
    pub fn with<F>(
        settings: &[(u16, u32)],
        tls: Option<TlsAcceptor>,
        script: impl Fn(Talk) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let (notes, settings, script) = (Arc::clone(&seen), settings.to_vec(), Arc::new(script));
        let origin = Origin::scripted(move |conversation| {
            let (notes, settings, tls) = (Arc::clone(&notes), settings.clone(), tls.clone());
            let script = Arc::clone(&script);
            async move {
                if let Some(talk) = Talk::greeted(conversation, notes, &settings, tls).await {
                    script(talk).await;
                }
            }
        });
        Self { origin, seen }
    }

    /// Answers every request with 200, its name as body and in `x-server`; `/echo` gives the body back.
    pub fn named(name: &str) -> Self {
        Self::polite(name, &[], None)
    }

    /// As `named`, with settings and over TLS.
    pub fn polite(name: &str, settings: &[(u16, u32)], tls: Option<TlsAcceptor>) -> Self {
        let name = name.to_owned();
        Self::with(settings, tls, move |mut talk| {
            let name = name.clone();
            async move {
                while let Some(asked) = talk.request().await {
                    let body = if asked.path().starts_with("/echo") { &asked.body } else { name.as_bytes() };
                    talk.answer(&asked, &name, body).await;
                }
            }
        })
    }

    /// Whole requests so far.
    pub fn requests(&self) -> Vec<Asked> {
        self.seen.lock().requests.clone()
    }

    /// How many whole requests came so far.
    pub fn count(&self) -> usize {
        self.seen.lock().requests.len()
    }

    /// Heads so far, of requests whole or not.
    pub fn heads(&self) -> Vec<Asked> {
        self.seen.lock().heads.clone()
    }

    /// RST_STREAM so far: connection, stream and code.
    pub fn resets(&self) -> Vec<(usize, u32, u32)> {
        self.seen.lock().resets.clone()
    }

    /// The most streams that were open at once on one connection.
    pub fn peak(&self) -> usize {
        self.seen.lock().peak
    }

    /// Awaits the `index`th whole request, counted from 0.
    pub async fn request(&self, index: usize) -> Asked {
        eventually("a request at the server", async || self.seen.lock().requests.get(index).cloned()).await
    }

    /// Awaits the `index`th head, counted from 0.
    pub async fn head(&self, index: usize) -> Asked {
        eventually("a head at the server", async || self.seen.lock().heads.get(index).cloned()).await
    }

    /// Awaits a RST_STREAM and gives its code.
    pub async fn reset_code(&self) -> u32 {
        let first = async || self.seen.lock().resets.first().map(|(_, _, code)| *code);
        eventually("RST_STREAM at the server", first).await
    }

    /// What was sent that no server takes.
    pub fn broken(&self) -> Vec<String> {
        self.seen.lock().broken.clone()
    }
}

impl Deref for Http2Origin {
    type Target = Origin;
    fn deref(&self) -> &Origin {
        &self.origin
    }
}

impl Drop for Http2Origin {
    fn drop(&mut self) {
        let broken = self.broken();
        assert!(broken.is_empty() || std::thread::panicking(), "the server was sent: {broken:?}");
    }
}

/// Stands in for a stream that was taken out.
impl Stream for tokio::io::Empty {}
impl Stream for tokio_rustls::server::TlsStream<Box<dyn Stream>> {}

/// One accepted connection, as its script sees it. Dropping it closes the connection.
pub struct Talk {
    wire: Wire,
    /// Streams whose heads and whose requests were given to the script.
    begun: BTreeSet<u32>,
    given: BTreeSet<u32>,
    /// Which connection of the server this is, counted from 0.
    pub index: usize,
    /// Counts as open as long as it lives.
    _conversation: Conversation,
}

impl Talk {
    async fn greeted(
        mut conversation: Conversation,
        seen: Arc<Mutex<Seen>>,
        settings: &[(u16, u32)],
        tls: Option<TlsAcceptor>,
    ) -> Option<Self> {
        let taken: Box<dyn Stream> = Box::new(tokio::io::empty());
        let mut stream = std::mem::replace(conversation.stream().0, taken);
        if let Some(tls) = tls {
            let mut accepted = tls.accept(stream).await.ok()?;
            if accepted.get_mut().1.alpn_protocol() != Some(b"h2") {
                seen.lock().broken.push("TLS without h2".to_owned());
                return None;
            }
            stream = Box::new(accepted);
        }
        let index = conversation.index;
        let mut wire = Wire::over(stream, Some((index, Arc::clone(&seen))));
        wire.announce(settings).await;
        let is_greeted = wire.preface(PREFACE).await;
        let (begun, given) = (BTreeSet::new(), BTreeSet::new());
        is_greeted.then_some(Self { wire, begun, given, index, _conversation: conversation })
    }

    /// The next head, its body still to come; `None` at the end of the connection.
    pub async fn head(&mut self) -> Option<Asked> {
        loop {
            let is_new = |(stream, half): &(&u32, &Half)| half.head.is_some() && !self.begun.contains(stream);
            if let Some((stream, half)) = self.wire.streams.iter().find(is_new) {
                let asked = Asked::of(self.index, *stream, half);
                self.begun.insert(asked.stream);
                return Some(asked);
            }
            self.wire.next_frame().await?;
        }
    }

    /// The next whole request; `None` at the end of the connection.
    pub async fn request(&mut self) -> Option<Asked> {
        loop {
            let is_new = |(stream, half): &(&u32, &Half)| half.whole && !self.given.contains(stream);
            if let Some((stream, half)) = self.wire.streams.iter().find(is_new) {
                let asked = Asked::of(self.index, *stream, half);
                self.begun.insert(asked.stream);
                self.given.insert(asked.stream);
                return Some(asked);
            }
            self.wire.next_frame().await?;
        }
    }

    /// Reads until a request that began is whole; `None` at the end of the connection or of the stream.
    pub async fn rest(&mut self, stream: u32) -> Option<Asked> {
        loop {
            let half = self.wire.half(stream);
            if half.whole {
                let asked = Asked::of(self.index, stream, half);
                self.given.insert(stream);
                return Some(asked);
            }
            if half.reset.is_some() {
                return None;
            }
            self.wire.next_frame().await?;
        }
    }

    /// HEADERS: a head with `:status`, or trailers.
    pub async fn fields(&mut self, stream: u32, fields: &[(&str, &str)], end: bool) {
        self.wire.headers(stream, &encode(fields), end).await;
    }

    /// A 200 with a body, bare for HEAD.
    pub async fn answer(&mut self, asked: &Asked, name: &str, body: &[u8]) {
        let length = body.len().to_string();
        let head = [(":status", "200"), ("content-length", &*length), ("x-server", name)];
        let is_bare = asked.method() == "HEAD" || body.is_empty();
        self.fields(asked.stream, &head, is_bare).await;
        if !is_bare {
            self.wire.send_all(asked.stream, body, true).await;
        }
    }

    /// GOAWAY.
    pub async fn go_away(&mut self, last: u32, code: u32) {
        self.wire.send(Frame::goaway(last, code)).await;
    }

    /// Reads, and answers nothing but SETTINGS and PING, until Lintel ends the connection.
    pub async fn hang(&mut self) {
        while self.wire.next_frame().await.is_some() {}
    }
}

impl Deref for Talk {
    type Target = Wire;
    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl DerefMut for Talk {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::http2::{End, Http2, asking, code, post, setting};

    #[tokio::test]
    async fn client_and_server_understand_each_other() {
        let origin = Http2Origin::named("one");
        let mut client = Http2::open(origin.socket_address()).await;
        assert_eq!(client.get("/").await.text(), "one");
        let large = vec![b'x'; 200_000];
        let reply = client.exchange(&post("/echo"), &large).await;
        assert_eq!((reply.status, reply.body.len(), reply.end), (200, large.len(), End::Whole));
        assert_eq!(client.exchange(&asking("HEAD", "/", &[]), b"").await.status, 200);
        client.ping().await;
        assert_eq!((origin.count(), origin.connections(), origin.peak()), (3, 1, 1));
        drop(client);
        origin.all_closed().await;
    }

    #[tokio::test]
    async fn windows_of_one_byte_hold_both_ways() {
        let tiny = [(setting::INITIAL_WINDOW_SIZE, 1)];
        let origin = Http2Origin::polite("one", &tiny, None);
        let mut client = Http2::open_with(origin.socket_address(), &tiny).await;
        assert_eq!(client.exchange(&post("/echo"), b"abcdef").await.text(), "abcdef");
    }

    #[tokio::test]
    async fn a_script_resets_and_goes_away() {
        let origin = Http2Origin::scripted(|mut talk| async move {
            let Some(first) = talk.request().await else { return };
            talk.fields(first.stream, &[(":status", "103"), ("link", "</a>")], false).await;
            talk.reset(first.stream, code::CANCEL).await;
            talk.go_away(1, code::NO_ERROR).await;
            talk.hang().await;
        });
        let mut client = Http2::open(origin.socket_address()).await;
        let reply = client.get("/").await;
        assert_eq!((reply.reset(), reply.informational.len(), reply.status), (Some(code::CANCEL), 1, 0));
        assert_eq!(client.get("/").await.end, End::GoAway(code::NO_ERROR));
    }

    #[tokio::test]
    #[should_panic(expected = "Lintel sent what it must not")]
    async fn what_a_server_must_not_send_fails_the_test() {
        let origin = Http2Origin::scripted(|mut talk| async move {
            let Some(first) = talk.request().await else { return };
            talk.fields(first.stream, &[(":status", "200"), ("connection", "close")], true).await;
            talk.hang().await;
        });
        Http2::open(origin.socket_address()).await.get("/").await;
    }
}
