//! Files for what workers write: one per worker, put aside when it is full or old.
//!
//! A thread of its own writes, so that a slow disk holds nothing up. Lines that it cannot keep up with, or that the disk
//! does not take, are counted, and the file says how many are missing.

mod name;
mod pack;
mod rules;
mod shelf;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::output::{Limits, Line, Source};
use crate::clock;
use crate::worker::spec::LogsSpec;
use name::Name;
use rules::Rules;
use shelf::Shelf;

/// Lines that wait for the disk, and their bytes.
const WAITING: usize = 4096;
const WAITING_BYTES: usize = 4 * 1024 * 1024;
/// How soon a disk that refused is tried again: with lines, and with old files.
const TRY_AGAIN: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The files of an app.
#[derive(Debug)]
pub struct Files {
    inbox: SyncSender<Piece>,
    /// Bytes that wait.
    waiting: Arc<AtomicUsize>,
    lost: Arc<Lost>,
    limits: Limits,
}

#[derive(Debug)]
enum Piece {
    Line(Arc<Line>),
    /// Tells when all before it is written.
    Flush(oneshot::Sender<()>),
}

/// Lines of each worker that are in no file.
type Lost = Mutex<BTreeMap<u32, u64>>;

impl Files {
    /// Makes the folder, and begins to write.
    pub fn open(pool: &str, spec: &LogsSpec) -> io::Result<Self> {
        let shelf = Shelf::open(&spec.directory, pool, spec.rotate.clone().map(Rules)).map_err(|error| {
            let folder = spec.directory.display();
            io::Error::new(error.kind(), format!("cannot make the folder `{folder}` of `logs`: {error}"))
        })?;
        let (inbox, pieces) = sync_channel(WAITING);
        let (waiting, lost) = (Arc::new(AtomicUsize::new(0)), Arc::new(Lost::default()));
        let writer = Writer {
            shelf,
            waiting: Arc::clone(&waiting),
            lost: Arc::clone(&lost),
            refused: BTreeMap::new(),
            look_after: None,
        };
        std::thread::Builder::new().name("lintel-logs".to_owned()).spawn(move || writer.run(&pieces))?;
        let limits = Limits { lines: spec.lines_per_second, bytes: spec.bytes_per_second };
        Ok(Self { inbox, waiting, lost, limits })
    }

    /// How much a stream of a worker may write.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Writes a line, some time soon.
    pub fn write(&self, line: &Arc<Line>) {
        let bytes = line.text.len();
        let has_room = self.waiting.fetch_add(bytes, Ordering::Relaxed) < WAITING_BYTES;
        if !has_room || self.inbox.try_send(Piece::Line(Arc::clone(line))).is_err() {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            *self.lost.lock().entry(line.worker).or_default() += 1;
        }
    }

