//! What process 1 owes to a container: to wait for everybody whose own parent has ended.
//!
//! Elsewhere an init does that, and nothing happens here. Whom workers leave behind is the keeper's child and not this
//! process's; what is left are the keeper's own children once it was killed, and what was started by `docker exec`.

use std::io;

use rustix::process::{WaitOptions, wait};
use tokio::signal::unix::{SignalKind, signal};

/// Waits for all children from now on, if this is process 1.
///
/// Nobody here needs to know how one ended: the keeper's end shows by its connection.
pub fn wait_for_all() -> io::Result<()> {
    if std::process::id() != 1 {
        return Ok(());
    }
    let mut ended = signal(SignalKind::child())?;
    tokio::spawn(async move {
        loop {
            // Several that end at once may come as one signal.
            while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
            if ended.recv().await.is_none() {
                return;
            }
        }
    });
    Ok(())
}
