//! A config as it may be shown: as JSON with its defaults written out, or a value of it in one line, as its user wrote it.
//!
//! What came from the environment is shown as its reference, what a name calls a secret is not shown at all, and the
//! passwords in URLs are left out.

use std::collections::HashMap;

use serde_json::Value;

use super::key_path::KeyPath;
use super::problem::is_unprintable;
use super::tree::{self, NodeId, Origin, Scalar};
use super::{Loaded, Source};

/// Stands for a secret.
pub const HIDDEN: &str = "(hidden)";

/// Characters of a value in one line.
const LONGEST: usize = 100;

impl Loaded {
    /// The whole file.
    pub fn shown(&self) -> Value {
        let file = serde_json::to_value(&self.file).unwrap_or_default();
        self.source.cleaned(file, &KeyPath::default(), Some(self.source.root))
    }

    /// A value in one line: as it is written in the file, else as it is meant.
    pub fn text_of(&self, at: &KeyPath, value: &Value) -> String {
        self.source.written(at).unwrap_or_else(|| self.meant(at, value))
    }

    /// A value in one line as it was understood: short forms written out, paths absolute.
    pub fn meant(&self, at: &KeyPath, value: &Value) -> String {
        let node = self.source.node(at).or_else(|| self.source.short_form_of(at));
        shortened(&flow_of(&self.source.cleaned(value.clone(), at, node)))
    }

    /// Whether a value is written as text or a number, be it short for a map or not.
    pub fn is_scalar(&self, at: &KeyPath) -> bool {
        self.source.node(at).is_some_and(|node| matches!(self.source.value(node), tree::Value::Scalar(_)))
    }

    /// The keys that are written in the map here.
    pub fn keys(&self, at: &KeyPath) -> Vec<&str> {
        let entries = self.source.node(at).map(|node| self.source.tree.entries(node)).unwrap_or_default();
        entries.iter().map(|entry| self.source.tree.text(entry.key)).collect()
    }
}

impl Source {
    /// The node at a path, if something is written there.
    fn node(&self, at: &KeyPath) -> Option<NodeId> {
        if at.is_empty() {
            return Some(self.root);
        }
        let path = at.to_string();
        let (node, rest) = self.nearest(&path);
        rest.is_empty().then_some(node)
    }

    /// The text that stands for a whole map or list that the path leads into.
    fn short_form_of(&self, at: &KeyPath) -> Option<NodeId> {
        let path = at.to_string();
        let (node, _) = self.nearest(&path);
        matches!(self.value(node), tree::Value::Scalar(_)).then_some(node)
    }

    fn value(&self, node: NodeId) -> &tree::Value {
        &self.tree.node(node).value
    }

    /// A piece of the file without what must not be shown. `node` is where it is written.
    fn cleaned(&self, value: Value, at: &KeyPath, node: Option<NodeId>) -> Value {
        if value.is_null() {
            return value;
        }
        let scalar = node.and_then(|node| match self.value(node) {
            tree::Value::Scalar(scalar) => Some((node, scalar)),
            _ => None,
        });
        if at.names_secret() || value.is_string() && at.holds_secret() {
            let reference = scalar.and_then(|(node, scalar)| self.bare_reference(node, scalar));
            return Value::String(reference.unwrap_or_else(|| HIDDEN.to_owned()));
        }
        if let Some((node, Scalar { origin: Origin::Environment, .. })) = scalar {
            return Value::String(without_password(self.source_text(node)));
        }
        match value {
            Value::String(text) => Value::String(without_password(&text)),
            Value::Array(items) => {
                let written = match node.map(|node| self.value(node)) {
                    Some(tree::Value::List(items)) => items.as_slice(),
                    _ => &[],
                };
                let items = items.into_iter().enumerate().map(|(place, item)| {
                    let node = written.get(place).copied().or(scalar.map(|(node, _)| node));
                    self.cleaned(item, &at.place(place), node)
                });
                Value::Array(items.collect())
            }
            Value::Object(fields) => {
                let entries = node.map(|node| self.tree.entries(node)).unwrap_or_default();
                let written: HashMap<&str, NodeId> =
                    entries.iter().map(|entry| (self.tree.text(entry.key), entry.value)).collect();
                let fields = fields.into_iter().map(|(key, value)| {
                    let node = written.get(key.as_str()).copied().or(scalar.map(|(node, _)| node));
                    let value = self.cleaned(value, &at.key(&key), node);
                    (key, value)
                });
                Value::Object(fields.collect())
            }
            other => other,
        }
    }

    /// What is written at a path, in one line.
    fn written(&self, at: &KeyPath) -> Option<String> {
        let node = self.node(at)?;
        let mut text = String::new();
        self.write(node, at, &mut text);
        Some(shortened(&text))
    }

