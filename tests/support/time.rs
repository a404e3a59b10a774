//! Waiting: for something to become true, for something to end, or as long as a slow server takes.
//!
//! The only place of the tests that knows time. Deadlines are long, since they end only tests that fail.

use std::time::Duration;

/// How long anything may take on a machine that is busy with other things.
pub const DEADLINE: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(10);

/// Asks until there is an answer; fails with `what` at the deadline.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let mut ticks = tokio::time::interval(POLL);
    let polling = async {
        loop {
            ticks.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    match tokio::time::timeout(DEADLINE, polling).await {
        Ok(answer) => answer,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}

/// Awaits; fails with `what` at the deadline.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(answer) => answer,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}

/// True when `future` is still unfinished after `span`: for what must not happen.
pub async fn stays_silent(span: Duration, future: impl Future) -> bool {
    tokio::time::timeout(span, future).await.is_err()
}

/// The time that a slow server or a slow client takes. Not for tests to wait with.
pub async fn takes(span: Duration) {
    tokio::time::sleep(span).await;
}
