//! The JSON Schema of a whole file as a user writes it, short forms, `defaults` and `include` with it.

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, json_schema};
use serde_json::{Map, Value};

use super::file::File;
use crate::pool;
use crate::units::form::OneOrMany;

/// For editors and for other programs; `lintel check` says more.
pub fn schema() -> Schema {
    let mut schema = schema_without_variables();
    may_inherit(&mut schema);
    AcceptVariables.transform(&mut schema);
    schema.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
    schema
}

/// The same, as if `${VAR}` had been replaced already.
pub(super) fn schema_without_variables() -> Schema {
    let mut schema = schema_of::<File>();
    let mut defaults = schema_of::<pool::Spec>();
    if let Some(Value::Object(properties)) = defaults.get_mut("properties") {
        properties.remove("servers");
    }
    defaults.remove("required");
    describe(
        &mut defaults,
        "What every pool inherits, key by key; a pool's own value wins, and `off` goes without.",
    );
    let mut include = schema_of::<OneOrMany<String>>();
    describe(
        &mut include,
        "Further files, such as `conf.d/*.yaml`, whose listeners, pools, policies and routes join these.",
    );
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        let listeners = properties.remove("listeners").unwrap_or_default();
        let rest = std::mem::take(properties);
        let first =
            [("include", include.to_value()), ("listeners", listeners), ("defaults", defaults.to_value())];
        properties.extend(first.map(|(key, value)| (key.to_owned(), value)));
        properties.extend(rest);
    }
    schema.insert("title".to_owned(), "lintel.yaml".into());
    schema
}

/// A pool may lack what its defaults give, and they what each pool gives: of their keys only those of `servers` are
/// required.
fn may_inherit(schema: &mut Schema) {
    for key_path in ["/properties/defaults/properties", "/properties/pools/additionalProperties/properties"] {
        let Some(Value::Object(keys)) = schema.pointer_mut(key_path) else { continue };
        for (_, schema) in keys.iter_mut().filter(|(key, _)| *key != "servers") {
            if let Ok(schema) = schema.try_into() {
                NothingRequired.transform(schema);
            }
        }
    }
}

struct NothingRequired;

impl Transform for NothingRequired {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        // A map of one key says by it which kind it is.
        let keys = schema.get("properties").and_then(Value::as_object).map_or(0, Map::len);
        if keys > 1 {
            schema.remove("required");
        }
    }
}

/// A schema with everything in place: no references to follow.
fn schema_of<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    for key in ["$schema", "title"] {
        schema.remove(key);
    }
    WithoutNull.transform(&mut schema);
    schema
}

fn describe(schema: &mut Schema, text: &str) {
    schema.insert("description".to_owned(), text.into());
}

/// A key that need not be written is left out, never null.
struct WithoutNull;

impl Transform for WithoutNull {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(object) = schema.as_object_mut() {
            without_null(object);
        }
        transform_subschemas(self, schema);
    }
}

fn without_null(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            schema["type"] = only.clone();
        }
    }
    if schema.get("default") == Some(&Value::Null) {
        schema.remove("default");
    }
    if let Some(Value::Array(choices)) = schema.get_mut("enum") {
        choices.retain(|choice| !choice.is_null());
    }
    let Some(Value::Array(choices)) = schema.get_mut("anyOf") else { return };
    choices.retain(|choice| choice.get("type") != Some(&Value::from("null")));
    if let [Value::Object(only)] = choices.as_slice() {
        let only = only.clone();
        schema.remove("anyOf");
        for (key, value) in only {
            // The words at the key say more than those at its type.
            schema.entry(key).or_insert(value);
        }
    }
}

/// `${PORT}` may stand where a number, a quantity or one of a few words is wanted; any text takes it anyway.
struct AcceptVariables;

impl Transform for AcceptVariables {
    fn transform(&mut self, schema: &mut Schema) {
        // Words that exclude each other are one form together: a variable would be each of them at once.
        let mut kinds = schema.remove("oneOf");
        transform_subschemas(self, schema);
        let mut has_words = false;
        for kind in kinds.iter_mut().filter_map(Value::as_array_mut).flatten() {
            let is_word = kind.get("const").is_some() || kind.get("enum").is_some();
            has_words |= is_word;
            if let (false, Ok(kind)) = (is_word, kind.try_into()) {
                self.transform(kind);
            }
        }
        let Some(object) = schema.as_object_mut() else { return };
        object.extend(kinds.map(|kinds| ("oneOf".to_owned(), kinds)));
        let is_formed = match object.get("type").and_then(Value::as_str) {
            Some("integer" | "number" | "boolean") => true,
            Some("string") => object.contains_key("pattern") || object.contains_key("enum"),
            _ => false,
        };
        if is_formed || has_words || object.contains_key("enum") || object.contains_key("const") {
            or_variable(object);
        }
    }
}

fn or_variable(schema: &mut Map<String, Value>) {
    let mut whole = Map::new();
    for key in ["description", "default"] {
        if let Some(value) = schema.remove(key) {
            whole.insert(key.to_owned(), value);
        }
    }
    let variable = json_schema!({ "type": "string", "pattern": "\\$\\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\\}" });
    let forms = vec![Value::Object(std::mem::take(schema)), variable.to_value()];
    whole.insert("anyOf".to_owned(), forms.into());
    *schema = whole;
}
