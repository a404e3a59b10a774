//! The bar: many reloads that each change everything, under load, with nothing lost; and memory that does not grow.
//!
//! The figures are those of the README at a rate that two cores hold beside other tests. `RELOAD_RATE` raises it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tempfile::TempDir;

use crate::load::{Load, Mode, Rate};
use crate::support::lintel::{Setup, front};
use crate::support::time::{takes, within};
use crate::support::tls::{Authority, Leaf, connect};
use crate::support::websocket::{self, echo_origin, open, try_echo};
use crate::support::{Lintel, Origin};

/// Everything that reloads change.
struct Site {
    folder: TempDir,
    authority: Authority,
    servers: Vec<Origin>,
    sockets: Origin,
    leaves: [Leaf; 2],
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(folder.path(), "authority");
        let aside = folder.path().join("aside");
        std::fs::create_dir(&aside).unwrap();
        let leaves = [authority.issue_into(&aside, &["a.test"]), authority.issue(&["a.test"])];
        let servers = ["a", "b", "c", "d"].map(Origin::named).into_iter().collect();
        Self { folder, authority, servers, sockets: echo_origin("sockets"), leaves }
    }

    /// The config of a round: another route, other servers, another certificate, another listener.
    fn yaml(&self, round: usize) -> String {
        let server = |place: usize| format!("\"{}\"", self.servers[place % self.servers.len()].address());
        let weight = round % 3 + 1;
        let servers = [
            server(round),
            server(round + 1),
            format!("{{ address: {}, weight: {weight} }}", server(round + 2)),
        ];
        let extra = if round.is_multiple_of(2) {
            format!("  extra: {{ address: \"127.0.0.{}:0\" }}\n", 3 + round % 5)
        } else {
            format!(
                "  other: {{ address: \"unix:{}\", limits: {{ headers: {} }} }}\n",
                self.folder.path().join("extra.sock").display(),
                50 + round
            )
        };
        let route = match round % 3 {
            0 => format!(
                "  - {{ name: round, match: {{ path: /round/* }}, respond: {{ status: 200, body: \"{round}\" }} }}\n"
            ),
            1 => {
                "  - { name: round, match: { path: /round/* }, to: web, rewrite: { strip_prefix: /round } }\n"
                    .to_owned()
            }
            _ => format!(
                "  - {{ name: round-{round}, match: {{ path: /rounds/* }}, redirect: {{ to: / }} }}\n"
            ),
        };
        format!(
            "listeners:\n  http: {{ address: \"127.0.0.1:0\" }}\n  https:\n    address: \"127.0.0.2:0\"\n    tls: {{ certificates: [{}] }}\n{extra}pools:\n  web:\n    servers: [{}]\n    balance: {}\n    health_check: {{ tcp: true, interval: 500ms, timeout: 400ms }}\n  sockets: {{ servers: [\"{}\"], timeouts: {{ response: {}s }} }}\nroutes:\n{route}  - {{ name: ws, match: {{ path: /ws }}, to: sockets }}\n  - {{ name: all, to: web }}\nruntime: {{ drain_timeout: 2s }}\nobservability:\n  access_log: off\n  log: {{ format: json }}\n  metrics: {{ address: \"127.0.0.1:0\" }}\n",
            self.leaves[round % 2].yaml(),
            servers.join(", "),
            if round % 4 < 2 { "least_connections" } else { "round_robin" },
            self.sockets.address(),
            60 + round % 7,
        )
    }
}

/// WebSockets that each send twice a second, and whether one of them was dropped.
struct Sockets {
    over: Arc<AtomicBool>,
    echoes: Arc<AtomicUsize>,
    running: Vec<tokio::task::JoinHandle<Result<usize, String>>>,
}

