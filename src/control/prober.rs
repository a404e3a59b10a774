//! The tasks that check servers: one per server of a pool with a health check, on the control runtime.
//!
//! A prober never overlaps itself, and all together make at most `AT_ONCE` checks at a time. What a check is and
//! when its results turn a server are rules of `health`; what else a change means is told to the pool's callback.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use crate::control::first_round::{FirstRound, Missing};
use crate::control::task::Task;
use crate::health;
use crate::health::active::{Check, Failure, Wire};
use crate::health::threshold::{Change, Event, Threshold};
use crate::net::Stream;
use crate::server::{Health, Server};

/// Checks under way in the whole process; the next ones wait, and their timeout does not run while they do.
const AT_ONCE: usize = 256;

/// A connection to a server in the making, TLS included.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

pub type Connect = dyn Fn(&Server) -> Connecting + Send + Sync;
pub type OnChecked = dyn Fn(&Arc<Server>, &Checked) + Send + Sync;

/// How the servers of one pool are checked. A prober keeps going while its plan is the same `Arc`.
pub struct Plan {
    pub pool: Arc<str>,
    pub spec: health::Spec,
    /// What its servers speak.
    pub wire: Wire,
    /// Connects to the server the way its pool does.
    pub connect: Box<Connect>,
    /// Hears of every result, after the server's state has been written: counts it, and on a change to `Up` wakes
    /// whoever waits for a server. Must not block.
    pub checked: Box<OnChecked>,
}

/// One result.
#[derive(Debug)]
pub struct Checked {
    /// From the start of the connection.
    pub took: Duration,
    pub result: Result<(), Failure>,
    /// Set when this result turned the server's state.
    pub change: Option<Change>,
}

/// All probers of the process.
pub struct Prober {
    runtime: Handle,
    /// Milliseconds on the process clock.
    now_ms: fn() -> u64,
    slots: Arc<Semaphore>,
    first_round: FirstRound,
    pools: Mutex<HashMap<Arc<str>, Running>>,
}

struct Running {
    plan: Arc<Plan>,
    /// By server id.
    tasks: HashMap<u64, Task>,
}

impl Prober {
    /// Probers run on `runtime`; `now_ms` is the clock of `server::State`.
    pub fn new(runtime: Handle, now_ms: fn() -> u64) -> Self {
        Self {
            runtime,
            now_ms,
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            first_round: FirstRound::default(),
            pools: Mutex::default(),
        }
    }

    /// Makes the probers of `plan.pool` those of `servers`: starts the missing, aborts those of servers that are gone.
    ///
    /// With another plan than before all of them start anew, from the health that is known.
    pub fn reconcile(&self, plan: &Arc<Plan>, servers: &[Arc<Server>]) {
        let mut pools = self.pools.lock();
        let running = pools
            .entry(Arc::clone(&plan.pool))
            .or_insert_with(|| Running { plan: Arc::clone(plan), tasks: HashMap::new() });
        let mut before = std::mem::take(&mut running.tasks);
        if !Arc::ptr_eq(&running.plan, plan) {
            running.plan = Arc::clone(plan);
            before.clear();
        }
        for server in servers {
            let task = before.remove(&server.id).filter(|task| !task.is_finished());
            running.tasks.insert(server.id, task.unwrap_or_else(|| self.start(plan, server)));
        }
    }

    /// Ends all probers of a pool.
    pub fn stop(&self, pool: &str) {
        self.pools.lock().remove(pool);
    }

    /// Waits until every server has had its first result, at most `limit`; how many have none still.
    ///
    /// Servers that come later count too while this waits.
    pub fn first_round_done(&self, limit: Duration) -> impl Future<Output = usize> + Send + 'static {
        self.first_round.done(limit)
    }

    fn start(&self, plan: &Arc<Plan>, server: &Arc<Server>) -> Task {
        let known = server.state.health();
        let probe = Probe {
            check: Check::compile(&plan.spec, &server.spec.address, plan.wire),
            threshold: Threshold::new(&plan.spec, known),
            missing: (known == Health::Unknown).then(|| self.first_round.expect_one()),
            complained: false,
            plan: Arc::clone(plan),
            server: Arc::clone(server),
            slots: Arc::clone(&self.slots),
            now_ms: self.now_ms,
        };
        Task::spawn(&self.runtime, "health check", probe.run())
    }
}

/// The prober of one server.
struct Probe {
    plan: Arc<Plan>,
    server: Arc<Server>,
    check: Check,
    threshold: Threshold,
    slots: Arc<Semaphore>,
    now_ms: fn() -> u64,
    /// Held until the first result.
    missing: Option<Missing>,
    /// It was said that no check could be made.
    complained: bool,
}

