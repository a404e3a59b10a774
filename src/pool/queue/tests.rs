//! Waiting: order, time limits, leaving, wake-ups of every kind, and what holds under many threads.

use std::collections::HashSet;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::AtomicU32;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::health::Outcome;
use crate::observe::metrics::StickyOutcome;
use crate::pool::choice::tests::{server, server_of, servers};
use crate::pool::pool::tests::{ask, pool};
use crate::server::{self, Health, Server};

mod pauses;

type Waiting = Pin<Box<dyn Future<Output = Result<Lease, Refusal>> + Send>>;

/// Starts to wait, or is served at once.
fn start(pool: &Arc<Pool>, bound: Option<u64>) -> Waiting {
    let pool = pool.clone();
    let mut future: Waiting = Box::pin(async move { pool.acquire(&Ask { bound, ..ask(1) }).await });
    assert!(poll(&mut future).is_none(), "somebody was served who should wait");
    future
}

fn poll(future: &mut Waiting) -> Option<Result<Lease, Refusal>> {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

fn one_at_a_time(servers: Vec<Arc<Server>>) -> Arc<Pool> {
    pool(json!({ "max_in_flight": 1 }), servers)
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_served_in_order() {
    let pool = one_at_a_time(servers(&[1; 2]));
    let mut held = vec![pool.acquire(&ask(1)).await.unwrap(), pool.acquire(&ask(2)).await.unwrap()];
    let mut waiting: Vec<_> = (0..10).map(|_| start(&pool, None)).collect();
    assert_eq!(pool.waiting(), 10);
    while !waiting.is_empty() {
        drop(held.remove(0));
        held.push(poll(&mut waiting.remove(0)).expect("the first is served").unwrap());
        assert!(waiting.iter_mut().all(|later| poll(later).is_none()));
    }
    assert_eq!(pool.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_overtakes_nobody_even_when_a_place_is_free() {
    let pool = one_at_a_time(servers(&[1]));
    let held = pool.acquire(&ask(1)).await.unwrap();
    let mut first = start(&pool, None);
    // Freed as in another thread that has not got the lock yet.
    held.state.in_flight.fetch_sub(1, Relaxed);
    let mut second = start(&pool, None);
    held.state.in_flight.fetch_add(1, Relaxed);
    drop(held);
    let lease = poll(&mut first).unwrap().unwrap();
    assert!(poll(&mut second).is_none());
    drop(lease);
    assert!(poll(&mut second).is_some());
}

#[tokio::test(start_paused = true)]
async fn the_queue_has_a_size_and_a_time() {
    let pool = pool(json!({ "max_in_flight": 1, "queue": { "size": 2, "timeout": "5s" } }), servers(&[1]));
    let held = pool.acquire(&ask(1)).await.unwrap();
    let began = Instant::now();
    let first = start(&pool, None);
    tokio::time::advance(Duration::from_secs(2)).await;
    let second = start(&pool, None);
    assert_eq!(pool.acquire(&ask(1)).await.unwrap_err(), Refusal::QueueFull);
    assert_eq!(first.await.unwrap_err(), Refusal::QueueTimeout);
    assert_eq!(began.elapsed().as_secs(), 5);
    assert_eq!(pool.waiting(), 1);
    drop(held);
    assert_eq!(second.await.unwrap().waited.as_secs(), 3);
    assert_eq!(pool.metrics.queue_full.count(), 1);
    assert_eq!(pool.metrics.queue_timeouts.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_second_wait_has_only_what_the_first_left() {
    let pool = one_at_a_time(servers(&[1]));
    let _held = pool.acquire(&ask(1)).await.unwrap();
    let began = Instant::now();
    let left = |seconds| Ask { queue_left: Some(Duration::from_secs(seconds)), ..ask(1) };
    assert_eq!(pool.acquire(&left(2)).await.unwrap_err(), Refusal::QueueTimeout);
    assert_eq!(began.elapsed().as_secs(), 2);
    assert_eq!(pool.acquire(&left(0)).await.unwrap_err(), Refusal::QueueTimeout);
    assert_eq!((began.elapsed().as_secs(), pool.waiting()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_queue_of_no_size_refuses_at_once() {
    let pool = pool(json!({ "max_in_flight": 1, "queue": { "size": 0 } }), servers(&[1]));
    let held = pool.acquire(&ask(1)).await.unwrap();
    assert_eq!(pool.acquire(&ask(1)).await.unwrap_err(), Refusal::QueueFull);
    drop(held);
    assert!(pool.acquire(&ask(1)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_dropped_leaves_at_once_and_hands_on_what_it_was_given() {
    let pool = one_at_a_time(servers(&[1]));
    let held = pool.acquire(&ask(1)).await.unwrap();
    let (first, second, mut third) = (start(&pool, None), start(&pool, None), start(&pool, None));
    drop(second);
    assert_eq!(pool.waiting(), 2);
    drop(held);
    assert_eq!(pool.waiting(), 1, "the first has a lease that it has not looked at");
    drop(first);
    assert!(poll(&mut third).unwrap().is_ok());
    assert_eq!(pool.servers().servers()[0].state.in_flight.load(Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_bound_request_waits_for_its_own_server_and_moves_when_that_is_out() {
    let pool = one_at_a_time(servers(&[1; 2]));
    let set = pool.servers();
    let (home, other) = (&set.servers()[0], &set.servers()[1]);
    let at_home = pool.acquire(&Ask { bound: Some(home.id), ..ask(1) }).await.unwrap();
    let mut bound = start(&pool, Some(home.id));
    let lease = pool.acquire(&ask(1)).await.unwrap();
    assert_eq!(lease.id, other.id, "one that takes any server need not wait behind it");
    drop(lease);
    assert!(poll(&mut bound).is_none());
    drop(at_home);
    let lease = poll(&mut bound).unwrap().unwrap();
    assert_eq!(lease.id, home.id);

    let mut bound = start(&pool, Some(home.id));
    home.state.record_health(Health::Down, 1);
    pool.step(now());
    assert_eq!(poll(&mut bound).unwrap().unwrap().id, other.id);
    assert_eq!(pool.metrics.sticky.of(StickyOutcome::Failover).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_ejection_moves_the_bound_who_wait_and_its_end_serves_those_who_wait() {
    let pool = one_at_a_time(servers(&[1; 2]));
    let set = pool.servers();
    let (home, other) = (&set.servers()[0], &set.servers()[1]);
    let at_home = pool.acquire(&Ask { bound: Some(home.id), ..ask(1) }).await.unwrap();
    let mut bound = start(&pool, Some(home.id));
    (0..5).for_each(|_| _ = at_home.observe(Outcome::Reset, now()));
    let on_other = poll(&mut bound).unwrap().unwrap();
    assert_eq!(on_other.id, other.id);
    drop(at_home);
    let patient = Ask { queue_left: Some(Duration::from_secs(60)), ..ask(1) };
    let lease = pool.acquire(&patient).await.unwrap();
    assert_eq!((lease.id, lease.waited.as_secs()), (home.id, 30));
}

#[tokio::test(start_paused = true)]
async fn servers_that_come_up_or_join_and_a_higher_limit_serve_those_who_wait() {
    let pool = one_at_a_time(servers(&[1; 2]));
    let set = pool.servers();
    set.servers()[1].state.record_health(Health::Down, 1);
    let _held = pool.acquire(&ask(1)).await.unwrap();
    let mut waiting: Vec<_> = (0..4).map(|_| start(&pool, None)).collect();
    set.servers()[1].state.record_health(Health::Up, 2);
    pool.step(now());
    let _second = poll(&mut waiting.remove(0)).unwrap().unwrap();
    let mut more = set.servers().to_vec();
    more.push(server("10.7.7.7:80", 1));
    pool.replace_servers(more);
    let _third = poll(&mut waiting.remove(0)).unwrap().unwrap();
    assert!(waiting.iter_mut().all(|waiter| poll(waiter).is_none()));
    pool.limit_in_flight(Some(2));
    assert!(waiting.iter_mut().all(|waiter| poll(waiter).is_some_and(|answer| answer.is_ok())));
}

#[tokio::test(start_paused = true)]
async fn when_all_servers_go_down_those_who_wait_are_told_at_once() {
    let pool = one_at_a_time(servers(&[1]));
    let _held = pool.acquire(&ask(1)).await.unwrap();
    let mut waiting: Vec<_> = (0..3).map(|_| start(&pool, None)).collect();
    pool.servers().servers()[0].state.record_health(Health::Down, 1);
    pool.step(now());
    for waiter in &mut waiting {
        assert_eq!(poll(waiter).unwrap().unwrap_err(), Refusal::NoServerUp);
    }
    assert_eq!(pool.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_freed_backup_or_draining_server_serves_whom_it_may() {
    let backup = server::Spec { address: "10.7.7.7:80".parse().unwrap(), weight: 1, backup: true };
    let pool = one_at_a_time(vec![server("10.0.0.1:80", 1), server_of(backup)]);
    let set = pool.servers();
    set.servers()[0].state.record_health(Health::Down, 1);
    let held = pool.acquire(&ask(1)).await.unwrap();
    let mut waiter = start(&pool, None);
    drop(held);
    assert_eq!(poll(&mut waiter).unwrap().unwrap().id, set.servers()[1].id);

    set.servers()[0].state.record_health(Health::Up, 2);
    set.servers()[0].state.draining.store(true, Relaxed);
    let bound = Some(set.servers()[0].id);
    let held = pool.acquire(&Ask { bound, ..ask(1) }).await.unwrap();
    let mut waiter = start(&pool, bound);
    drop(held);
    assert_eq!(poll(&mut waiter).unwrap().unwrap().id, set.servers()[0].id);
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_for_a_server_that_it_has_not_tried() {
    let pool = one_at_a_time(servers(&[1; 2]));
    let set = pool.servers();
    let held = [pool.acquire(&ask(1)).await.unwrap(), pool.acquire(&ask(1)).await.unwrap()];
    let tried = [set.servers()[0].id];
    let retry = Ask { tried: &tried, ..ask(1) };
    let mut waiter = pin!(pool.acquire(&retry));
    let mut step = || waiter.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(step().is_pending());
    let (first, second) = held.into_iter().partition::<Vec<_>, _>(|lease| lease.id == tried[0]);
    drop(first);
    assert!(step().is_pending());
    drop(second);
    match step() {
        Poll::Ready(lease) => assert_eq!(lease.unwrap().id, set.servers()[1].id),
        Poll::Pending => panic!("it was not served"),
    }
}

/// Many threads ask, hold, and give up; nothing exceeds its limit, nothing is lost, nobody is forgotten in line.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_many_threads_no_limit_is_exceeded_and_no_wake_up_is_lost() {
    const LIMIT: u32 = 2;
    for policy in ["least_connections", "round_robin", "consistent_hash", "p2c", "least_time", "random"] {
        let written = json!({
            "max_in_flight": LIMIT,
            "queue": { "size": 1000, "timeout": "60s" },
            "balance": { "policy": policy },
        });
        let pool = pool(written, servers(&[1, 2, 3]));
        let (most, served) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let tasks: Vec<_> = (0..64u64)
            .map(|task| {
                let (pool, most, served) = (pool.clone(), most.clone(), served.clone());
                tokio::spawn(async move {
                    let mut random = fastrand::Rng::with_seed(task);
                    let ids: Vec<u64> = pool.servers().servers().iter().map(|server| server.id).collect();
                    for _ in 0..200 {
                        let bound = (random.u8(..4) == 0).then(|| ids[random.usize(..ids.len())]);
                        let hash = Some(random.u64(..));
                        let ask = Ask { bound, hash, ..ask(random.u64(..)) };
                        if random.u8(..8) == 0 {
                            // Its client leaves: one look, perhaps while a place is being handed over.
                            let mut future = pin!(pool.acquire(&ask));
                            _ = tokio::time::timeout(Duration::from_micros(random.u64(..50)), &mut future)
                                .await;
                            continue;
                        }
                        let lease = pool.acquire(&ask).await.unwrap();
                        assert!(bound.is_none_or(|bound| bound == lease.id));
                        most.fetch_max(lease.state.in_flight.load(Relaxed), Relaxed);
                        served.fetch_add(1, Relaxed);
                        if random.bool() {
                            tokio::task::yield_now().await;
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            tokio::time::timeout(Duration::from_secs(50), task).await.expect("a wake-up was lost").unwrap();
        }
        let left: Vec<u32> =
            pool.servers().servers().iter().map(|server| server.state.in_flight.load(Relaxed)).collect();
        assert_eq!((left, pool.waiting()), (vec![0; 3], 0), "{policy}");
        assert!(most.load(Relaxed) <= LIMIT && served.load(Relaxed) > 10_000, "{policy}");
    }
}

/// While servers go up and down, are ejected and replaced, everybody is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_servers_come_and_go_everybody_is_answered_and_every_place_is_given_back() {
    let all = servers(&[1; 6]);
    let written = json!({ "max_in_flight": 1, "queue": { "size": 1000, "timeout": "60s" },
        "outlier_detection": { "consecutive_failures": 2, "ejection_time": "5ms" } });
    let pool = pool(written, all.clone());
    let tasks: Vec<_> = (0..32u64)
        .map(|task| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(task);
                for _ in 0..200 {
                    match pool.acquire(&ask(random.u64(..))).await {
                        Ok(lease) => {
                            tokio::task::yield_now().await;
                            let outcome = if random.bool() { Outcome::Reset } else { Outcome::TimedOut };
                            lease.observe(outcome, now());
                        }
                        Err(refusal) => assert_eq!(refusal, Refusal::NoServerUp),
                    }
                }
            })
        })
        .collect();
    let mut random = fastrand::Rng::with_seed(99);
    while tasks.iter().any(|task| !task.is_finished()) {
        let kept: HashSet<usize> = (0..6).filter(|_| random.u8(..3) > 0).collect();
        pool.replace_servers((0..6).filter(|i| kept.contains(i)).map(|i| all[i].clone()).collect());
        all[random.usize(..6)].state.record_health(if random.bool() { Health::Up } else { Health::Down }, 1);
        pool.step(now());
        tokio::task::yield_now().await;
    }
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(50), task).await.expect("a wake-up was lost").unwrap();
    }
    assert!(all.iter().all(|server| server.state.in_flight.load(Relaxed) == 0));
    assert_eq!(pool.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_one_pool_of_an_app_gives_back_serves_who_waits_in_another() {
    let workers = servers(&[1]);
    let app = pool(json!({ "app": { "command": "node a.js" } }), workers.clone());
    let other = pool(json!({ "workers_of": "web", "max_in_flight": 1 }), workers);
    let all = [&app, &other].map(Arc::downgrade).to_vec();
    [&app, &other].iter().for_each(|pool| pool.share_places_with(all.clone()));
    let held = app.acquire(&ask(1)).await.unwrap();
    let mut waiting = start(&other, None);
    drop(held);
    assert!(poll(&mut waiting).expect("it is served").is_ok());
}
