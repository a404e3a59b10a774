//! Orders to a pool: who is drained, how much each gets, who is there, and what a reload leaves of that.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::json;

use super::*;
use crate::discovery::{Answers, expand};
use crate::net::Endpoint;
use crate::observe::metrics::{PoolMetrics, ServerMetrics};
use crate::pool::pool::tests::{ask, pool, spec};
use crate::server::Goodbyes;

const MINUTE: Duration = Duration::from_secs(60);
const FORGET: Keep = Keep::UntilReload;
const KEEP: Keep = Keep::OverReloads;

fn make(spec: &server::Spec) -> Option<Arc<Server>> {
    let endpoint = Endpoint::of(&spec.address)?;
    Some(made(spec.address.to_string().into(), endpoint, spec))
}

fn made(identity: Arc<str>, endpoint: Endpoint, spec: &server::Spec) -> Arc<Server> {
    Arc::new(Server::new("web".into(), identity, endpoint, spec.clone(), ServerMetrics::default()))
}

fn written(address: &str) -> server::Spec {
    server::Spec { address: address.parse().unwrap(), weight: 1, backup: false }
}

fn add(pool: &Arc<Pool>, address: &str, keep: Keep) -> Result<(), OrderError> {
    pool.add_server(written(address), keep, make)
}

/// A pool of a file with these servers.
fn of_file(servers: &[&str], more: serde_json::Value) -> Arc<Pool> {
    let mut text = more;
    text["servers"] = json!(servers);
    let found = servers.iter().filter_map(|address| make(&written(address))).collect();
    pool(text, found)
}

/// The pool that a reload puts into its place, as a snapshot's build makes it.
fn reloaded(before: &Arc<Pool>, text: serde_json::Value) -> Arc<Pool> {
    let spec = spec(text);
    let known = before.latest().servers();
    let kept = before.latest().kept_overrides();
    let servers = expand(&kept.apply(&spec.servers), &Answers::new(), known.servers(), made);
    let after =
        Pool::build("web".into(), spec, servers, None, PoolMetrics::default(), Some(&before.latest()));
    after.settle_servers();
    before.latest().succeed(&after);
    after
}

fn names(pool: &Arc<Pool>) -> Vec<String> {
    pool.servers().servers().iter().map(|server| server.identity.to_string()).collect()
}

fn find(pool: &Arc<Pool>, name: &str) -> Arc<Server> {
    pool.servers().servers().iter().find(|server| *server.identity == *name).unwrap().clone()
}

fn is_drained(pool: &Arc<Pool>, name: &str) -> bool {
    find(pool, name).state.draining.load(Relaxed)
}

/// Who gets the next requests, one at a time.
async fn shares(pool: &Arc<Pool>, requests: u64) -> BTreeMap<String, u32> {
    let mut shares = BTreeMap::new();
    for random in 0..requests {
        let lease = pool.acquire(&ask(random)).await.unwrap();
        *shares.entry(lease.identity.to_string()).or_default() += 1;
    }
    shares
}

#[tokio::test]
async fn a_drained_server_gets_nothing_new_until_it_comes_back() {
    let pool = of_file(&["10.0.0.1:80", "10.0.0.2:80"], json!({ "balance": "round_robin" }));
    let drained = pool.drain_server("10.0.0.1:80", FORGET, MINUTE).unwrap();
    assert_eq!(shares(&pool, 10).await.keys().collect::<Vec<_>>(), ["10.0.0.2:80"]);
    let bound = pool.acquire(&crate::pool::Ask { bound: Some(drained.id), ..ask(1) }).await.unwrap();
    assert_eq!(bound.id, drained.id, "a bound session stays");
    // The last goodbye leaves its client some time to answer.
    assert_eq!(drained.state.goodbyes(), Some(Goodbyes::Over(Duration::from_secs(54))));
    pool.undrain_server("10.0.0.1:80").unwrap();
    assert_eq!(shares(&pool, 10).await.len(), 2);
    assert_eq!(drained.state.goodbyes(), None);
}

#[tokio::test]
async fn a_name_that_is_not_there_is_answered_with_those_that_are() {
    let pool = of_file(&["10.0.0.1:80", "[::1]:80", "unix:/run/a.sock"], json!({}));
    let refused = pool.drain_server("10.0.0.9:80", FORGET, MINUTE).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "there is no server `10.0.0.9:80` in web; there are: 10.0.0.1:80, [::1]:80, unix:/run/a.sock"
    );
    for name in ["[::1]:80", "unix:/run/a.sock"] {
        assert_eq!(&*pool.drain_server(name, FORGET, MINUTE).unwrap().identity, name);
        pool.remove_server(name, FORGET).unwrap();
    }
    pool.remove_server("10.0.0.1:80", FORGET).unwrap();
    let refused = pool.weigh_server("10.0.0.1:80", 2, FORGET).unwrap_err();
    assert_eq!(refused.to_string(), "there is no server `10.0.0.1:80` in web; it has none now");
}

