//! Plays cases against one Lintel with one server behind it, and has the accounts compared.

use std::net::{Ipv4Addr, SocketAddr};

use futures_util::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::generator::Case;
use crate::servers::{Kind, Server};
use crate::support::Lintel;
use crate::support::time::{DEADLINE, within};
use crate::verdict::{End, Played, judge};

const AT_ONCE: usize = 32;

/// Which cases are played: `SMUGGLE_CASES`, `SMUGGLE_SEED`, or `SMUGGLE_ONLY` for one, with all that is known about it.
pub struct Plan {
    pub seed: u64,
    pub first: u32,
    pub count: u32,
    pub is_alone: bool,
}

impl Plan {
    pub fn of_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let small = |number: u64| u32::try_from(number).expect("a number of 32 bits");
        let seed = number("SMUGGLE_SEED").unwrap_or(1);
        match number("SMUGGLE_ONLY") {
            Some(only) => Self { seed, first: small(only), count: 1, is_alone: true },
            None => {
                let count = small(number("SMUGGLE_CASES").unwrap_or(500));
                Self { seed, first: 0, count, is_alone: false }
            }
        }
    }
}

/// Plays the cases that the environment asks for against a server of this kind; fails with a report.
pub async fn against(kind: Kind) {
    if !kind.is_here() {
        eprintln!("skipped: {kind} is not installed; scripts/setup test installs it");
        return;
    }
    let plan = Plan::of_environment();
    let server = Server::start(kind).await;
    let lintel = Lintel::start(config(&server.address)).await;
    let address = lintel.http();
    let numbers = plan.first..plan.first + plan.count;
    let playing = stream::iter(numbers).map(|number| play(Case::of(plan.seed, number), address));
    let played: Vec<Played> = playing.buffer_unordered(AT_ONCE).collect().await;
    let ending = lintel.stop().await;
    let sights = server.stop().await;
    let verdict = judge(&played, &ending.records, &sights);
    eprintln!("{kind}, seed {}: {verdict}", plan.seed);
    if plan.is_alone {
        show(&played[0], &ending.records, &sights);
    }
    assert!(verdict.wrong.is_empty(), "{}", verdict.report(&kind.to_string(), plan.seed));
}

/// One try for each request, a server that is never taken out, and connections that are used again: a byte too many for
/// one request is the beginning of the next.
pub fn config(server: &str) -> String {
    let mut yaml =
        String::from("runtime: { threads: 2 }\nlisteners:\n  http: { address: \"127.0.0.1:0\" }\n");
    yaml.push_str("pools:\n  web:\n");
    yaml.push_str(&format!("    servers: [\"{server}\"]\n"));
    yaml.push_str("    retries: { attempts: 0 }\n");
    yaml.push_str("    outlier_detection: { consecutive_failures: 1000 }\n");
    yaml.push_str("    timeouts: { server_keep_alive: 1h }\n");
    yaml.push_str("routes:\n  - { name: all, to: web }\n");
    yaml
}

/// Sends a case from an address of its own, so that Lintel's log says whose each request is, and reads to the end.
async fn play(case: Case, address: SocketAddr) -> Played {
    let stream = connect(case.number, address).await;
    stream.set_nodelay(true).expect("TCP_NODELAY can be set");
    let (mut read, mut write) = stream.into_split();
    let sending = async {
        for piece in &case.pieces {
            // Lintel may have had enough already.
            if write.write_all(piece).await.is_err() {
                return;
            }
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
        }
        let _ = write.shutdown().await;
    };
    let mut answers = Vec::new();
    let reading = async { read.read_to_end(&mut answers).await.is_err() };
    let both = async { tokio::join!(sending, reading) };
    let end = match tokio::time::timeout(DEADLINE, both).await {
        Ok(((), was_reset)) => End { was_reset, is_stuck: false },
        Err(_) => End { was_reset: false, is_stuck: true },
    };
    Played { case, answers, end }
}

/// Number 0x010203 comes from 127.17.2.3.
async fn connect(number: u32, to: SocketAddr) -> TcpStream {
    let [_, high, middle, low] = number.to_be_bytes();
    let from = Ipv4Addr::new(127, 16 + high, middle, low);
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((from, 0))).expect("loopback has this address");
    within("a connection to Lintel", socket.connect(to)).await.expect("Lintel accepts")
}

/// The number of the case that a `peer` of the access log stands for.
pub fn case_of(peer: &str) -> Option<u32> {
    let address: SocketAddr = peer.parse().ok()?;
    let SocketAddr::V4(address) = address else { return None };
    let [127, high, middle, low] = address.ip().octets() else { return None };
    Some(u32::from_be_bytes([0, high.checked_sub(16)?, middle, low]))
}

fn show(played: &Played, records: &[serde_json::Value], sights: &[crate::servers::Sight]) {
    eprintln!("changes: {:?}", played.case.changes);
    for piece in &played.case.pieces {
        eprintln!("sent: {}", piece.escape_ascii());
    }
    eprintln!("strict reader: {:?}", crate::reading::read(&played.case.bytes()));
    for record in records {
        eprintln!("logged: {record}");
    }
    for sight in sights {
        eprintln!("server: {sight:?}");
    }
    eprintln!("answers: {}", played.answers.escape_ascii());
}
