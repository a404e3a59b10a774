//! What a user writes in a list under `policies.NAME`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{grpc_web, headers};

/// One filter of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Spec {
    /// Sets, adds and removes header fields.
    Headers(headers::Spec),
    /// Lets pages in browsers call gRPC servers (gRPC-Web).
    GrpcWeb(grpc_web::Spec),
}
