//! Whole pools over a reload: sessions, keys, names, TLS to servers, and pools that come and go.

use std::collections::BTreeSet;

use crate::load::{Load, all_whole};
use crate::spread::{assert_counts, spread};
use crate::support::lintel::{Setup, front};
use crate::support::played::engine_io;
use crate::support::port::Port;
use crate::support::stream::Stream;
use crate::support::tls::{Authority, Leaf};
use crate::support::{Connection, Lintel, Origin, Response, eventually, get};

const ONE_THREAD: &str = "runtime: { threads: 1 }\n";

/// The config with another pool, in one line.
fn with_pool(yaml: &str, line: &str) -> String {
    yaml.replace("pools:\n", &format!("pools:\n  {line}\n"))
}

async fn with_field(lintel: &Lintel, field: &str) -> Response {
    let mut connection = Connection::open(lintel.http()).await;
    connection.exchange(&format!("GET / HTTP/1.1\r\nHost: a.test\r\n{field}\r\n\r\n")).await
}

#[tokio::test]
async fn a_cookie_leads_to_the_same_server_whatever_else_changes() {
    let servers = ["a", "b", "c", "d"].map(Origin::named);
    let [a, b, c, d] = servers.each_ref();
    let pool = "balance: round_robin\nsticky: { cookie: lintel }";
    let mut lintel = Lintel::start(front(&[a, b], pool)).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let response = get(lintel.http(), "/").await;
        let cookie = response.field("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        clients.push((response.text(), cookie));
    }
    let more = format!("{pool}\ntimeouts: {{ response: 59s }}");
    for (servers, pool) in [(vec![a, b], &more), (vec![d, b, c, a], &more), (vec![b, a], &pool.to_owned())] {
        lintel.reload(&front(&servers, pool)).await;
        for (home, cookie) in &clients {
            for _ in 0..3 {
                let response = with_field(&lintel, &format!("Cookie: {cookie}")).await;
                assert_eq!((&response.text(), response.field("set-cookie")), (home, None));
            }
        }
    }
    // Their server is gone: they get another one, and are told.
    lintel.reload(&front(&[c, d], pool)).await;
    for (_, cookie) in &clients {
        let response = with_field(&lintel, &format!("Cookie: {cookie}")).await;
        assert!(["c", "d"].contains(&&*response.text()) && response.field("set-cookie").is_some());
    }
}

#[tokio::test]
async fn socket_io_sessions_stay_on_their_servers() {
    let servers = ["a", "b", "c"].map(engine_io);
    let [a, b, c] = servers.each_ref();
    let pool = "sticky: socket_io\nbalance: round_robin";
    let mut lintel = Lintel::start(front(&[a, b], pool)).await;
    let mut sessions = Vec::new();
    for _ in 0..6 {
        let opened = get(lintel.http(), "/socket.io/?EIO=4&transport=polling&t=x").await;
        let text = opened.text();
        let (_, rest) = text.split_once("\"sid\":\"").expect("a session id");
        sessions
            .push((opened.field("x-server").unwrap().to_owned(), rest.split('"').next().unwrap().to_owned()));
    }
    for servers in [vec![c, a, b], vec![b, a], vec![a, b, c]] {
        lintel
            .reload(&front(&servers, &format!("{pool}\ntimeouts: {{ response: {}s }}", 50 + servers.len())))
            .await;
        for (home, sid) in &sessions {
            let poll = get(lintel.http(), &format!("/socket.io/?EIO=4&transport=polling&sid={sid}")).await;
            assert_eq!(poll.field("x-server"), Some(&**home));
        }
    }
    // Off and on again forgets them, as a restart would; nothing fails by it.
    lintel.reload(&front(&[a, b], "balance: round_robin")).await;
    lintel.reload(&front(&[a, b], pool)).await;
    let poll =
        get(lintel.http(), &format!("/socket.io/?EIO=4&transport=polling&sid={}", sessions[0].1)).await;
    assert_eq!(poll.status(), 200);
}

