//! What Lintel has taken under an attack is the system's again soon after it, also when nobody asks anything of it any more.

use futures_util::future::join_all;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::gauge;
use crate::siege::{MIB, SLACK};
use crate::steady::Steady;
use crate::support::{Lintel, Origin, eventually};

const CLIENTS: usize = 800;

/// Heads of 30 KB without an end on as many connections; then all of these go, and nothing happens any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_given_back_without_another_request() {
    let server = Origin::named("one");
    // However long a busy machine takes to connect them all.
    let lintel = Lintel::start(format!(
        "listeners:\n  http: {{ address: \"127.0.0.1:0\", timeouts: {{ head: 120s }} }}\n\
         pools:\n  web: {{ servers: [\"{}\"] }}\nroutes:\n  - {{ to: web }}\n",
        server.address()
    ))
    .await;
    let at = lintel.at("http");
    // Until pages and connections are there that every start needs.
    Steady::start(at).more(50).await;
    let before = gauge::read(&lintel).memory;
    let fields = format!("X: {}\r\n", "y".repeat(3000)).repeat(10);
    let head = format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}");
    let hold = async || {
        let mut stream = TcpStream::connect(at).await.expect("Lintel accepts");
        stream.write_all(head.as_bytes()).await.expect("Lintel reads");
        stream
    };
    let held = join_all((0..CLIENTS).map(|_| hold())).await;
    let memory = async || gauge::read(&lintel).memory;
    eventually("Lintel holds the heads", async || (memory().await > before + SLACK + 4 * MIB).then_some(()))
        .await;
    drop(held);
    eventually("memory comes back", async || (memory().await < before + SLACK).then_some(())).await;
}
