//! Workers that die, cannot start, stand still or grow: they come back, and the others serve.

use std::fs;
use std::time::{Duration, Instant};

use crate::load::{Failure, Load, Mode, Rate, all_whole};
use crate::site::{Plan, Site, Worker, kill};
use crate::support::lintel::{field_of, message_of};
use crate::support::{eventually, get};

async fn worker(site: &Site, index: u64) -> Worker {
    let found = site.workers().await.into_iter().find(|worker| worker.index() == index);
    found.unwrap_or_else(|| panic!("there is no worker {index}"))
}

/// Awaits that the worker of this index is ready as another process than `before`.
async fn comes_back(site: &Site, index: u64, before: u32) -> Worker {
    eventually("the worker comes back", async || {
        let workers = site.workers().await;
        let is_back =
            |found: &&Worker| found.index() == index && found.pid() != before && found.state() == "ready";
        workers.iter().find(is_back).cloned()
    })
    .await
}

/// Awaits that this worker answers.
async fn answers(site: &Site, index: u64) {
    eventually("the worker answers", async || (site.ask("/").await["index"] == index).then_some(())).await;
}

#[tokio::test]
async fn a_worker_that_is_killed_comes_back_and_no_get_fails() {
    let site = Plan::new("instances: 3").start(3).await;
    let loads = Load::both(site.lintel.http(), 150);
    for load in &loads {
        load.goes_on(20).await;
    }
    let before = worker(&site, 1).await;
    kill(before.pid());
    let after = comes_back(&site, 1, before.pid()).await;
    assert_eq!((before.restarts(), after.restarts()), (0, 1));
    assert_eq!(after.0["last_exit"], "signal 9", "{after:?}");
    answers(&site, 1).await;
    for load in &loads {
        load.goes_on(20).await;
    }
    let answered = all_whole(loads).await;
    assert!(answered.contains(&format!("1 {}", after.pid())), "{answered:?}");
    assert_eq!(
        site.ready(3).await.iter().map(Worker::restarts).sum::<u64>(),
        1,
        "the others were left alone"
    );
    site.stop().await;
}

#[tokio::test]
async fn only_posts_that_a_killed_worker_had_begun_fail() {
    let site = Plan::new("instances: 2").start(2).await;
    let posts = |mode| Rate { mode, method: "POST", path: "/brief", rate: 60 };
    let loads = [Mode::KeepAlive, Mode::New].map(|mode| Load::start(site.lintel.http(), posts(mode)));
    for load in &loads {
        load.goes_on(20).await;
    }
    let before = worker(&site, 0).await.pid();
    kill(before);
    let killed = Instant::now();
    comes_back(&site, 0, before).await;
    for load in &loads {
        load.goes_on(20).await;
    }
    for load in loads {
        let tally = load.tally().await;
        // Those that the worker had; what was sent after Lintel noticed went elsewhere.
        let late = |failure: &&Failure| failure.sent > killed + Duration::from_millis(50);
        let late: Vec<_> =
            tally.failures.iter().filter(late).map(|failure| (failure.sent - killed, &failure.why)).collect();
        assert!(late.is_empty(), "sent after the worker was killed, and failed: {late:?}");
        assert!(tally.failures.len() <= 10, "{:?}", tally.failures);
    }
    site.stop().await;
}

#[tokio::test]
async fn a_worker_that_cannot_start_backs_off_until_it_is_repaired() {
    let site = Plan::new("instances: 2\nrestart: { backoff: 100ms, max_backoff: 800ms }").start(2).await;
    let load = Load::start(site.lintel.http(), Rate::gets(Mode::New, 200));
    load.goes_on(10).await;
    fs::write(site.app.join("broken-1"), "").unwrap();
    kill(worker(&site, 1).await.pid());
    let pauses = eventually("it has failed four times", async || {
        let lines = site.logged("before it was ready; next start in ");
        let pause = |line: &serde_json::Value| message_of(line).rsplit(" in ").next().unwrap().to_owned();
        (lines.len() >= 4).then(|| lines.iter().map(pause).collect::<Vec<_>>())
    })
    .await;
    let milliseconds: Vec<u64> =
        pauses.iter().map(|pause| pause.strip_suffix(" ms").unwrap_or(pause).parse().unwrap()).collect();
    assert!(milliseconds[0] <= 400 && milliseconds[3] >= 400, "they grow: {pauses:?}");
    assert!(milliseconds.iter().all(|pause| (100..=800).contains(pause)), "{pauses:?}");
    assert_eq!(site.wrote("Error: the database does not know this password").await, 1);
    let answered = load.tally().await;
    answered.assert_whole();
    fs::remove_file(site.app.join("broken-1")).unwrap();
    let repaired = comes_back(&site, 1, 0).await;
    assert!(repaired.restarts() >= 4, "{repaired:?}");
    answers(&site, 1).await;
    site.stop().await;
}

#[tokio::test]
async fn an_event_loop_that_stands_still_is_killed_and_the_others_serve() {
    let site = Plan::new("instances: 3\nrestart: { stall: 2s }").start(3).await;
    let load = Load::start(site.lintel.http(), Rate::gets(Mode::New, 60));
    load.goes_on(20).await;
    // A POST is not sent to a second one.
    let mut blocking = site.post("/block").await;
    let index = site.wrote("blocks").await;
    let before = worker(&site, index).await.pid();
    let stood = Instant::now();
    let after = comes_back(&site, index, before).await;
    let took = stood.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(8)).contains(&took), "replaced after {took:?}");
    assert_eq!((after.restarts(), site.logged("is killed: silent for").len()), (1, 1));
    assert_eq!(site.logged("no new requests until it does").len(), 1);
    assert_eq!(blocking.response_to("POST").await.status(), 502);
    load.goes_on(20).await;
    all_whole([load]).await;
    site.stop().await;
}

#[tokio::test]
async fn a_worker_that_uses_too_much_memory_is_replaced_without_an_outage() {
    let site = Plan::new("instances: 2\nrestart: { max_memory: 250MiB }").start(2).await;
    let load = Load::start(site.lintel.http(), Rate::gets(Mode::KeepAlive, 60));
    load.goes_on(20).await;
    let before = site.pids().await;
    assert_eq!(get(site.lintel.http(), "/grow?300").await.status(), 200);
    let line = site.log("MiB of memory, more than 250 MiB").await;
    let index = field_of(&line, "worker").as_u64().unwrap();
    site.log("the rollout is complete").await;
    let now = site.ready(2).await;
    for worker in &now {
        assert_eq!(
            before.contains(&worker.pid()),
            worker.index() != index,
            "only worker {index} is new: {now:?}"
        );
    }
    load.goes_on(20).await;
    all_whole([load]).await;
    site.stop().await;
}
