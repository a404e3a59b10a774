//! Addresses that are listened on: added, given up, moved and exchanged, and the connections that came by them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;

use crate::load::{Load, Mode, Rate};
use crate::servers::gated;
use crate::support::http2::Http2;
use crate::support::lintel::{Setup, front};
use crate::support::{Connection, Lintel, Origin, eventually, get};

/// The config with further listeners, a line each.
fn with_listeners(yaml: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
    yaml.replace("listeners:\n", &format!("listeners:\n{lines}"))
}

const SECOND: &str = "second: { address: \"127.0.0.2:0\" }";

async fn refuses(address: SocketAddr) {
    eventually("connections are refused", async || TcpStream::connect(address).await.is_err().then_some(()))
        .await;
}

fn closes(response: &crate::support::Response) -> bool {
    response.lists("connection", "close")
}

#[tokio::test]
async fn a_listener_is_added_and_taken_away_and_the_other_one_notices_nothing() {
    let origin = Origin::named("one");
    let base = front(&[&origin], "");
    let mut lintel = Lintel::start(&*base).await;
    let mut untouched = Connection::open(lintel.http()).await;
    assert_eq!(untouched.get("/").await.text(), "one");
    for _ in 0..3 {
        lintel.reload(&with_listeners(&base, &[SECOND])).await;
        let address = lintel.at("second");
        let mut kept = Connection::open(address).await;
        assert!(!closes(&kept.get("/").await));
        lintel.reload(&base).await;
        assert!(!lintel.listens("second"));
        // Its connection is good for one more answer, which says that it is the last.
        let last = kept.get("/").await;
        assert_eq!((last.text().as_str(), closes(&last)), ("one", true));
        assert!(kept.rest().await.is_empty());
        refuses(address).await;
        let next = untouched.get("/").await;
        assert!(!closes(&next), "{next:?}");
    }
    assert_eq!(lintel.metrics().await.sum("lintel_listener_connections_total", &[("listener", "http")]), 1.0);
}

#[tokio::test]
async fn a_request_that_runs_on_a_listener_that_goes_away_is_finished() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = gated("one", &gate);
    let base = front(&[&origin], "");
    let mut lintel = Lintel::start(with_listeners(&base, &[SECOND])).await;
    let mut running = Connection::open(lintel.at("second")).await;
    running.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n").await;
    origin.request(0).await;
    lintel.reload(&base).await;
    gate.add_permits(1);
    let answer = running.response().await;
    assert_eq!((answer.text().as_str(), closes(&answer)), ("one", true));
}

#[tokio::test]
async fn a_listener_that_was_taken_away_can_come_back_at_once() {
    let origin = Origin::named("one");
    let base = front(&[&origin], "");
    let folder = tempfile::tempdir().unwrap();
    let socket = format!("socket: {{ address: \"unix:{}\" }}", folder.path().join("a.sock").display());
    // The system chooses a port; it is then written down, so that the same address is bound again.
    let mut lintel = Lintel::start(with_listeners(&base, &[SECOND])).await;
    let fixed = format!("fixed: {{ address: \"{}\" }}", lintel.at("second"));
    lintel.reload(&base).await;
    for _ in 0..4 {
        lintel.reload(&with_listeners(&base, &[&fixed, &socket])).await;
        assert_eq!(get(lintel.at("fixed"), "/").await.text(), "one");
        assert_eq!(ask_socket(&lintel.socket_of("socket")).await.text(), "one");
        lintel.reload(&base).await;
    }
}

