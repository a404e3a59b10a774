//! Real Node programs: the demo app as a server, and scripts of tests/e2e/node that are clients.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::output::Output;
use super::time::{eventually, within};

/// One process of the demo app.
pub struct NodeApp {
    child: Child,
    pub index: usize,
    pub address: SocketAddr,
    pub output: Output,
}

impl NodeApp {
    /// Starts the app on a port that the system chooses.
    pub async fn start(index: usize) -> Self {
        let folder = demo();
        let mut child = Command::new("node")
            .arg("server.js")
            .current_dir(&folder)
            .env("PORT", "0")
            .env("HOST", "127.0.0.1")
            .env("DEMO_INDEX", index.to_string())
            .env_remove("REDIS_URL")
            .env_remove("NODE_APP_INSTANCE")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("node is installed: run `make test`, which sees to it");
        let output = Output::of(child.stdout.take().expect("stdout is a pipe"));
        let address = output.find("the demo app says where it listens", listening_at).await;
        Self { child, index, address, output }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        rustix::process::kill_process(id, signal).expect("the process takes signals");
    }

    /// Ends as a crash does.
    pub async fn kill(&mut self) {
        self.child.kill().expect("our own child can be killed");
        let child = &mut self.child;
        eventually("the demo app is gone", async || child.try_wait().expect("our own child")).await;
    }
}

impl Drop for NodeApp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in a line that says where an app listens: `{"listening":PORT}`, or a URL behind `listening on`.
fn listening_at(line: &str) -> Option<SocketAddr> {
    if let Ok(Value::Object(fields)) = serde_json::from_str(line) {
        let port = u16::try_from(fields.get("listening")?.as_u64()?).ok()?;
        return Some(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    let (_, url) = line.split_once("listening on http://")?;
    url.trim().trim_end_matches('/').parse().ok()
}

/// Runs a script of tests/e2e/node to its end; gives the last line it wrote, which is JSON.
pub async fn run_script(name: &str, arguments: &[String]) -> Value {
    let folder = demo();
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/node").join(name);
    let mut command = tokio::process::Command::new("node");
    // Modules are looked up from the script's place; the demo has them.
    command.arg(script).args(arguments).env("DEMO_FOLDER", &folder).kill_on_drop(true);
    let output = within(name, command.output()).await.expect("node runs the script");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{name} failed:\n{text}\n{errors}");
    let last = text.trim().lines().last().unwrap_or_default();
    serde_json::from_str(last)
        .unwrap_or_else(|_| panic!("the last line of {name} is not JSON: {text}\n{errors}"))
}

fn demo() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("demo");
    assert!(
        folder.join("node_modules").is_dir(),
        "demo/node_modules is missing: run `make test`, which installs it"
    );
    folder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_say_the_port_are_understood() {
        assert_eq!(listening_at("{\"listening\":0}").unwrap().port(), 0);
        let url = concat!("demo server 1 (pid 7) listening on http://127.0.0.1", ":", "41234");
        assert_eq!(listening_at(url).unwrap().port(), 41234);
        assert!(listening_at("{\"other\":1}").is_none() && listening_at("hello").is_none());
    }
}
