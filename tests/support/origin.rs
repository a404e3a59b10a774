//! A server behind Lintel that does exactly what a test wants: a script per connection, and a record of what it saw.
//!
//! `Origin::named` is the well-behaved one, which answers every request with its name.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{JoinHandle, JoinSet};

use super::message::{Parsed, Request, Side, parse, parse_head};
use super::port::Port;
use super::stream::Stream;
use super::time::eventually;

/// What an origin saw so far.
#[derive(Debug, Default)]
pub struct Seen {
    /// Bytes of every connection, in the order of acceptance.
    pub bytes: Vec<Vec<u8>>,
    /// Whole requests over all connections, in the order of their last bytes.
    pub requests: Vec<Request>,
    /// What was sent that no strict server takes for a request.
    pub broken: Vec<String>,
    /// Which connections are over.
    closed: Vec<bool>,
}

/// A server of the tests.
pub struct Origin {
    pub name: String,
    place: Place,
    seen: Arc<Mutex<Seen>>,
    open: Arc<AtomicUsize>,
    script: Script,
    running: Mutex<Option<JoinHandle<()>>>,
}

enum Place {
    Tcp(Port),
    Unix(std::path::PathBuf),
}

type Script = Arc<dyn Fn(Conversation) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

impl Origin {
    /// Runs `script` for every connection.
    pub fn scripted<F>(script: impl Fn(Conversation) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::new(String::new(), Place::Tcp(Port::reserve()), Arc::new(move |talk| Box::pin(script(talk))))
            .up()
    }

    /// As `scripted`, on a unix socket.
    pub fn scripted_at<F>(path: &Path, script: impl Fn(Conversation) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let script: Script = Arc::new(move |talk| Box::pin(script(talk)));
        Self::new(String::new(), Place::Unix(path.to_owned()), script).up()
    }

    /// Answers every request with 200, its name as body and in `x-server`; `/echo` gives the body back.
    pub fn named(name: &str) -> Self {
        Self::down(name).up()
    }

    /// Two as `named`, with the same port at two addresses of loopback.
    pub fn two_of_a_port(names: [&str; 2]) -> [Self; 2] {
        let [one, two] = Port::reserve_two();
        [(names[0], one), (names[1], two)]
            .map(|(name, port)| Self::new(name.to_owned(), Place::Tcp(port), polite(name.to_owned())).up())
    }

    /// As `named`, on a unix socket.
    pub fn unix(name: &str, path: &Path) -> Self {
        Self::new(name.to_owned(), Place::Unix(path.to_owned()), polite(name.to_owned())).up()
    }

