//! Files for what workers write: one per worker, put aside when it is full, the oldest thrown away.
//!
//! A thread of its own writes, so that a slow disk holds nothing up; lines that it cannot keep up with are lost and
//! counted.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::output::Line;
use crate::clock;
use crate::worker::spec::LogsSpec;

/// For a disk to take the last lines.
const LAST_LINES: Duration = Duration::from_secs(2);
/// Lines that wait for the disk.
const WAITING: usize = 4096;

/// The files of an app.
#[derive(Debug)]
pub struct Files {
    /// `None` once they are finished.
    lines: Mutex<Option<SyncSender<Line>>>,
    lost: Arc<AtomicU64>,
    /// Closed when the last line is written.
    written: watch::Receiver<()>,
}

impl Files {
    /// Makes the folder, and begins to write. The files are `POOL-INDEX.log`, older ones `POOL-INDEX.log.1` and so on.
    pub fn open(pool: &str, spec: &LogsSpec) -> io::Result<Self> {
        std::fs::create_dir_all(&spec.directory)?;
        let (lines, received) = sync_channel(WAITING);
        let shelf = Shelf {
            base: spec.directory.join(pool),
            size: spec.rotate.size.count(),
            keep: spec.rotate.keep,
            open: HashMap::new(),
        };
        let lost = Arc::new(AtomicU64::new(0));
        let lost_lines = Arc::clone(&lost);
        let (until, written) = watch::channel(());
        std::thread::Builder::new().name("lintel-logs".to_owned()).spawn(move || {
            shelf.fill(&received, &lost_lines);
            drop(until);
        })?;
        Ok(Self { lines: Mutex::new(Some(lines)), lost, written })
    }

    /// Writes a line, some time soon.
    pub fn write(&self, line: &Line) {
        let lines = self.lines.lock();
        if lines.as_ref().is_none_or(|lines| lines.try_send(line.clone()).is_err()) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes nothing more than what waits for the disk, and waits for that.
    pub async fn finish(&self) {
        drop(self.lines.lock().take());
        let mut written = self.written.clone();
        let writing = async { while written.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(LAST_LINES, writing).await;
    }
}

/// Where the files stand.
struct Shelf {
    base: PathBuf,
    size: u64,
    keep: u16,
    open: HashMap<u32, Open>,
}

struct Open {
    file: File,
    written: u64,
}

impl Shelf {
    fn fill(mut self, lines: &Receiver<Line>, lost: &AtomicU64) {
        let mut complained = false;
        while let Ok(line) = lines.recv() {
            let missing = lost.swap(0, Ordering::Relaxed);
            let note =
                (missing > 0).then(|| format!("... {missing} lines were lost: the disk is too slow\n"));
            let written =
                note.into_iter().chain([text(&line)]).try_for_each(|text| self.put(line.worker, &text));
            match written {
                Ok(()) => complained = false,
                // Once, until it works again: a full disk would fill the log too.
                Err(error) if !complained => {
                    complained = true;
                    let file = self.path(line.worker);
                    tracing::error!(file = %file.display(), %error, "cannot write what workers write");
                }
                Err(_) => {}
            }
        }
    }

    fn put(&mut self, worker: u32, text: &str) -> io::Result<()> {
        let length = text.len() as u64;
        let is_full = |open: &Open| open.written > 0 && open.written + length > self.size;
        if self.open.get(&worker).is_some_and(is_full) {
            self.open.remove(&worker);
            self.put_aside(worker)?;
        }
        let path = self.path(worker);
        let open = match self.open.entry(worker) {
            std::collections::hash_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => place.insert(Open::at(&path)?),
        };
        open.file.write_all(text.as_bytes())?;
        open.written += length;
        Ok(())
    }

    /// Every file gets the next number; the last one goes.
    fn put_aside(&self, worker: u32) -> io::Result<()> {
        let path = self.path(worker);
        if self.keep == 0 {
            return std::fs::remove_file(&path);
        }
        for number in (1..self.keep).rev() {
            match std::fs::rename(numbered(&path, number), numbered(&path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&path, numbered(&path, 1))
    }

    fn path(&self, worker: u32) -> PathBuf {
        let mut name = self.base.clone().into_os_string();
        name.push(format!("-{worker}.log"));
        name.into()
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let written = file.metadata()?.len();
        Ok(Self { file, written })
    }
}

fn numbered(path: &Path, number: u16) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn text(line: &Line) -> String {
    let now = clock::since_epoch();
    let time = jiff::Timestamp::from_millisecond(i64::try_from(now.as_millis()).unwrap_or_default());
    let time = time.map(|time| time.to_string()).unwrap_or_default();
    format!("{time} {} {}\n", line.source.as_str(), line.text)
}

#[cfg(test)]
mod tests {
    use super::super::output::Source;
    use super::*;

    fn shelf(folder: &Path, keep: u16) -> Shelf {
        Shelf { base: folder.join("api"), size: 100, keep, open: HashMap::new() }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut shelf = shelf(folder.path(), 2);
        for number in 0..12 {
            shelf.put(0, &format!("{number:02} {}\n", "x".repeat(40))).unwrap();
        }
        shelf.put(3, "other\n").unwrap();
        assert_eq!(names(folder.path()), ["api-0.log", "api-0.log.1", "api-0.log.2", "api-3.log"]);
        let last = std::fs::read_to_string(folder.path().join("api-0.log")).unwrap();
        assert!(last.contains("11 ") && last.len() <= 100, "{last}");
        let oldest = std::fs::read_to_string(folder.path().join("api-0.log.2")).unwrap();
        assert!(oldest.starts_with("06 "), "{oldest}");
    }

    #[test]
    fn a_file_that_is_there_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        shelf(folder.path(), 0).put(0, "one\n").unwrap();
        shelf(folder.path(), 0).put(0, "two\n").unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("api-0.log")).unwrap(), "one\ntwo\n");
        let line = Line { worker: 0, run: 1, source: Source::Stderr, text: "hello".into() };
        assert!(text(&line).ends_with("Z stderr hello\n"), "{}", text(&line));
    }
}
