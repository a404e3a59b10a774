//! TLS to servers: verified unless told otherwise, with their name, our authority, and a certificate of our own.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::lintel::front;
use crate::support::port::Port;
use crate::support::tls::{Authority, Leaf};
use crate::support::{Lintel, Origin, get};

/// A TLS server that answers every connection's first request with the name that it was asked for, and closes.
fn tls_origin(leaf: &Leaf) -> Port {
    let port = Port::reserve();
    let (listener, acceptor) = (port.listen(), leaf.acceptor());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let name = stream.get_ref().1.server_name().unwrap_or("none").to_owned();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let reply = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{name}",
                name.len()
            );
            let _ = stream.write_all(reply.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

/// A config whose only server is this port, with these settings under `tls`.
fn config(port: &Port, tls: &str) -> String {
    let unused = Origin::down("unused");
    front(&[&unused], &format!("tls: {tls}")).replace(&unused.address(), &port.address().to_string())
}

#[tokio::test]
async fn a_server_is_verified_unless_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new(folder.path(), "ours"), Authority::new(folder.path(), "other"));
    let port = tls_origin(&ours.issue(&["app.internal"]));
    let cases = [
        (format!("{{ ca: {}, server_name: app.internal }}", ours.path.display()), 200),
        (format!("{{ ca: {}, server_name: other.internal }}", ours.path.display()), 502),
        (format!("{{ ca: {}, server_name: app.internal }}", other.path.display()), 502),
        ("{ server_name: app.internal }".to_owned(), 502), // the authorities of the system do not know ours
        (format!("{{ ca: {} }}", ours.path.display()), 502), // 127.0.0.1 is not in the certificate
        ("{ insecure_skip_verify: true }".to_owned(), 200),
        ("{ insecure_skip_verify: true, server_name: app.internal }".to_owned(), 200),
    ];
    for (tls, status) in cases {
        let lintel = Lintel::start(config(&port, &tls)).await;
        let response = get(lintel.http(), "/").await;
        assert_eq!(response.status(), status, "{tls}");
        if status == 200 && tls.contains("server_name") {
            assert_eq!(response.text(), "app.internal", "the name asked for");
        }
        if status == 502 {
            assert_eq!(lintel.record_of("/").await["fault"], "server_tls_failed", "{tls}");
            lintel.metric("lintel_server_failures_total", &[("kind", "tls")], 1.0).await;
        }
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_ours() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let (server, client) = (authority.issue(&["app.internal"]), authority.issue(&["lintel"]));
    let acceptor = server.acceptor_asking(&authority);
    let port = Port::reserve();
    let listener = port.listen();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let shown = stream.get_ref().1.peer_certificates().map_or(0, <[_]>::len);
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream
                .write_all(
                    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n{shown}")
                        .as_bytes(),
                )
                .await;
            let _ = stream.shutdown().await;
        }
    });
    let trust = format!("ca: {}, server_name: app.internal", authority.path.display());
    let own = format!("{{ {trust}, cert: {}, key: {} }}", client.cert.display(), client.key.display());
    let lintel = Lintel::start(config(&port, &own)).await;
    assert_eq!(get(lintel.http(), "/").await.text(), "1");
    let lintel = Lintel::start(config(&port, &format!("{{ {trust} }}"))).await;
    assert_eq!(get(lintel.http(), "/").await.status(), 502);
}

#[tokio::test]
async fn sessions_with_a_server_are_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let acceptor = authority.issue(&["app.internal"]).acceptor();
    let port = Port::reserve();
    let listener = port.listen();
    let resumed = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&resumed);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let is_resumed = stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
            count.fetch_add(usize::from(is_resumed), std::sync::atomic::Ordering::SeqCst);
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
                .await;
            let _ = stream.shutdown().await;
        }
    });
    let tls = format!("{{ ca: {}, server_name: app.internal }}", authority.path.display());
    let lintel = Lintel::start(config(&port, &tls)).await;
    for _ in 0..10 {
        assert_eq!(get(lintel.http(), "/").await.text(), "ok");
    }
    assert!(resumed.load(std::sync::atomic::Ordering::SeqCst) >= 8);
}
