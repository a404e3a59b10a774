//! Servers that stop, refuse, vanish and never end: what one of them costs, and that it costs no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::scarcity::namespaces;
use crate::support::lintel::Setup;
use crate::support::metrics::Metrics;
use crate::support::node::NodeApp;
use crate::support::{Connection, Lintel, Origin, eventually, get, within};

const TURNS: &str = "balance: round_robin\noutlier_detection: { consecutive_failures: 1000 }\n";

/// A server that takes requests and answers none.
fn mute() -> Origin {
    Origin::scripted(|mut talk| async move { while talk.request().await.is_some() {} })
}

#[tokio::test]
async fn a_get_that_is_not_answered_in_time_is_tried_on_another_server_where_that_is_written() {
    let (mute, good) = (mute(), Origin::named("good"));
    let pool = format!("{TURNS}retries: {{ on: [timeout] }}\ntimeouts: {{ response: 300ms }}");
    let lintel = Lintel::before(&[&mute, &good], &pool).await;
    let mut connection = Connection::open(lintel.http()).await;
    for _ in 0..4 {
        assert_eq!(connection.get("/").await.text(), "good");
    }
    assert!(mute.count() >= 1);
    lintel.metric("lintel_pool_retries_total", &[("pool", "web"), ("reason", "timeout")], 1.0).await;
    let (before, mut statuses) = (mute.count() + good.count(), Vec::new());
    for _ in 0..2 {
        let post = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
        statuses.push(Connection::open(lintel.http()).await.exchange(post).await.status());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 504], "a POST is executed once");
    assert_eq!(mute.count() + good.count() - before, 2);
}

#[tokio::test]
async fn a_get_that_is_not_answered_in_time_is_a_504_unless_something_else_is_written() {
    let (mute, other) = (mute(), mute());
    let lintel = Lintel::before(&[&mute, &other], &format!("{TURNS}timeouts: {{ response: 300ms }}")).await;
    assert_eq!(get(lintel.http(), "/").await.status(), 504);
    assert_eq!(mute.count() + other.count(), 1);
}

#[tokio::test]
async fn a_get_whose_answer_ended_in_its_head_is_tried_on_another_server_even_on_a_kept_connection() {
    let bad = Origin::scripted(|mut talk| async move {
        let Some(first) = talk.request().await else { return };
        talk.answer(&first, "bad", b"bad").await;
        talk.request().await;
        talk.send("HTTP/1.1 200 OK\r\nContent-Le").await;
    });
    let good = Origin::named("good");
    let lintel = Lintel::before(&[&bad, &good], TURNS).await;
    let mut connection = Connection::open(lintel.http()).await;
    for _ in 0..12 {
        assert_eq!(connection.get("/").await.status(), 200);
    }
    lintel.metric("lintel_pool_retries_total", &[("reason", "reset")], 1.0).await;
}

