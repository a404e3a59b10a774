//! HTTP/2 over TLS: agreed by ALPN, to clients and to servers.

use std::sync::Arc;

use crate::support::http2::{Http2, Http2Origin};
use crate::support::lintel::front;
use crate::support::tls::{Authority, connect, handshake};
use crate::support::{Lintel, Origin};

const PLAIN: &str = "    address: \"127.0.0.1:0\"\n";

/// A config whose listener has this certificate and this further line.
fn config(origin: &Origin, certificate: &str, line: &str) -> String {
    let tls = format!("{PLAIN}    tls: {{ certificates: [{certificate}] }}\n{line}");
    front(&[origin], "").replace(PLAIN, &tls)
}

#[tokio::test]
async fn clients_choose_and_http_2_is_preferred() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let origin = Origin::named("one");
    let lintel = Lintel::start(config(&origin, &authority.issue(&["a.test"]).yaml(), "")).await;
    let mut offers = authority.client();
    for (offered, agreed) in
        [(vec!["http/1.1", "h2"], Some("h2")), (vec!["http/1.1"], Some("http/1.1")), (vec![], None)]
    {
        offers.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = handshake(lintel.http(), "a.test", &Arc::new(offers.clone())).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed.map(str::as_bytes), "{offered:?}");
    }
    let mut client = Http2::open_tls(lintel.http(), "a.test", &authority.client()).await;
    assert_eq!(client.get("/two").await.text(), "one");
    let record = lintel.record_of("/two").await;
    assert_eq!((&record["version"], &record["tls"]), (&"HTTP/2.0".into(), &"TLSv1.3".into()), "{record}");
    assert_eq!(origin.request(0).await.field("x-forwarded-proto"), Some("https"));
    let mut client = connect(lintel.http(), "a.test", &Arc::new(authority.client())).await;
    assert_eq!(client.get("/one").await.text(), "one");
    assert_eq!(lintel.record_of("/one").await["version"], "HTTP/1.1");
}

#[tokio::test]
async fn a_listener_can_keep_to_one_protocol() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let origin = Origin::named("one");
    let certificate = authority.issue(&["a.test"]).yaml();
    for (protocols, agreed, refused) in [("http1", "http/1.1", "h2"), ("http2", "h2", "http/1.1")] {
        let lintel =
            Lintel::start(config(&origin, &certificate, &format!("    protocols: [{protocols}]\n"))).await;
        let mut offers = authority.client();
        offers.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let stream = handshake(lintel.http(), "a.test", &Arc::new(offers.clone())).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(agreed.as_bytes()));
        offers.alpn_protocols = vec![refused.as_bytes().to_vec()];
        assert!(handshake(lintel.http(), "a.test", &Arc::new(offers)).await.is_err(), "{protocols}");
    }
}

#[tokio::test]
async fn a_host_of_another_certificate_is_misdirected() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let origin = Origin::named("one");
    let both = format!("{}, {}", authority.issue(&["a.test"]).yaml(), authority.issue(&["b.test"]).yaml());
    let lintel = Lintel::start(config(&origin, &both, "")).await;
    let mut client = Http2::open_tls(lintel.http(), "a.test", &authority.client()).await;
    let of = |host| [(":method", "GET"), (":scheme", "https"), (":authority", host), (":path", "/")];
    for (host, status) in [("a.test", 200), ("b.test", 421), ("a.test", 200)] {
        assert_eq!(client.exchange(&of(host), b"").await.status, status, "{host}");
    }
}

#[tokio::test]
async fn a_server_with_tls_is_asked_for_h2_and_must_agree() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let leaf = authority.issue(&["app.internal"]);
    let pool = format!(
        "protocol: http2\nretries: {{ attempts: 0 }}\ntls: {{ ca: {}, server_name: app.internal }}",
        authority.path.display()
    );
    let origin = Http2Origin::polite("one", &[], Some(leaf.acceptor_for(&["h2", "http/1.1"])));
    let lintel = Lintel::before(&[&origin], &pool).await;
    assert_eq!(crate::support::get(lintel.http(), "/").await.text(), "one");
    assert_eq!(origin.request(0).await.field(":scheme"), Some("https"));

    // Without h2 there is nothing to speak; its HTTP/1.1 was not asked for.
    let acceptor = leaf.acceptor_for(&["http/1.1"]);
    let other = Origin::scripted(move |mut talk| {
        let acceptor = acceptor.clone();
        async move {
            let _ = acceptor.accept(talk.stream().0).await;
        }
    });
    let lintel = Lintel::before(&[&other], &pool).await;
    assert_eq!(crate::support::get(lintel.http(), "/").await.status(), 502);
}
