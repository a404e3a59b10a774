//! The rules of the house as a test: reads the whole tree once and reports every problem together, with file and line.
//!
//! Each rule is a pure function over a `Tree`, and proves on a tiny bad example beside it that it catches what it is for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "tidy/docs.rs"]
mod docs;
#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/security.rs"]
mod security;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/tree.rs"]
mod tree;
#[path = "tidy/words.rs"]
mod words;

use tree::{Problem, Tree};

#[test]
fn the_tree_keeps_the_rules_of_the_house() {
    let tree = Tree::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(tree.file("src/lib.rs").is_some(), "the tree was not read");
    let keys = docs::schema_keys(&schemars::schema_for!(lintel::config::File).to_value());
    assert!(keys.len() > 30, "the schema was not read");

    let mut problems = Vec::new();
    for rule in [floors::imports, floors::cycles, floors::fences] {
        problems.extend(rule(&tree));
    }
    for rule in [
        shape::parses,
        shape::lengths,
        shape::module_docs,
        shape::ignored_tests,
        shape::owned_todos,
        shape::sleeps,
        shape::fixed_ports,
        shape::calendar,
    ] {
        problems.extend(rule(&tree));
    }
    for rule in [words::banned, words::verbs] {
        problems.extend(rule(&tree));
    }
    problems.extend(docs::reference(&tree, &keys));
    for rule in [docs::example_configs, docs::dependencies, docs::links, security::tests] {
        problems.extend(rule(&tree));
    }

    problems.sort();
    let report: Vec<String> = problems.iter().map(Problem::to_string).collect();
    assert!(report.is_empty(), "{} problems:\n{}", report.len(), report.join("\n"));
}
