//! The storm: three servers that fail in turn, by a script drawn from a seed, under steady traffic of GETs and POSTs.
//!
//! What must hold: while one server lives no GET fails; no body that was cut off is passed off as whole; no POST is executed
//! twice. Ten seconds long; `LINTEL_STORM_REQUESTS=18000 LINTEL_STORM_RATE=300` makes it a minute, `LINTEL_STORM_SEED` another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::chaos::{Chaos, Fault, Ledger, digest_of};
use crate::support::{Connection, Lintel, Response, eventually};

/// Requests from one fault to the next.
const STEP: usize = 75;
/// Requests under way at once, at most.
const AT_ONCE: usize = 64;

const POOL: &str = "balance: round_robin
health_check: { path: /health, interval: 1s, timeout: 900ms, healthy_after: 1, unhealthy_after: 5 }
outlier_detection: { consecutive_failures: 5, ejection_time: 1s, max_ejected: 67% }
retries: { attempts: 5, on: [connect_failure, reset, timeout], budget: 100% }
timeouts: { connect: 1s, response: 3s }";

/// A number of the environment, or what stands for it.
fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// What became of the requests, by kind and outcome.
#[derive(Debug, Default)]
struct Tally {
    outcomes: Mutex<BTreeMap<(&'static str, String), usize>>,
    over: AtomicUsize,
}

impl Tally {
    fn count(&self, kind: &'static str, outcome: impl Into<String>) {
        *self.outcomes.lock().entry((kind, outcome.into())).or_default() += 1;
        self.over.fetch_add(1, Ordering::SeqCst);
    }

    fn of(&self, kind: &str, outcome: &str) -> usize {
        let fits = |key: &(&'static str, String)| key.0 == kind && key.1 == outcome;
        self.outcomes.lock().iter().filter(|(key, _)| fits(key)).map(|(_, count)| count).sum()
    }
}

/// The clients: kept connections, and what they saw.
struct Clients {
    address: std::net::SocketAddr,
    idle: Mutex<Vec<Connection>>,
    tally: Tally,
    /// Ids of the POSTs that were answered with 200.
    answered: Mutex<Vec<String>>,
}

impl Clients {
    async fn ask(&self, request: &str, method: &str) -> Result<Response, String> {
        let idle = self.idle.lock().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::open(self.address).await,
        };
        connection.send(request).await;
        let response = connection.try_response_to(method).await?;
        if !response.lists("connection", "close") {
            self.idle.lock().push(connection);
        }
        Ok(response)
    }

    async fn get(&self, number: usize) {
        let kind = if number.is_multiple_of(3) { "chunked" } else { "plain" };
        let size = [10, 1_000, 30_000, 200_000][number % 4];
        let request = format!("GET /{kind}/{size} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        match self.ask(&request, "GET").await {
            Ok(answer) if answer.status() != 200 => self.tally.count("get", answer.status().to_string()),
            Ok(answer) if answer.body.len() != size || !is_whole(&answer) => self.tally.count("get", "wrong"),
            Ok(_) => self.tally.count("get", "whole"),
            // What was begun cannot be asked of another server; that it is not whole can be seen.
            Err(why) if why.contains("HTTP/1.1 200") => self.tally.count("get", "cut"),
            Err(why) => self.tally.count("get", why),
        }
    }

    async fn post(&self, number: usize) {
        let (id, body) = (format!("post-{number}"), "p".repeat(1 + number % 5_000));
        let length = body.len();
        let request = format!(
            "POST /echo HTTP/1.1\r\nHost: a.test\r\nX-Id: {id}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        match self.ask(&request, "POST").await {
            Ok(answer) if answer.status() != 200 => self.tally.count("post", "failed"),
            Ok(answer) if answer.body != body.as_bytes() || !is_whole(&answer) => {
                self.tally.count("post", "wrong")
            }
            Ok(_) => {
                self.answered.lock().push(id);
                self.tally.count("post", "whole");
            }
            Err(_) => self.tally.count("post", "failed"),
        }
    }
}

fn is_whole(answer: &Response) -> bool {
    answer.field("x-digest") == Some(digest_of(&answer.body).as_str())
}

/// Requests at a rate, whether answers come or not, as those of people do; but never more than `AT_ONCE`.
async fn traffic(clients: &Arc<Clients>, requests: usize, rate: usize) {
    let room = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(rate).unwrap());
    let mut running = JoinSet::new();
    for number in 0..requests {
        ticks.tick().await;
        let permit = Arc::clone(&room).acquire_owned().await.unwrap();
        let clients = Arc::clone(clients);
        running.spawn(async move {
            if number % 10 < 3 {
                clients.post(number).await;
            } else {
                clients.get(number).await;
            }
            drop(permit);
        });
        while let Some(Ok(())) = running.try_join_next() {}
    }
    while let Some(outcome) = running.join_next().await {
        outcome.unwrap();
    }
}

