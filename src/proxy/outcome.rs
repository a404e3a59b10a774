//! What an attempt's outcome says about its server: passive health, latency, and the metrics of both.
//!
//! It counts and tells; whether there is another attempt is `relay`'s decision.

use std::time::{Duration, Instant};

use super::attempt::{Failed, Kind};
use super::fault::Failure;
use crate::health::Outcome;
use crate::observe::Fault;
use crate::observe::metrics::{RetryReason, ServerFailure};
use crate::pool::Lease;
use crate::snapshot::Target;

/// A head that is a failure counts at once; one that is not has still to keep its promise.
pub fn observe_head(lease: &Lease, outcome: Outcome, latency: Duration, now: Instant) {
    let metrics = &lease.server().metrics;
    metrics.first_byte.observe(latency);
    if outcome.failure().is_some() {
        metrics.failures.add(ServerFailure::Status, 1);
        lease.observe(outcome, now);
    }
}

/// What the body came to, after a head that was no failure. A client that left says nothing about the server.
pub fn observe_body(lease: &Lease, status: u16, latency: Duration, failure: Option<&Failure>, now: Instant) {
    let answered = Outcome::Answered { status, latency };
    let (outcome, failure) = match failure.map(|failure| failure.fault) {
        Some(Fault::ServerBodyTimeout) => (Outcome::TimedOut, Some(ServerFailure::Timeout)),
        Some(Fault::ResponseTruncated) => (Outcome::Reset, Some(ServerFailure::Reset)),
        Some(Fault::BadResponse) => (Outcome::BadResponse, Some(ServerFailure::BadResponse)),
        _ if answered.failure().is_some() => return,
        _ => (answered, None),
    };
    if let Some(failure) = failure {
        lease.server().metrics.failures.add(failure, 1);
    }
    lease.observe(outcome, now);
}

pub fn observe_failure(lease: &Lease, failed: &Failed, now: Instant) {
    if failed.kind == Kind::Scarce {
        return;
    }
    let (outcome, failure) = match failed.failure.fault {
        Fault::ConnectFailed => (Outcome::ConnectFailed, ServerFailure::Connect),
        Fault::ConnectTimeout => (Outcome::ConnectFailed, ServerFailure::ConnectTimeout),
        Fault::ServerTlsFailed => (Outcome::ConnectFailed, ServerFailure::Tls),
        Fault::ResponseTimeout => (Outcome::TimedOut, ServerFailure::Timeout),
        Fault::ServerReset => (Outcome::Reset, ServerFailure::Reset),
        Fault::BadResponse => (Outcome::BadResponse, ServerFailure::BadResponse),
        _ => return,
    };
    lease.server().metrics.failures.add(failure, 1);
    // A kept connection that its server closed in the meantime is no failure of the server, nor is a request that it left out.
    if !(failed.kind == Kind::Unprocessed || failed.reused && failed.kind == Kind::Reset) {
        lease.observe(outcome, now);
    }
}

pub fn count_retry(target: &Target, reason: RetryReason) {
    target.plan.pool.metrics.retries.add(reason, 1);
}

pub fn status_reason(status: u16) -> RetryReason {
    match status {
        502 => RetryReason::Status502,
        503 => RetryReason::Status503,
        _ => RetryReason::Status504,
    }
}
