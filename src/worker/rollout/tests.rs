//! Rollouts that go well, rollouts that fail, and what holds in both.

use std::collections::VecDeque;
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::worker::Spec;
use crate::worker::machine::{self, Rules};

const CRASH: Reason = Reason::Exited(Exit::Code(1));

fn id(slot: u16, generation: u64) -> Id {
    Id { slot, generation }
}

fn start(slot: u16, generation: u64) -> Action {
    Action::Start { id: id(slot, generation), standing: Standing::OnTrial }
}

fn restart(slot: u16, generation: u64) -> Action {
    Action::Start { id: id(slot, generation), standing: Standing::Proven }
}

fn retire(slot: u16, generation: u64) -> Action {
    Action::Retire(id(slot, generation))
}

fn failed(slot: u16, reason: Reason, kept: Vec<Id>) -> Action {
    Action::Done(Outcome::Failed { id: id(slot, 2), reason, kept })
}

fn all_ready(count: u16, generation: u64) -> BTreeMap<Id, Status> {
    Rollout::wanted(count, generation).into_iter().map(|id| (id, Status::Ready)).collect()
}

const DONE: Action = Action::Done(Outcome::Complete);

#[test]
fn workers_are_replaced_one_by_one() {
    let (mut rollout, actions) = Rollout::begin(&all_ready(2, 1), Rollout::wanted(2, 2), 1);
    assert_eq!(actions, [start(0, 2)]);
    assert_eq!(rollout.step(Event::Ready(id(0, 2))), [retire(0, 1)]);
    assert_eq!(rollout.step(Event::Gone(id(0, 1))), [start(1, 2)]);
    assert_eq!(rollout.step(Event::Ready(id(1, 2))), [retire(1, 1)]);
    assert_eq!(rollout.step(Event::Gone(id(1, 1))), [DONE]);
    assert_eq!(rollout.step(Event::Down(id(1, 2), CRASH)), []);
}

#[test]
fn it_is_known_who_stays_and_a_failure_turns_that_round() {
    let (mut rollout, _) = Rollout::begin(&all_ready(2, 1), Rollout::wanted(2, 2), 1);
    let kept = |rollout: &Rollout| [id(1, 1), id(0, 2)].map(|id| rollout.keeps(id));
    assert_eq!(kept(&rollout), [false, true]);
    rollout.step(Event::Ready(id(0, 2)));
    rollout.step(Event::Gone(id(0, 1)));
    rollout.step(Event::Down(id(1, 2), CRASH));
    assert_eq!(kept(&rollout), [true, false]);
}

#[test]
fn surge_lets_more_of_them_start_at_a_time() {
    let (_, actions) = Rollout::begin(&all_ready(4, 1), Rollout::wanted(4, 2), 3);
    assert_eq!(actions, [start(0, 2), start(1, 2), start(2, 2)]);
    let (_, actions) = Rollout::begin(&all_ready(4, 1), Rollout::wanted(4, 2), 0);
    assert_eq!(actions, [start(0, 2)]);
}

#[test]
fn a_new_worker_that_fails_ends_the_rollout_and_the_old_ones_stay() {
    for reason in [CRASH, Reason::NotReadyInTime, Reason::SpawnFailed] {
        let (mut rollout, _) = Rollout::begin(&all_ready(2, 1), Rollout::wanted(2, 2), 1);
        assert_eq!(rollout.step(Event::Down(id(0, 2), reason)), [retire(0, 2)]);
        assert_eq!(rollout.step(Event::Gone(id(0, 2))), [failed(0, reason, vec![])]);
    }
}

#[test]
fn what_was_replaced_before_the_failure_goes_back() {
    let (mut rollout, _) = Rollout::begin(&all_ready(2, 1), Rollout::wanted(2, 2), 1);
    rollout.step(Event::Ready(id(0, 2)));
    rollout.step(Event::Gone(id(0, 1)));
    // The new worker in place 0 serves until the old one is back.
    assert_eq!(rollout.step(Event::Down(id(1, 2), CRASH)), [retire(1, 2)]);
    assert_eq!(rollout.step(Event::Gone(id(1, 2))), [restart(0, 1)]);
    assert_eq!(rollout.step(Event::Ready(id(0, 1))), [retire(0, 2)]);
    assert_eq!(rollout.step(Event::Gone(id(0, 2))), [failed(1, CRASH, vec![])]);
}

#[test]
fn where_the_old_one_does_not_come_back_the_new_one_stays() {
    let (mut rollout, _) = Rollout::begin(&all_ready(2, 1), Rollout::wanted(2, 2), 1);
    rollout.step(Event::Ready(id(0, 2)));
    rollout.step(Event::Gone(id(0, 1)));
    rollout.step(Event::Down(id(1, 2), Reason::NotReadyInTime));
    rollout.step(Event::Gone(id(1, 2)));
    assert_eq!(rollout.step(Event::Down(id(0, 1), CRASH)), [retire(0, 1)]);
    let kept = vec![id(0, 2)];
    assert_eq!(rollout.step(Event::Gone(id(0, 1))), [failed(1, Reason::NotReadyInTime, kept)]);
}

