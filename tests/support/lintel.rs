//! The program under test: the real binary as a process of its own, with its logs, its addresses and its end.
//!
//! Configs bind port 0; the program says on stderr which ports it became (`listening`), and when it is `ready`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::UnixStream;

use super::client::{Connection, get};
use super::message::Response;
use super::metrics::Metrics;
use super::output::Output;
use super::time::{eventually, within};

/// A running Lintel. Dropping it kills the process, and fails the test if the process had panicked.
pub struct Lintel {
    child: Child,
    addresses: BTreeMap<String, String>,
    /// Program log, JSON lines.
    pub log: Output,
    /// Access log, JSON lines.
    pub access_log: Output,
    folder: Arc<TempDir>,
    environment: Vec<(String, String)>,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// How a Lintel ended.
#[derive(Debug)]
pub struct Ending {
    pub code: Option<i32>,
    pub log: String,
    pub records: Vec<Value>,
}

/// A Lintel to be: its config and its folder.
pub struct Setup {
    yaml: String,
    folder: Arc<TempDir>,
    environment: Vec<(String, String)>,
    wrapper: Vec<String>,
}

impl Setup {
    /// `yaml` is a whole config, but for `observability`, which is added where it is not written.
    pub fn new(yaml: impl Into<String>) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder for the test"));
        Self { yaml: yaml.into(), folder, environment: Vec::new(), wrapper: Vec::new() }
    }

    /// Starts in the folder of another one, with the state it left.
    pub fn in_folder_of(mut self, other: &Lintel) -> Self {
        self.folder = Arc::clone(&other.folder);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs it behind these words, which end in becoming it: `unshare --net`, say.
    pub fn behind(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// The folder of the config file, for files that the config names.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("lintel.yaml")
    }

    fn write_config(&self) {
        std::fs::write(self.config_path(), whole(&self.yaml)).expect("the config can be written");
    }

    /// Runs `lintel` with these arguments and the environment of this setup.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.write_config();
        for folder in ["state", "run"] {
            std::fs::create_dir_all(self.folder.path().join(folder))
                .expect("a folder in the folder of the test");
        }
        wrapped(&self.wrapper, self.folder.path(), &self.environment, arguments)
    }

    /// Starts, and waits until it is ready.
    pub async fn start(self) -> Lintel {
        let mut lintel = self.spawn();
        lintel.become_ready().await;
        lintel
    }

    /// Starts with another config file than the one of this setup, and waits until it is ready.
    pub async fn start_at(self, config: &str) -> Lintel {
        let mut lintel = self.spawn_at(config);
        lintel.become_ready().await;
        lintel
    }

    /// Starts without waiting.
    pub fn spawn(self) -> Lintel {
        self.spawn_at("lintel.yaml")
    }

    fn spawn_at(self, config: &str) -> Lintel {
        let mut child = self.command(&["run", "-c", config]).spawn().expect("the binary starts");
        let log = Output::of(child.stderr.take().expect("stderr is a pipe"));
        let access_log = Output::of(child.stdout.take().expect("stdout is a pipe"));
        let Self { folder, environment, .. } = self;
        Lintel { child, addresses: BTreeMap::new(), log, access_log, folder, environment }
    }
}

impl Lintel {
    /// Starts with this config, and waits until it is ready.
    pub async fn start(yaml: impl Into<String>) -> Self {
        Setup::new(yaml).start().await
    }

    /// One plain listener `http`, one pool `web` with these servers and these further lines, and a route to it.
    pub async fn before(servers: &[&super::Origin], pool: &str) -> Self {
        Self::start(front(servers, pool)).await
    }