#[tokio::test]
async fn a_weight_changes_the_shares_at_once_and_is_forgotten_unless_kept() {
    let file = json!({ "balance": "round_robin", "servers": ["10.0.0.1:80", "10.0.0.2:80"] });
    let pool = of_file(&["10.0.0.1:80", "10.0.0.2:80"], file.clone());
    pool.weigh_server("10.0.0.1:80", 3, FORGET).unwrap();
    assert_eq!(shares(&pool, 40).await["10.0.0.1:80"], 30);
    for weight in [0, 1001] {
        assert!(matches!(pool.weigh_server("10.0.0.1:80", weight, KEEP), Err(OrderError::Weight)));
    }
    assert!(pool.would_forget());
    let after = reloaded(&pool, file.clone());
    assert_eq!(shares(&after, 40).await["10.0.0.1:80"], 20);
    after.weigh_server("10.0.0.1:80", 3, KEEP).unwrap();
    assert!(!after.would_forget());
    let heavier = json!({ "balance": "round_robin",
        "servers": [{ "address": "10.0.0.1:80", "weight": 7 }, "10.0.0.2:80"] });
    let last = reloaded(&reloaded(&after, file), heavier);
    assert_eq!(shares(&last, 40).await["10.0.0.1:80"], 30, "what was ordered counts, not the file");
}

#[tokio::test]
async fn drained_is_forgotten_by_a_reload_unless_kept_and_then_counts_for_a_new_server_of_the_name_too() {
    let file = json!({ "servers": ["10.0.0.1:80", "10.0.0.2:80"] });
    let pool = of_file(&["10.0.0.1:80", "10.0.0.2:80"], json!({}));
    pool.drain_server("10.0.0.1:80", FORGET, MINUTE).unwrap();
    pool.drain_server("10.0.0.2:80", KEEP, MINUTE).unwrap();
    let after = reloaded(&pool, file);
    assert!(!is_drained(&after, "10.0.0.1:80") && is_drained(&after, "10.0.0.2:80"));
    // As a backup it is another server.
    let backup = json!({ "servers": ["10.0.0.1:80", { "address": "10.0.0.2:80", "backup": true }] });
    let last = reloaded(&after, backup);
    assert_ne!(find(&last, "10.0.0.2:80").id, find(&after.clone(), "10.0.0.1:80").id);
    assert!(is_drained(&last, "10.0.0.2:80"));
    last.undrain_server("10.0.0.2:80").unwrap();
    assert!(!is_drained(&last, "10.0.0.2:80"));
}

#[tokio::test]
async fn a_reload_and_the_end_of_a_drain_leave_a_server_alone_that_is_withheld_for_another_reason() {
    let pool = of_file(&["10.0.0.1:80"], json!({}));
    let server = find(&pool, "10.0.0.1:80");
    server.state.withhold(Reason::Silent);
    pool.drain_server("10.0.0.1:80", FORGET, MINUTE).unwrap();
    let after = reloaded(&pool, json!({ "servers": ["10.0.0.1:80"] }));
    assert!(is_drained(&after, "10.0.0.1:80"));
    server.state.lift(Reason::Silent);
    assert!(!is_drained(&after, "10.0.0.1:80"));
}

#[tokio::test]
async fn servers_come_and_go_and_a_reload_goes_back_to_the_file_unless_it_is_kept() {
    let file = json!({ "servers": ["10.0.0.1:80", "10.0.0.2:80"] });
    let pool = of_file(&["10.0.0.1:80", "10.0.0.2:80"], json!({}));
    add(&pool, "10.0.0.3:80", FORGET).unwrap();
    add(&pool, "[::1]:80", KEEP).unwrap();
    let kept = find(&pool, "[::1]:80").id;
    pool.remove_server("10.0.0.1:80", FORGET).unwrap();
    pool.remove_server("10.0.0.2:80", KEEP).unwrap();
    assert_eq!(names(&pool), ["10.0.0.3:80", "[::1]:80"]);
    let after = reloaded(&pool, file.clone());
    assert_eq!(names(&after), ["10.0.0.1:80", "[::1]:80"]);
    assert_eq!(find(&after, "[::1]:80").id, kept, "it is the same server, with its health and its load");
    assert_eq!(names(&reloaded(&after, file)), ["10.0.0.1:80", "[::1]:80"]);
}

#[tokio::test]
async fn what_is_no_address_of_its_own_is_not_added() {
    let pool = of_file(&["10.0.0.1:80"], json!({}));
    for (address, refusal) in [
        ("10.0.0.1:80", "`10.0.0.1:80` is in the pool already"),
        ("app.internal:80", "`app.internal:80` is a host name; add the addresses that it stands for"),
        ("unix:run/a.sock", "`unix:run/a.sock` is no address of a server"),
        ("10.0.0.2:0", "`10.0.0.2:0` is no address of a server"),
        (":80", "`[::]:80` is no address of a server"),
    ] {
        let refused = add(&pool, address, FORGET).unwrap_err().to_string();
        assert!(refused.starts_with(refusal), "{address}: {refused}");
    }
    let heavy = server::Spec { weight: 1001, ..written("10.0.0.2:80") };
    assert!(matches!(pool.add_server(heavy, FORGET, make), Err(OrderError::Weight)));
    assert_eq!(names(&pool), ["10.0.0.1:80"]);
    assert!(!pool.would_forget());
}

