//! When there are more and fewer workers, and what holds whatever they report.

use proptest::prelude::*;

use super::*;
use crate::units;

const SECOND: Duration = Duration::from_secs(1);

/// A crew that is scaled, with a clock that goes by seconds.
struct Crew {
    scaling: Scaling,
    count: u16,
    start: Instant,
    now: Instant,
}

impl Crew {
    fn new(min: u16, max: u16, count: u16) -> Self {
        let spec = ScalingSpec { min, max, shrink_after: units::Duration::from_secs(60) };
        let now = Instant::now();
        Self { scaling: Scaling::new(spec), count, start: now, now }
    }

    /// A second later: every worker is this busy, and so many requests wait.
    fn tell(&mut self, elu: f64, waiting: usize) -> Option<Change> {
        self.now += SECOND;
        let worker = Reading { elu: Some(elu), ..Reading::default() };
        let sample = Sample { workers: vec![worker; self.count.into()], waiting, room: Some(10) };
        self.scaling.step(&sample, self.now)
    }

    /// As `tell`, every second until there is a change; how many seconds that took.
    fn until_change(&mut self, elu: f64, waiting: usize) -> (u64, Change) {
        let since = self.now;
        for _ in 0..10_000 {
            if let Some(change) = self.tell(elu, waiting) {
                self.count = change.to;
                return ((self.now - since).as_secs(), change);
            }
        }
        panic!("nothing changes by a load of {elu}");
    }

    /// Nothing changes in so many seconds of this load.
    fn stays(&mut self, seconds: u64, elu: f64) {
        for _ in 0..seconds {
            let change = self.tell(elu, 0);
            assert_eq!(change, None, "after {:?}", self.now - self.start);
        }
    }
}

#[test]
fn a_load_above_the_high_mark_brings_as_many_as_it_takes() {
    let mut crew = Crew::new(2, 8, 4);
    crew.stays(600, 0.74);
    let (_, change) = crew.until_change(0.9, 0);
    assert_eq!((change.from, change.to), (4, 6), "four busy for 0.9 of their time are six at 0.6");
    assert!(matches!(change.reason, Reason::Busy { load } if load > 0.75 && load <= 0.9), "{change:?}");
    let (seconds, change) = crew.until_change(1.0, 0);
    assert_eq!((seconds, change.to), (4, 8), "no more than `max`, as soon as it lasts");
    crew.stays(600, 1.0);
}

#[test]
fn a_sudden_load_is_answered_within_ten_seconds_and_a_moment_is_not() {
    let mut crew = Crew::new(1, 4, 1);
    crew.stays(30, 0.2);
    let (seconds, _) = crew.until_change(1.0, 0);
    assert!((5..=10).contains(&seconds), "{seconds}");
    let mut crew = Crew::new(1, 4, 1);
    for _ in 0..50 {
        crew.stays(6, 0.3);
        crew.stays(2, 1.0);
    }
}

#[test]
fn requests_that_wait_bring_room_for_themselves() {
    let mut crew = Crew::new(1, 20, 1);
    let (seconds, change) = crew.until_change(0.1, 35);
    assert_eq!((seconds, change.to), (4, 5), "ten requests to a worker");
    assert_eq!(change.reason, Reason::Waiting { requests: 35 });
    for _ in 0..100 {
        assert_eq!(crew.tell(0.3, 3), None, "they do not wait for long");
        assert_eq!(crew.tell(0.3, 0), None);
    }
}

#[test]
fn one_at_a_time_leaves_when_the_others_could_have_done_its_work_for_long() {
    let mut crew = Crew::new(2, 8, 4);
    crew.stays(120, 0.46);
    let (seconds, change) = crew.until_change(0.4, 0);
    assert!((60..75).contains(&seconds), "{seconds}");
    assert_eq!((change.from, change.to), (4, 3));
    assert!(matches!(change.reason, Reason::Idle { load } if load < TARGET), "{change:?}");
    let (seconds, change) = crew.until_change(0.1, 0);
    assert_eq!((seconds, change.to), (61, 2), "the time begins anew");
    crew.stays(600, 0.0);
}

#[test]
fn a_busy_moment_begins_the_quiet_time_anew() {
    let mut crew = Crew::new(1, 8, 2);
    crew.stays(55, 0.1);
    crew.stays(5, 0.9);
    crew.stays(50, 0.1);
    crew.scaling.rest();
    crew.stays(60, 0.1);
    assert_eq!(crew.until_change(0.1, 0).0, 1);
}

