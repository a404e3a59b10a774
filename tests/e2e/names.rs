//! Servers that are host names, by a name server that moves them, fails, says nothing, or has never heard of them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::load::Load;
use crate::support::lintel::{field_of, message_of};
use crate::support::{Lintel, Origin, eventually, get};

/// What the name server makes of every question.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Says {
    Addresses(Vec<Ipv4Addr>),
    /// The name is there, but has no address.
    Empty,
    NoSuchName,
    Failure,
    /// Not a word.
    Nothing,
}

/// A name server on loopback; ends with the test.
struct NameServer {
    address: SocketAddr,
    says: Arc<Mutex<Says>>,
    asked: Arc<AtomicUsize>,
    running: JoinHandle<()>,
}

impl NameServer {
    async fn start(says: Says) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a socket");
        let address = socket.local_addr().expect("a bound socket has an address");
        let (says, asked) = (Arc::new(Mutex::new(says)), Arc::new(AtomicUsize::new(0)));
        let (script, count) = (Arc::clone(&says), Arc::clone(&asked));
        let running = tokio::spawn(async move {
            let mut packet = [0; 1024];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                let says = script.lock().clone();
                if let Some(answer) = answer(&packet[..length], &says) {
                    let _ = socket.send_to(&answer, from).await;
                }
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { address, says, asked, running }
    }

    fn now(&self, says: Says) {
        *self.says.lock() = says;
    }

    /// Awaits two more questions: all that come after the first of them see what was said last.
    async fn asked_again(&self) {
        let before = self.asked.load(Ordering::SeqCst);
        let came = async || (self.asked.load(Ordering::SeqCst) > before + 1).then_some(());
        eventually("the name server is asked again", came).await;
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// The bytes of an answer (RFC 1035 section 4.1) to the one question of a query, good for a second.
fn answer(query: &[u8], says: &Says) -> Option<Vec<u8>> {
    let (addresses, code): (&[Ipv4Addr], u8) = match says {
        Says::Nothing => return None,
        Says::Addresses(addresses) => (addresses, 0),
        Says::Empty => (&[], 0),
        Says::Failure => (&[], 2),
        Says::NoSuchName => (&[], 3),
    };
    let name_ends = 12 + query.get(12..)?.iter().position(|byte| *byte == 0)?;
    let question = query.get(12..name_ends + 5)?;
    // One for AAAA has no answer.
    let addresses = if question.ends_with(&[0, 1, 0, 1]) { addresses } else { &[] };
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80 | code, 0, 1, 0, u8::try_from(addresses.len()).ok()?, 0, 0, 0, 0]);
    reply.extend(question);
    for address in addresses {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        reply.extend(address.octets());
    }
    Some(reply)
}

fn at(origin: &Origin) -> Says {
    match origin.socket_address().ip() {
        IpAddr::V4(address) => Says::Addresses(vec![address]),
        IpAddr::V6(address) => panic!("{address} is no address of an Origin"),
    }
}

/// A pool of one name, by this name server.
fn config(names: &NameServer, origin: &Origin) -> String {
    format!(
        "listeners:\n  http: {{ address: \"127.0.0.1:0\" }}\npools:\n  named:\n    servers: [\"app.lintel.test:{}\"]\n    \
         resolve: {{ max_ttl: 1s, name_servers: \"{}\" }}\nroutes:\n  - {{ name: all, to: named }}\n",
        origin.socket_address().port(),
        names.address,
    )
}

async fn serves(lintel: &Lintel, name: &str) {
    eventually(&format!("{name} serves"), async || {
        (get(lintel.http(), "/").await.text() == name).then_some(())
    })
    .await;
}

/// Whether the log has so many lines about names with this message.
fn said(lintel: &Lintel, message: &str, times: usize) -> bool {
    lintel.log.records().iter().filter(|line| message_of(line) == message).count() >= times
}

const LOST: &str = "host name is not found; its last addresses stay";
const FOUND: &str = "host name is found again";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_moves_takes_its_requests_along_and_none_fails() {
    let origins = Origin::two_of_a_port(["one", "two"]);
    let names = NameServer::start(at(&origins[0])).await;
    let lintel = Lintel::start(config(&names, &origins[0])).await;
    let load = Load::start(lintel.http(), 4);
    for turn in 0..3 {
        let (now, next) = (&origins[turn % 2], &origins[(turn + 1) % 2]);
        serves(&lintel, if turn % 2 == 0 { "one" } else { "two" }).await;
        let before = now.count();
        load.more(20).await;
        assert!(now.count() > before, "the address of the name serves");
        names.now(at(next));
        serves(&lintel, if turn % 2 == 0 { "two" } else { "one" }).await;
        // What was picked before is on its way still.
        eventually("the one before is idle", async || {
            let before = now.count();
            load.more(20).await;
            (now.count() == before).then_some(())
        })
        .await;
    }
    load.stop().await;
    lintel.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_server_that_fails_is_empty_or_silent_changes_nothing_until_it_knows_better() {
    let origins = Origin::two_of_a_port(["one", "two"]);
    let names = NameServer::start(at(&origins[0])).await;
    let lintel = Lintel::start(config(&names, &origins[0])).await;
    serves(&lintel, "one").await;
    let load = Load::start(lintel.http(), 4);
    for (turn, (says, reason)) in [
        (Says::Failure, "the name server answered"),
        (Says::Empty, "the name has no address"),
        (Says::NoSuchName, "no such name"),
    ]
    .into_iter()
    .enumerate()
    {
        names.now(says);
        eventually("the log tells", async || said(&lintel, LOST, turn + 1).then_some(())).await;
        let lines = lintel.log.records();
        let line = lines.iter().rfind(|line| message_of(line) == LOST).expect("it was there");
        let told = field_of(line, "reason").as_str().unwrap_or_default().to_owned();
        assert!(told.starts_with(reason), "{line}");
        assert_eq!(field_of(line, "kept"), 1, "{line}");
        names.asked_again().await;
        load.more(20).await;
        assert_eq!(get(lintel.http(), "/").await.text(), "one");
        names.now(at(&origins[0]));
        eventually("the log tells of the end", async || said(&lintel, FOUND, turn + 1).then_some(())).await;
    }
    names.now(Says::Nothing);
    names.asked_again().await;
    load.more(50).await;
    assert_eq!(get(lintel.http(), "/").await.text(), "one");
    names.now(at(&origins[1]));
    serves(&lintel, "two").await;
    load.stop().await;
    lintel.stop().await;
}

#[tokio::test]
async fn a_name_that_nobody_knows_at_the_start_costs_its_own_pool_until_it_is_known() {
    let (named, other) = (Origin::named("named"), Origin::named("other"));
    let names = NameServer::start(Says::NoSuchName).await;
    let yaml = config(&names, &named)
        .replace("routes:\n  - { name: all, to: named }\n", &format!(
            "  other: {{ servers: [\"{}\"] }}\nroutes:\n  - {{ name: named, match: {{ path: /named }}, to: named }}\n  - {{ name: all, to: other }}\n",
            other.address()
        ));
    let lintel = Lintel::start(yaml).await;
    eventually("the log tells", async || said(&lintel, LOST, 1).then_some(())).await;
    let lines = lintel.log.records();
    let line = lines.iter().find(|line| message_of(line) == LOST).expect("it was there");
    assert_eq!(field_of(line, "name"), "app.lintel.test", "{line}");
    assert_eq!((field_of(line, "pool"), field_of(line, "kept")), (&"named".into(), &0.into()), "{line}");
    assert_eq!(field_of(line, "reason"), "no such name", "{line}");
    assert_eq!(get(lintel.http(), "/").await.text(), "other");
    assert_eq!(get(lintel.http(), "/named").await.status(), 503);
    assert_eq!(lintel.record_of("/named").await["fault"], "no_server_up");
    names.now(at(&named));
    eventually("it is served", async || (get(lintel.http(), "/named").await.text() == "named").then_some(()))
        .await;
    assert_eq!(get(lintel.http(), "/").await.text(), "other");
    lintel.stop().await;
}