#[test]
fn orders_of_many_threads_lose_no_server() {
    let pool = of_file(&[], json!({}));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let pool = &pool;
            scope.spawn(move || {
                for host in 0..25 {
                    add(pool, &format!("10.0.{thread}.{host}:80"), FORGET).unwrap();
                    // One of four adds this; it is there once.
                    let _ = add(pool, &format!("10.9.9.{host}:80"), FORGET);
                    pool.weigh_server(&format!("10.0.{thread}.{host}:80"), 2, FORGET).unwrap();
                }
            });
        }
    });
    let mut found = names(&pool);
    found.sort_unstable();
    found.dedup();
    assert_eq!((found.len(), names(&pool).len()), (125, 125));
    assert_eq!(pool.wanted_servers().len(), 125);
}

#[tokio::test]
async fn workers_can_be_named_by_number_and_are_all_alike() {
    let worker = |number: u32| {
        let spec = written(&format!("unix:/run/{number}.sock"));
        made(format!("web/{number}").into(), Endpoint::of(&spec.address).unwrap(), &spec)
    };
    let app = pool(json!({ "app": { "command": "node server.js" } }), vec![worker(0), worker(1)]);
    assert_eq!(&*app.drain_server("0", FORGET, MINUTE).unwrap().identity, "web/0");
    assert_eq!(&*app.undrain_server("web/0").unwrap().identity, "web/0");
    for refused in [
        add(&app, "10.0.0.1:80", FORGET).unwrap_err(),
        app.remove_server("web/0", FORGET).unwrap_err(),
        app.weigh_server("web/0", 2, FORGET).unwrap_err(),
    ] {
        assert!(refused.to_string().contains("`lintel scale`"), "{refused}");
    }
    // A worker that comes in the place of one that is drained is drained as well.
    app.drain_server("web/1", FORGET, MINUTE).unwrap();
    app.replace_servers(vec![worker(0), worker(1)]);
    assert!(!is_drained(&app, "web/0") && is_drained(&app, "web/1"));
    // While one is being replaced there are two of a name.
    app.replace_servers(vec![worker(0), worker(0)]);
    app.drain_server("0", FORGET, MINUTE).unwrap();
    assert!(app.servers().servers().iter().all(|server| server.state.draining.load(Relaxed)));
}

#[tokio::test]
async fn a_pool_that_shares_workers_says_where_to_drain_them() {
    let spec = written("unix:/run/0.sock");
    let worker = made("app/0".into(), Endpoint::of(&spec.address).unwrap(), &spec);
    let pool = pool(json!({ "workers_of": "app" }), vec![worker]);
    let refused = pool.drain_server("0", FORGET, MINUTE).unwrap_err().to_string();
    assert_eq!(refused, "the servers of web are the workers of app: give the order there, as app/app/0");
    assert!(pool.undrain_server("app/0").is_err() && !is_drained(&pool, "app/0"));
}

/// As the look-ups of host names change the servers.
fn look_up(pool: &Arc<Pool>, addresses: &[&str]) {
    let answers = [("app".to_owned(), addresses.iter().map(|address| address.parse().unwrap()).collect())];
    let answers = Answers::from(answers);
    let changed = pool.change_servers(|before| {
        Ok::<_, OrderError>(expand(&pool.wanted_servers(), &answers, before.servers(), made))
    });
    changed.unwrap();
}

#[tokio::test]
async fn orders_stay_while_the_addresses_of_a_host_name_change() {
    let pool = pool(json!({ "servers": ["app:80", "10.0.0.1:80"], "balance": "round_robin" }), vec![]);
    look_up(&pool, &["10.0.0.7", "10.0.0.8"]);
    pool.drain_server("app:80/10.0.0.7", FORGET, MINUTE).unwrap();
    pool.weigh_server("app:80/10.0.0.8", 3, FORGET).unwrap();
    add(&pool, "10.0.0.2:80", FORGET).unwrap();
    pool.remove_server("10.0.0.1:80", FORGET).unwrap();
    let refused = pool.remove_server("app:80/10.0.0.8", FORGET).unwrap_err().to_string();
    assert!(refused.contains("is an address of a host name"), "{refused}");
    look_up(&pool, &["10.0.0.9"]);
    assert_eq!(names(&pool), ["app:80/10.0.0.9", "10.0.0.2:80"]);
    look_up(&pool, &["10.0.0.7", "10.0.0.8"]);
    assert_eq!(names(&pool), ["app:80/10.0.0.7", "app:80/10.0.0.8", "10.0.0.2:80"]);
    assert_eq!(
        shares(&pool, 40).await,
        [("10.0.0.2:80".to_owned(), 10), ("app:80/10.0.0.8".to_owned(), 30)].into()
    );
}
