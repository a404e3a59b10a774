//! Files for what workers write: put aside, compressed, thrown away, and shown all the same when there is no disk.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

use crate::site::{Plan, Site};
use crate::support::{eventually, get};

/// What is in a folder, unpacked, by name.
pub fn texts(folder: &Path) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap();
        // One that has been compressed in the meantime is there by another name.
        let Ok(bytes) = std::fs::read(entry.path()) else { continue };
        let mut text = String::new();
        match name.ends_with(".gz") {
            true => _ = GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap(),
            // One that is being compressed has a name of its own until it is whole.
            false => text = String::from_utf8_lossy(&bytes).into_owned(),
        }
        texts.insert(name, text);
    }
    texts
}

/// An app of one worker, with this below `logs`.
fn app(logs: &str) -> Plan {
    Plan::new(&format!("instances: 1\ndirectory: ./app\nlogs: {{ {logs} }}"))
}

async fn say(site: &Site, what: &str) {
    assert_eq!(get(site.lintel.http(), &format!("/say?{what}")).await.status(), 200);
}

/// Awaits a line in a file.
async fn stands(site: &Site, name: &str, line: &str) {
    let path = site.lintel.path().join("logs").join(name);
    eventually(&format!("{line} stands in {name}"), async || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        text.lines().any(|found| found.ends_with(line)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn full_files_are_compressed_and_no_line_is_lost_or_twice() {
    let plan = app("directory: ./logs, rotate: { size: 2KiB, keep: 100 }");
    let site = plan.start(1).await;
    let logs = site.lintel.path().join("logs");
    let padding = "x".repeat(200);
    for number in 0..40 {
        say(&site, &format!("line-{number:02}-{padding}")).await;
    }
    stands(&site, "app-0.log", &format!("line-39-{padding}")).await;
    let files = eventually("all old files are compressed", async || {
        let texts = texts(&logs);
        let is_done = |name: &String| name.ends_with(".log.gz") || name == "app-0.log";
        texts.keys().all(is_done).then_some(texts)
    })
    .await;
    let lines: Vec<&str> = files.values().flat_map(|text| text.lines()).collect();
    let numbers: Vec<&str> = lines.iter().filter_map(|line| line.split("line-").nth(1)?.get(..2)).collect();
    let expected: Vec<String> = (0..40).map(|number| format!("{number:02}")).collect();
    // In the order of their names, old files first.
    assert_eq!(numbers, expected, "{:?}", files.keys());
    assert!(files.len() >= 5, "{:?}", files.keys());
    assert!(lines.iter().all(|line| line.split_once("Z stdout ").is_some()), "{lines:?}");
    // Lintel's own log does not have them.
    assert!(site.logged("line-").is_empty());
    site.stop().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_written_costs_lines_in_it_and_nothing_else() {
    let prepare = |app: &Path| std::fs::create_dir_all(app.join("logs/app-0.log")).unwrap();
    let plan = app("directory: ./app/logs");
    let site = plan.start_with(1, prepare).await;
    for number in 0..20 {
        say(&site, &format!("line-{number}")).await;
    }
    // It is shown all the same.
    site.wrote("line-19").await;
    let complaints = || site.logged("cannot write what workers write").len();
    eventually("Lintel's log says so", async || (complaints() > 0).then_some(())).await;
    std::fs::remove_dir(site.app.join("logs/app-0.log")).unwrap();
    let text = eventually("lines are in the file again", async || {
        say(&site, "again").await;
        std::fs::read_to_string(site.app.join("logs/app-0.log")).ok()
    })
    .await;
    assert!(text.lines().next().unwrap().contains(" lines are missing here: the disk"), "{text}");
    assert_eq!(complaints(), 1, "once for all lines");
    site.log("files take again what workers write").await;
    site.stop().await;
}

#[tokio::test]
async fn files_that_logrotate_has_renamed_are_begun_anew() {
    let site = app("directory: ./logs, rotate: off").start(1).await;
    say(&site, "before").await;
    stands(&site, "app-0.log", "stdout before").await;
    let logs = site.lintel.path().join("logs");
    std::fs::rename(logs.join("app-0.log"), logs.join("app-0.log.1")).unwrap();
    say(&site, "after").await;
    stands(&site, "app-0.log", "stdout after").await;
    let texts = texts(&logs);
    assert_eq!(texts.len(), 2);
    assert_eq!(texts["app-0.log"].lines().count(), 1);
    site.stop().await;
}
