//! The attacks by HTTP/2: connections that idle, bombs in compressed fields, endless continuations, rapid resets.

use crate::attack::Ended;
use crate::front::Addresses;
use crate::support::http2::{End, Frame, Http2, code, encode, flag, get, kind};

const ENDED: u8 = flag::END_HEADERS | flag::END_STREAM;

/// Greets, and asks for nothing.
pub async fn idle(at: Addresses) -> std::io::Result<Ended> {
    let mut client = Http2::open(at.http2).await;
    client.closed().await;
    Ok(goaway(&client))
}

/// One entry of 4,000 bytes for the table, and 12,000 times a byte that stands for it (RFC 7541 section 7.3).
pub async fn hpack_bomb(at: Addresses) -> std::io::Result<Ended> {
    let mut client = Http2::open(at.http2).await;
    let mut block = encode(&get("/bomb"));
    let mut entry = encode(&[("x", "y".repeat(4000))]);
    entry[0] = 0x40;
    block.extend_from_slice(&entry);
    block.extend_from_slice(&[0xbe; 12_000]);
    client.send(Frame::new(kind::HEADERS, ENDED, 1, block)).await;
    let reply = client.response(1).await;
    Ok(match reply.end {
        End::GoAway(code) => Ended::GoAway(code),
        _ => Ended::Answered(reply.status),
    })
}

/// A head that never ends, in frames without a byte.
pub async fn continuations(at: Addresses) -> std::io::Result<Ended> {
    let client = Http2::open(at.http2).await;
    let mut frames = vec![Frame::new(kind::HEADERS, flag::END_STREAM, 1, encode(&get("/endless")))];
    frames.extend(vec![Frame::new(kind::CONTINUATION, 0, 1, *b""); 100]);
    flooded(client, frames).await
}

/// Three hundred requests and their resets, where two hundred at once are allowed.
pub async fn rapid_resets(at: Addresses) -> std::io::Result<Ended> {
    let client = Http2::open(at.http2).await;
    let both = |stream: u32| {
        [Frame::new(kind::HEADERS, ENDED, stream, encode(&get("/hold"))), Frame::reset(stream, code::CANCEL)]
    };
    let frames = (0..300).flat_map(|number| both(1 + 2 * number)).collect();
    flooded(client, frames).await
}

async fn flooded(mut client: Http2, frames: Vec<Frame>) -> std::io::Result<Ended> {
    client.raw(frames.iter().flat_map(Frame::bytes).collect::<Vec<u8>>()).await;
    client.closed().await;
    Ok(goaway(&client))
}

fn goaway(client: &Http2) -> Ended {
    client.goaways.last().map_or(Ended::Closed, |(_, code)| Ended::GoAway(*code))
}
