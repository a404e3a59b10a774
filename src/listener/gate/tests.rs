//! The gate against a model of it, and under many threads at once.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::task::Wake;

fn is_evicted(pass: &mut Pass) -> bool {
    pass.poll_evicted(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn below_the_limit_everybody_is_let_in_and_a_place_comes_back() {
    let gate = Gate::new(2, 2);
    let entrance = gate.entrance(None);
    let mut passes = vec![entrance.admit(0).unwrap(), entrance.admit(0).unwrap()];
    passes.iter_mut().for_each(|pass| pass.busy().unwrap());
    assert_eq!(entrance.admit(1).unwrap_err(), Refused::Everywhere);
    passes.pop();
    assert_eq!((gate.held(), entrance.held()), (1, 1));
    entrance.admit(2).unwrap();
}

#[test]
fn the_longest_silent_makes_room_and_the_busy_never() {
    let gate = Gate::new(3, 3);
    let entrance = gate.entrance(None);
    let mut passes: Vec<Pass> = (0..3).map(|_| entrance.admit(0).unwrap()).collect();
    passes.iter_mut().for_each(|pass| pass.busy().unwrap());
    passes[2].silent(20);
    passes[0].silent(30);
    let _first = entrance.admit(40).unwrap();
    assert_eq!(passes.iter_mut().map(is_evicted).collect::<Vec<_>>(), [false, false, true]);
    let _second = entrance.admit(41).unwrap();
    assert_eq!(passes.iter_mut().map(is_evicted).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(gate.held(), 3);
    passes[1].busy().unwrap();
    assert_eq!(passes[0].busy(), Err(Evicted));
}

#[test]
fn a_silence_that_goes_on_keeps_its_age_and_an_eviction_cannot_be_undone() {
    let gate = Gate::new(2, 2);
    let entrance = gate.entrance(None);
    let (mut old, mut young) = (entrance.admit(10).unwrap(), entrance.admit(20).unwrap());
    old.silent(30);
    let _newcomer = entrance.admit(40).unwrap();
    assert!(is_evicted(&mut old) && !is_evicted(&mut young));
    old.silent(50);
    assert_eq!(old.busy(), Err(Evicted));
    assert!(is_evicted(&mut old));
}

#[test]
fn a_listener_at_its_own_limit_evicts_its_own() {
    let gate = Gate::new(10, 10);
    let (small, large) = (gate.entrance(Some(1)), gate.entrance(None));
    let mut old = large.admit(0).unwrap();
    let mut own = small.admit(50).unwrap();
    let mut next = small.admit(60).unwrap();
    assert!(is_evicted(&mut own) && !is_evicted(&mut old));
    assert_eq!((gate.held(), small.held(), large.held()), (2, 1, 1));
    next.busy().unwrap();
    assert_eq!(small.admit(100).unwrap_err(), Refused::Listener);
    drop((small, large));
    assert_eq!(gate.ledger.lock().entrances.len(), 2);
    drop((old, next));
    assert_eq!(gate.ledger.lock().entrances.len(), 0);
    assert_eq!(gate.held(), 0);
    drop(own);
    assert_eq!(gate.ledger.lock().leaving, 0);
}

#[test]
fn a_flood_evicts_its_own_connections_without_a_walk_for_each() {
    let gate = Gate::new(100, 100);
    let entrance = gate.entrance(None);
    let mut kept: Vec<Pass> = (0..99).map(|_| entrance.admit(0).unwrap()).collect();
    kept.iter_mut().for_each(|pass| pass.busy().unwrap());
    let mut last = entrance.admit(1000).unwrap();
    for _ in 0..500 {
        let next = entrance.admit(1001).unwrap();
        assert!(is_evicted(&mut last));
        last = next;
    }
    assert_eq!(gate.ledger.lock().oldest.walked_at, Some(1001));
    assert!(kept.iter_mut().all(|pass| !is_evicted(pass)));
}

#[test]
fn connections_that_do_not_leave_when_told_stop_further_evictions() {
    let gate = Gate::new(100, 100);
    let entrance = gate.entrance(None);
    let mut passes = Vec::new();
    let refused = (0..1000).find_map(|now| match entrance.admit(now) {
        Ok(pass) => {
            passes.push(pass);
            None
        }
        Err(refused) => Some(refused),
    });
    assert_eq!(refused, Some(Refused::Everywhere));
    assert_eq!(passes.len() as u32, gate.limit() + gate.most_leaving);
    assert_eq!(gate.held(), gate.limit());
    passes.retain_mut(|pass| !is_evicted(pass));
    entrance.admit(2000).unwrap();
}

#[test]
fn eviction_wakes_the_task_that_waits_for_it() {
    struct Flag(AtomicBool);
    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Relaxed);
        }
    }
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(flag.clone());
    let gate = Gate::new(1, 1);
    let entrance = gate.entrance(None);
    let mut pass = entrance.admit(0).unwrap();
    for _ in 0..3 {
        assert!(pass.poll_evicted(&mut Context::from_waker(&waker)).is_pending());
    }
    assert!(!flag.0.load(Relaxed));
    let _next = entrance.admit(1).unwrap();
    assert!(flag.0.load(Relaxed));
    assert!(pass.poll_evicted(&mut Context::from_waker(&waker)).is_ready());
}

