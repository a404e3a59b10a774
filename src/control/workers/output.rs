//! What workers write to stdout and stderr: line by line into Lintel's log, and the last lines kept to be shown.
//!
//! Reading never stops, since a worker whose pipe is full stands still (Node writes to pipes synchronously). One that
//! floods loses lines, and the log says how many.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use super::files::Files;

/// Bytes of one line; the rest of a longer one becomes the next.
const LONGEST_LINE: usize = 16 * 1024;
/// Lines kept of each worker.
const KEPT: usize = 200;
/// Lines a second, and as many at once as come in this many seconds.
const LINES_PER_SECOND: u32 = 1000;
const BURST: u32 = 5;
/// Lines that wait for each follower; a slower one misses some.
const FOLLOWED: usize = 1024;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    Stdout,
    Stderr,
}

impl Rest {
    /// Nothing was read yet.
    pub fn none(run: u64, source: Source) -> Self {
        Self { run, source, text: Vec::new() }
    }
}

impl Source {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One line of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub worker: u32,
    /// Which of the worker's processes wrote it.
    pub run: u64,
    pub source: Source,
    pub text: String,
}

/// The beginning of a line that was not at its end when its pipe was left to another reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    pub run: u64,
    pub source: Source,
    pub text: Vec<u8>,
}

/// The lines of all workers of an app.
#[derive(Debug)]
pub struct Output {
    pool: Arc<str>,
    /// Where lines go instead of Lintel's log.
    files: Mutex<Option<Arc<Files>>>,
    kept: Mutex<VecDeque<Line>>,
    followers: broadcast::Sender<Line>,
    /// One for each pipe that is read.
    readers: Mutex<JoinSet<Option<Rest>>>,
    /// Stops when another process is to read on.
    reading: watch::Sender<Reading>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Goes,
    Stops,
}

impl Output {
    /// `files`: where lines go; without, Lintel's log.
    pub fn new(pool: Arc<str>, files: Option<Files>) -> Arc<Self> {
        let (followers, _) = broadcast::channel(FOLLOWED);
        let reading = watch::Sender::new(Reading::Goes);
        let readers = Mutex::new(JoinSet::new());
        let files = Mutex::new(files.map(Arc::new));
        Arc::new(Self { pool, files, kept: Mutex::default(), followers, readers, reading })
    }

    /// Reads a pipe of a worker's process to its end. `begun` is what another reader had of its first line.
    pub fn read(self: &Arc<Self>, worker: u32, begun: Rest, end: OwnedFd) {
        let output = Arc::clone(self);
        let pipe = match pipe::Receiver::from_owned_fd(end) {
            Ok(pipe) => pipe,
            Err(error) => {
                tracing::error!(pool = &*self.pool, worker, %error, "cannot read a worker's output");
                return;
            }
        };
        let mut readers = self.readers.lock();
        while readers.try_join_next().is_some() {}
        readers.spawn(async move { output.pump(worker, begun, pipe).await });
    }

    /// Reads no more, and has everything in its place that was read: another process reads on. Gives what is only the
    /// beginning of a line.
    pub async fn leave(&self) -> Vec<Rest> {
        self.reading.send_replace(Reading::Stops);
        let readers = std::mem::take(&mut *self.readers.lock());
        let rests = readers.join_all().await.into_iter().flatten().collect();
        let files = self.files.lock().clone();
        if let Some(files) = files {
            files.finish().await;
        }
        rests
    }

    /// Lines go there from now on; without, to Lintel's log.
    pub fn keep_in(&self, files: Option<Files>) {
        *self.files.lock() = files.map(Arc::new);
    }

    /// The last lines of a worker, the oldest first.
    pub fn last(&self, worker: Option<u32>, most: usize) -> Vec<Line> {
        let kept = self.kept.lock();
        let fits = |line: &&Line| worker.is_none_or(|worker| line.worker == worker);
        let mut lines: Vec<Line> = kept.iter().rev().filter(fits).take(most).cloned().collect();
        lines.reverse();
        lines
    }

    /// The last lines of one process, the oldest first.
    pub fn last_of_run(&self, run: u64, most: usize) -> Vec<Line> {
        let kept = self.kept.lock();
        let mut lines: Vec<Line> =
            kept.iter().rev().filter(|line| line.run == run).take(most).cloned().collect();
        lines.reverse();
        lines
    }

    /// The lines to come.
    pub fn follow(&self) -> broadcast::Receiver<Line> {
        self.followers.subscribe()
    }

