//! Which server gets a request: every algorithm, weights, backups, slow start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::spread::{assert_counts, spread, spread_at_once};
use crate::support::lintel::{Setup, front};
use crate::support::time::takes;
use crate::support::{Connection, Lintel, Origin, eventually};

fn three() -> [Origin; 3] {
    ["a", "b", "c"].map(Origin::named)
}

/// A server that answers `/held` only when the semaphore allows it, and everything else at once.
fn holding(name: &'static str, gate: &Arc<Semaphore>) -> Origin {
    let gate = Arc::clone(gate);
    Origin::scripted(move |mut talk| {
        let gate = Arc::clone(&gate);
        async move {
            while let Some(request) = talk.request().await {
                if request.target() == "/held" {
                    gate.acquire().await.expect("the gate is never closed").forget();
                }
                talk.answer(&request, name, name.as_bytes()).await;
            }
        }
    })
}

/// Holds one request at `a`, and as many at others as that takes; gives the connections to keep.
async fn hold_one_at(origin: &Origin, lintel: &Lintel) -> Vec<Connection> {
    let mut held = Vec::new();
    while origin.count() == 0 {
        let mut connection = Connection::open(lintel.http()).await;
        connection.send("GET /held HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        lintel.metric("lintel_pool_requests_total", &[("pool", "web")], held.len() as f64 + 1.0).await;
        held.push(connection);
        assert!(held.len() < 100, "no request reaches the server");
    }
    held
}

#[tokio::test]
async fn round_robin_takes_turns() {
    let [a, b, c] = three();
    let lintel = Lintel::before(&[&a, &b, &c], "balance: round_robin").await;
    let counts = spread(lintel.http(), "/", 300).await;
    assert_counts(&counts, &["a", "b", "c"], 99..=101);
}

#[tokio::test]
async fn round_robin_interleaves_by_weight() {
    let [a, b, c] = three();
    let yaml = front(&[&a, &b, &c], "balance: round_robin");
    let weighted = format!("{{ address: \"{}\", weight: 2 }}", a.address());
    let yaml = yaml.replace(&format!("\"{}\"", a.address()), &weighted);
    let lintel = Lintel::start(yaml).await;
    let counts = spread(lintel.http(), "/", 200).await;
    assert_counts(&counts, &["a"], 99..=101);
    assert_counts(&counts, &["b", "c"], 49..=51);
    // Smooth: of four in a row, the heavy one has two, whichever they are.
    let counts = spread(lintel.http(), "/", 4).await;
    assert_counts(&counts, &["a"], 2..=2);
}

#[tokio::test]
async fn least_connections_is_the_default_and_breaks_ties_at_random() {
    let [a, b, c] = three();
    let lintel = Lintel::before(&[&a, &b, &c], "").await;
    let counts = spread(lintel.http(), "/", 300).await;
    assert_counts(&counts, &["a", "b", "c"], 60..=140);
}

#[tokio::test]
async fn least_connections_leaves_a_busy_server_alone() {
    let gate = Arc::new(Semaphore::new(0));
    let (a, b, c) = (holding("a", &gate), Origin::named("b"), Origin::named("c"));
    let lintel = Lintel::before(&[&a, &b, &c], "balance: least_connections").await;
    let held = hold_one_at(&a, &lintel).await;
    let counts = spread(lintel.http(), "/", 60).await;
    assert_counts(&counts, &["a"], 0..=2); // others may be busy for the moment until a last request's place is free
    assert_counts(&counts, &["b", "c"], 10..=50);
    gate.add_permits(100);
    drop(held);
}

#[tokio::test]
async fn least_connections_spreads_held_requests_by_weight() {
    let gate = Arc::new(Semaphore::new(0));
    let (a, b) = (holding("a", &gate), holding("b", &gate));
    let yaml = front(&[&a, &b], "balance: least_connections");
    let weighted = format!("{{ address: \"{}\", weight: 3 }}", a.address());
    let lintel = Lintel::start(yaml.replace(&format!("\"{}\"", a.address()), &weighted)).await;
    let mut held = Vec::new();
    for count in 1..=40 {
        let mut connection = Connection::open(lintel.http()).await;
        connection.send("GET /held HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        held.push(connection);
        eventually("the request is at a server", async || (a.count() + b.count() == count).then_some(()))
            .await;
    }
    assert!((29..=31).contains(&a.count()), "{} and {}", a.count(), b.count());
    gate.add_permits(100);
}

#[tokio::test]
async fn p2c_spreads_and_leaves_a_busy_server_alone() {
    let gate = Arc::new(Semaphore::new(0));
    let (a, b, c) = (holding("a", &gate), Origin::named("b"), Origin::named("c"));
    let lintel = Lintel::before(&[&a, &b, &c], "balance: p2c").await;
    let counts = spread(lintel.http(), "/", 150).await;
    assert_counts(&counts, &["a", "b", "c"], 20..=80);
    let before = a.count();
    let mut held = Vec::new();
    while a.requests().iter().all(|request| request.target() != "/held") {
        let mut connection = Connection::open(lintel.http()).await;
        connection.send("GET /held HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        held.push(connection);
        lintel.metric("lintel_pool_requests_total", &[("pool", "web")], 150.0 + held.len() as f64).await;
    }
    // Of two it takes the less loaded, and one of any two is idle; but for the moment in which the last request's place
    // is not free yet.
    let held_there = a.count() - before;
    let counts = spread(lintel.http(), "/", 60).await;
    assert_counts(&counts, &["a"], 0..=4);
    assert!(a.count() <= before + held_there + 4);
    gate.add_permits(100);
}

#[tokio::test]
async fn random_spreads_by_weight() {
    let [a, b, c] = three();
    let lintel = Lintel::before(&[&a, &b, &c], "balance: random").await;
    let counts = spread(lintel.http(), "/", 300).await;
    assert_counts(&counts, &["a", "b", "c"], 60..=140);
}

#[tokio::test]
async fn least_time_prefers_the_quick() {
    let slow = Origin::scripted(|mut talk| async move {
        while let Some(request) = talk.request().await {
            takes(Duration::from_millis(60)).await;
            talk.answer(&request, "slow", b"slow").await;
        }
    });
    let (b, c) = (Origin::named("b"), Origin::named("c"));
    let lintel = Lintel::before(&[&slow, &b, &c], "balance: least_time").await;
    let counts = spread_at_once(lintel.http(), "/", 400, 8).await;
    assert_counts(&counts, &["slow"], 0..=60);
    assert_counts(&counts, &["b", "c"], 80..=320);
}

/// Who answers each of these users.
async fn homes(lintel: &Lintel, users: usize) -> BTreeMap<usize, String> {
    let mut connection = Connection::open(lintel.http()).await;
    let mut homes = BTreeMap::new();
    for user in 0..users {
        let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\nX-User: user-{user}\r\n\r\n");
        homes.insert(user, connection.exchange(&request).await.text());
    }
    homes
}

#[tokio::test]
async fn consistent_hash_gives_a_key_to_one_server_in_every_lintel_with_the_same_file() {
    let [a, b, c] = three();
    let yaml = front(&[&a, &b, &c], "balance: { policy: consistent_hash, key: { header: x-user } }");
    let first = Lintel::start(&*yaml).await;
    let before = homes(&first, 300).await;
    assert_eq!(homes(&first, 300).await, before);
    for name in ["a", "b", "c"] {
        let share = before.values().filter(|home| *home == name).count();
        assert!((40..=180).contains(&share), "{name} has {share} of 300");
    }
    let second = Lintel::start(&*yaml).await;
    assert_eq!(homes(&second, 300).await, before);
}

#[tokio::test]
async fn consistent_hash_moves_only_the_keys_of_a_server_that_goes() {
    let [a, b, c] = three();
    let pool = "balance: { policy: consistent_hash, key: { header: x-user } }\nhealth_check: { tcp: true, interval: 100ms, timeout: 90ms, unhealthy_after: 1, healthy_after: 1 }";
    let lintel = Lintel::before(&[&a, &b, &c], pool).await;
    let before = homes(&lintel, 300).await;
    b.kill().await;
    let down = async || {
        let metrics = lintel.metrics().await;
        (metrics.sum("lintel_server_up", &[("server", &b.address())]) == 0.0).then_some(())
    };
    eventually("the server is down", down).await;
    let after = homes(&lintel, 300).await;
    for (user, home) in &before {
        if home != "b" {
            assert_eq!(&after[user], home, "user {user} moved");
        }
    }
    assert!(after.values().all(|home| home != "b"));
    // Its keys go to both others.
    let moved = |name: &str| before.iter().filter(|(user, home)| *home == "b" && after[user] == name).count();
    assert!(moved("a") > 0 && moved("c") > 0);
}

#[tokio::test]
async fn consistent_hash_hashes_what_it_is_told_to() {
    let servers = ["a", "b", "c", "d", "e"].map(Origin::named);
    let all: Vec<&Origin> = servers.iter().collect();
    // The request of a user, and the same user in another way.
    type Ask = fn(usize) -> String;
    let cases: [(&str, Ask, Ask); 4] = [
        (
            "{ cookie: uid }",
            |n| format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: x=1; uid=u{n}\r\n\r\n"),
            |n| format!("GET /other HTTP/1.1\r\nHost: a\r\nCookie: uid=u{n}; y=2\r\n\r\n"),
        ),
        (
            "{ query: room }",
            |n| format!("GET /?room=r{n} HTTP/1.1\r\nHost: a\r\n\r\n"),
            |n| format!("GET /x?a=b&room=r{n}&c HTTP/1.1\r\nHost: a\r\n\r\n"),
        ),
        (
            "uri",
            |n| format!("GET /item/{n}?v=1 HTTP/1.1\r\nHost: a\r\n\r\n"),
            |n| format!("GET /item/{n}?v=1 HTTP/1.1\r\nHost: b\r\nX: y\r\n\r\n"),
        ),
        (
            "client_ip",
            |_| "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            |_| "GET /2 HTTP/1.1\r\nHost: b\r\n\r\n".to_owned(),
        ),
    ];
    for (key, one_way, other_way) in cases {
        let pool = format!("balance: {{ policy: consistent_hash, key: {key} }}");
        let lintel = Lintel::before(&all, &pool).await;
        let mut homes = std::collections::BTreeSet::new();
        // One connection: on another thread a next request could come before the place of the last one is free, and
        // the bound on load would send it on.
        let mut connection = Connection::open(lintel.http()).await;
        for user in 0..20 {
            let home = connection.exchange(&one_way(user)).await.text();
            assert_eq!(connection.exchange(&other_way(user)).await.text(), home, "{key}, user {user}");
            homes.insert(home);
        }
        let expected = if key == "client_ip" { 1..=1 } else { 3..=5 };
        assert!(expected.contains(&homes.len()), "{key}: {homes:?}");
    }
}

#[tokio::test]
async fn a_backup_works_only_while_no_other_server_is_up() {
    let (main, backup) = (Origin::named("main"), Origin::named("backup"));
    let check =
        "health_check: { tcp: true, interval: 100ms, timeout: 90ms, unhealthy_after: 1, healthy_after: 1 }";
    let yaml = front(&[&main, &backup], check);
    let marked = format!("{{ address: \"{}\", backup: true }}", backup.address());
    let lintel = Lintel::start(yaml.replace(&format!("\"{}\"", backup.address()), &marked)).await;
    assert_counts(&spread(lintel.http(), "/", 20).await, &["main"], 20..=20);
    main.kill().await;
    let answers = async |name: &str| {
        let response = crate::support::client::try_get(lintel.http(), "/").await.ok()?;
        (response.text() == name).then_some(())
    };
    eventually("the backup answers", async || answers("backup").await).await;
    main.revive();
    eventually("the main server answers again", async || answers("main").await).await;
}

#[tokio::test]
async fn a_server_that_came_up_starts_slowly() {
    let (old, new) = (Origin::named("old"), Origin::down("new"));
    let pool = "balance: round_robin\nslow_start: 60s\nhealth_check: { tcp: true, interval: 100ms, timeout: 90ms, healthy_after: 1 }";
    let lintel = Lintel::before(&[&old, &new], pool).await;
    new.revive();
    lintel.metric("lintel_server_up", &[("server", &new.address())], 1.0).await;
    let counts = spread(lintel.http(), "/", 100).await;
    assert_counts(&counts, &["old"], 70..=100);
}

#[tokio::test]
async fn a_server_can_be_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::unix("socket", &folder.path().join("app.sock"));
    let lintel = Lintel::before(&[&origin], "").await;
    assert_counts(&spread(lintel.http(), "/", 10).await, &["socket"], 10..=10);
}

#[tokio::test]
async fn a_server_can_be_a_host_name() {
    let origin = Origin::named("local");
    let port = origin.socket_address().port();
    let yaml = front(&[&origin], "").replace(&origin.address(), &format!("localhost:{port}"));
    let lintel = Setup::new(yaml).start().await;
    assert_counts(&spread(lintel.http(), "/", 10).await, &["local"], 10..=10);
    let record = lintel.record(|record| record["target"] == "/").await;
    let server = record["server"].as_str().unwrap_or_default();
    assert!(server.starts_with(&format!("localhost:{port}/")), "{server}");
}
