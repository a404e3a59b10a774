//! A deadline that can be moved on every request for next to nothing.
//!
//! Most deadlines are moved before they pass. So the timer below is left where it is when the deadline
//! moves later, and looks again when it fires; only a move to an earlier moment touches the timer wheel.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A moment that can be waited for and moved.
#[derive(Debug, Default)]
pub struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whom the timer wakes.
    registered: Option<Waker>,
}

impl Deadline {
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves it to `length` from now.
    pub fn after(&mut self, length: Duration) {
        self.at = Some(Instant::now() + length);
    }

    /// Moves it to `at`.
    pub fn set(&mut self, at: Instant) {
        self.at = Some(at);
    }

    /// Never passes until it is set again.
    pub fn clear(&mut self) {
        self.at = None;
    }

    pub fn is_set(&self) -> bool {
        self.at.is_some()
    }

    /// Ready once it has passed; pending for ever while it is not set.
    pub fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        self.registered = None;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= at {
                self.at = None;
                return Poll::Ready(());
            }
            timer.as_mut().reset(at);
        }
        Poll::Pending
    }

    /// The same where the time of this wake-up is known: not a moment before the timer last fired.
    pub fn poll_passed_by(&mut self, cx: &mut Context<'_>, now: std::time::Instant) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let is_ahead = |moment: Instant| moment.into_std() > now;
        let is_registered = || self.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        match &self.timer {
            Some(timer) if timer.deadline() <= at && is_ahead(timer.deadline()) && is_registered() => {
                Poll::Pending
            }
            _ => {
                let polled = self.poll_passed(cx);
                // A timer that finds the task's budget used up has the task woken at once, and wakes nobody later.
                let is_registered = polled.is_pending() && tokio::task::coop::has_budget_remaining();
                self.registered = is_registered.then(|| cx.waker().clone());
                polled
            }
        }
    }

    /// Waits until it has passed.
    pub async fn passed(&mut self) {
        std::future::poll_fn(|cx| self.poll_passed(cx)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_passes_when_last_set_to() {
        let start = Instant::now();
        let mut deadline = Deadline::new();
        deadline.after(Duration::from_secs(1));
        assert!(tokio::time::timeout(Duration::from_millis(900), deadline.passed()).await.is_err());
        deadline.after(Duration::from_secs(5));
        deadline.passed().await;
        assert_eq!(start.elapsed().as_millis() / 10, 590);
        deadline.after(Duration::from_secs(5));
        deadline.after(Duration::from_secs(1));
        deadline.passed().await;
        assert_eq!(start.elapsed().as_millis() / 10, 690);
    }

    /// The timer is never registered where the task has used up its budget, but has it woken at once.
    #[tokio::test(start_paused = true)]
    async fn a_deadline_passes_that_was_set_when_the_task_had_used_its_turn() {
        use std::future::{Future, poll_fn};
        use std::pin::pin;
        use tokio::task::coop::{consume_budget, has_budget_remaining};

        let mut deadline = Deadline::new();
        let mut turns = 0;
        let passing = poll_fn(move |cx| {
            turns += 1;
            let now = Instant::now().into_std();
            if turns == 1 {
                while has_budget_remaining() {
                    assert!(pin!(consume_budget()).poll(cx).is_ready());
                }
                deadline.after(Duration::from_secs(3600));
            }
            deadline.poll_passed_by(cx, now)
        });
        let start = Instant::now();
        // A task of its own, which has the same waker each time.
        let task = tokio::spawn(tokio::time::timeout(Duration::from_secs(4000), passing));
        assert!(task.await.unwrap().is_ok(), "it passes");
        assert_eq!(start.elapsed().as_secs(), 3600, "the timer has woken the task, not its neighbour");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cleared_deadline_never_passes() {
        let mut deadline = Deadline::new();
        deadline.after(Duration::from_secs(1));
        deadline.clear();
        assert!(tokio::time::timeout(Duration::from_secs(100), deadline.passed()).await.is_err());
    }
}