impl Probe {
    async fn run(mut self) {
        let interval = self.plan.spec.interval.std();
        let mut due = Instant::now();
        if self.missing.is_none() {
            due += spread(interval, fastrand::f64());
        }
        loop {
            sleep_until(due).await;
            let Ok(slot) = self.slots.acquire().await else { return };
            let started = Instant::now();
            let result = self.check.run((self.plan.connect)(&self.server)).await;
            drop(slot);
            self.conclude(result, started.elapsed());
            // The first checks of all servers are made at once; the second ones spread them over the interval.
            due = started
                + match self.missing.take() {
                    Some(_first) => spread(interval, fastrand::f64()),
                    None => jittered(interval, fastrand::f64()),
                };
        }
    }

    fn conclude(&mut self, result: Result<(), Failure>, took: Duration) {
        // What this machine lacks says nothing about the server; else all of them would be down with it.
        if let Err(Failure::Connect(error)) = &result
            && error.kind() == io::ErrorKind::OutOfMemory
        {
            if !std::mem::replace(&mut self.complained, true) {
                let (pool, server) = (&*self.server.pool, &*self.server.identity);
                tracing::error!(pool, server, %error, "cannot check servers for now");
            }
            return;
        }
        self.complained = false;
        let change = self.threshold.step(match &result {
            Ok(()) => Event::Success,
            Err(failure) => Event::Failure(failure),
        });
        if let Some(change) = &change {
            self.server.state.record_health(change.to, (self.now_ms)());
            log(&self.server, change);
        }
        (self.plan.checked)(&self.server, &Checked { took, result, change });
    }
}

fn log(server: &Server, change: &Change) {
    let (pool, identity) = (&*server.pool, &*server.identity);
    let (from, to, reason) = (word(change.from), word(change.to), &*change.reason);
    match change.to {
        Health::Down => tracing::warn!(pool, server = identity, from, to, reason, "server is down"),
        _ => tracing::info!(pool, server = identity, from, to, reason, "server is up"),
    }
}

fn word(health: Health) -> &'static str {
    match health {
        Health::Unknown => "unknown",
        Health::Up => "up",
        Health::Down => "down",
    }
}

/// Somewhere within one interval, by a random number from 0 to 1.
fn spread(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(random)
}

