//! Programs as people have them: behind npm, written for PM2, in another language, with Express and Socket.IO, listening
//! or not.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use crate::load::{Load, Mode, Rate, all_whole};
use crate::site::{Plan, apps, kill};
use crate::support::node::run_script;
use crate::support::{eventually, get};

fn demo() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("demo");
    assert!(
        folder.join("node_modules").is_dir(),
        "demo/node_modules is missing: run `make test`, which installs it"
    );
    folder
}

#[tokio::test]
async fn an_app_behind_npm_is_rolled_over_and_leaves_nothing() {
    let plan = Plan::new("instances: 1\nenv npm_config_update_notifier: \"false\"").command("npm start");
    let prepare = |app: &std::path::Path| {
        let package = r#"{ "name": "app", "private": true, "scripts": { "start": "node server.js" } }"#;
        fs::write(app.join("package.json"), package).unwrap();
        fs::write(app.join(".npmrc"), "cache=./npm\n").unwrap();
    };
    let site = plan.start_with(1, prepare).await;
    let answer = site.ask("/").await;
    assert_eq!(answer["port"], 3000);
    let before = site.pids().await;
    assert!(
        !before.contains(&(answer["pid"].as_u64().unwrap() as u32)),
        "npm is the worker, the app its child"
    );
    let load = Load::start(site.lintel.http(), Rate::gets(Mode::KeepAlive, 50));
    load.goes_on(10).await;
    site.run(&["rollout", "app"]).await.ok();
    site.replaced(1, &before).await;
    load.goes_on(10).await;
    assert_eq!(all_whole([load]).await.len(), 2);
    let there = site.processes();
    let count = there.iter().filter(|(_, command)| command == "node server.js").count();
    assert_eq!(count, 1, "{there:?}");
    site.stop().await;
}

#[tokio::test]
async fn an_app_that_says_ready_gets_no_request_before() {
    let site = Plan::new("instances: 1\nready: { when: signal }\nenv SAYS_READY: \"1\"").start(1).await;
    let before = site.pids().await;
    fs::write(site.app.join("hold"), "").unwrap();
    let load = Load::start(site.lintel.http(), Rate::gets(Mode::New, 50));
    let rollout = site.run(&["rollout", "app"]);
    let others = async {
        eventually("the new worker listens", async || {
            let lines = site.lines().await;
            (lines.iter().filter(|(.., text)| text == "listening 0").count() == 2).then_some(())
        })
        .await;
        load.goes_on(30).await;
        let workers = site.workers().await;
        let starting = workers.iter().filter(|worker| worker.state() == "starting").count();
        assert_eq!((workers.len(), starting), (2, 1), "{workers:?}");
        let answer = site.ask("/").await["pid"].as_u64().unwrap();
        assert!(before.contains(&(answer as u32)), "the old one answers");
        fs::remove_file(site.app.join("hold")).unwrap();
    };
    let (said, ()) = tokio::join!(rollout, others);
    said.ok();
    site.replaced(1, &before).await;
    all_whole([load]).await;
    site.stop().await;
}

#[tokio::test]
async fn a_program_without_node_is_told_its_port() {
    if !Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: there is no python3");
        return;
    }
    let script = "import http.server, os; http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), http.server.SimpleHTTPRequestHandler).serve_forever()";
    let plan = Plan::new("instances: 2").command(&format!("[python3, -c, \"{script}\"]"));
    let site = plan.start(2).await;
    assert!(get(site.lintel.http(), "/").await.text().contains("server.js"), "it lists its folder");
    let before = site.pids().await;
    let load = Load::start(site.lintel.http(), Rate::gets(Mode::New, 20));
    load.goes_on(5).await;
    site.run(&["rollout", "app"]).await.ok();
    let now = site.replaced(2, &before).await;
    let killed = *now.first().unwrap();
    kill(killed);
    eventually("it comes back", async || (!site.pids().await.contains(&killed)).then_some(())).await;
    site.ready(2).await;
    load.goes_on(10).await;
    all_whole([load]).await;
    site.stop().await;
}