    /// Waits until everything so far is written, or lost.
    pub async fn flushed(&self) {
        let (done, written) = oneshot::channel();
        let mut piece = Piece::Flush(done);
        // A full inbox empties as fast as the disk allows.
        while let Err(std::sync::mpsc::TrySendError::Full(back)) = self.inbox.try_send(piece) {
            piece = back;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let _ = written.await;
    }
}

/// What the thread works with.
struct Writer {
    shelf: Shelf,
    waiting: Arc<AtomicUsize>,
    lost: Arc<Lost>,
    /// Workers whose file could not be written to, and when it is tried again.
    refused: BTreeMap<u32, Instant>,
    /// Old files could not be put in order: when it is tried again.
    look_after: Option<Instant>,
}

impl Writer {
    fn run(mut self, pieces: &Receiver<Piece>) {
        loop {
            self.look();
            let piece = match self.rest() {
                Some(rest) => pieces.recv_timeout(rest),
                None => pieces.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match piece {
                Ok(Piece::Line(line)) => {
                    self.waiting.fetch_sub(line.text.len(), Ordering::Relaxed);
                    self.write(&line);
                }
                Ok(Piece::Flush(done)) => _ = done.send(()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn rest(&self) -> Option<Duration> {
        match self.look_after {
            Some(after) => Some(after.saturating_duration_since(Instant::now())),
            None => self.shelf.rest(clock::since_epoch()),
        }
    }

    fn look(&mut self) {
        if self.look_after.is_some_and(|after| Instant::now() < after) {
            return;
        }
        let was_refused = self.look_after.take().is_some();
        if let Err(error) = self.shelf.look(clock::since_epoch()) {
            self.look_after = Some(Instant::now() + LOOK_AGAIN);
            if !was_refused {
                tracing::error!(%error, "old files of workers cannot be put in order; it is tried again each minute");
            }
        }
    }

    /// A full disk is told once, not for every line: the log may be on it too.
    fn write(&mut self, line: &Line) {
        let worker = line.worker;
        let is_refused = self.refused.get(&worker).is_some_and(|until| Instant::now() < *until);
        if is_refused {
            return self.lose(worker, 1);
        }
        let missing = self.lost.lock().remove(&worker).unwrap_or_default();
        let note = format!("{missing} lines are missing here: the disk was too slow, or refused them");
        let mut text = if missing > 0 { written(line.at, Source::Lintel, &note) } else { String::new() };
        text += &written(line.at, line.source, &line.text);
        match self.shelf.put(worker, &text, clock::since_epoch()) {
            Ok(()) if self.refused.remove(&worker).is_some() && self.refused.is_empty() => {
                tracing::info!("files take again what workers write");
            }
            Ok(()) => {}
            Err(error) => {
                if self.refused.is_empty() {
                    let file = self.shelf.path(Name::Current { worker });
                    tracing::error!(file = %file.display(), %error, "cannot write what workers write; it is tried again");
                }
                self.refused.insert(worker, Instant::now() + TRY_AGAIN);
                self.lose(worker, missing + 1);
            }
        }
    }

    fn lose(&self, worker: u32, lines: u64) {
        *self.lost.lock().entry(worker).or_default() += lines;
    }
}

/// A line as it stands in a file.
fn written(at: Duration, source: Source, text: &str) -> String {
    format!("{:.3} {} {text}\n", name::moment(at), source.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::spec::RotateSpec;

    fn line(worker: u32, text: &str) -> Arc<Line> {
        let at = Duration::from_millis(1_795_390_639_980);
        Arc::new(Line { worker, run: 1, source: Source::Stderr, at, text: text.into() })
    }

    fn spec(folder: &std::path::Path) -> LogsSpec {
        let directory = serde_json::json!({ "directory": folder.join("logs") });
        serde_json::from_value(directory).unwrap()
    }

    #[tokio::test]
    async fn lines_stand_in_the_file_of_their_worker_with_their_time() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open("api", &spec(folder.path())).unwrap();
        files.write(&line(0, "one"));
        files.write(&line(1, "other"));
        files.write(&line(0, "two"));
        files.flushed().await;
        let text = |name: &str| std::fs::read_to_string(folder.path().join("logs").join(name)).unwrap();
        assert_eq!(
            text("api-0.log"),
            "2026-11-22T23:37:19.980Z stderr one\n2026-11-22T23:37:19.980Z stderr two\n"
        );
        assert!(text("api-1.log").ends_with("Z stderr other\n"));
        assert_eq!(files.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("logs"), "").unwrap();
        let error = Files::open("api", &spec(folder.path())).unwrap_err().to_string();
        assert!(error.contains("/logs` of `logs`"), "{error}");
    }

    fn writer(folder: &std::path::Path) -> Writer {
        let shelf = Shelf::open(folder, "api", Some(Rules(RotateSpec::default()))).unwrap();
        let (waiting, lost) = Default::default();
        Writer { shelf, waiting, lost, refused: BTreeMap::new(), look_after: None }
    }

    #[test]
    fn a_file_that_refuses_lines_is_tried_again_and_says_how_many_are_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api-0.log");
        std::fs::create_dir(&path).unwrap();
        let mut writer = writer(folder.path());
        for text in ["a", "b", "c"] {
            writer.write(&line(0, text));
        }
        writer.write(&line(1, "another worker's"));
        assert!(folder.path().join("api-1.log").is_file());
        std::fs::remove_dir(&path).unwrap();
        writer.write(&line(0, "d"));
        assert!(!path.exists(), "not before it is time");
        writer.refused.insert(0, Instant::now());
        writer.write(&line(0, "e"));
        writer.write(&line(0, "f"));
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().map(|line| line.split_once("Z ").unwrap().1).collect();
        let note = "lintel 4 lines are missing here: the disk was too slow, or refused them";
        assert_eq!(lines, [note, "stderr e", "stderr f"]);
        assert!(writer.refused.is_empty());
    }

    #[test]
    fn lines_that_the_disk_cannot_keep_up_with_are_counted_and_not_kept() {
        // Nobody writes.
        let (inbox, pieces) = sync_channel(WAITING);
        let (waiting, lost) = <(Arc<AtomicUsize>, Arc<Lost>)>::default();
        let limits = Limits::default();
        let files = Files { inbox, waiting: Arc::clone(&waiting), lost: Arc::clone(&lost), limits };
        let long = line(0, &"x".repeat(16 * 1024));
        (0..1000).for_each(|_| files.write(&long));
        assert!(waiting.load(Ordering::Relaxed) <= WAITING_BYTES + 16 * 1024);
        assert_eq!(lost.lock()[&0], 1000 - WAITING_BYTES as u64 / (16 * 1024));
        drop(pieces);
    }

    #[test]
    fn old_files_that_cannot_be_put_in_order_do_not_hold_up_lines() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        std::fs::remove_dir(folder.path()).unwrap();
        writer.look();
        assert!(writer.rest().is_some_and(|rest| rest > LOOK_AGAIN / 2), "not again at once");
        writer.write(&line(0, "line"));
        assert!(folder.path().join("api-0.log").is_file());
        writer.look_after = Some(Instant::now());
        writer.look();
        assert_eq!(writer.rest(), None);
    }
}
