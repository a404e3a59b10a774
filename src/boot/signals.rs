//! Signals: which end the program, and which only ask something of it.

use std::future::poll_fn;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that are listened to. Shared, so that something else can be waited for at the same time.
pub struct Signals(Mutex<[(Signal, Asked); 5]>);

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM, SIGINT.
    End,
    /// SIGUSR1: open log files anew.
    Reopen,
    /// SIGHUP: read the config again.
    Reload,
    /// SIGUSR2: have the program's file, as it is now, take over.
    Upgrade,
}

impl Signals {
    /// From here on these signals no longer end the process by themselves.
    pub fn watch() -> std::io::Result<Self> {
        let watch = |kind, asked| -> std::io::Result<_> { Ok((signal(kind)?, asked)) };
        Ok(Self(Mutex::new([
            watch(SignalKind::terminate(), Asked::End)?,
            watch(SignalKind::interrupt(), Asked::End)?,
            watch(SignalKind::user_defined1(), Asked::Reopen)?,
            watch(SignalKind::hangup(), Asked::Reload)?,
            watch(SignalKind::user_defined2(), Asked::Upgrade)?,
        ])))
    }

    pub async fn next(&self) -> Asked {
        poll_fn(|polled| self.poll(polled)).await
    }

    fn poll(&self, polled: &mut Context<'_>) -> Poll<Asked> {
        for (signal, asked) in &mut *self.0.lock() {
            if signal.poll_recv(polled).is_ready() {
                return Poll::Ready(*asked);
            }
        }
        Poll::Pending
    }
}
