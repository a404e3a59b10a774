//! Lintel as process 1 of a container, here of a namespace of its own.

use rustix::process::Signal;

use crate::house::{House, Plan, app, code_of, exists, signal};
use crate::support::{eventually, get};

/// `None` where a namespace cannot be had.
async fn as_init(yaml: String) -> Option<House> {
    let unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let can = std::process::Command::new(unshare[0]).args(&unshare[1..]).arg("true").status();
    if !can.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no namespace of processes can be made here (that takes root)");
        return None;
    }
    Some(Plan::new(yaml).behind(&unshare).start().await)
}

/// Lintel's process id as it is seen from here.
fn lintel(house: &House) -> u32 {
    let found = house.processes().into_iter().find(|(_, line)| line.contains("lintel run") && !line.starts_with("unshare"));
    found.expect("Lintel").0
}

fn children(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_process_1_it_refuses_an_upgrade_and_ends_by_signals() {
    let Some(house) = as_init(app(1, "", "")).await else { return };
    house.ready(1).await;
    let said = house.refused().await;
    assert!(said.contains("this is process 1") && said.contains("docker run --init"), "{said}");
    assert_eq!(get(house.http(), "/").await.status(), 200);
    signal(lintel(&house), Signal::USR2);
    house.said("no upgrade").await;
    signal(lintel(&house), Signal::TERM);
    // It is unshare that gives the code on.
    assert_eq!(code_of(house.first).await, 0, "{}", house.log.text());
    house.nobody_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_process_1_it_waits_for_whoever_has_nobody_else() {
    let Some(house) = as_init(app(1, "", "")).await else { return };
    house.ready(1).await;
    let (init, keeper) = (lintel(&house), house.keeper());
    // One that leaves its worker's group is the keeper's child when its parent ends, and Lintel's when the keeper ends.
    get(house.http(), "/spawn?detached").await;
    let orphans = || house_children(&house, "sleep 1000");
    let orphan = eventually("the orphan runs", async || orphans().first().copied()).await;
    let worker = children(keeper)[0];
    signal(worker, Signal::KILL);
    eventually("the orphan is the keeper's", async || children(keeper).contains(&orphan).then_some(())).await;
    signal(keeper, Signal::KILL);
    eventually("the orphan is Lintel's", async || children(init).contains(&orphan).then_some(())).await;
    signal(orphan, Signal::KILL);
    eventually("nothing is left of it", async || (!exists(orphan)).then_some(())).await;
    eventually("nor of the keeper", async || (!exists(keeper)).then_some(())).await;
    house.ready(1).await;
    assert_eq!(get(house.http(), "/").await.status(), 200);
    signal(init, Signal::TERM);
    assert_eq!(code_of(house.first).await, 0, "{}", house.log.text());
}

/// Processes of the app with this command line, which have none of the house's variables.
fn house_children(house: &House, line: &str) -> Vec<u32> {
    let mut found = Vec::new();
    let mut parents = vec![lintel(house)];
    while let Some(parent) = parents.pop() {
        for child in children(parent) {
            let text = std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).replace('\0', " ");
            if text.trim_end() == line {
                found.push(child);
            }
            parents.push(child);
        }
    }
    found
}
