//! One attack from before to after: a normal client beside it, memory and descriptors, how the attackers were ended.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::runtime::Builder;
use tokio::sync::watch;

use crate::attack::{Attack, Ended};
use crate::front::{Addresses, Front};
use crate::gauge::{self, Gauge, Reading};
use crate::steady::{Log, Steady};
use crate::support::eventually;
use crate::support::time::takes;

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Each connection once, with short deadlines: for every day.
    Small,
    /// For twenty seconds, with the documented defaults, and with figures.
    Large,
}

/// Bytes.
pub const MIB: u64 = 1024 * 1024;
/// How long a large attack goes on, longer than any default deadline but `keep_alive` and those of idle bodies.
const ATTACK: Duration = Duration::from_secs(20);
const QUIET: Duration = Duration::from_secs(6);
/// Bytes that may stay after an attack: code that was not needed before, places in lists that grew, blocks between such as are
/// still in use.
pub const SLACK: u64 = 16 * MIB;

/// Runs an attack and holds Lintel to its promises.
pub async fn siege(attack: Attack) {
    match std::env::var("HOSTILE") {
        Ok(file) => large(attack, &file).await,
        Err(_) => small(attack).await,
    }
}

async fn small(attack: Attack) {
    let scale = Scale::Small;
    let front = Front::start(scale, attack.limits(scale)).await;
    let steady = Steady::start(front.addresses().http);
    steady.more(50).await;
    let (before, gauge) = (gauge::read(&front.lintel), Gauge::start(&front.lintel));
    let count = attack.connections(scale);
    let (stop, stopped) = watch::channel(false);
    let ends = {
        let one = |number| {
            let (mut stopped, at) = (stopped.clone(), front.addresses());
            tokio::spawn(async move { attack.play(at, number, &mut stopped).await })
        };
        let playing = join_all((0..count).map(one));
        if attack == Attack::SlowReaders {
            let cut = async {
                ended_by_limit(&front, attack, count).await;
                stop.send_replace(true);
            };
            tokio::join!(playing, cut).0
        } else {
            playing.await
        }
    };
    steady.more(50).await;
    let log = steady.take();
    assert!(log.failures.is_empty(), "{:?}: of {} requests {:?}", attack, log.times.len(), log.failures);
    let tally = tally(ends.into_iter().map(|end| end.expect("an attacker goes on to its end")));
    let is_right = |end: &Ended| attack.ends().contains(end);
    assert!(tally.keys().all(is_right), "{attack:?} ends {tally:?} instead of {:?}", attack.ends());
    ended_by_limit(&front, attack, count).await;
    if attack == Attack::Silence {
        let evicted = [("listener", "http"), ("reason", "evicted")];
        front.lintel.metric("lintel_listener_closed_total", &evicted, 1.0).await;
        let most = gauge.highest().descriptors;
        assert!(most < before.descriptors + 1050, "{most} descriptors where 900 connections are allowed");
    }
    let highest = gauge.highest();
    let bound = before.memory + count as u64 * attack.most_memory() + 16 * MIB;
    assert!(highest.memory < bound, "{attack:?}: {} MiB at most", highest.memory / MIB);
    recovered(&front, before).await;
}

/// Awaits that the limit of docs/limits.md has counted every attacker.
async fn ended_by_limit(front: &Front, attack: Attack, count: usize) {
    if let Some((name, labels)) = attack.metric() {
        front.lintel.metric(name, &labels, count as f64).await;
    }
}

/// Awaits that memory and descriptors are as before, but for `SLACK` and idle connections to servers.
async fn recovered(front: &Front, before: Reading) {
    let mut last = Reading::default();
    eventually("descriptors and memory come back", async || {
        last = gauge::read(&front.lintel);
        let is_back = last.descriptors <= before.descriptors + 300 && last.memory <= before.memory + SLACK;
        is_back.then_some(())
    })
    .await;
}

fn tally(ends: impl Iterator<Item = Ended>) -> BTreeMap<Ended, usize> {
    let mut tally = BTreeMap::new();
    for end in ends {
        *tally.entry(end).or_insert(0) += 1;
    }
    tally
}

