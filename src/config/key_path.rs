//! Where a value stands in a config: keys and places in lists, from the root down.
//!
//! It also knows which names the user gave himself, and which of those name a secret.

use std::fmt;

/// Where a value stands, such as `pools.api.servers[0].address`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Place(usize),
}

/// Parts of names, in upper case, whose values are not for everybody's eyes.
const SECRET_NAMES: [&str; 9] =
    ["PASS", "PWD", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "AUTHORIZATION", "COOKIE", "PRIVATE"];

/// Keys of Lintel's own that hold a secret itself where they hold text.
const SECRET_KEYS: [&str; 4] = ["token", "tokens", "password", "secret"];

/// Whether a name is one that a secret would have.
pub(super) fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    SECRET_NAMES.iter().any(|part| name.contains(part))
}

impl KeyPath {
    /// Of keys alone.
    pub fn of(keys: &[&str]) -> Self {
        Self(keys.iter().map(|key| Step::Key((*key).to_owned())).collect())
    }

    /// The value below a key.
    pub fn key(&self, key: &str) -> Self {
        self.with(Step::Key(key.to_owned()))
    }

    /// An item of the list here.
    pub fn place(&self, place: usize) -> Self {
        self.with(Step::Place(place))
    }

    /// What `below` leads to from here.
    pub fn join(&self, below: &Self) -> Self {
        Self(self.0.iter().chain(&below.0).cloned().collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn with(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }

    /// Whether what stands here has a name that a secret would have. Keys of Lintel's own lead to files and names, so only
    /// names that the user chose are judged: of variables, header fields, query parameters.
    pub(super) fn names_secret(&self) -> bool {
        let keys: Vec<&str> = self.0.iter().filter_map(Step::as_key).collect();
        let name = match *keys.as_slice() {
            ["pools", _, "app", "env", name, ..] => name,
            ["defaults", "app", "env", name, ..] => name,
            ["policies", _, "headers", _, "set" | "add", name, ..] => name,
            ["routes", "match", "headers" | "query", name, ..] => name,
            ["routes", "respond", "headers", name, ..] => name,
            _ => return false,
        };
        sounds_secret(name)
    }

    /// Whether text that stands here is a secret by the meaning of its key.
    pub(super) fn holds_secret(&self) -> bool {
        self.0.iter().rev().find_map(Step::as_key).is_some_and(|key| SECRET_KEYS.contains(&key))
            && !self.is_of_the_user()
    }

    /// Below a map whose keys are the user's.
    fn is_of_the_user(&self) -> bool {
        let keys: Vec<&str> = self.0.iter().filter_map(Step::as_key).collect();
        matches!(*keys.as_slice(), ["routes" | "policies", ..] | ["pools", _, "app", "env", ..])
    }
}

impl Step {
    fn as_key(&self) -> Option<&str> {
        match self {
            Self::Key(key) => Some(key),
            Self::Place(_) => None,
        }
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(index, step)| match step {
            Step::Key(key) if index == 0 => f.write_str(key),
            Step::Key(key) => write!(f, ".{key}"),
            Step::Place(place) => write!(f, "[{place}]"),
        })
    }
}
