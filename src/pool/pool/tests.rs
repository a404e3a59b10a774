//! The pool as a whole: ejection and return, replaced sets, stickiness, the retry budget.

use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::health::OutlierSpec;
use crate::pool::Link;
use crate::pool::choice::tests::{server, servers};
use crate::server::Health;
use crate::units;
use crate::wire::head::Head;

pub const FINE: Outcome = Outcome::Answered { status: 200, latency: Duration::from_millis(5) };

/// A Spec from YAML's twin: what is not written has its default.
pub fn spec(written: serde_json::Value) -> Spec {
    let mut whole = serde_json::json!({ "servers": [] });
    if let (Some(whole), serde_json::Value::Object(written)) = (whole.as_object_mut(), written) {
        whole.extend(written);
    }
    serde_json::from_value(whole).unwrap()
}

pub fn pool(written: serde_json::Value, servers: Vec<Arc<Server>>) -> Arc<Pool> {
    Pool::build(
        "web".into(),
        spec(written),
        servers,
        StickyKey::of_bytes(&[7; 32]).as_ref(),
        PoolMetrics::default(),
        None,
    )
}

/// The pool that a reload makes of another one.
fn successor(before: &Arc<Pool>, written: serde_json::Value, servers: Vec<Arc<Server>>) -> Arc<Pool> {
    let key = StickyKey::of_bytes(&[7; 32]);
    Pool::build("web".into(), spec(written), servers, key.as_ref(), PoolMetrics::default(), Some(before))
}

pub fn ask(random: u64) -> Ask<'static> {
    Ask::new(now(), random)
}

async fn fail(pool: &Arc<Pool>, bound: u64, times: usize) {
    for _ in 0..times {
        let lease = pool.acquire(&Ask { bound: Some(bound), ..ask(1) }).await.unwrap();
        assert_eq!(lease.id, bound);
        lease.observe(Outcome::ConnectFailed, now());
    }
}

fn ejections(pool: &Pool) -> u64 {
    pool.servers().servers().iter().map(|server| server.metrics.ejections.count()).sum()
}

fn out(pool: &Pool) -> Vec<bool> {
    pool.servers().servers().iter().map(|server| server.state.ejected_until_ms.load(Relaxed) != 0).collect()
}

#[tokio::test(start_paused = true)]
async fn a_failing_server_is_out_for_its_time_and_then_works_again() {
    let pool = pool(serde_json::json!({}), servers(&[1; 4]));
    let bad = pool.servers().servers()[2].id;
    fail(&pool, bad, 5).await;
    assert_eq!((out(&pool), ejections(&pool)), (vec![false, false, true, false], 1));
    for random in 0..50 {
        assert_ne!(pool.acquire(&ask(random)).await.unwrap().id, bad);
    }
    tokio::time::advance(Duration::from_secs(31)).await;
    let _any = pool.acquire(&ask(1)).await.unwrap();
    assert_eq!(out(&pool), [false; 4], "the next request after its time brings it back");
    assert_eq!(pool.next_return_ms.load(Relaxed), u64::MAX);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_share_is_ejected() {
    let pool = pool(serde_json::json!({}), servers(&[1; 5]));
    for server in pool.servers().servers() {
        let lease = pool.acquire(&Ask { bound: Some(server.id), ..ask(1) }).await.unwrap();
        (0..12).for_each(|_| _ = lease.observe(Outcome::ConnectFailed, now()));
    }
    assert_eq!(out(&pool), [true, true, false, false, false]);
    assert_eq!(ejections(&pool), 2);
}

#[tokio::test(start_paused = true)]
async fn the_only_server_may_be_ejected_and_is_used_all_the_same() {
    let pool = pool(serde_json::json!({}), servers(&[1]));
    fail(&pool, pool.servers().servers()[0].id, 5).await;
    assert_eq!(out(&pool), [true]);
    assert!(pool.acquire(&ask(1)).await.is_ok());
    pool.servers().servers()[0].state.record_health(Health::Down, 1);
    assert_eq!(pool.acquire(&ask(1)).await.unwrap_err(), Refusal::NoServerUp);
}

#[test]
fn threads_that_eject_at_once_stay_within_the_share_and_count_each_ejection_once() {
    let rule = OutlierSpec {
        consecutive_failures: 1,
        ejection_time: units::Duration::from_secs(30),
        max_ejected: units::Percent::new(50),
    };
    let spec = Spec { outlier_detection: rule, ..spec(serde_json::json!({})) };
    let pool = Pool::build("web".into(), spec, servers(&[1; 10]), None, PoolMetrics::default(), None);
    let set = pool.servers();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (pool, set) = (&pool, &set);
            scope.spawn(move || {
                for turn in 0..10 {
                    pool.judge(&set.servers()[(turn * 3 + thread) % 10], Outcome::Reset, now());
                }
            });
        }
    });
    assert_eq!(out(&pool).iter().filter(|is_out| **is_out).count(), 5);
    assert_eq!(ejections(&pool), 5);
}

