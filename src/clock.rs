//! The two clocks: one that only goes forward for durations, one of the calendar for logs.
//!
//! Rules never read a clock themselves; they take `now` from the caller, who reads it once per step.

pub use std::time::Instant;

/// Time since 1970-01-01T00:00:00Z by the calendar clock; may jump.
pub fn since_epoch() -> std::time::Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