async fn large(attack: Attack, file: &str) {
    let scale = Scale::Large;
    // As Lintel does it: the normal client must not wait until there is room for the attackers in the process of both.
    lintel::listener::fd_limit::make_room(25_000, lintel::listener::fd_limit::raise());
    let front = Front::start(scale, attack.limits(scale)).await;
    let steady = Steady::start(front.addresses().http);
    // Until pages and connections are there that every start needs.
    steady.more(200).await;
    steady.take();
    takes(QUIET).await;
    let quiet = steady.take();
    let (before, gauge) = (gauge::read(&front.lintel), Gauge::start(&front.lintel));
    let ends = attack_on(attack, front.addresses()).await;
    let under = steady.take();
    let highest = gauge.highest();
    drop(gauge);
    takes(QUIET).await;
    let after = gauge::read(&front.lintel);
    let calm = steady.take();
    let row = row(attack, [&quiet, &under, &calm], [before, highest, after], &ends);
    eprintln!("{row}");
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).expect("a file for rows");
    writeln!(file, "{row}").expect("a row can be written");
    drop(steady);
    let failures = [&quiet, &under, &calm].map(|log| log.failures.clone()).concat();
    assert!(failures.is_empty(), "{attack:?}: {failures:?}");
    let kept = after.memory.saturating_sub(before.memory);
    assert!(kept <= SLACK, "{attack:?}: {} MiB more than before", kept / MIB);
    let ratio = under.p99().as_secs_f64() / quiet.p99().as_secs_f64();
    assert!(ratio <= 3.0, "{attack:?}: p99 is {ratio:.1} times the quiet one");
}

/// As many connections at once as the attack has, each begun anew when it ended. Attackers have machines of their own, so
/// here they get what the others leave: or it would be the kernel's fairness that is measured, not Lintel's.
async fn attack_on(attack: Attack, at: Addresses) -> BTreeMap<Ended, usize> {
    let (stop, stopped) = watch::channel(false);
    let count = attack.connections(Scale::Large);
    let elsewhere =
        Builder::new_multi_thread().worker_threads(2).enable_all().on_thread_start(go_last).build();
    let elsewhere = elsewhere.expect("a runtime");
    let one = |number: usize| {
        let mut stopped = stopped.clone();
        elsewhere.spawn(async move {
            let mut ends = Vec::new();
            // All at once would be another attack: of the kernel's queue.
            takes(Duration::from_millis(number as u64 / 2)).await;
            while !*stopped.borrow() {
                ends.push(attack.play(at, number, &mut stopped).await);
                takes(Duration::from_millis(100)).await;
            }
            ends
        })
    };
    let playing: Vec<_> = (0..count).map(one).collect();
    takes(ATTACK).await;
    stop.send_replace(true);
    let ends = join_all(playing).await;
    elsewhere.shutdown_background();
    tally(ends.into_iter().flat_map(|ends| ends.expect("an attacker goes on to its end")))
}

/// Has this thread run only where a core has nothing else to do (SCHED_IDLE, sched(7)): a nice one still takes its turn.
fn go_last() {
    let thread = rustix::thread::gettid().as_raw_pid().to_string();
    let outcome = std::process::Command::new("chrt").args(["--idle", "--pid", "0", &thread]).status();
    assert!(
        outcome.is_ok_and(|status| status.success()),
        "chrt, of Debian's util-linux, sets a thread's scheduling"
    );
}

fn row(
    attack: Attack,
    [quiet, under, after]: [&Log; 3],
    readings: [Reading; 3],
    ends: &BTreeMap<Ended, usize>,
) -> Value {
    let ms = |log: &Log| (log.p99().as_secs_f64() * 100_000.0).round() / 100.0;
    let ends: BTreeMap<String, usize> =
        ends.iter().map(|(end, count)| (format!("{end:?}"), *count)).collect();
    json!({
        "attack": format!("{attack:?}"),
        "connections": attack.connections(Scale::Large),
        "ends": ends,
        "requests": under.times.len() + under.failures.len(),
        "failed": under.failures.len(),
        "quiet_p99_ms": ms(quiet),
        "p99_ms": ms(under),
        "after_p99_ms": ms(after),
        "memory_mib": readings.map(|reading| reading.memory / MIB),
        "descriptors": readings.map(|reading| reading.descriptors),
    })
}
