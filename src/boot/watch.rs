//! Looks after the files that the plan was made of: the config with what it includes, certificates, keys.
//!
//! Looked at twice a second, not watched by inotify: that misses bind mounts, network file systems and the second link of
//! a ConfigMap, and a look costs a system call per file. What counts is the content's identity and time, and that it was
//! the same at two looks, so that a file that is being written is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::config::Loaded;

const BETWEEN: Duration = Duration::from_millis(500);

/// What has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// A file of the config itself.
    pub config: bool,
    /// A file that the config names.
    pub others: bool,
}

/// The files, and how they looked.
#[derive(Debug)]
pub struct Files {
    ticks: Interval,
    config: BTreeMap<PathBuf, Look>,
    others: BTreeMap<PathBuf, Look>,
}

/// How a file looked when it was taken, and at the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Look {
    taken: Option<Mark>,
    last: Option<Mark>,
}

/// Device, inode, size, and the times of change in seconds and nanoseconds.
type Mark = (u64, u64, u64, i64, i64, i64, i64);

impl Files {
    pub fn of(loaded: &Loaded) -> Self {
        let mut ticks = interval(BETWEEN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut files = Self { ticks, config: BTreeMap::new(), others: BTreeMap::new() };
        files.follow(loaded, &[]);
        files
    }

    /// Looks after the files of another plan, and after those of a refused one; those that are known already stay as they
    /// were seen.
    pub fn follow(&mut self, loaded: &Loaded, refused: &[PathBuf]) {
        let config = loaded.source.read().iter().chain(refused).cloned();
        let keep = |known: &BTreeMap<PathBuf, Look>, path: PathBuf| {
            let look = known.get(&path).copied().unwrap_or_else(|| {
                let mark = mark(&path);
                Look { taken: mark, last: mark }
            });
            (path, look)
        };
        self.config = config.map(|path| keep(&self.config, path)).collect();
        let others = loaded.file.files().into_iter();
        self.others = others.map(|path| keep(&self.others, path)).collect();
    }

    /// Files named by the config that are others than were taken, as they stand at this moment.
    pub fn renewed(&self) -> BTreeSet<PathBuf> {
        let others = self.others.iter();
        let renewed = others.filter(|(path, look)| mark(path).is_some_and(|now| Some(now) != look.taken));
        renewed.map(|(path, _)| path.clone()).collect()
    }

    /// Waits for a change that has come to rest. Nothing is lost by dropping the future.
    pub async fn changed(&mut self) -> Changed {
        loop {
            self.ticks.tick().await;
            let changed = Changed { config: look(&mut self.config), others: look(&mut self.others) };
            if changed != Changed::default() {
                return changed;
            }
        }
    }
}

/// Whether one of them is another than was taken, and the same as at the last look; it counts as taken then.
fn look(files: &mut BTreeMap<PathBuf, Look>) -> bool {
    let mut changed = false;
    for (path, look) in files {
        let now = mark(path);
        if now.is_some() && now != look.taken && now == look.last {
            look.taken = now;
            changed = true;
        }
        look.last = now;
    }
    changed
}

fn mark(path: &Path) -> Option<Mark> {
    let seen = std::fs::metadata(path).ok()?;
    Some((
        seen.dev(),
        seen.ino(),
        seen.size(),
        seen.mtime(),
        seen.mtime_nsec(),
        seen.ctime(),
        seen.ctime_nsec(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_as_changed_once_it_has_come_to_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.crt");
        std::fs::write(&path, "one").unwrap();
        let seen = mark(&path);
        let mut files = BTreeMap::from([(path.clone(), Look { taken: seen, last: seen })]);
        assert!(!look(&mut files));
        std::fs::write(&path, "longer").unwrap();
        assert!(!look(&mut files), "it may still be written");
        std::fs::write(&path, "longer still").unwrap();
        assert!(!look(&mut files), "it was");
        assert!(look(&mut files) && !look(&mut files), "told once");
        std::fs::remove_file(&path).unwrap();
        assert!(!look(&mut files), "what is gone is not taken");
    }

    #[test]
    fn a_link_that_leads_elsewhere_counts() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for version in ["v1", "v2"] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("file"), "same").unwrap();
        }
        std::os::unix::fs::symlink(at("v1"), at("data")).unwrap();
        let path = at("data").join("file");
        let seen = mark(&path);
        let mut files = BTreeMap::from([(path, Look { taken: seen, last: seen })]);
        std::os::unix::fs::symlink(at("v2"), at("new")).unwrap();
        std::fs::rename(at("new"), at("data")).unwrap();
        assert!(!look(&mut files) && look(&mut files));
    }
}
