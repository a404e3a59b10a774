//! Signals: which end the program, and which only ask something of it.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Mutex;

use crate::observe::AccessLog;

/// The signals that are listened to.
pub struct Signals(Mutex<Watched>);

struct Watched {
    terminate: Signal,
    interrupt: Signal,
    reopen: Signal,
    hang_up: Signal,
}

impl Signals {
    /// From here on these signals no longer end the process by themselves.
    pub fn watch() -> std::io::Result<Self> {
        Ok(Self(Mutex::new(Watched {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reopen: signal(SignalKind::user_defined1())?,
            hang_up: signal(SignalKind::hangup())?,
        })))
    }

    /// Serves signals until one asks for the end (SIGTERM, SIGINT).
    pub async fn until_end(&self, access_log: Option<&AccessLog>) {
        let mut watched = self.0.lock().await;
        let Watched { terminate, interrupt, reopen, hang_up } = &mut *watched;
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                _ = reopen.recv() => {
                    tracing::info!("reopening log files");
                    if let Some(log) = access_log {
                        log.reopen();
                    }
                }
                _ = hang_up.recv() => tracing::warn!("SIGHUP: this version reads its file only at the start"),
            }
        }
    }
}
