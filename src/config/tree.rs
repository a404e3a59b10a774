//! The tree of a config: every value knows the file and the bytes it came from.
//!
//! Nodes lie in one arena and are named by number, so that an alias and an inherited default are the very node they stand
//! for: a mistake in one is one problem, however often it is used. The tree knows nothing of keys and their meaning.

use std::path::PathBuf;

use super::masked::masked;
use super::problem::Spot;

/// Characters of a line that a problem keeps on either side of its place. Lines can be as long as a file.
const AROUND: usize = 200;

/// Names a node of a `Tree`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NodeId(u32);

/// Bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub file: u32,
    pub start: usize,
    pub end: usize,
}

/// All nodes of a config and the files they came from, the main file first.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    pub files: Vec<SourceFile>,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub place: Place,
    pub value: Value,
    /// Nodes below it and itself, aliases followed. Limits what one file can blow up to.
    pub weight: u64,
    /// Levels below it and itself.
    pub depth: u32,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<NodeId>),
    Map(Vec<Entry>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub key: NodeId,
    pub value: NodeId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scalar {
    pub text: String,
    pub kind: Kind,
    pub origin: Origin,
}

/// Where the text of a scalar comes from. One with references has no type of its own: it is what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Written,
    /// It has references to variables, and their defaults were taken.
    Defaults,
    /// A part of it came from the environment: such text is never shown.
    Environment,
}

/// How a scalar was written; only a plain one can be a number, a boolean or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Quoted,
}

/// A file of the config as it was read.
#[derive(Clone, Debug)]
pub(super) struct SourceFile {
    /// As problems name it.
    pub name: String,
    /// Where relative paths in it start; absolute.
    pub folder: PathBuf,
    pub text: String,
    /// Offset of each line's first byte.
    lines: Vec<usize>,
}

impl Tree {
    /// No node yet, and the main file.
    pub fn of(file: SourceFile) -> Self {
        Self { nodes: Vec::new(), files: vec![file] }
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub fn add(&mut self, place: Place, value: Value) -> NodeId {
        let (weight, depth) = self.measure(&value);
        self.push(Node { place, value, weight, depth })
    }

    /// The entries of a map; none of anything else.
    pub fn entries(&self, id: NodeId) -> &[Entry] {
        match &self.node(id).value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The text of a scalar; empty for anything else.
    pub fn text(&self, id: NodeId) -> &str {
        match &self.node(id).value {
            Value::Scalar(scalar) => &scalar.text,
            _ => "",
        }
    }

    pub fn is_map(&self, id: NodeId) -> bool {
        matches!(self.node(id).value, Value::Map(_))
    }

    /// The value below a key.
    pub fn child(&self, id: NodeId, key: &str) -> Option<NodeId> {
        self.entry(id, key).map(|entry| entry.value)
    }

    pub fn entry(&self, id: NodeId, key: &str) -> Option<Entry> {
        self.entries(id).iter().copied().find(|entry| self.text(entry.key) == key)
    }

    pub fn file_of(&self, id: NodeId) -> &SourceFile {
        &self.files[self.node(id).place.file as usize]
    }

    /// Line, column and the line's text, for a problem.
    pub fn spot(&self, place: Place) -> Spot {
        self.files[place.file as usize].spot(place)
    }

    fn push(&mut self, node: Node) -> NodeId {
        // A tree of 2^32 nodes cannot come from files of the size that `parse` takes.
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(node);
        id
    }

    fn measure(&self, value: &Value) -> (u64, u32) {
        let below = |ids: &mut dyn Iterator<Item = NodeId>| {
            ids.fold((1u64, 0), |(weight, depth), id| {
                let node = self.node(id);
                (weight.saturating_add(node.weight), depth.max(node.depth))
            })
        };
        let (weight, depth) = match value {
            // Text counts by its length, so that one long text cannot be used a million times.
            Value::Scalar(scalar) => (1 + scalar.text.len() as u64 / 64, 0),
            Value::List(items) => below(&mut items.iter().copied()),
            Value::Map(entries) => below(&mut entries.iter().map(|entry| entry.value)),
        };
        (weight, depth.saturating_add(1))
    }
}

impl SourceFile {
    pub fn new(name: String, folder: PathBuf, text: String) -> Self {
        // Lines end as YAML 1.2 says (section 5.4): LF, CR LF, or CR alone.
        let bytes = text.as_bytes();
        let ends = bytes.iter().enumerate().filter(|&(at, byte)| match byte {
            b'\n' => true,
            b'\r' => bytes.get(at + 1) != Some(&b'\n'),
            _ => false,
        });
        let lines = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Self { name, folder, text, lines }
    }

    fn spot(&self, place: Place) -> Spot {
        let start = floor_char(&self.text, place.start);
        let index = self.lines.partition_point(|&line| line <= start).saturating_sub(1);
        let from = self.lines.get(index).copied().unwrap_or(0);
        let to = self.lines.get(index + 1).copied().unwrap_or(self.text.len());
        let line = self.text.get(from..to).unwrap_or("").trim_end_matches(['\n', '\r']);
        let before = self.text.get(from..start).unwrap_or("").chars().count();
        let end = floor_char(&self.text, place.end).clamp(start, to.max(start));
        let covered = self.text.get(start..end).unwrap_or("").trim_end_matches(['\n', '\r', ' ']);
        let skipped = before.saturating_sub(AROUND);
        let previous = index.checked_sub(1).and_then(|previous| self.lines.get(previous));
        let previous = previous.and_then(|&start| self.text.get(start..from)).unwrap_or_default();
        let (line, hidden) = masked(line, previous);
        Spot {
            file: self.name.clone(),
            order: (place.file, start),
            line: index + 1,
            column: before + 1,
            width: covered.chars().take(AROUND).count().max(1),
            text: line.chars().skip(skipped).take(3 * AROUND).collect(),
            hidden,
            skipped,
        }
    }
}

/// The last character boundary at or before an offset.
fn floor_char(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}
