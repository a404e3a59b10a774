//! What is wrong in a config: where, what, and what would be right.
//!
//! Problems are collected, never thrown one by one. How they look is `render`'s work.

use std::fmt;

/// Most problems that are collected; beyond it a config is not worth describing further.
pub(super) const MOST_PROBLEMS: usize = 100;

/// Whether a config can be used in spite of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The config cannot be used.
    Error,
    /// The config can be used, and likely does not do what was meant.
    Warning,
}

/// Something wrong in a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    /// `None` when there is no file to point at, such as one that cannot be read.
    pub spot: Option<Spot>,
    /// What is wrong: one line, lower case, no full stop.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    /// Other places that belong to it, each with a word about it.
    pub also: Vec<(Spot, String)>,
}

/// A piece of one line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Name of the file as the user gave it.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// Characters it covers, at least 1.
    pub width: usize,
    /// The line, or what is around the place where the line is long.
    pub text: String,
    /// Characters of the line before `text`.
    pub skipped: usize,
    /// By which problems are sorted: files in the order they were read, then bytes.
    pub(super) order: (u32, usize),
}

/// All problems of a config, in the order of their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problem {
    pub fn error(spot: Spot, message: impl Into<String>) -> Self {
        let (spot, message) = (Some(spot), message.into());
        Self { severity: Severity::Error, spot, message, help: None, also: Vec::new() }
    }

    pub fn warning(spot: Spot, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(spot, message) }
    }

    /// A problem of no place in a file.
    pub fn anywhere(message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, spot: None, message: message.into(), help: None, also: Vec::new() }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub fn also(mut self, spot: Spot, word: impl Into<String>) -> Self {
        self.also.push((spot, word.into()));
        self
    }
}

impl Problems {
    /// Sorts by place and takes out what is said twice.
    pub(super) fn sorted(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| {
            let place = |p: &Problem| p.spot.as_ref().map(|spot| spot.order);
            place(a).cmp(&place(b)).then_with(|| a.message.cmp(&b.message))
        });
        problems.dedup();
        Self(problems)
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::render::plain(&self.0))
    }
}

/// `did you mean ...?` for a word that is not among the known ones, else the list of them.
pub(super) fn nearest_of<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    nearest(word, known.clone()).map(|best| format!("did you mean `{best}`?")).or_else(|| {
        let known: Vec<_> = known.map(|word| format!("`{word}`")).collect();
        match known.as_slice() {
            [] => None,
            [one] => Some(format!("write {one}")),
            [rest @ .., last] => Some(format!("write {} or {last}", rest.join(", "))),
        }
    })
}

/// The known word that a mistyped one most likely meant.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Longer words are no slips of a finger, and the distance costs their product.
    if word.len() > 64 {
        return None;
    }
    let written = word.to_lowercase().replace('-', "_");
    known
        .map(|known| (strsim::osa_distance(&written, &known.to_lowercase().replace('-', "_")), known))
        .filter(|(distance, known)| *distance <= (known.chars().count().max(3) / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Text of the user's as a message may quote it: short, and without control characters.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown = String::from("`");
    for (count, char) in text.chars().enumerate() {
        if count == LONGEST {
            shown.push('…');
            break;
        }
        if is_unprintable(char) {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown.push('`');
    shown
}

/// What must not reach a terminal: control characters, and those that reorder or hide text.
pub(super) fn is_unprintable(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
