//! gRPC through Lintel: the real binary between a Node client and Node servers, and raw calls where a client must not help.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod web;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use support::http2::{Http2, Reply};
use support::output::Output;
use support::port::Port;
use support::tls::Authority;
use support::{Lintel, eventually};

const NAME: &str = "grpc.test";
const TO_ECHO: &str = "  - { name: echo, match: { path: \"/lintel.test.Echo/*\" }, to: echo }\n";
const QUICK: &str = "interval: 500ms, timeout: 450ms, healthy_after: 1, unhealthy_after: 2";

fn scripts() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/grpc/node");
    assert!(
        folder.join("node_modules").is_dir(),
        "tests/grpc/node/node_modules is missing: run `make test`, which installs it"
    );
    folder
}

fn node(script: &str, arguments: &[&str]) -> Child {
    let mut command = Command::new("node");
    command.arg(script).args(arguments).current_dir(scripts());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("node is installed: run `make test`, which sees to it")
}

/// One process of server.mjs.
struct Server {
    child: Child,
    orders: ChildStdin,
    output: Output,
    address: SocketAddr,
}

impl Server {
    async fn start(name: &str) -> Self {
        let mut child = node("server.mjs", &["--name", name]);
        let orders = child.stdin.take().expect("stdin is a pipe");
        let output = Output::of(child.stdout.take().expect("stdout is a pipe"));
        let line = output.record("a server says its port", |line| line["port"].is_u64()).await;
        let port = u16::try_from(line["port"].as_u64().expect("a port")).expect("a port");
        Self { child, orders, output, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    async fn three() -> [Self; 3] {
        tokio::join!(Self::start("one"), Self::start("two"), Self::start("three")).into()
    }

    /// Ends as a crash does.
    fn kill(&mut self) {
        self.child.kill().expect("our own child can be killed");
        let _ = self.child.wait();
    }

    fn order(&mut self, line: &str) {
        writeln!(self.orders, "{line}").expect("the server reads its orders");
    }

    async fn says_health(&mut self, order: &str, status: &str) {
        self.order(order);
        self.output.record("the server switched", |line| line["health"] == status).await;
    }

    /// How many calls of a kind it had so far, by its own count.
    async fn count(&mut self, kind: &str) -> u64 {
        let before = self.counts().len();
        self.order("counts");
        let counts = eventually("the server counts", async || {
            let counts = self.counts();
            (counts.len() > before).then_some(counts)
        });
        counts.await.last().expect("a line")["counts"][kind].as_u64().expect("a number")
    }

    fn counts(&self) -> Vec<Value> {
        self.output.records().into_iter().filter(|line| line["counts"].is_object()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One run of client.mjs.
struct Client {
    child: Child,
    output: Output,
    errors: Output,
}

impl Client {
    fn start(arguments: &[&str]) -> Self {
        let mut child = node("client.mjs", arguments);
        let output = Output::of(child.stdout.take().expect("stdout is a pipe"));
        let errors = Output::of(child.stderr.take().expect("stderr is a pipe"));
        Self { child, output, errors }
    }

    /// Awaits that so many calls have ended.
    async fn done(&self, least: u64) {
        let reached = |line: &Value| line["done"].as_u64().is_some_and(|done| done >= least);
        self.output.record(&format!("{least} calls are done"), reached).await;
    }

    /// Awaits the end; each line of progress gives it new time.
    async fn summary(mut self) -> Summary {
        while !self.output.has_ended() {
            let lines = self.output.lines().len();
            let moves = async || (self.output.lines().len() > lines || self.output.has_ended()).then_some(());
            eventually("the client goes on", moves).await;
        }
        let status = self.child.wait().expect("our own child");
        let said = format!("{}\n{}", self.output.text(), self.errors.text());
        assert!(status.success(), "client.mjs failed:\n{said}");
        let last = self.output.records().pop();
        Summary(last.unwrap_or_else(|| panic!("client.mjs summed nothing up:\n{said}")))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What client.mjs sums up.
#[derive(Debug)]
struct Summary(Value);

impl Summary {
    fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// Calls that this server answered.
    fn of(&self, server: &str) -> u64 {
        self.0["servers"][server].as_u64().unwrap_or(0)
    }

    /// Fails unless all calls went well, with the fields and trailers of the server.
    fn assert_ok(&self, calls: u64) {
        let counts = ["ok", "failed", "trailers", "echoed"].map(|name| self.number(name));
        assert_eq!(counts, [calls, 0, calls, calls], "{self:?}");
    }

    /// Fails unless there were only failures of this status, all of them said by Lintel or a server.
    fn assert_only(&self, name: &str, code: u64) {
        let failures = self.0["failures"].as_object().expect("failures by name");
        let said = self.0.to_string();
        for of_client in ["No connection established", "Connection dropped", "Failed to connect"] {
            assert!(!said.contains(of_client), "the client lost Lintel: {said}");
        }
        for (found, failure) in failures {
            assert_eq!((found.as_str(), failure["code"].as_u64()), (name, Some(code)), "{said}");
        }
    }

    /// As `assert_only`, and no call went well.
    fn assert_all(&self, name: &str, code: u64, calls: u64) {
        self.assert_only(name, code);
        assert_eq!((self.number("ok"), self.number("failed")), (0, calls), "{self:?}");
    }
}

/// Lintel with a listener `https`, and what it takes to trust it.
struct Front {
    authority: Authority,
    _folder: TempDir,
    lintel: Lintel,
}

impl Front {
    /// One pool `echo` with these servers and these further lines; `routes` as they are.
    async fn start(servers: &[SocketAddr], pool: &str, routes: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(folder.path(), "authority");
        let certificate = authority.issue(&[NAME]).yaml();
        let yaml = format!(
            "listeners:\n  https:\n    address: \"127.0.0.1:0\"\n    tls:\n      certificates: [{certificate}]\n{}routes:\n{routes}",
            pools(servers, pool)
        );
        Self { lintel: Lintel::start(yaml).await, authority, _folder: folder }
    }

    async fn before(servers: &[Server], pool: &str) -> Self {
        let servers: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
        Self::start(&servers, pool, TO_ECHO).await
    }

    /// Starts a client over TLS.
    fn client(&self, arguments: &str) -> Client {
        let target = self.lintel.at("https").to_string();
        let ca = text(&self.authority.path);
        let mut all = vec!["--target", &target, "--ca", &ca, "--authority", NAME];
        all.extend(arguments.split_whitespace());
        Client::start(&all)
    }

    async fn call(&self, arguments: &str) -> Summary {
        self.client(arguments).summary().await
    }

    /// One call by hand, whose client waits for whatever comes.
    async fn raw(&self, path: &str, timeout: Option<&str>, message: &[u8]) -> Reply {
        let config = self.authority.client();
        let mut connection = Http2::open_tls(self.lintel.at("https"), NAME, &config).await;
        let mut fields = vec![
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", NAME),
            (":path", path),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        fields.extend(timeout.map(|timeout| ("grpc-timeout", timeout)));
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        connection.exchange(&fields, &[&[0], &length[..], message].concat()).await
    }

    /// Calls of the route `echo` that ended with this code.
    async fn counted(&self, code: &str) -> f64 {
        let labels = [("route", "echo"), ("pool", "echo"), ("code", code)];
        self.lintel.metrics().await.sum("lintel_route_grpc_total", &labels)
    }

    async fn awaits_counted(&self, code: &str, calls: u64) {
        let what = format!("{calls} calls are counted with code {code}");
        eventually(&what, async || (self.counted(code).await == calls as f64).then_some(())).await;
    }

    async fn awaits_up(&self, server: &Server, value: f64) {
        let address = server.address.to_string();
        let what = format!("lintel_server_up of {address} is {value}");
        let is_so = async || {
            let metrics = self.lintel.metrics().await;
            (metrics.sum("lintel_server_up", &[("server", &address)]) == value).then_some(())
        };
        eventually(&what, is_so).await;
    }
}

fn pools(servers: &[SocketAddr], lines: &str) -> String {
    let servers: Vec<String> = servers.iter().map(|address| format!("\"{address}\"")).collect();
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    let servers = servers.join(", ");
    format!(
        "pools:\n  echo:\n    servers: [{servers}]\n    protocol: http2\n    balance: round_robin\n{lines}"
    )
}

fn text(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// An echo message: `delay_ms` (field 3) and `count` (field 2) as varints (protobuf's encoding).
fn delayed(delay_ms: u16, count: u8) -> Vec<u8> {
    let [low, high] = [(delay_ms & 0x7f) as u8 | 0x80, (delay_ms >> 7) as u8];
    assert!(high < 0x80 && count < 0x80, "both fit their varints");
    vec![0x10, count, 0x18, low, high]
}

/// The status of an answer that is trailers only: one block of fields, which ends the stream.
fn trailers_only(reply: &Reply) -> &str {
    assert!(reply.is_whole(), "{reply:?}");
    assert_eq!((reply.status, reply.field("content-type")), (200, Some("application/grpc")), "{reply:?}");
    assert!(reply.body.is_empty() && reply.trailers.is_empty(), "{reply:?}");
    assert!(reply.field("grpc-message").is_some_and(|message| !message.is_empty()), "{reply:?}");
    reply.field("grpc-status").unwrap_or_else(|| panic!("no status: {reply:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scripts_understand_each_other_without_lintel() {
    let mut server = Server::start("one").await;
    let target = server.address.to_string();
    let call = async |arguments: &str| {
        let mut all = vec!["--target", &target, "--insecure"];
        all.extend(arguments.split_whitespace());
        Client::start(&all).summary().await
    };
    let checked = call("--mode stream-check").await;
    checked.assert_ok(checked.number("ok"));
    call("--mode all --calls 200 --concurrency 20").await.assert_ok(200);
    call("--mode unary --calls 3 --fail 9").await.assert_all("FAILED_PRECONDITION", 9, 3);
    call("--mode deadline --calls 2 --delay 5000").await.assert_all("DEADLINE_EXCEEDED", 4, 2);
    assert!(server.count("unary").await >= 50 && server.count("bidi").await >= 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_four_kinds_of_calls_pass_whole_over_tls() {
    let servers = Server::three().await;
    let front = Front::before(&servers, "").await;
    let checked = front.call("--mode stream-check").await;
    assert!(checked.number("ok") >= 6, "{checked:?}");
    checked.assert_ok(checked.number("ok"));
    let all = front.call("--mode all --calls 600 --concurrency 30").await;
    all.assert_ok(600);
    assert!(["one", "two", "three"].iter().all(|server| all.of(server) > 0), "{all:?}");
    front.lintel.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_without_tls_takes_calls_by_prior_knowledge() {
    let server = Server::start("one").await;
    let yaml = format!(
        "listeners:\n  http:\n    address: \"127.0.0.1:0\"\n    protocols: [http2]\n{}routes:\n{TO_ECHO}",
        pools(&[server.address], "")
    );
    let lintel = Lintel::start(yaml).await;
    let target = lintel.http().to_string();
    let arguments = ["--target", &target, "--insecure", "--mode", "stream-check"];
    let checked = Client::start(&arguments).summary().await;
    checked.assert_ok(checked.number("ok"));
    lintel.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_of_one_connection_spread_evenly_over_three_servers() {
    let servers = Server::three().await;
    let front = Front::before(&servers, "").await;
    // This mode tells how far it is, so that a slow machine has time.
    let summary = front.call("--mode kill --calls 10000 --concurrency 50").await;
    summary.assert_ok(10_000);
    for server in ["one", "two", "three"] {
        assert!((3_000..=3_666).contains(&summary.of(server)), "{server}: {summary:?}");
    }
    front.awaits_counted("0", 10_000).await;
    front.lintel.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_fails_only_the_calls_it_had() {
    const CALLS: u64 = 6_000;
    const AT_ONCE: u64 = 40;
    let mut servers = Server::three().await;
    let front = Front::before(&servers, "").await;
    let client = front.client(&format!("--mode kill --calls {CALLS} --concurrency {AT_ONCE} --delay 2"));
    client.done(1_000).await;
    servers[1].kill();
    let summary = client.summary().await;
    summary.assert_only("UNAVAILABLE", 14);
    let failed = summary.number("failed");
    assert!(failed <= AT_ONCE, "{failed} calls failed: {summary:?}");
    assert_eq!(summary.number("ok") + failed, CALLS, "{summary:?}");
    assert!(["one", "three"].iter().all(|server| summary.of(server) > CALLS / 4), "{summary:?}");
    front.awaits_counted("0", CALLS - failed).await;
    front.awaits_counted("14", failed).await;
    front.lintel.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_its_client_gives_up_is_given_up_at_the_server() {
    let mut server = Server::start("one").await;
    let front = Front::before(std::slice::from_ref(&server), "").await;
    let summary = front.call("--mode deadline --calls 2 --concurrency 2 --delay 5000 --deadline 300").await;
    summary.assert_all("DEADLINE_EXCEEDED", 4, 2);
    let what = "the server sees that both calls were given up";
    eventually(what, async || (server.count("cancelled").await == 2).then_some(())).await;
    front.lintel.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_that_no_client_watches_is_kept_by_lintel() {
    let mut server = Server::start("one").await;
    let front = Front::before(std::slice::from_ref(&server), "").await;
    let began = Instant::now();
    let reply = front.raw("/lintel.test.Echo/Unary", Some("300m"), &delayed(5_000, 1)).await;
    assert_eq!(trailers_only(&reply), "4", "{reply:?}");
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(290) && took < Duration::from_secs(4), "{took:?}");
    eventually("the server is told", async || (server.count("cancelled").await == 1).then_some(())).await;
    // A stream that has begun cannot be answered anew; it must not look like a good end.
    let reply = front.raw("/lintel.test.Echo/ServerStream", Some("300m"), &delayed(5_000, 3)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.trailer("grpc-status") == Some("4") || reply.reset().is_some(), "{reply:?}");
    front.awaits_counted("4", 2).await;
    // Time enough changes nothing.
    let reply = front.raw("/lintel.test.Echo/Unary", Some("20S"), &delayed(1, 1)).await;
    assert_eq!((reply.status, reply.trailer("grpc-status")), (200, Some("0")), "{reply:?}");
    front.lintel.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_without_a_route_is_unimplemented() {
    let server = Server::start("one").await;
    let other = "  - { name: other, match: { path: \"/other.Service/*\" }, to: echo }\n";
    let front = Front::start(&[server.address], "", other).await;
    front.call("--mode unary --calls 3").await.assert_all("UNIMPLEMENTED", 12, 3);
    let reply = front.raw("/lintel.test.Echo/Unary", None, b"").await;
    assert_eq!(trailers_only(&reply), "12", "{reply:?}");
    front.lintel.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_without_a_server_are_unavailable() {
    let (one, two) = (Port::reserve(), Port::reserve());
    let front = Front::start(&[one.address(), two.address()], "", TO_ECHO).await;
    front.call("--mode unary --calls 20 --concurrency 2").await.assert_all("UNAVAILABLE", 14, 20);
    let reply = front.raw("/lintel.test.Echo/Unary", None, b"").await;
    assert_eq!(trailers_only(&reply), "14", "{reply:?}");
    front.awaits_counted("14", 21).await;
    front.lintel.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_it_is_not_serving_gets_no_calls() {
    let [mut one, two, _] = Server::three().await;
    let check = format!("health_check: {{ grpc: \"\", {QUICK} }}");
    let front = Front::start(&[one.address, two.address], &check, TO_ECHO).await;
    let both = front.call("--mode unary --calls 40 --concurrency 4").await;
    both.assert_ok(40);
    assert!(both.of("one") >= 15 && both.of("two") >= 15, "{both:?}");
    one.says_health("not_serving", "NOT_SERVING").await;
    front.awaits_up(&one, 0.0).await;
    let rest = front.call("--mode unary --calls 40 --concurrency 4").await;
    rest.assert_ok(40);
    assert_eq!((rest.of("one"), rest.of("two")), (0, 40), "{rest:?}");
    one.says_health("serving", "SERVING").await;
    front.awaits_up(&one, 1.0).await;
    let again = front.call("--mode unary --calls 40 --concurrency 4").await;
    again.assert_ok(40);
    assert!(again.of("one") >= 15, "{again:?}");
    assert!(one.count("health").await >= 2);
    front.lintel.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_asks_for_the_service_it_is_told_to() {
    let server = Server::start("one").await;
    let known = format!("health_check: {{ grpc: lintel.test.Echo, {QUICK} }}");
    let front = Front::before(std::slice::from_ref(&server), &known).await;
    front.call("--mode unary --calls 5").await.assert_ok(5);
    let unknown = format!("health_check: {{ grpc: nobody.Knows, {QUICK} }}");
    let front = Front::before(std::slice::from_ref(&server), &unknown).await;
    front.awaits_up(&server, 0.0).await;
    front.call("--mode unary --calls 5").await.assert_all("UNAVAILABLE", 14, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_counted_and_logged_by_their_final_status() {
    let server = Server::start("one").await;
    let front = Front::before(std::slice::from_ref(&server), "").await;
    front.call("--mode all --calls 20 --concurrency 4").await.assert_ok(20);
    front.call("--mode all --calls 8 --fail 9").await.assert_only("FAILED_PRECONDITION", 9);
    front.call("--mode unary --calls 2 --fail 16").await.assert_all("UNAUTHENTICATED", 16, 2);
    for (code, calls) in [("0", 20), ("9", 8), ("16", 2)] {
        front.awaits_counted(code, calls).await;
    }
    let has_status = |record: &Value| record["grpc_status"].to_string().trim_matches('"') == "9";
    let record = front.lintel.record(has_status).await;
    assert_eq!((&record["version"], &record["status"]), (&"HTTP/2.0".into(), &200.into()), "{record}");
    front.lintel.stop().await;
}
