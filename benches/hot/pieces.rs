//! What is measured. A function a piece, never inlined, so that callgrind tells them apart by name.

use std::hint::black_box;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use lintel::health::passive::Outcome;
use lintel::net::Endpoint;
use lintel::observe::metrics::{ExchangeFigures, Metrics, PoolMetrics, RouteMetrics, ServerMetrics};
use lintel::pool::forwarded::{self, ForwardedHeader};
use lintel::pool::{Ask, Pool};
use lintel::proxy::forward::{self, Facts};
use lintel::route::spec::{MatchSpec, PathSpec};
use lintel::route::table::{Query, Table};
use lintel::route::{Host, NormalPath, split_target};
use lintel::server::{self, Health, Server};
use lintel::wire::body::Framing;
use lintel::wire::h1::outbound::Outbound;
use lintel::wire::h1::{request, response};
use lintel::wire::head::{Head, Known, Method};
use lintel::wire::rules::Limits;

/// As a browser asks.
const REQUEST: &[u8] = b"GET /r617/assets/app.js?v=3 HTTP/1.1\r\nHost: shop.example.com:8443\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: */*\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://shop.example.com/\r\nConnection: keep-alive\r\nCookie: session=0123456789abcdef; theme=dark\r\n\
    Sec-Fetch-Dest: script\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Site: same-origin\r\n\r\n";

/// As Express answers.
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nX-Powered-By: Express\r\nContent-Type: text/html; charset=utf-8\r\n\
    Content-Length: 128\r\nETag: W/\"80-abcdefghijklmnop\"\r\nDate: Mon, 23 Nov 2026 01:02:03 GMT\r\n\
    Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n";

const LIMITS: Limits = Limits { head: 32 * 1024, fields: 100, target: 8192 };
const ROUTES: usize = 1000;
const SERVERS: usize = 100;

/// Everything that the pieces work on, made once.
pub struct Pieces {
    request: Head,
    outgoing: Head,
    response: Head,
    routes: Table<usize>,
    pools: [Arc<Pool>; 6],
    now: Instant,
    random: u64,
    metrics: RouteMetrics,
}

type Piece = (&'static str, fn(&mut Pieces));

/// By the names that `budget.json` has.
pub const PIECES: &[Piece] = &[
    ("parse_request", parse_request),
    ("parse_response", parse_response),
    ("forward_request", forward_request),
    ("forward_response", forward_response),
    ("write_head", write_head),
    ("find_route", find_route),
    ("pick_round_robin", pick_round_robin),
    ("pick_least_connections", pick_least_connections),
    ("pick_p2c", pick_p2c),
    ("pick_least_time", pick_least_time),
    ("pick_random", pick_random),
    ("pick_consistent_hash", pick_consistent_hash),
    ("record_metrics", record_metrics),
];

impl Pieces {
    pub fn new() -> Self {
        let (mut request, mut response) = (Head::new(), Head::new());
        request::parse(REQUEST, LIMITS, &mut request).unwrap();
        response::parse(RESPONSE, Method::Get, &mut response).unwrap();
        let policies = ["round_robin", "least_connections", "p2c", "least_time", "random", "consistent_hash"];
        Self {
            request,
            response,
            outgoing: Head::new(),
            routes: Table::build((0..ROUTES).map(|place| (route(place), place))).unwrap(),
            pools: policies.map(pool),
            now: Instant::now(),
            random: 0,
            metrics: Metrics::new("0").route("site", Some("web")),
        }
    }

    /// A pick and its end, as an exchange has them.
    fn pick(&mut self, place: usize) {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let ask = Ask { hash: Some(self.random), ..Ask::new(self.now, self.random) };
        let acquiring = pin!(self.pools[place].acquire(&ask));
        let Poll::Ready(Ok(lease)) = acquiring.poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("a server is free");
        };
        let latency = Duration::from_micros(500 + self.random % 500);
        lease.observe(Outcome::Answered { status: 200, latency }, self.now);
    }
}

