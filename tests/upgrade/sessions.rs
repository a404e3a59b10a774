//! What clients have begun and carry on: TLS sessions, sticky cookies, Socket.IO sessions.

use std::sync::Arc;

use rustls::HandshakeKind;

use crate::house::{House, code_of};
use crate::support::lintel::front;
use crate::support::tls::{Authority, handshake};
use crate::support::{Connection, Origin, get};

#[tokio::test]
async fn a_tls_session_is_taken_up_again_by_the_new_process() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let leaf = authority.issue(&["a.test"]);
    let origin = Origin::named("one");
    let tls = format!("    tls: {{ certificates: [{}] }}\n", leaf.yaml());
    let address = "    address: \"127.0.0.1:0\"\n";
    let house = House::start(front(&[&origin], "").replace(address, &format!("{address}{tls}"))).await;
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let config = Arc::new(authority.client_of(version));
        let shake = async || {
            let stream = handshake(house.http(), "a.test", &config).await.unwrap();
            let kind = stream.get_ref().1.handshake_kind();
            // Tickets come behind the first answer.
            assert_eq!(Connection::over(stream).get("/").await.status(), 200);
            kind == Some(HandshakeKind::Resumed)
        };
        assert!(!shake().await);
        for _ in 0..2 {
            let old = house.serving();
            house.upgrade().await;
            assert_eq!(code_of(old).await, 0);
            assert!(shake().await, "a ticket of before the upgrade is good");
        }
    }
    house.stop().await;
}

#[tokio::test]
async fn clients_with_a_cookie_stay_on_their_server() {
    let servers = ["a", "b", "c", "d"].map(Origin::named);
    let yaml = front(&servers.each_ref(), "balance: round_robin\nsticky: { cookie: lintel }");
    let house = House::start(yaml).await;
    let mut homes = Vec::new();
    for _ in 0..8 {
        let response = get(house.http(), "/").await;
        let cookie = response.field("set-cookie").expect("a cookie").split(';').next().unwrap().to_owned();
        homes.push((response.text(), cookie));
    }
    house.upgrade().await;
    for (home, cookie) in homes {
        let mut connection = Connection::open(house.http()).await;
        let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\nCookie: {cookie}\r\n\r\n");
        let response = connection.exchange(&request).await;
        assert_eq!((response.text(), response.field("set-cookie")), (home, None));
    }
    house.stop().await;
}

/// Opens a session with every handshake, and answers later polls with its name.
const ENGINE: &str = r#"
const http = require('node:http');
let count = 0;
const index = process.env.NODE_APP_INSTANCE;
http.createServer((request, response) => {
  request.resume();
  response.setHeader('x-index', index);
  if (request.url.includes('sid=')) return response.end(index);
  response.end(`0{"sid":"${index}-${count++}-0123456789","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`);
}).listen(Number(process.env.PORT));
"#;

#[tokio::test]
async fn socket_io_clients_without_cookies_stay_on_their_worker() {
    let plan = crate::house::Plan::new(crate::house::app(3, "", "sticky: socket_io\nbalance: round_robin"));
    std::fs::write(plan.path().join("app/server.js"), ENGINE).unwrap();
    let house = plan.start().await;
    house.ready(3).await;
    let mut homes = Vec::new();
    let open = async || {
        let opened = get(house.http(), "/socket.io/?EIO=4&transport=polling").await.text();
        let (_, rest) = opened.split_once("\"sid\":\"").expect("a session");
        let sid = rest.split('"').next().unwrap().to_owned();
        (sid.split('-').next().unwrap().to_owned(), sid)
    };
    for _ in 0..12 {
        homes.push(open().await);
    }
    for _ in 0..2 {
        let old = house.serving();
        house.upgrade().await;
        for (home, sid) in &homes {
            let polled = get(house.http(), &format!("/socket.io/?EIO=4&transport=polling&sid={sid}")).await;
            assert_eq!((polled.status(), polled.text()), (200, home.clone()), "{sid}");
        }
        homes.push(open().await);
        assert_eq!(code_of(old).await, 0);
    }
    house.stop().await;
}

/// Sessions that begin at any moment of an upgrade are known to whoever is asked next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_session_that_begins_meanwhile_is_lost() {
    let plan = crate::house::Plan::new(crate::house::app(3, "", "sticky: socket_io\nbalance: round_robin"));
    std::fs::write(plan.path().join("app/server.js"), ENGINE).unwrap();
    let house = plan.start().await;
    house.ready(3).await;
    let address = house.http();
    let (over, watched) = tokio::sync::watch::channel(false);
    let open_sessions = |watched: tokio::sync::watch::Receiver<bool>| async move {
        let mut homes = Vec::new();
        while !*watched.borrow() {
            let opened = get(address, "/socket.io/?EIO=4&transport=polling").await.text();
            let (_, rest) = opened.split_once("\"sid\":\"").expect("a session");
            let sid = rest.split('"').next().unwrap().to_owned();
            homes.push((sid.split('-').next().unwrap().to_owned(), sid));
        }
        homes
    };
    let opening = tokio::task::JoinSet::from_iter((0..8).map(|_| open_sessions(watched.clone())));
    house.upgrade().await;
    assert_eq!(code_of(house.first).await, 0);
    over.send_replace(true);
    let homes: Vec<_> = opening.join_all().await.into_iter().flatten().collect();
    assert!(homes.len() > 10, "{}", homes.len());
    for (home, sid) in &homes {
        let polled = get(address, &format!("/socket.io/?EIO=4&transport=polling&sid={sid}")).await;
        assert_eq!((polled.status(), polled.text()), (200, home.clone()), "{sid}");
    }
    house.stop().await;
}
