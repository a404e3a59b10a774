//! What must be written down: config keys, example configs, dependencies; and links that lead somewhere.

use std::collections::BTreeSet;

use serde_json::Value;

use super::tree::{File, Problem, Tree};

/// All keys that a user can write, from the JSON Schema of the file.
pub fn schema_keys(schema: &Value) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    collect_keys(schema, &mut keys);
    keys
}

fn collect_keys(schema: &Value, keys: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Object(properties)) = fields.get("properties") {
                keys.extend(properties.keys().cloned());
                properties.values().for_each(|property| collect_keys(property, keys));
            }
            let others = fields.iter().filter(|(name, _)| *name != "properties");
            others.for_each(|(_, value)| collect_keys(value, keys));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_keys(item, keys)),
        _ => {}
    }
}

/// Every config key stands in docs/reference.md as code.
pub fn reference(tree: &Tree, keys: &BTreeSet<String>) -> Vec<Problem> {
    let Some(file) = tree.file("docs/reference.md") else {
        let message = "the reference of the config is missing".to_owned();
        return vec![Problem { path: "docs/reference.md".into(), line: 1, message }];
    };
    let written = code_words(&file.text);
    let missing = keys.iter().filter(|key| !written.contains(key.as_str()));
    missing.map(|key| file.problem(1, format!("the config key `{key}` is missing"))).collect()
}

/// Words inside code spans and code blocks.
fn code_words(text: &str) -> BTreeSet<&str> {
    let mut words = BTreeSet::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
            continue;
        }
        let spans: Vec<&str> =
            if in_block { vec![line] } else { line.split('`').skip(1).step_by(2).collect() };
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        words.extend(spans.into_iter().flat_map(|span| span.split(move |c| !is_word(c))));
    }
    words
}

/// Every file in conf/ is named in README.md or in docs/.
pub fn example_configs(tree: &Tree) -> Vec<Problem> {
    let is_page = |file: &&File| {
        file.path == "README.md" || (file.path.starts_with("docs/") && file.path.ends_with(".md"))
    };
    let pages: Vec<&File> = tree.files.iter().filter(is_page).collect();
    let examples = tree.files.iter().filter(|file| file.path.starts_with("conf/"));
    let unknown = examples.filter(|file| !pages.iter().any(|page| page.text.contains(&file.path)));
    unknown.map(|file| file.problem(1, "neither README.md nor docs/ mention this file by its path")).collect()
}

/// Every dependency stands in docs/dependencies.md, with the reason it is there.
pub fn dependencies(tree: &Tree) -> Vec<Problem> {
    let Some(manifest) = tree.file("Cargo.toml") else { return Vec::new() };
    let written = tree.file("docs/dependencies.md").map(|file| code_words(&file.text)).unwrap_or_default();
    let mut problems = Vec::new();
    for (line, name) in dependency_names(manifest) {
        if !written.contains(name.as_str()) {
            problems.push(manifest.problem(line, format!("`{name}` is missing in docs/dependencies.md")));
        }
    }
    problems
}

fn dependency_names(manifest: &File) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    let mut in_table = false;
    for (line, text) in manifest.lines() {
        let text = text.trim();
        if let Some(header) = text.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            let (table, name) =
                header.rsplit_once("dependencies.").map_or((header, None), |(_, n)| (header, Some(n)));
            in_table = name.is_none() && table.ends_with("dependencies");
            names.extend(name.map(|name| (line, name.to_owned())));
        } else if in_table
            && let Some((name, _)) = text.split_once(['=', '.', ' '])
            && !name.starts_with('#')
            && !name.is_empty()
        {
            names.push((line, name.to_owned()));
        }
    }
    names
}

