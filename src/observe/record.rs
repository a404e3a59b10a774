//! What one line of the access log says: one record per exchange, and one per connection that ended before a complete
//! head. It borrows all text; `access_log` turns it into bytes at once.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::fault::Fault;

/// One exchange, or one connection that ended before a complete head. Empty text and `None` are left out of the line.
#[derive(Clone, Debug, Default)]
pub struct Record<'a> {
    /// When it began, since 1970-01-01T00:00:00Z.
    pub time: Duration,
    /// Name of the listener.
    pub listener: &'a str,
    /// Who asked: behind trusted proxies the address they announce. `None` on a unix socket.
    pub client: Option<IpAddr>,
    /// The other end of the connection, or what its PROXY header announces.
    pub peer: Option<SocketAddr>,
    /// Host that the request names.
    pub host: &'a [u8],
    /// Empty when there was no complete head.
    pub method: &'a [u8],
    /// Path and query as sent.
    pub target: &'a [u8],
    /// `HTTP/1.1`.
    pub version: &'a str,
    pub route: &'a str,
    pub pool: &'a str,
    /// Identity of the server that was tried last.
    pub server: &'a str,
    /// Status sent to the client; 499 when it left before one was; `None` when nothing can be said.
    pub status: Option<u16>,
    pub fault: Option<Fault>,
    /// The error chain behind the fault, short, in lower case.
    pub detail: &'a str,
    /// Bytes of the request: head and body, without TLS.
    pub bytes_in: u64,
    /// Bytes of the response: head and body, without TLS.
    pub bytes_out: u64,
    /// Bytes of the request's body, without chunk framing.
    pub body_in: u64,
    /// Bytes of the response's body, without chunk framing.
    pub body_out: u64,
    /// From the request's first byte to the end.
    pub duration: Duration,
    /// In the pool's queue.
    pub queue: Option<Duration>,
    /// Making the connection to the server, with TLS; `None` when one was reused.
    pub connect: Option<Duration>,
    /// From the request's first byte to the first byte of the server's response.
    pub first_byte: Option<Duration>,
    /// Servers tried; 0 when Lintel answered itself.
    pub attempts: u32,
    /// The connection to the server had served before.
    pub reused: bool,
    /// Upgraded to a tunnel (WebSocket).
    pub tunnel: bool,
    /// Final status of a gRPC call; `None` when it is none, or nothing was said.
    pub grpc_status: Option<u8>,
    /// `TLSv1.3`; empty without TLS.
    pub tls_version: &'a str,
    /// Server name that the client sent in TLS.
    pub sni: &'a str,
    pub request_id: &'a str,
    pub user_agent: &'a [u8],
    pub referer: &'a [u8],
}
