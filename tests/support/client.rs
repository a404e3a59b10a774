//! A client of one connection: sends exactly the bytes it is given and reads responses strictly.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::message::{Parsed, Response, Side, parse};
use super::stream::Stream;
use super::time::within;

/// A connection to Lintel.
pub struct Connection {
    stream: Box<dyn Stream>,
    /// Read, and not yet part of a returned response.
    buffer: Vec<u8>,
    ended: bool,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        let stream = within("a connection to Lintel", TcpStream::connect(address)).await;
        let stream = stream.unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        Self::over(stream)
    }

    pub fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: Vec::new(), ended: false }
    }

    /// Sends. Whether the other end still listens shows when reading.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within("sending", self.stream.write_all(bytes.as_ref())).await;
        let _ = self.stream.flush().await;
    }

    /// Sends each piece in a packet of its own, as far as the system allows.
    pub async fn send_pieces(&mut self, pieces: &[impl AsRef<[u8]>]) {
        for piece in pieces {
            self.send(piece).await;
            tokio::task::yield_now().await;
        }
    }

    /// Sends nothing more, and goes on reading.
    pub async fn half_close(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        self.stream.arm_reset();
    }

    /// Reads some more bytes into the buffer; false at the end.
    async fn fill(&mut self) -> bool {
        let read = self.stream.read_buf(&mut self.buffer).await;
        // A reset ends the stream as well; what came before it counts.
        let more = matches!(read, Ok(count) if count > 0);
        self.ended |= !more;
        more
    }

    /// Whether the other end has closed it, as far as that is known without waiting.
    pub async fn is_over(&mut self) -> bool {
        while !self.ended && tokio::time::timeout(Duration::ZERO, self.fill()).await.is_ok_and(|more| more) {}
        self.ended
    }

    /// The next response to a request of `method`, 1xx ones too.
    pub async fn try_response_to(&mut self, method: &str) -> Result<Response, String> {
        let reading = async {
            loop {
                match parse(&self.buffer, Side::Response { to: method, ended: self.ended }) {
                    Parsed::Whole(response, length) => {
                        self.buffer.drain(..length);
                        return Ok(response);
                    }
                    Parsed::Broken(why) => return Err(why),
                    Parsed::Partial if self.ended => {
                        let got =
                            String::from_utf8_lossy(&self.buffer[..self.buffer.len().min(400)]).into_owned();
                        return Err(format!("the connection ended inside a response, after {got:?}"));
                    }
                    Parsed::Partial => self.fill().await,
                };
            }
        };
        within("a response", reading).await
    }

    pub async fn response_to(&mut self, method: &str) -> Response {
        self.try_response_to(method).await.unwrap_or_else(|why| panic!("no response: {why}"))
    }

    pub async fn response(&mut self) -> Response {
        self.response_to("GET").await
    }

    /// Sends a GET of `path` for the host `a.test` and reads its response.
    pub async fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")).await;
        self.response().await
    }

    /// Sends a whole request and reads the final response.
    pub async fn exchange(&mut self, request: &str) -> Response {
        self.send(request).await;
        let method = request.split(' ').next().unwrap_or_default().to_owned();
        loop {
            let response = self.response_to(&method).await;
            if response.status() >= 200 {
                return response;
            }
        }
    }

    /// Reads until at least `count` bytes are there, and takes them out.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let reading = async { while self.buffer.len() < count && self.fill().await {} };
        within("bytes from Lintel", reading).await;
        let count = count.min(self.buffer.len());
        self.buffer.drain(..count).collect()
    }

    /// Everything up to and with these bytes.
    pub async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        let mut read = Vec::new();
        while !read.ends_with(end) {
            let next = self.bytes(1).await;
            assert!(!next.is_empty(), "the connection ended behind {:?}", String::from_utf8_lossy(&read));
            read.extend(next);
        }
        read
    }

    /// Everything up to the end of the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        within("the end of the connection", async { while self.fill().await {} }).await;
        std::mem::take(&mut self.buffer)
    }

    /// Reads and throws away up to the end; gives the count. For bodies that no test should hold.
    pub async fn drain(&mut self) -> u64 {
        let mut count = self.buffer.len() as u64;
        self.buffer = Vec::new();
        let mut piece = vec![0; 256 * 1024];
        while let Ok(read @ 1..) = self.stream.read(&mut piece).await {
            count += read as u64;
        }
        self.ended = true;
        count
    }

    /// The bare stream, with what was read and not used.
    pub fn into_parts(self) -> (Box<dyn Stream>, Vec<u8>) {
        (self.stream, self.buffer)
    }
}

/// Sends `bytes` on a new connection and reads to its end.
pub async fn raw(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut connection = Connection::open(address).await;
    connection.send(bytes).await;
    connection.rest().await
}

/// A GET on a connection of its own.
pub async fn get(address: SocketAddr, path: &str) -> Response {
    try_get(address, path).await.unwrap_or_else(|why| panic!("GET {path}: {why}"))
}

/// As `get`, with what went wrong.
pub async fn try_get(address: SocketAddr, path: &str) -> Result<Response, String> {
    let stream = within("a connection to Lintel", TcpStream::connect(address)).await;
    let mut connection = Connection::over(stream.map_err(|error| error.to_string())?);
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    connection.send(request).await;
    connection.try_response_to("GET").await
}
