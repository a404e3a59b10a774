//! The writer thread: takes the batches of all threads, writes them, opens the file anew, and complains now and then.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::sink::Sink;
use super::spool::{Counts, Round, Spool};

/// Dropped lines are reported in the program log at most this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Starts the thread; it ends when the spool is closed or abandoned.
pub fn start(spool: Arc<Spool>, mut sink: Sink) -> io::Result<()> {
    let of_thread = Arc::clone(&spool);
    let writer =
        thread::Builder::new().name("access-log".to_owned()).spawn(move || run(&of_thread, &mut sink))?;
    spool.employ(writer.thread().clone());
    Ok(())
}

fn run(spool: &Spool, sink: &mut Sink) {
    let mut spare = Vec::new();
    let mut complaint = Complaint::default();
    loop {
        spool.wait();
        let (orders, flushes) = spool.take_orders();
        spool.drain(&mut spare, |lines| {
            let keep_on = || {
                complaint.make(&spool.counts, None);
                spool.close_by().is_none_or(|deadline| Instant::now() < deadline)
            };
            let (lost, error) = sink.write(lines, keep_on);
            let all = memchr::memchr_iter(b'\n', lines).count() as u64;
            spool.counts.written.add(all.saturating_sub(lost));
            spool.counts.dropped.add(lost);
            complaint.make(&spool.counts, error);
        });
        complaint.make(&spool.counts, None);
        if orders.reopen
            && let Err(error) = sink.reopen()
        {
            tracing::warn!(%error, "the access log could not be opened anew; the old file stays in use");
        }
        let round = if orders.close_by.is_some() { Round::Last } else { Round::Another };
        spool.round_done(flushes, round);
        if round == Round::Last {
            return;
        }
    }
}

/// What the program log was told about dropped lines.
#[derive(Default)]
struct Complaint {
    last: Option<Instant>,
    told: u64,
    error: Option<io::Error>,
}

impl Complaint {
    fn make(&mut self, counts: &Counts, error: Option<io::Error>) {
        self.error = error.or(self.error.take());
        let dropped = counts.dropped.count();
        if dropped == self.told || self.last.is_some_and(|last| last.elapsed() < COMPLAIN_EVERY) {
            return;
        }
        let lines = dropped - self.told;
        match self.error.take() {
            Some(error) => tracing::warn!(lines, %error, "access log lines were lost"),
            None => tracing::warn!(
                lines,
                "access log lines were lost: they came faster than they could be written"
            ),
        }
        (self.told, self.last) = (dropped, Some(Instant::now()));
    }
}