#[derive(Clone, Debug)]
enum Step {
    Admit(bool),
    Busy(usize),
    Silent(usize),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => any::<bool>().prop_map(Step::Admit),
        2 => any::<usize>().prop_map(Step::Busy),
        2 => any::<usize>().prop_map(Step::Silent),
        1 => any::<usize>().prop_map(Step::Leave),
    ];
    proptest::collection::vec(step, 0..300)
}

/// The entrance of a connection, and since when it is silent.
struct Known {
    small: bool,
    silent: Option<u64>,
}

proptest! {
    #[test]
    fn the_gate_does_what_a_simple_model_does(steps in steps(), limit in 1..80u32, small_limit in 1..40u32) {
        let gate = Gate::new(limit, limit);
        let (small, large) = (gate.entrance(Some(small_limit)), gate.entrance(None));
        let mut passes: Vec<(u64, Pass)> = Vec::new();
        let mut model: BTreeMap<u64, Known> = BTreeMap::new();
        let mut now = 0;
        for (number, step) in steps.into_iter().enumerate() {
            // Walks are not put off, so the order is exact.
            now += REST_MS;
            match step {
                Step::Admit(to_small) => {
                    let here = model.values().filter(|known| known.small).count() as u32;
                    let full_here = to_small && here >= small_limit;
                    let full = model.len() as u32 >= limit;
                    let oldest = |only_small: bool| {
                        let silent = model.iter().filter(|(_, known)| known.small || !only_small);
                        silent.filter_map(|(id, known)| known.silent.map(|since| (since, *id))).min()
                    };
                    let expected = match (full_here, full) {
                        (true, _) => oldest(true).map(Some).ok_or(Refused::Listener),
                        (false, true) => oldest(false).map(Some).ok_or(Refused::Everywhere),
                        (false, false) => Ok(None),
                    };
                    let entrance = if to_small { &small } else { &large };
                    let admitted = entrance.admit(now);
                    prop_assert_eq!(admitted.as_ref().err(), expected.as_ref().err());
                    if let (Ok(pass), Ok(victim)) = (admitted, expected) {
                        if let Some((_, victim)) = victim {
                            model.remove(&victim);
                            let place = passes.iter().position(|(id, _)| *id == victim).unwrap();
                            let (_, mut pass) = passes.swap_remove(place);
                            prop_assert!(is_evicted(&mut pass));
                            prop_assert_eq!(pass.busy(), Err(Evicted));
                        }
                        model.insert(number as u64, Known { small: to_small, silent: Some(now) });
                        passes.push((number as u64, pass));
                    }
                }
                Step::Busy(any) if !passes.is_empty() => {
                    let place = any % passes.len();
                    prop_assert_eq!(passes[place].1.busy(), Ok(()));
                    model.get_mut(&passes[place].0).unwrap().silent = None;
                }
                Step::Silent(any) if !passes.is_empty() => {
                    let place = any % passes.len();
                    passes[place].1.silent(now);
                    model.get_mut(&passes[place].0).unwrap().silent.get_or_insert(now);
                }
                Step::Leave(any) if !passes.is_empty() => {
                    let (id, _) = passes.swap_remove(any % passes.len());
                    model.remove(&id);
                }
                _ => {}
            }
            prop_assert_eq!(gate.held() as usize, model.len());
            prop_assert_eq!(small.held() as usize, model.values().filter(|known| known.small).count());
            prop_assert!(passes.iter_mut().all(|(_, pass)| !is_evicted(pass)));
        }
    }
}

