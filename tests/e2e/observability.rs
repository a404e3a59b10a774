//! What can be seen from outside: access log, metrics, probes, the program log.

use std::os::unix::fs::PermissionsExt;

use crate::support::lintel::{Setup, front, message_of};
use crate::support::{Connection, Lintel, Origin, eventually, get, raw};

#[tokio::test]
async fn an_exchange_leaves_one_record_that_says_everything() {
    let origin = Origin::named("one");
    let lintel = Lintel::before(&[&origin], "").await;
    let mut connection = Connection::open(lintel.http()).await;
    let request = "POST /echo?a=b HTTP/1.1\r\nHost: a.test:81\r\nUser-Agent: tests\r\nReferer: http://r.test/\r\nContent-Length: 3\r\n\r\nabc";
    let response = connection.exchange(request).await;
    let record = lintel.record_of("/echo?a=b").await;
    for (key, value) in [
        ("listener", "http"),
        ("client", "127.0.0.1"),
        ("method", "POST"),
        ("version", "HTTP/1.1"),
        ("route", "all"),
        ("pool", "web"),
        ("server", &origin.address()),
        ("user_agent", "tests"),
        ("referer", "http://r.test/"),
        ("request_id", response.field("x-request-id").unwrap()),
    ] {
        assert_eq!(record[key], value, "{key} in {record}");
    }
    assert!(record["host"].as_str().is_some_and(|host| host.starts_with("a.test")), "{record}");
    for (key, number) in [("status", 200), ("attempts", 1), ("body_in", 3), ("body_out", 3)] {
        assert_eq!(record[key], number, "{key} in {record}");
    }
    assert!(record["bytes_in"].as_u64() >= Some(request.len() as u64), "{record}");
    assert!(record["bytes_out"].as_u64() > Some(3), "{record}");
    let (whole, first_byte) =
        (record["duration_ms"].as_f64().unwrap(), record["first_byte_ms"].as_f64().unwrap());
    assert!(first_byte > 0.0 && first_byte <= whole && whole < 30_000.0, "{record}");
    assert!(record["connect_ms"].as_f64() > Some(0.0), "{record}");
    assert!(
        record["time"].as_str().is_some_and(|time| time.ends_with('Z') && time.contains('T')),
        "{record}"
    );
    assert!(record.get("fault").is_none() && record.get("tls").is_none(), "{record}");
    let ending = lintel.stop().await;
    assert_eq!(ending.records.len(), 1);
}

#[tokio::test]
async fn a_malformed_head_leaves_a_record_without_a_request() {
    let origin = Origin::named("one");
    let lintel = Lintel::before(&[&origin], "").await;
    raw(lintel.http(), "GET / HTTP/1.1\r\nHost : a\r\n\r\n").await;
    let record = lintel.record(|record| record["fault"] == "bad_request").await;
    assert_eq!((&record["status"], &record["listener"]), (&400.into(), &"http".into()));
    assert!(!record["detail"].as_str().unwrap_or_default().is_empty(), "{record}");
    assert!(record.get("method").is_none() && record.get("target").is_none(), "{record}");
    lintel.metric("lintel_listener_malformed_total", &[("listener", "http"), ("reason", "head")], 1.0).await;
}

#[tokio::test]
async fn nothing_that_a_client_sends_breaks_a_line_of_the_log() {
    let origin = Origin::named("one");
    let lintel = Lintel::before(&[&origin], "").await;
    let mut connection = Connection::open(lintel.http()).await;
    let head = b"GET /caf\xc3\xa9?\xe2\x80\xa8 HTTP/1.1\r\nHost: a\r\nReferer: \\u0000\t\xe2\x80\xa8\r\nUser-Agent: \"},{\\\"\xff\r\n\r\n";
    connection.send(head).await;
    assert_eq!(connection.response().await.status(), 200);
    let record = lintel.record(|record| record["method"] == "GET").await;
    assert!(record["user_agent"].as_str().unwrap().starts_with("\"},{\\\""), "{record}");
    assert_eq!(record["referer"], "\\u0000\t\u{2028}");
    let ending = lintel.stop().await;
    assert_eq!(ending.records.len(), 1);
}