/// One fault after the other, each for so many requests. One server is well all the time; another one takes its place only
/// once Lintel knows that it is well.
async fn script(
    servers: &[Chaos; 3],
    lintel: &Lintel,
    clients: &Arc<Clients>,
    requests: usize,
    seed: u64,
) -> usize {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut well, mut faults, steps) = (0, [Fault::Nothing; 3], requests / STEP);
    for step in 0..steps {
        let candidate = random.usize(..3);
        if faults[candidate] == Fault::Nothing {
            eventually("a server that is well gets work", async || {
                is_used(lintel, &servers[candidate]).await.then_some(())
            })
            .await;
            well = candidate;
        }
        for (number, server) in servers.iter().enumerate() {
            faults[number] = if number == well || random.u32(..3) == 0 {
                Fault::Nothing
            } else {
                Fault::ALL[random.usize(..Fault::ALL.len())]
            };
            server.suffer(faults[number]).await;
        }
        let until = (step + 1) * STEP;
        eventually("the requests of a step", async || {
            (clients.tally.over.load(Ordering::SeqCst) + AT_ONCE >= until).then_some(())
        })
        .await;
    }
    for server in servers {
        server.suffer(Fault::Nothing).await;
    }
    steps
}

async fn is_used(lintel: &Lintel, server: &Chaos) -> bool {
    let (metrics, address) = (lintel.metrics().await, server.origin.address());
    let labels = [("server", address.as_str())];
    metrics.sum("lintel_server_up", &labels) > 0.0 && metrics.sum("lintel_server_ejected", &labels) < 1.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_one_server_lives_no_get_fails_no_cut_body_looks_whole_and_no_post_is_executed_twice() {
    let requests = number("LINTEL_STORM_REQUESTS", 1500);
    let rate = number("LINTEL_STORM_RATE", 150);
    let seed = number("LINTEL_STORM_SEED", 7) as u64;
    let ledger = Arc::new(Ledger::default());
    let servers = ["one", "two", "three"].map(|name| Chaos::start(name, &ledger));
    let origins: Vec<_> = servers.iter().map(|server| &server.origin).collect();
    let lintel = Lintel::before(&origins, POOL).await;
    let clients = Arc::new(Clients {
        address: lintel.http(),
        idle: Mutex::default(),
        tally: Tally::default(),
        answered: Mutex::default(),
    });
    let (steps, ()) =
        tokio::join!(script(&servers, &lintel, &clients, requests, seed), traffic(&clients, requests, rate));

    let cut = ledger.cut.load(Ordering::SeqCst);
    let tally = &clients.tally;
    eprintln!(
        "seed {seed}: {requests} requests, {steps} steps, {cut} cut by servers: {:?}",
        tally.outcomes.lock()
    );
    assert_eq!(tally.of("get", "wrong") + tally.of("post", "wrong"), 0, "seed {seed}: {tally:?}");
    let gets: usize =
        tally.outcomes.lock().iter().filter(|(key, _)| key.0 == "get").map(|(_, count)| count).sum();
    assert_eq!(tally.of("get", "whole") + tally.of("get", "cut"), gets, "seed {seed}: {tally:?}");
    assert!(tally.of("get", "cut") <= cut, "seed {seed}: Lintel cut what no server cut: {tally:?}");
    let executed = ledger.executed.lock().clone();
    let twice: Vec<_> = executed.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "seed {seed}: executed twice: {twice:?}");
    for id in &*clients.answered.lock() {
        assert_eq!(executed.get(id), Some(&1), "seed {seed}: {id} was answered by nobody");
    }
    // The storm was one, and it is over.
    lintel.metric("lintel_pool_retries_total", &[("pool", "web")], 1.0).await;
    clients.get(1).await;
    lintel.stop().await;
}
