//! From the path of a key to its place in a file, for whoever finds a problem after reading.

use std::path::{Path, PathBuf};

use super::interpolate::EnvValue;
use super::problem::{Problem, Severity, Spot, presentable};
use super::read::Broken;
use super::tree::{Entry, NodeId, Origin, Scalar, Tree, Value};

/// Where everything in a config was written.
#[derive(Clone, Debug)]
pub struct Source {
    pub(super) tree: Tree,
    pub(super) root: NodeId,
    pub(super) broken: Broken,
    pub(super) from_env: Vec<EnvValue>,
    pub(super) read: Vec<PathBuf>,
}

/// What a key path leads to.
struct Found<'p> {
    /// Key of the node, unless the node is an item of a list.
    key: Option<NodeId>,
    /// The deepest node on the path that is written.
    node: NodeId,
    /// What is not written.
    rest: &'p str,
}

impl Source {
    /// A problem at a key, such as `listeners.https.tls.certificates[0].key`. It points at the value if that is a scalar,
    /// else at the key; where the path goes on beyond what is written, at the last key that is.
    pub fn problem_at(&self, key_path: &str, message: impl AsRef<str>) -> Problem {
        self.at(key_path, Severity::Error, message.as_ref())
    }

    /// The same as a warning.
    pub fn warning_at(&self, key_path: &str, message: impl AsRef<str>) -> Problem {
        self.at(key_path, Severity::Warning, message.as_ref())
    }

    /// Names the text of all files together: equal texts have equal names, in every process. FNV-1a, 64 bits; it tells
    /// versions apart and is no defence against anybody.
    pub fn hash(&self) -> String {
        let bytes = self.tree.files.iter().flat_map(|file| file.text.bytes().chain([0]));
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        format!("{hash:016x}")
    }

    /// The files of the config, the main one first.
    pub fn files(&self) -> impl Iterator<Item = std::path::PathBuf> {
        self.tree
            .files
            .iter()
            .map(|file| file.folder.join(Path::new(&file.name).file_name().unwrap_or_default()))
    }

    /// These files, and the folders where further ones may appear that a pattern of `include` finds.
    pub fn read(&self) -> &[PathBuf] {
        &self.read
    }

    /// Line and column of a key path, as `problem_at` points.
    pub(super) fn spot(&self, key_path: &str) -> Spot {
        let found = self.find(key_path);
        let node = self.tree.node(found.node);
        let place = match (&node.value, found.key) {
            (Value::Scalar(_), _) | (_, None) => node.place,
            (_, Some(key)) => self.tree.node(key).place,
        };
        self.tree.spot(place)
    }

    /// Line and column of the key itself.
    pub(super) fn key_spot(&self, key_path: &str) -> Spot {
        let found = self.find(key_path);
        let place = match found.key {
            Some(key) if found.rest.is_empty() => self.tree.node(key).place,
            _ => return self.spot(key_path),
        };
        self.tree.spot(place)
    }

    /// Line and column of a name that is written at a path: as a value, or as a key of the map there.
    pub(super) fn name_spot(&self, key_path: &str, name: &str) -> Spot {
        let found = self.find(key_path);
        match self.tree.entry(found.node, name) {
            Some(entry) if found.rest.is_empty() => self.tree.spot(self.tree.node(entry.key).place),
            _ => self.spot(key_path),
        }
    }

    /// Whether the map at a path has a key, be its value good or not.
    pub(super) fn names(&self, key_path: &str, name: &str) -> bool {
        let found = self.find(key_path);
        found.rest.is_empty() && self.tree.entry(found.node, name).is_some()
    }

    /// Whether something at a path was reported already, so that what looks wrong there may only follow from it.
    pub(super) fn is_in_doubt(&self, key_path: &str) -> bool {
        let Found { node, rest, .. } = self.find(key_path);
        if rest.is_empty() {
            return self.has_broken(node);
        }
        let next = rest.trim_start_matches('.').split(['.', '[']).next().unwrap_or("");
        self.broken.missing(node).contains(&next) || self.broken.has_poisoned_entry(&self.tree, node)
    }

    /// The text that stands for a value of the environment, if the value at a path has one in it: it may not be shown.
    pub(super) fn reference(&self, key_path: &str) -> Option<&str> {
        let node = self.tree.node(self.find(key_path).node);
        let Value::Scalar(Scalar { origin: Origin::Environment, .. }) = node.value else { return None };
        let file = &self.tree.files[node.place.file as usize].text;
        let written = file.get(node.place.start..node.place.end).unwrap_or("${...}");
        Some(written.trim_matches(['"', '\'']))
    }

    fn at(&self, key_path: &str, severity: Severity, message: &str) -> Problem {
        let message = match (&self.tree.node(self.find(key_path).node).value, self.reference(key_path)) {
            (Value::Scalar(Scalar { text, .. }), Some(written)) => without_value(message, text, written),
            _ => message.to_owned(),
        };
        let mut problem = Problem { severity, ..Problem::error(self.spot(key_path), message) };
        clean(&mut problem, &self.from_env);
        problem
    }

