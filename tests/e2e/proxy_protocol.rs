//! The PROXY protocol: versions 1 and 2, from listed addresses alone, before anything else.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::support::lintel::front;
use crate::support::tls::{Authority, handshake};
use crate::support::{Connection, Lintel, Origin};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn config(origin: &Origin, trusted: &str, more: &str) -> String {
    let listener = format!(
        "    address: \"127.0.0.1:0\"\n    proxy_protocol: required\n    trusted_proxies: [{trusted}]\n{more}"
    );
    front(&[origin], "").replace("    address: \"127.0.0.1:0\"\n", &listener)
}

async fn start(origin: &Origin) -> Lintel {
    Lintel::start(config(origin, "127.0.0.0/8, 10.0.0.0/8", "")).await
}

/// A header of version 2 with this command and these addresses.
fn version_2(command: u8, source: SocketAddr, destination: SocketAddr, more: &[u8]) -> Vec<u8> {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let mut body = [octets(source.ip()), octets(destination.ip())].concat();
    body.extend(source.port().to_be_bytes());
    body.extend(destination.port().to_be_bytes());
    body.extend(more);
    let family = if source.is_ipv4() { 0x11 } else { 0x21 };
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, family]);
    header.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    header.extend(body);
    header
}

#[tokio::test]
async fn the_announced_address_is_the_peer() {
    let origin = Origin::named("one");
    let lintel = start(&origin).await;
    let (v4, v6) = ("198.51.100.7:4000", "[2001:db8::7]:4000");
    let there = |text: &str| text.parse::<SocketAddr>().unwrap();
    // A TLV of a kind that nobody knows is passed over.
    let unknown = [0xee, 0, 3, 1, 2, 3];
    let headers = [
        (b"PROXY TCP4 198.51.100.7 203.0.113.1 4000 443\r\n".to_vec(), "198.51.100.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4000 443\r\n".to_vec(), "2001:db8::7"),
        (version_2(1, there(v4), there("203.0.113.1:443"), &[]), "198.51.100.7"),
        (version_2(1, there(v6), there("[2001:db8::1]:443"), &[]), "2001:db8::7"),
        (version_2(1, there(v4), there("203.0.113.1:443"), &unknown), "198.51.100.7"),
        // These say nothing about a client: the socket's address stays.
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), "127.0.0.1"),
        (version_2(0, there(v4), there("203.0.113.1:443"), &[]), "127.0.0.1"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(), "127.0.0.1"),
    ];
    for (number, (header, client)) in headers.into_iter().enumerate() {
        let request = GET.replace("/ ", &format!("/{number} "));
        for pieces in [
            vec![[&header, request.as_bytes()].concat()],
            [&header, request.as_bytes()].concat().chunks(1).map(<[u8]>::to_vec).collect(),
        ] {
            let mut connection = Connection::open(lintel.http()).await;
            connection.send_pieces(&pieces).await;
            assert_eq!(connection.response().await.status(), 200, "{}", header.escape_ascii());
        }
        assert_eq!(
            lintel.record_of(&format!("/{number}")).await["client"],
            client,
            "{}",
            header.escape_ascii()
        );
        let seen = origin.request(2 * number).await;
        assert_eq!(seen.field("x-forwarded-for"), Some(client), "{}", header.escape_ascii());
    }
}

#[tokio::test]
async fn x_forwarded_for_is_believed_only_from_an_announced_address_that_is_trusted() {
    let origin = Origin::named("one");
    let lintel = start(&origin).await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nX-Request-Id: mine\r\n\r\n";
    for (number, (peer, expected)) in
        [("198.51.100.7", "198.51.100.7"), ("10.0.0.9", "6.6.6.6, 10.0.0.9")].into_iter().enumerate()
    {
        let mut connection = Connection::open(lintel.http()).await;
        connection.send(format!("PROXY TCP4 {peer} 203.0.113.1 4000 443\r\n{request}")).await;
        assert_eq!(connection.response().await.status(), 200);
        let seen = origin.request(number).await;
        assert_eq!(seen.field("x-forwarded-for"), Some(expected));
        assert_eq!(seen.field("x-request-id") == Some("mine"), peer == "10.0.0.9");
    }
}