    /// Waits until it is ready, and learns where it listens.
    pub async fn become_ready(&mut self) {
        let log = self.log.clone();
        let child = &mut self.child;
        eventually("Lintel is ready", async || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("lintel ended with {status} before it was ready:\n{}", log.text());
            }
            log.records().iter().any(|line| message_of(line) == "ready").then_some(())
        })
        .await;
        self.learn_addresses();
    }

    /// Takes what the log says so far of who listens where.
    fn learn_addresses(&mut self) {
        self.addresses.clear();
        for line in self.log.records() {
            let text = |name: &str| field_of(&line, name).as_str().unwrap_or_default().to_owned();
            match message_of(&line) {
                "listening" => _ = self.addresses.insert(text("listener"), text("address")),
                "listens no more" => _ = self.addresses.remove(&text("listener")),
                _ => {}
            }
        }
    }

    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("lintel.yaml")
    }

    /// Puts another config into the place of the one there is, as an editor does: beside it, then renamed.
    pub fn rewrite(&self, yaml: &str) {
        let beside = self.folder.path().join(".lintel.yaml.new");
        std::fs::write(&beside, whole(yaml)).expect("the config can be written");
        std::fs::rename(beside, self.config_path()).expect("the config can be renamed");
    }

    /// Has it take another config, and learns where it listens then. Gives the answer of the control interface.
    pub async fn reload(&mut self, yaml: &str) -> Value {
        let before = self.in_force();
        let answer = self.try_reload(yaml).await;
        assert_eq!(answer.status(), 200, "the config is not taken: {}", answer.text());
        self.taken(before).await;
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    /// As `reload`, whether it is taken or not.
    pub async fn try_reload(&self, yaml: &str) -> Response {
        self.rewrite(yaml);
        self.order("/reload").await
    }

    /// How many configs were in force so far, but for the first.
    pub fn in_force(&self) -> usize {
        let lines = self.log.records();
        lines.iter().filter(|line| message_of(line) == "the new config is in force").count()
    }

    /// Awaits that more configs were in force than `before`, and learns where it listens then.
    pub async fn taken(&mut self, before: usize) {
        eventually("a new config is in force", async || (self.in_force() > before).then_some(())).await;
        self.learn_addresses();
    }

    /// Has the control interface change something.
    pub async fn order(&self, target: &str) -> Response {
        self.control("POST", target).await
    }

    pub async fn status(&self) -> Value {
        let answer = self.control("GET", "/status").await;
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    /// Asks the control interface at its default place.
    pub async fn control(&self, method: &str, target: &str) -> Response {
        let stream = UnixStream::connect(self.folder.path().join("run/admin.sock")).await;
        let mut connection = Connection::over(stream.expect("the control interface answers"));
        let head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nLintel-Control: 1\r\n");
        connection.send(format!("{head}Connection: close\r\nContent-Length: 0\r\n\r\n")).await;
        connection.response_to(method).await
    }

    /// Runs a command of `lintel` with this config to its end; the config file is left as it is.
    pub async fn run(&self, arguments: &[&str]) -> Said {
        let arguments = [arguments, &["-c", "lintel.yaml"]].concat();
        let mut command =
            tokio::process::Command::from(program(self.folder.path(), &self.environment, &arguments));
        let output = command.kill_on_drop(true).output();
        let output = within(&format!("{arguments:?}"), output).await.expect("the binary starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Where a listener on a unix socket listens.
    pub fn socket_of(&self, listener: &str) -> PathBuf {
        let address = self.addresses.get(listener);
        let address = address.unwrap_or_else(|| panic!("no listener {listener} in {:?}", self.addresses));
        address.strip_prefix("unix:").unwrap_or(address).into()
    }

    /// Whether there is such a listener.
    pub fn listens(&self, listener: &str) -> bool {
        self.addresses.contains_key(listener)
    }

    /// Where a listener listens; `metrics` is the one of `observability.metrics`.
    pub fn at(&self, listener: &str) -> SocketAddr {
        let address = self.addresses.get(listener);
        let address = address.unwrap_or_else(|| panic!("no listener {listener} in {:?}", self.addresses));
        address.parse().unwrap_or_else(|_| panic!("{listener} is not at an IP address: {address}"))
    }

    /// Where the listener `http` listens.
    pub fn http(&self) -> SocketAddr {
        self.at("http")
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Awaits the access-log record that fits.
    pub async fn record(&self, fits: impl Fn(&Value) -> bool) -> Value {
        self.access_log.record("a record in the access log", fits).await
    }

    /// Awaits the record of the request with this target.
    pub async fn record_of(&self, target: &str) -> Value {
        self.record(|record| record["target"] == target).await
    }

    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(&get(self.at("metrics"), "/metrics").await.text())
    }

    /// Awaits that a sum of samples is at least `least`.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)], least: f64) {
        let what = format!("{name}{labels:?} is at least {least}");
        let reached = async || (self.metrics().await.sum(name, labels) >= least).then_some(());
        eventually(&what, reached).await;
    }

    /// Bytes of memory that are the process's own now (VmRSS).
    pub fn resident_bytes(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS is in the status");
        let kib: u64 =
            line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("VmRSS is in kB");
        kib * 1024
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        rustix::process::kill_process(id, signal).expect("the process takes signals");
    }

    /// Whether the process has ended; does not wait.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_some()
    }

    /// Awaits the end.
    pub async fn ending(mut self) -> Ending {
        let child = &mut self.child;
        let status = eventually("Lintel ends", async || child.try_wait().expect("our own child")).await;
        let (log, access_log) = (self.log.clone(), self.access_log.clone());
        let all_read = async || (log.has_ended() && access_log.has_ended()).then_some(());
        eventually("the logs of Lintel end", all_read).await;
        Ending { code: status.code(), log: self.log.text(), records: self.access_log.records() }
    }

    /// Ends it gently; it must do so without a panic, with exit code 0.
    pub async fn stop(self) -> Ending {
        self.signal(rustix::process::Signal::TERM);
        let ending = self.ending().await;
        assert_eq!(ending.code, Some(0), "exit code after SIGTERM; log:\n{}", ending.log);
        assert!(!ending.log.contains("panicked"), "{}", ending.log);
        ending
    }
}

impl Drop for Lintel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log.text();
        if std::thread::panicking() {
            let said: Vec<&str> =
                log.lines().filter(|line| !line.contains("\"message\":\"listening\"")).collect();
            eprintln!("--- log of the Lintel of this test ---\n{}\n--- end ---", said.join("\n"));
        } else {
            assert!(!log.contains("panicked"), "Lintel panicked:\n{log}");
        }
    }
}

