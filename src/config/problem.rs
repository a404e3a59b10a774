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
    /// The line, or what is around the place where the line is long; without secrets, see `masked`.
    pub text: String,
    /// Secrets of the line, which no message may quote.
    pub(super) hidden: Vec<String>,
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
    pub fn sorted(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| {
            let place = |p: &Problem| p.spot.as_ref().map(|spot| spot.order);
            place(a).cmp(&place(b)).then_with(|| a.message.cmp(&b.message))
        });
        problems.dedup();
        problems.truncate(MOST_PROBLEMS);
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

/// Text of the user's in a message. It is shortened by `presentable`, once nothing more is to be taken out of it.
pub(super) fn quoted(text: &str) -> String {
    format!("`{text}`")
}

/// A message as it may be shown: without control characters, what it quotes not too long.
pub(super) fn presentable(message: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown = String::with_capacity(message.len().min(1000));
    for (index, piece) in message.split('`').enumerate() {
        if index > 0 {
            shown.push('`');
        }
        let quoted = index % 2 == 1;
        for (count, char) in piece.chars().enumerate() {
            if quoted && count == LONGEST {
                shown.push('…');
                break;
            }
            if is_unprintable(char) {
                shown.extend(char.escape_default());
            } else {
                shown.push(char);
            }
        }
    }
    shown
}

/// What must not reach a terminal: control characters, and those that reorder or hide text.
pub(super) fn is_unprintable(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_message_quotes_is_short_and_printable() {
        assert_eq!(presentable("a `b` c"), "a `b` c");
        assert_eq!(presentable("`a\u{1b}[31m\n`"), "`a\\u{1b}[31m\\n`");
        let long = presentable(&format!("no `{}` here", "x".repeat(1000)));
        assert_eq!(long, format!("no `{}…` here", "x".repeat(80)));
    }

    #[test]
    fn a_slip_of_a_finger_is_recognised_and_a_wild_guess_is_not() {
        let known = ["address", "redirect_to", "tls"];
        assert_eq!(nearest("adress", known.into_iter()), Some("address"));
        assert_eq!(nearest("redirect-to", known.into_iter()), Some("redirect_to"));
        assert_eq!(nearest("whatever", known.into_iter()), None);
        assert_eq!(nearest(&"a".repeat(100_000), known.into_iter()), None);
    }
}
