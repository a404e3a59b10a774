//! Workers over an upgrade: they, their output, their desk and all orders about them belong to the new process.

use rustix::process::Signal;
use serde_json::Value;

use crate::house::{House, app, code_of, signal};
use crate::load::{Load, Mode, Rate};
use crate::support::{eventually, get};

async fn said_by(house: &House, text: &str) {
    eventually(&format!("the logs of the workers have: {text}"), async || {
        let lines = house.control("GET", "/pools/app/logs?lines=10000").await.text();
        lines.contains(text).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_new_process_is_their_master_in_everything() {
    let house = House::start(app(2, "", "")).await;
    let before = house.ready(2).await;
    let old = house.first;
    let mut serving = house.upgrade().await;
    assert_eq!(code_of(old).await, 0);
    for round in 0..2 {
        get(house.http(), &format!("/say?line-{round}")).await;
        said_by(&house, &format!("line-{round}")).await;
        assert_eq!(house.logged(&format!("line-{round}")).len(), 1, "in the log of Lintel, once");
        let status = house.run(&["status"]).await;
        assert!(before.iter().all(|pid| status.stdout.contains(&pid.to_string())), "{status:?}");
        if round == 0 {
            let next = house.upgrade().await;
            assert_eq!(code_of(serving).await, 0);
            serving = next;
        }
    }
    assert_eq!(house.ready(2).await, before);
    // They report: how busy they are is known.
    eventually("every worker reports", async || {
        let pools = house.status().await["pools"].clone();
        let workers = pools[0]["app"]["workers"].as_array().cloned().unwrap_or_default();
        workers.iter().all(|worker| worker["memory"].as_u64().is_some()).then_some(())
    })
    .await;

    let load = Load::start(house.http(), Rate::gets(Mode::KeepAlive, 50));
    assert_eq!(house.run(&["rollout", "app"]).await.code, Some(0));
    let rolled = house.ready(2).await;
    assert!(rolled.is_disjoint(&before), "{before:?} {rolled:?}");
    assert_eq!(house.run(&["scale", "app", "3"]).await.code, Some(0));
    let scaled = house.ready(3).await;
    assert!(scaled.is_superset(&rolled));
    // How many there are by order outlives an upgrade too.
    house.upgrade().await;
    assert_eq!(code_of(serving).await, 0);
    assert_eq!(house.ready(3).await, scaled);
    load.tally().await.assert_whole();
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_killed_just_now_is_started_again() {
    let house = House::start(app(2, "", "")).await;
    let mut before: Vec<u32> = house.ready(2).await.into_iter().collect();
    house.upgrade().await;
    let killed = before.remove(0);
    signal(killed, Signal::KILL);
    let after = eventually("another one takes its place", async || {
        let pids = house.ready(2).await;
        (!pids.contains(&killed)).then_some(pids)
    })
    .await;
    assert!(after.contains(&before[0]));
    house.said("signal 9").await;
    house.stop().await;
}

/// One that ends while nobody looks, in the middle of an upgrade.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_killed_meanwhile_is_started_again() {
    let house = House::start(app(2, "", "")).await;
    let killed = *house.ready(2).await.iter().next().unwrap();
    let upgrading = house.run(&["upgrade"]);
    let killing = async {
        house.said("upgrading").await;
        signal(killed, Signal::KILL);
    };
    let (said, ()) = tokio::join!(upgrading, killing);
    assert_eq!(said.code, Some(0), "{said:?}");
    eventually("another one takes its place", async || {
        (!house.ready(2).await.contains(&killed)).then_some(())
    })
    .await;
    house.stop().await;
}

/// Every worker writes a line every few milliseconds; each must come to its file, whole and once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_line_is_lost_or_torn_or_told_twice() {
    let lines = "logs: { directory: ./logs }\nenv: { TICKS: \"1\" }";
    let plan = crate::house::Plan::new(app(2, lines, ""));
    let server = plan.path().join("app/server.js");
    let text = std::fs::read_to_string(&server).unwrap();
    // In two halves, so that many a line is cut when its reader changes.
    let ticks = "\nlet half = 0;\nsetInterval(() => { const tick = half >> 1; process.stdout.write(half++ % 2 ? ` and ends ${tick}\n` : `tick ${tick} begins`); }, 3);\n";
    std::fs::write(&server, text + ticks).unwrap();
    let house = plan.start().await;
    house.ready(2).await;
    let mut serving = house.first;
    for _ in 0..3 {
        let next = house.upgrade().await;
        assert_eq!(code_of(serving).await, 0);
        serving = next;
    }
    get(house.http(), "/say?the-end").await;
    let folder = house.path().join("logs");
    let read = |index: u32| std::fs::read_to_string(folder.join(format!("app-{index}.log"))).unwrap_or_default();
    eventually("the last line is there", async || (0..2).any(|index| read(index).contains("the-end")).then_some(())).await;
    for index in 0..2 {
        let text = read(index);
        let written = text.lines().filter_map(|line| line.split_once(" stdout ").map(|(_, line)| line));
        let ticks: Vec<&str> = written.skip_while(|line| !line.starts_with("tick ")).collect();
        assert!(ticks.len() > 50, "{}", ticks.len());
        // The last words come in the middle of a tick.
        let whole = ticks.iter().take_while(|line| !line.contains("the-end"));
        let count = whole.clone().enumerate().map(|(number, line)| {
            assert_eq!(*line, format!("tick {number} begins and ends {number}"), "worker {index}:\n{text}");
        });
        assert!(count.count() > 50);
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_are_told_a_port_keep_it() {
    let house = House::start(app(1, "preload: false", "").replace("node server.js", "sh -c 'exec node server.js'")).await;
    let before = house.ready(1).await;
    let port = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap()["port"].clone();
    let first = port(&get(house.http(), "/").await.body);
    house.upgrade().await;
    assert_eq!(house.ready(1).await, before);
    assert_eq!(port(&get(house.http(), "/").await.body), first);
    house.stop().await;
}