/// The program with these arguments, in a folder of its own; `LINTEL_BINARY` is another build of it.
fn program(folder: &Path, environment: &[(String, String)], arguments: &[&str]) -> Command {
    wrapped(&[], folder, environment, arguments)
}

/// As `program`, behind other words.
fn wrapped(
    wrapper: &[String],
    folder: &Path,
    environment: &[(String, String)],
    arguments: &[&str],
) -> Command {
    let binary = std::env::var_os("LINTEL_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_lintel").into());
    let mut command = match wrapper.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(binary);
            command
        }
        None => Command::new(binary),
    };
    command
        .args(arguments)
        .current_dir(folder)
        .env("STATE_DIRECTORY", folder.join("state"))
        .env("RUNTIME_DIRECTORY", folder.join("run"))
        .env("NO_COLOR", "1")
        .env("RUST_BACKTRACE", "1")
        .env_remove("RUST_LOG")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A config with `observability` as tests need it, unless it is written.
pub fn whole(yaml: &str) -> String {
    let mut yaml = yaml.to_owned();
    if !yaml.lines().any(|line| line.starts_with("observability:")) {
        yaml.push_str(
            "\nobservability:\n  access_log: { path: stdout, format: json }\n  log: { format: json }\n",
        );
        yaml.push_str("  metrics: { address: \"127.0.0.1:0\" }\n");
    }
    yaml
}

/// A config with one plain listener `http`, one pool `web` and one route to it. `pool` is further lines of the pool.
pub fn front(servers: &[&super::Origin], pool: &str) -> String {
    let servers: Vec<String> = servers.iter().map(|server| format!("\"{}\"", server.address())).collect();
    let pool: String = pool.lines().map(|line| format!("    {}\n", line.trim_end())).collect();
    format!(
        "listeners:\n  http:\n    address: \"127.0.0.1:0\"\npools:\n  web:\n    servers: [{}]\n{pool}routes:\n  - name: all\n    to: web\n",
        servers.join(", ")
    )
}

/// The message of a log line, whether its fields are flattened or not.
pub fn message_of(line: &Value) -> &str {
    field_of(line, "message").as_str().unwrap_or_default()
}

pub fn field_of<'a>(line: &'a Value, name: &str) -> &'a Value {
    line.get(name).unwrap_or_else(|| &line["fields"][name])
}
