//! What a server learns about the client, and how its connections are used. The table of tests/conformance has the rest.

use crate::support::lintel::front;
use crate::support::node::NodeApp;
use crate::support::{Connection, Lintel, Origin, eventually};

/// A config that trusts these networks.
fn trusting(origin: &Origin, networks: &str) -> String {
    let listener = format!("    address: \"127.0.0.1:0\"\n    trusted_proxies: [{networks}]\n");
    front(&[origin], "").replace("    address: \"127.0.0.1:0\"\n", &listener)
}

#[tokio::test]
async fn the_client_is_the_last_address_that_is_not_trusted() {
    let origin = Origin::named("one");
    let lintel = Lintel::start(trusting(&origin, "127.0.0.0/8, 10.0.0.0/8")).await;
    let mut connection = Connection::open(lintel.http()).await;
    for (number, (chain, client)) in [
        ("198.51.100.7", "198.51.100.7"),
        ("6.6.6.6, 198.51.100.7", "198.51.100.7"),
        ("6.6.6.6, 198.51.100.7, 10.0.0.1", "198.51.100.7"),
        ("10.0.0.2, 10.0.0.1", "10.0.0.2"),
        ("2001:db8::7", "2001:db8::7"),
        ("not an address", "127.0.0.1"),
    ]
    .into_iter()
    .enumerate()
    {
        let request = format!("GET /{number} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {chain}\r\n\r\n");
        connection.exchange(&request).await;
        let record = lintel.record_of(&format!("/{number}")).await;
        assert_eq!(record["client"], client, "{chain}");
        let seen = origin.request(number).await;
        assert_eq!(seen.field("x-forwarded-for"), Some(&*format!("{chain}, 127.0.0.1")));
    }
}

/// Lintel unpacks no body, so that none can grow in it.
#[tokio::test]
async fn a_compressed_body_passes_as_it_is() {
    let origin = Origin::named("one");
    let lintel = Lintel::before(&[&origin], "").await;
    for coding in ["gzip", "br", "zstd", "deflate", "gzip, gzip"] {
        let body = "\u{1f}not what it says";
        let length = body.len();
        let request = format!(
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Encoding: {coding}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        assert_eq!(Connection::open(lintel.http()).await.exchange(&request).await.text(), body);
        let seen = origin.request(origin.count() - 1).await;
        assert_eq!((seen.field("content-encoding"), &*seen.body), (Some(coding), body.as_bytes()));
    }
}

#[tokio::test]
async fn one_request_id_is_in_the_request_the_response_and_the_record() {
    let origin = Origin::named("one");
    let lintel = Lintel::start(trusting(&origin, "127.0.0.0/8")).await;
    let mut connection = Connection::open(lintel.http()).await;
    let made = connection.get("/made").await;
    let id = made.field("x-request-id").expect("an id").to_owned();
    assert_eq!(origin.request(0).await.field("x-request-id"), Some(&*id));
    assert_eq!(lintel.record_of("/made").await["request_id"], id);
    let given = connection.exchange("GET /given HTTP/1.1\r\nHost: a\r\nX-Request-Id: abc-1\r\n\r\n").await;
    assert_eq!(given.field("x-request-id"), Some("abc-1"));
    assert_eq!(lintel.record_of("/given").await["request_id"], "abc-1");
    // What is no id is not taken over, from nobody.
    let long = "x".repeat(5000);
    let odd =
        connection.exchange(&format!("GET /odd HTTP/1.1\r\nHost: a\r\nX-Request-Id: {long}\r\n\r\n")).await;
    assert!(odd.field("x-request-id").is_some_and(|id| id.len() < 200));
}

#[tokio::test]
async fn servers_are_told_no_more_than_their_pool_says() {
    let origin = Origin::named("one");
    let told = "forwarded_headers: [x-forwarded-for, x-forwarded-proto]";
    let lintel = Lintel::start(front(&[&origin], told)).await;
    let answer = Connection::open(lintel.http()).await.get("/").await;
    assert_eq!(answer.field("x-request-id"), None);
    let seen = origin.request(0).await;
    let names: Vec<String> = seen.fields.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    assert_eq!(names, ["host", "x-forwarded-for", "x-forwarded-proto"]);
    // The record has an id all the same.
    assert_eq!(lintel.record_of("/").await["request_id"].as_str().map(str::len), Some(32));
}

#[tokio::test]
async fn an_express_app_knows_its_client() {
    let app = NodeApp::start(7).await;
    let yaml = format!(
        "listeners: {{ http: {{ address: \"127.0.0.1:0\", trusted_proxies: [127.0.0.0/8] }} }}\npools: {{ web: {{ servers: [\"{}\"] }} }}\nroutes: [{{ name: all, to: web }}]\n",
        app.address
    );
    let lintel = Lintel::start(yaml).await;
    let mut connection = Connection::open(lintel.http()).await;
    let request = "GET /whoami?a=b HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\n\r\n";
    let whoami: serde_json::Value = serde_json::from_str(&connection.exchange(request).await.text()).unwrap();
    assert_eq!(whoami["index"], 7);
    assert_eq!(whoami["client"], "198.51.100.7");
    assert_eq!(whoami["protocol"], "https");
    assert_eq!(whoami["url"], "/whoami?a=b");
    assert_eq!(whoami["headers"]["host"], "shop.test");
}

#[tokio::test]
async fn many_requests_share_few_connections_to_a_server() {
    let origin = Origin::named("one");
    let lintel = Lintel::before(&[&origin], "").await;
    let mut connection = Connection::open(lintel.http()).await;
    for _ in 0..50 {
        connection.get("/").await;
    }
    assert_eq!(origin.connections(), 1);
    assert_eq!(lintel.record(|record| record["reused"] == true).await["status"], 200);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request_at_the_server() {
    let origin = Origin::scripted(|mut talk| async move {
        talk.request().await;
        talk.hang().await;
    });
    let lintel = Lintel::before(&[&origin], "").await;
    let mut client = Connection::open(lintel.http()).await;
    client.send("GET /leaves HTTP/1.1\r\nHost: a\r\n\r\n").await;
    origin.request(0).await;
    client.reset();
    origin.all_closed().await;
    let record = lintel.record_of("/leaves").await;
    assert_eq!((&record["status"], &record["fault"]), (&499.into(), &"client_gone".into()));
    let counted = async || {
        let metrics = lintel.metrics().await;
        (metrics.sum("lintel_server_in_flight", &[]) == 0.0).then_some(())
    };
    eventually("its place is free", counted).await;
}

#[tokio::test]
async fn a_listener_can_be_a_unix_socket() {
    let origin = Origin::named("one");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("http.sock");
    let yaml = front(&[&origin], "").replace("\"127.0.0.1:0\"", &format!("\"unix:{}\"", path.display()));
    let lintel = Lintel::start(yaml).await;
    let stream = tokio::net::UnixStream::connect(&path).await.expect("the socket file");
    assert_eq!(Connection::over(stream).get("/").await.text(), "one");
    lintel.stop().await;
    assert!(!path.exists(), "the socket file is left behind");
}
