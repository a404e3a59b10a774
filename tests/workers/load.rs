//! An open-loop client: sends requests at a fixed rate, whatever becomes of them, and counts what became of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use crate::support::{Connection, eventually};

/// Requests under way at once; one more fails at once instead of piling up.
const MOST_AT_ONCE: usize = 2000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Connections are used again, the one that was free last first.
    KeepAlive,
    /// A connection for each request.
    New,
}

/// What is sent how often.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub mode: Mode,
    pub method: &'static str,
    pub path: &'static str,
    /// Requests a second.
    pub rate: u32,
}

impl Rate {
    pub fn gets(mode: Mode, rate: u32) -> Self {
        Self { mode, method: "GET", path: "/", rate }
    }
}

/// A request that got no 200.
#[derive(Clone, Debug)]
pub struct Failure {
    pub sent: Instant,
    pub why: String,
}

/// What became of all requests.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub sent: usize,
    pub statuses: BTreeMap<u16, usize>,
    pub failures: Vec<Failure>,
    /// Index and process id of each worker that answered, and how often it did.
    pub workers: BTreeMap<String, usize>,
    /// The longest time to an answer.
    pub slowest: Duration,
}

impl Tally {
    /// Fails unless every request was answered 200.
    pub fn assert_whole(&self) {
        let first: Vec<&str> = self.failures.iter().take(5).map(|failure| failure.why.as_str()).collect();
        let failed = self.failures.len();
        assert_eq!(failed, 0, "of {} requests {failed} failed: {first:?}, {:?}", self.sent, self.statuses);
        assert_eq!(self.statuses.get(&200), Some(&self.sent), "{:?}", self.statuses);
    }
}

/// The load of one client. Dropping it ends it.
pub struct Load {
    client: Arc<Client>,
    end: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

struct Client {
    address: SocketAddr,
    rate: Rate,
    free: Mutex<Vec<Connection>>,
    tally: Mutex<Tally>,
}

impl Load {
    pub fn start(address: SocketAddr, rate: Rate) -> Self {
        let client = Arc::new(Client { address, rate, free: Mutex::default(), tally: Mutex::default() });
        let (end, over) = oneshot::channel();
        let running = tokio::spawn(run(Arc::clone(&client), over));
        Self { client, end: Some(end), running }
    }

    /// Both ways to use connections at once, `rate` requests a second together.
    pub fn both(address: SocketAddr, rate: u32) -> [Self; 2] {
        [Mode::KeepAlive, Mode::New].map(|mode| Self::start(address, Rate::gets(mode, rate / 2)))
    }

    /// Awaits that so many more requests were answered.
    pub async fn goes_on(&self, more: usize) {
        let answered = || self.client.tally.lock().statuses.values().sum::<usize>();
        let wanted = answered() + more;
        eventually("requests are answered", async || (answered() >= wanted).then_some(())).await;
    }

    /// Sends nothing more, awaits what is under way.
    pub async fn tally(mut self) -> Tally {
        self.end.take().map(|end| end.send(()));
        crate::support::within("the last answers", &mut self.running)
            .await
            .expect("the client does not panic");
        self.client.tally.lock().clone()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn run(client: Arc<Client>, mut over: oneshot::Receiver<()>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / client.rate.rate);
    let mut exchanges = JoinSet::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = &mut over => break,
        }
        while exchanges.try_join_next().is_some() {}
        client.tally.lock().sent += 1;
        if exchanges.len() >= MOST_AT_ONCE {
            client.fail(Instant::now(), "too many are under way".to_owned());
            continue;
        }
        let client = Arc::clone(&client);
        exchanges.spawn(async move { client.exchange().await });
    }
    while exchanges.join_next().await.is_some() {}
}

impl Client {
    fn fail(&self, sent: Instant, why: String) {
        self.tally.lock().failures.push(Failure { sent, why });
    }

    /// A connection that was not closed while it was idle, as every client looks before it uses one again.
    async fn kept(&self) -> Option<Connection> {
        loop {
            let mut connection = self.free.lock().pop()?;
            if !connection.is_over().await {
                return Some(connection);
            }
        }
    }

    async fn exchange(&self) {
        let sent = Instant::now();
        let mut connection = match self.kept().await {
            Some(connection) => connection,
            None => match TcpStream::connect(self.address).await {
                Ok(stream) => Connection::over(stream),
                Err(error) => return self.fail(sent, format!("no connection: {error}")),
            },
        };
        let Rate { mode, method, path, .. } = self.rate;
        let close = if mode == Mode::New { "Connection: close\r\n" } else { "" };
        let length = if method == "POST" { "Content-Length: 2\r\n\r\n{}" } else { "\r\n" };
        connection.send(format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\n{close}{length}")).await;
        let response = match connection.try_response_to(method).await {
            Ok(response) => response,
            Err(why) => return self.fail(sent, why),
        };
        let mut tally = self.tally.lock();
        *tally.statuses.entry(response.status()).or_default() += 1;
        if response.status() == 200 {
            let worker = response.field("x-worker").unwrap_or_default().to_owned();
            *tally.workers.entry(worker).or_default() += 1;
            tally.slowest = tally.slowest.max(sent.elapsed());
        } else {
            tally
                .failures
                .push(Failure { sent, why: format!("{} {}", response.line, response.text().trim()) });
        }
        drop(tally);
        if mode == Mode::KeepAlive && !response.lists("connection", "close") {
            self.free.lock().push(connection);
        }
    }
}

/// Ends all of these, and fails unless every request of each was answered 200; the workers that answered.
pub async fn all_whole(loads: impl IntoIterator<Item = Load>) -> BTreeSet<String> {
    let mut workers = BTreeSet::new();
    for load in loads {
        let tally = load.tally().await;
        tally.assert_whole();
        workers.extend(tally.workers.into_keys());
    }
    workers
}
