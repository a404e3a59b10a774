//! Rollouts and scaling: new workers take over from old ones, and no request fails by it.

use std::collections::BTreeSet;
use std::fs;

use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio_tungstenite::tungstenite::Message;

use crate::load::{Load, Mode, Rate, all_whole};
use crate::site::{Plan, Site, Worker, kill};
use crate::support::{eventually, websocket, within};

/// The process ids of those that answered.
fn pids(workers: &BTreeSet<String>) -> BTreeSet<u32> {
    workers.iter().map(|worker| worker.split(' ').nth(1).unwrap().parse().unwrap()).collect()
}

/// Serves for a while with a load already on it.
async fn with_load(site: &Site, rate: u32) -> [Load; 2] {
    let loads = Load::both(site.lintel.http(), rate);
    for load in &loads {
        load.goes_on(10).await;
    }
    loads
}

#[tokio::test]
async fn rollouts_under_load_fail_no_request() {
    let site = Plan::new("instances: 2").start(2).await;
    let loads = with_load(&site, 150).await;
    let mut before = site.pids().await;
    let mut all = before.clone();
    for _ in 0..3 {
        site.run(&["rollout", "app"]).await.ok();
        before = site.replaced(2, &before).await;
        all.extend(&before);
        for load in &loads {
            load.goes_on(20).await;
        }
    }
    assert_eq!(all.len(), 8);
    assert_eq!(pids(&all_whole(loads).await), all, "every worker of every generation has answered");
    site.stop().await;
}

#[tokio::test]
async fn a_rollout_of_workers_that_boot_for_long_fails_no_request() {
    let site = Plan::new("instances: 2\nrollout: { surge: 2 }").start(2).await;
    fs::write(site.app.join("boot-ms"), "6000").unwrap();
    let loads = with_load(&site, 30).await;
    let before = site.pids().await;
    site.run(&["rollout", "app"]).await.ok();
    site.replaced(2, &before).await;
    for load in &loads {
        load.goes_on(10).await;
    }
    all_whole(loads).await;
    site.stop().await;
}

#[tokio::test]
async fn a_broken_build_is_taken_back_and_the_command_says_why() {
    let site = Plan::new("instances: 2").start(2).await;
    let loads = with_load(&site, 60).await;
    let before = site.pids().await;
    fs::write(site.app.join("broken-0"), "").unwrap();
    fs::write(site.app.join("broken-1"), "").unwrap();
    let said = site.run(&["rollout", "app"]).await;
    assert!(said.code.is_some_and(|code| code != 0), "{said:?}");
    assert!(
        said.stderr.contains("the database does not know this password"),
        "the error of the app is missing: {said:?}"
    );
    site.ready(2).await;
    assert_eq!(site.pids().await, before);
    for load in &loads {
        load.goes_on(20).await;
    }
    assert_eq!(pids(&all_whole(loads).await), before, "nobody else has answered");
    // What is repaired can be rolled out.
    fs::remove_file(site.app.join("broken-0")).unwrap();
    fs::remove_file(site.app.join("broken-1")).unwrap();
    site.run(&["rollout", "app"]).await.ok();
    site.replaced(2, &before).await;
    site.stop().await;
}

#[tokio::test]
async fn scaling_under_load_fails_no_request() {
    let site = Plan::new("instances: 2").start(2).await;
    let loads = with_load(&site, 100).await;
    let first = site.pids().await;
    site.run(&["scale", "app", "4"]).await.ok();
    let four = site.ready(4).await;
    assert_eq!(four.iter().map(|worker| worker.index()).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let more: BTreeSet<u32> = four.iter().map(|worker| worker.pid()).collect();
    assert!(more.is_superset(&first), "those that were there go on: {first:?}, {more:?}");
    for load in &loads {
        load.goes_on(20).await;
    }
    site.run(&["scale", "app", "1"]).await.ok();
    let one = site.ready(1).await;
    assert_eq!(one[0].index(), 0);
    assert!(first.contains(&one[0].pid()), "the one with the lowest index goes on");
    for load in &loads {
        load.goes_on(20).await;
    }
    assert_eq!(pids(&all_whole(loads).await), more);
    for wrong in ["0", "2000"] {
        let said = site.run(&["scale", "app", wrong]).await;
        assert!(said.code != Some(0) && said.stderr.contains("1 to 1024"), "{said:?}");
    }
    let said = site.run(&["scale", "other", "2"]).await;
    assert!(said.code != Some(0) && said.stderr.contains("other"), "{said:?}");
    site.stop().await;
}

#[tokio::test]
async fn websockets_of_old_workers_are_closed_for_a_restart() {
    let site = Plan::new("instances: 2").start(2).await;
    let address = site.lintel.http();
    let sockets = join_all((0..10).map(|_| websocket::open(address, "/ws"))).await;
    let load = Load::start(address, Rate::gets(Mode::KeepAlive, 30));
    let before = site.pids().await;
    let rollout = site.run(&["rollout", "app"]);
    let closings = join_all(
        sockets
            .into_iter()
            .map(|mut socket| async move { within("the WebSocket is closed", socket.next()).await }),
    );
    let (said, closings) = tokio::join!(rollout, closings);
    said.ok();
    for closing in closings {
        let Some(Ok(Message::Close(Some(frame)))) = &closing else { panic!("no close: {closing:?}") };
        assert_eq!(u16::from(frame.code), 1012, "{frame:?}");
    }
    site.replaced(2, &before).await;
    websocket::open(address, "/ws").await;
    load.goes_on(5).await;
    all_whole([load]).await;
    site.stop().await;
}

#[tokio::test]
async fn a_rollout_that_goes_back_while_an_old_worker_drains_brings_that_one_back() {
    let site = Plan::new("instances: 1").start(1).await;
    let held = site.post("/hold").await;
    site.wrote("holds").await;
    let rollout = site.run(&["rollout", "app"]);
    let crash = async {
        let new = eventually("the new worker serves and the old one drains", async || {
            let workers = site.workers().await;
            let is = |state| workers.iter().find(|worker| worker.state() == state).map(Worker::pid);
            is("draining").and(is("ready"))
        })
        .await;
        kill(new);
        site.log("ended").await;
        fs::write(site.app.join("go"), "").unwrap();
    };
    let (said, ()) = tokio::join!(rollout, crash);
    assert_eq!(said.code, Some(1), "{said:?}");
    drop(held);
    let there = site.ready(1).await;
    assert_eq!(there.len(), 1);
    let answer = site.ask("/").await;
    assert_eq!(answer["pid"], there[0].pid());
    site.run(&["rollout", "app"]).await.ok();
    site.stop().await;
}
