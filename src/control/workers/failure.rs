//! What is told of a rollout that failed.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;

use super::{OrderError, Output, words};
use crate::worker::rollout::Reason;

/// For the last lines of a process to be read after its end.
const LAST_READ: Duration = Duration::from_millis(100);
/// Last lines of a worker that failed a rollout.
const LAST_LINES: usize = 20;

/// Says why a rollout failed, with the last lines of the process that failed it.
pub async fn tell(
    output: Arc<Output>,
    slot: u16,
    reason: Reason,
    run: u64,
    waiter: Option<oneshot::Sender<Result<Value, OrderError>>>,
) {
    // An exit is known a moment before the last of what was written has been read.
    tokio::time::sleep(LAST_READ).await;
    let lines = output.last_of_run(run, LAST_LINES);
    let lines: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    let why = format!(
        "the new worker {slot} did not become ready: {}; the workers from before go on. Its last lines:\n{}",
        words::reason(reason),
        lines.join("\n")
    );
    tracing::error!(worker = slot, "the rollout failed and was taken back: {why}");
    waiter.map(|waiter| waiter.send(Err(OrderError::Failed(why))));
}
