//! Counts what has not been looked at once yet, so that the start can wait for it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// How many first results are missing.
#[derive(Clone, Debug)]
pub struct FirstRound(Arc<watch::Sender<usize>>);

/// One missing first result; dropped when it is there, or when nobody asks for it any more.
#[derive(Debug)]
pub struct Missing(Arc<watch::Sender<usize>>);

impl Default for FirstRound {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl FirstRound {
    pub fn expect_one(&self) -> Missing {
        self.0.send_modify(|count| *count += 1);
        Missing(Arc::clone(&self.0))
    }

    /// Waits until nothing is missing, at most `limit`; how much is missing still.
    pub fn done(&self, limit: Duration) -> impl Future<Output = usize> + Send + 'static {
        let mut count = self.0.subscribe();
        async move {
            let done = tokio::time::timeout(limit, count.wait_for(|missing| *missing == 0)).await.is_ok();
            if done { 0 } else { *count.borrow() }
        }
    }
}

impl Drop for Missing {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_round_is_done_with_the_last_result_or_at_the_limit() {
        let round = FirstRound::default();
        let limit = Duration::from_secs(10);
        assert_eq!(round.done(limit).await, 0);
        let (one, two) = (round.expect_one(), round.expect_one());
        let start = tokio::time::Instant::now();
        assert_eq!(round.done(limit).await, 2);
        assert_eq!(start.elapsed().as_secs(), 10);
        drop(one);
        let waiting = tokio::spawn(round.done(limit));
        tokio::task::yield_now().await;
        drop(two);
        assert_eq!(waiting.await.unwrap(), 0);
        assert_eq!(start.elapsed().as_secs(), 10);
    }
}
