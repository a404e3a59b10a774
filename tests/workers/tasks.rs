//! Tasks that Node runs: they serve nobody, but what they say of themselves counts.

use std::fs;
use std::net::SocketAddr;

use crate::site::{Plan, Site, Worker, apps, kill};
use crate::support::{eventually, get};

async fn consumers(app: &str, count: usize) -> Site {
    let plan = Plan::new(&format!("task: true\n{app}")).command("node consumer.js");
    let plan = plan.routes("[{ name: all, respond: { body: here } }]");
    let copy = |app: &std::path::Path| _ = fs::copy(apps().join("consumer.js"), app.join("consumer.js"));
    plan.start_with(count, copy).await
}

/// Awaits the port that a consumer opened for its metrics.
async fn metrics_of(site: &Site, pid: u32) -> SocketAddr {
    let start = format!("metrics of {pid} at ");
    let port = eventually("its port is open", async || {
        let lines = site.lines().await;
        lines.iter().find_map(|(.., text)| text.strip_prefix(&start)?.parse::<u16>().ok())
    })
    .await;
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Awaits that the first consumer is ready as another process.
async fn comes_back(site: &Site, before: u32) -> Worker {
    eventually("the consumer comes back", async || {
        let worker = site.workers().await.into_iter().next()?;
        (worker.pid() != before && worker.state() == "ready").then_some(worker)
    })
    .await
}

#[tokio::test]
async fn a_task_has_a_port_of_its_own_and_tells_how_it_is() {
    let site = consumers("instances: 2", 2).await;
    for pid in site.pids().await {
        let address = metrics_of(&site, pid).await;
        assert_eq!(get(address, "/").await.text(), format!("consumer {pid}"));
    }
    let told = eventually("both have reported", async || {
        let workers = site.workers().await;
        workers.iter().all(|worker| worker.0["memory"].is_u64()).then_some(workers)
    })
    .await;
    for worker in told {
        assert!(worker.0["memory"].as_u64().unwrap() > 10 << 20, "{worker:?}");
        assert!(worker.0["elu"].as_f64().unwrap() <= 1.0, "{worker:?}");
    }
    assert_eq!(get(site.lintel.http(), "/").await.text(), "here");
    site.stop().await;
}

#[tokio::test]
async fn a_task_is_rolled_over_when_it_says_that_it_is_ready() {
    let site = consumers("instances: 1\nready: { when: signal }", 1).await;
    let before = site.pids().await;
    fs::write(site.app.join("hold"), "").unwrap();
    let rollout = site.run(&["rollout", "app"]);
    let others = async {
        let starting = eventually("there is a new one", async || {
            site.workers().await.into_iter().find(|worker| worker.state() == "starting" && worker.pid() != 0)
        })
        .await;
        metrics_of(&site, starting.pid()).await;
        let states: Vec<_> = site.workers().await.iter().map(|worker| worker.state().to_owned()).collect();
        assert_eq!(states, ["ready", "starting"]);
        fs::remove_file(site.app.join("hold")).unwrap();
    };
    let (said, ()) = tokio::join!(rollout, others);
    said.ok();
    site.replaced(1, &before).await;
    site.stop().await;
}

#[tokio::test]
async fn a_task_that_stands_still_is_killed_and_one_that_grows_is_replaced() {
    let site = consumers("instances: 1\nrestart: { stall: 2s, max_memory: 250MiB }", 1).await;
    let first = site.ready(1).await[0].pid();
    metrics_of(&site, first).await;
    fs::write(site.app.join("block"), "").unwrap();
    let second = comes_back(&site, first).await;
    assert_eq!((second.restarts(), &second.0["last_exit"]), (1, &"signal 9".into()));
    assert_eq!(site.logged("is killed: silent for").len(), 1);
    assert!(site.logged("no new requests").is_empty(), "it never got any");
    metrics_of(&site, second.pid()).await;
    fs::write(site.app.join("grow"), "").unwrap();
    site.log("MiB of memory, more than 250 MiB: it is replaced").await;
    let third = comes_back(&site, second.pid()).await;
    assert_eq!(third.restarts(), 0, "it is another worker");
    site.stop().await;
}

#[tokio::test]
async fn a_build_of_a_task_that_cannot_start_is_taken_back() {
    let site = consumers("instances: 1\nrestart: { backoff: 100ms, max_backoff: 500ms }", 1).await;
    let before = site.pids().await;
    fs::write(site.app.join("broken"), "").unwrap();
    let said = site.run(&["rollout", "app"]).await;
    assert!(said.code.is_some_and(|code| code != 0), "{said:?}");
    assert!(said.stderr.contains("the queue does not know this password"), "{said:?}");
    site.ready(1).await;
    assert_eq!(site.pids().await, before);
    // The one that works is told apart from the one that cannot start, also where it is the same place.
    kill(*before.first().unwrap());
    site.log("ended with signal 9 after").await;
    eventually("it cannot start", async || {
        (site.logged("before it was ready; next start in").len() >= 3).then_some(())
    })
    .await;
    fs::remove_file(site.app.join("broken")).unwrap();
    comes_back(&site, 0).await;
    site.stop().await;
}
