//! A thousand WebSockets on ten connections: the end of one connection ends its own tunnels, and nobody else's.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use futures_util::future::join_all;

use crate::fronts::before;
use crate::support::http2::Http2;
use crate::support::websocket::echo_origin;
use crate::support::{Lintel, eventually};

const CONNECTIONS: usize = 10;
const STREAMS: usize = 100;
const KILLED: usize = 3;

/// One connection and its WebSockets.
struct Group {
    number: usize,
    client: Http2,
    streams: Vec<u32>,
}

impl Group {
    /// Opens a connection, and all its WebSockets at once, each on a path of its own.
    async fn open(address: SocketAddr, number: usize) -> Self {
        let mut client = Http2::open(address).await;
        let mut streams = Vec::new();
        for path in paths(number) {
            let fields = [
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":authority", "a.test"),
                (":path", &path),
                ("sec-websocket-version", "13"),
            ];
            streams.push(client.start(&fields, false).await);
        }
        for stream in &streams {
            let reply = client.head(*stream).await;
            assert_eq!(reply.status, 200, "stream {stream} of connection {number}: {:?}", reply.end);
        }
        Self { number, client, streams }
    }

    /// Every WebSocket speaks before the first one listens; each must hear its own text and nothing else.
    async fn echo(&mut self, word: &str) {
        let mut awaited = Vec::new();
        for stream in &self.streams {
            let text = format!("{word} from {stream} of {}", self.number);
            let length = u8::try_from(text.len()).ok().filter(|length| *length < 126).expect("a short text");
            let so_far = self.client.half(*stream).body.len();
            // Masked with zeros there, bare on the way back (RFC 6455 section 5.2).
            let masked = [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat();
            self.client.body(*stream, masked, false).await;
            awaited.push((*stream, so_far, [&[0x81, length], text.as_bytes()].concat()));
        }
        for (stream, so_far, bare) in awaited {
            let reply = self.client.received(stream, so_far + bare.len()).await;
            let came = reply.body.get(so_far..).unwrap_or_default();
            let heard = String::from_utf8_lossy(came);
            assert_eq!(came, bare, "stream {stream} of {}: {:?}, {heard:?}", self.number, reply.end);
        }
    }
}

fn paths(number: usize) -> Vec<String> {
    (0..STREAMS).map(|socket| format!("/{number}/{socket}")).collect()
}

/// Opened by clients and not over.
async fn tunnels_open(lintel: &Lintel) -> f64 {
    lintel.metrics().await.sum("lintel_pool_tunnels_open", &[("pool", "web")])
}

/// The targets in the records of tunnels that are over, in order.
fn ended(lintel: &Lintel) -> Vec<String> {
    let records = lintel.access_log.records();
    let tunnels = records.iter().filter(|record| record["tunnel"] == true);
    let mut targets: Vec<String> =
        tunnels.map(|record| record["target"].as_str().unwrap_or_default().to_owned()).collect();
    targets.sort();
    targets
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_websockets_on_ten_connections_end_with_their_own_connection() {
    const ALL: usize = CONNECTIONS * STREAMS;
    let origin = echo_origin("one");
    let lintel = before(&[&origin], "").await;
    let mut groups = join_all((0..CONNECTIONS).map(|number| Group::open(lintel.http(), number))).await;
    lintel.metric("lintel_pool_tunnels_open", &[("pool", "web")], ALL as f64).await;
    join_all(groups.iter_mut().map(|group| group.echo("hello"))).await;
    assert_eq!((origin.open(), ended(&lintel).len()), (ALL, 0));

    let killed = groups.remove(KILLED);
    killed.client.arm_reset();
    drop(killed);
    let left = ALL - STREAMS;
    let fell = async || (tunnels_open(&lintel).await == left as f64).then_some(());
    eventually("the tunnels of the connection that was killed are over", fell).await;
    let recorded = async || (ended(&lintel).len() >= STREAMS).then_some(());
    eventually("each has its record", recorded).await;
    let closed = async || (origin.open() == left).then_some(());
    eventually("their connections to the server are closed", closed).await;

    // All others are as they were, and stay so.
    join_all(groups.iter_mut().map(|group| group.echo("again"))).await;
    let mut its_own = paths(KILLED);
    its_own.sort();
    assert_eq!(ended(&lintel), its_own);
    assert_eq!((tunnels_open(&lintel).await, origin.open()), (left as f64, left));

    drop(groups);
    origin.all_closed().await;
    let is_free = async || (lintel.metrics().await.sum("lintel_server_in_flight", &[]) == 0.0).then_some(());
    eventually("every place in flight is free again", is_free).await;
    let recorded = async || (ended(&lintel).len() >= ALL).then_some(());
    eventually("every tunnel has its record", recorded).await;
    let different: BTreeSet<String> = ended(&lintel).into_iter().collect();
    assert_eq!((ended(&lintel).len(), different.len()), (ALL, ALL), "one record each");
    lintel.stop().await;
}
