//! Who may ask: the token, Host and Origin, TLS with client certificates, and what the commands say.

use std::sync::Arc;

use crate::place::{Ask, Place, TOKEN, error};
use crate::support::port::Port;
use crate::support::tls::handshake;
use crate::support::{Connection, get};

const TCP: &str = "admin: { address: \"127.0.0.1:0\" }\n";
const WITH_TOKEN: &str = "admin: { address: \"127.0.0.1:0\", token: { file: \"{folder}/token\" } }\n";

fn bearer() -> String {
    format!("Bearer {TOKEN}")
}

/// Commands find the port in the file: writes there which one it is, where `before` says 0.
fn write_port(place: &Place, before: &str) {
    let port = place.lintel.at("admin").port();
    assert!(place.yaml.contains(before), "{}", place.yaml);
    place.lintel.rewrite(&place.yaml.replace(before, &before.replace(":0\"", &format!(":{port}\""))));
}

#[tokio::test]
async fn over_tcp_everybody_reads_and_nobody_changes_without_a_token() {
    let place = Place::with(TCP).await;
    let read = Ask::new("GET", "/status").headers(&[("Host", "localhost")]);
    assert_eq!(place.ask_tcp(&read).await.status(), 200);
    let answer = place.ask_tcp(&Ask::new("POST", "/reload")).await;
    assert_eq!(answer.status(), 403);
    assert!(error(&answer).contains("token: { file: ... }"), "{}", answer.text());
    write_port(&place, "admin: { address: \"127.0.0.1:0\"");
    let said = place.lintel.run(&["reload"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("nothing is changed over TCP without a token"), "{}", said.stderr);
}

#[tokio::test]
async fn the_token_is_checked_wherever_it_is_sent() {
    let place = Place::with(WITH_TOKEN).await;
    let bearer = bearer();
    for (authorization, status) in [
        (None, 401),
        (Some(bearer.as_str()), 200),
        (Some("Bearer canary-of-the-token-filE"), 401),
        (Some("Bearer "), 401),
        (Some("Bearer"), 401),
        (Some("Basic eDp5"), 401),
    ] {
        let mut ask = Ask::new("POST", "/reload");
        if let Some(authorization) = authorization {
            ask = ask.with("Authorization", authorization);
        }
        let answer = place.ask_tcp(&ask).await;
        assert_eq!(answer.status(), status, "{authorization:?}: {}", answer.text());
        assert_eq!(answer.field("www-authenticate"), (status == 401).then_some("Bearer"));
    }
    let wrong = Ask::new("GET", "/status").with("Authorization", "Bearer nonsense");
    assert_eq!(place.ask_tcp(&wrong).await.status(), 401);
    let without = Ask::new("POST", "/reload").headers(&[("Host", "localhost"), ("Authorization", &bearer)]);
    assert_eq!(place.ask_tcp(&without).await.status(), 403);
    place.lintel.metric("lintel_admin_refused_total", &[], 7.0).await;
    let told = place.lintel.log.text().matches("the control interface refused").count();
    assert_eq!(told, 1, "one line for all of them");
}

#[tokio::test]
async fn commands_send_the_token_and_say_when_they_cannot() {
    let place = Place::with(WITH_TOKEN).await;
    write_port(&place, "address: \"127.0.0.1:0\", token");
    let said = place.lintel.run(&["pause", "web"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.starts_with("web: "), "{said:?}");
    std::fs::remove_file(place.files().join("token")).unwrap();
    let said = place.lintel.run(&["resume", "web"]).await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.stderr.contains("admin.token.file") && said.stderr.contains("cannot be read"),
        "{}",
        said.stderr
    );
}

#[tokio::test]
async fn another_token_counts_after_a_reload() {
    let mut place = Place::with(WITH_TOKEN).await;
    std::fs::write(place.files().join("token"), "another-token-of-enough-bytes").unwrap();
    let before = place.lintel.in_force();
    let (old, new) = (bearer(), "Bearer another-token-of-enough-bytes");
    let reload = Ask::new("POST", "/reload").with("Authorization", &old);
    let first = place.ask_tcp(&reload).await.status();
    // The watcher may have been first.
    assert!(matches!(first, 200 | 401), "{first}");
    place.lintel.taken(before).await;
    assert_eq!(place.ask_tcp(&reload).await.status(), 401);
    let reload = Ask::new("POST", "/reload").with("Authorization", new);
    assert_eq!(place.ask_tcp(&reload).await.status(), 200);
    std::fs::write(place.files().join("token"), "short").unwrap();
    let answer = place.ask_tcp(&reload).await;
    assert_eq!(answer.status(), 422, "{}", answer.text());
    assert!(answer.text().contains("holds 5 bytes"), "{}", answer.text());
}

#[tokio::test]
async fn web_pages_of_others_are_refused() {
    let place = Place::with(WITH_TOKEN).await;
    for headers in [
        vec![("Host", "rebound.example")],
        vec![("Host", "localhost.evil.example")],
        vec![("Host", "localhost"), ("Host", "localhost")],
        vec![("Host", "localhost"), ("Origin", "https://evil.example")],
        vec![("Host", "localhost"), ("Origin", "null")],
    ] {
        let answer = place.ask_tcp(&Ask::new("GET", "/status").headers(&headers)).await;
        assert_eq!(answer.status(), 403, "{headers:?}");
        let answer = place.ask_tcp(&Ask::new("GET", "/livez").headers(&headers)).await;
        assert_eq!(answer.status(), 403, "{headers:?}");
    }
    let own = [("Host", "localhost"), ("Origin", "http://localhost")];
    assert_eq!(place.ask_tcp(&Ask::new("GET", "/status").headers(&own)).await.status(), 200);
}

#[tokio::test]
async fn off_loopback_nothing_is_answered_without_the_token() {
    let admin = "admin: { address: \"0.0.0.0:0\", token: { file: \"{folder}/token\" } }\n";
    let place = Place::with(admin).await;
    let port = place.lintel.at("admin").port();
    let ask = async |ask: &Ask<'_>| {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut connection = Connection::over(stream);
        connection.send(ask.bytes()).await;
        connection.response_to(ask.method).await.status()
    };
    let bearer = bearer();
    for target in ["/status", "/livez", "/metrics", "/openapi.json", "/nowhere"] {
        assert_eq!(ask(&Ask::new("GET", target)).await, 401, "{target}");
    }
    assert_eq!(ask(&Ask::new("GET", "/status").with("Authorization", &bearer)).await, 200);
    assert_eq!(ask(&Ask::new("POST", "/reload").with("Authorization", &bearer)).await, 200);
    // The read-only address needs none, and has nothing else.
    assert_eq!(get(place.lintel.at("metrics"), "/metrics").await.status(), 200);
    assert_eq!(get(place.lintel.at("metrics"), "/status").await.status(), 404);
}

