//! Socket.IO: many clients over many workers, spread evenly, and brought back once by a rollout.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::site::{Plan, Site};
use crate::support::within;

const CLIENTS: usize = 200;

fn folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/workers/node");
    assert!(
        folder.join("node_modules").is_dir(),
        "tests/workers/node/node_modules is missing: run `make test`, which installs it"
    );
    folder
}

/// socket-io-clients.mjs, running.
struct Clients {
    process: Child,
    orders: ChildStdin,
    reports: Lines<BufReader<ChildStdout>>,
}

impl Clients {
    fn start(site: &Site) -> Self {
        let mut process = Command::new("node")
            .args(["socket-io-clients.mjs", &format!("http://{}", site.lintel.http()), &CLIENTS.to_string()])
            .current_dir(folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node is installed: run `make test`, which sees to it");
        let orders = process.stdin.take().expect("stdin is a pipe");
        let reports = BufReader::new(process.stdout.take().expect("stdout is a pipe")).lines();
        Self { process, orders, reports }
    }

    /// What they say once all of them are connected.
    async fn report(&mut self) -> Value {
        let line = within("the clients report", self.reports.next_line()).await.expect("a pipe");
        serde_json::from_str(&line.expect("a report")).expect("JSON")
    }

    async fn report_again(&mut self) -> Value {
        self.orders.write_all(b"\n").await.expect("the clients listen");
        self.report().await
    }

    async fn end(mut self) {
        drop(self.orders);
        assert!(within("the clients end", self.process.wait()).await.expect("a process").success());
    }
}

/// All are connected by a WebSocket to the worker that greeted them; no worker has fewer than 15 % or more than 35 %.
fn assert_spread(report: &Value) {
    assert_eq!(report["settled"], CLIENTS, "{report}");
    assert_eq!(report["moved"], 0, "{report}");
    let workers = report["workers"].as_object().expect("counts");
    let counts: Vec<u64> = workers.values().map(|count| count.as_u64().expect("a count")).collect();
    let (least, most) = (CLIENTS as u64 * 15 / 100, CLIENTS as u64 * 35 / 100);
    assert_eq!(counts.len(), 4, "{report}");
    assert!(counts.iter().all(|count| (least..=most).contains(count)), "not {least} to {most}: {report}");
}

/// Nothing that Socket.IO takes for an error, and no answer that is not Socket.IO's own.
fn assert_no_errors(report: &Value) {
    assert_eq!((&report["errors"], &report["strange"]), (&json!({}), &json!([])), "{report}");
}

#[tokio::test]
async fn socket_io_clients_spread_over_workers_and_come_back_once_after_a_rollout() {
    let app = format!("instances: 4\ndirectory: \"{}\"", folder().display());
    let site = Plan::new(&app).command("node apps/socketio.js").pool("sticky: socket_io").start(4).await;
    let mut clients = Clients::start(&site);
    let first = clients.report().await;
    assert_spread(&first);
    assert_no_errors(&first);
    assert_eq!(first["connects"], json!({ "1": CLIENTS }), "{first}");

    let before = site.pids().await;
    site.run(&["rollout", "app"]).await.ok();
    site.replaced(4, &before).await;
    let then = clients.report_again().await;
    assert_spread(&then);
    assert_no_errors(&then);
    assert_eq!(then["reconnects"], json!({ "1": CLIENTS }), "{then}");
    assert_eq!(then["connects"], json!({ "2": CLIENTS }), "{then}");
    clients.end().await;
    site.stop().await;
}
