//! The files of docker-compose.yml, of its Prometheus and Grafana, and of Kubernetes: that they fit each other and Lintel.
//!
//! Whether they work is tried by scripts/compose-test, which needs more than a library; the rest of this folder is its.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod board;
mod composition;
mod kubernetes;
mod metrics;

use std::path::Path;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn lintel(path: &str) -> lintel::config::File {
    match lintel::config::load(&root().join(path), &|_| None) {
        Ok(loaded) => loaded.file,
        Err(problems) => panic!("{path}:\n{problems}"),
    }
}
