//! When a file of a worker is put aside and which old ones go: rules that know neither clock nor disk.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::name::{Form, Name};
use crate::worker::spec::RotateSpec;

/// What a user asked for, with everything that follows from it.
#[derive(Clone, Debug)]
pub struct Rules(pub RotateSpec);

/// A file that may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Old {
    pub name: Name,
    pub bytes: u64,
    /// Since 1970: when it was put aside, or last written.
    pub at: Duration,
}

impl Rules {
    /// How large each of `files` may become that are written to. With a `total`, small enough for all of them to stay
    /// below it, with room for an old one.
    pub fn size(&self, files: usize) -> u64 {
        let files = u64::try_from(files).unwrap_or(u64::MAX);
        let share = self.0.total.map_or(u64::MAX, |total| total.count() / files.saturating_add(1));
        self.0.size.count().min(share)
    }

    /// Whether a file of `written` bytes, one of `files`, has no room for `more`.
    pub fn is_full(&self, written: u64, more: u64, files: usize) -> bool {
        written > 0 && written.saturating_add(more) > self.size(files)
    }

    /// When a file that began then is put aside whatever its size; times are since 1970.
    pub fn due(&self, began: Duration) -> Option<Duration> {
        self.0.age.map(|age| began.saturating_add(age.std()))
    }

    /// Also when it began in a future that the clock has been turned back from: it would else wait for that to come.
    pub fn is_due(&self, began: Duration, now: Duration) -> bool {
        self.0.age.is_some_and(|age| now.abs_diff(began) >= age.std())
    }

    /// Which files go: what is more than `keep` of a worker, then the oldest of all until the rest, with `in_use` bytes
    /// that cannot go, fits into `total`.
    pub fn superfluous(&self, mut old: Vec<Old>, in_use: u64) -> Vec<Name> {
        old.sort_by_key(|file| std::cmp::Reverse((file.at, file.name)));
        // A file and its compressed form are one.
        let mut kept: BTreeMap<u32, BTreeSet<Name>> = BTreeMap::new();
        let mut room = self.0.total.map_or(u64::MAX, |total| total.count().saturating_sub(in_use));
        let mut is_fitting = true;
        let mut goes = |file: &Old| {
            if let Name::Aside { worker, .. } = file.name {
                let of_worker = kept.entry(worker).or_default();
                of_worker.insert(file.name.in_form(Form::Plain));
                if of_worker.len() > self.0.keep.into() {
                    return true;
                }
            }
            // Nothing that is older than one that has no room is kept.
            is_fitting &= file.bytes <= room;
            room = room.saturating_sub(file.bytes);
            !is_fitting
        };
        old.iter().filter(|file| goes(file)).map(|file| file.name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    fn rules(keep: u16, total: Option<&str>) -> Rules {
        let total = total.map(|total| total.parse().unwrap());
        Rules(RotateSpec { size: Bytes::from_kib(1), keep, total, ..RotateSpec::default() })
    }

    fn old(worker: u32, second: u64, bytes: u64) -> Old {
        let at = Duration::from_secs(second);
        Old { name: Name::Aside { stamp: at, worker, form: Form::Packed }, bytes, at }
    }

    fn gone(rules: &Rules, old: &[Old], in_use: u64) -> Vec<(u32, u64)> {
        let names = rules.superfluous(old.to_vec(), in_use);
        let seen = |name: &Name| {
            let (Name::Aside { worker, .. } | Name::Current { worker }) = *name;
            (worker, old.iter().find(|file| file.name == *name).unwrap().at.as_secs())
        };
        names.iter().map(seen).collect()
    }

    #[test]
    fn a_file_is_full_when_the_next_line_is_one_too_many() {
        let rules = rules(1, None);
        assert!(!rules.is_full(1000, 24, 8));
        assert!(rules.is_full(1000, 25, 8));
        // A line that is larger than a file has one of its own.
        assert!(!rules.is_full(0, 5000, 8));
    }

    #[test]
    fn with_a_total_files_are_smaller_the_more_there_are() {
        let rules = rules(1, Some("2KiB"));
        assert!(!rules.is_full(1000, 24, 1));
        assert!(rules.is_full(400, 120, 3), "512 bytes each for three files, and one put aside");
        assert!(!rules.is_full(400, 112, 3));
    }

    #[test]
    fn a_file_is_due_when_it_has_its_age() {
        let mut rules = rules(1, None);
        assert_eq!(rules.due(Duration::from_secs(5)), None);
        rules.0.age = Some("1h".parse().unwrap());
        let due = Duration::from_secs(3605);
        assert_eq!(rules.due(Duration::from_secs(5)), Some(due));
        assert!(rules.is_due(Duration::from_secs(5), due));
        assert!(!rules.is_due(Duration::from_secs(6), due));
        // A clock that went back, by a little and by more than the age.
        assert!(!rules.is_due(Duration::from_secs(7000), due));
        assert!(rules.is_due(Duration::from_secs(9999), due));
    }

    #[test]
    fn each_worker_keeps_its_newest_files() {
        let files = [old(0, 1, 9), old(0, 2, 9), old(0, 3, 9), old(1, 1, 9), old(1, 2, 9)];
        assert_eq!(gone(&rules(2, None), &files, 0), [(0, 1)]);
        assert_eq!(gone(&rules(0, None), &files[3..], 0), [(1, 2), (1, 1)]);
        // While a file is compressed it is there twice.
        let twice = Old { name: files[2].name.in_form(Form::Plain), ..files[2] };
        assert_eq!(gone(&rules(2, None), &[twice, files[2], files[1]], 0), []);
    }

    #[test]
    fn the_oldest_go_until_the_rest_fits() {
        let files = [old(0, 1, 500), old(1, 2, 500), old(0, 3, 1000), old(1, 4, 500)];
        let idle = Old { name: Name::Current { worker: 7 }, bytes: 100, at: Duration::from_secs(2) };
        let rules = rules(9, Some("2KiB"));
        assert_eq!(gone(&rules, &files, 48), [(0, 1)]);
        assert_eq!(gone(&rules, &files, 49), [(1, 2), (0, 1)]);
        assert_eq!(gone(&rules, &files, 9999).len(), 4, "files in use cannot go");
        assert_eq!(gone(&rules, &[&files[..], &[idle]].concat(), 499), [(7, 2), (1, 2), (0, 1)]);
        // The larger one goes and what is older with it, so that no gap is left.
        assert_eq!(gone(&rules, &files, 1000), [(0, 3), (1, 2), (0, 1)]);
    }
}
