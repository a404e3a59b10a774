//! A wall clock that jumps by days while everything runs: nothing that waits may notice.
//!
//! `clock.c` is loaded into Lintel alone and moves its calendar, so the machine's own clock stays as it is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::ClientConfig;
use tempfile::TempDir;

use crate::support::lintel::{Setup, message_of};
use crate::support::played::checked;
use crate::support::time::takes;
use crate::support::tls::{Authority, Leaf, handshake};
use crate::support::{Connection, Lintel, Origin, eventually, get};

const DAY: i64 = 24 * 3600;

const APP: &str = "require('http').createServer((request, response) => {
  console.log('served ' + request.url + ' ' + 'x'.repeat(300));
  response.end('app');
}).listen(3000);
";

/// The calendar of a Lintel.
struct WallClock {
    library: PathBuf,
    moved: PathBuf,
}

impl WallClock {
    /// `None` where there is no compiler of C.
    fn make(folder: &Path) -> Option<Self> {
        let (library, moved) = (folder.join("clock.so"), folder.join("moved"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/clock.c");
        let made =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).output();
        match made {
            Ok(output) => {
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                std::fs::write(&moved, 0i64.to_ne_bytes()).unwrap();
                Some(Self { library, moved })
            }
            Err(error) => {
                eprintln!("skipped: a wall clock that jumps (needs cc: {error})");
                None
            }
        }
    }

    /// So many seconds from the machine's own.
    fn jump(&self, seconds: i64) {
        use std::os::unix::fs::FileExt;
        let file = std::fs::OpenOptions::new().write(true).open(&self.moved).unwrap();
        file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }
}

/// Lintel with servers that are checked, an app, TLS, and a clock that can jump.
struct House {
    lintel: Lintel,
    clock: WallClock,
    authority: Authority,
    leaf: Leaf,
    _folder: TempDir,
}

impl House {
    async fn start(servers: [&Origin; 2]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let clock = WallClock::make(folder.path())?;
        let authority = Authority::new(folder.path(), "ca");
        let leaf = authority.issue(&["a.test"]);
        std::fs::write(folder.path().join("server.js"), APP).unwrap();
        let yaml = format!(
            "listeners:
  http: {{ address: \"127.0.0.1:0\", timeouts: {{ head: 2s, body_idle: 2s }} }}
  https: {{ address: \"127.0.0.1:0\", tls: {{ certificates: [{}] }} }}
pools:
  web:
    servers: [\"{}\", \"{}\"]
    balance: round_robin
    health_check: {{ path: /healthz, interval: 500ms, timeout: 450ms, healthy_after: 1, unhealthy_after: 2 }}
  app:
    app:
      command: node server.js
      directory: {}
      instances: 1
      logs: {{ directory: ./logs, rotate: {{ size: 2KiB, keep: 100, compress: false }} }}
routes:
  - {{ name: app, match: {{ path: /app }}, to: app }}
  - {{ name: web, to: web }}
",
            leaf.yaml(),
            servers[0].address(),
            servers[1].address(),
            folder.path().display(),
        );
        let setup = Setup::new(yaml)
            .env("LD_PRELOAD", &clock.library.display().to_string())
            .env("WALL_CLOCK", &clock.moved.display().to_string());
        let lintel = setup.start().await;
        let house = Self { lintel, clock, authority, leaf, _folder: folder };
        house.app_serves().await;
        Some(house)
    }

    /// The hour of the last record, in hours since 1970, of a request that is made for it.
    async fn hour(&self, target: &str) -> i64 {
        get(self.lintel.http(), target).await;
        let time = self.lintel.record_of(target).await["time"].as_str().unwrap().to_owned();
        time.parse::<jiff::Timestamp>().unwrap().as_second() / 3600
    }

    async fn app_serves(&self) {
        eventually("the app serves", async || {
            (get(self.lintel.http(), "/app").await.text() == "app").then_some(())
        })
        .await;
    }

    fn old_logs(&self) -> usize {
        std::fs::read_dir(self.lintel.path().join("logs")).map_or(0, |files| files.count().saturating_sub(1))
    }

    async fn shown(&self, client: &Arc<ClientConfig>) -> Vec<u8> {
        let stream = handshake(self.lintel.at("https"), "a.test", client).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }

    /// Files of the certificate are written anew.
    async fn renewed_certificates_are_taken(&self) {
        let client = Arc::new(self.authority.client());
        let before = self.shown(&client).await;
        let next = self.authority.issue(&["a.test"]);
        assert_eq!(next.cert, self.leaf.cert, "the same files");
        eventually("the new certificate is shown", async || {
            (self.shown(&client).await != before).then_some(())
        })
        .await;
    }
}

/// Checks of a server go on: it goes down and comes back.
async fn is_checked(lintel: &Lintel, status: &std::sync::atomic::AtomicU16) {
    let said = |message: &str| lintel.log.records().iter().filter(|line| message_of(line) == message).count();
    let (downs, ups) = (said("server is down"), said("server is up"));
    status.store(500, Ordering::SeqCst);
    eventually("the server is down", async || (said("server is down") > downs).then_some(())).await;
    status.store(200, Ordering::SeqCst);
    eventually("the server is up", async || (said("server is up") > ups).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_clock_that_jumps_by_days_is_told_in_the_logs_and_changes_nothing_else() {
    let (one, status) = checked("one", 200);
    let held = Origin::scripted(|mut talk| async move {
        while let Some(request) = talk.request().await {
            if request.target().starts_with("/held") {
                takes(Duration::from_millis(1500)).await;
            }
            talk.answer(&request, "two", b"two").await;
        }
    });
    let Some(house) = House::start([&one, &held]).await else { return };
    let lintel = &house.lintel;
    let start = house.hour("/start").await;
    let mut kept = Connection::open(lintel.http()).await;
    for (turn, days) in [1, -2, 40_000, 0].into_iter().enumerate() {
        assert_eq!(kept.get("/kept").await.status(), 200);
        // In flight over the jump, to either server.
        let mut waiting = [Connection::open(lintel.http()).await, Connection::open(lintel.http()).await];
        for client in &mut waiting {
            client.send("GET /held HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        }
        let mut slow = Connection::open(lintel.http()).await;
        slow.send("GET / HTTP/1.1\r\nHost: a").await;
        house.clock.jump(days * DAY);
        let hour = house.hour(&format!("/turn/{turn}")).await;
        assert!((hour - start - days * 24).abs() <= 1, "{hour} is the hour of the log, {start} was it");
        assert_eq!(kept.get("/kept").await.status(), 200, "a kept connection is not too old by the jump");
        for client in &mut waiting {
            assert_eq!(client.response().await.status(), 200, "no deadline has passed by the jump");
        }
        // Deadlines pass all the same, those that began before and those that begin now.
        assert_eq!(slow.response().await.status(), 408);
        let mut stopped = Connection::open(lintel.http()).await;
        stopped.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nx").await;
        assert_eq!(stopped.response_to("POST").await.status(), 408);
        is_checked(lintel, &status).await;
        house.renewed_certificates_are_taken().await;
        let said = lintel.run(&["rollout", "app"]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        let before = house.old_logs();
        eventually("files of the app are put aside", async || {
            house.app_serves().await;
            (house.old_logs() > before).then_some(())
        })
        .await;
    }
    let lines = lintel.log.records();
    assert!(!lines.iter().any(|line| line["level"] == "ERROR"), "{lines:?}");
    house.lintel.stop().await;
}
