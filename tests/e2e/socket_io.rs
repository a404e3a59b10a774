//! Socket.IO without cookies: the session id of the handshake keeps a client on its server.

use crate::support::node::{NodeApp, run_script};
use crate::support::played::engine_io;
use crate::support::{Connection, Lintel, Origin};

const CLIENTS: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_without_cookies_connect_upgrade_and_spread() {
    let (one, two, three) = tokio::join!(NodeApp::start(1), NodeApp::start(2), NodeApp::start(3));
    let yaml = format!(
        "listeners: {{ http: {{ address: \"127.0.0.1:0\" }} }}\npools:\n  chat: {{ servers: [\"{}\", \"{}\", \"{}\"], sticky: socket_io }}\nroutes: [{{ name: all, to: chat }}]\n",
        one.address, two.address, three.address
    );
    let lintel = Lintel::start(yaml).await;
    let url = format!("http://{}", lintel.http());
    let report = run_script("socket-io-clients.mjs", &[url, CLIENTS.to_string()]).await;
    assert_eq!((&report["connected"], &report["upgraded"]), (&CLIENTS.into(), &CLIENTS.into()), "{report}");
    assert_eq!(report["failed"], 0, "{report}");
    let servers = report["servers"].as_object().expect("counts by server");
    assert_eq!(servers.len(), 3, "{report}");
    for (server, count) in servers {
        assert!(count.as_u64().unwrap_or(0) as usize >= CLIENTS / 5, "server {server}: {report}");
    }
    lintel.stop().await;
}

fn sid_of(body: &str) -> String {
    let (_, rest) = body.split_once("\"sid\":\"").expect("a session id");
    rest.split('"').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn later_polls_go_to_the_server_that_opened_the_session() {
    let servers = ["a", "b", "c", "d"].map(engine_io);
    let lintel = Lintel::before(&servers.each_ref(), "sticky: socket_io\nbalance: round_robin").await;
    let mut homes = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let mut connection = Connection::open(lintel.http()).await;
        let handshake = "GET /socket.io/?EIO=4&transport=polling&t=x HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip, br\r\n\r\n";
        let opened = connection.exchange(handshake).await;
        let home = opened.field("x-server").unwrap().to_owned();
        let sid = sid_of(&opened.text());
        for method in ["GET", "POST"] {
            for _ in 0..5 {
                let mut other = Connection::open(lintel.http()).await;
                let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
                let poll = format!(
                    "{method} /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a\r\n{length}\r\n"
                );
                assert_eq!(other.exchange(&poll).await.field("x-server"), Some(&*home));
            }
        }
        homes.insert(home);
    }
    assert_eq!(homes.len(), 4, "new sessions are balanced");
    // The id must be readable, so the handshake is asked for without a content coding.
    let handshakes =
        servers.iter().flat_map(Origin::requests).filter(|request| !request.target().contains("sid="));
    assert!(handshakes.into_iter().all(|request| request.field("accept-encoding").is_none()));
}

#[tokio::test]
async fn an_unknown_session_is_balanced_like_a_new_client_and_counted() {
    let servers = ["a", "b"].map(engine_io);
    let lintel = Lintel::before(&servers.each_ref(), "sticky: socket_io\nbalance: round_robin").await;
    let mut homes = std::collections::BTreeSet::new();
    for _ in 0..4 {
        let mut connection = Connection::open(lintel.http()).await;
        let poll = "GET /socket.io/?EIO=4&transport=polling&sid=nobody-knows HTTP/1.1\r\nHost: a\r\n\r\n";
        homes.insert(connection.exchange(poll).await.text());
    }
    assert_eq!(homes.len(), 2);
    lintel.metric("lintel_pool_sticky_total", &[("outcome", "unknown")], 4.0).await;
}
