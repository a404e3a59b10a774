//! A system that runs out: of descriptors, memory, disk, or of somebody who reads the logs. Lintel says so, serves what it can,
//! recovers by itself, and never ends.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use futures_util::future::join_all;
use rustix::process::{Pid, Resource, Rlimit, Signal};
use tokio::net::TcpStream;

use crate::support::client::try_get;
use crate::support::lintel::{Setup, front, message_of};
use crate::support::metrics::Metrics;
use crate::support::{Connection, Lintel, Origin, eventually, get};

/// Whether namespaces can be made here; where not, a line says what is left out.
pub fn namespaces(what: &str) -> bool {
    let made = Command::new("unshare").args(["--net", "--mount", "iptables", "-L"]).output();
    let can = made.is_ok_and(|output| output.status.success());
    if !can {
        eprintln!("skipped: {what} (needs root, unshare and iptables)");
    }
    can
}

fn limit_descriptors(lintel: &Lintel, most: u64) {
    let id = Pid::from_raw(lintel.id().cast_signed()).unwrap();
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    rustix::process::prlimit(Some(id), Resource::Nofile, limit).unwrap();
}

fn descriptors(lintel: &Lintel) -> u64 {
    std::fs::read_dir(format!("/proc/{}/fd", lintel.id())).unwrap().count() as u64
}

#[tokio::test]
async fn out_of_descriptors_it_says_so_blames_no_server_serves_who_is_connected_and_recovers() {
    let origin = Origin::named("one");
    let check = "health_check: { path: /health, interval: 500ms, timeout: 400ms, unhealthy_after: 2 }";
    let lintel = Lintel::before(&[&origin], check).await;
    let mut kept = Connection::open(lintel.http()).await;
    assert_eq!(kept.get("/").await.text(), "one");
    limit_descriptors(&lintel, descriptors(&lintel) + 8);
    let crowd = join_all((0..40).map(|_| TcpStream::connect(lintel.http()))).await;
    eventually("it says what is the matter", async || {
        // Its connection to the server stays in use, so there is one.
        assert_eq!(kept.get("/").await.text(), "one");
        let said = |message: &str| {
            let fits = |line: &serde_json::Value| {
                message_of(line) == message && line.to_string().to_lowercase().contains("too many open files")
            };
            lintel.log.records().iter().any(fits)
        };
        (said("cannot accept connections for now") && said("cannot check servers for now")).then_some(())
    })
    .await;
    drop(crowd);
    eventually("new clients are served again", async || {
        matches!(try_get(lintel.http(), "/").await, Ok(answer) if answer.status() == 200).then_some(())
    })
    .await;
    assert!(!lintel.log.text().contains("server is down"), "{}", lintel.log.text());
    lintel.stop().await;
}

/// A memory cgroup of its own around a process, removed with it.
struct MemoryLimit {
    folder: PathBuf,
}

impl MemoryLimit {
    /// `None` where no cgroup can be made.
    fn around(id: u32, bytes: u64) -> Option<Self> {
        let places = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        places.iter().find_map(|(root, file)| {
            let folder = Path::new(root).join(format!("lintel-test-{}-{id}", std::process::id()));
            std::fs::create_dir(&folder).ok()?;
            let limit = Self { folder };
            std::fs::write(limit.folder.join(file), bytes.to_string()).ok()?;
            std::fs::write(limit.folder.join("cgroup.procs"), id.to_string()).ok()?;
            Some(limit)
        })
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.folder);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn within_a_limit_of_memory_many_large_bodies_that_nobody_reads_do_not_end_it() {
    let origin = Origin::scripted(|mut talk| async move {
        while talk.request().await.is_some() {
            talk.send("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n").await;
            let piece = vec![b'x'; 64 * 1024];
            for _ in 0..16 * 1024 {
                if !talk.send(&piece).await {
                    return;
                }
            }
        }
    });
    let small = Origin::named("small");
    let yaml = front(&[&origin], "").replace(
        "routes:\n",
        &format!(
            "  small: {{ servers: [\"{}\"] }}\nroutes:\n  - {{ match: {{ path: /small }}, to: small }}\n",
            small.address()
        ),
    );
    let mut lintel = Lintel::start(yaml).await;
    let Some(limit) = MemoryLimit::around(lintel.id(), lintel.resident_bytes() + (64 << 20)) else {
        eprintln!("skipped: a limit of memory (needs root and memory cgroups)");
        return;
    };
    // 100 GiB on their way; each client has read the head and nothing more.
    let mut greedy = Vec::new();
    for _ in 0..100 {
        let mut connection = Connection::open(lintel.http()).await;
        connection.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        assert!(connection.bytes(12).await.starts_with(b"HTTP/1.1 200"));
        greedy.push(connection);
    }
    for _ in 0..50 {
        assert_eq!(get(lintel.http(), "/small").await.text(), "small");
    }
    assert!(!lintel.has_ended());
    drop(greedy);
    origin.all_closed().await;
    assert_eq!(get(lintel.http(), "/small").await.text(), "small");
    lintel.stop().await;
    drop(limit);
}

#[tokio::test]
async fn on_a_full_disk_records_are_lost_and_counted_and_come_again_when_there_is_room() {
    if !namespaces("a full disk") {
        return;
    }
    let origin = Origin::named("one");
    let yaml = format!(
        "{}\nobservability:\n  access_log: {{ path: disk/access.log, format: json }}\n  log: {{ format: json }}\n  metrics: {{ address: \"127.0.0.1:0\" }}\n",
        front(&[&origin], "")
    );
    let words = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        "mkdir disk && mount -t tmpfs -o size=64k tmpfs disk && exec \"$@\"",
        "sh",
    ];
    let lintel = Setup::new(yaml).behind(&words).start().await;
    let disk = PathBuf::from(format!("/proc/{}/root{}/disk", lintel.id(), lintel.path().display()));
    let mut connection = Connection::open(lintel.http()).await;
    let long = format!("/{}", "x".repeat(6000));
    eventually("records are lost", async || {
        for _ in 0..50 {
            assert_eq!(connection.get(&long).await.status(), 200);
        }
        (lintel.metrics().await.sum("lintel_access_log_dropped_total", &[]) > 0.0).then_some(())
    })
    .await;
    lintel.log.find("a line that says so", |line| line.contains("access log").then_some(())).await;
    // Somebody makes room, as logrotate does.
    std::fs::rename(disk.join("access.log"), disk.join("old.log")).unwrap();
    std::fs::remove_file(disk.join("old.log")).unwrap();
    lintel.signal(Signal::USR1);
    eventually("records come again", async || {
        assert_eq!(connection.get("/again").await.status(), 200);
        let text = std::fs::read_to_string(disk.join("access.log")).unwrap_or_default();
        text.contains("/again").then_some(())
    })
    .await;
    lintel.stop().await;
}

