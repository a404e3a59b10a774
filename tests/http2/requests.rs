//! Requests of HTTP/2 in front of HTTP/1.1 servers (RFC 9113 section 8): what is malformed, what is served and how, and
//! limits. A table, since a field alone decides most of it.

mod malformed;
mod served;
mod smuggling;

use serde_json::Value;
use std::fmt::Write as _;
use std::time::Duration;
use tokio::net::TcpStream;

use crate::fronts::{before, listening};
use crate::support::http2::{Http2, Reply, asking, code, flag, get, kind, post};
use crate::support::time::stays_silent;
use crate::support::{Lintel, Origin, Request, eventually};

type Pairs = Vec<(&'static str, &'static str)>;

/// What comes of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comes {
    /// RST_STREAM PROTOCOL_ERROR, one record, and no request at the server (RFC 9113 section 8.1.1).
    Malformed,
    /// As `Malformed`, or a 400: malformed by other documents than RFC 9113.
    Refused,
    /// This status by Lintel itself, and no request at the server.
    Status(u16),
    /// 200 by the server, which saw exactly this.
    Served(&'static [Saw]),
    /// Refused with any status or as `Malformed`, or one request at the server that a strict reader takes.
    Clean,
}

/// What the server saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saw {
    Line(&'static str),
    Has(&'static str, &'static str),
    All(&'static str, &'static [&'static str]),
    Lacks(&'static str),
    Body(&'static str),
    Trailer(&'static str, &'static str),
}

/// One request; every DATA frame as a piece, END_STREAM on what comes last.
#[derive(Clone, Debug)]
struct Case {
    name: &'static str,
    fields: Pairs,
    pieces: Vec<&'static str>,
    trailers: Option<Pairs>,
    comes: Comes,
    /// The source, or the reason of a choice.
    why: &'static str,
}

fn case(name: &'static str, fields: Pairs, comes: Comes, why: &'static str) -> Case {
    Case { name, fields, pieces: Vec::new(), trailers: None, comes, why }
}

impl Case {
    fn body(mut self, pieces: &[&'static str]) -> Self {
        self.pieces = pieces.to_vec();
        self
    }

    fn trailers(mut self, trailers: &[(&'static str, &'static str)]) -> Self {
        self.trailers = Some(trailers.to_vec());
        self
    }

    /// Whether the server may have seen a beginning before it was known.
    fn is_late(&self) -> bool {
        !self.pieces.is_empty() || self.trailers.is_some()
    }

    async fn send(&self, client: &mut Http2, stream: u32) {
        let mut fields = self.fields.clone();
        fields.push(("x-case", self.name));
        client.request(stream, &fields, !self.is_late()).await;
        for (index, piece) in self.pieces.iter().enumerate() {
            let is_last = index + 1 == self.pieces.len() && self.trailers.is_none();
            client.body(stream, piece, is_last).await;
        }
        if let Some(trailers) = &self.trailers {
            client.trailers(stream, trailers).await;
        }
    }
}

/// Plays all cases, each on a connection of its own; fails with a report of those that do not hold.
async fn play(cases: Vec<Case>) {
    let origin = Origin::named("one");
    let lintel = before(&[&origin], "").await;
    let mut report = String::new();
    let mut failed = 0;
    for case in &cases {
        let wrong = play_one(case, &lintel, &origin).await;
        if !wrong.is_empty() {
            failed += 1;
            let _ = writeln!(report, "\n{} ({})\n  sent      {:?}", case.name, case.why, case.fields);
            let _ = writeln!(report, "  expected  {:?}", case.comes);
            for line in &wrong {
                let _ = writeln!(report, "  got       {line}");
            }
        }
    }
    assert!(failed == 0, "{failed} of {} cases do not hold:\n{report}", cases.len());
}

/// Records of refused requests of one client.
fn refusals(lintel: &Lintel, client: &str) -> usize {
    let is_one = |record: &&Value| record["fault"] == "bad_request" && record["peer"] == client;
    lintel.access_log.records().iter().filter(is_one).count()
}

async fn play_one(case: &Case, lintel: &Lintel, origin: &Origin) -> Vec<String> {
    let mut wrong = Vec::new();
    let broken_before = origin.broken().len();
    let stream = TcpStream::connect(lintel.http()).await.expect("Lintel listens");
    let address = stream.local_addr().expect("a connected socket").to_string();
    let mut client = Http2::over(stream, &[]).await;
    case.send(&mut client, 1).await;
    let reply = client.response(1).await;
    // A stream's error is not the connection's.
    let probe = client.get("/probe").await;
    if probe.text() != "one" {
        wrong.push(format!("the connection serves nothing more: {:?} {}", probe.end, probe.status));
    }
    let mine = |request: &Request| request.field("x-case") == Some(case.name);
    let requests: Vec<Request> = origin.requests().into_iter().filter(mine).collect();
    let is_reset = reply.reset() == Some(code::PROTOCOL_ERROR) && reply.status == 0;
    let fits = match case.comes {
        Comes::Malformed => is_reset,
        Comes::Refused => is_reset || reply.status == 400,
        Comes::Status(status) => reply.status == status && requests.is_empty(),
        Comes::Served(_) => reply.status == 200 && reply.is_whole() && requests.len() == 1,
        Comes::Clean => is_reset || (400..500).contains(&reply.status) || requests.len() == 1,
    };
    if !fits {
        let Reply { status, end, .. } = &reply;
        wrong.push(format!("status {status}, {end:?}, {} requests at the server", requests.len()));
    }
    if let (Comes::Served(saw), Some(request)) = (case.comes, requests.first()) {
        saw.iter().filter(|saw| !holds(saw, request)).for_each(|saw| {
            wrong.push(format!("no {saw:?} in {request:?}"));
        });
    }
    if matches!(case.comes, Comes::Malformed | Comes::Refused) {
        let field = format!("x-case: {}\r\n", case.name).into_bytes();
        let bytes = origin.bytes().to_ascii_lowercase();
        if !requests.is_empty() || (!case.is_late() && bytes.windows(field.len()).any(|at| at == field)) {
            wrong.push("it reached the server".to_owned());
        }
        let recorded = async || (refusals(lintel, &address) > 0).then_some(());
        let is_missing = stays_silent(Duration::from_secs(2), eventually("a record", recorded)).await;
        if is_missing || refusals(lintel, &address) != 1 {
            wrong.push(format!("{} records where one is right", refusals(lintel, &address)));
        }
    }
    wrong.extend(origin.broken().into_iter().skip(broken_before));
    wrong
}

fn holds(saw: &Saw, request: &Request) -> bool {
    match *saw {
        Saw::Line(line) => request.line == line,
        Saw::Has(name, value) => request.all(name) == [value],
        Saw::All(name, values) => request.all(name) == values,
        Saw::Lacks(name) => request.field(name).is_none(),
        Saw::Body(body) => request.body == body.as_bytes(),
        Saw::Trailer(name, value) => {
            request.trailers.iter().any(|(found, with)| found.eq_ignore_ascii_case(name) && with == value)
        }
    }
}

#[tokio::test]
async fn malformed_requests_are_reset_and_recorded_and_reach_nobody() {
    play(malformed::cases()).await;
}

#[tokio::test]
async fn requests_become_requests_of_http_1_1() {
    play(served::cases()).await;
}

#[tokio::test]
async fn nothing_in_a_request_becomes_a_second_one() {
    play(smuggling::cases()).await;
}

#[test]
fn every_case_has_a_name_of_its_own() {
    let mut names: Vec<&str> = [malformed::cases(), served::cases(), smuggling::cases()]
        .concat()
        .iter()
        .map(|case| case.name)
        .collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[tokio::test]
async fn a_malformed_request_leaves_a_record_without_a_status_and_counts() {
    let origin = Origin::named("one");
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    let reply = client.exchange(&asking("GET", "/", &[("Upper", "case")]), b"").await;
    assert_eq!(reply.reset(), Some(code::PROTOCOL_ERROR));
    let record = lintel.record(|record| record["fault"] == "bad_request").await;
    assert_eq!((record.get("status"), record["client"].as_str()), (None, Some("127.0.0.1")), "{record}");
    let errors = "lintel_listener_http2_errors_total";
    lintel.metric(errors, &[("listener", "http"), ("code", "protocol_error")], 1.0).await;
    assert_eq!(client.get("/good").await.status, 200);
    assert_eq!(lintel.record_of("/good").await["version"], "HTTP/2.0");
    lintel.metric("lintel_listener_requests_total", &[("listener", "http"), ("version", "2")], 1.0).await;
}

#[tokio::test]
async fn trailers_that_do_not_end_the_stream_are_malformed() {
    let origin = Origin::named("one");
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    client.request(1, &post("/"), false).await;
    client.body(1, "abc", false).await;
    let block = crate::support::http2::encode(&[("x", "y")]);
    client.send_frame(kind::HEADERS, flag::END_HEADERS, 1, block).await;
    assert_eq!(client.response(1).await.reset(), Some(code::PROTOCOL_ERROR));
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(origin.count(), 1);
}

/// The reply to these fields, with this line under the listener's limits; the connection must go on.
async fn limited(limits: &str, fields: &[(&str, &str)], body: &[u8]) -> (Reply, String) {
    let origin = Origin::named("one");
    let lintel = listening(&format!("limits: {limits}"), &origin).await;
    let mut client = Http2::open(lintel.http()).await;
    let reply = client.exchange(fields, body).await;
    assert_eq!(client.get("/next").await.text(), "one", "{limits}: a limit of one stream");
    assert!(origin.requests().iter().all(|request| request.target() == "/next"));
    let record = lintel.record(|record| record.get("fault").is_some()).await;
    assert_eq!(record["status"], reply.status, "{record}");
    (reply, record["fault"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn heads_beyond_the_limits_are_431_or_414() {
    let long = "x".repeat(2048);
    let large = asking("GET", "/", &[("x", &long)]);
    let (reply, fault) = limited("{ head: 2KiB, uri: 1KiB }", &large, b"").await;
    assert_eq!((reply.status, &*fault, reply.is_whole()), (431, "head_too_large", true));
    let many: Vec<_> = asking("GET", "/", &[("x", "y"); 6]);
    let (reply, fault) = limited("{ headers: 5 }", &many, b"").await;
    assert_eq!((reply.status, &*fault), (431, "too_many_headers"));
    let path = format!("/{}", "x".repeat(256));
    let (reply, fault) = limited("{ uri: 256B }", &get(&path), b"").await;
    assert_eq!((reply.status, &*fault), (414, "uri_too_long"));
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_413_whether_it_says_so_or_not() {
    let body = "x".repeat(1025);
    for fields in [post("/"), asking("POST", "/", &[("content-length", "1025")])] {
        let (reply, fault) = limited("{ body: 1KiB }", &fields, body.as_bytes()).await;
        assert_eq!((reply.status, &*fault), (413, "body_too_large"), "{fields:?}");
    }
    let origin = Origin::named("one");
    let lintel = listening("limits: { body: 1KiB }", &origin).await;
    let mut client = Http2::open(lintel.http()).await;
    let stream = client.start(&asking("POST", "/", &[("content-length", "1025")]), false).await;
    assert_eq!(client.response(stream).await.status, 413);
    // The rest of the request is not wanted (RFC 9113 section 8.1).
    assert_eq!(client.reset_of(stream).await, code::NO_ERROR);
}

#[tokio::test]
async fn fields_by_the_dynamic_table_and_in_huffman_code_are_understood() {
    let origin = Origin::named("one");
    let lintel = before(&[&origin], "").await;
    let mut client = Http2::open(lintel.http()).await;
    // RFC 7541 appendix C.4: three requests in Huffman code, the later ones with the table of the earlier.
    let blocks: [&[u8]; 3] = [
        b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
        b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
        b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
    ];
    for (stream, block) in [1, 3, 5].into_iter().zip(blocks) {
        client.send_frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, block).await;
        assert_eq!(client.response(stream).await.status, 200);
    }
    let seen = origin.requests();
    assert!(seen.iter().all(|request| request.field("host") == Some("www.example.com")));
    assert_eq!(seen[1].field("cache-control"), Some("no-cache"));
    assert_eq!((seen[2].target(), seen[2].field("custom-key")), ("/index.html", Some("custom-value")));
}
