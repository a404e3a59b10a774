//! What is different in one part of two files, key by key, as its user would write it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::{HIDDEN, KeyPath, Loaded};

/// What is said of a value that changed and may not be shown.
const CHANGED: &str = "(changed)";
/// What is said of a file of the same name that is another one than was read.
const WRITTEN_ANEW: &str = "(written anew)";

/// A key with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// From the root of the file.
    pub at: KeyPath,
    /// From what it belongs to, such as `limits.body`; empty for the whole of it.
    pub name: String,
    /// `None` where nothing is written and nothing is the default.
    pub old: Option<String>,
    pub new: Option<String>,
}

/// A part of one file: where it stands, and what it was understood as.
pub(super) struct Part<'a> {
    pub loaded: &'a Loaded,
    pub at: KeyPath,
    pub value: Value,
}

impl<'a> Part<'a> {
    pub fn new(loaded: &'a Loaded, at: KeyPath, spec: &impl serde::Serialize) -> Self {
        // Specs are made of text and numbers, which become JSON without fail.
        Self { loaded, at, value: serde_json::to_value(spec).unwrap_or_default() }
    }

    /// Without keys that are compared on their own.
    pub fn without(mut self, keys: &[&str]) -> Self {
        if let Value::Object(fields) = &mut self.value {
            fields.retain(|name, _| !keys.contains(&name.as_str()));
        }
        self
    }

    /// What is written in it, for one that comes.
    pub fn as_new(&self) -> Vec<KeyChange> {
        self.written(|text| (None, Some(text)))
    }

    /// What is written in it, for one that goes.
    pub fn as_old(&self) -> Vec<KeyChange> {
        self.written(|text| (Some(text), None))
    }

    fn written(&self, sides: impl Fn(String) -> (Option<String>, Option<String>)) -> Vec<KeyChange> {
        let Value::Object(fields) = &self.value else {
            let (old, new) = sides(self.loaded.text_of(&self.at, &self.value));
            return vec![KeyChange { at: self.at.clone(), name: String::new(), old, new }];
        };
        let written = self.loaded.keys(&self.at);
        let written = written.into_iter().filter_map(|name| Some((name, fields.get(name)?)));
        let keys = written.map(|(name, value)| {
            let at = self.at.key(name);
            let (old, new) = sides(self.loaded.text_of(&at, value));
            KeyChange { at, name: name.to_owned(), old, new }
        });
        keys.collect()
    }
}

/// The keys that differ, and those that name a file that was written anew.
pub(super) fn between(before: &Part<'_>, after: &Part<'_>, renewed: &BTreeSet<PathBuf>) -> Vec<KeyChange> {
    let mut comparison = Comparison { before, after, renewed, found: Vec::new() };
    comparison.walk(&KeyPath::default(), &before.value, &after.value);
    comparison.found
}

struct Comparison<'a> {
    before: &'a Part<'a>,
    after: &'a Part<'a>,
    renewed: &'a BTreeSet<PathBuf>,
    found: Vec<KeyChange>,
}

impl Comparison<'_> {
    fn walk(&mut self, below: &KeyPath, old: &Value, new: &Value) {
        if old == new && self.renewed.is_empty() {
            return;
        }
        match (old, new) {
            (Value::Object(was), Value::Object(is)) if !self.is_short(below) || old == new => {
                let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
                // In the order of the Spec, then what only one of them has.
                let order: BTreeMap<&String, usize> = is.keys().zip(0..).collect();
                let mut names: Vec<&String> = names.into_iter().collect();
                names.sort_by_key(|name| order.get(name).copied().unwrap_or(usize::MAX));
                for name in names {
                    let value = |fields: &serde_json::Map<String, Value>| fields.get(name).cloned();
                    let (old, new) = (value(was).unwrap_or_default(), value(is).unwrap_or_default());
                    self.walk(&below.key(name), &old, &new);
                }
            }
            (Value::Array(was), Value::Array(is)) if was.len() == is.len() && are_maps(was, is) => {
                for (place, (old, new)) in was.iter().zip(is).enumerate() {
                    self.walk(&below.place(place), old, new);
                }
            }
            _ if old != new => self.note(below, old, new),
            (Value::String(path), _) if self.renewed.contains(Path::new(path)) => {
                let text = self.after.loaded.text_of(&self.after.at.join(below), new);
                self.found.push(self.change(below, Some(text), Some(WRITTEN_ANEW.to_owned())));
            }
            _ => {}
        }
    }

    /// Whether one of the two files has something short for a map here, which is best told as a whole.
    fn is_short(&self, below: &KeyPath) -> bool {
        let is_scalar = |part: &Part<'_>| part.loaded.is_scalar(&part.at.join(below));
        !below.is_empty() && (is_scalar(self.before) || is_scalar(self.after))
    }

    fn note(&mut self, below: &KeyPath, old: &Value, new: &Value) {
        let texts = |text: fn(&Loaded, &KeyPath, &Value) -> String| {
            let of = |part: &Part<'_>, value: &Value| {
                (!value.is_null()).then(|| text(part.loaded, &part.at.join(below), value))
            };
            (of(self.before, old), of(self.after, new))
        };
        let mut pair = texts(Loaded::text_of);
        if pair.0 == pair.1 {
            // The same words can mean another thing: a relative path, in another folder.
            pair = texts(Loaded::meant);
        }
        if pair.0 == pair.1 {
            pair.1 = Some(CHANGED.to_owned());
        }
        let change = self.change(below, pair.0, pair.1);
        self.found.push(change);
    }

    fn change(&self, below: &KeyPath, old: Option<String>, new: Option<String>) -> KeyChange {
        KeyChange { at: self.after.at.join(below), name: below.to_string(), old, new }
    }
}

fn are_maps(was: &[Value], is: &[Value]) -> bool {
    was.iter().chain(is).all(Value::is_object)
}

impl KeyChange {
    /// `old -> new`, in one line.
    pub fn text(&self) -> String {
        let unset = || "(not set)".to_owned();
        match (&self.old, &self.new) {
            (Some(old), Some(new)) if old == HIDDEN && new == CHANGED => new.clone(),
            (Some(old), Some(new)) if new == CHANGED || new == WRITTEN_ANEW => format!("{old} {new}"),
            (old, new) => {
                let text = |side: &Option<String>| side.clone().unwrap_or_else(unset);
                format!("{} -> {}", text(old), text(new))
            }
        }
    }
}