#[tokio::test]
async fn a_set_is_replaced_under_its_leases_and_newcomers_start_slowly() {
    let written = serde_json::json!({ "slow_start": "30s", "balance": { "policy": "round_robin" } });
    let pool = pool(written, vec![]);
    assert_eq!(pool.acquire(&ask(1)).await.unwrap_err(), Refusal::NoServerUp);
    let first = servers(&[1; 2]);
    pool.replace_servers(first.clone());
    assert_eq!(first[0].state.up_since_ms.load(Relaxed), 0, "the first answer of DNS is part of the start");
    let lease = pool.acquire(&ask(1)).await.unwrap();
    let late = server("10.7.7.7:80", 1);
    pool.replace_servers(vec![first[1].clone(), late.clone()]);
    assert!(late.state.up_since_ms.load(Relaxed) > 0);
    assert_eq!(first[1].state.up_since_ms.load(Relaxed), 0);
    for random in 0..20 {
        assert_ne!(pool.acquire(&ask(random)).await.unwrap().id, first[0].id);
    }
    assert_eq!((lease.id, first[0].state.in_flight.load(Relaxed)), (first[0].id, 1));
    drop(lease);
    assert!(first.iter().all(|server| server.state.in_flight.load(Relaxed) == 0));
}

#[tokio::test]
async fn retries_beyond_the_budget_are_denied_and_counted() {
    let pool = pool(serde_json::json!({}), servers(&[1]));
    let now = now();
    (0..100).for_each(|_| pool.count_request(now));
    assert_eq!((0..30).filter(|_| pool.try_spend_retry(now)).count(), 20);
    assert_eq!(pool.metrics.retries_denied.count(), 10);
}

fn request(target: &str, cookie: &str) -> Head {
    let mut head = Head::new();
    head.set_target(target.as_bytes());
    if !cookie.is_empty() {
        head.add("Cookie", cookie.as_bytes());
    }
    head
}

#[tokio::test]
async fn a_cookie_binds_a_client_and_is_set_only_when_it_does_not_name_the_server() {
    let pool = pool(serde_json::json!({ "sticky": { "cookie": "lintel" } }), servers(&[1; 3]));
    assert_eq!(pool.bound_server(&request("/", ""), now()), None);
    assert_eq!(
        pool.metrics.sticky.of(StickyOutcome::Unknown).count(),
        0,
        "a new client is not an unknown one"
    );
    let set = pool.servers();
    for server in set.servers() {
        let cookie = pool.sticky_cookie(&request("/", "lintel=old"), server, Link::Plain).unwrap();
        let sent = format!("a=b; {}", cookie.split(';').next().unwrap());
        let again = request("/", &sent);
        let bound = pool.bound_server(&again, now());
        assert_eq!(bound, Some(server.id));
        assert_eq!(pool.sticky_cookie(&again, server, Link::Plain), None);
        assert_eq!(pool.acquire(&Ask { bound, ..ask(1) }).await.unwrap().id, server.id);
        assert!(sent.ends_with(&pool.sticky.as_ref().unwrap().cookie_value(server).unwrap()));
    }
    for value in ["lintel=forged", "lintel=", "lintel=AAAAAAAAAAAAAAAAAAAAAA"] {
        assert_eq!(pool.bound_server(&request("/", value), now()), None);
    }
    assert_eq!(pool.metrics.sticky.of(StickyOutcome::Unknown).count(), 3);
}

