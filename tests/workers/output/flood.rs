//! A worker that writes as fast as it can, against everything else.

use std::time::{Duration, Instant};

use super::files::texts;
use crate::site::Plan;
use crate::support::{eventually, get, within};

/// Lines of 1 KiB: 150 MiB.
const LINES: u64 = 150 * 1024;
/// What Lintel may grow by, which is far less.
const GROWTH: u64 = 32 * 1024 * 1024;

#[tokio::test]
async fn a_torrent_neither_fills_the_memory_nor_holds_others_up_and_every_line_is_accounted_for() {
    let logs = "logs: { directory: ./logs, rotate: { size: 1MiB, keep: 1000 } }";
    let site = Plan::new(&format!("instances: 2\ndirectory: ./app\n{logs}")).start(2).await;
    let before = site.lintel.resident_bytes();
    let address = site.lintel.http();
    let target = format!("/torrent?{LINES}");
    let torrent = tokio::spawn(async move { within("the torrent", get(address, &target)).await.text() });
    // The other worker, and the control interface.
    let (mut answers, mut slowest, mut most) = (0, Duration::ZERO, before);
    while !torrent.is_finished() {
        let asked = Instant::now();
        assert_eq!(get(address, "/brief").await.status(), 200);
        assert_eq!(site.workers().await.len(), 2);
        slowest = slowest.max(asked.elapsed());
        most = most.max(site.lintel.resident_bytes());
        answers += 1;
    }
    assert_eq!(torrent.await.unwrap(), format!(r#"{{"written":{LINES}}}"#));
    assert!(
        answers >= 10 && slowest < Duration::from_secs(3),
        "{answers} answers, the slowest in {slowest:?}"
    );
    assert!(most - before < GROWTH, "{before} bytes before, {most} at most");

    let logs = site.lintel.path().join("logs");
    let (kept, left_out, missing) = eventually("every line is in a file, or counted in one", async || {
        let (mut kept, mut left_out, mut missing) = (0, 0, 0);
        for text in texts(&logs).values() {
            for line in text.lines() {
                let count = || -> u64 { line.split(' ').nth(2).unwrap().parse().unwrap() };
                kept += u64::from(line.contains(" stdout torrent "));
                left_out += if line.contains(" are left out here: ") { count() } else { 0 };
                missing += if line.contains(" lines are missing here: ") { count() } else { 0 };
            }
        }
        (kept + left_out + missing >= LINES).then_some((kept, left_out, missing))
    })
    .await;
    assert_eq!(kept + left_out + missing, LINES, "{kept} kept, {left_out} left out, {missing} missing");
    assert!(kept >= 5000 && left_out > LINES / 2, "{kept} kept, {left_out} left out");
    // Once, though the flood lasted for seconds.
    assert_eq!(site.logged("the rest is dropped").len(), 1);
    assert_eq!(site.workers().await.iter().map(|worker| worker.restarts()).sum::<u64>(), 0);
    site.stop().await;
}
