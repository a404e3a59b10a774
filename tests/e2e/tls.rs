//! TLS to clients: versions, certificates by SNI, resumption, client certificates, 421, and handshakes that fail.

use std::sync::Arc;

use rustls::{HandshakeKind, NamedGroup};
use tempfile::TempDir;

use crate::support::lintel::{Setup, front, message_of};
use crate::support::tls::{Authority, connect, handshake};
use crate::support::{Connection, Lintel, Origin, get};

const HELLO: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

struct Front {
    folder: TempDir,
    authority: Authority,
    origin: Origin,
}

impl Front {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(folder.path(), "authority");
        Self { folder, authority, origin: Origin::named("one") }
    }

    /// A config whose listener `http` has these certificates (by the names each is for) and these lines under `tls`.
    fn config(&self, certificates: &[&[&str]], tls: &str) -> String {
        let leaves: Vec<String> =
            certificates.iter().map(|names| self.authority.issue(names).yaml()).collect();
        let tls = format!("    tls:\n      certificates: [{}]\n{tls}", leaves.join(", "));
        front(&[&self.origin], "")
            .replace("    address: \"127.0.0.1:0\"\n", &format!("    address: \"127.0.0.1:0\"\n{tls}"))
    }

    async fn start(&self, certificates: &[&[&str]], tls: &str) -> Lintel {
        Lintel::start(self.config(certificates, tls)).await
    }
}

#[tokio::test]
async fn both_versions_are_spoken_with_the_post_quantum_group_preferred() {
    let front = Front::new();
    let lintel = front.start(&[&["a.test"]], "").await;
    for (version, name) in [(&rustls::version::TLS13, "TLSv1.3"), (&rustls::version::TLS12, "TLSv1.2")] {
        let config = Arc::new(front.authority.client_of(version));
        let stream = handshake(lintel.http(), "a.test", &config).await.unwrap();
        let group = stream.get_ref().1.negotiated_key_exchange_group().expect("a group").name();
        if name == "TLSv1.3" {
            assert_eq!(group, NamedGroup::X25519MLKEM768);
        }
        let mut connection = Connection::over(stream);
        let path = format!("/{name}");
        assert_eq!(connection.exchange(&HELLO.replace("/ ", &format!("{path} "))).await.text(), "one");
        let record = lintel.record_of(&path).await;
        assert_eq!((&record["tls"], &record["sni"]), (&name.into(), &"a.test".into()), "{record}");
    }
    let request = front.origin.request(0).await;
    assert_eq!(request.field("x-forwarded-proto"), Some("https"));
    lintel.metric("lintel_listener_tls_handshakes_total", &[("outcome", "tls1.3")], 1.0).await;
    lintel.metric("lintel_listener_tls_handshakes_total", &[("outcome", "tls1.2")], 1.0).await;
}

#[tokio::test]
async fn a_version_older_than_min_version_is_refused() {
    let front = Front::new();
    let lintel = front.start(&[&["a.test"]], "      min_version: \"1.3\"\n").await;
    let old = Arc::new(front.authority.client_of(&rustls::version::TLS12));
    assert!(handshake(lintel.http(), "a.test", &old).await.is_err());
    let record = lintel.record(|record| record["fault"] == "tls_failed").await;
    assert_eq!(record["client"], "127.0.0.1");
    lintel.metric("lintel_listener_tls_failures_total", &[("reason", "no_shared_version")], 1.0).await;
    let new = Arc::new(front.authority.client());
    assert!(handshake(lintel.http(), "a.test", &new).await.is_ok());
}

#[tokio::test]
async fn the_certificate_is_picked_by_name_exact_then_wildcard_then_the_first() {
    let front = Front::new();
    let certificates: [&[&str]; 4] = [&["first.test"], &["*.b.test"], &["x.b.test"], &["c.test", "d.test"]];
    let lintel = front.start(&certificates, "").await;
    let config = Arc::new(front.authority.client());
    for (asked, works) in [
        ("first.test", true),
        ("y.b.test", true),
        ("x.b.test", true),
        ("X.B.TEST", true),
        ("d.test", true),
        ("b.test", false),     // a wildcard is one label more
        ("a.y.b.test", false), // and not two
        ("other.test", false), // gets the first, which is not its own
    ] {
        assert_eq!(handshake(lintel.http(), asked, &config).await.is_ok(), works, "{asked}");
    }
    let stream = handshake(lintel.http(), "x.b.test", &config).await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let exact = std::fs::read_to_string(front.folder.path().join("x.b.test.crt")).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&shown).unwrap();
    assert!(parsed.subject().to_string().contains("x.b.test"), "{} is not {exact}", parsed.subject());
}