#[test]
fn time_without_samples_counts_for_nothing() {
    let mut crew = Crew::new(1, 8, 2);
    crew.stays(10, 0.0);
    crew.now += 3600 * SECOND;
    crew.stays(60, 0.0);
    crew.tell(1.0, 0);
    crew.now += 3600 * SECOND;
    crew.stays(3, 1.0);
}

#[test]
fn workers_that_do_not_come_up_are_not_tried_again_at_once() {
    let mut crew = Crew::new(1, 4, 2);
    assert_eq!(crew.until_change(1.0, 0).1.to, 4);
    crew.count = 2;
    let (seconds, change) = crew.until_change(1.0, 0);
    assert_eq!((seconds, change.to), (61, 4));
    crew.count = 4;
    crew.stays(2, 1.0);
}

#[test]
fn an_app_outside_its_bounds_is_brought_back() {
    let mut crew = Crew::new(2, 4, 1);
    assert_eq!(crew.tell(0.5, 0), Some(Change { from: 1, to: 2, reason: Reason::Bounds }));
    crew.count = 9;
    assert_eq!(crew.tell(1.0, 5), Some(Change { from: 9, to: 4, reason: Reason::Bounds }));
    let mut fixed = Crew::new(3, 3, 3);
    fixed.stays(300, 1.0);
    fixed.stays(300, 0.0);
}

#[test]
fn a_worker_is_as_loaded_as_whatever_is_scarcest() {
    let idle = Reading { elu: Some(0.2), cpu: Some(0.1), in_flight: 4, is_silent: false };
    assert_eq!(idle.load(None), 0.2);
    assert_eq!(idle.load(Some(5)), 0.8);
    assert_eq!(Reading { cpu: Some(3.5), ..idle }.load(None), 1.0);
    assert_eq!(Reading { is_silent: true, ..idle }.load(None), 1.0);
    assert_eq!(Reading::default().load(None), 0.0);
    let nonsense = Reading { elu: Some(f64::NAN), cpu: Some(-1.0), ..idle };
    assert_eq!(nonsense.load(None), 0.0);
}

proptest! {
    /// Whatever is reported: within bounds, one fewer at most, and never sooner than promised.
    #[test]
    fn changes_keep_their_promises(
        (min, max) in (1u16..6).prop_flat_map(|min| (Just(min), min..12)),
        reports in prop::collection::vec((0.0..1.5f64, 0usize..30, 0u8..20), 1..400),
    ) {
        let mut crew = Crew::new(min, max, min);
        let (mut steady_since, mut not_quiet) = (crew.start + SECOND, crew.start + SECOND);
        for (elu, waiting, chance) in reports {
            let elu = if chance < 15 { elu / 10.0 } else { elu };
            let waiting = if chance == 0 { waiting } else { 0 };
            if let Some(change) = crew.tell(elu, waiting) {
                prop_assert!((min..=max).contains(&change.to) && change.from == crew.count);
                if change.to < change.from {
                    prop_assert_eq!(change.to + 1, change.from);
                    prop_assert!(crew.now - not_quiet >= 60 * SECOND);
                } else {
                    prop_assert!(crew.now - steady_since >= HOT_FOR);
                }
                crew.count = change.to;
                (steady_since, not_quiet) = (crew.now + SECOND, crew.now + SECOND);
            } else if waiting > 0 {
                not_quiet = crew.now + SECOND;
            } else if chance == 1 {
                crew.scaling.rest();
                (steady_since, not_quiet) = (crew.now + SECOND, crew.now + SECOND);
            }
        }
    }

    /// By a load that does not change it finds its number and keeps it: nothing goes back and forth.
    #[test]
    fn a_constant_load_leads_one_way_only(demand in 0.0..12.0f64, count in 1u16..12) {
        let mut crew = Crew::new(1, 12, count);
        let mut directions = Vec::new();
        for _ in 0..2000 {
            let elu = (demand / f64::from(crew.count)).min(1.0);
            if let Some(change) = crew.tell(elu, 0) {
                directions.push(change.to > change.from);
                crew.count = change.to;
            }
        }
        prop_assert!(directions.windows(2).all(|pair| pair[0] == pair[1]), "{:?}", directions);
        let load = demand / f64::from(crew.count);
        prop_assert!(load < HIGH || crew.count == 12, "{} workers, {}", crew.count, load);
        let fewer = demand / f64::from(crew.count - 1).max(0.1);
        prop_assert!(crew.count == 1 || fewer >= TARGET - 1e-9, "{} workers, {}", crew.count, load);
    }
}
