//! Pauses: who waits through them, for how long, and who is served after them.

use super::*;

/// Waits in a task of its own, as a request does.
fn task(pool: &Arc<Pool>, timeout_s: Option<u64>) -> tokio::task::JoinHandle<Result<Lease, Refusal>> {
    let pool = pool.clone();
    tokio::spawn(async move {
        let queue_left = timeout_s.map(Duration::from_secs);
        pool.acquire(&Ask { queue_left, ..ask(1) }).await
    })
}

fn seconds(time: u64) -> Duration {
    Duration::from_secs(time)
}

/// Lets tasks begin to wait, and then so many seconds pass.
async fn pass(time: u64) {
    settle().await;
    tokio::time::advance(seconds(time)).await;
    settle().await;
}

/// Lets other tasks go as far as they can.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_pool_gives_nothing_and_then_serves_in_order() {
    let pool = pool(json!({ "queue": { "size": 20 } }), servers(&[1; 2]));
    let under_way = pool.acquire(&ask(1)).await.unwrap();
    pool.pause(seconds(60)).unwrap();
    assert_eq!((pool.metrics.paused.value(), pool.paused_for()), (1, Some(seconds(60))));
    let mut waiting: Vec<_> = (0..20).map(|_| start(&pool, None)).collect();
    assert_eq!(pool.acquire(&ask(1)).await.unwrap_err(), Refusal::QueueFull);
    drop(under_way);
    // Neither a freed place nor news of servers lets anybody go.
    pool.step(now());
    pool.limit_in_flight(Some(100));
    drop(waiting.remove(3));
    assert_eq!((pool.waiting(), pool.metrics.queue_length.value()), (19, 19));
    assert!(waiting.iter_mut().all(|waiter| poll(waiter).is_none()));
    pool.limit_in_flight(Some(1));
    assert_eq!(pool.resume(), Some(19));
    assert_eq!((pool.metrics.paused.value(), pool.paused_for()), (0, None));
    for first in (0..).step_by(2).take_while(|first| *first < 19) {
        let left = 19 - first;
        let batch: Vec<_> =
            waiting.drain(..left.min(2)).map(|mut w| poll(&mut w).expect("the first").unwrap()).collect();
        assert!(waiting.iter_mut().all(|later| poll(later).is_none()));
        drop(batch);
    }
    assert_eq!((pool.waiting(), pool.resume()), (0, None));
    assert!(pool.acquire(&ask(1)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_by_itself_and_its_time_is_on_nobodys_account() {
    let pool = pool(json!({ "max_in_flight": 1, "queue": { "timeout": "5s" } }), servers(&[1]));
    let held = pool.acquire(&ask(1)).await.unwrap();
    let began = Instant::now();
    let before = task(&pool, None);
    pass(3).await;
    pool.pause(seconds(20)).unwrap();
    pass(10).await;
    let during = task(&pool, None);
    let spent = task(&pool, Some(0));
    assert_eq!(before.await.unwrap().unwrap_err(), Refusal::QueueTimeout);
    assert_eq!(began.elapsed().as_secs(), 25, "3 s before the pause, 2 s after it");
    assert_eq!(spent.await.unwrap().unwrap_err(), Refusal::QueueTimeout);
    pass(1).await;
    drop(held);
    let lease = during.await.unwrap().unwrap();
    assert_eq!((lease.waited.as_secs(), lease.paused.as_secs()), (13, 10));
    assert_eq!(pool.metrics.paused.value(), 0);
}

#[tokio::test(start_paused = true)]
async fn after_an_early_end_of_a_pause_waiters_have_the_time_that_was_left() {
    let pool = pool(json!({ "max_in_flight": 1, "queue": { "timeout": "5s" } }), servers(&[1]));
    let _held = pool.acquire(&ask(1)).await.unwrap();
    pool.pause(seconds(600)).unwrap();
    let began = Instant::now();
    let waiter = task(&pool, None);
    pass(2).await;
    assert_eq!(pool.resume(), Some(1));
    assert_eq!(waiter.await.unwrap().unwrap_err(), Refusal::QueueTimeout);
    assert_eq!(began.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_second_pause_takes_the_place_of_the_first_and_is_not_ended_by_its_timeout() {
    let pool = pool(json!({}), servers(&[1]));
    let began = Instant::now();
    pool.pause(seconds(10)).unwrap();
    let waiter = task(&pool, None);
    pass(8).await;
    pool.pause(seconds(30)).unwrap();
    let lease = waiter.await.unwrap().unwrap();
    assert_eq!((began.elapsed().as_secs(), lease.paused.as_secs()), (38, 38));
    // One that was ended leaves no timer behind that would end the next.
    pool.pause(seconds(10)).unwrap();
    pool.resume();
    pool.pause(seconds(60)).unwrap();
    pass(30).await;
    assert_eq!(pool.paused_for(), Some(seconds(30)));
    for time in [Duration::from_millis(999), seconds(601)] {
        assert!(pool.pause(time).is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_outlasts_servers_that_go_down_and_come_back() {
    let pool = pool(json!({}), servers(&[1]));
    pool.pause(seconds(30)).unwrap();
    let mut waiter = start(&pool, None);
    let set = pool.servers();
    set.servers()[0].state.record_health(Health::Down, 1);
    pool.step(now());
    assert!(poll(&mut waiter).is_none());
    let mut newcomer = start(&pool, None);
    set.servers()[0].state.record_health(Health::Up, 2);
    pool.resume();
    assert!(poll(&mut waiter).unwrap().is_ok() && poll(&mut newcomer).unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_pause_goes_on_in_the_pool_that_a_reload_makes() {
    let before = pool(json!({ "queue": { "size": 5 } }), servers(&[1]));
    before.pause(seconds(30)).unwrap();
    let waiter = task(&before, None);
    pass(1).await;
    let spec = crate::pool::pool::tests::spec(json!({ "queue": { "size": 1 } }));
    let kept = before.servers().servers().to_vec();
    let after = Pool::build("web".into(), spec, kept, None, PoolMetrics::default(), Some(&before));
    before.succeed(&after);
    assert_eq!((after.waiting(), after.paused_for()), (1, Some(seconds(29))));
    assert_eq!(after.acquire(&ask(1)).await.unwrap_err(), Refusal::QueueFull);
    assert_eq!(after.resume(), Some(1));
    assert!(waiter.await.unwrap().is_ok());
}

/// While the pool is paused and let go again and again, everybody is answered, and nobody is served in a pause.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_many_threads_no_pause_loses_anybody_or_lets_anybody_through() {
    let written = json!({ "max_in_flight": 2, "queue": { "size": 1000, "timeout": "60s" } });
    let pool = pool(written, servers(&[1, 2]));
    let served = Arc::new(AtomicU32::new(0));
    let tasks: Vec<_> = (0..32u64)
        .map(|task| {
            let (pool, served) = (pool.clone(), served.clone());
            tokio::spawn(async move {
                for turn in 0..300 {
                    let _lease = pool.acquire(&ask(task * 1000 + turn)).await.unwrap();
                    served.fetch_add(1, Relaxed);
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let in_flight = || -> u32 {
        pool.servers().servers().iter().map(|server| server.state.in_flight.load(Relaxed)).sum()
    };
    let mut pauses = 0;
    while tasks.iter().any(|task| !task.is_finished()) {
        pool.pause(seconds(60)).unwrap();
        let (began, before) = (Instant::now(), served.load(Relaxed));
        while in_flight() > 0 {
            assert!(began.elapsed() < seconds(30), "places are taken in a pause");
            tokio::task::yield_now().await;
        }
        settle().await;
        // Each thread may have been about to take a place, and each place may have been taken but not counted yet.
        let through = served.load(Relaxed) - before;
        assert!(through <= 8, "{through} were served in a pause");
        pool.resume();
        pauses += 1;
        settle().await;
    }
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(50), task).await.expect("a wake-up was lost").unwrap();
    }
    assert!(pauses > 1, "{pauses} pauses");
    assert_eq!((in_flight(), pool.waiting()), (0, 0));
}
