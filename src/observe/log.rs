//! The program log: what Lintel says about itself, on stderr, through `tracing` (and `log`, which pingora and rustls use).
//!
//! A stderr that nobody reads must not stop an engine thread: a line waits at most once for a moment, then lines are
//! dropped and counted until there is room again.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use super::events::Events;
use super::metrics::Counter;
use super::spec::{LogFormat, LogLevel, LogSpec};

/// What a pipe takes without blocking once it is writable (PIPE_BUF, pipe(7)).
const PIPE_PIECE: usize = 4096;
/// How long the first line waits for room; a healthy reader needs far less.
const GRACE: Duration = Duration::from_millis(20);

/// Why the program log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("stderr cannot be used")]
    Stderr(#[source] io::Error),
    #[error("another program log is already in place")]
    InPlace,
}

/// The program log that was started.
pub struct Started {
    /// Lines that were lost.
    pub lost: Arc<Counter>,
    /// Takes another level, unless `RUST_LOG` says one.
    pub set_level: Box<dyn Fn(LogLevel) + Send + Sync>,
    /// What happens, for whoever listens.
    pub events: Events,
}

/// Starts the program log for the whole process. `RUST_LOG` overrides the level, `NO_COLOR` the colours of a terminal.
pub fn start(spec: &LogSpec) -> Result<Started, StartError> {
    let (filter, remark) = choose_filter(spec.level, std::env::var_os("RUST_LOG"));
    let (patient, dropped) = stderr().map_err(StartError::Stderr)?;
    let colour =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (filter, handle) = reload::Layer::new(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(patient);
    let layer = match spec.format {
        LogFormat::Text => layer.compact().with_ansi(colour).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_ansi(false).boxed(),
    };
    // Takes the lines of the `log` crate too.
    let events = Events::default();
    let layers = vec![layer.with_filter(filter).boxed(), events.layer()];
    let started = tracing_subscriber::registry().with(layers).try_init();
    started.map_err(|_| StartError::InPlace)?;
    let set_level = Box::new(move |level| {
        let _ = handle.reload(choose_filter(level, std::env::var_os("RUST_LOG")).0);
    });
    if let Some(remark) = remark {
        tracing::warn!("{remark}");
    }
    Ok(Started { lost: dropped, set_level, events })
}

/// The filter for a level: Lintel's own lines from there on, and of the crates below it only what asks for attention.
fn filter_text(level: LogLevel) -> String {
    let level = match level {
        LogLevel::Error => return "error,pingora_core=off,hickory_proto=off".to_owned(),
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    // pingora logs an error for every client that breaks a handshake off, hickory a warning for every lost datagram,
    // rustls one for every strange alert: clients decide how many. The access log has them all.
    format!("warn,lintel={level},pingora_core=off,hickory_proto=error,hickory_resolver=error,rustls=error")
}

fn choose_filter(level: LogLevel, asked: Option<OsString>) -> (EnvFilter, Option<String>) {
    let usual = EnvFilter::new(filter_text(level));
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else { return (usual, None) };
    let asked = asked.to_string_lossy();
    match EnvFilter::builder().parse(&asked) {
        Ok(filter) => (filter, None),
        Err(error) => (usual, Some(format!("RUST_LOG `{asked}` is not used: {error}"))),
    }
}

fn stderr() -> io::Result<(Patient, Arc<Counter>)> {
    let file = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let patient = Patient::of_stream(file)?;
    let dropped = Arc::clone(&patient.dropped);
    Ok((patient, dropped))
}

/// A stream that is not waited for, except for a moment.
struct Patient {
    file: File,
    may_stall: bool,
    /// The last line found no room.
    stalled: AtomicBool,
    turn: Mutex<()>,
    dropped: Arc<Counter>,
}

impl Patient {
    fn of_stream(file: File) -> io::Result<Self> {
        let may_stall = !file.metadata()?.is_file();
        let (stalled, turn, dropped) = Default::default();
        Ok(Self { file, may_stall, stalled, turn, dropped })
    }

    fn write_line(&self, line: &[u8]) -> bool {
        let Some(_turn) = self.turn.try_lock_for(GRACE) else { return false };
        line.chunks(PIPE_PIECE).all(|piece| self.has_room() && (&self.file).write_all(piece).is_ok())
    }

    fn has_room(&self) -> bool {
        if !self.may_stall {
            return true;
        }
        let wait = if self.stalled.load(Ordering::Relaxed) { Duration::ZERO } else { GRACE };
        let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
        let room =
            poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&wait)).is_ok_and(|ready| ready > 0);
        self.stalled.store(!room, Ordering::Relaxed);
        room
    }
}

/// One line's way to the stream: `tracing` writes each line in one piece.
struct Line<'a>(&'a Patient);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !self.0.write_line(line) {
            self.0.dropped.add(1);
        }
        Ok(line.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Patient {
    type Writer = Line<'a>;
    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn every_level_gives_a_filter_without_remark() {
        for level in [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace] {
            let (filter, remark) = choose_filter(level, None);
            assert!(
                remark.is_none()
                    && filter_text(level).split(',').count() == filter.to_string().split(',').count()
            );
        }
    }

    #[test]
    fn rust_log_overrides_the_level_and_a_wrong_one_is_named() {
        assert_eq!(choose_filter(LogLevel::Info, Some("lintel=trace".into())).0.to_string(), "lintel=trace");
        let (filter, remark) = choose_filter(LogLevel::Info, Some("lintel=loud".into()));
        assert!(filter.to_string().contains("lintel=info"));
        assert!(remark.unwrap().starts_with("RUST_LOG `lintel=loud` is not used: "));
    }

    #[test]
    fn a_stream_that_nobody_reads_loses_lines_and_stops_nobody() {
        let (mut reader, writer) = io::pipe().unwrap();
        let patient = Patient::of_stream(File::from(std::os::fd::OwnedFd::from(writer))).unwrap();
        let line = [b'x'; 1000];
        while patient.dropped.count() == 0 {
            patient.make_writer().write_all(&line).unwrap();
        }
        patient.make_writer().write_all(&line).unwrap();
        assert_eq!(patient.dropped.count(), 2);
        let mut half = vec![0; 32 * 1024];
        reader.read_exact(&mut half).unwrap();
        patient.make_writer().write_all(&line).unwrap();
        assert_eq!(patient.dropped.count(), 2);
        drop(reader);
        patient.make_writer().write_all(&line).unwrap();
        assert_eq!(patient.dropped.count(), 3);
    }
}