#[tokio::test]
async fn every_metric_has_help_and_type_and_stands_in_the_docs_and_labels_are_few() {
    let origin = Origin::named("one");
    let lintel = Lintel::before(&[&origin], "health_check: /healthz").await;
    get(lintel.http(), "/").await;
    raw(lintel.http(), "bad\r\n\r\n").await;
    lintel
        .metric("lintel_route_requests_total", &[("route", "all"), ("pool", "web"), ("status", "200")], 1.0)
        .await;
    let text = get(lintel.at("metrics"), "/metrics").await;
    assert!(
        text.field("content-type").is_some_and(|kind| kind.starts_with("text/plain")),
        "{:?}",
        text.fields
    );
    let metrics = lintel.metrics().await;
    assert!(metrics.typed.len() > 20, "{:?}", metrics.typed);
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md"))
        .expect("docs/metrics.md");
    for family in &metrics.typed {
        assert!(metrics.explained.contains(family), "{family} has no help");
        assert!(family.starts_with("lintel_") || family.starts_with("process_"), "{family}");
        assert!(
            docs.contains(&format!("`{family}`")) || family.starts_with("process_"),
            "{family} is not in docs/metrics.md"
        );
    }
    // Labels come from the vocabulary, never from a request.
    let vocabulary = [
        "listener",
        "route",
        "pool",
        "server",
        "worker",
        "status",
        "reason",
        "outcome",
        "kind",
        "fault",
        "version",
        "hash",
        "certificate",
        "code",
        "le",
    ];
    for label in metrics.label_names() {
        assert!(vocabulary.contains(&label), "{label}");
    }
    for (name, labels) in [
        ("lintel_build_info", &[][..]),
        ("lintel_config_last_load_ok", &[]),
        ("lintel_listener_connections_total", &[("listener", "http")]),
        ("lintel_listener_requests_total", &[("version", "1.1")]),
        ("lintel_route_duration_seconds_count", &[("route", "all")]),
        ("lintel_route_first_byte_seconds_count", &[("route", "all")]),
        ("lintel_pool_requests_total", &[("pool", "web")]),
        ("lintel_server_up", &[("pool", "web")]),
        ("lintel_server_requests_total", &[("pool", "web")]),
        ("lintel_server_checks_total", &[("outcome", "ok")]),
        ("process_resident_memory_bytes", &[]),
        ("process_open_fds", &[]),
    ] {
        assert!(metrics.sum(name, labels) >= 1.0, "{name}{labels:?}");
    }
}

#[tokio::test]
async fn probes_answer_on_the_metrics_address_and_on_the_control_socket() {
    let origin = Origin::named("one");
    let lintel = Lintel::before(&[&origin], "").await;
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(get(lintel.at("metrics"), path).await.status(), 200, "{path}");
    }
    assert_eq!(get(lintel.at("metrics"), "/other").await.status(), 404);
    let mut post = Connection::open(lintel.at("metrics")).await;
    let answer = post.exchange("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
    assert!(answer.status() >= 400, "the address is read-only");
    let socket = lintel.path().join("run/admin.sock");
    let mode = std::fs::metadata(&socket).expect("the control socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
    let request = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(Connection::over(stream).exchange(request).await.status(), 200);
}

#[tokio::test]
async fn the_access_log_can_be_a_file_that_is_opened_anew_on_a_signal() {
    let origin = Origin::named("one");
    let yaml = front(&[&origin], "")
        + "observability:\n  access_log: { path: access.log, format: combined }\n  log: { format: json }\n  metrics: { address: \"127.0.0.1:0\" }\n";
    let lintel = Lintel::start(yaml).await;
    let (path, old) = (lintel.path().join("access.log"), lintel.path().join("access.log.1"));
    let mut connection = Connection::open(lintel.http()).await;
    connection.exchange("GET /first HTTP/1.1\r\nHost: a\r\nUser-Agent: \"quoted\"\r\n\r\n").await;
    let has = async |path: &std::path::Path, text: &str| {
        let read = std::fs::read_to_string(path).unwrap_or_default();
        read.contains(text).then_some(read)
    };
    let line = eventually("the first line", async || has(&path, "/first").await).await;
    // 127.0.0.1 - - [10/Oct/2000:13:55:36 +0000] "GET / HTTP/1.1" 200 2326 "-" "agent"
    assert!(line.starts_with("127.0.0.1 - - [") && line.contains("] \"GET /first HTTP/1.1\" 200 "), "{line}");
    assert_eq!(line.lines().count(), 1);
    std::fs::rename(&path, &old).unwrap();
    lintel.signal(rustix::process::Signal::USR1);
    eventually("the file is there anew", async || path.exists().then_some(())).await;
    connection.get("/second").await;
    eventually("the second line", async || has(&path, "/second").await).await;
    assert!(!std::fs::read_to_string(&old).unwrap().contains("/second"));
    assert!(lintel.access_log.lines().is_empty(), "{:?}", lintel.access_log.lines());
}

#[tokio::test]
async fn the_access_log_can_be_off() {
    let origin = Origin::named("one");
    let yaml = front(&[&origin], "")
        + "observability: { access_log: off, log: { format: json }, metrics: { address: \"127.0.0.1:0\" } }\n";
    let lintel = Lintel::start(yaml).await;
    get(lintel.http(), "/").await;
    let ending = lintel.stop().await;
    assert!(ending.records.is_empty());
}

#[tokio::test]
async fn the_log_says_what_starts_and_ends() {
    let origin = Origin::named("one");
    let lintel = Setup::new(front(&[&origin], "")).start().await;
    let ending_log = lintel.log.clone();
    let address = lintel.http().to_string();
    let ready = ending_log.records();
    let listening =
        ready.iter().find(|line| message_of(line) == "listening" && line["listener"] == "http").unwrap();
    assert_eq!(listening["address"], address);
    assert_eq!(listening["level"], "INFO");
    lintel.stop().await;
    assert!(ending_log.records().len() > ready.len(), "it ends without a word");
}