#[tokio::test]
async fn protocols_are_agreed_on_and_others_are_not_promised() {
    let front = Front::new();
    let both = front.start(&[&["a.test"]], "").await;
    let config = front.config(&[&["a.test"]], "");
    let one = config.replace("  http:\n", "  http:\n    protocols: [http1]\n");
    assert_ne!(one, config);
    let one = Lintel::start(one).await;
    let agreed = async |lintel: &Lintel, offered: &[&str]| {
        let mut config = front.authority.client();
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = handshake(lintel.http(), "a.test", &Arc::new(config)).await.ok()?;
        let name = stream.get_ref().1.alpn_protocol().unwrap_or(b"none").to_vec();
        Some(String::from_utf8(name).expect("an ASCII name"))
    };
    for (offered, of_both, of_one) in [
        (["http/1.1", "h2"].as_slice(), Some("h2"), Some("http/1.1")),
        (&["http/1.1"], Some("http/1.1"), Some("http/1.1")),
        (&["h2"], Some("h2"), None),
        (&["spdy/3"], None, None),
        (&[], Some("none"), Some("none")),
    ] {
        assert_eq!(agreed(&both, offered).await.as_deref(), of_both, "{offered:?}");
        assert_eq!(agreed(&one, offered).await.as_deref(), of_one, "{offered:?}");
    }
}

#[tokio::test]
async fn sessions_are_resumed_on_whatever_engine_thread_the_next_connection_lands() {
    let front = Front::new();
    let yaml = front.config(&[&["a.test"]], "") + "runtime: { threads: 4 }\n";
    let lintel = Lintel::start(yaml).await;
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let config = Arc::new(front.authority.client_of(version));
        let mut resumed = 0;
        let mut open = Vec::new();
        for _ in 0..12 {
            let stream = handshake(lintel.http(), "a.test", &config).await.unwrap();
            resumed += usize::from(stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed));
            // Tickets of TLS 1.3 come with the first bytes; the connection stays open, so the next lands elsewhere.
            let mut connection = Connection::over(stream);
            connection.exchange(HELLO).await;
            open.push(connection);
        }
        assert_eq!(resumed, 11, "{version:?}");
    }
}

#[tokio::test]
async fn a_client_certificate_can_be_required_and_is_told_to_the_server() {
    let front = Front::new();
    let clients = Authority::new(front.folder.path(), "clients");
    let auth =
        |mode: &str| format!("      client_auth: {{ ca: {}, mode: {mode} }}\n", clients.path.display());
    let lintel = front.start(&[&["a.test"]], &auth("required")).await;
    // With TLS 1.3 the refusal comes after the client's side of the handshake is done.
    let without = Arc::new(front.authority.client());
    if let Ok(stream) = handshake(lintel.http(), "a.test", &without).await {
        let mut connection = Connection::over(stream);
        connection.send(HELLO).await;
        assert!(connection.try_response_to("GET").await.is_err());
    }
    lintel
        .metric("lintel_listener_tls_failures_total", &[("reason", "client_certificate_missing")], 1.0)
        .await;
    let stranger = Authority::new(front.folder.path(), "strangers").issue(&["mallory"]);
    if let Ok(stream) =
        handshake(lintel.http(), "a.test", &Arc::new(front.authority.client_with(&stranger))).await
    {
        let mut connection = Connection::over(stream);
        connection.send(HELLO).await;
        assert!(connection.try_response_to("GET").await.is_err());
    }
    assert_eq!(front.origin.count(), 0);

    let alice = Arc::new(front.authority.client_with(&clients.issue(&["alice"])));
    let mut connection = connect(lintel.http(), "a.test", &alice).await;
    let forged = "GET / HTTP/1.1\r\nHost: a.test\r\nX-Client-Cert-Subject: CN=root\r\nX-Client-Cert-Verified: no\r\n\r\n";
    assert_eq!(connection.exchange(forged).await.status(), 200);
    let request = front.origin.request(0).await;
    assert_eq!(request.all("x-client-cert-subject").len(), 1);
    assert!(request.field("x-client-cert-subject").unwrap().contains("alice"), "{:?}", request.fields);
    let fingerprint = request.field("x-client-cert-fingerprint").unwrap();
    assert!(fingerprint.len() == 64 && fingerprint.bytes().all(|b| b.is_ascii_hexdigit()), "{fingerprint}");

    let lintel = front.start(&[&["a.test"]], &auth("optional")).await;
    let mut connection = connect(lintel.http(), "a.test", &without).await;
    assert_eq!(connection.exchange(forged).await.status(), 200);
    let request = front.origin.request(1).await;
    assert_eq!(request.field("x-client-cert-subject"), None, "forged, and not taken out");
}

