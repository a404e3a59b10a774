//! The tasks that keep the addresses of host names fresh: one per distinct name of a pool, on the control runtime.
//!
//! When to ask is `discovery::schedule`'s rule and how to ask is `discovery::dns`'s. A failed or empty look-up
//! changes nothing but the log; what new addresses mean for a pool is its callback's work.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::control::first_round::{FirstRound, Missing};
use crate::control::task::Task;
use crate::discovery::{Answer, Answers, LookUp, LookUpError, Poke, Schedule};

/// For one look-up over all name servers, families and search domains; longer than resolv.conf's 5 s twice.
const LOOK_UP_LIMIT: Duration = Duration::from_secs(15);

/// The host names of one pool and what to do with their addresses.
pub struct Plan {
    pub pool: Arc<str>,
    /// Distinct host names.
    pub names: Vec<String>,
    /// The longest time between two look-ups of a name.
    pub max_ttl: Duration,
    /// How names are looked up, where not as all others.
    pub look_up: Option<LookUp>,
    /// Has all names of the pool looked up at once; the data plane holds a clone.
    pub poke: Poke,
    /// Gets the addresses of all names of the pool that have any, each time one of them changed; one call at a time.
    /// Must not block.
    pub changed: Box<dyn Fn(&Answers) + Send + Sync>,
}

/// All look-up tasks of the process.
pub struct Resolver {
    runtime: Handle,
    look_up: LookUp,
    first_round: FirstRound,
    pools: Mutex<HashMap<Arc<str>, Running>>,
}

/// The tasks of one pool, and the plan they follow.
struct Running {
    plan: Arc<Plan>,
    _tasks: Vec<Task>,
}

impl Resolver {
    /// Tasks run on `runtime` and ask by `look_up`, unless their plan has another.
    pub fn new(runtime: Handle, look_up: LookUp) -> Self {
        Self { runtime, look_up, first_round: FirstRound::default(), pools: Mutex::default() }
    }

    /// Starts the look-ups of a pool, each name at once; with another plan than before they start anew from `known`.
    pub fn reconcile(&self, plan: &Arc<Plan>, known: Answers) {
        let mut pools = self.pools.lock();
        if pools.get(&plan.pool).is_some_and(|running| Arc::ptr_eq(&running.plan, plan)) {
            return;
        }
        pools.remove(&plan.pool);
        let answers = Arc::new(Mutex::new(known));
        let tasks = plan.names.iter().map(|name| self.start(plan, name, &answers)).collect();
        pools.insert(Arc::clone(&plan.pool), Running { plan: Arc::clone(plan), _tasks: tasks });
    }

    /// Ends the look-ups of a pool.
    pub fn stop(&self, pool: &str) {
        self.pools.lock().remove(pool);
    }

    /// Waits until every name has had its first answer or failure, at most `limit`; how many have none still.
    pub fn first_round_done(&self, limit: Duration) -> impl Future<Output = usize> + Send + 'static {
        self.first_round.done(limit)
    }

    fn start(&self, plan: &Arc<Plan>, name: &str, answers: &Arc<Mutex<Answers>>) -> Task {
        let name = Following {
            plan: Arc::clone(plan),
            name: name.to_owned(),
            look_up: Arc::clone(plan.look_up.as_ref().unwrap_or(&self.look_up)),
            answers: Arc::clone(answers),
            missing: Some(self.first_round.expect_one()),
            pokes: plan.poke.subscribe(),
            failing: false,
        };
        Task::spawn(&self.runtime, "name look-up", name.run())
    }
}

/// The task of one name.
struct Following {
    plan: Arc<Plan>,
    name: String,
    look_up: LookUp,
    /// Of all names of the pool.
    answers: Arc<Mutex<Answers>>,
    /// Held until the first result.
    missing: Option<Missing>,
    pokes: watch::Receiver<()>,
    /// The last look-up failed, and the log says so.
    failing: bool,
}

impl Following {
    async fn run(mut self) {
        let mut schedule = Schedule::new(self.plan.max_ttl, now());
        loop {
            self.wait(&mut schedule).await;
            schedule.start(now());
            // This look-up answers all pokes so far.
            self.pokes.mark_unchanged();
            let result = timeout(LOOK_UP_LIMIT, (self.look_up)(&self.name)).await;
            match result.unwrap_or(Err(LookUpError::Timeout)) {
                Ok(answer) => {
                    schedule.answered(answer.ttl, now());
                    self.answered(answer);
                }
                Err(error) => {
                    schedule.failed(now());
                    self.failed(&error);
                }
            }
            self.missing = None;
        }
    }

