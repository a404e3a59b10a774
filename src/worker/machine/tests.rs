//! The usual lives of a worker, and what holds in every life.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::worker::Spec;

mod world;

const SECOND: Duration = Duration::from_secs(1);
const TERM: Action = Action::Signal { signal: Signal::Term, to: To::Process };

/// A machine with a clock, and the actions of its last step.
struct Life {
    machine: Machine,
    start: Instant,
    now: Instant,
}

impl Life {
    /// Started, with the rules of a Spec that has these further keys.
    fn of(keys: &str, standing: Standing) -> Self {
        let spec: Spec = serde_json::from_str(&format!(r#"{{ "command": "node a.js" {keys} }}"#)).unwrap();
        let now = Instant::now();
        let mut life = Self { machine: Machine::new(Rules::of(&spec), standing), start: now, now };
        assert_eq!(life.machine.state(), State::Stopped);
        assert_eq!(life.tell(Event::StartWanted), [Action::Spawn]);
        life
    }

    fn proven() -> Self {
        Self::of("", Standing::Proven)
    }

    /// Ready, with one report.
    fn ready() -> Self {
        let mut life = Self::proven();
        life.tell(Event::Spawned { pid: 7 });
        life.tell(Event::Listening);
        life.tell(Event::Beat { rss: 1 });
        life
    }

    fn at(&mut self, seconds: f64) -> &mut Self {
        self.now = self.start + Duration::from_secs_f64(seconds);
        self
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        self.machine.step(event, self.now, 0)
    }

    /// Goes to the next deadline; gives how far it was and what is due.
    fn wait(&mut self) -> (Duration, Vec<Action>) {
        let due = self.machine.next_deadline().unwrap();
        let time = due - self.now;
        self.now = due;
        (time, self.tell(Event::Tick))
    }

    fn state(&self) -> State {
        self.machine.state()
    }
}

fn entries(actions: &[Action]) -> Vec<Entry> {
    actions
        .iter()
        .filter_map(|action| if let Action::Log(entry) = action { Some(*entry) } else { None })
        .collect()
}

#[test]
fn a_good_life_from_start_to_stop() {
    let mut life = Life::proven();
    assert_eq!(life.state(), State::Starting);
    assert_eq!(life.tell(Event::Spawned { pid: 7 }), [Action::Log(Entry::Started { pid: 7 })]);
    assert_eq!(life.machine.pid(), Some(7));
    assert_eq!(life.at(0.5).tell(Event::AppReady), []);
    let after = SECOND;
    assert_eq!(life.at(1.0).tell(Event::Listening), [Action::JoinPool, Action::Log(Entry::Ready { after })]);
    assert_eq!((life.state(), life.machine.next_deadline()), (State::Ready, None));

    let leaving = [Action::LeavePool, Action::Drain, Action::Log(Entry::Draining)];
    assert_eq!(life.at(100.0).tell(Event::StopWanted), leaving);
    assert!(life.machine.is_leaving());
    let asked = [Action::Log(Entry::Stopping { signal: Signal::Term }), TERM];
    assert_eq!(life.at(101.0).tell(Event::Drained), asked);
    assert_eq!(life.state(), State::Stopping);
    let exit = Exit::Code(0);
    assert_eq!(life.tell(Event::Exited(exit)), [KILL, Action::Log(Entry::Stopped { exit: Some(exit) })]);
    assert_eq!((life.state(), life.machine.pid()), (State::Stopped, None));
    assert_eq!(life.tell(Event::StartWanted), [Action::Spawn]);
}

#[test]
fn what_does_not_stop_is_killed_and_killed_again() {
    let mut life = Life::ready();
    life.tell(Event::StopWanted);
    let (time, actions) = life.wait();
    assert_eq!(time, 30 * SECOND);
    assert_eq!(entries(&actions), [Entry::DrainTimeout, Entry::Stopping { signal: Signal::Term }]);
    assert_eq!(life.wait(), (30 * SECOND, vec![Action::Log(Entry::StopTimeout), KILL]));
    assert_eq!(life.wait(), (KILL_AGAIN, vec![Action::Log(Entry::KillIgnored), KILL]));
    life.tell(Event::Exited(Exit::Signal(9)));
    assert_eq!(life.state(), State::Stopped);
}

#[test]
fn a_worker_that_cannot_boot_is_tried_for_ever_with_growing_pauses() {
    let mut life = Life::proven();
    let mut pauses = Vec::new();
    for _ in 0..12 {
        life.tell(Event::Spawned { pid: 7 });
        let actions = life.tell(Event::Exited(Exit::Code(1)));
        assert_eq!(actions[0], KILL);
        let [Entry::BootCrash { exit: Some(Exit::Code(1)), pause: Some(pause), .. }] = entries(&actions)[..]
        else {
            panic!("{actions:?}");
        };
        assert_eq!(life.state(), State::BackingOff);
        let (time, actions) = life.wait();
        assert_eq!((time, actions), (pause, vec![Action::Spawn]));
        pauses.push(pause.as_millis());
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 15_000, 15_000, 15_000, 15_000]);
    assert_eq!(life.machine.failures(), 12);
}

#[test]
fn a_crash_after_a_good_life_starts_from_the_shortest_pause() {
    let crash = |life: &mut Life, ready_for: Duration| {
        life.now += ready_for;
        let actions = life.tell(Event::Exited(Exit::Signal(11)));
        assert_eq!(actions[..2], [Action::LeavePool, KILL]);
        let found = entries(&actions);
        let [Entry::Crash { pause, ready_for: told, .. }] = found[..] else { panic!("{found:?}") };
        assert_eq!(told, ready_for);
        life.wait();
        life.tell(Event::Spawned { pid: 8 });
        life.tell(Event::Listening);
        pause.as_millis()
    };
    let mut life = Life::ready();
    assert_eq!([59, 59, 60, 1].map(|seconds| crash(&mut life, seconds * SECOND)), [100, 200, 100, 200]);
}

#[test]
fn one_that_is_not_ready_in_time_is_killed_and_started_again() {
    let mut life = Life::proven();
    life.tell(Event::Spawned { pid: 7 });
    let (time, actions) = life.wait();
    assert_eq!(time, 30 * SECOND);
    assert_eq!(
        actions,
        [Action::Log(Entry::NotReady { missing: Ripe::Listening, after: 30 * SECOND }), KILL]
    );
    assert_eq!(life.tell(Event::Listening), []);
    life.tell(Event::Exited(Exit::Signal(9)));
    assert_eq!(life.state(), State::BackingOff);
}

#[test]
fn on_trial_there_is_one_chance_until_it_is_ready() {
    for event in [Event::Exited(Exit::Code(1)), Event::SpawnFailed] {
        let mut life = Life::of("", Standing::OnTrial);
        let actions = life.tell(event);
        assert!(matches!(entries(&actions)[..], [Entry::BootCrash { pause: None, .. }]), "{actions:?}");
        assert_eq!((life.state(), life.machine.next_deadline()), (State::Failed, None));
        assert_eq!(life.tell(Event::StopWanted), [Action::Log(Entry::Stopped { exit: None })]);
    }
    let mut life = Life::of("", Standing::OnTrial);
    life.tell(Event::Spawned { pid: 7 });
    life.wait();
    life.tell(Event::Exited(Exit::Signal(9)));
    assert_eq!(life.state(), State::Failed);

    let mut life = Life::of("", Standing::OnTrial);
    life.tell(Event::Listening);
    life.tell(Event::Exited(Exit::Code(1)));
    assert_eq!(life.state(), State::BackingOff);
}

#[test]
fn readiness_is_what_was_asked_for() {
    for (when, counts, others) in [
        ("listening", Event::Listening, [Event::AppReady, Event::HealthPassed]),
        ("healthy", Event::HealthPassed, [Event::AppReady, Event::Listening]),
        ("signal", Event::AppReady, [Event::HealthPassed, Event::Listening]),
    ] {
        let mut life = Life::of(&format!(r#", "ready": {{ "when": "{when}" }}"#), Standing::Proven);
        life.tell(Event::Spawned { pid: 7 });
        for other in others.into_iter().chain([Event::HealthFailed]) {
            assert_eq!(life.tell(other), []);
        }
        assert_eq!(life.tell(counts)[0], Action::JoinPool);
    }
}

/// A task that has run for its time.
fn ready_task(keys: &str) -> Life {
    let mut life = Life::of(&format!(r#", "task": true {keys}"#), Standing::Proven);
    life.tell(Event::Spawned { pid: 7 });
    life.wait();
    assert_eq!(life.state(), State::Ready);
    life
}

#[test]
fn a_task_is_ready_once_it_has_run_for_a_second_and_knows_no_pool() {
    let mut life = Life::of(r#", "task": true"#, Standing::Proven);
    assert_eq!(life.at(0.5).tell(Event::Spawned { pid: 7 }), [Action::Log(Entry::Started { pid: 7 })]);
    assert_eq!(life.tell(Event::Beat { rss: 1 }), []);
    let ready = [Action::Log(Entry::Ready { after: SECOND })];
    assert_eq!(life.wait(), (SECOND / 2, ready.to_vec()));
    let asked = [Action::Log(Entry::Stopping { signal: Signal::Term }), TERM];
    assert_eq!(life.tell(Event::StopWanted), asked);
}

#[test]
fn a_task_that_ends_at_once_is_a_boot_crash() {
    let mut life = Life::of(r#", "task": true"#, Standing::OnTrial);
    life.tell(Event::Spawned { pid: 7 });
    let actions = life.at(0.9).tell(Event::Exited(Exit::Code(1)));
    assert!(matches!(entries(&actions)[..], [Entry::BootCrash { pause: None, .. }]), "{actions:?}");
    assert_eq!(life.state(), State::Failed);
}

#[test]
fn a_task_that_has_something_to_say_is_ready_then() {
    let mut life = Life::of(r#", "task": true, "ready": { "when": "signal" }"#, Standing::Proven);
    life.tell(Event::Spawned { pid: 7 });
    assert_eq!(life.machine.next_deadline(), Some(life.start + 30 * SECOND));
    assert_eq!(life.at(9.0).tell(Event::AppReady), [Action::Log(Entry::Ready { after: 9 * SECOND })]);
}

#[test]
fn a_task_that_computes_is_not_talked_about_until_it_stalls() {
    let mut life = ready_task("");
    life.tell(Event::Beat { rss: 1 });
    assert_eq!(life.wait(), (VETO_AFTER, vec![]));
    assert_eq!(life.at(20.0).tell(Event::Beat { rss: 1 }), []);
    life.wait();
    let silent_for = 30 * SECOND;
    let stalled = vec![Action::Report, Action::Log(Entry::Stalled { silent_for })];
    assert_eq!(life.wait(), (silent_for - VETO_AFTER, stalled));
    assert_eq!(life.wait(), (REPORT_TIME, vec![KILL]));
}

#[test]
fn a_task_is_replaced_for_its_memory() {
    let mut life = ready_task(r#", "restart": { "max_memory": "1KiB" }"#);
    let told = life.tell(Event::Beat { rss: 1025 });
    assert_eq!(told.last(), Some(&Action::ReplaceWanted { rss: 1025 }));
}

#[test]
fn a_silent_worker_gets_no_new_requests_until_it_reports_again() {
    let mut life = Life::ready();
    let silent_for = VETO_AFTER;
    assert_eq!(life.wait(), (VETO_AFTER, vec![Action::Veto, Action::Log(Entry::Silent { silent_for })]));
    life.at(5.0);
    let awake = [Action::Unveto, Action::Log(Entry::Awake { silent_for: 5 * SECOND })];
    assert_eq!(life.tell(Event::Beat { rss: 1 }), awake);
    assert_eq!(life.machine.next_deadline(), Some(life.now + VETO_AFTER));
}

#[test]
fn one_that_stays_silent_reports_and_is_killed() {
    let mut life = Life::ready();
    life.wait();
    let silent_for = 30 * SECOND;
    let (_, actions) = life.wait();
    let expected =
        [Action::LeavePool, Action::Unveto, Action::Report, Action::Log(Entry::Stalled { silent_for })];
    assert_eq!(actions, expected);
    assert_eq!(life.now - life.start, silent_for);
    assert_eq!(life.wait(), (REPORT_TIME, vec![KILL]));
    let exit = Exit::Signal(9);
    let pause = Some(Duration::from_millis(100));
    assert_eq!(life.tell(Event::Exited(exit)), [KILL, Action::Log(Entry::Ended { exit, pause })]);
    assert_eq!(life.state(), State::BackingOff);
}

#[test]
fn silence_counts_only_after_a_report_and_only_while_ready() {
    let mut life = Life::proven();
    life.tell(Event::Spawned { pid: 7 });
    life.tell(Event::Beat { rss: 1 });
    assert_eq!(life.machine.next_deadline(), Some(life.start + 30 * SECOND));
    life.at(20.0).tell(Event::Listening);
    assert_eq!(life.machine.next_deadline(), Some(life.now + VETO_AFTER));
    let mut life = Life::of(r#", "restart": { "stall": "off" }"#, Standing::Proven);
    life.tell(Event::Listening);
    life.tell(Event::Beat { rss: 1 });
    life.wait();
    assert_eq!(life.machine.next_deadline(), None);
}

#[test]
fn when_lintel_itself_stood_still_no_worker_is_killed_for_it() {
    let mut life = Life::ready();
    assert_eq!(life.at(3600.0).tell(Event::Tick)[0], Action::Veto);
    assert_eq!(life.machine.next_deadline(), Some(life.now + VETO_AFTER));
    assert_eq!(life.tell(Event::Beat { rss: 1 })[0], Action::Unveto);
}

#[test]
fn too_much_memory_is_told_once_for_each_process() {
    let mut life = Life::of(r#", "restart": { "max_memory": "1KiB" }"#, Standing::Proven);
    for _ in 0..2 {
        life.tell(Event::Spawned { pid: 7 });
        assert_eq!(life.tell(Event::Beat { rss: 5000 }), []);
        life.tell(Event::Listening);
        assert_eq!(life.tell(Event::Beat { rss: 1024 }), []);
        let told = [
            Action::Log(Entry::MemoryExceeded { rss: 1025, limit: 1024 }),
            Action::ReplaceWanted { rss: 1025 },
        ];
        assert_eq!(life.tell(Event::Beat { rss: 1025 }), told);
        assert_eq!(life.tell(Event::Beat { rss: 4096 }), []);
        life.tell(Event::Exited(Exit::Code(0)));
        life.wait();
    }
}

#[test]
fn a_stop_finds_every_state() {
    // Only ordered: the signal follows once there is a process.
    let mut life = Life::proven();
    assert_eq!(life.tell(Event::StopWanted), [Action::Log(Entry::Stopping { signal: Signal::Term })]);
    assert_eq!(life.tell(Event::Spawned { pid: 7 }), [Action::Log(Entry::Started { pid: 7 }), TERM]);
    // Ordered, and it could not be started.
    let mut life = Life::proven();
    life.tell(Event::StopWanted);
    assert_eq!(life.tell(Event::SpawnFailed), [Action::Log(Entry::Stopped { exit: None })]);
    // Resting.
    let mut life = Life::proven();
    life.tell(Event::SpawnFailed);
    life.tell(Event::StopWanted);
    assert_eq!((life.state(), life.machine.next_deadline()), (State::Stopped, None));
    // Being killed for something else.
    let mut life = Life::ready();
    life.wait();
    life.wait();
    assert_eq!(life.tell(Event::StopWanted), []);
    life.tell(Event::Exited(Exit::Signal(9)));
    assert_eq!(life.state(), State::Stopped);
}

#[test]
fn an_exit_may_be_told_before_the_start() {
    let mut life = Life::proven();
    life.tell(Event::Exited(Exit::Code(1)));
    assert_eq!(life.tell(Event::Spawned { pid: 7 }), []);
    assert_eq!((life.state(), life.machine.pid()), (State::BackingOff, None));
}
