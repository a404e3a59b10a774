//! Prometheus metrics: every handle is resolved when a snapshot is built, never while serving.

/// Handles of one server.
#[derive(Clone, Debug, Default)]
pub struct ServerMetrics {}