#[test]
fn a_new_worker_that_crashes_later_ends_the_rollout_too() {
    let (mut rollout, _) = Rollout::begin(&all_ready(2, 1), Rollout::wanted(2, 2), 1);
    assert_eq!(rollout.step(Event::Ready(id(0, 2))), [retire(0, 1)]);
    // The old one is not gone yet, so it cannot be started again yet.
    assert_eq!(rollout.step(Event::Down(id(0, 2), CRASH)), [retire(0, 2)]);
    assert_eq!(rollout.step(Event::Gone(id(0, 1))), [restart(0, 1)]);
    assert_eq!(rollout.step(Event::Gone(id(0, 2))), []);
    assert_eq!(rollout.step(Event::Ready(id(0, 1))), [failed(0, CRASH, vec![])]);
}

#[test]
fn scaling_up_fills_the_new_places() {
    let (mut rollout, actions) = Rollout::begin(&all_ready(1, 1), Rollout::wanted(3, 1), 1);
    assert_eq!(actions, [start(1, 1), start(2, 1)]);
    assert_eq!(rollout.step(Event::Ready(id(2, 1))), []);
    assert_eq!(rollout.step(Event::Ready(id(1, 1))), [DONE]);
    let (_, actions) = Rollout::begin(&BTreeMap::new(), Rollout::wanted(2, 1), 1);
    assert_eq!(actions, [start(0, 1), start(1, 1)]);
}

#[test]
fn scaling_down_takes_the_highest_places_first() {
    let (mut rollout, actions) = Rollout::begin(&all_ready(4, 1), Rollout::wanted(2, 1), 1);
    assert_eq!(actions, [retire(3, 1), retire(2, 1)]);
    rollout.step(Event::Gone(id(2, 1)));
    assert_eq!(rollout.step(Event::Gone(id(3, 1))), [DONE]);
    // With new settings too, those that are too many stay until the end: they may be needed.
    let (mut rollout, actions) = Rollout::begin(&all_ready(2, 1), Rollout::wanted(1, 2), 1);
    assert_eq!(actions, [start(0, 2)]);
    assert_eq!(rollout.step(Event::Ready(id(0, 2))), [retire(1, 1), retire(0, 1)]);
}

#[test]
fn a_worker_that_is_down_by_itself_holds_nothing_up() {
    let mut current = all_ready(3, 1);
    current.insert(id(0, 1), Status::Down);
    let (mut rollout, actions) = Rollout::begin(&current, Rollout::wanted(2, 1), 1);
    assert_eq!(actions, [retire(2, 1)]);
    assert_eq!(rollout.step(Event::Down(id(0, 1), CRASH)), []);
    assert_eq!(rollout.step(Event::Gone(id(2, 1))), [DONE]);
}

#[test]
fn one_worker_is_replaced_by_one_with_a_generation_of_its_own() {
    let mut wanted = Rollout::wanted(3, 1);
    wanted.remove(&id(1, 1));
    wanted.insert(id(1, 2));
    let (mut rollout, actions) = Rollout::begin(&all_ready(3, 1), wanted, 1);
    assert_eq!(actions, [start(1, 2)]);
    assert_eq!(rollout.step(Event::Ready(id(1, 2))), [retire(1, 1)]);
    assert_eq!(rollout.step(Event::Gone(id(1, 1))), [DONE]);
}

#[test]
fn who_is_wanted_and_still_leaving_is_awaited_and_started_again() {
    let mut current = all_ready(2, 1);
    current.insert(id(1, 1), Status::Leaving);
    let (mut rollout, actions) = Rollout::begin(&current, Rollout::wanted(2, 1), 1);
    assert_eq!(actions, []);
    assert_eq!(rollout.step(Event::Gone(id(1, 1))), [start(1, 1)]);
    assert_eq!(rollout.step(Event::Ready(id(1, 1))), [DONE]);
}

#[test]
fn nothing_to_do_is_done_at_once() {
    let (_, actions) = Rollout::begin(&all_ready(2, 1), Rollout::wanted(2, 1), 1);
    assert_eq!(actions, [DONE]);
}