    /// Answers every request with these bytes and keeps the connection.
    pub fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes: Vec<u8> = bytes.into();
        Self::scripted(move |mut talk| {
            let bytes = bytes.clone();
            async move {
                while talk.request().await.is_some() {
                    talk.send(&bytes).await;
                }
            }
        })
    }

    /// A port on which nothing listens until `revive`.
    pub fn down(name: &str) -> Self {
        Self::new(name.to_owned(), Place::Tcp(Port::reserve()), polite(name.to_owned()))
    }

    fn new(name: String, place: Place, script: Script) -> Self {
        Self { name, place, seen: Arc::default(), open: Arc::default(), script, running: Mutex::new(None) }
    }

    fn up(self) -> Self {
        self.revive();
        self
    }

    /// Listens again, at the same address.
    pub fn revive(&self) {
        let (seen, open, script) = (Arc::clone(&self.seen), Arc::clone(&self.open), Arc::clone(&self.script));
        let task = match &self.place {
            Place::Tcp(port) => {
                let listener = port.listen();
                tokio::spawn(async move {
                    let mut talks = JoinSet::new();
                    while let Ok((stream, _)) = listener.accept().await {
                        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
                        talks.spawn(script(Conversation::new(Box::new(stream), &seen, &open)));
                        while talks.try_join_next().is_some() {}
                    }
                })
            }
            Place::Unix(path) => {
                let _ = std::fs::remove_file(path);
                let listener = tokio::net::UnixListener::bind(path).expect("the socket file can be made");
                tokio::spawn(async move {
                    let mut talks = JoinSet::new();
                    while let Ok((stream, _)) = listener.accept().await {
                        talks.spawn(script(Conversation::new(Box::new(stream), &seen, &open)));
                        while talks.try_join_next().is_some() {}
                    }
                })
            }
        };
        *self.running.lock() = Some(task);
    }

    /// Dies as a killed process does: the listener and every connection close at once.
    pub async fn kill(&self) {
        let task = self.running.lock().take();
        if let Some(task) = task {
            task.abort();
            let _ = task.await;
        }
    }

    /// As `servers` of a config takes it.
    pub fn address(&self) -> String {
        match &self.place {
            Place::Tcp(port) => port.address().to_string(),
            Place::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    pub fn socket_address(&self) -> SocketAddr {
        match &self.place {
            Place::Tcp(port) => port.address(),
            Place::Unix(path) => panic!("{} is not a TCP address", path.display()),
        }
    }

    /// Whole requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.lock().requests.clone()
    }

    /// How many whole requests came so far.
    pub fn count(&self) -> usize {
        self.seen.lock().requests.len()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.seen.lock().bytes.len()
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// All bytes of all connections, in one piece.
    pub fn bytes(&self) -> Vec<u8> {
        self.seen.lock().bytes.concat()
    }

    /// What was sent that is no request.
    pub fn broken(&self) -> Vec<String> {
        self.seen.lock().broken.clone()
    }

    /// Awaits the `index`th whole request, counted from 0.
    pub async fn request(&self, index: usize) -> Request {
        eventually("a request at the server", async || self.seen.lock().requests.get(index).cloned()).await
    }

    /// Awaits the end of one connection, counted from 0.
    pub async fn connection_closed(&self, index: usize) {
        let is_closed = async || self.seen.lock().closed.get(index).copied().unwrap_or(false).then_some(());
        eventually("a connection to the server is closed", is_closed).await;
    }

    /// Awaits the end of all connections.
    pub async fn all_closed(&self) {
        eventually("the connections to the server are closed", async || (self.open() == 0).then_some(()))
            .await;
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(task) = self.running.lock().take() {
            task.abort();
        }
    }
}

fn polite(name: String) -> Script {
    Arc::new(move |mut talk| {
        let name = name.clone();
        Box::pin(async move {
            while let Some(request) = talk.request().await {
                let body = if request.target().starts_with("/echo") {
                    request.body.clone()
                } else {
                    name.clone().into_bytes()
                };
                talk.answer(&request, &name, &body).await;
            }
        })
    })
}

/// One accepted connection, as its script sees it. Dropping it closes the connection.
pub struct Conversation {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    seen: Arc<Mutex<Seen>>,
    open: Arc<AtomicUsize>,
    /// Which connection of the origin this is, counted from 0.
    pub index: usize,
}

impl Conversation {
    fn new(stream: Box<dyn Stream>, seen: &Arc<Mutex<Seen>>, open: &Arc<AtomicUsize>) -> Self {
        let index = {
            let mut seen = seen.lock();
            seen.bytes.push(Vec::new());
            seen.closed.push(false);
            seen.bytes.len() - 1
        };
        open.fetch_add(1, Ordering::SeqCst);
        Self { stream, buffer: Vec::new(), seen: Arc::clone(seen), open: Arc::clone(open), index }
    }

    /// Reads some bytes; false at the end.
    pub async fn read(&mut self) -> bool {
        let before = self.buffer.len();
        let more = matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..));
        self.seen.lock().bytes[self.index].extend_from_slice(&self.buffer[before..]);
        more
    }

    /// Reads exactly so many bytes, less at the end.
    pub async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count && self.read().await {}
        let count = count.min(self.buffer.len());
        self.buffer.drain(..count).collect()
    }

    /// Reads and forgets up to `limit` bytes without a record of them; gives the count, 0 at the end.
    pub async fn swallow(&mut self, limit: usize) -> usize {
        if !self.buffer.is_empty() {
            let taken = self.buffer.len().min(limit);
            self.buffer.drain(..taken);
            return taken;
        }
        let mut piece = vec![0; limit];
        self.stream.read(&mut piece).await.unwrap_or(0)
    }

    /// The next head, its body still unread; `None` when the connection ended or what came is no request.
    pub async fn head(&mut self) -> Option<Request> {
        loop {
            match parse_head(&self.buffer, Side::Request) {
                Ok(Some((head, length))) => {
                    self.buffer.drain(..length);
                    return Some(head);
                }
                Ok(None) => {
                    if !self.read().await {
                        return None;
                    }
                }
                Err(why) => return self.break_off(why),
            }
        }
    }

    /// The next whole request; `None` when the connection ended or what came is no request.
    pub async fn request(&mut self) -> Option<Request> {
        loop {
            match parse(&self.buffer, Side::Request) {
                Parsed::Whole(request, length) => {
                    self.buffer.drain(..length);
                    self.seen.lock().requests.push(request.clone());
                    return Some(request);
                }
                Parsed::Broken(why) => return self.break_off(why),
                Parsed::Partial => {
                    if !self.read().await {
                        return None;
                    }
                }
            }
        }
    }

    fn break_off<T>(&mut self, why: String) -> Option<T> {
        self.seen.lock().broken.push(why);
        None
    }

    /// Sends; whether Lintel still listens is its affair.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok() && self.stream.flush().await.is_ok()
    }

    /// A 200 with a body, bare for HEAD.
    pub async fn answer(&mut self, request: &Request, name: &str, body: &[u8]) {
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nX-Server: {name}\r\n\r\n");
        let body = if request.method() == "HEAD" { &[] } else { body };
        self.send([head.as_bytes(), body].concat()).await;
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        self.stream.arm_reset();
    }

    /// Sends nothing more, and goes on reading.
    pub async fn half_close(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Says nothing until Lintel ends the connection.
    pub async fn hang(&mut self) {
        while self.read().await {}
    }

    /// The bare stream and what was read of it and not used: for WebSockets.
    pub fn stream(&mut self) -> (&mut Box<dyn Stream>, Vec<u8>) {
        (&mut self.stream, std::mem::take(&mut self.buffer))
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.seen.lock().closed[self.index] = true;
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::client::{Connection, get, raw};

    #[tokio::test]
    async fn a_polite_origin_answers_with_its_name_and_records_what_it_saw() {
        let origin = Origin::named("one");
        let mut connection = Connection::open(origin.socket_address()).await;
        let bytes = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(connection.exchange(bytes).await.text(), "hi");
        assert_eq!(connection.get("/").await.text(), "one");
        assert_eq!((origin.count(), origin.connections(), origin.open()), (2, 1, 1));
        assert!(origin.bytes().starts_with(bytes.as_bytes()));
        drop(connection);
        origin.all_closed().await;
    }

    #[tokio::test]
    async fn a_killed_origin_refuses_and_a_revived_one_answers_at_the_same_address() {
        let origin = Origin::named("one");
        let mut connection = Connection::open(origin.socket_address()).await;
        connection.get("/").await;
        origin.kill().await;
        assert_eq!(connection.rest().await, b"");
        assert!(tokio::net::TcpStream::connect(origin.socket_address()).await.is_err());
        origin.revive();
        assert_eq!(get(origin.socket_address(), "/").await.text(), "one");
    }

    #[tokio::test]
    async fn a_script_sends_in_pieces_and_resets() {
        let origin = Origin::scripted(|mut talk| async move {
            talk.request().await;
            talk.send("HTTP/1.1 200 OK\r\n").await;
            talk.send("Content-Length: 1\r\n\r\n").await;
            talk.reset();
        });
        let mut connection = Connection::open(origin.socket_address()).await;
        connection.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(connection.try_response_to("GET").await.is_err());
    }

    #[tokio::test]
    async fn what_no_strict_server_takes_is_recorded_as_broken() {
        let origin = Origin::named("one");
        raw(origin.socket_address(), "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n").await;
        assert_eq!(origin.broken(), ["2 Host fields"]);
    }
}
