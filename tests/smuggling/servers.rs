//! The servers behind Lintel: real ones, each of which writes down what it took for requests.

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::output::Output;
use crate::support::time::eventually;

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Node,
    /// Node with the parser that forgives: it sees more than others do.
    LenientNode,
    Nginx,
    Python,
}

/// How a server took what it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A whole request, which it served.
    Whole,
    /// A request whose body did not come to its end.
    Partial,
    /// It answered that this is no request, or none that it serves.
    Refused,
}

/// What a server took for a request.
#[derive(Clone, Debug)]
pub struct Sight {
    pub state: State,
    /// X-Request-Id, where it read that far.
    pub id: Option<String>,
    /// Method and target.
    pub line: String,
    pub length: usize,
    /// SHA-256 of the body in hexadecimal.
    pub digest: String,
}

/// A server that runs.
pub struct Server {
    kind: Kind,
    child: Child,
    output: Output,
    folder: TempDir,
    /// As `servers` of a config takes it.
    pub address: String,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::LenientNode => "node, forgiving",
            Self::Nginx => "nginx",
            Self::Python => "python",
        })
    }
}

impl Kind {
    fn program(self) -> PathBuf {
        match self {
            Self::Node | Self::LenientNode => "node".into(),
            Self::Nginx => nginx(),
            Self::Python => "python3".into(),
        }
    }

    /// Whether its program is installed.
    pub fn is_here(self) -> bool {
        let version = if self == Self::Nginx { "-v" } else { "--version" };
        let mut command = Command::new(self.program());
        command.arg(version).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

impl Server {
    pub async fn start(kind: Kind) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the server");
        let mut command = Command::new(kind.program());
        match kind {
            Kind::Node => command.arg(script("recorder.mjs")),
            Kind::LenientNode => command.arg(script("recorder.mjs")).arg("lenient"),
            Kind::Python => command.arg("-B").arg(script("recorder.py")),
            Kind::Nginx => command
                .arg("-e")
                .arg(folder.path().join("error.log"))
                .arg("-c")
                .arg(nginx_config(folder.path()))
                .arg("-p")
                .arg(folder.path()),
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the server starts");
        let output = Output::of(child.stdout.take().expect("stdout is a pipe"));
        let address = if kind == Kind::Nginx {
            let socket = folder.path().join("nginx.sock");
            let listens = async || std::os::unix::net::UnixStream::connect(&socket).is_ok().then_some(());
            eventually("nginx listens", listens).await;
            format!("unix:{}", socket.display())
        } else {
            let port = |line: &str| serde_json::from_str::<Value>(line).ok()?["listening"].as_u64();
            let port = output.find("the server says where it listens", port).await;
            format!("127.0.0.1:{port}")
        };
        Self { kind, child, output, folder, address }
    }

    /// Ends it when it has served all its connections; gives what it saw, in its order.
    pub async fn stop(mut self) -> Vec<Sight> {
        drop(self.child.stdin.take());
        if self.kind == Kind::Nginx {
            self.signal(rustix::process::Signal::QUIT);
        }
        let child = &mut self.child;
        eventually("the server ends", async || child.try_wait().expect("our own child")).await;
        if self.kind == Kind::Nginx {
            let seen = std::fs::read(self.folder.path().join("seen.log")).expect("nginx has a log");
            return seen.split(|byte| *byte == b'\n').filter_map(nginx_sight).collect();
        }
        eventually("its output ends", async || self.output.has_ended().then_some(())).await;
        self.output.records().iter().filter_map(sight).collect()
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        let _ = rustix::process::kill_process(id, signal);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // nginx's worker would outlive a killed master.
        if self.kind == Kind::Nginx {
            self.signal(rustix::process::Signal::TERM);
        } else {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// The one that is installed, else the one that scripts/setup unpacked beside the build.
fn nginx() -> PathBuf {
    let unpacked = Path::new(env!("CARGO_BIN_EXE_lintel")).ancestors().nth(2).expect("a target folder");
    let unpacked = unpacked.join("peers/nginx/usr/sbin/nginx");
    if unpacked.exists() { unpacked } else { "nginx".into() }
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/smuggling/servers").join(name)
}

fn nginx_config(folder: &Path) -> PathBuf {
    let mut text = include_str!("servers/nginx.conf").replace("FOLDER", &folder.display().to_string());
    if rustix::process::geteuid().is_root() {
        // Its worker has to reach into a folder that is ours alone.
        text.push_str("user root;\n");
    }
    let path = folder.join("nginx.conf");
    let mut file = std::fs::File::create(&path).expect("the config can be written");
    file.write_all(text.as_bytes()).expect("the config can be written");
    path
}

/// A line of Node or Python.
fn sight(line: &Value) -> Option<Sight> {
    let text = |name: &str| line[name].as_str().map(str::to_owned);
    let state = match line["state"].as_str()? {
        "whole" => State::Whole,
        "partial" => State::Partial,
        _ => State::Refused,
    };
    let length = line["length"].as_u64().and_then(|length| usize::try_from(length).ok());
    Some(Sight {
        state,
        id: text("id"),
        line: text("line").unwrap_or_default(),
        length: length.unwrap_or(0),
        digest: text("digest").unwrap_or_default(),
    })
}

/// `200 "GET /x HTTP/1.1" "id" "body" "OK"`, with `-` for what is not there.
fn nginx_sight(line: &[u8]) -> Option<Sight> {
    let mut parts = line.split(|byte| *byte == b'"');
    let status = String::from_utf8_lossy(parts.next()?).trim().parse::<u16>().ok()?;
    let mut quoted = parts.step_by(2).map(unescape);
    let (request, id, body, completion) = (quoted.next()?, quoted.next()?, quoted.next()?, quoted.next()?);
    let request = String::from_utf8_lossy(&request).into_owned();
    let body = if body == b"-" { Vec::new() } else { body };
    Some(Sight {
        state: match (status, completion.as_slice()) {
            (200, b"OK") => State::Whole,
            (400.., b"OK") if status != 499 => State::Refused,
            _ => State::Partial,
        },
        id: Some(String::from_utf8_lossy(&id).into_owned()).filter(|id| id != "-"),
        line: request.rsplit_once(' ').map_or(request.clone(), |(line, _)| line.to_owned()),
        length: body.len(),
        digest: digest(&body),
    })
}

/// `\xHH` as the byte that it stands for.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let escaped = after.strip_prefix(b"x").and_then(|digits| digits.get(..2));
        let value = escaped.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match value {
            Some(value) if *byte == b'\\' => {
                bytes.push(value);
                rest = &after[3..];
            }
            _ => bytes.push(*byte),
        }
    }
    bytes
}

/// SHA-256 in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_nginx_is_read_back_byte_by_byte() {
        let line = br#"200 "POST /a\x22b HTTP/1.1" "id" "a\x00\x5C\x22" "OK""#;
        let sight = nginx_sight(line).expect("a line");
        assert_eq!((sight.state, sight.line.as_str(), sight.length), (State::Whole, "POST /a\"b", 4));
        assert_eq!(sight.digest, digest(b"a\0\\\""));
        let bad = nginx_sight(br#"400 "\x00\x01" "-" "-" "OK""#).expect("a line");
        assert_eq!((bad.state, bad.id), (State::Refused, None));
    }
}
