//! Schemas of what is made elsewhere as JSON, for the description: workers, plans and refusals.
//!
//! Nothing here is ever built; tests/admin holds the answers against it.
#![allow(dead_code, reason = "the fields are only described")]

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::view::Problem;

/// The program whose workers are the servers of a pool.
#[derive(JsonSchema)]
pub struct App {
    /// How many there are to be.
    instances: u32,
    rolling_out: bool,
    workers: Vec<Worker>,
}

/// One process of an app.
#[derive(JsonSchema)]
pub struct Worker {
    index: u32,
    /// Counts the rollouts.
    generation: u64,
    state: String,
    /// Null while there is no process.
    pid: Option<u32>,
    uptime_s: Option<f64>,
    restarts: u64,
    /// Bytes in RAM.
    memory: Option<u64>,
    /// Of one core.
    cpu: Option<f64>,
    /// How busy its event loop is, 0 to 1.
    elu: Option<f64>,
    lag_p99_ms: Option<f64>,
    /// How the process before ended.
    last_exit: Option<String>,
}

/// What an order to the workers of a pool has come to.
#[derive(JsonSchema)]
pub struct RolledOut {
    replaced: u32,
    instances: u32,
    seconds: f64,
}

/// What a reload would change.
#[derive(JsonSchema)]
pub struct Plan {
    /// In one line.
    summary: String,
    changes: Vec<Change>,
    /// Keys among them that only count after a restart.
    needs_restart: Vec<String>,
    warnings: Vec<String>,
}

/// Something that would come, go or become another.
#[derive(JsonSchema)]
pub struct Change {
    #[schemars(extend("enum" = ["added", "removed", "changed"]))]
    kind: String,
    /// The part of the config.
    section: String,
    /// As people call it.
    what: String,
    /// Where it stands in the file.
    key: String,
    keys: Vec<KeyChange>,
    /// What follows for those who are connected, and for workers.
    effects: Vec<String>,
    /// What becomes of the workers that run.
    workers: Option<String>,
}

/// One key that is another, or new, or gone.
#[derive(JsonSchema)]
pub struct KeyChange {
    key: String,
    name: String,
    old: Option<String>,
    new: Option<String>,
    /// All of it in one line.
    text: String,
}

/// Why something was not done.
#[derive(JsonSchema)]
pub struct Refusal {
    /// What is wrong, and what would be right.
    error: String,
}

/// A config with problems.
#[derive(JsonSchema)]
pub struct Refused {
    error: String,
    problems: Vec<Problem>,
}

/// Any map.
pub fn object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object" })
}

pub fn action(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["forward", "redirect", "respond"] })
}

pub fn server_order(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["added", "drained", "weighed"] })
}

pub fn server_state(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["up", "down", "unknown", "draining", "ejected"] })
}
