//! YAML text to tree, with limits: no text makes it panic, run long or grow without end.
//!
//! YAML 1.2, one document, text keys, no merge keys. What keys mean is decided later.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_saphyr::granit_parser::{self as granit, ErrorKind, Event, Parser, ScalarStyle, ScanError, Span};

use super::interpolate::{EnvValue, interpolate};
use super::problem::{MOST_PROBLEMS, Problem, quoted};
use super::read::Broken;
use super::tree::{Entry, Kind, NodeId, Origin, Place, Scalar, Tree, Value};

/// Levels of nesting, aliases followed. The deepest key of a config is at level 8.
const DEEPEST: u32 = 32;
/// Values of a config, aliases followed and defaults inherited.
pub(super) const MOST_VALUES: u64 = 1_000_000;

/// What parsing needs besides the text.
pub(super) struct Surroundings<'a> {
    pub lookup: &'a dyn Fn(&str) -> Option<String>,
    /// What the environment gave.
    pub from_env: Vec<EnvValue>,
    pub problems: Vec<Problem>,
    /// Files that were or should have been read, and folders that a pattern looks into.
    pub read: Vec<PathBuf>,
    /// Nodes that a problem has been reported for.
    pub broken: Broken,
}

/// Parses the text of one of the tree's files. `None` when there is nothing to go on with; the problems say why.
pub(super) fn parse(tree: &mut Tree, file: u32, around: &mut Surroundings<'_>) -> Option<NodeId> {
    let text = tree.files[file as usize].text.clone();
    let options = granit::options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
        flow_nesting_limit: DEEPEST as usize,
        block_nesting_limit: DEEPEST as usize,
    };
    let mut builder =
        Builder { tree, file, around, text: &text, open: Vec::new(), anchors: HashMap::new(), root: None };
    for next in Parser::new_from_str_with_options(&text, options) {
        let step = match next {
            Ok((event, span)) => builder.step(event, &span),
            Err(error) => Err(builder.not_yaml(&error)),
        };
        if let Err(problem) = step {
            builder.around.problems.push(*problem);
            return None;
        }
        if builder.around.problems.len() >= MOST_PROBLEMS {
            return None;
        }
    }
    let root = builder.root;
    if root.is_none() {
        let spot = tree.spot(Place { file, start: 0, end: 0 });
        around.problems.push(
            Problem::error(spot, "the file is empty")
                .help("the smallest config has `listeners`, `pools` and `routes`"),
        );
    }
    root
}

/// Puts nodes together as events come.
struct Builder<'a, 'b> {
    tree: &'a mut Tree,
    file: u32,
    around: &'a mut Surroundings<'b>,
    text: &'a str,
    open: Vec<Open>,
    /// `None` while the anchored node is still open.
    anchors: HashMap<usize, Option<NodeId>>,
    root: Option<NodeId>,
}

/// A list or map whose end has not come yet.
struct Open {
    place: Place,
    anchor: usize,
    soundness: Soundness,
    content: Content,
}

/// Whether a problem was reported for a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Soundness {
    Sound,
    Broken,
}

enum Content {
    List(Vec<NodeId>),
    Map { entries: Vec<Entry>, seen: HashMap<String, NodeId>, key: Key },
}

/// Where a map is between a key and its value.
enum Key {
    Wanted,
    Given(NodeId),
    /// It cannot be a key; its value is thrown away.
    Unusable,
}

