//! The Lintel that is attacked: a plain listener, one with TLS, one of HTTP/2, and a server that never has enough.

use std::net::SocketAddr;

use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::siege::Scale;
use crate::support::tls::Authority;
use crate::support::{Conversation, Lintel, Origin};

/// Bytes of `/large`: more than all buffers on its way hold.
const LARGE: usize = 64 * 1024 * 1024;

/// Those of a small siege.
const DEADLINES: &str = "head: 2s, body_idle: 2s, write_idle: 2s, tls_handshake: 2s";

/// Lintel with two servers, each with a runtime of its own: attackers slow neither down, and the normal client has one for
/// itself, so that Lintel is measured and not a server with much to do.
pub struct Front {
    pub lintel: Lintel,
    _origins: [Origin; 2],
    runtimes: Vec<Runtime>,
    _folder: TempDir,
}

/// Where its listeners are.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub http2: SocketAddr,
}

impl Front {
    /// `limits` is `limits` of every listener; deadlines are short in a small siege and the documented ones in a large one.
    pub async fn start(scale: Scale, limits: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for certificates");
        let leaf = Authority::new(folder.path(), "ca").issue(&["a.test"]);
        let mut runtimes = Vec::new();
        // What a server of TCP has not sent yet would fill the memory that the machine has for TCP: by loopback, 4 MiB for each
        // reader that reads nothing.
        let origins = ["normal", "web"].map(|name| {
            let runtime =
                Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
            let entered = runtime.enter();
            let origin = Origin::scripted_at(&folder.path().join(format!("{name}.sock")), serve);
            drop(entered);
            runtimes.push(runtime);
            origin
        });
        let mut yaml = String::from("listeners:\n");
        let tls = format!("tls: {{ certificates: [{}] }}", leaf.yaml());
        for (name, extra) in [("http", ""), ("https", tls.as_str()), ("http2", "protocols: [http2]")] {
            yaml.push_str(&format!(
                "  {name}:\n    address: \"127.0.0.1:0\"\n    {extra}\n    limits: {{ {limits} }}\n"
            ));
            if scale == Scale::Small {
                // The normal client keeps a connection too, and may be slow itself on a machine with much to do.
                let keep_alive = if name == "http2" { "2s" } else { "75s" };
                yaml.push_str(&format!("    timeouts: {{ {DEADLINES}, keep_alive: {keep_alive} }}\n"));
            }
        }
        let [normal, web] = origins.each_ref().map(Origin::address);
        yaml.push_str(&format!(
            "pools:\n  normal: {{ servers: [\"{normal}\"] }}\n  web: {{ servers: [\"{web}\"] }}\n"
        ));
        yaml.push_str("routes:\n  - { match: { path: /normal }, to: normal }\n  - { name: all, to: web }\n");
        let lintel = Lintel::start(yaml).await;
        Self { lintel, _origins: origins, runtimes, _folder: folder }
    }

    pub fn addresses(&self) -> Addresses {
        let at = |name| self.lintel.at(name);
        Addresses { http: at("http"), https: at("https"), http2: at("http2") }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.runtimes.drain(..).for_each(Runtime::shutdown_background);
    }
}

/// Answers with `one`; `/large` has 64 MiB, `/hold` is never answered.
async fn serve(mut talk: Conversation) {
    while let Some(head) = talk.head().await {
        match head.target() {
            "/large" => {
                talk.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n")).await;
                let piece = vec![b'x'; 64 * 1024];
                for _ in 0..LARGE / piece.len() {
                    if !talk.send(&piece).await {
                        return;
                    }
                }
            }
            "/hold" => return talk.hang().await,
            _ if head.field("content-length").is_some_and(|length| length != "0") => {
                return talk.hang().await;
            }
            _ => talk.answer(&head, "one", b"one").await,
        }
    }
}