#[test]
fn lines_of_a_machine_become_events() {
    let (one, time) = (id(0, 1), std::time::Duration::ZERO);
    let exit = Exit::Code(1);
    for (entry, event) in [
        (Entry::Ready { after: time }, Some(Event::Ready(one))),
        (Entry::BootCrash { exit: Some(exit), after: time, pause: None }, Some(Event::Down(one, CRASH))),
        (
            Entry::BootCrash { exit: None, after: time, pause: None },
            Some(Event::Down(one, Reason::SpawnFailed)),
        ),
        (Entry::Stalled { silent_for: time }, Some(Event::Down(one, Reason::Stalled))),
        (Entry::Stopped { exit: None }, Some(Event::Gone(one))),
        (Entry::Draining, None),
    ] {
        assert_eq!(Event::of(one, &entry), event);
    }
}

/// What the workers in a test do.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Luck {
    /// All starts succeed.
    Good,
    /// New workers may fail before they are ready; old ones that are started again do not.
    NewFail,
    /// Anybody may end at any time.
    AllFail,
}

/// The workers of a rollout, which do what chance has them do.
struct World {
    members: BTreeMap<Id, Status>,
    rollout: Rollout,
    done: Option<Outcome>,
    limit: usize,
}

impl World {
    fn act(&mut self, actions: Vec<Action>) -> Result<(), TestCaseError> {
        for action in actions {
            prop_assert!(self.done.is_none());
            match action {
                Action::Start { id, .. } => {
                    prop_assert_eq!(self.members.insert(id, Status::Starting), None);
                    prop_assert!(self.members.len() <= self.limit);
                }
                Action::Retire(id) => {
                    let old = self.members.insert(id, Status::Leaving);
                    prop_assert!(old.is_some_and(|status| status != Status::Leaving));
                }
                Action::Done(outcome) => self.done = Some(outcome),
            }
        }
        Ok(())
    }

    /// One thing that can happen next.
    fn happen(&mut self, luck: Luck, before: &BTreeSet<Id>, pick: usize, dice: u8) -> Option<Event> {
        let open: Vec<(Id, Status)> = self
            .members
            .iter()
            .filter(|(_, status)| luck == Luck::AllFail || **status != Status::Ready)
            .map(|(id, status)| (*id, *status))
            .collect();
        let (id, status) = *open.get(pick.checked_rem(open.len())?)?;
        let may_fail = match luck {
            Luck::Good => false,
            Luck::NewFail => !before.contains(&id),
            Luck::AllFail => true,
        };
        let event = match status {
            Status::Leaving => Event::Gone(id),
            Status::Starting | Status::Ready if may_fail && dice < 80 => Event::Down(id, CRASH),
            _ => Event::Ready(id),
        };
        match event {
            Event::Gone(id) => self.members.remove(&id),
            Event::Ready(id) => self.members.insert(id, Status::Ready),
            Event::Down(id, _) => self.members.insert(id, Status::Down),
        };
        Some(event)
    }

    fn ready(&self) -> usize {
        self.members.values().filter(|status| **status == Status::Ready).count()
    }
}

