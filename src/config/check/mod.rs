//! What no Spec can see alone: names that must exist, values that must agree, limits of sense.
//!
//! Each check reports at the key it is about and goes on. What was reported already is in doubt: nothing is said about it,
//! since it would only follow from the first problem.

mod listener;
mod pool;
mod route;
mod text;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

use super::problem::{MOST_PROBLEMS, Problem, nearest, quoted};
use super::{File, Source};

/// Checks a file whose values have been read; gives errors and warnings.
pub(super) fn check(file: &File, source: &Source) -> Vec<Problem> {
    let mut checker = Checker { file, source, problems: Vec::new() };
    listener::check(&mut checker);
    pool::check(&mut checker);
    route::check(&mut checker);
    checker.problems
}

/// The file under check, and what was found.
struct Checker<'a> {
    file: &'a File,
    source: &'a Source,
    problems: Vec<Problem>,
}

impl<'a> Checker<'a> {
    /// Reports at a key path; `help` says what would be right.
    fn problem(&mut self, key_path: &str, message: impl AsRef<str>, help: &str) {
        if self.is_worth_telling() && !self.source.is_in_doubt(key_path) {
            self.problems.push(self.source.problem_at(key_path, message).help(help));
        }
    }

    /// The same for what a part says, where the message itself tells what would be right.
    fn tell(&mut self, key_path: &str, message: &str) {
        if !self.is_worth_telling() || self.source.is_in_doubt(key_path) {
            return;
        }
        let below = format!("{key_path}.regex");
        let is_regex = self.source.names(key_path, "regex");
        let mut problem = self.source.problem_at(if is_regex { &below } else { key_path }, message);
        // A word about the key itself begins with the key.
        let key = message.strip_prefix('`').and_then(|rest| rest.split_once('`')).map(|(key, _)| key);
        if key.is_some_and(|key| key_path.strip_suffix(key).is_some_and(|before| before.ends_with('.'))) {
            problem.spot = Some(self.source.key_spot(key_path));
        }
        self.problems.push(problem);
    }

    fn warning(&mut self, key_path: &str, message: &str, help: &str) {
        if self.is_worth_telling() && !self.source.is_in_doubt(key_path) {
            self.problems.push(self.source.warning_at(key_path, message).help(help));
        }
    }

    /// Reports at a key itself rather than at its value.
    fn key_problem(&mut self, key_path: &str, message: impl AsRef<str>, help: &str) {
        if self.is_worth_telling() {
            let spot = self.source.key_spot(key_path);
            self.problems.push(Problem::error(spot, message.as_ref()).help(help));
        }
    }

    /// Reports at a key path and shows a second place.
    fn clash(&mut self, key_path: &str, message: impl AsRef<str>, help: &str, other: &str, word: &str) {
        if self.is_worth_telling() && !self.source.is_in_doubt(key_path) && !self.source.is_in_doubt(other) {
            let problem = self.source.problem_at(key_path, message).help(help);
            self.problems.push(problem.also(self.source.spot(other), word));
        }
    }

    /// A config with so many problems is not looked at further.
    fn is_worth_telling(&self) -> bool {
        self.problems.len() < MOST_PROBLEMS
    }

    /// A value for a message: as it is, or as its reference where it came from the environment.
    fn shown(&self, key_path: &str, value: &dyn Display) -> String {
        self.source.reference(key_path).map_or_else(|| value.to_string(), str::to_owned)
    }

    /// Reports what a rule for a text says is wrong with it.
    fn text(&mut self, key_path: &str, text: &str, error: Option<&str>) {
        if let Some(error) = error {
            self.problem(key_path, format!("{} does not fit here", quoted(text)), error);
        }
    }

    fn range<T: PartialOrd + Display>(&mut self, key_path: &str, value: T, range: RangeInclusive<T>) {
        if !range.contains(&value) {
            let found = self.shown(key_path, &value);
            let message = format!("expected {} to {}, found `{found}`", range.start(), range.end());
            self.tell(key_path, &message);
        }
    }

    /// Whether a name is among those under `listeners`, `pools` or `policies`; if not, reports it at `key_path`.
    fn is_named<T>(
        &mut self,
        section: &str,
        known: &'a BTreeMap<String, T>,
        name: &str,
        key_path: &str,
    ) -> bool {
        if known.contains_key(name) || self.source.names(section, name) {
            return true;
        }
        if self.source.is_in_doubt(&format!("{section}.{name}")) && !self.source.names("", section) {
            return false;
        }
        let one = section
            .strip_suffix("ies")
            .map_or_else(|| section.trim_end_matches('s').to_owned(), |s| format!("{s}y"));
        let help = match nearest(name, known.keys().map(String::as_str)) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("write it under `{section}`, or name one that is there"),
        };
        let message = format!("there is no {one} {}", quoted(name));
        if self.is_worth_telling() && !self.source.is_in_doubt(key_path) {
            let spot = self.source.name_spot(key_path, name);
            self.problems.push(Problem::error(spot, message).help(help));
        }
        false
    }

    /// Checks the names of a section's entries.
    fn names<T>(&mut self, section: &str, named: &BTreeMap<String, T>) {
        for name in named.keys().filter(|name| !text::is_name(name)) {
            self.key_problem(
                &format!("{section}.{name}"),
                format!("{} cannot be a name", quoted(name)),
                text::NAME,
            );
        }
    }
}