#[tokio::test]
async fn a_host_of_another_certificate_is_misdirected_and_one_of_the_same_is_not() {
    let front = Front::new();
    let certificates: [&[&str]; 2] = [&["a.test", "also-a.test"], &["b.test"]];
    let lintel = front.start(&certificates, "").await;
    let config = Arc::new(front.authority.client());
    let mut connection = connect(lintel.http(), "a.test", &config).await;
    for (host, status) in [("a.test", 200), ("also-a.test", 200), ("unknown.test", 200), ("b.test", 421)] {
        let response = connection.exchange(&format!("GET /{host} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(response.status(), status, "{host}");
    }
    assert_eq!(lintel.record_of("/b.test").await["fault"], "misdirected");
    // Without SNI nothing was promised.
    let mut config = front.authority.client();
    config.enable_sni = false;
    let mut connection = connect(lintel.http(), "a.test", &Arc::new(config)).await;
    let response = connection.exchange("GET / HTTP/1.1\r\nHost: b.test\r\n\r\n").await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn what_is_no_tls_is_told_apart_in_metrics_and_log() {
    let front = Front::new();
    let yaml = front.config(&[&["a.test"]], "    timeouts: { tls_handshake: 300ms }\n");
    let lintel = Lintel::start(yaml).await;
    let reply = crate::support::raw(lintel.http(), HELLO).await;
    assert!(reply.is_empty() || reply.starts_with(b"HTTP/1.1 400 "), "{}", reply.escape_ascii());
    lintel.metric("lintel_listener_tls_failures_total", &[("reason", "plain_http")], 1.0).await;
    assert_eq!(lintel.record(|record| record["fault"] == "tls_failed").await["client"], "127.0.0.1");
    // The beginning of a hello, and no more.
    let mut slow = Connection::open(lintel.http()).await;
    slow.send(b"\x16\x03\x01\x02\x00\x01").await;
    slow.rest().await;
    lintel.record(|record| record["fault"] == "tls_timeout").await;
    lintel.metric("lintel_listener_timeouts_total", &[("kind", "tls_handshake")], 1.0).await;
    // Nobody is kept from being served.
    let mut connection = connect(lintel.http(), "a.test", &Arc::new(front.authority.client())).await;
    assert_eq!(connection.exchange(HELLO).await.status(), 200);
}

#[tokio::test]
async fn a_plain_listener_can_send_everyone_to_the_tls_one() {
    let front = Front::new();
    let yaml = front
        .config(&[&["a.test"]], "")
        .replace("  http:\n", "  https:\n")
        .replace("listeners:\n", "listeners:\n  http: { address: \"127.0.0.1:0\", redirect_to: https }\n");
    let lintel = Lintel::start(yaml).await;
    let response = Connection::open(lintel.http()).await.get("/a%20b?c=d").await;
    assert_eq!(response.status(), 308);
    let port = lintel.at("https").port();
    assert_eq!(response.field("location"), Some(&*format!("https://a.test:{port}/a%20b?c=d")));
    assert_eq!(front.origin.count(), 0);
}

#[tokio::test]
async fn expiry_is_a_metric_and_soon_a_warning() {
    let front = Front::new();
    let soon = front.authority.issue_with(&["soon.test"], |parameters| {
        parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_before = rcgen::date_time_ymd(2019, 1, 1);
    });
    let yaml = front
        .config(&[&["a.test"]], "")
        .replace("certificates: [", &format!("certificates: [{}, ", soon.yaml()));
    let lintel = Setup::new(yaml).start().await;
    assert!(lintel.metrics().await.has("lintel_certificate_expiry_seconds", &[("listener", "http")]));
    let warned =
        |line: &serde_json::Value| line["level"] == "WARN" && line.to_string().contains("soon.test.crt");
    let warning = lintel.log.record("a warning about the expired certificate", warned).await;
    assert!(!message_of(&warning).is_empty());
    get(lintel.at("metrics"), "/livez").await;
}
