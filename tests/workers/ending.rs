//! Ending: gently or not, no process of an app outlives Lintel.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::site::Plan;
use crate::support::eventually;

#[tokio::test]
async fn nothing_is_left_of_a_lintel_that_is_killed() {
    let site = Plan::new("instances: 2").start(2).await;
    for path in ["/spawn", "/spawn?detached"] {
        assert!(site.ask(path).await["pid"].is_u64());
    }
    let there = site.processes();
    let count = |part: &str| there.iter().filter(|(_, command)| command.contains(part)).count();
    assert_eq!((count("server.js"), count("sleep 1000"), count("keeper")), (2, 2, 1), "{there:?}");
    let killed = Instant::now();
    site.lintel.signal(Signal::KILL);
    let mut left = there;
    eventually("all processes are gone", async || {
        left = site.processes();
        assert!(killed.elapsed() < Duration::from_secs(5), "still there: {left:?}");
        left.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_gentle_end_finishes_what_runs_and_leaves_nothing() {
    let site = Plan::new("instances: 2").start(2).await;
    assert!(site.ask("/spawn?detached").await["pid"].is_u64());
    let mut slow = site.post("/slow").await;
    site.wrote("slow begins").await;
    site.lintel.signal(Signal::TERM);
    let response = slow.response_to("POST").await;
    assert_eq!((response.status(), response.text().as_str()), (200, r#"{"slow":true}"#));
    drop(slow);
    let ending = site.stop_after_signal().await;
    assert_eq!(ending.code, Some(0), "{}", ending.log);
    let stopped: Vec<&str> = ending.log.lines().filter(|line| line.contains("stopped: ")).collect();
    assert!(
        stopped.len() == 2 && stopped.iter().all(|line| line.contains("stopped: exit code 0")),
        "{stopped:?}"
    );
}

#[tokio::test]
async fn a_worker_that_does_not_end_is_killed_with_all_it_started() {
    let site = Plan::new("instances: 1\nstop: { timeout: 500ms }").start(1).await;
    assert!(site.ask("/spawn").await["pid"].is_u64());
    let _blocking = site.post("/block").await;
    site.wrote("blocks").await;
    let began = Instant::now();
    site.lintel.signal(Signal::TERM);
    site.log("draining").await;
    // The request never ends; nobody waits for it any longer.
    site.lintel.signal(Signal::TERM);
    let ending = site.stop_after_signal().await;
    assert_eq!(ending.code, Some(0), "{}", ending.log);
    assert!(ending.log.contains("did not end in time and is killed"), "{}", ending.log);
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
}