    fn has_broken(&self, node: NodeId) -> bool {
        if self.broken.is_poisoned(node) || !self.broken.missing(node).is_empty() {
            return true;
        }
        match &self.tree.node(node).value {
            Value::Scalar(_) => false,
            Value::List(items) => items.iter().any(|item| self.has_broken(*item)),
            Value::Map(entries) => {
                entries.iter().any(|entry| self.broken.is_poisoned(entry.key) || self.has_broken(entry.value))
            }
        }
    }

    /// The deepest node on a path that is written, and the rest of the path.
    pub(super) fn nearest<'p>(&self, key_path: &'p str) -> (NodeId, &'p str) {
        let found = self.find(key_path);
        (found.node, found.rest)
    }

    fn find<'p>(&self, key_path: &'p str) -> Found<'p> {
        let mut found = Found { key: None, node: self.root, rest: key_path };
        while !found.rest.is_empty() {
            let Some((key, node, rest)) = self.step(found.node, found.rest) else { break };
            found = Found { key, node, rest };
        }
        found
    }

    /// One key or index further.
    fn step<'p>(&self, node: NodeId, rest: &'p str) -> Option<(Option<NodeId>, NodeId, &'p str)> {
        match &self.tree.node(node).value {
            Value::Scalar(_) => None,
            Value::List(items) => {
                let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
                let index = index.parse().ok()?;
                if self.broken.is_empty() {
                    return Some((None, *items.get(index)?, after));
                }
                // What could not be read is not counted, as it is not counted in the values that were.
                let mut good = items.iter().filter(|item| !self.broken.is_poisoned(**item));
                Some((None, *good.nth(index)?, after))
            }
            Value::Map(entries) => {
                let rest = rest.strip_prefix('.').unwrap_or(rest);
                // Names may contain dots, so the longest key that fits is the one that is meant.
                let fits = |entry: &&Entry| {
                    let after = rest.strip_prefix(self.tree.text(entry.key));
                    after.is_some_and(|after| after.is_empty() || after.starts_with(['.', '[']))
                };
                let entry =
                    entries.iter().filter(fits).max_by_key(|entry| self.tree.text(entry.key).len())?;
                let after = rest.get(self.tree.text(entry.key).len()..)?;
                Some((Some(entry.key), entry.value, after))
            }
        }
    }

    /// Folder of the file that a key path is written in.
    pub(super) fn folder(&self, key_path: &str) -> &Path {
        &self.tree.file_of(self.find(key_path).node).folder
    }
}

/// Takes values of the environment out of what a problem says, and makes it fit to be shown. Quoted values go at any
/// length; bare ones unless they are so short that they are part of ordinary words. What is said at the very value has
/// gone through `without_value` already.
pub(super) fn clean(problem: &mut Problem, from_env: &[EnvValue]) {
    super::masked::hide(problem);
    for text in std::iter::once(&mut problem.message).chain(&mut problem.help) {
        for EnvValue { value, written } in from_env.iter().filter(|found| !found.value.is_empty()) {
            *text = text.replace(&format!("`{value}`"), &format!("`{written}`"));
            *text = without_long(std::mem::take(text), value, written);
        }
        *text = presentable(text);
    }
}

/// A message about a value that came from the environment, with every quoted piece and every word of the value shown as
/// the value was written.
fn without_value(message: &str, value: &str, written: &str) -> String {
    if value.is_empty() {
        return message.to_owned();
    }
    let message = without_long(message.to_owned(), value, written);
    let forms = forms(value);
    let has = |piece: &str| forms.iter().any(|form| form.contains(piece));
    let hide = |piece: &str| !piece.is_empty() && has(piece) && !written.contains(piece);
    let pieces = message.split('`').enumerate().map(|(index, piece)| {
        if index % 2 == 1 {
            return if hide(piece) { written.to_owned() } else { piece.replace(value, written) };
        }
        let words = piece.split_inclusive(' ').map(|word| {
            let bare = word.trim_matches([' ', ',', ':', ';']);
            if bare == value { word.replace(bare, written) } else { word.to_owned() }
        });
        words.collect()
    });
    pieces.collect::<Vec<String>>().join("`")
}

/// Replaces a value, unless it is so short that it may be a part of ordinary words.
fn without_long(message: String, value: &str, written: &str) -> String {
    if value.len() < 4 {
        return message;
    }
    forms(value).iter().fold(message, |message, form| message.replace(form, written))
}

/// A text as a message may hold it: parts escape what they quote in one way or another.
fn forms(value: &str) -> [String; 3] {
    [value.to_owned(), value.escape_default().to_string(), value.escape_debug().to_string()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_shows_the_reference_and_not_the_value() {
        let hide = |message: &str| without_value(message, "7", "${N}");
        assert_eq!(hide("7 is not a status; write `7` or `8`"), "${N} is not a status; write `${N}` or `8`");
        assert_eq!(without_value("`a\\tb` has", "x a\tb", "${X}"), "`${X}` has");
        assert_eq!(without_value("``secret`` is odd", "`secret`", "${X}"), "`${X}` is odd");
        assert_eq!(without_value("nothing", "", "${X}"), "nothing");
        assert_eq!(without_value("`a b` has a space", "x a b", "${X}"), "`${X}` has a space");
    }
}