    /// Gives the last line where it was left to another reader before its end.
    async fn pump(&self, worker: u32, begun: Rest, mut pipe: impl AsyncRead + Unpin) -> Option<Rest> {
        let Rest { run, source, text: mut line } = begun;
        let mut reading = self.reading.subscribe();
        let mut allowance = Allowance::new(Instant::now());
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = tokio::select! {
                biased;
                _ = reading.wait_for(|reading| *reading == Reading::Stops) => {
                    return (!line.is_empty()).then_some(Rest { run, source, text: line });
                }
                read = pipe.read(&mut buffer) => read,
            };
            let Ok(count @ 1..) = read else { break };
            for byte in &buffer[..count] {
                if *byte != b'\n' {
                    line.push(*byte);
                }
                if *byte == b'\n' || line.len() >= LONGEST_LINE {
                    self.take(worker, run, source, &line, &mut allowance);
                    line.clear();
                }
            }
        }
        if !line.is_empty() {
            self.take(worker, run, source, &line, &mut allowance);
        }
        self.tell_lost(worker, allowance.lost());
        None
    }

    fn take(&self, worker: u32, run: u64, source: Source, line: &[u8], allowance: &mut Allowance) {
        if !allowance.spend(Instant::now()) {
            return;
        }
        self.tell_lost(worker, allowance.lost());
        let line = Line { worker, run, source, text: String::from_utf8_lossy(line).trim_end().to_owned() };
        let files = self.files.lock().clone();
        match files {
            Some(files) => files.write(&line),
            None => {
                let from = source.as_str();
                tracing::info!(target: "lintel::worker", pool = &*self.pool, worker, from, "{}", line.text);
            }
        }
        let mut kept = self.kept.lock();
        if kept.len() >= KEPT * 8 {
            kept.pop_front();
        }
        kept.push_back(line.clone());
        drop(kept);
        let _ = self.followers.send(line);
    }

    fn tell_lost(&self, worker: u32, lost: u64) {
        if lost > 0 {
            tracing::warn!(
                pool = &*self.pool,
                worker,
                lost,
                "a worker writes more than {LINES_PER_SECOND} lines a second; the rest is dropped"
            );
        }
    }
}

/// How many lines may still be written.
struct Allowance {
    left: u32,
    since: Instant,
    lost: u64,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { left: LINES_PER_SECOND * BURST, since: now, lost: 0 }
    }

    /// Whether one more line may be written at `now`.
    fn spend(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since);
        if passed >= Duration::from_secs(1) {
            let seconds = u32::try_from(passed.as_secs()).unwrap_or(BURST).min(BURST);
            self.left = (self.left + seconds * LINES_PER_SECOND).min(LINES_PER_SECOND * BURST);
            self.since = now;
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        self.lost += u64::from(!allowed);
        allowed
    }

    /// How many were lost since this was asked last; asked when a line may be written again.
    fn lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[tokio::test]
    async fn lines_are_kept_by_worker_and_followed() {
        let output = Output::new("api".into(), None);
        let mut followed = output.follow();
        output.pump(0, Rest::none(1, Source::Stdout), &b"one\r\ntwo\nrest"[..]).await;
        output.pump(1, Rest::none(2, Source::Stderr), &b"other\n"[..]).await;
        assert_eq!(texts(&output.last(Some(0), 2)), ["two", "rest"]);
        assert_eq!(texts(&output.last(None, 9)), ["one", "two", "rest", "other"]);
        assert_eq!(followed.recv().await.unwrap().text, "one");
    }

    #[tokio::test]
    async fn a_flood_is_cut_and_a_line_without_end_is_split() {
        let output = Output::new("api".into(), None);
        let flood = "x\n".repeat((LINES_PER_SECOND * BURST * 2) as usize);
        output.pump(0, Rest::none(1, Source::Stdout), flood.as_bytes()).await;
        assert!(output.last(None, usize::MAX).len() <= KEPT * 8);
        let output = Output::new("api".into(), None);
        output.pump(0, Rest::none(1, Source::Stdout), "y".repeat(LONGEST_LINE * 2 + 1).as_bytes()).await;
        let lengths: Vec<usize> = output.last(None, 9).iter().map(|line| line.text.len()).collect();
        assert_eq!(lengths, [LONGEST_LINE, LONGEST_LINE, 1]);
    }

    #[tokio::test]
    async fn another_reader_goes_on_in_the_middle_of_a_line() {
        let (mut writer, end) = pipe::pipe().unwrap();
        let end = end.into_blocking_fd().unwrap();
        rustix::io::ioctl_fionbio(&end, true).unwrap();
        let (first, second) = (Output::new("api".into(), None), Output::new("api".into(), None));
        let mut followed = first.follow();
        first.read(3, Rest::none(9, Source::Stdout), end.try_clone().unwrap());
        writer.write_all(b"whole\nbeg").await.unwrap();
        followed.recv().await.unwrap();
        let rests = first.leave().await;
        assert_eq!(rests, [Rest { run: 9, source: Source::Stdout, text: b"beg".to_vec() }]);
        writer.write_all(b"un\n").await.unwrap();
        let mut followed = second.follow();
        second.read(3, rests[0].clone(), end);
        assert_eq!(followed.recv().await.unwrap().text, "begun");
        assert_eq!(texts(&first.last(None, 9)), ["whole"]);
    }

    #[test]
    fn the_allowance_grows_back() {
        let now = Instant::now();
        let mut allowance = Allowance::new(now);
        assert!((0..LINES_PER_SECOND * BURST).all(|_| allowance.spend(now)));
        assert!(!allowance.spend(now) && !allowance.spend(now));
        assert!(allowance.spend(now + Duration::from_secs(1)));
        assert_eq!((allowance.lost(), allowance.lost()), (2, 0));
    }
}
