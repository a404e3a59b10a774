//! A Lintel whose file can be exchanged, and all processes that it becomes: one after the other, each with an exit code.
//!
//! The test is the subreaper of its processes. So a successor, whose parent ends, becomes the test's own child.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::support::lintel::{Said, field_of, message_of, whole};
use crate::support::output::Output;
use crate::support::process::processes_of;
use crate::support::{Connection, Response, eventually, within};

/// Houses so far: each has a mark in the environment of its processes.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// Houses at once: each is several processes, and most are under load.
static HOUSES: Semaphore = Semaphore::const_new(2);

/// A house to be.
pub struct Plan {
    yaml: String,
    folder: TempDir,
    mark: String,
    environment: Vec<(String, String)>,
    /// Words before the program's own.
    before: Vec<String>,
}

/// A Lintel and whoever followed it.
pub struct House {
    folder: TempDir,
    mark: String,
    environment: Vec<(String, String)>,
    /// The process that was started first.
    pub first: u32,
    /// Program log of all of them, JSON lines.
    pub log: Output,
    _permit: SemaphorePermit<'static>,
}

/// A worker as the control interface shows it.
#[derive(Clone, Debug)]
pub struct Worker(Value);

impl Worker {
    pub fn state(&self) -> &str {
        self.0["state"].as_str().expect("a state")
    }

    /// Zero while there is no process.
    pub fn pid(&self) -> u32 {
        self.0["pid"].as_u64().unwrap_or_default() as u32
    }
}

impl Plan {
    pub fn new(yaml: impl Into<String>) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        for name in ["state", "run", "app"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder in the folder of the test");
        }
        let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workers/apps/server.js");
        std::fs::copy(app, folder.path().join("app/server.js")).expect("the app can be copied");
        put_program(&folder.path().join("lintel"));
        let mark = format!("house-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self { yaml: yaml.into(), folder, mark, environment: Vec::new(), before: Vec::new() }
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Words of a program that becomes Lintel, or starts it.
    pub fn behind(mut self, words: &[&str]) -> Self {
        self.before = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts, and waits until it is ready.
    pub async fn start(self) -> House {
        self.start_with(|_| {}).await
    }

    /// As `start`; `change` has a last say about the command.
    pub async fn start_with(self, change: impl FnOnce(&mut Command)) -> House {
        let permit = HOUSES.acquire().await.expect("never closed");
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("a subreaper");
        let Self { yaml, folder, mark, environment, before } = self;
        std::fs::write(folder.path().join("lintel.yaml"), whole(&yaml)).expect("the config can be written");
        let program = folder.path().join("lintel").display().to_string();
        let words = [before, [&program, "run", "-c", "lintel.yaml"].map(str::to_owned).to_vec()].concat();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        surround(&mut command, folder.path(), &mark, &environment);
        command.stderr(Stdio::piped()).stdout(Stdio::piped());
        change(&mut command);
        #[expect(clippy::zombie_processes, reason = "its end is awaited by its process id")]
        let mut child = command.spawn().expect("the binary starts");
        let log = Output::of(child.stderr.take().expect("stderr is a pipe"));
        // Read, so that nobody waits for us.
        child.stdout.take().map(Output::of);
        let house = House { folder, mark, environment, first: child.id(), log, _permit: permit };
        eventually("Lintel is ready", async || {
            assert!(house.first_code().is_none_or(|code| code == 0), "it ended:\n{}", house.log.text());
            house.log.records().iter().any(|line| message_of(line) == "ready").then_some(())
        })
        .await;
        house
    }
}

fn surround(command: &mut Command, folder: &Path, mark: &str, environment: &[(String, String)]) {
    command
        .current_dir(folder)
        .env("STATE_DIRECTORY", folder.join("state"))
        .env("RUNTIME_DIRECTORY", folder.join("run"))
        .env("NO_COLOR", "1")
        .env("RUST_BACKTRACE", "1")
        .env("HOUSE", mark)
        .env_remove("RUST_LOG")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null());
}

/// Puts the program at this path, in the place of what is there.
fn put_program(path: &Path) {
    let beside = path.with_extension("new");
    let built = env!("CARGO_BIN_EXE_lintel");
    std::fs::hard_link(built, &beside)
        .or_else(|_| std::fs::copy(built, &beside).map(|_| ()))
        .expect("the binary");
    std::fs::rename(beside, path).expect("the binary can be renamed");
}

impl House {
    pub async fn start(yaml: impl Into<String>) -> Self {
        Plan::new(yaml).start().await
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Puts another program, a script, in the place of Lintel's file.
    pub fn replace_program(&self, script: &str) {
        let beside = self.path().join("lintel.new");
        std::fs::write(&beside, script).expect("the script can be written");
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o755)).expect("mode 0755");
        std::fs::rename(beside, self.path().join("lintel")).expect("the script can be renamed");
    }

