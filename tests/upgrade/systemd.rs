//! systemd: sockets that it passes, what it is told, and what of all that must not come to workers.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use tokio::net::UnixDatagram;

use crate::house::{Plan, app, code_of, signal};
use crate::support::lintel::front;
use crate::support::{Connection, Origin, eventually, get, within};

/// What systemd hears.
struct Heard {
    socket: UnixDatagram,
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Heard {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        Self { socket: UnixDatagram::bind(&path).unwrap(), _folder: folder, path }
    }

    /// The next message that has this line, with its lines.
    async fn hear(&self, line: &str) -> Vec<String> {
        let hearing = async {
            let mut room = vec![0; 4096];
            loop {
                let count = self.socket.recv(&mut room).await.unwrap();
                let lines: Vec<String> =
                    String::from_utf8_lossy(&room[..count]).lines().map(str::to_owned).collect();
                if lines.iter().any(|found| found == line) {
                    return lines;
                }
            }
        };
        within(&format!("systemd is told {line}"), hearing).await
    }

    fn plan(&self, yaml: String) -> Plan {
        Plan::new(yaml).env("NOTIFY_SOCKET", self.path.to_str().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_told_of_start_reload_upgrade_and_end() {
    let heard = Heard::new();
    let house = heard.plan(app(1, "", "")).start().await;
    let ready = heard.hear("READY=1").await;
    assert!(ready.contains(&format!("MAINPID={}", house.first)), "{ready:?}");
    house.ready(1).await;
    for by_signal in [true, false] {
        if by_signal {
            signal(house.first, Signal::HUP);
        } else {
            assert_eq!(house.control("POST", "/reload").await.status(), 200);
        }
        let reloading = heard.hear("RELOADING=1").await;
        let at = reloading.iter().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).expect("the time");
        assert!(at.parse::<u64>().unwrap() > 0);
        heard.hear("READY=1").await;
    }
    // Also when the file is not taken: the reload is over.
    house.rewrite("nonsense: 1\n");
    assert_eq!(house.control("POST", "/reload").await.status(), 422);
    heard.hear("RELOADING=1").await;
    heard.hear("READY=1").await;
    house.rewrite(&app(1, "", ""));
    let new = house.upgrade().await;
    heard.hear(&format!("MAINPID={new}")).await;
    assert_eq!(code_of(house.first).await, 0);
    signal(new, Signal::TERM);
    heard.hear("STOPPING=1").await;
    assert_eq!(code_of(new).await, 0);
}

/// The one that drains says nothing of an end: the service goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_process_does_not_say_that_the_service_ends() {
    let heard = Heard::new();
    let origin = Origin::named("one");
    let house = heard.plan(front(&[&origin], "")).start().await;
    heard.hear("READY=1").await;
    let new = house.upgrade().await;
    assert_eq!(code_of(house.first).await, 0);
    let mut room = vec![0; 4096];
    let mut told = String::new();
    while let Ok(count) = heard.socket.try_recv(&mut room) {
        told += &String::from_utf8_lossy(&room[..count]);
    }
    assert!(told.contains(&format!("MAINPID={new}")) && !told.contains("STOPPING"), "{told}");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_watchdog_hears_from_the_process_that_serves() {
    let heard = Heard::new();
    let plan = heard.plan(app(1, "", "")).env("WATCHDOG_USEC", "1000000").env("WATCHDOG_PID", "1");
    let house = plan.start().await;
    for _ in 0..3 {
        heard.hear("WATCHDOG=1").await;
    }
    house.upgrade().await;
    assert_eq!(code_of(house.first).await, 0);
    let mut room = vec![0; 4096];
    while heard.socket.try_recv(&mut room).is_ok() {}
    for _ in 0..3 {
        heard.hear("WATCHDOG=1").await;
    }
    house.stop().await;
}

/// All but what is for workers.
const OF_SYSTEMD: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "INVOCATION_ID", "JOURNAL_STREAM", "HOUSE"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_get_nothing_that_is_meant_for_lintel() {
    let heard = Heard::new();
    let mut plan = heard.plan(app(1, "", "")).env("WATCHDOG_USEC", "20000000");
    for name in ["WATCHDOG_PID", "INVOCATION_ID", "JOURNAL_STREAM", "LISTEN_FDNAMES"] {
        plan = plan.env(name, "http");
    }
    let house = plan.start().await;
    house.ready(1).await;
    for round in 0..2 {
        let environment: Value = serde_json::from_slice(&get(house.http(), "/env").await.body).unwrap();
        for name in OF_SYSTEMD {
            assert!(environment.get(name).is_none(), "{name} in round {round}: {environment}");
        }
        // These are about its own socket.
        assert_eq!((&environment["LISTEN_FDS"], &environment["LISTEN_FDNAMES"]), (&"1".into(), &"lintel".into()));
        let pid = house.ready(1).await.into_iter().next().unwrap().to_string();
        assert_eq!(environment["LISTEN_PID"], pid);
        if round == 0 {
            house.upgrade().await;
            let rolled = house.run(&["rollout", "app"]).await;
            assert_eq!(rolled.code, Some(0), "{rolled:?}");
        }
    }
    house.stop().await;
}

/// As systemd starts a service: sockets from descriptor 3 on, and variables with the service's own process id.
fn pass(command: &mut Command, stdin: impl Into<OwnedFd>, stdout: impl Into<OwnedFd>) {
    command.stdin(Stdio::from(stdin.into())).stdout(Stdio::from(stdout.into()));
}

const PASS: &str = "exec 3<&0 4<&1 0</dev/null 1>/dev/null; LISTEN_PID=$$ LISTEN_FDS=2 exec \"$@\"";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_are_taken_by_name_and_by_address_and_passed_on() {
    let origin = Origin::named("one");
    let named = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bound = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (named_at, bound_at) = (named.local_addr().unwrap(), bound.local_addr().unwrap());
    // The first is known by its name alone: written is another port.
    let yaml = front(&[&origin], "").replace("pools:\n", &format!("  second: {{ address: \"{bound_at}\" }}\npools:\n"));
    let plan = Plan::new(yaml).env("LISTEN_FDNAMES", "http:unknown").behind(&["sh", "-c", PASS, "sh"]);
    // They wait in the queue already when Lintel starts.
    let mut early = Connection::open(named_at).await;
    early.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let house = plan.start_with(|command| pass(command, named, bound)).await;
    assert_eq!(early.response().await.text(), "one");
    for _ in 0..3 {
        assert_eq!((house.http(), house.at("second")), (named_at, bound_at));
        for address in [named_at, bound_at] {
            assert_eq!(get(address, "/").await.text(), "one");
        }
        let old = house.serving();
        house.upgrade().await;
        assert_eq!(code_of(old).await, 0);
    }
    assert!(house.logged("no listener wants").is_empty());
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_is_taken_and_one_that_nobody_wants_is_told() {
    let origin = Origin::named("one");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("front.sock");
    let passed = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let spare = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let yaml = front(&[&origin], "").replace("127.0.0.1:0", &format!("unix:{}", path.display()));
    let plan = Plan::new(yaml).env("LISTEN_FDNAMES", "x:spare").behind(&["sh", "-c", PASS, "sh"]);
    let house = plan.start_with(|command| pass(command, passed, spare)).await;
    let warned = house.said("no listener wants").await;
    assert!(warned.to_string().contains("spare"), "{warned}");
    let ask = async || {
        let stream = tokio::net::UnixStream::connect(&path).await.unwrap();
        Connection::over(stream).get("/").await.text()
    };
    assert_eq!(ask().await, "one");
    house.upgrade().await;
    assert_eq!(code_of(house.first).await, 0);
    assert_eq!(ask().await, "one");
    house.stop().await;
}

/// The program of systemd that does the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_socket_activate_starts_it() {
    let found = Command::new("systemd-socket-activate").arg("--version").stdout(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no systemd-socket-activate here");
        return;
    }
    let origin = Origin::named("one");
    let port = crate::support::port::Port::reserve();
    let address = port.address();
    let yaml = front(&[&origin], "");
    let listen = address.to_string();
    let plan = Plan::new(yaml).behind(&["systemd-socket-activate", "-l", &listen, "--fdname=http"]);
    // It starts the program at the first connection.
    let starting = plan.start();
    let asking = eventually("it answers", async || {
        let stream = tokio::net::TcpStream::connect(address).await.ok()?;
        let mut connection = Connection::over(stream);
        connection.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await;
        connection.try_response_to("GET").await.ok().map(|response| response.text())
    });
    let (house, text) = tokio::join!(starting, asking);
    assert_eq!((text.as_str(), house.http()), ("one", address));
    house.stop().await;
}

/// The example units are such that systemd understands all of them.
#[test]
fn the_units_are_understood_by_systemd() {
    let found = Command::new("systemd-analyze").arg("--version").stdout(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no systemd-analyze here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let conf = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("conf");
    for name in ["lintel.service", "lintel.socket"] {
        // The program is where the test has it, and the user is one that there is.
        let text = std::fs::read_to_string(conf.join(name)).unwrap();
        let text = text.replace("/usr/bin/lintel", env!("CARGO_BIN_EXE_lintel")).replace("User=lintel", "User=daemon");
        std::fs::write(folder.path().join(name), text.replace("Group=lintel", "Group=daemon")).unwrap();
    }
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .args(["lintel.service", "lintel.socket"].map(|name| folder.path().join(name)))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verify.stderr).into_owned();
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("lintel")).collect();
    assert!(ours.is_empty(), "{said}");
}
