//! Apps over a reload: workers that are started otherwise roll over, all others stay the processes that they are.

use std::collections::BTreeSet;
use std::fs;

use crate::load::{Load, Mode, Rate, all_whole};
use crate::site::{Plan, Site, Worker, kill};
use crate::support::{Connection, Origin, eventually, get};

const APP: &str = "instances: 2\nenv COLOR: red\nenv EXTRA: x\n";

/// The site of all tests here, with these settings of its app.
fn plan(app: &str) -> Plan {
    Plan::new(app)
}

async fn env(site: &Site, name: &str) -> Option<String> {
    site.ask("/env").await[name].as_str().map(str::to_owned)
}

async fn under_load(site: &Site, rate: u32) -> [Load; 2] {
    let loads = Load::both(site.lintel.http(), rate);
    for load in &loads {
        load.goes_on(5).await;
    }
    loads
}

#[tokio::test]
async fn workers_of_an_app_that_is_started_otherwise_roll_over_and_no_request_fails() {
    let mut site = plan(APP).start(2).await;
    assert_eq!(
        (env(&site, "COLOR").await, env(&site, "EXTRA").await),
        (Some("red".into()), Some("x".into()))
    );
    let loads = under_load(&site, 80).await;
    let mut before = site.pids().await;
    for (app, color, extra) in [
        ("instances: 2\nenv COLOR: blue\nenv EXTRA: x\n", Some("blue"), Some("x")),
        // A variable that is no longer written is gone.
        ("instances: 2\nenv COLOR: blue\n", Some("blue"), None),
        ("instances: 2\n", None, None),
    ] {
        site.reload(plan(app)).await;
        eventually("all workers are replaced", async || site.pids().await.is_disjoint(&before).then_some(()))
            .await;
        before = site.replaced(2, &before).await;
        for _ in 0..4 {
            assert_eq!(
                (env(&site, "COLOR").await.as_deref(), env(&site, "EXTRA").await.as_deref()),
                (color, extra)
            );
        }
    }
    // Another command.
    fs::write(site.app.join("wrapper.js"), "process.env.WRAPPED = 'yes'; require('./server.js');\n").unwrap();
    site.reload(plan("instances: 2\n").command("node wrapper.js")).await;
    eventually("all workers are replaced", async || site.pids().await.is_disjoint(&before).then_some(()))
        .await;
    site.replaced(2, &before).await;
    assert_eq!(env(&site, "WRAPPED").await.as_deref(), Some("yes"));
    all_whole(loads).await;
    site.stop().await;
}

#[tokio::test]
async fn another_number_of_instances_only_adds_or_ends_workers() {
    let mut site = plan(APP).start(2).await;
    let loads = under_load(&site, 60).await;
    let first = site.pids().await;
    site.reload(plan(&APP.replace('2', "3"))).await;
    let three: BTreeSet<u32> = site.ready(3).await.iter().map(Worker::pid).collect();
    assert!(three.is_superset(&first), "{first:?}, then {three:?}");
    site.reload(plan(&APP.replace('2', "1"))).await;
    let one: BTreeSet<u32> = site.ready(1).await.iter().map(Worker::pid).collect();
    assert!(one.is_subset(&first), "{first:?}, then {one:?}");
    all_whole(loads).await;
    site.stop().await;
}

#[tokio::test]
async fn whatever_is_not_the_start_of_a_worker_leaves_it_alone() {
    let mut site = plan(APP).start(2).await;
    let loads = under_load(&site, 60).await;
    let before = site.pids().await;
    let routes = "[{ name: all, to: app }, { name: more, match: { path: /more }, respond: { status: 200 } }]";
    let changes = [
        plan(APP).routes(routes),
        plan(APP).pool("balance: round_robin\ntimeouts: { response: 59s }"),
        plan(APP).pool("max_in_flight: 50"),
        plan(APP).pool("health_check: { path: /, interval: 1s, timeout: 900ms }"),
        plan(&format!("{APP}rollout: {{ surge: 2 }}\n")),
        plan(APP).further_pool("more: { workers_of: app }"),
        plan(APP),
    ];
    for change in changes {
        site.reload(change).await;
        for load in &loads {
            load.goes_on(8).await;
        }
        assert_eq!(site.pids().await, before);
    }
    all_whole(loads).await;
    assert!(site.logged("a rollout begins").is_empty());
    site.stop().await;
}

