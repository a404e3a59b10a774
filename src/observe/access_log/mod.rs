//! The access log: one line per record, written off the request path.
//!
//! ```text
//! engine thread: write() -> its own batch (uncontended lock) ..wakes..> writer thread -> file, stdout or stderr
//! ```
//! A line is on its way within 50 ms. Pending lines are bounded; beyond that they are dropped, counted, and the program
//! log says so at most once a minute. Cookies and credentials are not in a `Record`, and so never in a line.

mod combined;
mod json;
mod sink;
mod spool;
mod stamp;
mod writer;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(test)]
pub use json::KEYS;
pub use spool::Counts;

use super::record::Record;
use super::spec::{AccessLogFormat, AccessLogSpec};
use spool::Spool;

/// An open access log. When the last reference drops, what is pending is still written.
pub struct AccessLog {
    format: AccessLogFormat,
    /// `None` when the log is off.
    spool: Option<Arc<Spool>>,
    counts: Arc<Counts>,
}

impl AccessLog {
    /// Opens the file (append, mode 0640) or standard stream and starts the writer thread; nothing of both when the
    /// log is off.
    pub fn open(spec: &AccessLogSpec) -> io::Result<Arc<Self>> {
        let sink = if spec.enabled { Some(sink::Sink::open(&spec.path)?) } else { None };
        Self::start(spec.format, sink, spool::PENDING_LIMIT)
    }

    fn start(
        format: AccessLogFormat,
        sink: Option<sink::Sink>,
        pending_limit: usize,
    ) -> io::Result<Arc<Self>> {
        let counts = Arc::new(Counts::default());
        let spool = match sink {
            Some(sink) => {
                let spool = Arc::new(Spool::new(Arc::clone(&counts), pending_limit));
                writer::start(Arc::clone(&spool), sink)?;
                Some(spool)
            }
            None => None,
        };
        Ok(Arc::new(Self { format, spool, counts }))
    }

    /// Adds a line. Never waits: a line that has no room is dropped and counted.
    pub fn write(&self, record: &Record<'_>) {
        let Some(spool) = &self.spool else { return };
        let format = match self.format {
            AccessLogFormat::Json => json::write,
            AccessLogFormat::Combined => combined::write,
        };
        spool.append(|line, stamp| format(line, stamp, record));
    }

    /// Opens the file anew once all lines so far are in the old one: for SIGUSR1 after a rename. When that fails the
    /// old file stays in use and the program log says why.
    pub fn reopen(&self) {
        if let Some(spool) = &self.spool {
            spool.order(|orders| orders.reopen = true);
        }
    }

    /// Waits until every line so far is written and every `reopen` so far is done, at most for `limit`; whether it was.
    pub fn flush(&self, limit: Duration) -> bool {
        self.spool.as_ref().is_none_or(|spool| spool.flush(Instant::now() + limit))
    }

    /// Takes no further lines and waits until all are written, at most for `limit`; whether they were. Blocks.
    pub fn flush_and_close(&self, limit: Duration) -> bool {
        self.spool.as_ref().is_none_or(|spool| spool.close(Instant::now() + limit))
    }

    /// How many lines were written and dropped.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        if let Some(spool) = &self.spool {
            spool.abandon(Instant::now() + Duration::from_secs(5));
        }
    }
}

#[cfg(test)]
mod tests;
