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

use super::client::get;
use super::metrics::Metrics;
use super::output::Output;
use super::time::eventually;

/// A running Lintel. Dropping it kills the process, and fails the test if the process had panicked.
pub struct Lintel {
    child: Child,
    addresses: BTreeMap<String, String>,
    /// Program log, JSON lines.
    pub log: Output,
    /// Access log, JSON lines.
    pub access_log: Output,
    folder: Arc<TempDir>,
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
}

impl Setup {
    /// `yaml` is a whole config, but for `observability`, which is added where it is not written.
    pub fn new(yaml: impl Into<String>) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder for the test"));
        Self { yaml: yaml.into(), folder, environment: Vec::new() }
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

    /// The folder of the config file, for files that the config names.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("lintel.yaml")
    }

    fn write_config(&self) {
        let mut yaml = self.yaml.clone();
        if !yaml.lines().any(|line| line.starts_with("observability:")) {
            yaml.push_str(
                "\nobservability:\n  access_log: { path: stdout, format: json }\n  log: { format: json }\n",
            );
            yaml.push_str("  metrics: { address: \"127.0.0.1:0\" }\n");
        }
        std::fs::write(self.config_path(), yaml).expect("the config can be written");
    }

    /// Runs `lintel` with these arguments and the environment of this setup.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.write_config();
        for folder in ["state", "run"] {
            std::fs::create_dir_all(self.folder.path().join(folder))
                .expect("a folder in the folder of the test");
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_lintel"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("STATE_DIRECTORY", self.folder.path().join("state"))
            .env("RUNTIME_DIRECTORY", self.folder.path().join("run"))
            .env("NO_COLOR", "1")
            .env("RUST_BACKTRACE", "1")
            .env_remove("RUST_LOG")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts, and waits until it is ready.
    pub async fn start(self) -> Lintel {
        let mut lintel = self.spawn();
        lintel.become_ready().await;
        lintel
    }

    /// Starts without waiting.
    pub fn spawn(self) -> Lintel {
        let mut child = self.command(&["run", "-c", "lintel.yaml"]).spawn().expect("the binary starts");
        let log = Output::of(child.stderr.take().expect("stderr is a pipe"));
        let access_log = Output::of(child.stdout.take().expect("stdout is a pipe"));
        Lintel { child, addresses: BTreeMap::new(), log, access_log, folder: self.folder }
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

    async fn become_ready(&mut self) {
        let log = self.log.clone();
        let child = &mut self.child;
        eventually("Lintel is ready", async || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("lintel ended with {status} before it was ready:\n{}", log.text());
            }
            log.records().iter().any(|line| message_of(line) == "ready").then_some(())
        })
        .await;
        for line in log.records().iter().filter(|line| message_of(line) == "listening") {
            let text = |name: &str| field_of(line, name).as_str().unwrap_or_default().to_owned();
            self.addresses.insert(text("listener"), text("address"));
        }
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