    /// Puts Lintel in its place again, as a file of its own.
    pub fn restore_program(&self) {
        put_program(&self.path().join("lintel"));
    }

    pub fn rewrite(&self, yaml: &str) {
        let beside = self.path().join(".lintel.yaml.new");
        std::fs::write(&beside, whole(yaml)).expect("the config can be written");
        std::fs::rename(beside, self.path().join("lintel.yaml")).expect("the config can be renamed");
    }

    /// A command of `lintel` with this config. It is another file than the one that an upgrade starts.
    pub fn command(&self, arguments: &[&str]) -> tokio::process::Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lintel"));
        command.args(arguments).args(["-c", "lintel.yaml"]);
        surround(&mut command, self.path(), "", &self.environment);
        // Those that are for Lintel itself.
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "HOUSE"] {
            command.env_remove(name);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        command
    }

    pub async fn run(&self, arguments: &[&str]) -> Said {
        let output =
            within(&format!("{arguments:?}"), self.command(arguments).output()).await.expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Upgrades by the command; the new process.
    pub async fn upgrade(&self) -> u32 {
        let said = self.run(&["upgrade", "--json"]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        let report: Value = serde_json::from_str(&said.stdout).expect("JSON");
        report["pid"].as_u64().expect("a process id") as u32
    }

    /// An upgrade that must fail; what the command says.
    pub async fn refused(&self) -> String {
        let said = self.run(&["upgrade"]).await;
        assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{said:?}");
        said.stderr
    }

    /// The process that serves, as far as the log says.
    pub fn serving(&self) -> u32 {
        let last = self.logged("another process serves").pop();
        last.map_or(self.first, |line| field_of(&line, "pid").as_u64().expect("a process id") as u32)
    }

    /// Awaits that another process serves than this one.
    pub async fn successor_of(&self, pid: u32) -> u32 {
        eventually("another process serves", async || Some(self.serving()).filter(|serving| *serving != pid))
            .await
    }

    pub async fn control(&self, method: &str, target: &str) -> Response {
        let stream = UnixStream::connect(self.path().join("run/admin.sock")).await;
        let mut connection = Connection::over(stream.expect("the control interface answers"));
        let head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nLintel-Control: 1\r\n");
        connection.send(format!("{head}Connection: close\r\nContent-Length: 0\r\n\r\n")).await;
        connection.response_to(method).await
    }

    pub async fn status(&self) -> Value {
        serde_json::from_slice(&self.control("GET", "/status").await.body).expect("JSON")
    }

    /// The workers of the pool `app`.
    pub async fn workers(&self) -> Vec<Worker> {
        let status = self.status().await;
        let pools = status["pools"].as_array().cloned().unwrap_or_default();
        let app = pools.into_iter().find(|pool| pool["name"] == "app").unwrap_or_default();
        let workers = app["app"]["workers"].as_array().cloned().unwrap_or_default();
        workers.into_iter().map(Worker).collect()
    }

    /// Awaits exactly so many workers, all ready; their processes.
    pub async fn ready(&self, count: usize) -> BTreeSet<u32> {
        eventually(&format!("{count} workers are ready"), async || {
            let workers = self.workers().await;
            let all = workers.len() == count && workers.iter().all(|worker| worker.state() == "ready");
            all.then(|| workers.iter().map(Worker::pid).collect())
        })
        .await
    }

    /// Where a listener listens, by the last word of the log about it.
    pub fn at(&self, listener: &str) -> SocketAddr {
        let addresses = self.addresses();
        let address = addresses.get(listener).unwrap_or_else(|| panic!("no {listener} in {addresses:?}"));
        address.parse().unwrap_or_else(|_| panic!("{listener} is not at an IP address: {address}"))
    }

    pub fn http(&self) -> SocketAddr {
        self.at("http")
    }

    fn addresses(&self) -> BTreeMap<String, String> {
        let lines = self.log.records();
        let listening = lines.iter().filter(|line| message_of(line) == "listening");
        let text = |line: &Value, name: &str| field_of(line, name).as_str().unwrap_or_default().to_owned();
        listening.map(|line| (text(line, "listener"), text(line, "address"))).collect()
    }

    /// Lines of the log whose message has this in it.
    pub fn logged(&self, text: &str) -> Vec<Value> {
        self.log.records().into_iter().filter(|line| message_of(line).contains(text)).collect()
    }

    /// Awaits a line of the log.
    pub async fn said(&self, text: &str) -> Value {
        self.said_again(text, 0).await
    }

    /// Awaits one more than `before` lines of the log; the last.
    pub async fn said_again(&self, text: &str, before: usize) -> Value {
        eventually(&format!("the log says: {text}"), async || {
            assert!(self.first_code().is_none_or(|code| code == 0), "it ended:\n{}", self.log.text());
            let mut lines = self.logged(text);
            if lines.len() > before { lines.pop() } else { None }
        })
        .await
    }

    fn first_code(&self) -> Option<i32> {
        // Only looks: the code stays there for who awaits it.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.first)).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        let is_over = rest.trim_start().starts_with('Z');
        is_over
            .then(|| rest.split_ascii_whitespace().last().and_then(|code| code.parse::<i32>().ok()))?
            .map(|code| code >> 8)
    }

    /// Processes of this house that run, with their command lines.
    pub fn processes(&self) -> Vec<(u32, String)> {
        processes_of(&self.mark)
    }

    /// The keeper of the workers.
    pub fn keeper(&self) -> u32 {
        let found: Vec<u32> = self
            .processes()
            .into_iter()
            .filter(|(_, line)| line.ends_with("keeper"))
            .map(|(pid, _)| pid)
            .collect();
        assert_eq!(found.len(), 1, "one keeper: {:?}", self.processes());
        found[0]
    }

    /// Ends the process that serves now, gently: code 0, and nobody is left.
    pub async fn stop(self) {
        let serving = self.serving();
        signal(serving, Signal::TERM);
        assert_eq!(code_of(serving).await, 0, "{}", self.log.text());
        self.nobody_is_left().await;
        assert!(!self.log.text().contains("panicked"), "{}", self.log.text());
    }

    pub async fn nobody_is_left(&self) {
        eventually("no process is left", async || self.processes().is_empty().then_some(())).await;
    }
}

impl Drop for House {
    fn drop(&mut self) {
        for (pid, _) in self.processes() {
            let pid = Pid::from_raw(pid.cast_signed()).expect("a process id");
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        if std::thread::panicking() {
            eprintln!("--- log of the Lintel of this test ---\n{}\n--- end ---", self.log.text());
        }
    }
}

pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process id");
    rustix::process::kill_process(pid, signal).expect("the process takes signals");
}

/// Awaits the end of a process; its exit code, negative for a signal.
pub async fn code_of(pid: u32) -> i32 {
    let process = Pid::from_raw(pid.cast_signed()).expect("a process id");
    eventually(&format!("process {pid} ends"), async || {
        // A successor is another one's child until that has ended.
        let (_, status) = waitpid(Some(process), WaitOptions::NOHANG).ok().flatten()?;
        status.exit_status().or_else(|| status.terminating_signal().map(|signal| -signal))
    })
    .await
}

/// Whether there is a process of this number, be it a zombie.
pub fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Descriptors that a process has open, as /proc names them.
pub fn descriptors(pid: u32) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs").flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .map(|link: PathBuf| link.display().to_string())
        .collect();
    names.sort();
    names
}

/// A config with the pool `app` of so many workers, in which a test writes further lines of the app and of the pool.
pub fn app(workers: usize, lines: &str, pool: &str) -> String {
    let indented = |text: &str, by: usize| -> String {
        text.lines().map(|line| format!("{}{}\n", " ".repeat(by), line.trim_end())).collect()
    };
    format!(
        "listeners:\n  http: {{ address: \"127.0.0.1:0\" }}\npools:\n  app:\n    app:\n      command: node server.js\n      directory: ./app\n      instances: {workers}\n{}{}routes:\n  - {{ name: all, to: app }}\n",
        indented(lines, 6),
        indented(pool, 4),
    )
}