    fn write(&self, node: NodeId, at: &KeyPath, text: &mut String) {
        // Aliases can make a small file large.
        if text.len() > 4 * LONGEST {
            return;
        }
        match self.value(node) {
            tree::Value::Scalar(scalar) if at.names_secret() || at.holds_secret() => {
                text.push_str(&self.bare_reference(node, scalar).unwrap_or_else(|| HIDDEN.to_owned()));
            }
            tree::Value::Scalar(Scalar { origin: Origin::Environment, .. }) => {
                text.push_str(&plain(&without_password(self.source_text(node))));
            }
            tree::Value::Scalar(scalar) => text.push_str(&plain(&without_password(&scalar.text))),
            tree::Value::List(items) => {
                let items = items.iter().enumerate().map(|(place, item)| (None, *item, at.place(place)));
                self.write_all(['[', ']'], items, text);
            }
            tree::Value::Map(entries) => {
                let key = |entry: &tree::Entry| self.tree.text(entry.key);
                let entries = entries.iter().map(|entry| (Some(key(entry)), entry.value, at.key(key(entry))));
                self.write_all(['{', '}'], entries, text);
            }
        }
    }

    fn write_all<'a>(
        &self,
        [open, close]: [char; 2],
        items: impl Iterator<Item = (Option<&'a str>, NodeId, KeyPath)>,
        text: &mut String,
    ) {
        text.push(open);
        let empty = text.len();
        for (key, node, at) in items {
            if text.len() > empty {
                text.push_str(", ");
            }
            if let Some(key) = key {
                text.push_str(if text.len() > empty { "" } else { " " });
                text.push_str(key);
                text.push_str(": ");
            }
            self.write(node, &at, text);
        }
        text.push_str(if close == '}' && text.len() > empty { " " } else { "" });
        text.push(close);
    }

    /// `${NAME}`, if a value is that and nothing else: a default or further text could be a secret.
    fn bare_reference(&self, node: NodeId, scalar: &Scalar) -> Option<String> {
        let written = self.source_text(node);
        let name = written.strip_prefix("${")?.strip_suffix('}')?;
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        (is_name && scalar.origin == Origin::Environment).then(|| written.to_owned())
    }

    /// A scalar as it stands in its file, without quotes.
    fn source_text(&self, node: NodeId) -> &str {
        let place = self.tree.node(node).place;
        let file = self.tree.files.get(place.file as usize).map_or("", |file| &file.text);
        file.get(place.start..place.end).unwrap_or("${...}").trim_matches(['"', '\''])
    }
}

/// JSON as YAML in one line.
fn flow_of(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(text) => plain(text),
        Value::Array(items) => format!("[{}]", items.iter().map(flow_of).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            let fields: Vec<_> = fields.map(|(key, value)| format!("{key}: {}", flow_of(value))).collect();
            if fields.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", fields.join(", ")) }
        }
        other => other.to_string(),
    }
}