#[tokio::test]
async fn what_is_no_header_ends_the_connection() {
    let origin = Origin::named("one");
    let lintel = start(&origin).await;
    let bad: [&[u8]; 10] = [
        GET.as_bytes(),
        b"PROXY TCP4 198.51.100.7 203.0.113.1 4000\r\n",
        b"PROXY TCP4 198.51.100.7 203.0.113.1 4000 70000\r\n",
        b"PROXY TCP4 198.51.100 203.0.113.1 4000 443\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 4000 443\r\n",
        b"PROXY TCP4  198.51.100.7 203.0.113.1 4000 443\r\n",
        b"PROXY TCP4 198.51.100.7 203.0.113.1 4000 443\n",
        b"proxy TCP4 198.51.100.7 203.0.113.1 4000 443\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\xc6\x33\x64\x07\xcb\x00\x71\x01\x0f\xa0\x01\xbb",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04\xc6\x33\x64\x07",
    ];
    for header in bad {
        let mut connection = Connection::open(lintel.http()).await;
        connection.send([header, GET.as_bytes()].concat()).await;
        let reply = connection.rest().await;
        assert!(reply.is_empty(), "{} got {}", header.escape_ascii(), reply.escape_ascii());
    }
    assert_eq!(origin.count(), 0);
    let record = lintel.record(|record| record["fault"] == "proxy_header_bad").await;
    assert_eq!(record["client"], "127.0.0.1");
    let closed = [("listener", "http"), ("reason", "proxy_header")];
    lintel.metric("lintel_listener_closed_total", &closed, bad.len() as f64).await;
}

#[tokio::test]
async fn a_header_from_an_address_that_is_not_listed_is_not_read() {
    let origin = Origin::named("one");
    let lintel = Lintel::start(config(&origin, "10.0.0.0/8", "")).await;
    let mut connection = Connection::open(lintel.http()).await;
    connection.send(format!("PROXY TCP4 10.0.0.9 203.0.113.1 4000 443\r\n{GET}")).await;
    assert_eq!(connection.rest().await, b"");
    assert_eq!(origin.count(), 0);
    lintel.record(|record| record["fault"] == "proxy_header_bad").await;
}

#[tokio::test]
async fn a_header_has_a_deadline() {
    let origin = Origin::named("one");
    let lintel =
        Lintel::start(config(&origin, "127.0.0.0/8", "    timeouts: { tls_handshake: 300ms }\n")).await;
    let mut connection = Connection::open(lintel.http()).await;
    connection.send("PROXY TCP4 ").await;
    assert_eq!(connection.rest().await, b"");
    lintel.record(|record| record["fault"] == "proxy_header_timeout").await;
    lintel.metric("lintel_listener_timeouts_total", &[("kind", "proxy_header")], 1.0).await;
}

#[tokio::test]
async fn the_header_comes_before_tls() {
    let origin = Origin::named("one");
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let tls = format!("    tls: {{ certificates: [{}] }}\n", authority.issue(&["a.test"]).yaml());
    let lintel = Lintel::start(config(&origin, "127.0.0.0/8", &tls)).await;
    let config = Arc::new(authority.client());
    assert!(handshake(lintel.http(), "a.test", &config).await.is_err(), "a hello is no PROXY header");
    let mut stream = tokio::net::TcpStream::connect(lintel.http()).await.unwrap();
    let header = b"PROXY TCP4 198.51.100.7 203.0.113.1 4000 443\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, header).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("a.test").unwrap();
    let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await.unwrap();
    assert_eq!(Connection::over(stream).exchange(GET).await.status(), 200);
    assert_eq!(lintel.record_of("/").await["client"], "198.51.100.7");
}