#[test]
fn under_many_threads_the_limit_holds_and_no_busy_connection_is_told_to_leave() {
    const LIMIT: u32 = 50;
    let gate = Gate::new(LIMIT, LIMIT);
    let entrances = [Arc::new(gate.entrance(Some(30))), Arc::new(gate.entrance(None))];
    let (clock, most, evictions, lost_races) =
        (AtomicU64::new(0), AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for seed in 0..8 {
            let (gate, entrances) = (&gate, &entrances);
            let (clock, most, evictions, lost_races) = (&clock, &most, &evictions, &lost_races);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut passes: Vec<(Pass, bool)> = Vec::new();
                for _ in 0..30_000 {
                    let now = clock.fetch_add(1, Relaxed);
                    match random.u8(0..8) {
                        0..3 => passes
                            .extend(entrances[random.usize(0..2)].admit(now).ok().map(|pass| (pass, false))),
                        3..5 if !passes.is_empty() => {
                            let place = random.usize(0..passes.len());
                            match passes[place].0.busy() {
                                Ok(()) => passes[place].1 = true,
                                Err(Evicted) => {
                                    assert!(!passes[place].1, "a busy connection was told to leave");
                                    lost_races.fetch_add(1, Relaxed);
                                    passes.swap_remove(place);
                                }
                            }
                        }
                        5..7 if !passes.is_empty() => {
                            let place = random.usize(0..passes.len());
                            passes[place].0.silent(now);
                            passes[place].1 = false;
                        }
                        _ if !passes.is_empty() => {
                            passes.swap_remove(random.usize(0..passes.len()));
                        }
                        _ => {}
                    }
                    let before = passes.len();
                    passes.retain_mut(|(pass, busy)| {
                        let evicted = is_evicted(pass);
                        assert!(!(evicted && *busy), "a busy connection was told to leave");
                        !evicted
                    });
                    evictions.fetch_add((before - passes.len()) as u32, Relaxed);
                    most.fetch_max(gate.held(), Relaxed);
                    assert!(entrances[0].held() <= 30);
                }
            });
        }
    });
    assert_eq!(most.load(Relaxed), LIMIT);
    assert!(evictions.load(Relaxed) > 1000, "{evictions:?}");
    assert_eq!((gate.held(), entrances[0].held(), entrances[1].held()), (0, 0, 0));
    let ledger = gate.ledger.lock();
    assert_eq!((ledger.leaving, ledger.free.len()), (0, ledger.used as usize));
}

#[tokio::test]
async fn a_connection_can_await_its_eviction() {
    let gate = Gate::new(1, 1);
    let entrance = gate.entrance(None);
    let mut pass = entrance.admit(0).unwrap();
    let admit = async { entrance.admit(1).unwrap() };
    let ((), _next) = tokio::join!(pass.evicted(), admit);
}
