//! The PROXY protocol, versions 1 and 2, as HAProxy's doc/proxy-protocol.txt has it: who the client behind a balancer is.
//!
//! The parser is pure and never guesses: what it does not know for sure is an error, and the connection ends. From whom a
//! header is believed, and how long it may take, is the caller's.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use crate::net::Transport;

/// A line of version 1 with its CRLF (section 2.1).
const MAX_V1: usize = 107;
/// What follows the fixed part of version 2: addresses and TLVs. Certificates in TLVs fit; more is not waited for.
const MAX_V2: usize = 4096;
/// Signature, command, family, length (section 2.2).
const FIXED_V2: usize = 16;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const PREFIX: &[u8] = b"PROXY ";
/// TLV type PP2_TYPE_CRC32C (section 2.2.4).
const TYPE_CRC32C: u8 = 3;

/// What a header says about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// `LOCAL`, `UNKNOWN`, `UNSPEC`: the balancer speaks for itself or cannot tell; the socket's addresses stay.
    Unchanged,
    /// The client's address and the one it connected to. IPv4-mapped IPv6 addresses come as IPv4.
    Inet { source: SocketAddr, destination: SocketAddr },
    /// The client came over a unix socket of the balancer; it has no address, so the socket's stay.
    Unix,
}

/// Why bytes are not a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderError {
    #[error("the connection does not begin with a PROXY header")]
    NotThere,
    #[error("the PROXY header is longer than allowed")]
    TooLong,
    #[error("the line of the PROXY header is malformed")]
    BadLine,
    #[error("the PROXY header names an address that is none")]
    BadAddress,
    #[error("the PROXY header is of version {0}, and only 1 and 2 are known")]
    Version(u8),
    #[error("the command {0} of the PROXY header is unknown")]
    Command(u8),
    #[error("the address family and transport {0:#04x} of the PROXY header are not those of a stream")]
    Family(u8),
    #[error("the PROXY header is too short for its addresses")]
    TooShort,
    #[error("the extensions of the PROXY header are malformed")]
    BadExtension,
    #[error("the checksum of the PROXY header is wrong")]
    Checksum,
}

/// Why no header could be read from a connection.
#[derive(Debug, thiserror::Error)]
pub enum ReadHeaderError {
    /// Closed or reset before a byte.
    #[error("the peer closed without a byte")]
    Silent,
    #[error("the peer closed in the middle of the PROXY header")]
    Closed,
    #[error(transparent)]
    Header(#[from] ProxyHeaderError),
    #[error("the PROXY header could not be read: {0}")]
    Io(io::Error),
}

impl ReadHeaderError {
    /// The value of a metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Closed => "client_closed",
            Self::Header(ProxyHeaderError::NotThere) => "no_proxy_header",
            Self::Header(_) => "bad_proxy_header",
            Self::Io(_) => "io",
        }
    }
}

/// Reads a header from the first bytes of a connection: the header and its length, or `None` while more are needed.
///
/// The outcome does not depend on how the bytes were split on their way.
pub fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, ProxyHeaderError> {
    if starts(bytes, SIGNATURE) {
        return if bytes.len() < FIXED_V2 { Ok(None) } else { parse_v2(bytes) };
    }
    if starts(bytes, PREFIX) {
        return parse_v1(bytes);
    }
    Err(ProxyHeaderError::NotThere)
}

/// Whether `bytes` begin with `expected` as far as they go.
fn starts(bytes: &[u8], expected: &[u8]) -> bool {
    bytes.iter().zip(expected).all(|(byte, expected)| byte == expected)
}

fn parse_v1(bytes: &[u8]) -> Result<Option<(Header, usize)>, ProxyHeaderError> {
    let window = &bytes[..bytes.len().min(MAX_V1)];
    let Some(end) = window.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if window.len() == MAX_V1 { Err(ProxyHeaderError::TooLong) } else { Ok(None) };
    };
    match (window[end], window.get(end + 1)) {
        (b'\r', Some(b'\n')) => {}
        (b'\r', None) if window.len() == MAX_V1 => return Err(ProxyHeaderError::TooLong),
        (b'\r', None) => return Ok(None),
        _ => return Err(ProxyHeaderError::BadLine),
    }
    let line =
        std::str::from_utf8(&window[PREFIX.len().min(end)..end]).map_err(|_| ProxyHeaderError::BadLine)?;
    let header = match line.split_once(' ') {
        Some(("TCP4", rest)) => addresses::<Ipv4Addr>(rest)?,
        Some(("TCP6", rest)) => addresses::<Ipv6Addr>(rest)?,
        // Whatever stands behind UNKNOWN must be ignored.
        Some(("UNKNOWN", _)) => Header::Unchanged,
        None if line == "UNKNOWN" => Header::Unchanged,
        _ => return Err(ProxyHeaderError::BadLine),
    };
    Ok(Some((header, end + 2)))
}

/// `source destination source-port destination-port`, one space between each.
fn addresses<A: FromStr + Into<IpAddr>>(text: &str) -> Result<Header, ProxyHeaderError> {
    let mut parts = text.split(' ');
    let mut part = || parts.next().ok_or(ProxyHeaderError::BadLine);
    let (source, destination, source_port, destination_port) = (part()?, part()?, part()?, part()?);
    if parts.next().is_some() {
        return Err(ProxyHeaderError::BadLine);
    }
    let address = |text: &str| text.parse::<A>().map(Into::into).map_err(|_| ProxyHeaderError::BadAddress);
    Ok(Header::Inet {
        source: socket(address(source)?, port(source_port)?),
        destination: socket(address(destination)?, port(destination_port)?),
    })
}