/// The interval give or take a tenth, by a random number from 0 to 1.
fn jittered(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * random)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::mpsc;

    use super::*;
    use crate::net::Endpoint;
    use crate::observe::metrics::ServerMetrics;
    use crate::server;

    fn server(port: u16) -> Arc<Server> {
        let spec: server::Spec =
            serde_json::from_str(&format!(r#"{{ "address": "127.0.0.1:{port}" }}"#)).unwrap();
        let endpoint = Endpoint::Inet(([127, 0, 0, 1], port).into());
        let identity = spec.address.to_string().into();
        Arc::new(Server::new("web".into(), identity, endpoint, spec, ServerMetrics::default()))
    }

    fn prober() -> Prober {
        Prober::new(Handle::current(), || 7)
    }

    type Results = mpsc::UnboundedReceiver<(Arc<Server>, Checked)>;

    /// A TCP check whose connections are made by `connect`.
    fn plan<F>(json: &str, connect: impl Fn() -> F + Send + Sync + 'static) -> (Arc<Plan>, Results)
    where
        F: Future<Output = io::Result<Stream>> + Send + 'static,
    {
        let (results, receiver) = mpsc::unbounded_channel();
        let plan = Plan {
            pool: "web".into(),
            spec: serde_json::from_str(json).unwrap(),
            wire: Wire::Http1,
            connect: Box::new(move |_| Box::pin(connect())),
            checked: Box::new(move |server, checked| {
                let Checked { took, change, .. } = checked;
                let result = checked.result.as_ref().copied().map_err(|_| Failure::Closed);
                let _ = results
                    .send((Arc::clone(server), Checked { took: *took, result, change: change.clone() }));
            }),
        };
        (Arc::new(plan), receiver)
    }

    /// Lets time go by on the paused clock.
    async fn pass(length: Duration) {
        let _ = tokio::time::timeout(length, std::future::pending::<()>()).await;
    }

    async fn refused() -> io::Result<Stream> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    /// A connection of this process with itself; the other end is let go.
    async fn connected() -> io::Result<Stream> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let stream = tokio::net::TcpStream::connect(listener.local_addr()?).await?;
        Ok(Stream::Plain(stream.into()))
    }

    const TCP: &str = r#"{ "tcp": true, "interval": "10s" }"#;

    #[test]
    fn intervals_vary_by_a_tenth() {
        let interval = Duration::from_secs(10);
        assert_eq!(jittered(interval, 0.0), Duration::from_secs(9));
        assert_eq!(jittered(interval, 0.5), Duration::from_secs(10));
        assert_eq!(jittered(interval, 1.0), Duration::from_secs(11));
        assert_eq!(spread(interval, 0.25), Duration::from_millis(2500));
    }

    #[tokio::test]
    async fn the_first_check_is_made_at_once_and_decides() {
        let (plan, mut results) = plan(TCP, connected);
        let (prober, server) = (prober(), server(1));
        prober.reconcile(&plan, std::slice::from_ref(&server));
        let (checked, result) = results.recv().await.unwrap();
        assert_eq!(checked.id, server.id);
        assert_eq!(result.change.unwrap().to, Health::Up);
        assert_eq!(server.state.health(), Health::Up);
    }

    #[tokio::test(start_paused = true)]
    async fn checks_follow_each_other_at_the_interval_and_one_change_is_told_once() {
        let (plan, mut results) = plan(TCP, refused);
        let (prober, server) = (prober(), server(1));
        let start = Instant::now();
        prober.reconcile(&plan, std::slice::from_ref(&server));
        let mut times = Vec::new();
        let mut changes = 0;
        for _ in 0..12 {
            changes += usize::from(results.recv().await.unwrap().1.change.is_some());
            times.push(start.elapsed().as_secs_f64());
        }
        assert_eq!(changes, 1);
        assert_eq!(server.state.health(), Health::Down);
        assert!(times[0] < 0.1, "{times:?}");
        assert!(times[1] < 10.1, "{times:?}");
        for pair in times[1..].windows(2) {
            assert!((8.9..11.1).contains(&(pair[1] - pair[0])), "{times:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_never_overlaps_the_one_before() {
        let under_way = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&under_way);
        let slow = move || {
            let seen = Arc::clone(&seen);
            async move {
                assert_eq!(seen.fetch_add(1, Ordering::Relaxed), 0);
                pass(Duration::from_secs(25)).await;
                seen.fetch_sub(1, Ordering::Relaxed);
                refused().await
            }
        };
        let (plan, mut results) = plan(r#"{ "tcp": true, "interval": "10s", "timeout": "60s" }"#, slow);
        let prober = prober();
        let start = Instant::now();
        prober.reconcile(&plan, &[server(1)]);
        for _ in 0..4 {
            results.recv().await.unwrap();
        }
        assert_eq!(start.elapsed().as_secs(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bounded_number_of_checks_is_made_at_once() {
        let under_way = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let (counted, highest) = (Arc::clone(&under_way), Arc::clone(&most));
        let slow = move || {
            let (counted, highest) = (Arc::clone(&counted), Arc::clone(&highest));
            async move {
                highest.fetch_max(counted.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                pass(Duration::from_millis(10)).await;
                counted.fetch_sub(1, Ordering::Relaxed);
                refused().await
            }
        };
        let (plan, _results) = plan(r#"{ "tcp": true, "interval": "60s" }"#, slow);
        let servers: Vec<_> = (0..10_000).map(|_| server(1)).collect();
        let prober = prober();
        let start = Instant::now();
        prober.reconcile(&plan, &servers);
        assert_eq!(prober.first_round_done(Duration::from_secs(60)).await, 0);
        assert!(servers.iter().all(|server| server.state.health() == Health::Down));
        assert_eq!(most.load(Ordering::Relaxed), AT_ONCE);
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn reconcile_starts_new_ones_and_ends_those_of_servers_that_are_gone() {
        let (plan, mut results) = plan(TCP, refused);
        let prober = prober();
        let (a, b, c) = (server(1), server(2), server(3));
        prober.reconcile(&plan, &[Arc::clone(&a), Arc::clone(&b)]);
        prober.first_round_done(Duration::from_secs(1)).await;
        prober.reconcile(&plan, &[Arc::clone(&b), Arc::clone(&c)]);
        prober.first_round_done(Duration::from_secs(1)).await;
        while results.try_recv().is_ok() {}
        pass(Duration::from_secs(100)).await;
        let mut ids = Vec::new();
        while let Ok((server, _)) = results.try_recv() {
            ids.push(server.id);
        }
        assert!(!ids.contains(&a.id) && ids.contains(&b.id) && ids.contains(&c.id));
        let of_b = ids.iter().filter(|id| **id == b.id).count();
        assert!((9..=12).contains(&of_b), "one prober for b, not two: {of_b} checks in 100 s");
        prober.stop("web");
        pass(Duration::from_secs(100)).await;
        assert!(results.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_plan_keeps_what_is_known() {
        let (first, _results) = plan(TCP, refused);
        let (second, mut results) =
            plan(r#"{ "tcp": true, "interval": "1s", "unhealthy_after": 2 }"#, refused);
        let (prober, server) = (prober(), server(1));
        server.state.record_health(Health::Up, 1);
        prober.reconcile(&first, std::slice::from_ref(&server));
        prober.reconcile(&second, std::slice::from_ref(&server));
        assert_eq!(prober.first_round_done(Duration::from_secs(9)).await, 0);
        assert!(results.recv().await.unwrap().1.change.is_none());
        assert_eq!(results.recv().await.unwrap().1.change.unwrap().from, Health::Up);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_round_waits_no_longer_than_its_limit() {
        let (plan, _results) = plan(r#"{ "tcp": true, "timeout": "30s", "interval": "60s" }"#, || async {
            std::future::pending::<io::Result<Stream>>().await
        });
        let prober = prober();
        prober.reconcile(&plan, &[server(1), server(2)]);
        assert_eq!(prober.first_round_done(Duration::from_secs(5)).await, 2);
        prober.reconcile(&plan, &[]);
        assert_eq!(prober.first_round_done(Duration::from_secs(5)).await, 0);
    }
}