#[tokio::test]
async fn keys_of_a_consistent_hash_move_only_with_the_servers() {
    let servers = ["a", "b", "c"].map(Origin::named);
    let [a, b, c] = servers.each_ref();
    let pool = "balance: { policy: consistent_hash, key: { header: x-key } }";
    let homes = async |lintel: &Lintel| {
        let mut homes = Vec::new();
        for key in 0..60 {
            homes.push(with_field(lintel, &format!("X-Key: {key}")).await.text());
        }
        homes
    };
    let mut lintel = Lintel::start(front(&[a, b], pool)).await;
    let before = homes(&lintel).await;
    lintel.reload(&front(&[b, a], &format!("{pool}\ntimeouts: {{ response: 59s }}"))).await;
    assert_eq!(homes(&lintel).await, before, "the same servers in another order");
    lintel.reload(&front(&[a, b, c], pool)).await;
    let moved = homes(&lintel).await;
    for (before, after) in before.iter().zip(&moved) {
        assert!(after == before || after == "c", "from {before} to {after}");
    }
    assert!(moved.iter().any(|home| home == "c"));
    lintel.reload(&front(&[a, b], pool)).await;
    assert_eq!(homes(&lintel).await, before);
}

#[tokio::test]
async fn addresses_of_a_name_stay_while_it_is_looked_up_again() {
    let (origin, other) = (Origin::named("local"), Origin::named("other"));
    let name = format!("localhost:{}", origin.socket_address().port());
    let named =
        |servers: &[&Origin], pool: &str| front(servers, pool).replace(&origin.address(), &name) + ONE_THREAD;
    let mut lintel = Setup::new(named(&[&origin], "")).start().await;
    assert_eq!(get(lintel.http(), "/").await.text(), "local");
    for round in 0..10 {
        let pool = format!("timeouts: {{ response: {}s }}\nbalance: round_robin", 50 + round);
        lintel.reload(&named(&[&origin], &pool)).await;
        assert_eq!(get(lintel.http(), "/").await.text(), "local", "round {round}");
        lintel.reload(&named(&[&origin, &other], &pool)).await;
        assert_counts(&spread(lintel.http(), "/", 4).await, &["local", "other"], 1..=3);
    }
    assert_eq!(origin.connections(), 1, "one server over all reloads");
}

#[tokio::test]
async fn a_pool_of_names_that_is_new_answers_its_first_request() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let mut lintel = Lintel::start(front(&[&old], "")).await;
    let name = format!("localhost:{}", new.socket_address().port());
    let moved = with_pool(&front(&[&old], ""), &format!("more: {{ servers: [\"{name}\"] }}"))
        .replace("    to: web\n", "    to: more\n");
    for _ in 0..5 {
        lintel.reload(&moved).await;
        let answer = get(lintel.http(), "/").await;
        assert_eq!((answer.status(), &*answer.text()), (200, "new"));
        lintel.reload(&front(&[&old], "")).await;
        assert_eq!(get(lintel.http(), "/").await.text(), "old");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_moves_to_a_new_pool_with_checks_fails_no_request() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let mut lintel = Lintel::start(front(&[&old], "")).await;
    let check = "health_check: { tcp: true, interval: 100ms, timeout: 90ms }";
    let moved =
        with_pool(&front(&[&old], ""), &format!("more: {{ servers: [\"{}\"], {check} }}", new.address()))
            .replace("    to: web\n", "    to: more\n");
    let loads = Load::both(lintel.http(), 150);
    for _ in 0..5 {
        for yaml in [&moved, &front(&[&old], "")] {
            lintel.reload(yaml).await;
            for load in &loads {
                load.goes_on(10).await;
            }
        }
    }
    assert!(new.count() > 0);
    all_whole(loads).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_all_exchanged_fail_no_request() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let pool = "health_check: { tcp: true, interval: 100ms, timeout: 90ms }";
    let mut lintel = Lintel::start(front(&[&old], pool)).await;
    let loads = Load::both(lintel.http(), 150);
    for _ in 0..5 {
        for origin in [&new, &old] {
            lintel.reload(&front(&[origin], pool)).await;
            for load in &loads {
                load.goes_on(10).await;
            }
        }
    }
    all_whole(loads).await;
}