#[tokio::test]
async fn a_reader_of_the_access_log_that_stalls_costs_records_and_no_request() {
    let origin = Origin::named("one");
    let yaml = format!(
        "{}\nobservability:\n  access_log: {{ path: stdout, format: json }}\n  log: {{ format: json }}\n  metrics: {{ address: \"127.0.0.1:0\" }}\n",
        front(&[&origin], "")
    );
    let setup = Setup::new(yaml);
    let mut silent = Silent::start(&setup);
    let address = silent.address("http");
    let metrics = silent.address("metrics");
    let mut connection = Connection::open(address).await;
    let long = format!("/{}", "x".repeat(6000));
    eventually("records are lost", async || {
        for _ in 0..200 {
            assert_eq!(connection.get(&long).await.status(), 200);
        }
        let now = Metrics::parse(&get(metrics, "/metrics").await.text());
        (now.sum("lintel_access_log_dropped_total", &[]) > 0.0).then_some(())
    })
    .await;
    // The reader goes on: what comes from now on is there again.
    let output = crate::support::output::Output::of(silent.child.stdout.take().unwrap());
    eventually("records come again", async || {
        assert_eq!(connection.get("/again").await.status(), 200);
        output.lines().iter().any(|line| line.contains("\"/again\"")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_reader_of_the_program_log_that_stalls_costs_lines_and_no_request() {
    let origin = Origin::named("one");
    let yaml = format!(
        "{}\nobservability:\n  access_log: off\n  log: {{ format: json }}\n  metrics: {{ address: \"127.0.0.1:0\" }}\n",
        front(&[&origin], "")
    );
    let setup = Setup::new(yaml);
    let silent = Silent::start(&setup);
    let (address, metrics) = (silent.address("http"), silent.address("metrics"));
    let id = Pid::from_raw(silent.child.id().cast_signed()).unwrap();
    eventually("lines are lost", async || {
        for _ in 0..20 {
            assert_eq!(get(address, "/").await.status(), 200);
        }
        // Each reload leaves lines.
        rustix::process::kill_process(id, Signal::HUP).unwrap();
        let now = Metrics::parse(&get(metrics, "/metrics").await.text());
        (now.sum("lintel_log_dropped_total", &[]) > 0.0).then_some(())
    })
    .await;
    assert_eq!(get(address, "/").await.text(), "one");
}

/// A Lintel whose output nobody reads once it is ready.
struct Silent {
    child: std::process::Child,
    /// What it said until then; its pipe stays open.
    said: Vec<serde_json::Value>,
    _stderr: Box<dyn Read>,
}

impl Silent {
    fn start(setup: &Setup) -> Self {
        let mut child = setup.command(&["run", "-c", "lintel.yaml"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said: Vec<serde_json::Value> = Vec::new();
        while said.last().is_none_or(|line| message_of(line) != "ready") {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended: {said:?}");
            said.extend(serde_json::from_str::<serde_json::Value>(&line));
        }
        Self { child, said, _stderr: Box::new(stderr) }
    }

    fn address(&self, listener: &str) -> std::net::SocketAddr {
        let line = self.said.iter().find(|line| line["listener"] == listener).unwrap();
        line["address"].as_str().unwrap().parse().unwrap()
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