    /// Until the name is due. After one poke no other is heard, so that a storm of them costs nothing.
    async fn wait(&mut self, schedule: &mut Schedule) {
        tokio::select! {
            () = sleep_until(schedule.due().into()) => return,
            // The plan holds the sender, so this never ends in an error.
            _ = self.pokes.changed() => schedule.poke(now()),
        }
        sleep_until(schedule.due().into()).await;
    }

    fn answered(&mut self, answer: Answer) {
        let (pool, name) = (&*self.plan.pool, &*self.name);
        if std::mem::take(&mut self.failing) {
            tracing::info!(pool, name, "host name is found again");
        }
        let mut answers = self.answers.lock();
        if answers.get(name) == Some(&answer.addresses) {
            return;
        }
        tracing::info!(pool, name, addresses = ?answer.addresses, "host name has new addresses");
        answers.insert(self.name.clone(), answer.addresses);
        // Called under the lock: two names of a pool may change at the same moment, and the later call must know both.
        (self.plan.changed)(&answers);
    }

    fn failed(&mut self, reason: &LookUpError) {
        if std::mem::replace(&mut self.failing, true) {
            return;
        }
        let (pool, name) = (&*self.plan.pool, &*self.name);
        let kept = self.answers.lock().get(name).map_or(0, Vec::len);
        tracing::warn!(pool, name, %reason, kept, "host name is not found; its last addresses stay");
    }
}