#[tokio::test]
async fn a_new_pool_whose_servers_are_down_holds_a_reload_up_for_moments_only() {
    let (old, dead) = (Origin::named("old"), Origin::down("dead"));
    let mut lintel = Lintel::start(front(&[&old], "")).await;
    let check = "health_check: { tcp: true, interval: 100ms, timeout: 90ms }";
    let more =
        with_pool(&front(&[&old], ""), &format!("more: {{ servers: [\"{}\"], {check} }}", dead.address()))
            + "  - { name: more, match: { path: /more }, to: more }\n";
    lintel.reload(&more).await;
    assert_eq!(get(lintel.http(), "/").await.text(), "old");
    assert_eq!(get(lintel.http(), "/more").await.status(), 503);
    dead.revive();
    eventually("the new pool answers", async || {
        (get(lintel.http(), "/more").await.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn pools_come_and_go_with_their_routes_and_their_numbers() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let base = front(&[&a], "");
    let more = with_pool(&base, &format!("more: {{ servers: [\"{}\"] }}", b.address()))
        + "  - { name: more, match: { path: /more }, to: more }\n";
    let mut lintel = Lintel::start(&*base).await;
    for _ in 0..3 {
        lintel.reload(&more).await;
        assert_eq!(get(lintel.http(), "/more").await.text(), "b");
        let status = lintel.status().await;
        let names: BTreeSet<&str> =
            status["pools"].as_array().unwrap().iter().map(|pool| pool["name"].as_str().unwrap()).collect();
        assert_eq!(names, BTreeSet::from(["more", "web"]));
        lintel.reload(&base).await;
        assert_eq!(get(lintel.http(), "/more").await.text(), "a", "the route is gone too");
        for (name, label) in [
            ("lintel_pool_requests_total", ("pool", "more")),
            ("lintel_server_requests_total", ("pool", "more")),
            ("lintel_requests_total", ("route", "more")),
        ] {
            eventually(&format!("{name} of what is gone is gone"), async || {
                (!lintel.metrics().await.has(name, &[label])).then_some(())
            })
            .await;
        }
    }
}

/// A TLS server that answers requests on connections that it keeps, with how many connections it has had.
fn tls_origin(leaf: &Leaf) -> Port {
    let port = Port::reserve();
    let (listener, acceptor) = (port.listen(), leaf.acceptor());
    tokio::spawn(async move {
        let mut count = 0;
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            count += 1;
            tokio::spawn(keep_answering(stream, format!("{count}")));
        }
    });
    port
}

async fn keep_answering(mut stream: impl Stream, text: String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut head = [0; 4096];
    while matches!(stream.read(&mut head).await, Ok(1..)) {
        let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        if stream.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn connections_to_servers_of_tls_stay_while_their_settings_do() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new(folder.path(), "ours"), Authority::new(folder.path(), "other"));
    let port = tls_origin(&ours.issue(&["app.internal"]));
    let unused = Origin::down("unused");
    let yaml = |authority: &Authority, more: &str| {
        let tls = format!("tls: {{ ca: {}, server_name: app.internal }}{more}", authority.path.display());
        front(&[&unused], &tls).replace(&unused.address(), &port.address().to_string()) + ONE_THREAD
    };
    let mut lintel = Lintel::start(yaml(&ours, "")).await;
    assert_eq!(get(lintel.http(), "/").await.text(), "1");
    lintel.reload(&yaml(&ours, "\ntimeouts: { response: 59s }")).await;
    assert_eq!(get(lintel.http(), "/").await.text(), "1", "the connection that was idle");
    // Another authority: what was connected before was verified by the one that is no more.
    lintel.reload(&yaml(&other, "")).await;
    assert_eq!(get(lintel.http(), "/").await.status(), 502);
    lintel.reload(&yaml(&ours, "")).await;
    assert_eq!(get(lintel.http(), "/").await.text(), "2");
}

#[tokio::test]
async fn servers_that_are_now_asked_over_tls_get_no_plain_request() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ours");
    let port = tls_origin(&authority.issue(&["app.internal"]));
    let plain = Origin::named("plain");
    let mut lintel = Lintel::start(front(&[&plain], "") + ONE_THREAD).await;
    assert_eq!(get(lintel.http(), "/").await.text(), "plain");
    let tls = format!("tls: {{ ca: {}, server_name: app.internal }}", authority.path.display());
    lintel.reload(&(front(&[&plain], &tls) + ONE_THREAD)).await;
    assert_eq!(get(lintel.http(), "/").await.status(), 502, "the plain server is no TLS server");
    assert_eq!(plain.count(), 1);
    let moved = front(&[&plain], &tls).replace(&plain.address(), &port.address().to_string());
    lintel.reload(&(moved + ONE_THREAD)).await;
    assert_eq!(get(lintel.http(), "/").await.text(), "1");
}
