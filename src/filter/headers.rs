//! Sets, adds and removes header fields of requests and responses.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Edits of both directions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// Edits of the request before it goes to the server.
    pub request: EditSpec,
    /// Edits of the response before it goes to the client.
    pub response: EditSpec,
}

/// Edits of one head, in this order: remove, set, add.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EditSpec {
    /// Fields that must have exactly this value afterwards.
    pub set: BTreeMap<String, String>,
    /// Fields added beside those that are there.
    pub add: BTreeMap<String, String>,
    /// Fields removed.
    pub remove: Vec<String>,
}