/// Text as a person would write it: in quotes only where it could not be told from what is around it.
fn plain(text: &str) -> String {
    let is_odd = |char: char| is_unprintable(char) || matches!(char, ',' | '"' | '\'' | '#');
    let is_clear = !text.is_empty()
        && text.trim() == text
        && !text.contains(is_odd)
        && !text.contains(": ")
        && !text.starts_with(['{', '[', '&', '*', '!', '|', '>', '%', '@']);
    if is_clear {
        return text.to_owned();
    }
    let escaped: String = text
        .chars()
        .map(|char| match char {
            '"' | '\\' => format!("\\{char}"),
            '\n' => "\\n".to_owned(),
            char if is_unprintable(char) => char.escape_default().to_string(),
            char => char.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Text with the passwords of the URLs in it left out: `redis://user:password@host`.
pub(super) fn without_password(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let authority = after.split(['/', '?', '#', ' ', '"', '\'']).next().unwrap_or_default();
        rest = after;
        let Some((account, _)) = authority.rsplit_once('@') else { continue };
        if let Some((user, _)) = account.split_once(':') {
            shown.push_str(user);
            shown.push(':');
            shown.push_str(HIDDEN);
            rest = after.get(account.len()..).unwrap_or_default();
        }
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;

    fn load(text: &str) -> Loaded {
        let lookup = |name: &str| match name {
            "TOKEN" => Some("hunter2-token".to_owned()),
            "HOST" => Some("hunter2.internal".to_owned()),
            "PORT" => Some("8099".to_owned()),
            _ => None,
        };
        load_text("lintel.yaml", "/etc/lintel".into(), text.to_owned(), &lookup).unwrap()
    }

    const SECRETS: &str = r#"
listeners: { http: { address: "127.0.0.1:${PORT}" } }
defaults: { health_check: "/hunter2?${TOKEN}" }
pools:
  web:
    app:
      command: "node ${TOKEN}.js"
      env:
        DB_PASSWORD: hunter2
        API_KEY: ${TOKEN}
        session_secret: "${NONE:-hunter2}"
        REDIS_URL: "redis://user:hunter2@${HOST}/0"
        PLAIN: visible
  token: { servers: ["${HOST}:3000", { address: "10.0.0.1:80", weight: 2 }] }
policies:
  auth: [{ headers: { request: { set: { Authorization: "Bearer hunter2", x-by: lintel }, add: { x-api-key: hunter2 } } } }]
routes:
  - { name: a, match: { path: "/${TOKEN}", headers: { x-token: { regex: hunter2 } } }, to: web, policies: [auth] }
  - { match: { query: { key: hunter2 } }, respond: { headers: { set-cookie: "a=hunter2" } } }
  - { match: { host: ["a.test", "${HOST}"] }, to: token }
"#;

    fn of(keys: &[&str]) -> KeyPath {
        KeyPath::of(keys)
    }

    #[test]
    fn the_whole_file_is_shown_without_secrets_and_with_defaults() {
        let shown = load(SECRETS).shown();
        let text = shown.to_string();
        assert!(!text.contains("hunter2.internal") && !text.contains("8099"), "{text}");
        assert_eq!(text.replace("/hunter2?${TOKEN}", "").matches("hunter2").count(), 0, "{text}");
        let env = &shown["pools"]["web"]["app"]["env"];
        assert_eq!(env["DB_PASSWORD"], HIDDEN);
        assert_eq!(env["API_KEY"], "${TOKEN}");
        assert_eq!(env["session_secret"], HIDDEN);
        assert_eq!(env["REDIS_URL"], "redis://user:(hidden)@${HOST}/0");
        assert_eq!(env["PLAIN"], "visible");
        assert_eq!(shown["pools"]["web"]["app"]["command"], "node ${TOKEN}.js");
        assert_eq!(shown["pools"]["web"]["health_check"], "/hunter2?${TOKEN}");
        assert_eq!(shown["pools"]["token"]["servers"][0], "${HOST}:3000");
        assert_eq!(shown["pools"]["token"]["servers"][1]["weight"], 2);
        assert_eq!(shown["pools"]["token"]["queue"]["size"], 200);
        assert_eq!(shown["listeners"]["http"]["address"], "127.0.0.1:${PORT}");
        assert_eq!(shown["routes"][2]["match"]["host"], serde_json::json!(["a.test", "${HOST}"]));
        assert_eq!(shown["runtime"]["drain_timeout"], "30s");
    }

    #[test]
    fn values_are_told_as_they_are_written() {
        let loaded = load(SECRETS);
        let text = |at: &KeyPath, value: Value| loaded.text_of(at, &value);
        let route = |place: usize| of(&["routes"]).place(place);
        let policy = of(&["policies", "auth"]);
        assert_eq!(text(&route(2).key("to"), serde_json::json!({ "token": 100 })), "token");
        assert_eq!(text(&route(2).key("match"), Value::Null), "{ host: [a.test, ${HOST}] }");
        assert_eq!(
            text(&policy, Value::Null),
            "[{ headers: { request: { set: { Authorization: (hidden), x-by: lintel }, add: { x-api-key: (hidden) } } } }]"
                .chars()
                .take(LONGEST)
                .chain(['…'])
                .collect::<String>()
        );
        let pool = of(&["pools", "web"]);
        assert_eq!(text(&pool.key("queue"), serde_json::json!({ "size": 5, "x": null })), "{ size: 5 }");
        let env = pool.key("app").key("env");
        assert_eq!(text(&env.key("session_secret"), "hunter2".into()), HIDDEN);
        assert_eq!(loaded.meant(&env.key("API_KEY"), &"hunter2-token".into()), "${TOKEN}");
        assert_eq!(loaded.meant(&pool.key("app").key("command").place(1), &"x".into()), "node ${TOKEN}.js");
        assert_eq!(loaded.keys(&of(&["pools", "token"])), ["servers", "health_check"]);
        assert!(loaded.is_scalar(&route(0).key("to")) && !loaded.is_scalar(&pool));
    }

    #[test]
    fn text_that_could_be_taken_for_something_else_is_quoted() {
        for (text, expected) in [
            ("plain words", "plain words"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("", "\"\""),
            ("a, b", "\"a, b\""),
            (" a", "\" a\""),
            ("line\nand \"more\"", "\"line\\nand \\\"more\\\"\""),
            ("\u{1b}[31m", "\"\\u{1b}[31m\""),
            ("a: b", "\"a: b\""),
        ] {
            assert_eq!(plain(text), expected);
        }
    }

    #[test]
    fn passwords_in_urls_are_left_out() {
        for (text, expected) in [
            ("no url", "no url"),
            ("http://a.test/b:c@d", "http://a.test/b:c@d"),
            ("http://user@a.test", "http://user@a.test"),
            ("x redis://:p@a, redis://u:p@q@b/0 y", "x redis://:(hidden)@a, redis://u:(hidden)@b/0 y"),
            ("://", "://"),
        ] {
            assert_eq!(without_password(text), expected);
        }
    }
}
