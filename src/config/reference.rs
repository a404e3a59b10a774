//! docs/reference.md, made of the schema: every key with what it takes, its default and its meaning.
//!
//! The words are those of the fields' own documentation, so that nothing is written twice.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::schema::schema_without_variables;

const HEAD: &str = "\
# Reference of lintel.yaml

Every key, what it takes, its default, and what it means. This page is generated from the code: change a field's
documentation there, then run `UPDATE_REFERENCE=1 cargo test --test config reference`.

- `NAME` is a name of your own: letters, digits, `-`, `_` and `.`.
- A time has its unit: `250ms`, `5s`, `2m`, `1h`, `7d`. A size has one too: `512B`, `32KiB`, `10MiB`, `1GiB` (powers of
  1024) or `10kB`, `5MB` (powers of 1000). A share is `0%` to `100%`.
- `${VAR}` and `${VAR:-default}` stand for variables of the environment, in values only; `$$` is a dollar sign. Inside
  `{ }` and `[ ]` they need quotes.
- A path is relative to the folder of the file that names it.
- A key without a default is off, or empty, unless written.
- conf/full.yaml shows every key at work (with conf/conf.d/full-blog.yaml, which it includes), conf/minimal.yaml the
  fewest.
";

/// The whole page as Markdown.
pub fn markdown() -> String {
    let schema = schema_without_variables();
    let mut page = HEAD.to_owned();
    for (key, section) in properties(schema.as_value()) {
        let _ = write!(page, "\n## {key}\n\n{}\n", description(section));
        // Defaults are pools without servers; once is enough.
        if key == "defaults" {
            page.push_str("\nIt takes every key of `pools.NAME` but `servers`.\n");
            continue;
        }
        let mut rows = Vec::new();
        if properties(section).is_empty() && below(section).is_none() {
            rows.push(row(key, section, false));
        }
        walk(section, key, &mut rows);
        page.push_str("\n| Key | Takes | Default | Meaning |\n| --- | --- | --- | --- |\n");
        page.extend(rows);
    }
    page
}

/// Rows for everything below a key.
fn walk(schema: &Value, path: &str, rows: &mut Vec<String>) {
    for (key, value) in properties(schema) {
        let path = format!("{path}.{key}");
        rows.push(row(&path, value, is_required(schema, key)));
        walk(value, &path, rows);
    }
    if let Some((step, value)) = below(schema) {
        walk(value, &format!("{path}{step}"), rows);
    }
}

fn row(path: &str, schema: &Value, required: bool) -> String {
    let default = match schema.get("default") {
        _ if required => "required".to_owned(),
        // The defaults of a map stand at its keys.
        Some(Value::Object(_)) | None => String::new(),
        Some(Value::Array(items)) if items.is_empty() => String::new(),
        Some(Value::String(text)) if text.is_empty() => String::new(),
        Some(value) => format!("`{}`", as_yaml(value)),
    };
    let mut meaning = description(schema);
    let is_told_below =
        |variant: &Value| properties(schema).iter().any(|(_, key)| choices(key).contains(&variant));
    for variant in choices(schema).into_iter().filter(|variant| !is_told_below(variant)) {
        let words = description(variant);
        if let Some(value) = variant.get("const").or_else(|| variant.get("enum").and_then(|e| e.get(0)))
            && !words.is_empty()
        {
            let _ = write!(meaning, "<br>`{}`: {words}", as_yaml(value));
        }
    }
    let cells = [format!("`{path}`"), takes(schema), default, meaning].map(|cell| cell.replace('|', "\\|"));
    format!("| {} |\n", cells.join(" | "))
}

/// The keys that a schema names, whatever the form they come in.
fn properties(schema: &Value) -> Vec<(&str, &Value)> {
    let own = schema.get("properties").and_then(Value::as_object);
    let of_forms =
        choices(schema).into_iter().filter_map(|form| form.get("properties").and_then(Value::as_object));
    own.into_iter().chain(of_forms).flatten().map(|(key, value)| (key.as_str(), value)).collect()
}