#[tokio::test]
async fn two_listeners_exchange_their_addresses() {
    let origin = Origin::named("one");
    let routes = "  - { name: which, match: { path: /which, listener: http }, respond: { status: 200, body: http } }\n  - { name: other, match: { path: /which, listener: second }, respond: { status: 200, body: second } }\n";
    let straight = with_listeners(&front(&[&origin], ""), &[SECOND]) + routes;
    let crossed = straight.replace("127.0.0.1:0", "X").replace("127.0.0.2:0", "127.0.0.1:0").replace("X", "127.0.0.2:0");
    let mut lintel = Lintel::start(&*straight).await;
    let (one, two) = (lintel.http(), lintel.at("second"));
    for _ in 0..3 {
        assert_eq!((get(one, "/which").await.text(), get(two, "/which").await.text()), ("http".into(), "second".into()));
        let mut kept = Connection::open(one).await;
        kept.get("/").await;
        lintel.reload(&crossed).await;
        assert_eq!((lintel.at("second"), lintel.http()), (one, two), "the very same sockets");
        let last = kept.get("/which").await;
        assert_eq!((last.text().as_str(), closes(&last)), ("http", true), "it is what it was when it came");
        eventually("each address has changed its listener", async || {
            let names = (get(one, "/which").await.text(), get(two, "/which").await.text());
            (names == ("second".into(), "http".into())).then_some(())
        })
        .await;
        lintel.reload(&straight).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_connections_find_an_address_whatever_its_listener_is_called() {
    let origin = Origin::named("one");
    let first = front(&[&origin], "");
    let renamed = first.replace("  http:\n", "  front:\n");
    let mut lintel = Lintel::start(&*first).await;
    let address = lintel.http();
    let load = Load::start(address, Rate::gets(Mode::New, 300));
    for _ in 0..10 {
        lintel.reload(&renamed).await;
        assert_eq!(lintel.at("front"), address);
        lintel.reload(&first).await;
        assert_eq!(lintel.http(), address);
        load.goes_on(10).await;
    }
    load.tally().await.assert_whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_connections_of_a_listener_that_changes_in_everything_but_its_address_lose_no_request() {
    let origin = Origin::named("one");
    let yaml = |limit: usize| {
        front(&[&origin], "").replace(
            "    address: \"127.0.0.1:0\"\n",
            &format!("    address: \"127.0.0.1:0\"\n    limits: {{ headers: {limit} }}\n"),
        )
    };
    let mut lintel = Lintel::start(yaml(100)).await;
    let loads = Load::both(lintel.http(), 300);
    for round in 0..20 {
        lintel.reload(&yaml(50 + round)).await;
        for load in &loads {
            load.goes_on(5).await;
        }
    }
    for load in loads {
        load.tally().await.assert_whole();
    }
}

#[tokio::test]
async fn an_address_moves_and_who_is_connected_stays_for_one_more_answer() {
    let origin = Origin::named("one");
    let base = front(&[&origin], "");
    let mut lintel = Lintel::start(&*base).await;
    let before = lintel.http();
    let mut kept = Connection::open(before).await;
    kept.get("/").await;
    let mut fresh = Connection::open(before).await;
    lintel.reload(&base.replace("127.0.0.1:0", "127.0.0.3:0")).await;
    assert_ne!(lintel.http(), before);
    assert_eq!(get(lintel.http(), "/").await.text(), "one");
    assert!(closes(&kept.get("/").await));
    assert!(closes(&fresh.get("/").await), "it was accepted before");
    refuses(before).await;
}

#[tokio::test]
async fn new_limits_and_times_are_those_of_new_connections() {
    let origin = Origin::named("one");
    let base = front(&[&origin], "");
    let strict = base.replace(
        "    address: \"127.0.0.1:0\"\n",
        "    address: \"127.0.0.1:0\"\n    limits: { uri: 64B }\n    timeouts: { keep_alive: 300ms }\n",
    );
    let mut lintel = Lintel::start(&*base).await;
    let long = format!("/{}", "x".repeat(200));
    let mut before = Connection::open(lintel.http()).await;
    assert_eq!(before.get(&long).await.status(), 200);
    lintel.reload(&strict).await;
    let mut after = Connection::open(lintel.http()).await;
    assert_eq!(after.get("/").await.status(), 200);
    assert!(after.rest().await.is_empty(), "the new keep_alive has ended it");
    assert_eq!(get(lintel.http(), &long).await.status(), 414);
    let last = before.get(&long).await;
    assert_eq!((last.status(), closes(&last)), (200, true), "what it came with");
    lintel.reload(&base).await;
    assert_eq!(get(lintel.http(), &long).await.status(), 200);
}

async fn ask_socket(path: &Path) -> crate::support::Response {
    let stream = UnixStream::connect(path).await.expect("the socket answers");
    Connection::over(stream).get("/").await
}

#[tokio::test]
async fn unix_sockets_come_go_and_move() {
    let origin = Origin::named("one");
    let base = front(&[&origin], "");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let listener = |name: &str, path: &PathBuf| format!("{name}: {{ address: \"unix:{}\" }}", path.display());
    let (a, b) = (path("a.sock"), path("b.sock"));
    let mut lintel = Lintel::start(&*base).await;
    lintel.reload(&with_listeners(&base, &[&listener("socket", &a)])).await;
    assert_eq!(ask_socket(&a).await.text(), "one");
    let mut kept = Connection::over(UnixStream::connect(&a).await.unwrap());
    kept.get("/").await;
    // Another name for it: the file stays the same file.
    lintel.reload(&with_listeners(&base, &[&listener("renamed", &a)])).await;
    assert_eq!(ask_socket(&a).await.text(), "one");
    assert!(closes(&kept.get("/").await));
    lintel.reload(&with_listeners(&base, &[&listener("renamed", &b)])).await;
    assert_eq!(ask_socket(&b).await.text(), "one");
    eventually("the old file is gone", async || (!a.exists()).then_some(())).await;
    lintel.reload(&base).await;
    eventually("the file is gone", async || (!b.exists()).then_some(())).await;
    assert_eq!(get(lintel.http(), "/").await.text(), "one");
}

#[tokio::test]
async fn a_redirect_follows_the_listener_that_it_leads_to() {
    let origin = Origin::named("one");
    let base = front(&[&origin], "");
    let redirecting = |target: &str| {
        with_listeners(&base, &["plain: { address: \"127.0.0.1:0\", redirect_to: second }", target])
    };
    let mut lintel = Lintel::start(redirecting(SECOND)).await;
    let location = async |lintel: &Lintel| {
        get(lintel.at("plain"), "/x").await.field("location").unwrap_or_default().to_owned()
    };
    let port = |text: &str| text.trim_end_matches("/x").rsplit(':').next().unwrap().to_owned();
    assert_eq!(port(&location(&lintel).await), lintel.at("second").port().to_string());
    lintel.reload(&redirecting("second: { address: \"127.0.0.3:0\" }")).await;
    assert_eq!(port(&location(&lintel).await), lintel.at("second").port().to_string());
    // A reload of something else leaves it as it is.
    lintel.reload(&(redirecting("second: { address: \"127.0.0.3:0\" }") + "runtime: { drain_timeout: 9s }\n")).await;
    assert_eq!(port(&location(&lintel).await), lintel.at("second").port().to_string());
}

#[tokio::test]
async fn http2_clients_of_a_listener_that_goes_away_finish_and_are_told() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = gated("one", &gate);
    let base = front(&[&origin], "");
    let second = "second: { address: \"127.0.0.2:0\", protocols: [http2] }";
    let mut lintel = Lintel::start(with_listeners(&base, &[second])).await;
    let mut client = Http2::open(lintel.at("second")).await;
    let ask = |path: &'static str| {
        [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", path)]
    };
    let held = client.start(&ask("/held"), true).await;
    origin.request(0).await;
    lintel.reload(&base).await;
    // One that the client sends in that moment is served too.
    let late = client.start(&ask("/late"), true).await;
    assert_eq!(client.response(late).await.text(), "one");
    gate.add_permits(1);
    assert_eq!(client.response(held).await.text(), "one");
    client.closed().await;
}

#[tokio::test]
async fn idle_clients_of_a_listener_that_is_gone_are_let_go_at_the_latest_after_drain_timeout() {
    let origin = Origin::named("one");
    let base = front(&[&origin], "") + "runtime: { drain_timeout: 300ms }\n";
    let mut lintel = Lintel::start(with_listeners(&base, &[SECOND])).await;
    let mut idle = Connection::open(lintel.at("second")).await;
    idle.get("/").await;
    lintel.reload(&base).await;
    assert!(idle.rest().await.is_empty());
}

#[tokio::test]
async fn metrics_and_control_move_and_who_asked_for_it_is_answered() {
    let origin = Origin::named("one");
    let folder = tempfile::tempdir().unwrap();
    let base = front(&[&origin], "");
    let socket = folder.path().join("control.sock");
    let moved = format!("{base}admin: {{ address: \"unix:{}\" }}\n", socket.display());
    let mut lintel = Setup::new(&*base).start().await;
    for _ in 0..3 {
        // Asked at the place that is given up by it.
        lintel.reload(&moved).await;
        let answered = UnixStream::connect(&socket).await.is_ok();
        assert!(answered, "the new place answers");
        let said = lintel.run(&["status"]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        eventually("the old place is given up", async || (!lintel.path().join("run/admin.sock").exists()).then_some(())).await;
        let before = lintel.in_force();
        // And back, by the command, which has to find the place of the Lintel that runs.
        lintel.rewrite(&base);
        let said = lintel.run(&["reload"]).await;
        if said.code != Some(0) {
            assert!(said.stderr.contains("SIGHUP"), "{said:?}");
            lintel.signal(rustix::process::Signal::HUP);
        }
        lintel.taken(before).await;
        assert_eq!(lintel.status().await["pools"][0]["name"], "web");
    }
}