/// The runtime's clock, so that tests can turn it.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::net::IpAddr;

    use tokio::sync::mpsc;

    use super::*;

    type Script = Vec<Result<Answer, LookUpError>>;

    fn answer(ips: &[&str], ttl: u64) -> Result<Answer, LookUpError> {
        Answer::of(ips.iter().map(|ip| ip.parse().unwrap()), Duration::from_secs(ttl))
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Answers by script, the last one for ever; tells when it was asked.
    fn scripted(script: Script) -> (LookUp, mpsc::UnboundedReceiver<Duration>) {
        let start = Instant::now();
        let (asked, receiver) = mpsc::unbounded_channel();
        let script = Mutex::new(VecDeque::from(script));
        let look_up: LookUp = Arc::new(move |_| {
            let _ = asked.send(start.elapsed());
            let mut script = script.lock();
            let next = if script.len() > 1 { script.pop_front() } else { script.front().cloned() };
            Box::pin(async move { next.unwrap() })
        });
        (look_up, receiver)
    }

    fn plan(names: &[&str], max_ttl: u64) -> (Arc<Plan>, mpsc::UnboundedReceiver<Answers>) {
        let (sender, changes) = mpsc::unbounded_channel();
        let plan = Plan {
            pool: "web".into(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            max_ttl: Duration::from_secs(max_ttl),
            look_up: None,
            poke: Poke::default(),
            changed: Box::new(move |answers| {
                let _ = sender.send(answers.clone());
            }),
        };
        (Arc::new(plan), changes)
    }

    /// Lets time go by on the paused clock.
    async fn pass(length: Duration) {
        let _ = tokio::time::timeout(length, std::future::pending::<()>()).await;
    }

    /// Whole seconds at which the next `count` look-ups were made.
    async fn moments(asked: &mut mpsc::UnboundedReceiver<Duration>, count: usize) -> Vec<u64> {
        let mut moments = Vec::new();
        for _ in 0..count {
            moments.push(asked.recv().await.unwrap().as_millis() as u64 / 100 / 10);
        }
        moments
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_looked_up_by_its_ttl_and_only_changes_are_told() {
        let (look_up, mut asked) = scripted(vec![
            answer(&["10.0.0.2", "10.0.0.1", "10.0.0.2"], 4),
            answer(&["10.0.0.1", "10.0.0.2"], 0),
            answer(&["10.0.0.1"], 300),
            answer(&["10.0.0.1"], 300),
        ]);
        let (plan, mut changes) = plan(&["app"], 10);
        let resolver = Resolver::new(Handle::current(), look_up);
        resolver.reconcile(&plan, Answers::new());
        assert_eq!(moments(&mut asked, 5).await, [0, 4, 5, 15, 25]);
        assert_eq!(changes.try_recv().unwrap()["app"], ips(&["10.0.0.1", "10.0.0.2"]));
        assert_eq!(changes.try_recv().unwrap()["app"], ips(&["10.0.0.1"]));
        assert!(changes.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_or_empty_look_up_keeps_the_last_answer_and_is_tried_again_soon() {
        let (look_up, mut asked) = scripted(vec![
            answer(&["10.0.0.1"], 10),
            Err(LookUpError::Timeout),
            answer(&[], 60),
            answer(&["10.0.0.1"], 10),
            answer(&["10.0.0.9"], 10),
        ]);
        let (plan, mut changes) = plan(&["app"], 10);
        let resolver = Resolver::new(Handle::current(), look_up);
        resolver.reconcile(&plan, Answers::new());
        assert_eq!(moments(&mut asked, 6).await, [0, 10, 11, 13, 23, 33]);
        assert_eq!(changes.try_recv().unwrap()["app"], ips(&["10.0.0.1"]));
        assert_eq!(changes.try_recv().unwrap()["app"], ips(&["10.0.0.9"]));
        assert!(changes.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_poke_has_names_looked_up_at_once_but_not_twice_a_second() {
        let (look_up, mut asked) = scripted(vec![answer(&["10.0.0.1"], 300)]);
        let (plan, _changes) = plan(&["app"], 10);
        let resolver = Resolver::new(Handle::current(), look_up);
        resolver.reconcile(&plan, Answers::new());
        assert_eq!(moments(&mut asked, 1).await, [0]);
        pass(Duration::from_secs(5)).await;
        let poke = plan.poke.clone();
        let storm = tokio::spawn(async move {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(2500) {
                poke.now();
                pass(Duration::from_millis(1)).await;
            }
        });
        assert_eq!(moments(&mut asked, 5).await, [5, 6, 7, 8, 18]);
        storm.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_up_that_hangs_is_given_up() {
        let look_up: LookUp = Arc::new(|_| Box::pin(std::future::pending()));
        let (plan, mut changes) = plan(&["app"], 10);
        let resolver = Resolver::new(Handle::current(), look_up);
        let start = Instant::now();
        resolver.reconcile(&plan, Answers::new());
        assert_eq!(resolver.first_round_done(Duration::from_secs(60)).await, 0);
        assert_eq!(start.elapsed().as_secs(), LOOK_UP_LIMIT.as_secs());
        assert!(changes.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_names_of_a_pool_are_told_together() {
        let look_up: LookUp = Arc::new(|name| {
            let found = if name == "a" { answer(&["10.0.0.1"], 60) } else { answer(&["10.0.0.2"], 60) };
            Box::pin(async move { found })
        });
        let (plan, mut changes) = plan(&["a", "b"], 10);
        let resolver = Resolver::new(Handle::current(), look_up);
        resolver.reconcile(&plan, Answers::new());
        assert_eq!(resolver.first_round_done(Duration::from_secs(1)).await, 0);
        assert_eq!(changes.try_recv().unwrap().len(), 1);
        assert_eq!(changes.try_recv().unwrap().len(), 2);
        assert!(changes.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pool_that_is_stopped_or_planned_anew_has_no_task_of_before() {
        let (look_up, mut asked) = scripted(vec![answer(&["10.0.0.1"], 300)]);
        let (first, _changes) = plan(&["app"], 2);
        let (second, mut changes) = plan(&["app"], 10);
        let resolver = Resolver::new(Handle::current(), look_up);
        resolver.reconcile(&first, Answers::new());
        assert_eq!(moments(&mut asked, 2).await, [0, 2]);
        resolver.reconcile(&second, Answers::from([("app".to_owned(), ips(&["10.0.0.1"]))]));
        resolver.reconcile(&second, Answers::new());
        assert_eq!(moments(&mut asked, 2).await, [2, 12]);
        assert!(changes.try_recv().is_err(), "the answer is the known one");
        resolver.stop("web");
        pass(Duration::from_secs(60)).await;
        assert!(asked.try_recv().is_err());
    }
}
