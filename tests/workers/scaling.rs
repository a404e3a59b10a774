//! An app that scales itself: more workers while they are busy or requests wait, fewer while they idle, and no request
//! fails by it.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::load::{Load, Mode, Rate, all_whole};
use crate::site::{Plan, Site, Worker, apps, kill};
use crate::support::{eventually, get};

fn plan(instances: &str) -> Plan {
    Plan::new(&format!("instances: {instances}\nrestart: {{ backoff: 100ms, max_backoff: 500ms }}"))
        .command("node busy.js")
}

fn copy(app: &Path) {
    fs::copy(apps().join("busy.js"), app.join("busy.js")).unwrap();
}

fn load(site: &Site, path: &'static str, rate: u32) -> Load {
    Load::start(site.lintel.http(), Rate { mode: Mode::KeepAlive, method: "GET", path, rate })
}

async fn scaling(site: &Site) -> Value {
    let status: Value = serde_json::from_slice(&site.control("/status").await.body).unwrap();
    status["pools"][0]["app"]["scaling"].clone()
}

/// Awaits that the mean load is above this.
async fn is_loaded(site: &Site, above: f64) {
    eventually("the workers are busy", async || {
        scaling(site).await["load"].as_f64().is_some_and(|load| load > above).then_some(())
    })
    .await;
}

async fn metric(site: &Site, name: &str) -> f64 {
    let text = site.control("/metrics").await.text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}{{pool=\"app\"}} ")));
    line.unwrap_or_else(|| panic!("no {name}: {text}")).parse().unwrap()
}

#[tokio::test]
async fn busy_workers_become_more_up_to_the_most_and_idle_ones_fewer() {
    let site = plan("{ min: 1, max: 3, shrink_after: 2s }").start_with(1, copy).await;
    let light = load(&site, "/", 20);
    // More than one can do, less than two can.
    let some = load(&site, "/busy?20", 80);
    let line = site.log("scales by load: the load of its workers is").await;
    assert!(line.to_string().contains("\"from\":1"), "{line}");
    eventually("there are more", async || (site.workers().await.len() > 1).then_some(())).await;
    // And now too much even for three.
    let more = load(&site, "/busy?20", 60);
    let three = site.ready(3).await;
    assert_eq!(three.iter().map(Worker::index).collect::<Vec<_>>(), [0, 1, 2]);
    for name in ["lintel_pool_workers_wanted", "lintel_pool_workers_max"] {
        eventually(name, async || (metric(&site, name).await == 3.0).then_some(())).await;
    }
    is_loaded(&site, 0.8).await;
    some.goes_on(400).await;
    assert_eq!(site.workers().await.len(), 3, "however much there is to do");
    let status = site.run(&["status"]).await.ok().stdout;
    assert!(status.contains("pool app, 3 workers (1 to 3), load "), "{status}");
    drop(more);
    drop(some);
    site.log("scales by load: with one fewer their load would be").await;
    let one = site.ready(1).await;
    assert_eq!((one[0].index(), one[0].restarts()), (0, 0));
    light.goes_on(20).await;
    assert_eq!(all_whole([light]).await.len(), 3, "all have answered, and no answer was missing");
    site.stop().await;
}

#[tokio::test]
async fn requests_that_wait_for_room_bring_more_workers() {
    let plan = plan("{ min: 1, max: 3 }").pool("max_in_flight: 2\nqueue: { size: 1000, timeout: 20s }");
    let site = plan.start_with(1, copy).await;
    let waiting = load(&site, "/wait?300", 12);
    site.ready(3).await;
    waiting.goes_on(20).await;
    all_whole([waiting]).await;
    let reasons = site.logged("scales by load: ");
    assert!(
        reasons.iter().any(|line| line.to_string().contains("wait for a worker with room")),
        "{reasons:?}"
    );
    site.stop().await;
}

#[tokio::test]
async fn a_worker_that_crashes_again_and_again_brings_no_more() {
    let site = plan("{ min: 2, max: 4 }").start_with(2, copy).await;
    fs::write(site.app.join("broken-1"), "").unwrap();
    kill(site.workers().await[1].pid());
    let load = load(&site, "/busy?20", 45);
    eventually("it crashes on and on", async || {
        (site.logged("before it was ready; next start in").len() >= 10).then_some(())
    })
    .await;
    load.goes_on(300).await;
    assert_eq!((site.logged("scales by load").len(), site.workers().await.len()), (0, 2));
    all_whole([load]).await;
    site.stop().await;
}

#[tokio::test]
async fn more_workers_that_do_not_come_up_are_taken_back_and_not_tried_at_once() {
    let site = plan("{ min: 1, max: 2 }").start_with(1, copy).await;
    fs::write(site.app.join("broken-1"), "").unwrap();
    let load = load(&site, "/busy?20", 45);
    site.log("the rollout failed and was taken back: the new worker 1 did not become ready").await;
    is_loaded(&site, 0.8).await;
    load.goes_on(250).await;
    assert_eq!((site.logged("scales by load").len(), site.ready(1).await.len()), (1, 1));
    all_whole([load]).await;
    site.stop().await;
}

#[tokio::test]
async fn an_order_within_the_bounds_is_carried_out_and_one_outside_is_refused() {
    let site = plan("{ min: 1, max: 3, shrink_after: 2s }").start_with(1, copy).await;
    for count in ["4", "1024"] {
        let said = site.run(&["scale", "app", count]).await;
        assert!(said.code.is_some_and(|code| code != 0), "{said:?}");
        assert!(said.stderr.contains("this app scales itself between 1 and 3 workers"), "{said:?}");
    }
    assert_eq!(site.workers().await.len(), 1);
    let said = site.run(&["scale", "app", "3"]).await.ok();
    assert!(said.stdout.contains("3 workers"), "{said:?}");
    // It goes on from there: they are idle, so they leave again.
    site.log("with one fewer their load would be").await;
    site.ready(1).await;
    assert_eq!(site.logged("scales by load").len(), 2, "one at a time");
    assert_eq!(get(site.lintel.http(), "/").await.status(), 200);
    site.stop().await;
}
