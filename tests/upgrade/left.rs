//! What is left behind: nothing. No process, no file, no descriptor, no memory.

use std::collections::BTreeSet;

use crate::house::{House, app, code_of, descriptors, exists};
use crate::load::{Load, all_whole};
use crate::support::{eventually, get};

fn files(house: &House) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![house.path().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => _ = found.insert(entry.path().display().to_string()),
            }
        }
    }
    found
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Descriptors once nothing is under way.
async fn settled(pid: u32, what: &str, most: usize) -> usize {
    let mut last = 0;
    eventually(what, async || {
        let now = descriptors(pid).len();
        let is_settled = now == last && now <= most;
        last = now;
        is_settled.then_some(now)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_upgrades_leave_nothing_behind() {
    let yaml = app(2, "logs: { directory: ./logs }", "sticky: { cookie: lintel }") + "runtime: { drain_timeout: 1s }\n";
    let house = House::start(yaml).await;
    house.ready(2).await;
    get(house.http(), "/say?line").await;
    let keeper = house.keeper();
    let mut serving = house.upgrade().await;
    assert_eq!(code_of(house.first).await, 0);
    let load = Load::both(house.http(), 50);
    load[0].goes_on(20).await;
    all_whole(load).await;
    let files_before = files(&house);
    let lintel = settled(serving, "the first one is settled", 1000).await;
    let kept = settled(keeper, "the keeper is settled", 1000).await;
    let memory = resident_kib(serving);
    for _ in 0..5 {
        let next = house.upgrade().await;
        assert_eq!(code_of(serving).await, 0);
        assert!(!exists(serving), "no zombie");
        serving = next;
        let load = Load::both(house.http(), 50);
        load[0].goes_on(20).await;
        all_whole(load).await;
    }
    let names = || (descriptors(serving).join("\n"), descriptors(keeper).join("\n"));
    let now = settled(serving, &format!("not more than {lintel} descriptors: {}", names().0), lintel).await;
    settled(keeper, &format!("not more than {kept} descriptors: {}", names().1), kept).await;
    assert!(now <= lintel);
    assert_eq!(files(&house), files_before);
    assert_eq!(house.keeper(), keeper);
    let running = house.processes();
    assert_eq!(running.len(), 2, "Lintel and its keeper: {running:?}");
    let memory_now = resident_kib(serving);
    assert!(memory_now < memory + 20 * 1024, "from {memory} KiB to {memory_now} KiB");
    house.stop().await;
    // It is the child of none of them any more.
    assert_eq!(code_of(keeper).await, 0);
}

/// Nothing of what Lintel has open comes to its workers, however many have followed one another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_have_nothing_of_lintels_own_open() {
    let house = House::start(app(1, "", "")).await;
    let worker = *house.ready(1).await.iter().next().unwrap();
    let sockets = |pid: u32| descriptors(pid).into_iter().filter(|name| name.starts_with("socket:")).count();
    let before = sockets(worker);
    for _ in 0..2 {
        let old = house.serving();
        house.upgrade().await;
        assert_eq!(code_of(old).await, 0);
    }
    assert_eq!(house.run(&["rollout", "app"]).await.code, Some(0));
    let new = *house.ready(1).await.iter().next().unwrap();
    assert!(new != worker);
    eventually("it has as many sockets as the first", async || (sockets(new) <= before).then_some(())).await;
    house.stop().await;
}
