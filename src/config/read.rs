//! Tree to typed value, with every problem and not the first.
//!
//! Serde stops at the first error. So: record it at its node, poison that node, and try again without it, until the rest
//! reads well. What a poisoned or missing value leaves behind is filled with a stand-in, so that the checks that follow can
//! still look at everything else; a config with problems is never used.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::de::{DeserializeOwned, Expected, Unexpected};

use super::deserialize::NodeReader;
use super::problem::{MOST_PROBLEMS, Problem, nearest, nearest_of, quoted};
use super::tree::{NodeId, Tree};

/// What has been reported already, and is therefore left out of a further try.
#[derive(Clone, Debug, Default)]
pub(super) struct Broken {
    nodes: HashSet<NodeId>,
    /// Keys that a map lacks and that are given a stand-in.
    missing: HashMap<NodeId, Vec<&'static str>>,
}

/// Why a node is not what its key takes.
#[derive(Debug)]
pub(super) struct Wrong {
    /// The node to leave out.
    pub node: Option<NodeId>,
    /// The node to point at, where it is another.
    pub at: Option<NodeId>,
    pub why: Why,
}

#[derive(Debug)]
pub(super) enum Why {
    UnknownKey {
        key: String,
        known: &'static [&'static str],
    },
    UnknownWord {
        word: String,
        known: &'static [&'static str],
    },
    Missing(&'static str),
    Mismatch {
        found: String,
        expected: String,
    },
    /// A key or a `-` with nothing after it.
    Empty,
    Message(String),
    /// It follows from what has been reported.
    Consequence,
}

impl Broken {
    pub fn poison(&mut self, id: NodeId) {
        self.nodes.insert(id);
    }

    /// Whether nothing has been reported.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub fn is_poisoned(&self, id: NodeId) -> bool {
        self.nodes.contains(&id)
    }

    /// Gives a map's missing key a stand-in.
    pub fn stand_in(&mut self, map: NodeId, key: &'static str) {
        self.missing.entry(map).or_default().push(key);
    }

    /// Keys of a map that have a stand-in.
    pub fn missing(&self, map: NodeId) -> &[&'static str] {
        self.missing.get(&map).map_or(&[], Vec::as_slice)
    }

    /// Whether an entry of a map was reported.
    pub fn has_poisoned_entry(&self, tree: &Tree, map: NodeId) -> bool {
        let poisoned = |id| self.is_poisoned(id);
        tree.entries(map).iter().any(|entry| poisoned(entry.key) || poisoned(entry.value))
    }
}

/// Reads a value at a node. `None` when nothing of it is left. `also_known` are keys of the node that were read elsewhere.
pub(super) fn read<T: DeserializeOwned>(
    tree: &Tree,
    root: NodeId,
    broken: &mut Broken,
    problems: &mut Vec<Problem>,
    also_known: &[&'static str],
) -> Option<T> {
    // Each try adds to what is broken; consequences come without a problem, hence the second limit.
    for _ in 0..4 * MOST_PROBLEMS {
        if problems.len() >= MOST_PROBLEMS || broken.is_poisoned(root) {
            return None;
        }
        let wrong = match T::deserialize(NodeReader::new(tree, broken, root)) {
            Ok(value) => return Some(value),
            Err(wrong) => wrong,
        };
        let node = wrong.node.unwrap_or(root);
        let known = if tree.entries(root).iter().any(|entry| entry.key == node) { also_known } else { &[] };
        problems.extend(describe(tree, broken, node, &wrong, known));
        match wrong.why {
            Why::Missing(key) => broken.stand_in(node, key),
            _ => broken.poison(node),
        }
    }
    None
}

/// The problem for an error; `None` for one that follows from an earlier problem.
fn describe(
    tree: &Tree,
    broken: &Broken,
    node: NodeId,
    wrong: &Wrong,
    also: &[&'static str],
) -> Option<Problem> {
    let spot = tree.spot(tree.node(wrong.at.unwrap_or(node)).place);
    let error = |message: String| Problem::error(spot, message);
    Some(match &wrong.why {
        Why::UnknownKey { key, known } => {
            let words = known.iter().chain(also).copied();
            let help = nearest_of(key, words);
            with_help(error(format!("unknown key {}", quoted(key))), help)
        }
        Why::UnknownWord { word, known } => {
            let help = nearest_of(word, known.iter().copied());
            with_help(error(format!("unknown value {}", quoted(word))), help)
        }
        Why::Missing(key) => {
            let mistyped = |text: &str| text == "<<" || nearest(text, [*key].into_iter()).is_some();
            let follows = tree.entries(node).iter().any(|entry| {
                let poisoned = broken.is_poisoned(entry.key) || broken.is_poisoned(entry.value);
                poisoned && mistyped(tree.text(entry.key))
            });
            if follows {
                return None;
            }
            error(format!("the key `{key}` is missing")).help(format!("write `{key}: ...` here"))
        }
        Why::Mismatch { found, expected } => {
            let number_for_text = expected.contains("text") && found.starts_with("the number");
            let help = number_for_text.then(|| format!("write it in quotes: \"{}\"", tree.text(node)));
            with_help(error(format!("expected {expected}, found {found}")), help)
        }
        Why::Empty => error("there is no value here".to_owned()).help("write one, or take the line out"),
        Why::Message(message) => error(message.clone()),
        Why::Consequence => return None,
    })
}

fn with_help(problem: Problem, help: Option<String>) -> Problem {
    match help {
        Some(help) => problem.help(help),
        None => problem,
    }
}

impl Wrong {
    pub fn new(why: Why) -> Self {
        Self { node: None, at: None, why }
    }

    /// Says where, unless something deeper has said it.
    pub fn at(mut self, node: NodeId) -> Self {
        self.node.get_or_insert(node);
        self
    }

    /// What a value of the environment that does not fit may say: nothing of the value.
    pub fn hiding_value(mut self, node: NodeId, expected: &str) -> Self {
        if self.node.is_none_or(|at| at == node) {
            self.why = Why::Mismatch {
                found: "something else in the environment".into(),
                expected: words_for(expected),
            };
        }
        self
    }
}

impl std::error::Error for Wrong {}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.why)
    }
}

impl serde::de::Error for Wrong {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Why::Message(message.to_string()))
    }
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Why::Mismatch { found: words_of(&found), expected: words_for(&expected.to_string()) })
    }
    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }
    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::custom(format!("expected {expected}, found {length} values"))
    }
    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        Self::new(Why::UnknownWord { word: variant.to_owned(), known })
    }
    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::new(Why::UnknownKey { key: field.to_owned(), known })
    }
    fn missing_field(field: &'static str) -> Self {
        Self::new(Why::Missing(field))
    }
}

/// Serde's word for what was found, in the words of a config.
fn words_of(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(number) => format!("the number `{number}`"),
        Unexpected::Signed(number) => format!("the number `{number}`"),
        Unexpected::Float(number) => format!("the number `{number}`"),
        Unexpected::Str(text) => format!("the text {}", quoted(text)),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a map".to_owned(),
        _ => "something else".to_owned(),
    }
}

/// Serde's word for what was expected, in the words of a config.
fn words_for(expected: &str) -> String {
    match expected {
        "a sequence" => "a list",
        "a string" => "text",
        "a boolean" => "`true` or `false`",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number",
        other if other.starts_with("struct ") => "a map",
        other => other,
    }
    .to_owned()
}