/// What happens next to some machine that does not just run: new ones fail now and then.
fn next_of(machines: &BTreeMap<Id, Machine>, dice: u8) -> (Id, machine::Event) {
    use machine::Event::{Exited, Listening, Tick};
    let busy: Vec<_> = machines.iter().filter(|(_, machine)| machine.state() != State::Ready).collect();
    let (id, machine) = busy[usize::from(dice) % busy.len()];
    let event = match machine.state() {
        State::Starting if id.generation == 2 && dice < 10 => Exited(Exit::Code(1)),
        State::Starting if id.generation == 2 && dice < 20 => Tick,
        State::Starting if dice < 30 => Exited(Exit::Code(1)),
        State::Starting => Listening,
        State::Stopping if dice < 70 => Exited(Exit::Code(0)),
        _ => Tick,
    };
    (*id, event)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_rollout_keeps_the_rules(
        had in 0u16..6,
        count in 1u16..6,
        same_settings: bool,
        surge in 1u16..4,
        luck in prop::sample::select(vec![Luck::Good, Luck::NewFail, Luck::AllFail]),
        chances in prop::collection::vec((any::<usize>(), any::<u8>()), 400),
    ) {
        let current = all_ready(had, 1);
        let before: BTreeSet<Id> = current.keys().copied().collect();
        let wanted = Rollout::wanted(count, if same_settings { 1 } else { 2 });
        let limit = usize::from(had.max(count) + surge);
        let (rollout, actions) = Rollout::begin(&current, wanted.clone(), surge);
        let mut world = World { members: current, rollout, done: None, limit };
        world.act(actions)?;
        let floor = usize::from(had.min(count));
        for (step, (pick, dice)) in chances.into_iter().enumerate() {
            if world.done.is_some() {
                break;
            }
            // Nothing fails for ever, so that every rollout can end.
            let luck_now = if step < 200 { luck } else { Luck::Good };
            let Some(event) = world.happen(luck_now, &before, pick, dice) else { break };
            let actions = world.rollout.step(event);
            world.act(actions)?;
            // Never fewer than there were, unless fewer are wanted; those that crash by themselves apart.
            if luck != Luck::AllFail {
                prop_assert!(world.ready() >= floor, "{} ready of {}", world.ready(), floor);
            }
        }
        let there: BTreeSet<Id> = world.members.keys().copied().collect();
        match world.done {
            Some(Outcome::Complete) => prop_assert_eq!(there, wanted),
            Some(Outcome::Failed { kept, .. }) => {
                prop_assert!(luck != Luck::Good);
                prop_assert!(luck == Luck::AllFail || kept.is_empty());
                // Exactly the old ones, but for the places where one did not come back.
                let in_kept_place = |id: &&Id| kept.iter().any(|other| other.slot == id.slot);
                let stayed: BTreeSet<Id> = before.iter().filter(|id| !in_kept_place(id)).copied().collect();
                let expected: BTreeSet<Id> = stayed.union(&kept.iter().copied().collect()).copied().collect();
                prop_assert_eq!(there, expected);
            }
            None => prop_assert!(false, "no end: {:?}", world.rollout),
        }
    }

    /// Driven as it will be: with machines, whose log lines are its events.
    #[test]
    fn rollouts_and_machines_come_to_an_end_together(
        count in 1u16..4,
        dice in prop::collection::vec(0u8..100, 300),
        seed: u64,
    ) {
        let rules = Rules::of(&serde_json::from_str::<Spec>(r#"{ "command": "node a.js" }"#).unwrap());
        let mut now = Instant::now();
        let mut machines = BTreeMap::new();
        for id in Rollout::wanted(count, 1) {
            let mut machine = Machine::new(rules.clone(), Standing::Proven);
            for event in [machine::Event::StartWanted, machine::Event::Listening] {
                machine.step(event, now, seed);
            }
            machines.insert(id, machine);
        }
        let current = machines.iter().filter_map(|(id, machine)| Some((*id, Status::of(machine)?))).collect();
        let (mut rollout, actions) = Rollout::begin(&current, Rollout::wanted(count, 2), 1);
        let mut actions: VecDeque<Action> = actions.into();
        let mut outcome = None;
        let mut chances = dice.into_iter();
        while outcome.is_none() {
            let told = match actions.pop_front() {
                Some(Action::Done(done)) => {
                    outcome = Some(done);
                    continue;
                }
                Some(Action::Start { id, standing }) => {
                    let mut machine = Machine::new(rules.clone(), standing);
                    let told = machine.step(machine::Event::StartWanted, now, seed);
                    machines.insert(id, machine);
                    (id, told)
                }
                Some(Action::Retire(id)) => {
                    let machine = machines.get_mut(&id).unwrap();
                    (id, machine.step(machine::Event::StopWanted, now, seed))
                }
                None => {
                    // Chance has run out where the rollout hangs.
                    let dice = chances.next();
                    prop_assert!(dice.is_some(), "no end: {:?}", rollout);
                    let (id, event) = next_of(&machines, dice.unwrap());
                    let machine = machines.get_mut(&id).unwrap();
                    now = if event == machine::Event::Tick { machine.next_deadline().unwrap().max(now) } else { now };
                    (id, machine.step(event, now, seed))
                }
            };
            let (id, told) = told;
            for action in told {
                if let machine::Action::Log(entry) = action {
                    actions.extend(Event::of(id, &entry).into_iter().flat_map(|event| rollout.step(event)));
                }
            }
            machines.retain(|_, machine| machine.state() != State::Stopped);
        }
        let there: BTreeSet<Id> = machines.keys().copied().collect();
        match outcome {
            Some(Outcome::Complete) => prop_assert_eq!(there, Rollout::wanted(count, 2)),
            Some(Outcome::Failed { kept, .. }) => {
                let in_kept_place = |id: &Id| kept.iter().any(|other| other.slot == id.slot);
                let mut expected = Rollout::wanted(count, 1);
                expected.retain(|id| !in_kept_place(id));
                expected.extend(&kept);
                prop_assert_eq!(there, expected);
            }
            None => {}
        }
    }

    /// Events that make no sense change nothing for the worse.
    #[test]
    fn no_events_break_it(
        had in 0u16..4,
        count in 0u16..4,
        events in prop::collection::vec((0u16..5, 1u64..3, 0u8..3), 0..60),
    ) {
        let (mut rollout, _) = Rollout::begin(&all_ready(had, 1), Rollout::wanted(count, 2), 1);
        for (slot, generation, kind) in events {
            let id = id(slot, generation);
            rollout.step([Event::Ready(id), Event::Down(id, CRASH), Event::Gone(id)][usize::from(kind)]);
            prop_assert!(rollout.members.len() <= rollout.limit);
        }
    }
}