/// Whoever took its port in the meantime would keep it from ever coming back.
#[tokio::test]
async fn a_program_that_comes_back_is_told_another_port() {
    let site =
        Plan::new("instances: 1\npreload: false").command("sh -c 'exec node server.js'").start(1).await;
    let first = site.ask("/").await;
    assert!(first["port"].as_u64().is_some_and(|port| port > 0), "{first}");
    kill(first["pid"].as_u64().unwrap() as u32);
    eventually("another one is there", async || {
        let worker = site.workers().await.remove(0);
        (worker.state() == "ready" && worker.restarts() == 1).then_some(())
    })
    .await;
    let second = site.ask("/").await;
    assert_ne!(second["pid"], first["pid"]);
    assert_ne!(second["port"], first["port"]);
    site.stop().await;
}

#[tokio::test]
async fn a_task_is_run_without_a_port_and_gets_no_requests() {
    let plan = Plan::new("instances: 1\ntask: true").command("node task.js");
    let plan = plan.routes("[{ name: all, respond: { body: here } }]");
    let copy = |app: &std::path::Path| _ = fs::copy(apps().join("task.js"), app.join("task.js")).unwrap();
    let site = plan.start_with(1, copy).await;
    let first = site.ready(1).await[0].pid();
    site.wrote(&format!("works as {first}")).await;
    kill(first);
    let second = eventually("it comes back", async || {
        let worker = site.workers().await.remove(0);
        (worker.state() == "ready" && worker.pid() != first).then_some(worker)
    })
    .await;
    assert_eq!(second.restarts(), 1);
    site.wrote(&format!("works as {}", second.pid())).await;
    site.run(&["rollout", "app"]).await.ok();
    site.wrote(&format!("goodbye from {}", second.pid())).await;
    let third = site.replaced(1, &[first, second.pid()].into()).await;
    let third = *third.first().unwrap();
    site.wrote(&format!("works as {third}")).await;
    let ending = site.stop().await;
    // Lintel's log has all that workers write, the last words too.
    assert!(ending.log.contains(&format!("goodbye from {third}")), "{}", ending.log);
}

#[tokio::test]
async fn an_express_app_knows_its_clients_and_is_rolled_over() {
    let modules = demo().join("node_modules");
    let plan = Plan::new(&format!("instances: 2\nenv NODE_PATH: \"{}\"", modules.display()))
        .command("node express.js");
    let copy =
        |app: &std::path::Path| _ = fs::copy(apps().join("express.js"), app.join("express.js")).unwrap();
    let site = plan.start_with(2, copy).await;
    let answer = site.ask("/").await;
    assert_eq!((&answer["ip"], &answer["host"]), (&"127.0.0.1".into(), &"a.test".into()), "{answer}");
    let before = site.pids().await;
    let loads = Load::both(site.lintel.http(), 60);
    for load in &loads {
        load.goes_on(10).await;
    }
    site.run(&["rollout", "app"]).await.ok();
    site.replaced(2, &before).await;
    for load in &loads {
        load.goes_on(10).await;
    }
    assert_eq!(all_whole(loads).await.len(), 4);
    site.stop().await;
}

#[tokio::test]
async fn socket_io_clients_stay_on_their_worker() {
    const CLIENTS: usize = 40;
    let plan =
        Plan::new(&format!("instances: 2\ndirectory: \"{}\"", demo().display())).pool("sticky: socket_io");
    let site = plan.start(2).await;
    let report =
        run_script("socket-io-clients.mjs", &[format!("http://{}", site.lintel.http()), CLIENTS.to_string()])
            .await;
    assert_eq!((&report["connected"], &report["upgraded"]), (&CLIENTS.into(), &CLIENTS.into()), "{report}");
    assert_eq!(report["failed"], 0, "{report}");
    assert_eq!(report["servers"].as_object().map(serde_json::Map::len), Some(2), "{report}");
    site.lintel.signal(Signal::TERM);
    assert_eq!(site.stop_after_signal().await.code, Some(0));
}