#[tokio::test]
async fn a_client_whose_server_is_down_moves_and_gets_a_new_cookie() {
    let pool = pool(serde_json::json!({ "sticky": { "cookie": "lintel" } }), servers(&[1; 2]));
    let set = pool.servers();
    let home = &set.servers()[0];
    let cookie = pool.sticky_cookie(&request("/", ""), home, Link::Tls).unwrap();
    home.state.record_health(Health::Down, 1);
    let again = request("/", cookie.split(';').next().unwrap());
    let bound = pool.bound_server(&again, now());
    let lease = pool.acquire(&Ask { bound, ..ask(1) }).await.unwrap();
    assert_eq!((bound, lease.id), (Some(home.id), set.servers()[1].id));
    assert_eq!(pool.metrics.sticky.of(StickyOutcome::Failover).count(), 1);
    assert!(pool.sticky_cookie(&again, &lease, Link::Tls).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_socket_io_session_stays_where_it_was_opened() {
    let pool = pool(serde_json::json!({ "sticky": "socket_io" }), servers(&[1; 3]));
    let handshake = request("/socket.io/?EIO=4&transport=polling&t=1", "");
    assert!(pool.learns_from(&handshake) && pool.bound_server(&handshake, now()).is_none());
    let opened_on = pool.acquire(&ask(1)).await.unwrap().server().clone();
    pool.learn("abc", Duration::from_secs(45), &opened_on, now());
    let poll = request("/socket.io/?EIO=4&transport=polling&sid=abc", "");
    assert!(!pool.learns_from(&poll));
    assert_eq!(pool.bound_server(&poll, now()), Some(opened_on.id));
    assert_eq!(pool.bound_server(&request("/socket.io/?EIO=4&sid=xyz", ""), now()), None);
    assert_eq!(pool.metrics.sticky.of(StickyOutcome::Unknown).count(), 1);
    let others =
        pool.servers().servers().iter().filter(|server| server.id != opened_on.id).cloned().collect();
    pool.replace_servers(others);
    assert_eq!(pool.bound_server(&poll, now()), None);
    assert_eq!(pool.metrics.sticky.of(StickyOutcome::Failover).count(), 1);
    assert!(pool.sticky_cookie(&poll, &opened_on, Link::Plain).is_none());
}

#[tokio::test]
async fn the_hash_key_decides_and_all_algorithms_can_be_built_of_a_spec() {
    let policies = ["round_robin", "least_connections", "consistent_hash", "p2c", "least_time", "random"];
    for policy in policies {
        let pool = pool(serde_json::json!({ "balance": { "policy": policy } }), servers(&[1; 5]));
        let mut got = std::collections::HashSet::new();
        for random in 0..40 {
            let lease = pool.acquire(&Ask { hash: Some(0xdead_beef), ..ask(random) }).await.unwrap();
            lease.observe(FINE, now());
            got.insert(lease.id);
        }
        assert_eq!(
            got.len() == 1,
            policy == "consistent_hash" || policy == "least_time" && got.len() == 1,
            "{policy}"
        );
        let left: u32 =
            pool.servers().servers().iter().map(|server| server.state.in_flight.load(Relaxed)).sum();
        assert_eq!(left, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_a_pool_is_served_by_its_successor() {
    let all = servers(&[1, 1]);
    let one = serde_json::json!({ "max_in_flight": 1 });
    let before = pool(one.clone(), all[..1].to_vec());
    let first = before.acquire(&ask(1)).await.unwrap();
    let waiting = tokio::spawn({
        let before = before.clone();
        async move { before.acquire(&ask(2)).await.map(|lease| lease.id) }
    });
    tokio::task::yield_now().await;
    assert_eq!(before.waiting(), 1);
    let after = successor(&before, one, all.clone());
    before.succeed(&after);
    assert_eq!(waiting.await.unwrap(), Ok(all[1].id), "the new server has room");
    // A lease of the pool before frees its place in the one after.
    let second = after.acquire(&ask(3)).await.unwrap();
    assert_eq!(second.id, all[1].id);
    let waiting = tokio::spawn({
        let after = after.clone();
        async move { after.acquire(&ask(4)).await.map(|lease| lease.id) }
    });
    tokio::task::yield_now().await;
    drop(first);
    assert_eq!(waiting.await.unwrap(), Ok(all[0].id));
    // Whoever still holds the pool before gets servers of the one after.
    assert_eq!(before.acquire(&ask(5)).await.unwrap().id, all[0].id);
}

#[tokio::test]
async fn a_successor_has_the_weights_of_its_own_spec_on_the_same_servers() {
    let written = |weight: u32| {
        serde_json::json!({ "balance": "round_robin", "servers": [
            { "address": "10.0.0.1:80", "weight": weight }, { "address": "10.0.0.2:80" },
        ] })
    };
    let specs = |value: &serde_json::Value| spec(value.clone()).servers;
    let all: Vec<_> = specs(&written(1)).into_iter().map(crate::pool::choice::tests::server_of).collect();
    let before = pool(written(1), all.clone());
    let after = successor(&before, written(3), all.clone());
    after.settle_servers();
    before.succeed(&after);
    let mut counts = [0; 2];
    for random in 0..40 {
        let id = before.acquire(&ask(random)).await.unwrap().id;
        counts[usize::from(id == all[1].id)] += 1;
    }
    assert_eq!(counts, [30, 10]);
}