#[tokio::test]
async fn a_worker_that_is_started_again_waits_for_no_check_that_was_taken_away() {
    let checked = plan(APP).pool("health_check: { path: /, interval: 1s, timeout: 900ms }");
    let mut site = checked.start(2).await;
    let before = site.pids().await;
    site.reload(plan(APP)).await;
    assert_eq!(site.pids().await, before);
    kill(*before.first().unwrap());
    eventually("it comes back", async || {
        let workers = site.workers().await;
        let is_new = |worker: &Worker| worker.state() == "ready" && !before.contains(&worker.pid());
        workers.iter().any(is_new).then_some(())
    })
    .await;
    site.stop().await;
}

#[tokio::test]
async fn a_new_app_answers_as_soon_as_its_route_leads_to_it() {
    let mut site = plan("instances: 1\n").start(1).await;
    let loads = under_load(&site, 60).await;
    let first = site.pids().await;
    let routes = "[{ name: all, to: second }]";
    // It needs a while to start, and the old one serves until it is there.
    fs::write(site.app.join("boot-ms"), "1500").unwrap();
    for check in ["", ", health_check: { path: /, interval: 500ms, timeout: 400ms }"] {
        let second = format!(
            "second: {{ app: {{ command: node server.js, directory: ./app, instances: 1, env: {{ SITE: second }} }}{check} }}"
        );
        site.reload(plan("instances: 1\n").further_pool(&second).routes(routes)).await;
        let pid = site.ask("/").await["pid"].as_u64().unwrap() as u32;
        assert!(!first.contains(&pid), "the new app answers");
        for load in &loads {
            load.goes_on(5).await;
        }
        site.reload(plan("instances: 1\n")).await;
        assert_eq!(site.pids().await, first);
    }
    all_whole(loads).await;
    site.stop().await;
}

#[tokio::test]
async fn an_app_that_is_taken_away_finishes_what_it_has_and_ends() {
    let other = Origin::named("other");
    let mut site = plan("instances: 2\n").start(2).await;
    let processes = site.processes().len();
    let mut slow = Connection::open(site.lintel.http()).await;
    slow.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    site.wrote("slow begins").await;
    let without = crate::support::lintel::front(&[&other], "");
    site.lintel.reload(&without).await;
    assert_eq!(get(site.lintel.http(), "/").await.text(), "other");
    assert_eq!(slow.response().await.text(), "{\"slow\":true}");
    eventually("all but the keeper have ended", async || (site.processes().len() == 1).then_some(())).await;
    assert!(processes > 1);
    // And back again.
    site.reload(plan("instances: 2\n")).await;
    assert_eq!(site.ask("/").await["index"].as_u64().map(|index| index < 2), Some(true));
    site.ready(2).await;
    site.stop().await;
}

#[tokio::test]
async fn an_app_comes_back_while_its_old_workers_are_still_on_their_way_out() {
    let other = Origin::named("other");
    let mut site = plan("instances: 2\n").start(2).await;
    let without = crate::support::lintel::front(&[&other], "");
    for _ in 0..4 {
        let before = site.pids().await;
        let mut slow = Connection::open(site.lintel.http()).await;
        slow.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        eventually("it has begun", async || {
            site.lines().await.iter().any(|(_, _, line)| line == "slow begins").then_some(())
        })
        .await;
        site.lintel.reload(&without).await;
        site.reload(plan("instances: 2\n")).await;
        let now = site.replaced(2, &before).await;
        assert_eq!(slow.response().await.status(), 200, "the old one has answered");
        eventually("the old ones have ended", async || {
            let left: BTreeSet<u32> = site.processes().into_iter().map(|(pid, _)| pid).collect();
            left.is_disjoint(&before).then_some(())
        })
        .await;
        // The sockets of the new ones are not those that the old ones took with them.
        for _ in 0..6 {
            let pid = site.ask("/").await["pid"].as_u64().unwrap() as u32;
            assert!(now.contains(&pid));
        }
    }
    site.stop().await;
}

