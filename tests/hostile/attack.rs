//! The attacks: what one hostile connection does from its beginning to its end, and how Lintel must end it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

use crate::front::Addresses;
use crate::http2;
use crate::siege::Scale;

/// A kind of hostile client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// A head of which a byte comes now and then.
    SlowHeads,
    /// A body that stops after three bytes.
    SlowBodies,
    /// A body of which a byte comes now and then.
    DrippingBodies,
    /// Asks for 64 MiB and reads none of it.
    SlowReaders,
    /// No byte of a TLS handshake, or six.
    IdleTls,
    /// HTTP/2 without a request.
    IdleHttp2,
    /// Connects and goes, twenty times: at once, with half a head, with a whole request.
    Flood,
    /// Two hundred fields.
    ManyFields,
    /// A field of 40 KiB.
    HugeFields,
    /// A target of 9 KiB.
    LongTargets,
    /// Ten cookies of 3,000 bytes: within the limits.
    HugeCookies,
    /// A header block of 16 KiB that unpacks to 48 MB.
    HpackBombs,
    /// A head in 65 CONTINUATION frames and more.
    Continuations,
    /// Requests that are reset as soon as they were made.
    RapidResets,
    /// Connects and says nothing.
    Silence,
}

/// How a hostile connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// By an answer of this status, and then its end.
    Answered(u16),
    /// Without a byte.
    Closed,
    /// GOAWAY with this code.
    GoAway(u32),
    /// The attacker let go of it.
    Left,
    /// Something else.
    Otherwise,
}

impl Attack {
    /// Connections at once.
    pub fn connections(self, scale: Scale) -> usize {
        match (scale, self) {
            (Scale::Small, Self::RapidResets) => 10,
            (Scale::Small, Self::HpackBombs | Self::Continuations) => 40,
            (Scale::Small, Self::SlowReaders | Self::IdleHttp2) => 100,
            (Scale::Small, Self::Silence) => 1000,
            (Scale::Small, _) => 200,
            (Scale::Large, Self::HpackBombs | Self::Continuations | Self::RapidResets) => 20,
            (Scale::Large, Self::Flood | Self::ManyFields | Self::HugeFields | Self::LongTargets) => 50,
            (Scale::Large, Self::HugeCookies) => 50,
            (Scale::Large, Self::SlowReaders) => 1000,
            (Scale::Large, Self::Silence) => 10_000,
            (Scale::Large, _) => 2000,
        }
    }