impl Sockets {
    async fn open(address: SocketAddr, count: usize) -> Self {
        let (over, echoes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut running = Vec::new();
        for number in 0..count {
            let mut socket = open(address, "/ws").await;
            let (over, echoes) = (Arc::clone(&over), Arc::clone(&echoes));
            running.push(tokio::spawn(async move {
                for message in 0.. {
                    if over.load(Ordering::SeqCst) {
                        return Ok(message);
                    }
                    let text = format!("{number}: {message}");
                    match try_echo(&mut socket, &text).await {
                        Ok(answer) if answer == text => _ = echoes.fetch_add(1, Ordering::SeqCst),
                        Ok(answer) => return Err(format!("socket {number}: {answer:?} for {text:?}")),
                        Err(error) => return Err(format!("socket {number}, message {message}: {error}")),
                    }
                    takes(Duration::from_millis(500)).await;
                }
                Ok(0)
            }));
        }
        Self { over, echoes, running }
    }

    /// Fails unless every one of them is still open; how many messages they had back.
    async fn all_whole(self) -> usize {
        self.over.store(true, Ordering::SeqCst);
        let ends = within("the sockets end", join_all(self.running)).await;
        let dropped: Vec<String> = ends.into_iter().filter_map(|end| end.unwrap().err()).collect();
        assert!(dropped.is_empty(), "{} dropped: {dropped:?}", dropped.len());
        self.echoes.load(Ordering::SeqCst)
    }
}

/// Requests over TLS on connections of their own, one after the other.
async fn shake_hands(site: &Site, address: SocketAddr, over: &AtomicBool) -> usize {
    let config = Arc::new(site.authority.client());
    let mut count = 0;
    while !over.load(Ordering::SeqCst) {
        let mut connection = connect(address, "a.test", &config).await;
        assert_eq!(connection.get("/").await.status(), 200);
        count += 1;
        takes(Duration::from_millis(50)).await;
    }
    count
}

async fn start(site: &Site) -> Lintel {
    Setup::new(site.yaml(0)).start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_reloads_of_everything_under_load_lose_no_request_and_no_websocket() {
    let rate = std::env::var("RELOAD_RATE").ok().and_then(|rate| rate.parse().ok()).unwrap_or(120);
    let site = Site::new();
    let mut lintel = start(&site).await;
    let (http, https) = (lintel.http(), lintel.at("https"));
    let sockets = Sockets::open(http, 50).await;
    let loads = [
        Load::start(http, Rate::gets(Mode::KeepAlive, rate / 3)),
        Load::start(http, Rate::gets(Mode::New, rate / 3)),
        Load::start(http, Rate { mode: Mode::KeepAlive, method: "POST", path: "/echo", rate: rate / 3 }),
    ];
    let over = AtomicBool::new(false);
    let reloads = async {
        for round in 1..=20 {
            lintel.reload(&site.yaml(round)).await;
            assert_eq!((lintel.http(), lintel.at("https")), (http, https));
            for load in &loads {
                load.goes_on(rate as usize / 6).await;
            }
        }
        over.store(true, Ordering::SeqCst);
    };
    let ((), handshakes) = tokio::join!(reloads, shake_hands(&site, https, &over));
    let echoes = sockets.all_whole().await;
    let (mut sent, mut slowest) = (0, Duration::ZERO);
    for load in loads {
        let tally = load.tally().await;
        tally.assert_whole();
        sent += tally.sent;
        slowest = slowest.max(tally.slowest);
    }
    eprintln!(
        "{sent} requests, {handshakes} handshakes, {echoes} echoes on 50 WebSockets, 20 reloads: 0 failed; slowest answer {slowest:?}"
    );
    assert!(handshakes > 20 && echoes >= 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_after_two_hundred_reloads_is_as_after_twenty() {
    let site = Site::new();
    let mut lintel = start(&site).await;
    let sockets = Sockets::open(lintel.http(), 50).await;
    let load = Load::start(lintel.http(), Rate::gets(Mode::KeepAlive, 30));
    let mut after_twenty = 0;
    for round in 1..=200 {
        lintel.reload(&site.yaml(round)).await;
        load.goes_on(1).await;
        if round == 20 {
            settled(&lintel).await;
            after_twenty = lintel.resident_bytes();
        }
    }
    settled(&lintel).await;
    let after_all = lintel.resident_bytes();
    eprintln!("VmRSS after 20 reloads {} KiB, after 200 {} KiB", after_twenty >> 10, after_all >> 10);
    load.tally().await.assert_whole();
    sockets.all_whole().await;
    let grown = after_all.saturating_sub(after_twenty);
    assert!(grown < 4 << 20, "grown by {} KiB", grown >> 10);
}

/// For what a reload took away to have gone.
async fn settled(_: &Lintel) {
    takes(Duration::from_secs(4)).await;
}

/// A WebSocket holds the pool that it was opened in; what that pool was made of, and those after it, must go.
#[tokio::test]
async fn websockets_that_outlive_many_reloads_keep_no_memory_of_them() {
    let sockets = echo_origin("sockets");
    // A ring of 1.9 MB.
    let yaml = |round: usize| {
        let heavy = format!("{{ address: \"{}\", weight: 1000 }}", sockets.address());
        let pool = format!(
            "balance: {{ policy: consistent_hash, key: client_ip }}\ntimeouts: {{ response: {}s }}",
            10 + round
        );
        front(&[&sockets], &pool).replace(&format!("\"{}\"", sockets.address()), &heavy)
    };
    let mut lintel = Lintel::start(yaml(0)).await;
    let mut open = Vec::new();
    let mut before = 0;
    for round in 1..=40 {
        lintel.reload(&yaml(round)).await;
        if round % 4 == 0 {
            open.push(websocket::open(lintel.http(), "/ws").await);
        }
        if round == 10 {
            before = lintel.resident_bytes();
        }
    }
    for socket in &mut open {
        assert_eq!(websocket::echo(socket, "hello").await, "hello");
    }
    let grown = lintel.resident_bytes().saturating_sub(before);
    assert!(grown < 12 << 20, "grown by {} KiB", grown >> 10);
}