fn port(text: &str) -> Result<u16, ProxyHeaderError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain).ok_or(ProxyHeaderError::BadAddress)
}

fn socket(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

/// `bytes` hold at least the fixed part.
fn parse_v2(bytes: &[u8]) -> Result<Option<(Header, usize)>, ProxyHeaderError> {
    let (command, family) = (bytes[12], bytes[13]);
    if command >> 4 != 2 {
        return Err(ProxyHeaderError::Version(command >> 4));
    }
    if command & 0xf > 1 {
        return Err(ProxyHeaderError::Command(command & 0xf));
    }
    let length = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if length > MAX_V2 {
        return Err(ProxyHeaderError::TooLong);
    }
    let total = FIXED_V2 + length;
    let Some(header) = bytes.get(..total) else { return Ok(None) };
    // For LOCAL the family and all that follows are to be skipped unseen.
    if command & 0xf == 0 {
        return Ok(Some((Header::Unchanged, total)));
    }
    let block = &header[FIXED_V2..];
    let (announced, used) = match family {
        0x00 => return Ok(Some((Header::Unchanged, total))),
        0x11 => (inet::<4>(block)?, 12),
        0x21 => (inet::<16>(block)?, 36),
        0x31 => (Header::Unix, 216),
        family => return Err(ProxyHeaderError::Family(family)),
    };
    let extensions = block.get(used..).ok_or(ProxyHeaderError::TooShort)?;
    check_extensions(header, total - extensions.len())?;
    Ok(Some((announced, total)))
}

/// Two addresses of `N` bytes, then two ports, in network order.
fn inet<const N: usize>(block: &[u8]) -> Result<Header, ProxyHeaderError>
where
    IpAddr: From<[u8; N]>,
{
    let take = |from: usize| block.get(from..from + N).and_then(|octets| <[u8; N]>::try_from(octets).ok());
    let port =
        |from: usize| block.get(from..from + 2).map(|octets| u16::from_be_bytes([octets[0], octets[1]]));
    match (take(0), take(N), port(2 * N), port(2 * N + 2)) {
        (Some(source), Some(destination), Some(source_port), Some(destination_port)) => Ok(Header::Inet {
            source: socket(source.into(), source_port),
            destination: socket(destination.into(), destination_port),
        }),
        _ => Err(ProxyHeaderError::TooShort),
    }
}

/// Walks the TLVs from `start` to the end of the header; verifies the checksum where there is one.
fn check_extensions(header: &[u8], start: usize) -> Result<(), ProxyHeaderError> {
    let mut at = start;
    while at < header.len() {
        let [kind, high, low] = header
            .get(at..at + 3)
            .and_then(|head| head.try_into().ok())
            .ok_or(ProxyHeaderError::BadExtension)?;
        let value = at + 3..at + 3 + usize::from(u16::from_be_bytes([high, low]));
        let sum = header.get(value.clone()).ok_or(ProxyHeaderError::BadExtension)?;
        if kind == TYPE_CRC32C {
            let sum = <[u8; 4]>::try_from(sum).map_err(|_| ProxyHeaderError::BadExtension)?;
            // Made over the whole header with the sum's own place as zeros.
            let mut crc = Crc32c::new();
            crc.add(&header[..value.start]);
            crc.add(&[0; 4]);
            crc.add(&header[value.end..]);
            if crc.sum() != u32::from_be_bytes(sum) {
                return Err(ProxyHeaderError::Checksum);
            }
        }
        at = value.end;
    }
    Ok(())
}

/// CRC-32C (RFC 3720 appendix B.4), bit by bit: headers are short and few.
struct Crc32c(u32);

impl Crc32c {
    fn new() -> Self {
        Self(u32::MAX)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 ^= u32::from(*byte);
            for _ in 0..8 {
                self.0 = (self.0 >> 1) ^ (0x82f6_3b78 & (self.0 & 1).wrapping_neg());
            }
        }
    }

    fn sum(&self) -> u32 {
        !self.0
    }
}

/// Reads the header from a connection; the bytes behind it are put back and come with the next read.
///
/// The deadline is the caller's, who drops the future and the connection.
pub async fn read_header(transport: &mut Transport) -> Result<Header, ReadHeaderError> {
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        match read_more(transport, &mut bytes).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset && before == 0 => {
                return Err(ReadHeaderError::Silent);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(ReadHeaderError::Closed);
            }
            Err(error) => return Err(ReadHeaderError::Io(error)),
        }
        if bytes.is_empty() {
            return Err(ReadHeaderError::Silent);
        }
        if bytes.len() == before {
            return Err(ReadHeaderError::Closed);
        }
        if let Some((header, length)) = parse(&bytes)? {
            transport.put_back(&bytes[length..]);
            return Ok(header);
        }
    }
}

async fn read_more(transport: &mut Transport, bytes: &mut Vec<u8>) -> io::Result<()> {
    // Room for a header and the TLS hello that often comes with it; it lives within one poll.
    poll_fn(|cx| {
        let mut block = [0; 2048];
        let mut read = ReadBuf::new(&mut block);
        ready!(Pin::new(&mut *transport).poll_read(cx, &mut read))?;
        bytes.extend_from_slice(read.filled());
        Poll::Ready(Ok(()))
    })
    .await
}

#[cfg(test)]
mod tests;
