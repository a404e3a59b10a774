//! A Lintel whose every secret is a canary, at the most verbose log level there is, and a search for them.

use std::path::Path;

use tempfile::TempDir;

use crate::support::lintel::{Setup, whole};
use crate::support::tls::{Authority, Leaf};
use crate::support::{Lintel, Origin};

/// Part of every secret; what comes after it says where it was.
pub const CANARY: &str = "canary7f3a";

pub struct House {
    pub lintel: Lintel,
    pub yaml: String,
    pub origin: Origin,
    /// Lines of private keys.
    pub keys: Vec<String>,
    _files: TempDir,
}

/// A secret that says where it was.
pub fn canary(of: &str) -> String {
    format!("{CANARY}-{of}")
}

/// The lines of a key's file that are the key itself.
fn lines_of(leaf: &Leaf) -> Vec<String> {
    let pem = std::fs::read_to_string(&leaf.key).unwrap();
    pem.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned).collect()
}

fn yaml(files: &Path, front: &Leaf, own: &Leaf, origin: &Origin, admin: &str) -> String {
    let (folder, origin) = (files.display().to_string(), origin.address());
    let admin = admin.replace("{folder}", &folder);
    let (front, own_cert, own_key) = (front.yaml(), own.cert.display(), own.key.display());
    format!(
        r#"
listeners:
  http: {{ address: "127.0.0.1:0" }}
  https: {{ address: "127.0.0.1:0", tls: {{ certificates: [{front}] }} }}
pools:
  web: {{ servers: ["{origin}"], health_check: "/healthz?k=${{CHECK_SECRET}}" }}
  held: {{ servers: ["{origin}"], sticky: {{ cookie: s, secret: {{ file: "{folder}/sticky" }} }} }}
  up: {{ servers: ["{origin}"], tls: {{ server_name: a.test, cert: "{own_cert}", key: "{own_key}" }} }}
  jobs:
    app:
      command: sleep 600
      task: true
      preload: false
      instances: 1
      env:
        DB_PASSWORD: {CANARY}-literal
        API_KEY: "${{WORKER_SECRET}}"
        DATABASE: "postgres://u:{CANARY}-url@db/x"
        PLAIN: "${{PLAIN_SECRET}}"
policies:
  private:
    - headers:
        request: {{ set: {{ Authorization: "Bearer {CANARY}-set", X-Api-Key: "${{HEADER_SECRET}}" }} }}
        response: {{ add: {{ Set-Cookie: "s={CANARY}-response" }} }}
routes:
  - {{ name: all, to: web, policies: [private] }}
  - {{ name: held, match: {{ path: /held/*, headers: {{ x-auth-token: "{CANARY}-match" }} }}, to: held }}
  - {{ name: up, match: {{ path: /up/* }}, to: up }}
  - {{ name: fixed, match: {{ path: /fixed, query: {{ key: "{CANARY}-query-match" }} }}, respond: {{ headers: {{ set-cookie: "a={CANARY}-fixed" }} }} }}
{admin}
observability:
  access_log: {{ path: stdout, format: json }}
  log: {{ format: json, level: trace }}
  metrics: {{ address: "127.0.0.1:0" }}
"#
    )
}

impl House {
    /// With the control interface at its default place.
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// With the control interface on TCP, behind a token.
    pub async fn guarded() -> Self {
        Self::with("admin: { address: \"127.0.0.1:0\", token: { file: \"{folder}/token\" } }").await
    }

    async fn with(admin: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let authority = Authority::new(files.path(), "authority");
        let (front, own) = (authority.issue(&["a.test"]), authority.issue(&["own.test"]));
        let keys = [&front, &own].into_iter().flat_map(lines_of).collect();
        for file in ["sticky", "token"] {
            std::fs::write(files.path().join(file), canary(file)).unwrap();
        }
        let origin = Origin::named("one");
        let yaml = yaml(files.path(), &front, &own, &origin, admin);
        let mut setup = Setup::new(&yaml).env("RUST_LOG", "trace");
        for name in ["CHECK_SECRET", "WORKER_SECRET", "HEADER_SECRET", "PLAIN_SECRET", "UNUSED_SECRET"] {
            setup = setup.env(name, &canary(name));
        }
        let lintel = setup.start().await;
        Self { lintel, yaml: whole(&yaml), origin, keys, _files: files }
    }

    /// Fails if a text holds a canary or a line of a key.
    pub fn holds_none(&self, what: &str, text: &str) {
        let line = text.lines().find(|line| self.is_told(line));
        assert!(line.is_none(), "{what} tells a secret: {}", line.unwrap_or_default());
    }

    fn is_told(&self, line: &str) -> bool {
        line.contains(CANARY) || self.keys.iter().any(|key| line.contains(key.as_str()))
    }
}
