//! The PROXY header of both versions: what splits cannot change, and a slow reading of what it says.

use lintel::listener::proxy_protocol::{Header, parse, read_header};
use tokio::io::AsyncRead;

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::task::Poll;

use crate::cuts::{self, Cut};
use crate::memory::{Memory, drive};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

pub fn check(input: &[u8]) {
    let whole = parse(input);
    // What was said once stays so whatever follows; what was not said yet must not be the end of it.
    for end in 0..input.len() {
        match parse(&input[..end]) {
            Ok(None) => {}
            early => assert_eq!(early, whole, "said after {end} bytes and changed later"),
        }
    }
    match (reference(input), &whole) {
        (Some((header, length)), found) => assert_eq!(*found, Ok(Some((header, length)))),
        (None, found) => assert!(!matches!(found, Ok(Some(_))), "taken: {found:?}"),
    }
    for cut in cuts::all(input).into_iter().chain([Cut::Whole]) {
        check_connection(input, cut, whole.ok().flatten());
    }
}

/// Read from a connection it is the same header, and what follows it is all there.
fn check_connection(input: &[u8], cut: Cut, wanted: Option<(Header, usize)>) {
    let (memory, _) = Memory::ending(cut.pieces(input));
    let mut transport = memory.transport();
    let found = {
        let mut reading = pin!(read_header(&mut transport));
        drive(&memory, |cx| reading.as_mut().poll(cx)).expect("the connection ends")
    };
    match (found, wanted) {
        (Ok(header), Some((wanted, length))) => {
            assert_eq!(header, wanted, "{cut:?}");
            assert_eq!(rest(&memory, &mut transport), &input[length..], "{cut:?}: bytes behind the header");
        }
        (Err(_), None) => {}
        (found, wanted) => panic!("{cut:?}: {found:?} in place of {wanted:?}"),
    }
}

fn rest<S: AsyncRead + Unpin>(memory: &Memory, stream: &mut S) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let mut block = [0; 64];
        let mut buf = tokio::io::ReadBuf::new(&mut block);
        let read = drive(memory, |cx| match Pin::new(&mut *stream).poll_read(cx, &mut buf) {
            Poll::Ready(read) => Poll::Ready(read.is_ok()),
            Poll::Pending => Poll::Pending,
        });
        if read != Some(true) || buf.filled().is_empty() {
            return all;
        }
        all.extend_from_slice(buf.filled());
    }
}

/// The header, with all bytes at hand: by the letter of sections 2.1 and 2.2.
fn reference(bytes: &[u8]) -> Option<(Header, usize)> {
    if bytes.starts_with(SIGNATURE) { version_2(bytes) } else { version_1(bytes) }
}

fn version_1(bytes: &[u8]) -> Option<(Header, usize)> {
    let end = (0..bytes.len().min(106)).find(|at| bytes[*at..].starts_with(b"\r\n"))?;
    let line = std::str::from_utf8(&bytes[..end]).ok()?;
    if line.contains(['\r', '\n']) {
        return None;
    }
    let words: Vec<&str> = line.split(' ').collect();
    let header = match words[..] {
        ["PROXY", "UNKNOWN", ..] => Header::Unchanged,
        ["PROXY", family @ ("TCP4" | "TCP6"), source, destination, from, to] => {
            let address = |text: &str| -> Option<IpAddr> {
                if family == "TCP4" {
                    text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
                } else {
                    text.parse::<Ipv6Addr>().ok().map(|address| address.to_canonical())
                }
            };
            let port = |text: &str| text.parse::<u16>().ok().filter(|port| port.to_string() == text);
            Header::Inet {
                source: SocketAddr::new(address(source)?, port(from)?),
                destination: SocketAddr::new(address(destination)?, port(to)?),
            }
        }
        _ => return None,
    };
    Some((header, end + 2))
}

fn version_2(bytes: &[u8]) -> Option<(Header, usize)> {
    let (command, family) = (*bytes.get(12)?, *bytes.get(13)?);
    let length = usize::from(*bytes.get(14)?) * 256 + usize::from(*bytes.get(15)?);
    if !matches!(command, 0x20 | 0x21) || length > 4096 || bytes.len() < 16 + length {
        return None;
    }
    let all = Some((Header::Unchanged, 16 + length));
    if command == 0x20 || family == 0 {
        return all;
    }
    let block = &bytes[16..16 + length];
    let size = match family {
        0x11 => 4,
        0x21 => 16,
        0x31 => 106,
        _ => return None,
    };
    let (header, extensions) = if size == 106 {
        (Header::Unix, block.get(216..)?)
    } else {
        let extensions = block.get(2 * size + 4..)?;
        let address = |at: usize| -> IpAddr {
            match <[u8; 4]>::try_from(&block[at..at + size]) {
                Ok(four) => IpAddr::from(four),
                Err(_) => IpAddr::from(<[u8; 16]>::try_from(&block[at..at + size]).expect("16 bytes"))
                    .to_canonical(),
            }
        };
        let port = |at: usize| u16::from(block[at]) * 256 + u16::from(block[at + 1]);
        let socket = |at: usize, place: usize| SocketAddr::new(address(at), port(place));
        let header = Header::Inet { source: socket(0, 2 * size), destination: socket(size, 2 * size + 2) };
        (header, extensions)
    };
    let mut rest = extensions;
    while !rest.is_empty() {
        let length = usize::from(*rest.get(1)?) * 256 + usize::from(*rest.get(2)?);
        let value = rest.get(3..3 + length)?;
        if rest[0] == 3 {
            let start = 16 + length_before(block, rest) + 3;
            let mut zeroed = bytes[..16 + block.len()].to_vec();
            zeroed.get_mut(start..start + 4)?.fill(0);
            if value.len() != 4 || value != crc32c(&zeroed).to_be_bytes() {
                return None;
            }
        }
        rest = &rest[3 + length..];
    }
    Some((header, 16 + block.len()))
}

fn length_before(block: &[u8], rest: &[u8]) -> usize {
    block.len() - rest.len()
}

/// By long division, bit by bit, the most significant first: another way than Lintel's.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut remainder = u32::MAX;
    for byte in bytes {
        remainder ^= u32::from(byte.reverse_bits()) << 24;
        for _ in 0..8 {
            let top = remainder >> 31;
            remainder = (remainder << 1) ^ if top == 1 { 0x1edc_6f41 } else { 0 };
        }
    }
    (!remainder).reverse_bits()
}