#[tokio::test]
async fn a_client_certificate_opens_the_door_and_tls_ends_there() {
    let admin = "admin:\n  address: \"0.0.0.0:0\"\n  tls:\n    certificates: [{ cert: \"{folder}/gate.test.crt\", key: \"{folder}/gate.test.key\" }]\n    client_auth: { ca: \"{folder}/authority.crt\", mode: optional }\n";
    let place = Place::with(admin).await;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], place.lintel.at("admin").port()));
    let leaf = place.authority.issue(&["operator.test"]);
    for (config, status) in [(place.authority.client_with(&leaf), 200), (place.authority.client(), 401)] {
        let stream = handshake(address, "gate.test", &Arc::new(config)).await.unwrap();
        let mut connection = Connection::over(stream);
        connection.send(Ask::new("POST", "/reload").bytes()).await;
        assert_eq!(connection.response_to("POST").await.status(), status);
    }
}

#[tokio::test]
async fn commands_speak_tls_and_believe_the_certificate_of_the_file_alone() {
    let admin = "admin:\n  address: \"127.0.0.1:0\"\n  tls:\n    certificates: [{ cert: \"{folder}/gate.test.crt\", key: \"{folder}/gate.test.key\" }]\n  token: { file: \"{folder}/token\" }\n";
    let port = Port::reserve();
    let place = Place::with(&admin.replace("127.0.0.1:0", &port.address().to_string())).await;
    let path = place.lintel.config_path();
    let yaml = std::fs::read_to_string(&path).unwrap();
    for command in ["status", "reload"] {
        let said = place.lintel.run(&[command]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    let other = place.authority.issue(&["other.test"]);
    let certificates = yaml.rfind("gate.test.crt").expect("the certificate of admin");
    let folder = yaml[..certificates].rfind('"').expect("a quoted path") + 1;
    let foreign = format!(
        "{}{}{}",
        &yaml[..folder],
        other.cert.display(),
        &yaml[certificates + "gate.test.crt".len()..]
    );
    std::fs::write(&path, foreign).unwrap();
    let said = place.lintel.run(&["status"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("does not have the certificate of admin.tls"), "{said:?}");
}

#[tokio::test]
async fn check_says_what_an_open_door_lacks() {
    let place = Place::new().await;
    for (admin, says) in [
        ("admin: { address: \"0.0.0.0:0\" }", "needs to know who asks"),
        ("admin: { address: \"127.0.0.1:0\", token: { file: {folder}/none } }", "cannot be read"),
        ("admin: { token: { file: {folder}/short } }", "holds 5 bytes"),
        ("admin: { tls: { certificates: [] } }", "a unix socket speaks no TLS"),
        (
            "admin: { address: \"[::]:0\", tls: { certificates: [] }, token: { file: {folder}/token } }",
            "there is no certificate",
        ),
    ] {
        std::fs::write(place.files().join("short"), "short").unwrap();
        let admin = admin.replace("{folder}", &place.files().display().to_string());
        place.lintel.rewrite(&format!("{}\n{admin}\n", place.yaml));
        let said = place.lintel.run(&["check"]).await;
        assert_eq!(said.code, Some(1), "{admin}: {said:?}");
        assert!(said.stderr.contains(says), "{admin}: {}", said.stderr);
    }
}
