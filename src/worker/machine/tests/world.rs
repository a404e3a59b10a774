//! Whatever happens to a worker, in whatever order, its life keeps the rules.

use super::*;

/// What may happen next, the likely before the odd.
fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => Just(Event::StartWanted),
        4 => (1u32..9).prop_map(|pid| Event::Spawned { pid }),
        1 => Just(Event::SpawnFailed),
        4 => Just(Event::Listening),
        2 => Just(Event::AppReady),
        2 => Just(Event::HealthPassed),
        1 => Just(Event::HealthFailed),
        4 => (0u64..2000).prop_map(|rss| Event::Beat { rss }),
        2 => Just(Event::Exited(Exit::Code(1))),
        1 => Just(Event::StopWanted),
        1 => Just(Event::Drained),
        6 => Just(Event::Tick),
    ]
}

fn any_rules() -> impl Strategy<Value = Rules> {
    let trade = prop_oneof![3 => Just(Trade::Server), 1 => Just(Trade::Task)];
    let ripe = prop::sample::select(vec![Ripe::Running, Ripe::Listening, Ripe::Healthy, Ripe::Signal]);
    let time = || (1u64..100_000).prop_map(Duration::from_millis);
    let memory = prop::option::of(0u64..2000);
    (trade, ripe, (time(), time(), time(), time()), memory, prop::option::of(time())).prop_map(
        |(trade, ripe, (ready_timeout, backoff, max_backoff, stop_timeout), max_memory, stall)| Rules {
            trade,
            ripe,
            ready_timeout,
            backoff,
            max_backoff,
            max_memory,
            stall,
            stop_signal: Signal::Int,
            stop_timeout,
        },
    )
}

/// What the world looks like to whoever drives a machine.
#[derive(Default)]
struct World {
    alive: bool,
    in_pool: bool,
    vetoed: bool,
    killed: bool,
    replace_wanted: u32,
}

impl World {
    fn act(&mut self, rules: &Rules, action: Action) -> Result<(), TestCaseError> {
        match action {
            Action::Spawn => {
                prop_assert!(!self.alive && !self.in_pool && !self.vetoed);
                *self = Self { alive: true, ..Self::default() };
            }
            Action::Signal { .. } => self.killed |= action == KILL,
            Action::JoinPool => prop_assert!(self.alive && !std::mem::replace(&mut self.in_pool, true)),
            Action::LeavePool => prop_assert!(std::mem::replace(&mut self.in_pool, false)),
            Action::Veto => prop_assert!(self.in_pool && !std::mem::replace(&mut self.vetoed, true)),
            Action::Unveto => prop_assert!(std::mem::replace(&mut self.vetoed, false)),
            Action::Report => prop_assert!(!self.in_pool),
            Action::ReplaceWanted { rss } => {
                self.replace_wanted += 1;
                prop_assert!(rules.max_memory.is_some_and(|limit| rss > limit) && self.replace_wanted == 1);
            }
            Action::Drain | Action::Log(_) => {}
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Any events in any order at any times: the driver's picture and the machine's never part.
    #[test]
    fn every_life_keeps_the_rules(
        rules in any_rules(),
        on_trial: bool,
        events in prop::collection::vec((any_event(), 0u64..40_000, any::<u64>()), 1..80),
    ) {
        let standing = if on_trial { Standing::OnTrial } else { Standing::Proven };
        let mut machine = Machine::new(rules.clone(), standing);
        let mut world = World::default();
        let mut now = Instant::now();
        let mut seen = false;
        let mut stop_wanted = false;
        for (event, pause, seed) in events {
            now = match (event, machine.next_deadline()) {
                // As a driver does it: on time, mostly.
                (Event::Tick, Some(due)) if seed % 4 != 0 => due.max(now),
                _ => now + Duration::from_millis(pause),
            };
            let before = machine.state();
            let is_alive = world.alive;
            let actions = machine.step(event, now, seed);
            match event {
                Event::Spawned { .. } if is_alive => seen = true,
                Event::SpawnFailed if !seen => world.alive = false,
                Event::Exited(_) => world.alive = false,
                _ => {}
            }
            for action in &actions {
                if *action == Action::Spawn {
                    seen = false;
                }
                world.act(&rules, *action)?;
            }
            if !is_alive {
                let signals = actions.iter().filter(|action| matches!(action, Action::Signal { .. })).count();
                prop_assert_eq!(signals, 0);
            }
            let state = machine.state();
            stop_wanted = match event {
                Event::StopWanted => true,
                Event::StartWanted if matches!(before, State::Stopped | State::Failed) => false,
                _ => stop_wanted,
            };

            // A process for those that may have one, and none for the others.
            let has_process = !matches!(state, State::Stopped | State::Failed | State::BackingOff);
            prop_assert_eq!(world.alive, has_process);
            prop_assert_eq!(world.in_pool, state == State::Ready && rules.trade == Trade::Server);
            prop_assert!(!world.vetoed || state == State::Ready);
            // Time leads on wherever somebody waits.
            match machine.next_deadline() {
                Some(due) if event == Event::Tick => prop_assert!(due > now),
                Some(_) => {}
                None => prop_assert!(matches!(state, State::Ready | State::Failed | State::Stopped)),
            }
            // A crash is answered with a pause within its bounds.
            if state == State::BackingOff && before != State::BackingOff {
                let pause = machine.next_deadline().unwrap() - now;
                prop_assert!(pause >= rules.backoff && pause <= rules.max_backoff.max(rules.backoff));
            }
            // What is wanted gone goes: no further start, and with the process the worker is Stopped.
            if stop_wanted {
                prop_assert!(matches!(state, State::Draining | State::Stopping | State::Stopped));
                prop_assert_eq!(state == State::Stopped, !world.alive);
            }
            if before == State::Stopping && matches!(event, Event::Exited(_)) {
                prop_assert!(actions.contains(&KILL));
            }
        }
    }

    /// Left alone, every life that is to end comes to SIGKILL within its timeouts, and with the exit to its end.
    #[test]
    fn a_stop_comes_to_its_end(
        rules in any_rules(),
        events in prop::collection::vec((any_event(), any::<u64>()), 0..40),
    ) {
        let mut machine = Machine::new(rules.clone(), Standing::Proven);
        let mut now = Instant::now();
        for (event, seed) in events {
            machine.step(event, now, seed);
            now += Duration::from_millis(seed % 1000);
        }
        let wanted_at = now;
        let mut actions: VecDeque<Action> = machine.step(Event::StopWanted, now, 0).into();
        let mut killed = false;
        while !killed && machine.state() != State::Stopped {
            now = machine.next_deadline().unwrap().max(now);
            actions.extend(machine.step(Event::Tick, now, 0));
            killed = actions.drain(..).any(|action| action == KILL);
        }
        prop_assert!(now - wanted_at <= 2 * rules.stop_timeout + KILL_AGAIN);
        machine.step(Event::Exited(Exit::Signal(9)), now, 0);
        prop_assert_eq!(machine.state(), State::Stopped);
    }
}