/// What lies below a list or a map of names, if it has keys of its own.
fn below(schema: &Value) -> Option<(&'static str, &Value)> {
    let of = |schema: &'_ Value| -> Option<&'static str> {
        if schema.get("items").is_some() {
            return Some("[]");
        }
        schema.get("additionalProperties").filter(|value| value.is_object()).map(|_| ".NAME")
    };
    let form = std::iter::once(schema).chain(choices(schema)).find(|form| of(form).is_some())?;
    let value = form.get("items").or_else(|| form.get("additionalProperties"))?;
    let has_keys = !properties(value).is_empty() || below(value).is_some();
    if has_keys { Some((of(form)?, value)) } else { None }
}

/// The forms that a value may have, those of its forms with them.
fn choices(schema: &Value) -> Vec<&Value> {
    let mut forms = Vec::new();
    for form in alternatives(schema) {
        match alternatives(form).next() {
            Some(_) => forms.extend(choices(form)),
            None => forms.push(form),
        }
    }
    forms
}

fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    let of = |key: &str| schema.get(key).and_then(Value::as_array).into_iter().flatten();
    of("anyOf").chain(of("oneOf"))
}

/// Whether a map cannot do without a key. Keys of which one is chosen are not required each.
fn is_required(schema: &Value, key: &str) -> bool {
    let is_choice = schema.get("oneOf").is_some() || choices(schema).len() > 1 && one_key_forms(schema) > 1;
    let forms = std::iter::once(schema).chain(choices(schema));
    let mut having = forms.filter(|form| form.pointer(&format!("/properties/{key}")).is_some());
    !is_choice
        && having.all(|form| {
            let required = form.get("required").and_then(Value::as_array);
            required.is_some_and(|keys| keys.iter().any(|required| required == key))
        })
}

/// Forms that are maps of one key.
fn one_key_forms(schema: &Value) -> usize {
    let one_key =
        |form: &&Value| form.get("properties").and_then(Value::as_object).is_some_and(|keys| keys.len() == 1);
    choices(schema).into_iter().filter(one_key).count()
}

fn description(schema: &Value) -> String {
    schema.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ")
}

/// What a value may be, in a few words.
fn takes(schema: &Value) -> String {
    let Some(object) = schema.as_object() else { return String::new() };
    if let Some(value) = object.get("const") {
        return format!("`{}`", as_yaml(value));
    }
    if let Some(Value::Array(values)) = object.get("enum") {
        return either(values.iter().map(|value| format!("`{}`", as_yaml(value))));
    }
    let forms = choices(schema);
    if forms.is_empty() { of_type(object) } else { either(forms.into_iter().map(takes)) }
}

fn either(forms: impl Iterator<Item = String>) -> String {
    let mut different: Vec<String> = Vec::new();
    for form in forms.filter(|form| !form.is_empty()) {
        if !different.contains(&form) {
            different.push(form);
        }
    }
    different.join(" or ")
}

fn of_type(object: &Map<String, Value>) -> String {
    match object.get("type").and_then(Value::as_str) {
        Some("string") => match object.get("pattern").and_then(Value::as_str) {
            Some(pattern) if pattern.contains("ms|s") => "time".to_owned(),
            Some(pattern) if pattern.contains("KiB") => "size".to_owned(),
            Some(pattern) if pattern.contains('%') => "share".to_owned(),
            _ => "text".to_owned(),
        },
        Some("integer") => match (object.get("minimum"), object.get("maximum")) {
            (Some(least), Some(most)) if most.as_u64() <= Some(1000) => format!("{least} to {most}"),
            _ => "number".to_owned(),
        },
        Some("boolean") => "`true` or `false`".to_owned(),
        Some("array") => format!("list of {}", object.get("items").map(takes).unwrap_or_default()),
        Some("object") => match object.get("additionalProperties") {
            Some(value @ Value::Object(_)) => format!("map of {}", takes(value)),
            _ => match object.get("properties").and_then(Value::as_object) {
                Some(keys) if keys.len() == 1 && object.contains_key("required") => {
                    let inner = keys.iter().map(|(key, value)| format!("{key}: {}", takes(value)));
                    format!("{{ {} }}", inner.collect::<String>())
                }
                _ => "map".to_owned(),
            },
        },
        _ => String::new(),
    }
}

/// A value as one would write it in the file.
fn as_yaml(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(as_yaml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