/// Relative links in pages lead to files of the tree, and their anchors to headings.
pub fn links(tree: &Tree) -> Vec<Problem> {
    let pattern = regex::Regex::new(r#"\]\(<?([^)\s>]+)>?(?:\s+"[^"]*")?\)"#).unwrap();
    let mut problems = Vec::new();
    for file in tree.files.iter().filter(|file| file.path.ends_with(".md")) {
        let mut in_block = false;
        for (line, text) in file.lines() {
            in_block ^= text.trim_start().starts_with("```");
            if in_block {
                continue;
            }
            for found in pattern.captures_iter(text) {
                if let Some(message) = broken_link(tree, file, &found[1]) {
                    problems.push(file.problem(line, message));
                }
            }
        }
    }
    problems
}

fn broken_link(tree: &Tree, from: &File, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let target = if path.is_empty() { from.path.clone() } else { resolve(&from.path, path) };
    if !tree.has(&target) {
        return Some(format!("the link `{link}` leads nowhere"));
    }
    let page = tree.file(&target).filter(|file| file.path.ends_with(".md"))?;
    let is_missing =
        |anchor: &&str| !page.text.lines().any(|line| heading_anchor(line).as_deref() == Some(*anchor));
    anchor.filter(is_missing).map(|_| format!("the link `{link}` leads to a page without that heading"))
}

/// The path that a link means, seen from the page it is on.
fn resolve(page: &str, link: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchor that forges give a heading: lower case, dashes for spaces, punctuation gone.
fn heading_anchor(line: &str) -> Option<String> {
    let title = line.strip_prefix('#')?.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    Some(kept.map(|c| if c == ' ' { '-' } else { c }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn keys_are_found_at_every_depth_of_a_schema() {
        let schema = serde_json::json!({
            "properties": { "a": { "$ref": "#/$defs/B" }, "properties": { "type": "string" } },
            "$defs": { "B": { "anyOf": [{ "properties": { "c": {} } }, { "type": "null" }] } }
        });
        assert_eq!(schema_keys(&schema), keys(&["a", "c", "properties"]));
    }

    #[test]
    fn a_key_that_the_reference_does_not_name_as_code_is_caught() {
        let tree = Tree::of(&[(
            "docs/reference.md",
            "The `listeners.*.address` and head.\n```yaml\nlimits: {}\n```\n",
        )]);
        assert!(reference(&tree, &keys(&["address", "listeners", "limits"])).is_empty());
        assert_eq!(reference(&tree, &keys(&["head"])).len(), 1);
        assert_eq!(reference(&Tree::of(&[]), &keys(&["a"])).len(), 1);
    }

    #[test]
    fn an_example_that_no_page_mentions_is_caught() {
        let tree =
            Tree::of(&[("conf/a.yaml", ""), ("conf/b.yaml", ""), ("docs/start.md", "see `conf/a.yaml`")]);
        let problems = example_configs(&tree);
        assert_eq!(problems.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(), ["conf/b.yaml"]);
    }

    #[test]
    fn a_dependency_that_is_not_written_down_is_caught() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\na = \"1\"\n# b\nc = { version = \"1\" }\n\
                        [dev-dependencies.d]\nversion = \"1\"\n[target.'cfg(unix)'.dependencies]\ne.version = \"1\"\n";
        let tree =
            Tree::of(&[("Cargo.toml", manifest), ("docs/dependencies.md", "| `a` | why |\n| `c-like` | |")]);
        let found: Vec<usize> = dependencies(&tree).iter().map(|problem| problem.line).collect();
        assert_eq!(found, [6, 7, 10]);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_caught() {
        let page = "[a](../README.md) [b](tls.md#the-keys) [c](#here-now) [d](https://x.test/) [e](./)\n## Here, now\n";
        let files = [("docs/a.md", page), ("README.md", ""), ("docs/tls.md", "# TLS\n### The keys\n")];
        assert_eq!(links(&Tree::of(&files)), []);
        for link in ["gone.md", "../gone.md", "tls.md#gone", "#gone", "../docs/gone/"] {
            let page = format!("see [it]({link})\n");
            let files = [("docs/a.md", page.as_str()), ("docs/tls.md", "# TLS\n")];
            assert_eq!(links(&Tree::of(&files)).len(), 1, "{link}");
        }
    }
}
