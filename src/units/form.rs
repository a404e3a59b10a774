//! The forms in which a value may be written: one or a list, text or a map, `off`, a path relative to its file.
//!
//! Specs name these functions in their serde attributes, so that a short form is stated where the key lives. Nothing here
//! knows of YAML or of places in files; `config` gives those to whatever error comes out.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};

/// Newtype name by which `config` knows a path that is relative to the file it is written in.
pub const PATH: &str = "lintel::Path";
/// As `PATH`, but `stdout` and `stderr` are no paths.
pub const LOG_PATH: &str = "lintel::LogPath";

/// A path.
pub fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    deserializer.deserialize_newtype_struct(PATH, PathText)
}

/// A path that need not be written.
pub fn some_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    path(deserializer).map(Some)
}

/// `stdout`, `stderr` or a path.
pub fn log_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    deserializer.deserialize_newtype_struct(LOG_PATH, PathText)
}

/// A list, or one value that means a list of itself alone.
pub fn one_or_many<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_any(OneOrManyVisitor(PhantomData))
}

/// As `one_or_many`, for a list that need not be written.
pub fn some_one_or_many<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    one_or_many(deserializer).map(Some)
}

/// A value, or `off`, which is how a pool goes without what `defaults` give it.
pub fn or_off<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_any(OrOffVisitor(PhantomData))
}

/// Schema of what `one_or_many` reads.
pub struct OneOrMany<T>(PhantomData<T>);

/// Schema of what `or_off` reads.
pub struct OrOff<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

impl<T: JsonSchema> JsonSchema for OrOff<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("OrOff_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [value, { "const": "off" }] })
    }
}

/// Adds to a schema that text is taken as well, for a type with a short form; `text` is the schema of that text.
pub fn also_text(text: Schema) -> impl FnMut(&mut Schema) {
    let mut text = text;
    for of_a_root in ["$schema", "title"] {
        text.remove(of_a_root);
    }
    move |schema: &mut Schema| {
        let mut whole = Schema::default();
        for key in ["title", "description"] {
            if let Some(value) = schema.remove(key) {
                whole.insert(key.to_owned(), value);
            }
        }
        whole.insert("anyOf".to_owned(), serde_json::json!([text, schema]));
        *schema = whole;
    }
}

/// Adds to the schema of an enum of texts that those which are numbers may be written as numbers: `1.2`, `502`.
pub fn also_numbers(schema: &mut Schema) {
    fn number(text: &serde_json::Value) -> Option<serde_json::Value> {
        serde_json::from_str(text.as_str()?).ok().filter(serde_json::Value::is_number)
    }
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(text) = object.remove("const") {
        object.insert("enum".to_owned(), vec![text].into());
    }
    if let Some(serde_json::Value::Array(texts)) = object.get_mut("enum") {
        let numbers: Vec<_> = texts.iter().filter_map(number).collect();
        texts.extend(numbers);
        object.remove("type");
    }
    let variants = object.get_mut("oneOf").and_then(serde_json::Value::as_array_mut).into_iter().flatten();
    for variant in variants {
        if let Ok(variant) = variant.try_into() {
            also_numbers(variant);
        }
    }
}

/// Lets a type derived with `#[serde(remote = "Itself")]` be written as text too: `$from` makes it of a `&str`, or any
/// `serde::de::Error`. `$serialize` writes it, unless the derived form will do.
macro_rules! text_form {
    ($type:ident, $expecting:literal, $from:expr) => {
        $crate::units::form::text_form!($type, $expecting, $from, $type::serialize);
    };
    ($type:ident, $expecting:literal, $from:expr, $serialize:expr) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Form;
                impl<'de> serde::de::Visitor<'de> for Form {
                    type Value = $type;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        $from(text)
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<$type, A::Error> {
                        $type::deserialize(serde::de::value::MapAccessDeserializer::new(map))
                    }
                }
                deserializer.deserialize_any(Form)
            }
        }
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $serialize(self, serializer)
            }
        }
    };
}
pub(crate) use text_form;

struct PathText;

impl<'de> Visitor<'de> for PathText {
    type Value = PathBuf;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path")
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<PathBuf, D::Error> {
        deserializer.deserialize_str(self)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<PathBuf, E> {
        if text.is_empty() || text.contains('\0') {
            return Err(E::custom("expected a path, found text that cannot be one"));
        }
        Ok(text.into())
    }
}

struct OneOrManyVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrManyVisitor<T> {
    type Value = Vec<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one value, or a list")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(values)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<T>, E> {
        Ok(vec![T::deserialize(Text(text, PhantomData))?])
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Vec<T>, E> {
        Ok(vec![T::deserialize(value.into_deserializer())?])
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Vec<T>, E> {
        Ok(vec![T::deserialize(number.into_deserializer())?])
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Vec<T>, E> {
        Ok(vec![T::deserialize(number.into_deserializer())?])
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<Vec<T>, E> {
        Ok(vec![T::deserialize(number.into_deserializer())?])
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
        Ok(vec![T::deserialize(MapAccessDeserializer::new(map))?])
    }
}

struct OrOffVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OrOffVisitor<T> {
    type Value = Option<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that fits, or `off`")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Option<T>, E> {
        if text == "off" {
            return Ok(None);
        }
        T::deserialize(Text(text, PhantomData)).map(Some)
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Option<T>, E> {
        T::deserialize(value.into_deserializer()).map(Some)
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Option<T>, E> {
        T::deserialize(number.into_deserializer()).map(Some)
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Option<T>, E> {
        T::deserialize(number.into_deserializer()).map(Some)
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<Option<T>, E> {
        T::deserialize(number.into_deserializer()).map(Some)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Option<T>, A::Error> {
        T::deserialize(SeqAccessDeserializer::new(list)).map(Some)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }
}

/// Text that is a number where a number is asked for: what an environment variable gives has no type of its own.
struct Text<'a, E>(&'a str, PhantomData<E>);

macro_rules! number_of_text {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
            match self.0.parse() {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => visitor.visit_str(self.0),
            }
        }
    )*};
}

impl<'de, E: Error> Deserializer<'de> for Text<'_, E> {
    type Error = E;
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        visitor.visit_str(self.0)
    }
    number_of_text!(deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64);
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        visitor.visit_some(self)
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, E> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, E> {
        visitor.visit_enum(IntoDeserializer::<E>::into_deserializer(self.0))
    }
    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct
        map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_where_texts_of_them_are() {
        let mut plain = json_schema!({ "type": "string", "enum": ["1.2", "1.3"] });
        also_numbers(&mut plain);
        assert_eq!(plain, json_schema!({ "enum": ["1.2", "1.3", 1.2, 1.3] }));
        let mut documented = json_schema!({ "oneOf": [
            { "type": "string", "enum": ["502", "503"] },
            { "type": "string", "const": "504", "description": "Late." },
            { "type": "string", "const": "reset" },
        ]});
        also_numbers(&mut documented);
        assert_eq!(
            documented,
            json_schema!({ "oneOf": [
                { "enum": ["502", "503", 502, 503] },
                { "enum": ["504", 504], "description": "Late." },
                { "enum": ["reset"] },
            ]})
        );
    }
}
