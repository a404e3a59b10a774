//! Serde's view of the tree: each error carries the node it happened at.
//!
//! Scalars follow the YAML 1.2 core schema (section 10.3.2): `no` is text, `22:22` is no number. A number is never taken
//! where text is wanted, since `1.10` would lose its zero. What came from the environment is whatever is asked for.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::read::{Broken, Why, Wrong};
use super::tree::{Entry, Kind, NodeId, Origin, Scalar, Tree, Value};
use crate::units::form;

/// Reads one node.
#[derive(Clone, Copy)]
pub(super) struct NodeReader<'a> {
    tree: &'a Tree,
    broken: &'a Broken,
    node: NodeId,
    text: TextIs,
}

/// What the text of a scalar is, where its type tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TextIs {
    AsWritten,
    /// A path, relative to the folder of the file it is written in.
    Path,
    /// The same, except for the names of streams.
    LogPath,
}

/// A plain scalar by the core schema.
enum Plain {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text,
}

impl<'a> NodeReader<'a> {
    pub fn new(tree: &'a Tree, broken: &'a Broken, node: NodeId) -> Self {
        Self { tree, broken, node, text: TextIs::AsWritten }
    }

    fn value(self) -> &'a Value {
        &self.tree.node(self.node).value
    }

    fn of(self, node: NodeId) -> Self {
        Self { node, text: TextIs::AsWritten, ..self }
    }

    /// Runs a visit and gives its error this node's place, and no word of what the environment gave.
    fn visit<'de, V: Visitor<'de>>(
        self,
        visitor: V,
        visit: impl FnOnce(V) -> Result<V::Value, Wrong>,
    ) -> Result<V::Value, Wrong> {
        if let Value::Scalar(Scalar { origin: Origin::Environment, .. }) = self.value() {
            let expected = Expecting(&visitor).to_string();
            return visit(visitor).map_err(|wrong| wrong.hiding_value(self.node, &expected).at(self.node));
        }
        visit(visitor).map_err(|wrong| wrong.at(self.node))
    }

    fn visit_as_written<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.value() {
            Value::List(items) => visitor.visit_seq(Items { reader: self, items: items.iter() }),
            Value::Map(entries) => visitor.visit_map(Entries {
                reader: self,
                entries: entries.iter(),
                missing: self.broken.missing(self.node).iter(),
                next: Next::Nothing,
            }),
            Value::Scalar(scalar) => match plain(scalar) {
                Plain::Null => Err(Wrong::new(Why::Empty)),
                Plain::Bool(value) => visitor.visit_bool(value),
                Plain::Unsigned(number) => visitor.visit_u64(number),
                Plain::Signed(number) => visitor.visit_i64(number),
                Plain::Float(number) => visitor.visit_f64(number),
                Plain::Text => visitor.visit_str(&self.placed(&scalar.text)),
            },
        }
    }

    /// The text, made absolute if it is a path.
    fn placed<'t>(self, text: &'t str) -> Cow<'t, str> {
        let is_stream = self.text == TextIs::LogPath && (text == "stdout" || text == "stderr");
        if self.text == TextIs::AsWritten || is_stream || text.is_empty() || Path::new(text).is_absolute() {
            return Cow::Borrowed(text);
        }
        let text = text.strip_prefix("./").unwrap_or(text);
        Cow::Owned(self.tree.file_of(self.node).folder.join(text).to_string_lossy().into_owned())
    }

    fn visit_enum<'de, V: Visitor<'de>>(
        self,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self.value() {
            Value::Scalar(scalar) if matches!(plain(scalar), Plain::Null) => Err(Wrong::new(Why::Empty)),
            Value::Scalar(scalar) if known.contains(&scalar.text.as_str()) => {
                visitor.visit_enum(Word { reader: self, word: &scalar.text })
            }
            Value::Scalar(scalar) => Err(Wrong::new(Why::UnknownWord { word: scalar.text.clone(), known })),
            Value::Map(entries) => match entries.as_slice() {
                _ if self.broken.has_poisoned_entry(self.tree, self.node) => {
                    Err(Wrong::new(Why::Consequence))
                }
                [Entry { key, .. }] if !known.contains(&self.tree.text(*key)) => {
                    let key_text = self.tree.text(*key).to_owned();
                    Err(Wrong::new(Why::UnknownKey { key: key_text, known }).at(*key))
                }
                [entry] => visitor.visit_enum(Tagged { reader: self, entry: *entry }),
                _ => Err(self.mismatch(format!("a map of {} keys", entries.len()), one_of(known))),
            },
            Value::List(_) => Err(self.mismatch("a list".to_owned(), one_of(known))),
        }
    }

    fn mismatch(self, found: String, expected: String) -> Wrong {
        Wrong::new(Why::Mismatch { found, expected })
    }
}

