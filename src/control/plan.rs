//! What a reload would change, without changing it: two files compared part by part, and what each change does to the
//! connections, requests and workers of this moment.
//!
//! Pure: whoever asks gives both files and what is going on. That the new file can be taken at all is somebody else's
//! question.

mod figures;
mod keys;
mod parts;
mod pools;
mod routes;
mod servers;
mod words;

use std::collections::BTreeSet;
use std::path::PathBuf;

pub use figures::{Figures, PoolFigures, ServerFigures};
pub use keys::KeyChange;

use crate::config::{File, KeyPath, Loaded};
use crate::worker::Turnover;

/// What a reload would change, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub changes: Vec<Change>,
    /// Keys among them that only count after a restart.
    pub needs_restart: Vec<&'static str>,
    /// What is likely not meant in the new file.
    pub warnings: Vec<String>,
}

/// Something that would come, go or become another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub kind: Kind,
    pub section: Section,
    /// As people call it: `pool api`, `server 10.0.0.1:3000 of api`.
    pub what: String,
    /// Where it stands in the new file; where it stood in the one in force if it goes.
    pub at: KeyPath,
    pub keys: Vec<KeyChange>,
    /// What follows for those who are connected, and for workers.
    pub effects: Vec<String>,
    /// What becomes of the workers that run.
    pub turnover: Option<Turnover>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Added,
    Removed,
    Changed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    Listeners,
    Pools,
    Servers,
    Workers,
    Policies,
    Routes,
    Observability,
    Admin,
    Runtime,
}

/// Both files, and what is going on.
struct Sides<'a> {
    before: &'a Loaded,
    after: &'a Loaded,
    figures: &'a Figures,
    /// Files that are others than were read.
    renewed: &'a BTreeSet<PathBuf>,
}

impl Plan {
    /// From the file in force to another one. `renewed` are files that were written anew since they were read.
    pub fn between(before: &Loaded, after: &Loaded, figures: &Figures, renewed: &BTreeSet<PathBuf>) -> Self {
        let sides = Sides { before, after, figures, renewed };
        let mut changes = sides.listeners();
        changes.extend(sides.pools());
        changes.extend(sides.policies());
        changes.extend(sides.routes());
        changes.extend(sides.whole_sections());
        Self { changes, needs_restart: needs_restart(&before.file, &after.file), warnings: Vec::new() }
    }

    /// All of it in one line.
    pub fn summary(&self) -> String {
        if self.changes.is_empty() {
            return "nothing would change".to_owned();
        }
        let counts = [(Kind::Added, "added"), (Kind::Removed, "removed"), (Kind::Changed, "changed")];
        let counts = counts.iter().filter_map(|(kind, word)| {
            let count = self.changes.iter().filter(|change| change.kind == *kind).count();
            (count > 0).then(|| format!("{count} {word}"))
        });
        let mut parts = vec![counts.collect::<Vec<_>>().join(", ")];
        let of = |fits: fn(&Turnover) -> bool| -> Vec<&str> {
            let changes = self.changes.iter().filter(|change| change.turnover.as_ref().is_some_and(fits));
            changes.filter_map(|change| change.what.strip_prefix("workers of ")).collect()
        };
        let rolling = of(|turnover| matches!(turnover, Turnover::RollOver(_)));
        if !rolling.is_empty() {
            parts.push(format!("workers of {} will roll over", rolling.join(", ")));
        }
        let scaling = of(|turnover| matches!(turnover, Turnover::Scale(_)));
        if !scaling.is_empty() {
            parts.push(format!("the number of workers of {} changes", scaling.join(", ")));
        }
        if !self.needs_restart.is_empty() {
            parts.push(format!("only after a restart: {}", self.needs_restart.join(", ")));
        }
        parts.join("; ")
    }
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }
}

impl Section {
    pub fn word(self) -> &'static str {
        match self {
            Self::Listeners => "listeners",
            Self::Pools => "pools",
            Self::Servers => "servers",
            Self::Workers => "workers",
            Self::Policies => "policies",
            Self::Routes => "routes",
            Self::Observability => "observability",
            Self::Admin => "admin",
            Self::Runtime => "runtime",
        }
    }
}

/// Keys that differ and are read at the start only.
pub fn needs_restart(before: &File, after: &File) -> Vec<&'static str> {
    let mut keys = Vec::new();
    let mut compare = |key, is_same: bool| {
        if !is_same {
            keys.push(key);
        }
    };
    compare("runtime.threads", before.runtime.threads == after.runtime.threads);
    compare("runtime.state_directory", before.runtime.state_directory == after.runtime.state_directory);
    compare("runtime.run_directory", before.runtime.run_directory == after.runtime.run_directory);
    compare("observability.log.format", before.observability.log.format == after.observability.log.format);
    keys
}

#[cfg(test)]
mod tests;
