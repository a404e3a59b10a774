//! What workers write: shown by `lintel logs`, followed, and cut when it is too much.

mod files;
mod flood;

use std::process::Stdio;

use crate::site::{Plan, Site};
use crate::support::lintel::{field_of, message_of};
use crate::support::output::Output;
use crate::support::{eventually, get, within};

/// `lintel logs` with these arguments.
async fn logs(site: &Site, arguments: &[&str]) -> Vec<String> {
    let said = site.run(&[&["logs", "app"], arguments].concat()).await.ok();
    said.stdout.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn what_workers_write_is_shown_and_followed() {
    let site = Plan::new("instances: 2").start(2).await;
    assert_eq!(get(site.lintel.http(), "/complain?out-of-paper").await.status(), 200);
    site.wrote("out-of-paper").await;
    let all = logs(&site, &[]).await;
    for line in ["0 stdout booting 0", "1 stdout booting 1", "0 stdout listening 0", "1 stdout listening 1"] {
        assert!(all.iter().any(|found| found == line), "{line} is missing: {all:?}");
    }
    assert!(all.iter().any(|line| line.ends_with(" stderr out-of-paper")), "{all:?}");
    let one = logs(&site, &["-w", "1"]).await;
    assert!(one.len() >= 2 && one.iter().all(|line| line.starts_with("1 ")), "{one:?}");
    let nobody = site.run(&["logs", "app", "-w", "99"]).await;
    assert_eq!(nobody.code, Some(1));
    assert!(
        nobody.stderr.contains("`app` has no worker 99, and no line of one; there are: 0, 1"),
        "{nobody:?}"
    );
    assert_eq!(logs(&site, &["-n", "1"]).await, all[all.len() - 1..], "the last line alone");

    let mut following = site.command(&["logs", "app", "-f", "-n", "1"]);
    let mut following = following.stdout(Stdio::piped()).spawn().unwrap();
    let pipe = following.stdout.take().unwrap().into_owned_fd().unwrap();
    let output = Output::of(std::fs::File::from(pipe));
    output.find("what was there", |line| line.ends_with("out-of-paper").then_some(())).await;
    assert_eq!(get(site.lintel.http(), "/say?something-new").await.status(), 200);
    output.find("what is new", |line| line.ends_with(" stdout something-new").then_some(())).await;
    following.kill().await.unwrap();
    eventually("the command has ended", async || output.has_ended().then_some(())).await;
    // Lintel's own log has them as well.
    let line = site.log("out-of-paper").await;
    assert_eq!(
        (field_of(&line, "pool"), field_of(&line, "from")),
        (&"app".into(), &"stderr".into()),
        "{line}"
    );
    site.stop().await;
}

#[tokio::test]
async fn a_flood_of_lines_neither_stops_the_app_nor_fills_the_log() {
    const LINES: u64 = 100_000;
    let site = Plan::new("instances: 1").start(1).await;
    let flood = within("the flood", get(site.lintel.http(), &format!("/flood?{LINES}"))).await;
    assert_eq!(flood.text(), format!(r#"{{"written":{LINES}}}"#));
    let (lost, kept) = eventually("the log says how many lines were dropped", async || {
        // It is said when lines may be written again.
        assert_eq!(get(site.lintel.http(), "/say?still-there").await.status(), 200);
        let lines = site.logged("the rest is dropped");
        let lost: u64 = lines.iter().filter_map(|line| field_of(line, "lost").as_u64()).sum();
        let records = site.lintel.log.records();
        let kept = records.iter().filter(|line| message_of(line).starts_with("flood ")).count() as u64;
        (lost + kept >= LINES && !site.logged("still-there").is_empty()).then_some((lost, kept))
    })
    .await;
    assert!((1000..LINES / 2).contains(&kept), "{kept} lines are in the log, {lost} were dropped");
    let pids = site.pids().await;
    assert_eq!(site.workers().await[0].restarts(), 0);
    assert_eq!(pids.len(), 1);
    site.stop().await;
}