fn one_of(known: &[&str]) -> String {
    let words: Vec<_> = known.iter().map(|word| format!("`{word}`")).collect();
    if words.len() == 1 { words.concat() } else { format!("one of {}", words.join(", ")) }
}

/// What a visitor says it expects.
struct Expecting<'v, V>(&'v V);

impl<'de, V: Visitor<'de>> fmt::Display for Expecting<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            self.visit(visitor, |visitor| match self.value() {
                Value::Scalar(Scalar { text, origin, .. }) if *origin != Origin::Written => match text.parse() {
                    Ok(number) => visitor.visit_u64(number),
                    Err(_) => visitor.visit_str(text),
                },
                _ => self.visit_as_written(visitor),
            })
        }
    )*};
}

impl<'de> Deserializer<'de> for NodeReader<'_> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.visit(visitor, |visitor| self.visit_as_written(visitor))
    }

    numbers!(deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64);

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.visit(visitor, |visitor| match self.value() {
            Value::Scalar(Scalar { text, origin, .. }) if *origin != Origin::Written => match text.as_str() {
                "true" => visitor.visit_bool(true),
                "false" => visitor.visit_bool(false),
                _ => visitor.visit_str(text),
            },
            _ => self.visit_as_written(visitor),
        })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        // A derived visitor would take a list as the fields in their order.
        if let Value::List(_) = self.value() {
            return Err(self.mismatch("a list".to_owned(), "a map".to_owned()).at(self.node));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match name {
            form::PATH => self.text = TextIs::Path,
            form::LOG_PATH => self.text = TextIs::LogPath,
            _ => {}
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let result = self.visit_enum(variants, visitor);
        match self.value() {
            Value::Scalar(Scalar { origin: Origin::Environment, .. }) => {
                result.map_err(|wrong| wrong.hiding_value(self.node, &one_of(variants)).at(self.node))
            }
            _ => result.map_err(|wrong| wrong.at(self.node)),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        identifier ignored_any
    }
}

/// What a scalar is by the core schema; what was quoted or has references is text.
fn plain(scalar: &Scalar) -> Plain {
    if scalar.kind == Kind::Quoted || scalar.origin != Origin::Written {
        return Plain::Text;
    }
    let text = scalar.text.as_str();
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
        "true" | "True" | "TRUE" => return Plain::Bool(true),
        "false" | "False" | "FALSE" => return Plain::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Plain::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Plain::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Plain::Float(f64::NAN),
        _ => {}
    }
    let based = |prefix, base| text.strip_prefix(prefix).and_then(|digits| whole(digits, base));
    if let Some(number) = based("0o", 8).or_else(|| based("0x", 16)) {
        return Plain::Unsigned(number);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if let Some(number) = whole(unsigned, 10) {
        if !text.starts_with('-') {
            return Plain::Unsigned(number);
        }
        if let Some(number) = 0i64.checked_sub_unsigned(number) {
            return Plain::Signed(number);
        }
    }
    // Of what Rust reads as a float, the core schema leaves out the words.
    let digits = unsigned.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    match unsigned.parse::<f64>() {
        Ok(_) if digits => Plain::Float(text.parse().unwrap_or(f64::NAN)),
        _ => Plain::Text,
    }
}

fn whole(digits: &str, base: u32) -> Option<u64> {
    // `from_str_radix` would take a sign.
    let all = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(base));
    if all { u64::from_str_radix(digits, base).ok() } else { None }
}

/// The items of a list.
struct Items<'a> {
    reader: NodeReader<'a>,
    items: std::slice::Iter<'a, NodeId>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Wrong;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        let broken = self.reader.broken;
        match self.items.find(|item| !broken.is_poisoned(**item)) {
            Some(item) => seed.deserialize(self.reader.of(*item)).map(Some),
            None => Ok(None),
        }
    }
}