fn route(place: usize) -> MatchSpec {
    let path = Some(PathSpec::Text(format!("/r{place}/*")));
    MatchSpec {
        host: vec!["shop.example.com".to_owned()].into_iter().collect(),
        path,
        ..MatchSpec::default()
    }
}

fn pool(policy: &str) -> Arc<Pool> {
    let server = |place: usize| {
        let address = format!("10.0.0.{}:80", place + 1);
        let spec = server::Spec { address: address.parse().unwrap(), weight: 1, backup: false };
        let endpoint = Endpoint::Inet(address.parse().unwrap());
        let server =
            Server::new("web".into(), address.as_str().into(), endpoint, spec, ServerMetrics::default());
        server.state.record_health(Health::Up, 1);
        Arc::new(server)
    };
    let spec = serde_json::from_value(serde_json::json!({ "servers": [], "balance": policy })).unwrap();
    Pool::build("web".into(), spec, (0..SERVERS).map(server).collect(), None, PoolMetrics::default(), None)
}

#[inline(never)]
fn parse_request(pieces: &mut Pieces) {
    let parsed = request::parse_usual(black_box(REQUEST), LIMITS, &mut pieces.request);
    assert!(black_box(parsed).is_some());
}

#[inline(never)]
fn parse_response(pieces: &mut Pieces) {
    let parsed = response::parse_usual(black_box(RESPONSE), Method::Get, &mut pieces.response);
    assert!(black_box(parsed).is_some());
}

#[inline(never)]
fn forward_request(pieces: &mut Pieces) {
    let facts = Facts {
        peer: Some(IpAddr::from([192, 0, 2, 7])),
        trusted: false,
        scheme: "https",
        host: pieces.request.get(Known::Host).unwrap_or_default(),
        port: 8443,
        request_id: "0123456789abcdef0123456789abcdef",
        pseudonym: "lintel-0123456789abcdef",
        certificate: None,
        keep_expect: false,
        chunked: false,
        http2: false,
        told: forwarded::names(&ForwardedHeader::ALL),
    };
    forward::prepare_request(&pieces.request, &mut pieces.outgoing, black_box(&facts));
}

#[inline(never)]
fn forward_response(pieces: &mut Pieces) {
    pieces.outgoing.clone_from(&pieces.response);
    forward::prepare_response(&mut pieces.outgoing, Framing::Length(128));
    pieces.outgoing.set_known(Known::XRequestId, b"0123456789abcdef0123456789abcdef");
}

#[inline(never)]
fn write_head(pieces: &mut Pieces) {
    let mut outbound = Outbound::default();
    outbound.push_fields(black_box(&pieces.outgoing));
    black_box(&outbound);
}

#[inline(never)]
fn find_route(pieces: &mut Pieces) {
    let request = black_box(&pieces.request);
    let host = request.get(Known::Host).map(|host| Host::of(host).unwrap());
    let path = NormalPath::of(split_target(request.target()).0).unwrap();
    let query = Query { host: host.as_ref(), path: &path, head: request, listener: "https" };
    assert_eq!(pieces.routes.find(&query).unwrap().0, 617);
}

#[inline(never)]
fn pick_round_robin(pieces: &mut Pieces) {
    pieces.pick(0);
}

#[inline(never)]
fn pick_least_connections(pieces: &mut Pieces) {
    pieces.pick(1);
}

#[inline(never)]
fn pick_p2c(pieces: &mut Pieces) {
    pieces.pick(2);
}

#[inline(never)]
fn pick_least_time(pieces: &mut Pieces) {
    pieces.pick(3);
}

#[inline(never)]
fn pick_random(pieces: &mut Pieces) {
    pieces.pick(4);
}

#[inline(never)]
fn pick_consistent_hash(pieces: &mut Pieces) {
    pieces.pick(5);
}

#[inline(never)]
fn record_metrics(pieces: &mut Pieces) {
    pieces.metrics.observe(black_box(&ExchangeFigures {
        status: 200,
        duration: Duration::from_micros(740),
        first_byte: Some(Duration::from_micros(610)),
        bytes_in: 420,
        bytes_out: 512,
        ..ExchangeFigures::default()
    }));
}
