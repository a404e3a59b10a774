//! Frameworks, unchanged: each program hard-codes its port, two workers of it run side by side, know who asks, are rolled
//! over while requests flow, and end without a trace. docs/workers.md has the list.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpSocket;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::load::{Load, Mode, Rate, all_whole};
use crate::site::{Plan, Site};
use crate::support::tls::Authority;
use crate::support::{Connection, eventually, get, websocket, within};

/// Where the client is, so that it cannot be taken for Lintel.
const CLIENT: &str = "127.0.0.2";

/// How to run a program of tests/workers/node, and what is peculiar about it.
struct Program {
    command: &'static str,
    folder: &'static str,
    app: String,
    pool: String,
    path: &'static str,
    /// What it does not show of an answer's fields.
    hidden: &'static [&'static str],
}

impl Program {
    fn new(command: &'static str) -> Self {
        let (folder, app, pool, path, hidden) = (".", String::new(), String::new(), "/", &["ip"][..]);
        Self { command, folder, app, pool, path, hidden }
    }

    /// With a framework that is told to trust the proxy before it and makes an address of the client.
    fn trusting(command: &'static str) -> Self {
        Self { hidden: &[], ..Self::new(command) }
    }

    async fn start(&self) -> Site {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/workers/node").join(self.folder);
        assert!(
            folder.join("node_modules").is_dir(),
            "{} has no node_modules: run `make test`, which installs them",
            folder.display()
        );
        let app = format!("instances: 2\ndirectory: \"{}\"\n{}", folder.display(), self.app);
        Plan::new(&app).command(self.command).pool(&self.pool).start(2).await
    }

    /// All of it: answers of both, a rollout under load, the end. Gives an answer.
    async fn runs(self) -> Value {
        let site = self.start().await;
        let (before, answer) = self.who_answers(&site).await;
        let wanted = [
            ("host", "a.test"),
            ("forwarded", CLIENT),
            ("protocol", "http"),
            ("remote", "127.0.0.1"),
            ("ip", CLIENT),
        ];
        for (name, wanted) in wanted.iter().filter(|(name, _)| !self.hidden.contains(name)) {
            assert_eq!(&answer[name], wanted, "{name} in {answer}");
        }

        let workers = site.pids().await;
        let rate = |mode| Rate { mode, method: "GET", path: self.path, rate: 30 };
        let loads = [Mode::KeepAlive, Mode::New].map(|mode| Load::start(site.lintel.http(), rate(mode)));
        for load in &loads {
            load.goes_on(10).await;
        }
        site.run(&["rollout", "app"]).await.ok();
        site.replaced(2, &workers).await;
        let (after, _) = self.who_answers(&site).await;
        assert!(before.is_disjoint(&after), "before {before:?}, after {after:?}");
        for load in &loads {
            load.goes_on(10).await;
        }
        all_whole(loads).await;
        // Every process that they started ends with them, and Lintel says 0.
        site.stop().await;
        answer
    }

    /// Asks until both workers have answered; the processes that did, and the last answer.
    async fn who_answers(&self, site: &Site) -> (BTreeSet<u64>, Value) {
        let mut pids: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        let answer = eventually("both workers answer", async || {
            let answer = ask_from_afar(site.lintel.http(), self.path).await;
            let number = |name: &str| answer[name].as_u64().unwrap_or_else(|| panic!("no {name}: {answer}"));
            pids.entry(number("index")).or_default().insert(number("pid"));
            (pids.len() == 2).then_some(answer)
        })
        .await;
        assert!(pids.keys().eq([&0, &1]), "{pids:?}");
        assert!(pids[&0].is_disjoint(&pids[&1]), "two workers, two processes: {pids:?}");
        (pids.into_values().flatten().collect(), answer)
    }
}

/// A GET from `CLIENT`, which claims to be somebody else and is not believed.
async fn ask_from_afar(address: SocketAddr, path: &str) -> Value {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{CLIENT}:0").parse().unwrap()).unwrap();
    let mut connection = Connection::over(socket.connect(address).await.expect("Lintel is there"));
    let fields =
        "Host: a.test\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nConnection: close";
    let response = connection.exchange(&format!("GET {path} HTTP/1.1\r\n{fields}\r\n\r\n")).await;
    assert_eq!(response.status(), 200, "{} {}", response.line, response.text());
    serde_json::from_slice(&response.body).unwrap_or_else(|_| panic!("not JSON: {}", response.text()))
}

#[tokio::test]
async fn node_alone_runs_behind_npm_start() {
    Program::new("npm start").runs().await;
}

#[tokio::test]
async fn express_runs() {
    Program::trusting("node apps/express.js").runs().await;
}

#[tokio::test]
async fn fastify_runs_with_both_loopback_addresses() {
    Program::trusting("node apps/fastify.js").runs().await;
}

#[tokio::test]
async fn fastify_runs_with_every_address() {
    Program::trusting("node apps/fastify.js 0.0.0.0").runs().await;
}

#[tokio::test]
async fn koa_runs_with_a_second_port_for_metrics() {
    Program::trusting("node apps/koa.js").runs().await;
}