impl Builder<'_, '_> {
    fn step(&mut self, event: Event<'_>, span: &Span) -> Result<(), Box<Problem>> {
        let place = self.place(span);
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                let problem = Problem::error(self.tree.spot(place), "a second document begins here");
                let help = "a config is one document; put the rest into a file of its own and `include` it";
                return Err(Box::new(problem.help(help)));
            }
            Event::Alias(anchor) => self.alias(anchor, place),
            Event::UnresolvedAlias(name) => self.unknown_alias(&name, place),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let kind = if plain { Kind::Plain } else { Kind::Quoted };
                let soundness = self.check_tag(tag.as_deref(), &["str", ""], place);
                self.scalar(
                    Scalar { text: text.into_owned(), kind, origin: Origin::Written },
                    place,
                    anchor,
                    soundness,
                );
            }
            Event::SequenceStart(_, anchor, tag) => {
                let soundness = self.check_tag(tag.as_deref(), &["seq"], place);
                self.begin(place, anchor, soundness, Content::List(Vec::new()));
            }
            Event::MappingStart(_, anchor, tag) => {
                let soundness = self.check_tag(tag.as_deref(), &["map"], place);
                let content = Content::Map { entries: Vec::new(), seen: HashMap::new(), key: Key::Wanted };
                self.begin(place, anchor, soundness, content);
            }
            Event::SequenceEnd | Event::MappingEnd => return self.end(),
            _ => {}
        }
        Ok(())
    }

    fn place(&self, span: &Span) -> Place {
        let bytes = span.byte_range().unwrap_or(0..0);
        Place { file: self.file, start: bytes.start, end: bytes.end }
    }

    fn report(&mut self, place: Place, message: impl Into<String>, help: &str) {
        let problem = Problem::error(self.tree.spot(place), message).help(help);
        self.around.problems.push(problem);
    }

    /// A node to stand in for what could not be read.
    fn stand_in(&mut self, place: Place) -> NodeId {
        let scalar = Scalar { text: String::new(), kind: Kind::Quoted, origin: Origin::Written };
        let id = self.tree.add(place, Value::Scalar(scalar));
        self.around.broken.poison(id);
        id
    }

    /// A tag that says nothing new is sound; any other is a problem.
    fn check_tag(&mut self, tag: Option<&granit::Tag>, fine: &[&str], place: Place) -> Soundness {
        let Some(tag) = tag else { return Soundness::Sound };
        if tag.core_suffix().is_some_and(|suffix| fine.contains(&suffix)) {
            return Soundness::Sound;
        }
        let message = format!("the tag {} means nothing here", quoted(&tag.original()));
        self.report(place, message, "take it out");
        Soundness::Broken
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { content: Content::Map { key: Key::Wanted, .. }, .. }))
    }

    fn scalar(&mut self, scalar: Scalar, place: Place, anchor: usize, soundness: Soundness) {
        if self.wants_key() {
            let id = self.tree.add(place, Value::Scalar(scalar));
            self.key(id);
            // An alias of a key is its text as it stands.
            self.anchors.insert(anchor, Some(id));
            return;
        }
        let (scalar, wrong) = self.interpolated(scalar, place);
        let id = self.tree.add(place, Value::Scalar(scalar));
        if soundness == Soundness::Broken || wrong == Soundness::Broken {
            self.around.broken.poison(id);
        }
        self.anchors.insert(anchor, Some(id));
        self.put(id);
    }

    /// The scalar with its `${...}` followed, and whether one of them could not be.
    fn interpolated(&mut self, scalar: Scalar, place: Place) -> (Scalar, Soundness) {
        if !scalar.text.contains('$') {
            return (scalar, Soundness::Sound);
        }
        let result = interpolate(&scalar.text, self.around.lookup);
        let soundness = if result.wrongs.is_empty() { Soundness::Sound } else { Soundness::Broken };
        for found in result.wrongs {
            // Escapes and line folding can hide the reference; then the whole value is pointed at.
            let source = self.text.get(place.start..place.end).unwrap_or("");
            let exact = source.find(&found.written).map_or(place, |at| {
                let start = place.start + at;
                Place { start, end: start + found.written.len(), ..place }
            });
            self.report(exact, found.message, &found.help);
        }
        let origin = match (result.from_env.is_empty(), result.has_default) {
            (false, _) => Origin::Environment,
            (true, true) => Origin::Defaults,
            (true, false) => Origin::Written,
        };
        self.around.from_env.extend(result.from_env);
        (Scalar { text: result.text, origin, ..scalar }, soundness)
    }

    fn key(&mut self, id: NodeId) {
        let place = self.tree.node(id).place;
        let text = self.tree.text(id).to_owned();
        if text == "<<" {
            self.report(
                place,
                "merge keys (`<<`) are not part of YAML 1.2",
                "write what pools share under `defaults`, or use the alias as a whole value",
            );
            self.around.broken.poison(id);
        }
        // What is not there comes as a null.
        let usable = !text.is_empty() && place.start < place.end;
        if !usable {
            self.report(place, "there is no key before this `:`", "a value that contains `:` needs quotes");
        }
        let Some(Open { content: Content::Map { seen, key, .. }, .. }) = self.open.last_mut() else { return };
        if !usable {
            *key = Key::Unusable;
            return;
        }
        match seen.get(&text) {
            None => {
                seen.insert(text, id);
                *key = Key::Given(id);
            }
            Some(&first) => {
                *key = Key::Unusable;
                let first = self.tree.spot(self.tree.node(first).place);
                let problem = Problem::error(
                    self.tree.spot(place),
                    format!("the key {} is written twice", quoted(&text)),
                )
                .help("keep one of them")
                .also(first, "is the first one");
                self.around.problems.push(problem);
            }
        }
    }

    fn alias(&mut self, anchor: usize, place: Place) {
        let id = match self.anchors.get(&anchor) {
            Some(Some(id)) => *id,
            Some(None) => {
                self.report(place, "this alias is part of what it stands for", "write the value itself");
                self.stand_in(place)
            }
            None => self.stand_in(place),
        };
        if self.wants_key() {
            self.report(place, "an alias cannot be a key", "write the key itself");
            self.unusable_key();
        } else {
            self.put(id);
        }
    }

    fn unknown_alias(&mut self, name: &str, place: Place) {
        let written = format!("*{name}");
        let message = format!("{} is an alias of nothing: in YAML, `*` begins one", quoted(&written));
        self.report(place, message, &format!("write it in quotes: \"{written}\""));
        if self.wants_key() {
            self.unusable_key();
        } else {
            let id = self.stand_in(place);
            self.put(id);
        }
    }

    fn unusable_key(&mut self) {
        if let Some(Open { content: Content::Map { key, .. }, .. }) = self.open.last_mut() {
            *key = Key::Unusable;
        }
    }

    fn begin(&mut self, place: Place, anchor: usize, soundness: Soundness, content: Content) {
        self.anchors.insert(anchor, None);
        let place = Place { end: place.start + 1, ..place };
        self.open.push(Open { place, anchor, soundness, content });
    }

    fn end(&mut self) -> Result<(), Box<Problem>> {
        let Some(Open { mut place, anchor, soundness, content }) = self.open.pop() else { return Ok(()) };
        let value = match content {
            Content::List(items) => Value::List(items),
            Content::Map { entries, .. } => {
                // A block map has no sign of its own; its first key stands for it.
                if self.text.as_bytes().get(place.start) != Some(&b'{')
                    && let Some(first) = entries.first()
                {
                    place = self.tree.node(first.key).place;
                }
                Value::Map(entries)
            }
        };
        let id = self.tree.add(place, value);
        let node = self.tree.node(id);
        if node.depth > DEEPEST {
            return Err(self.too_deep(place));
        }
        if node.weight > MOST_VALUES {
            let message =
                format!("this grows to more than {MOST_VALUES} values when its aliases are followed");
            return Err(Box::new(Problem::error(self.tree.spot(place), message)));
        }
        if soundness == Soundness::Broken {
            self.around.broken.poison(id);
        }
        self.anchors.insert(anchor, Some(id));
        if self.wants_key() {
            self.report(
                place,
                "a key is a text, not a list or a map",
                "a text that begins with `{` or `[` needs quotes",
            );
            self.unusable_key();
        } else {
            self.put(id);
        }
        Ok(())
    }

    /// Puts a finished value where it belongs.
    fn put(&mut self, id: NodeId) {
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(id),
            Some(Content::List(items)) => items.push(id),
            Some(Content::Map { entries, key, .. }) => {
                if let Key::Given(key) = std::mem::replace(key, Key::Wanted) {
                    entries.push(Entry { key, value: id });
                }
            }
        }
    }

    fn too_deep(&self, place: Place) -> Box<Problem> {
        let message = format!("values are nested more than {DEEPEST} levels deep");
        Box::new(Problem::error(self.tree.spot(place), message))
    }

    fn not_yaml(&self, error: &ScanError) -> Box<Problem> {
        let start = error.marker().byte_offset().unwrap_or(0);
        let place = Place { file: self.file, start, end: start + 1 };
        let spot = self.tree.spot(place);
        let help = match error.kind() {
            ErrorKind::RecursionLimitExceeded => return self.too_deep(place),
            _ if spot.text.contains("${") => Some("between { } and [ ], write \"${NAME}\" in quotes"),
            ErrorKind::TabInIndentation | ErrorKind::TabInBlockIndentation | ErrorKind::TabNotAllowed => {
                Some("indent with spaces")
            }
            ErrorKind::UnexpectedCharacter { .. } => {
                Some("a text that begins with this character needs quotes")
            }
            ErrorKind::MappingValueNotAllowed => Some("a text that contains `: ` needs quotes"),
            ErrorKind::ExpectedBlockMappingKey
            | ErrorKind::InvalidIndentation
            | ErrorKind::SimpleKeyExpected
            | ErrorKind::ExpectedBlockSequenceEntry => {
                Some("the keys of one map start in the same column; a `:` stands between key and value")
            }
            _ => None,
        };
        let problem = Problem::error(spot, format!("this is not YAML: {}", error.info()));
        Box::new(match help {
            Some(help) => problem.help(help),
            None => problem,
        })
    }
}
