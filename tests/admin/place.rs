//! A Lintel with something of everything, canaries where nothing may be shown, and ways to ask it.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::{TcpStream, UnixStream};

use crate::support::lintel::Setup;
use crate::support::tls::Authority;
use crate::support::{Connection, Lintel, Origin, Response};

/// Values that no answer may hold.
pub const CANARIES: [&str; 3] = ["canary-of-the-environment", "canary-of-the-token-file", "PRIVATE KEY"];
pub const TOKEN: &str = "canary-of-the-token-file";

pub struct Place {
    pub lintel: Lintel,
    pub yaml: String,
    pub authority: Authority,
    files: TempDir,
    _origins: Vec<Origin>,
}

pub struct Ask<'a> {
    pub method: &'a str,
    pub target: &'a str,
    pub headers: Vec<(&'a str, &'a str)>,
    pub body: &'a str,
}

impl<'a> Ask<'a> {
    pub fn new(method: &'a str, target: &'a str) -> Self {
        Self { method, target, headers: vec![("Host", "localhost"), ("Lintel-Control", "1")], body: "" }
    }

    /// With these headers alone.
    pub fn headers(mut self, headers: &[(&'a str, &'a str)]) -> Self {
        self.headers = headers.to_vec();
        self
    }

    pub fn with(mut self, name: &'a str, value: &'a str) -> Self {
        self.headers.push((name, value));
        self
    }

    pub fn bytes(&self) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\nConnection: close\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !self.body.is_empty() {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        format!("{head}\r\n{}", self.body)
    }
}

/// The config; `admin` is its section of that name, `{folder}` in it the folder of the files.
fn yaml(authority: &Authority, origins: &[Origin], admin: &str) -> String {
    let leaf = authority.issue(&["gate.test", "localhost"]);
    let servers: Vec<String> = origins.iter().map(|origin| format!("\"{}\"", origin.address())).collect();
    let folder = leaf.cert.parent().unwrap().display().to_string();
    format!(
        r#"
listeners:
  http: {{ address: "127.0.0.1:0" }}
  https:
    address: "127.0.0.1:0"
    tls: {{ certificates: [{}] }}
pools:
  web: {{ servers: [{}] }}
  spare:
    servers: ["192.0.2.1:1"]
    sticky: {{ cookie: s, secret: {{ file: "{folder}/secret" }} }}
policies:
  private: [{{ headers: {{ request: {{ set: {{ X-Api-Key: "${{CANARY}}" }} }} }} }}]
routes:
  - {{ name: all, to: web, policies: [private] }}
  - {{ name: spare, match: {{ path: /spare/*, host: spare.test }}, to: spare }}
  - {{ name: no, match: {{ path: /no }}, respond: {{ status: 403, body: no }} }}
  - {{ name: away, match: {{ path: /away }}, redirect: {{ to: / }} }}
{}"#,
        leaf.yaml(),
        servers.join(", "),
        admin.replace("{folder}", &folder),
    )
}

impl Place {
    pub async fn new() -> Self {
        Self::with("").await
    }

    /// With this section `admin`.
    pub async fn with(admin: &str) -> Self {
        let origins = vec![Origin::named("one"), Origin::named("two")];
        let files = tempfile::tempdir().unwrap();
        let authority = Authority::new(files.path(), "authority");
        std::fs::write(files.path().join("secret"), TOKEN).unwrap();
        std::fs::write(files.path().join("token"), format!("{TOKEN}\n")).unwrap();
        let yaml = yaml(&authority, &origins, admin);
        let lintel = Setup::new(&yaml).env("CANARY", CANARIES[0]).start().await;
        Self { lintel, yaml, authority, files, _origins: origins }
    }

    /// The folder of certificates, token and the like.
    pub fn files(&self) -> &Path {
        self.files.path()
    }

    /// Over the unix socket.
    pub async fn ask(&self, ask: &Ask<'_>) -> Response {
        let stream = UnixStream::connect(self.lintel.path().join("run/admin.sock")).await.unwrap();
        answer(Connection::over(stream), ask).await
    }

    /// Over TCP, at `admin.address`.
    pub async fn ask_tcp(&self, ask: &Ask<'_>) -> Response {
        let stream = TcpStream::connect(self.lintel.at("admin")).await.unwrap();
        answer(Connection::over(stream), ask).await
    }

    pub async fn json(&self, method: &str, target: &str) -> Value {
        let answer = self.ask(&Ask::new(method, target)).await;
        assert_eq!(answer.status(), 200, "{method} {target}: {}", answer.text());
        value(&answer)
    }
}

async fn answer(mut connection: Connection, ask: &Ask<'_>) -> Response {
    connection.send(ask.bytes()).await;
    let answer = connection.response_to(ask.method).await;
    for canary in CANARIES {
        assert!(!answer.text().contains(canary), "{} {} shows `{canary}`", ask.method, ask.target);
    }
    answer
}

pub fn value(answer: &Response) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("no JSON: {}", answer.text()))
}

pub fn error(answer: &Response) -> String {
    value(answer)["error"].as_str().unwrap_or_default().to_owned()
}