#[tokio::test]
async fn a_pool_that_begins_to_share_workers_has_them_at_once() {
    let mut site = plan(APP).start(2).await;
    let before = site.pids().await;
    let sharing = |app: &str| {
        plan(app)
            .further_pool("more: { workers_of: app, balance: round_robin }")
            .routes("[{ name: all, to: app }, { name: more, match: { path: /env }, to: more }]")
    };
    for _ in 0..5 {
        site.reload(sharing(APP)).await;
        assert_eq!(get(site.lintel.http(), "/env").await.status(), 200);
        site.reload(plan(APP)).await;
    }
    assert_eq!(site.pids().await, before);
    // While workers are being replaced too.
    fs::write(site.app.join("boot-ms"), "1500").unwrap();
    let rolling = APP.replace("red", "blue");
    site.reload(plan(&rolling)).await;
    site.log("a rollout begins").await;
    site.reload(sharing(&rolling)).await;
    let load = Load::start(site.lintel.http(), Rate { path: "/env", ..Rate::gets(Mode::New, 40) });
    load.goes_on(5).await;
    eventually("all workers are replaced", async || site.pids().await.is_disjoint(&before).then_some(()))
        .await;
    site.replaced(2, &before).await;
    load.goes_on(10).await;
    load.tally().await.assert_whole();
    site.stop().await;
}

#[tokio::test]
async fn workers_that_cannot_be_started_otherwise_stay_as_they_are() {
    let mut site = plan(APP).start(2).await;
    let loads = under_load(&site, 60).await;
    let before = site.pids().await;
    site.reload(plan(APP).command("node nowhere.js")).await;
    site.log("the rollout failed").await;
    assert_eq!(site.ready(2).await.iter().map(Worker::pid).collect::<BTreeSet<_>>(), before);
    // A reload of something else does not try it again; one that mends it does.
    site.reload(plan(APP)).await;
    for load in &loads {
        load.goes_on(8).await;
    }
    all_whole(loads).await;
    site.stop().await;
}

#[tokio::test]
async fn a_pool_of_workers_becomes_one_of_servers_and_back() {
    let other = Origin::named("other");
    let mut site = plan("instances: 1\n").start(1).await;
    let load = Load::start(site.lintel.http(), Rate::gets(Mode::New, 60));
    let servers = crate::support::lintel::front(&[&other], "")
        .replace("  web:\n", "  app:\n")
        .replace("to: web", "to: app");
    for _ in 0..3 {
        site.lintel.reload(&servers).await;
        assert_eq!(get(site.lintel.http(), "/").await.text(), "other");
        load.goes_on(5).await;
        site.reload(plan("instances: 1\n")).await;
        load.goes_on(5).await;
    }
    load.tally().await.assert_whole();
    site.stop().await;
}

#[tokio::test]
async fn what_workers_write_goes_where_the_new_config_says() {
    let mut site = plan("directory: ./app\ninstances: 1\nlogs: { directory: ./logs-a }\n").start(1).await;
    let before = site.pids().await;
    let folder = site.lintel.path().to_owned();
    let text = |name: &str| fs::read_to_string(folder.join(name).join("app-0.log")).unwrap_or_default();
    site.ask("/say?one").await;
    eventually("the first line", async || text("logs-a").contains("one").then_some(())).await;
    site.reload(plan("directory: ./app\ninstances: 1\nlogs: { directory: ./logs-b }\n")).await;
    site.ask("/say?two").await;
    eventually("the second line", async || text("logs-b").contains("two").then_some(())).await;
    assert!(!text("logs-a").contains("two"));
    site.reload(plan("instances: 1\n")).await;
    site.ask("/say?three").await;
    site.wrote("three").await;
    assert!(!text("logs-b").contains("three"));
    assert_eq!(site.pids().await, before, "no worker was started anew for it");
    site.stop().await;
}