#[tokio::test]
async fn hono_runs() {
    Program::new("node apps/hono.mjs").runs().await;
}

#[tokio::test]
async fn nest_runs() {
    Program::trusting("node apps/nest.js").runs().await;
}

#[tokio::test]
async fn next_runs_as_it_was_built() {
    let program = Program {
        folder: "next",
        path: "/who",
        hidden: &["remote", "ip"],
        ..Program::new("./node_modules/.bin/next start -p 3000")
    };
    let site = program.start().await;
    let page = get(site.lintel.http(), "/").await;
    assert!(page.status() == 200 && page.text().contains("a.test"), "{} {}", page.line, page.text());
    site.stop().await;
    program.runs().await;
}

#[tokio::test]
async fn an_http2_server_without_tls_runs() {
    Program { pool: "protocol: http2".to_owned(), ..Program::new("node apps/h2c.js") }.runs().await;
}

#[tokio::test]
async fn a_server_with_tls_of_its_own_runs() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let leaf = authority.issue(&["app.test"]);
    let (key, cert) = (leaf.key.display(), leaf.cert.display());
    let app = format!("env KEY_FILE: \"{key}\"\nenv CERT_FILE: \"{cert}\"");
    let pool = format!("tls: {{ server_name: app.test, ca: \"{}\" }}", authority.path.display());
    Program { app, pool, ..Program::new("node apps/https.js") }.runs().await;
}

#[tokio::test]
async fn the_http_side_of_a_socket_io_server_runs() {
    Program { pool: "sticky: socket_io".to_owned(), ..Program::trusting("node apps/socketio.js") }
        .runs()
        .await;
}

#[tokio::test]
async fn an_es_module_that_awaits_before_it_listens_runs() {
    Program::new("node apps/esm.mjs").runs().await;
}

#[tokio::test]
async fn typescript_runs_by_tsx_which_starts_another_node() {
    Program::new("./node_modules/.bin/tsx apps/typescript.ts").runs().await;
}

#[tokio::test]
async fn a_program_with_piscina_threads_runs() {
    assert_eq!(Program::new("node apps/piscina.js").runs().await["sum"], 5_000_050_000_u64);
}

#[tokio::test]
async fn a_program_that_forks_a_child_runs() {
    assert_eq!(Program::new("node apps/fork.js").runs().await["sum"], 5_000_050_000_u64);
}

#[tokio::test]
async fn a_program_with_a_cluster_of_its_own_runs() {
    Program::new("node apps/cluster.js").runs().await;
}

#[tokio::test]
async fn a_program_written_for_pm2_runs() {
    Program { app: "ready: { when: signal }".to_owned(), ..Program::new("node apps/pm2.js") }.runs().await;
}

/// Opens a WebSocket, hears the greeting and an echo, and closes it. None if the worker was about to leave and said so.
async fn greeting(address: SocketAddr) -> Option<Value> {
    let mut socket = websocket::open(address, "/").await;
    let mut texts = Vec::new();
    socket.send(Message::text("hello")).await.expect("an open WebSocket");
    while texts.len() < 2 {
        match within("a message", socket.next()).await {
            Some(Ok(Message::Text(text))) => texts.push(text.to_string()),
            Some(Ok(Message::Close(Some(frame)))) if frame.code == CloseCode::Restart => return None,
            other => panic!("neither a text nor a goodbye: {other:?} after {texts:?}"),
        }
    }
    assert_eq!(texts[1], "hello");
    socket.close(None).await.expect("an open WebSocket");
    let told: Value = serde_json::from_str(&texts[0]).expect("JSON");
    assert_eq!((&told["remote"], &told["forwarded"]), (&"127.0.0.1".into(), &"127.0.0.1".into()), "{told}");
    Some(told)
}

#[tokio::test]
async fn a_websocket_server_runs() {
    let site = Program::new("node apps/ws.js").start().await;
    let address = site.lintel.http();
    let both = async || {
        let mut pids = BTreeMap::new();
        eventually("both workers greet", async || {
            let told = greeting(address).await.expect("nobody leaves");
            pids.insert(told["index"].as_u64().unwrap(), told["pid"].as_u64().unwrap());
            (pids.len() == 2).then(|| pids.values().copied().collect::<BTreeSet<u64>>())
        })
        .await
    };
    let before = both().await;
    let workers = site.pids().await;
    let (end, mut over) = oneshot::channel::<()>();
    let opening = async {
        let (mut opened, mut sent_back) = (0, 0);
        while over.try_recv().is_err() {
            opened += 1;
            sent_back += usize::from(greeting(address).await.is_none());
        }
        (opened, sent_back)
    };
    let rolling = async {
        site.run(&["rollout", "app"]).await.ok();
        site.replaced(2, &workers).await;
        end.send(()).expect("still opening");
    };
    let ((opened, sent_back), ()) = tokio::join!(opening, rolling);
    // One that opens in the moment in which its worker leaves is closed for the restart: once for each worker.
    assert!(opened > 20 && sent_back <= 2, "{sent_back} of {opened} were sent back");
    assert!(before.is_disjoint(&both().await));
    site.stop().await;
}
