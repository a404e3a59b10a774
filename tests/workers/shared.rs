//! Workers that are servers of several pools, each balanced in its own way.

use std::collections::BTreeSet;

use crate::load::{Load, Mode, Rate};
use crate::site::{Plan, Site};

const ROUTES: &str = r#"
  - { name: all, to: app }
  - { name: bound, match: { query: { room: { regex: "." } } }, to: bound }
"#;
const BOUND: &str = "bound: { workers_of: app, balance: { policy: consistent_hash, key: { query: room } } }";

async fn pid_for(site: &Site, room: u32) -> u64 {
    site.ask(&format!("/?room={room}")).await["pid"].as_u64().unwrap()
}

#[tokio::test]
async fn pools_share_the_workers_of_an_app_and_a_rollout_fails_no_request_of_either() {
    let site = Plan::new("instances: 2").further_pool(BOUND).routes(ROUTES).start(2).await;
    let first = pid_for(&site, 7).await;
    for _ in 0..10 {
        assert_eq!(pid_for(&site, 7).await, first, "one room, one worker");
    }
    let mut answered = BTreeSet::new();
    for room in 0..40 {
        answered.insert(pid_for(&site, room).await);
    }
    assert_eq!(answered.len(), 2, "many rooms, every worker");
    let load = |path| Load::start(site.lintel.http(), Rate { path, ..Rate::gets(Mode::New, 60) });
    let loads = [load("/"), load("/?room=7")];
    let before = site.pids().await;
    for load in &loads {
        load.goes_on(10).await;
    }
    site.run(&["rollout", "app"]).await.ok();
    let after = site.replaced(2, &before).await;
    for load in loads {
        load.goes_on(10).await;
        load.tally().await.assert_whole();
    }
    let now = u32::try_from(pid_for(&site, 7).await).unwrap();
    assert!(after.contains(&now), "a worker of the new generation answers");
    site.stop().await;
}
