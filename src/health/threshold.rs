//! When a server counts as up or down: enough results of one kind in a row, and the first one alone.
//!
//! ```text
//!                    success                     failure
//!        Up, 0 <------------------ Unknown ------------------> Down, 0
//!
//!        Up, n --- failure, n + 1 < unhealthy_after ---> Up, n + 1
//!        Up, n --- failure, n + 1 = unhealthy_after ---> Down, 0
//!        Up, n --- success ----------------------------> Up, 0
//!        Down, n - success, n + 1 < healthy_after -----> Down, n + 1
//!        Down, n - success, n + 1 = healthy_after -----> Up, 0
//!        Down, n - failure ----------------------------> Down, 0
//! ```
//!
//! A pure rule: it makes no check, reads no clock and writes to no server.

use std::fmt::Display;

use crate::health::Spec;
use crate::server::Health;

/// What one check found.
#[derive(Clone, Copy)]
pub enum Event<'a> {
    Success,
    /// With the reason as a person reads it.
    Failure(&'a dyn Display),
}

/// A step from one state to another, with the reason for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub from: Health,
    /// `Up` or `Down`.
    pub to: Health,
    pub reason: String,
}

/// The state of one server under one Spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Threshold {
    healthy_after: u32,
    unhealthy_after: u32,
    health: Health,
    /// Results in a row that speak against `health`.
    against: u32,
}

impl Threshold {
    /// Starts from what is already known of the server, so that a changed Spec does not forget it.
    ///
    /// A threshold of 0 means 1.
    pub fn new(spec: &Spec, known: Health) -> Self {
        Self {
            healthy_after: spec.healthy_after.max(1),
            unhealthy_after: spec.unhealthy_after.max(1),
            health: known,
            against: 0,
        }
    }

    pub fn health(&self) -> Health {
        self.health
    }

    /// Takes one result; says so if it turned the state.
    pub fn step(&mut self, event: Event<'_>) -> Option<Change> {
        let to = match event {
            Event::Success => Health::Up,
            Event::Failure(_) => Health::Down,
        };
        if to == self.health {
            self.against = 0;
            return None;
        }
        let needed = match (self.health, to) {
            (Health::Unknown, _) => 1,
            (_, Health::Up) => self.healthy_after,
            _ => self.unhealthy_after,
        };
        self.against += 1;
        if self.against < needed {
            return None;
        }
        self.against = 0;
        let from = std::mem::replace(&mut self.health, to);
        Some(Change { from, to, reason: reason(event, from, needed) })
    }
}

fn reason(event: Event<'_>, from: Health, needed: u32) -> String {
    match event {
        Event::Success if from == Health::Unknown => "the first check passed".to_owned(),
        Event::Success if needed == 1 => "a check passed".to_owned(),
        Event::Success => format!("{needed} checks in a row passed"),
        Event::Failure(why) if needed == 1 => why.to_string(),
        Event::Failure(why) => format!("{needed} checks in a row failed, the last one: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spec(healthy_after: u32, unhealthy_after: u32) -> Spec {
        let mut spec: Spec = serde_json::from_str(r#"{ "path": "/" }"#).unwrap();
        spec.healthy_after = healthy_after;
        spec.unhealthy_after = unhealthy_after;
        spec
    }

    #[test]
    fn the_first_result_decides_at_once() {
        let mut threshold = Threshold::new(&spec(5, 5), Health::Unknown);
        let change = threshold.step(Event::Success).unwrap();
        assert_eq!((change.from, change.to), (Health::Unknown, Health::Up));
        assert_eq!(change.reason, "the first check passed");

        let mut threshold = Threshold::new(&spec(5, 5), Health::Unknown);
        let change = threshold.step(Event::Failure(&"connection refused")).unwrap();
        assert_eq!((change.from, change.to), (Health::Unknown, Health::Down));
        assert_eq!(change.reason, "connection refused");
    }

    #[test]
    fn only_results_in_a_row_turn_the_state() {
        let mut threshold = Threshold::new(&spec(2, 3), Health::Up);
        let failure = Event::Failure(&"status 503");
        for event in [failure, failure, Event::Success, failure, failure] {
            assert_eq!(threshold.step(event), None);
        }
        let change = threshold.step(failure).unwrap();
        assert_eq!((change.from, change.to), (Health::Up, Health::Down));
        assert_eq!(change.reason, "3 checks in a row failed, the last one: status 503");

        assert_eq!(threshold.step(Event::Success), None);
        assert_eq!(threshold.step(failure), None);
        assert_eq!(threshold.step(Event::Success), None);
        assert_eq!(threshold.step(Event::Success).unwrap().reason, "2 checks in a row passed");
        assert_eq!(threshold.health(), Health::Up);
    }

    #[test]
    fn a_threshold_of_zero_means_one() {
        let mut threshold = Threshold::new(&spec(0, 0), Health::Up);
        assert_eq!(threshold.step(Event::Failure(&"x")).unwrap().to, Health::Down);
        assert_eq!(threshold.step(Event::Success).unwrap().reason, "a check passed");
    }

    proptest! {
        /// Against the rule said another way: look back over all results and find the last run that was long enough.
        #[test]
        fn the_state_is_that_of_the_last_run_that_was_long_enough(
            healthy_after in 1u32..6,
            unhealthy_after in 1u32..6,
            results in prop::collection::vec(any::<bool>(), 1..200),
        ) {
            let mut threshold = Threshold::new(&spec(healthy_after, unhealthy_after), Health::Unknown);
            let mut health = Health::Unknown;
            for (at, success) in results.iter().enumerate() {
                let event = if *success { Event::Success } else { Event::Failure(&"no") };
                let change = threshold.step(event);
                let run = results[..=at].iter().rev().take_while(|r| *r == success).count();
                let needed = if *success { healthy_after } else { unhealthy_after } as usize;
                let expected = match (at, run >= needed) {
                    (0, _) | (_, true) => if *success { Health::Up } else { Health::Down },
                    _ => health,
                };
                prop_assert_eq!(threshold.health(), expected);
                prop_assert_eq!(change.is_some(), expected != health);
                if let Some(change) = change {
                    prop_assert_eq!((change.from, change.to), (health, expected));
                }
                health = expected;
            }
        }
    }
}