#[tokio::test]
async fn a_stopped_process_costs_no_get_and_gets_work_again_when_it_goes_on() {
    let (one, two) = tokio::join!(NodeApp::start(1), NodeApp::start(2));
    let yaml = format!(
        "listeners: {{ http: {{ address: \"127.0.0.1:0\" }} }}\npools:\n  web:\n    servers: [\"{}\", \"{}\"]\n    \
         balance: round_robin\n    health_check: {{ path: /healthz, interval: 300ms, timeout: 200ms, healthy_after: 1 }}\n    \
         retries: {{ on: [timeout, reset, connect_failure], budget: 100% }}\n    timeouts: {{ response: 2s }}\nroutes: [{{ name: all, to: web }}]\n",
        one.address, two.address
    );
    let lintel = Lintel::start(yaml).await;
    let up = async |least: f64| {
        eventually("as many servers are up", async || {
            (lintel.metrics().await.sum("lintel_server_up", &[]) == least).then_some(())
        })
        .await;
    };
    up(2.0).await;
    one.signal(Signal::STOP);
    for _ in 0..10 {
        assert_eq!(get(lintel.http(), "/whoami").await.status(), 200);
    }
    up(1.0).await;
    one.signal(Signal::CONT);
    up(2.0).await;
    let address = one.address.to_string();
    eventually("it gets work again", async || {
        get(lintel.http(), "/whoami?again").await;
        let records = lintel.access_log.records();
        let again = |record: &&serde_json::Value| record["target"] == "/whoami?again";
        records.iter().filter(again).any(|record| record["server"] == address.as_str()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_accepts_no_more_connections_costs_no_request_whatever_its_method() {
    // Listens with room for one connection, and accepts none: further ones get no answer at all.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let full = socket.local_addr().unwrap().as_socket().unwrap();
    let mut filling = Vec::new();
    eventually("its queue is full", async || {
        let connecting = tokio::net::TcpStream::connect(full);
        match tokio::time::timeout(Duration::from_millis(200), connecting).await {
            Ok(connected) => {
                filling.push(connected.unwrap());
                None
            }
            Err(_) => Some(()),
        }
    })
    .await;
    let good = Origin::named("good");
    let pool = format!("{TURNS}timeouts: {{ connect: 300ms }}");
    let yaml = crate::support::lintel::front(&[&good], &pool)
        .replace(&format!("[\"{}\"]", good.address()), &format!("[\"{full}\", \"{}\"]", good.address()));
    let lintel = Lintel::start(yaml).await;
    let mut connection = Connection::open(lintel.http()).await;
    for _ in 0..4 {
        let post = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(connection.exchange(post).await.text(), "abc");
    }
    lintel.metric("lintel_pool_retries_total", &[("reason", "connect_failure")], 1.0).await;
}

/// A server that sends `piece` again and again, and counts how many bytes were taken from it.
fn endless(first: &'static str, piece: &'static str) -> (Origin, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let origin = Origin::scripted(move |mut talk| {
        let taken = Arc::clone(&counted);
        async move {
            while talk.request().await.is_some() {
                talk.send(first).await;
                while talk.send(piece).await {
                    taken.fetch_add(piece.len(), Ordering::SeqCst);
                }
            }
        }
    });
    (origin, taken)
}

#[tokio::test]
async fn a_head_without_end_is_a_502_and_its_connection_is_closed() {
    let (origin, _) = endless("HTTP/1.1 200 OK\r\n", "X-More: and more\r\n");
    let lintel = Lintel::before(&[&origin], "").await;
    let mut connection = Connection::open(lintel.http()).await;
    assert_eq!(connection.get("/").await.status(), 502);
    origin.all_closed().await;
    assert_eq!(lintel.record_of("/").await["fault"], "bad_response");
}

#[tokio::test]
async fn informational_heads_without_end_are_a_502_after_a_few() {
    let (origin, _) = endless("", "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
    let lintel = Lintel::before(&[&origin], "").await;
    let mut connection = Connection::open(lintel.http()).await;
    connection.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let mut early = 0;
    let last = loop {
        let response = connection.response().await;
        if response.status() >= 200 {
            break response;
        }
        early += 1;
    };
    assert_eq!((last.status(), early), (502, 32));
    origin.all_closed().await;
}

#[tokio::test]
async fn garbage_without_end_is_a_502_and_ejects_its_server() {
    let (bad, _) = endless("", "\0\u{1}garbage garbage garbage");
    let good = Origin::named("good");
    let lintel = Lintel::before(&[&bad, &good], "balance: round_robin").await;
    eventually("the server is ejected", async || {
        get(lintel.http(), "/").await;
        (lintel.metrics().await.sum("lintel_server_ejected", &[]) == 1.0).then_some(())
    })
    .await;
    bad.all_closed().await;
    assert_eq!(get(lintel.http(), "/").await.text(), "good");
}

#[tokio::test]
async fn a_server_that_ends_its_direction_without_an_answer_is_a_502_at_once() {
    let origin = Origin::scripted(|mut talk| async move {
        talk.request().await;
        talk.half_close().await;
        talk.hang().await;
    });
    let lintel = Lintel::before(&[&origin], "").await;
    assert_eq!(get(lintel.http(), "/").await.status(), 502);
    assert_eq!(lintel.record_of("/").await["fault"], "server_reset");
    origin.all_closed().await;
}

#[tokio::test]
async fn a_server_that_is_started_anew_gets_work_again_without_a_check() {
    let origin = Origin::named("one");
    let lintel = Lintel::before(&[&origin], "outlier_detection: { ejection_time: 1s }").await;
    for round in 0..3 {
        assert_eq!(get(lintel.http(), "/").await.text(), "one", "round {round}");
        origin.kill().await;
        let status = get(lintel.http(), "/").await.status();
        assert!([502, 503].contains(&status), "{status}");
        origin.revive();
        eventually("it gets work again", async || {
            (get(lintel.http(), "/").await.status() == 200).then_some(())
        })
        .await;
    }
}

/// In namespaces of its own, where packets can be lost.
#[tokio::test]
async fn a_machine_that_falls_silent_is_noticed_long_before_the_deadline_of_the_answer() {
    if !namespaces("a machine that falls silent") {
        return;
    }
    let yaml = "listeners: { http: { address: \"unix:http.sock\" } }\npools:\n  web:\n    servers: [\"10.9.9.1:80\"]\n    \
                timeouts: { response: 1h, unacknowledged: 2s }\n    retries: { attempts: 0 }\nroutes: [{ name: all, to: web }]\n";
    let words = [
        "unshare",
        "--net",
        "sh",
        "-c",
        "ip link set lo up && ip addr add 10.9.9.1/32 dev lo && exec \"$@\"",
        "sh",
    ];
    let lintel = Setup::new(yaml).behind(&words).start().await;
    let inside = |words: &[&str]| {
        let mut command = tokio::process::Command::new("nsenter");
        command.args(["--net", "--target", &lintel.id().to_string()]).args(words).kill_on_drop(true);
        command
    };
    let program = "require('http').createServer((q, s) => { if (q.url === '/ok') s.end('ok'); }).listen(80, '10.9.9.1')";
    let _server = inside(&["node", "-e", program]).spawn().unwrap();
    let open = async || {
        let stream = tokio::net::UnixStream::connect(lintel.socket_of("http")).await.unwrap();
        Connection::over(stream)
    };
    eventually("the server answers", async || (open().await.get("/ok").await.status() == 200).then_some(()))
        .await;
    let mut waiting = open().await;
    waiting.send("GET /never HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    eventually("the request is at the server", async || {
        let metrics = Metrics::parse(&lintel.control("GET", "/metrics").await.text());
        (metrics.sum("lintel_server_in_flight", &[]) == 1.0).then_some(())
    })
    .await;
    let lost = inside(&["iptables", "-A", "INPUT", "-d", "10.9.9.1", "-j", "DROP"]).status();
    assert!(within("iptables", lost).await.unwrap().success());
    assert_eq!(waiting.response().await.status(), 502);
    assert_eq!(lintel.record_of("/never").await["fault"], "server_reset");
}