/// The entries of a map, then stand-ins for what it lacks.
struct Entries<'a> {
    reader: NodeReader<'a>,
    entries: std::slice::Iter<'a, Entry>,
    missing: std::slice::Iter<'a, &'static str>,
    next: Next,
}

enum Next {
    Nothing,
    Value(Entry),
    StandIn,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        let NodeReader { broken, tree, .. } = self.reader;
        if let Some(entry) = self.entries.find(|e| !broken.is_poisoned(e.key) && !broken.is_poisoned(e.value))
        {
            self.next = Next::Value(*entry);
            let key = StrDeserializer::new(tree.text(entry.key));
            return seed.deserialize(key).map(Some).map_err(|wrong: Wrong| wrong.at(entry.key));
        }
        match self.missing.next() {
            Some(key) => {
                self.next = Next::StandIn;
                seed.deserialize(StrDeserializer::new(key)).map(Some)
            }
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Value(entry) => read_value(self.reader, entry, seed),
            Next::StandIn => seed.deserialize(StandIn).map_err(|_| Wrong::new(Why::Consequence)),
            Next::Nothing => Err(Wrong::new(Why::Consequence)),
        }
    }
}

/// Reads an entry's value; one that is not there is told by its key.
fn read_value<'de, V: DeserializeSeed<'de>>(
    reader: NodeReader<'_>,
    entry: Entry,
    seed: V,
) -> Result<V::Value, Wrong> {
    seed.deserialize(reader.of(entry.value)).map_err(|mut wrong| {
        if matches!(wrong.why, Why::Empty) && wrong.node == Some(entry.value) {
            wrong.at = Some(entry.key);
            wrong.why = Why::Message(format!(
                "the key {} has no value",
                super::problem::quoted(reader.tree.text(entry.key))
            ));
        }
        wrong
    })
}

/// A variant by its name alone.
struct Word<'a> {
    reader: NodeReader<'a>,
    word: &'a str,
}

impl<'de> EnumAccess<'de> for Word<'_> {
    type Error = Wrong;
    type Variant = Self;
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Wrong> {
        let variant = seed.deserialize(StrDeserializer::<Wrong>::new(self.word))?;
        Ok((variant, self))
    }
}

impl Word<'_> {
    fn lacks_value<T>(self) -> Result<T, Wrong> {
        let Self { reader, word } = self;
        Err(reader.mismatch(format!("the word `{word}` alone"), format!("`{{ {word}: ... }}`")))
    }
}

impl<'de> VariantAccess<'de> for Word<'_> {
    type Error = Wrong;
    fn unit_variant(self) -> Result<(), Wrong> {
        Ok(())
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Wrong> {
        self.lacks_value()
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Wrong> {
        self.lacks_value()
    }
    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Wrong> {
        self.lacks_value()
    }
}

/// A variant as a map's one key, and its value.
struct Tagged<'a> {
    reader: NodeReader<'a>,
    entry: Entry,
}

impl<'de> EnumAccess<'de> for Tagged<'_> {
    type Error = Wrong;
    type Variant = Self;
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Wrong> {
        let word = self.reader.tree.text(self.entry.key);
        let variant = seed.deserialize(StrDeserializer::<Wrong>::new(word))?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Tagged<'_> {
    type Error = Wrong;
    fn unit_variant(self) -> Result<(), Wrong> {
        let word = self.reader.tree.text(self.entry.key);
        Err(Wrong::new(Why::Message(format!("`{word}` takes no value; write it alone"))))
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Wrong> {
        read_value(self.reader, self.entry, seed)
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Wrong> {
        self.reader.of(self.entry.value).deserialize_any(visitor)
    }
    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        self.reader.of(self.entry.value).deserialize_any(visitor)
    }
}

/// Some value of whatever type is asked for. It only lets the rest be read; nothing ever uses it.
struct StandIn;

impl<'de> Deserializer<'de> for StandIn {
    type Error = Wrong;
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        // Fine as a path, a name and an address.
        visitor.visit_str("0.0.0.0:0")
    }
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_seq(serde::de::value::SeqDeserializer::new(std::iter::empty::<u8>()))
    }
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_map(serde::de::value::MapDeserializer::new(std::iter::empty::<(u8, u8)>()))
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_enum(StrDeserializer::<Wrong>::new(variants.first().copied().unwrap_or_default()))
    }
    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct tuple
        tuple_struct struct identifier ignored_any
    }
}
