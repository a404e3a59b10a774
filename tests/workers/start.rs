//! Starting: all workers at once, each told who it is, with an environment of its own.

use std::collections::BTreeSet;

use crate::load::{Load, Mode, Rate, all_whole};
use crate::site::{Plan, Site};
use crate::support::lintel::field_of;
use crate::support::{eventually, get};

/// When the log says that workers were started, in milliseconds.
fn starts(site: &Site) -> Vec<i64> {
    let time = |line: &serde_json::Value| {
        let text = field_of(line, "timestamp").as_str().expect("a time").to_owned();
        text.parse::<jiff::Timestamp>().expect("a time").as_millisecond()
    };
    site.logged("started as process").iter().map(time).collect()
}

#[tokio::test]
async fn four_workers_start_together_and_all_of_them_answer() {
    let site = Plan::new("instances: 4").start(4).await;
    let mut seen = BTreeSet::new();
    eventually("all four have answered", async || {
        let answer = site.ask("/").await;
        assert_eq!(answer["port"], 3000, "what the app believes: {answer}");
        seen.insert((answer["index"].as_u64().unwrap(), answer["pid"].as_u64().unwrap()));
        (seen.len() == 4).then_some(())
    })
    .await;
    assert_eq!(seen.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1, 2, 3]);

    let starts = starts(&site);
    assert_eq!(starts.len(), 4, "{starts:?}");
    let apart = starts.iter().max().unwrap() - starts.iter().min().unwrap();
    assert!(apart <= 50, "the first and the last start are {apart} ms apart");

    let status: serde_json::Value =
        serde_json::from_str(&site.run(&["status", "--json"]).await.ok().stdout).unwrap();
    let workers = status["pools"][0]["app"]["workers"].as_array().unwrap();
    let shown: BTreeSet<_> = workers
        .iter()
        .map(|worker| {
            assert_eq!((&worker["state"], &worker["restarts"]), (&"ready".into(), &0.into()), "{worker}");
            (worker["index"].as_u64().unwrap(), worker["pid"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(shown, seen, "{status}");
    assert_eq!(status["pools"][0]["servers"].as_array().map(Vec::len), Some(4), "{status}");

    let text = site.run(&["status"]).await.ok().stdout;
    for (_, pid) in &seen {
        assert!(text.contains(&pid.to_string()), "process {pid} is missing:\n{text}");
    }
    site.stop().await;
}

#[tokio::test]
async fn workers_inherit_nothing_but_what_every_program_needs() {
    let plan = Plan::new("instances: 1\nenv OF_THE_APP: yes it is\nenv NODE_ENV: production");
    let site = plan.own_env("SECRET_OF_LINTEL", "secret").start(1).await;
    let env = site.ask("/env").await;
    assert_eq!((&env["OF_THE_APP"], &env["NODE_ENV"]), (&"yes it is".into(), &"production".into()));
    assert_eq!(env["PATH"], std::env::var("PATH").unwrap());
    assert_eq!((&env["NODE_APP_INSTANCE"], &env["INSTANCE_ID"]), (&"0".into(), &"0".into()));
    for absent in ["SECRET_OF_LINTEL", "SITE_OF_LINTEL", "STATE_DIRECTORY", "CARGO_MANIFEST_DIR", "NO_COLOR"]
    {
        assert!(env[absent].is_null(), "{absent} is inherited: {env}");
    }
    site.stop().await;
}

#[tokio::test]
async fn a_worker_that_boots_for_long_is_waited_for_and_the_others_serve() {
    let site =
        Plan::new("instances: 2").start_with(2, |app| std::fs::write(app.join("boot-ms"), "400").unwrap());
    let site = site.await;
    let load = Load::start(site.lintel.http(), Rate::gets(Mode::New, 50));
    load.goes_on(20).await;
    assert_eq!(all_whole([load]).await.len(), 2);
    assert_eq!(get(site.lintel.http(), "/nothing").await.status(), 404, "answers of the app are its own");
    site.stop().await;
}