    /// What a connection of this attack comes to, one of these.
    pub fn ends(self) -> &'static [Ended] {
        use crate::support::http2::code::ENHANCE_YOUR_CALM;
        match self {
            Self::SlowHeads | Self::SlowBodies | Self::DrippingBodies => &[Ended::Answered(408)],
            Self::IdleTls | Self::Silence => &[Ended::Closed],
            Self::IdleHttp2 => &[Ended::GoAway(0)],
            Self::Flood | Self::SlowReaders => &[Ended::Left],
            Self::ManyFields | Self::HugeFields => &[Ended::Answered(431)],
            Self::LongTargets => &[Ended::Answered(414)],
            Self::HugeCookies => &[Ended::Answered(200)],
            Self::HpackBombs => &[Ended::Answered(431), Ended::GoAway(ENHANCE_YOUR_CALM)],
            Self::Continuations | Self::RapidResets => &[Ended::GoAway(ENHANCE_YOUR_CALM)],
        }
    }

    /// The metric that counts it by docs/limits.md, where there is one.
    pub fn metric(self) -> Option<(&'static str, [(&'static str, &'static str); 2])> {
        const TIMEOUTS: &str = "lintel_listener_timeouts_total";
        const MALFORMED: &str = "lintel_listener_malformed_total";
        const FLOODS: &str = "lintel_listener_http2_floods_total";
        let http = ("listener", "http");
        let http2 = ("listener", "http2");
        Some(match self {
            Self::SlowHeads => (TIMEOUTS, [http, ("kind", "head")]),
            Self::SlowBodies | Self::DrippingBodies => (TIMEOUTS, [http, ("kind", "body_idle")]),
            Self::SlowReaders => (TIMEOUTS, [http, ("kind", "write_idle")]),
            Self::IdleTls => (TIMEOUTS, [("listener", "https"), ("kind", "tls_handshake")]),
            Self::IdleHttp2 => (TIMEOUTS, [http2, ("kind", "keep_alive")]),
            Self::ManyFields => (MALFORMED, [http, ("reason", "too_many_headers")]),
            Self::HugeFields => (MALFORMED, [http, ("reason", "head_too_large")]),
            Self::LongTargets => (MALFORMED, [http, ("reason", "uri_too_long")]),
            Self::Continuations => (FLOODS, [http2, ("reason", "continuation")]),
            Self::RapidResets => (FLOODS, [http2, ("reason", "rapid_reset")]),
            Self::Flood | Self::HugeCookies | Self::HpackBombs | Self::Silence => return None,
        })
    }

    /// Bytes that a connection may cost at its most, with what waits to be sent and a server's connection.
    pub fn most_memory(self) -> u64 {
        match self {
            // 128 requests at once, each with its place at the server.
            Self::RapidResets => 128 * 32 * 1024,
            // Buffers are 64 KiB, two on each side.
            _ => 192 * 1024,
        }
    }

    /// `limits` of the listeners, where the attack is about them.
    pub fn limits(self, scale: Scale) -> &'static str {
        match (self, scale) {
            (Self::Silence, Scale::Small) => "connections: 900",
            _ => "",
        }
    }

    /// Plays one connection to its end, or until `stop`.
    pub async fn play(self, at: Addresses, number: usize, stop: &mut watch::Receiver<bool>) -> Ended {
        tokio::select! {
            biased;
            ended = self.go(at, number) => ended.unwrap_or(Ended::Otherwise),
            _ = stop.wait_for(|stop| *stop) => Ended::Left,
        }
    }

    async fn go(self, at: Addresses, number: usize) -> std::io::Result<Ended> {
        match self {
            Self::SlowHeads => dripping(at, "GET /slow HTTP/1.1\r\nHost: a.test\r\nX: ").await,
            Self::DrippingBodies => {
                let request = "POST /slow HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\n";
                dripping(at, request).await
            }
            Self::SlowBodies => {
                let request = "POST /slow HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\nabc";
                said(TcpStream::connect(at.http).await?, request).await
            }
            Self::SlowReaders => slow_reader(at).await,
            Self::IdleTls => {
                let hello = if number.is_multiple_of(2) { "" } else { "\x16\x03\x01\x02\0\x01" };
                said(TcpStream::connect(at.https).await?, hello).await
            }
            Self::Flood => flood(at, number).await,
            Self::ManyFields => {
                let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\n{}\r\n", "X: y\r\n".repeat(200));
                said(TcpStream::connect(at.http).await?, &request).await
            }
            Self::HugeFields => {
                let request =
                    format!("GET / HTTP/1.1\r\nHost: a.test\r\nX: {}\r\n\r\n", "y".repeat(40 * 1024));
                said(TcpStream::connect(at.http).await?, &request).await
            }
            Self::LongTargets => {
                let request = format!("GET /{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "x".repeat(9 * 1024));
                said(TcpStream::connect(at.http).await?, &request).await
            }
            Self::HugeCookies => {
                let cookies = format!("Cookie: {}\r\n", "a=b; ".repeat(600)).repeat(10);
                let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{cookies}\r\n");
                said(TcpStream::connect(at.http).await?, &request).await
            }
            Self::Silence => said(TcpStream::connect(at.http).await?, "").await,
            Self::IdleHttp2 => http2::idle(at).await,
            Self::HpackBombs => http2::hpack_bomb(at).await,
            Self::Continuations => http2::continuations(at).await,
            Self::RapidResets => http2::rapid_resets(at).await,
        }
    }
}

/// Sends these bytes, and reads to the end.
async fn said(mut stream: TcpStream, request: &str) -> std::io::Result<Ended> {
    // Lintel may have answered before it took all.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    // A reset behind an answer is an end as well.
    let _ = stream.read_to_end(&mut answer).await;
    Ok(ended_by(&answer))
}

fn ended_by(answer: &[u8]) -> Ended {
    let status = String::from_utf8_lossy(answer.get(9..12).unwrap_or_default()).parse();
    match status {
        Ok(status) if answer.starts_with(b"HTTP/1.1 ") => Ended::Answered(status),
        _ if answer.is_empty() => Ended::Closed,
        _ => Ended::Otherwise,
    }
}

/// Sends this, and then a byte now and then.
async fn dripping(at: Addresses, begin: &str) -> std::io::Result<Ended> {
    let stream = TcpStream::connect(at.http).await?;
    let (mut read, mut write) = stream.into_split();
    write.write_all(begin.as_bytes()).await?;
    let dripping = async {
        let mut drops = tokio::time::interval(Duration::from_millis(500));
        loop {
            drops.tick().await;
            if write.write_all(b"y").await.is_err() {
                // The answer is read to its end.
                return std::future::pending::<()>().await;
            }
        }
    };
    let mut answer = Vec::new();
    tokio::select! {
        () = dripping => {}
        _ = read.read_to_end(&mut answer) => {}
    }
    Ok(ended_by(&answer))
}

/// Never reads; whether Lintel has cut it shows in Lintel's metrics alone.
async fn slow_reader(at: Addresses) -> std::io::Result<Ended> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    let mut stream = socket.connect(at.http).await?;
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: a.test\r\n\r\n").await?;
    std::future::pending().await
}

async fn flood(at: Addresses, number: usize) -> std::io::Result<Ended> {
    for turn in 0..20 {
        let mut stream = TcpStream::connect(at.http).await?;
        let sent: &[u8] = match (number + turn) % 4 {
            0 => b"",
            1 => b"GET / HTTP/1.1\r\nHo",
            2 => b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
            _ => b"GET /large HTTP/1.1\r\nHost: a.test\r\n\r\n",
        };
        let _ = stream.write_all(sent).await;
        if turn.is_multiple_of(2) {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        }
    }
    Ok(Ended::Left)
}
