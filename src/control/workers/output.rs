//! What workers write to stdout and stderr: line by line into Lintel's log or files, and the last lines kept to be shown.
//!
//! Reading never stops: a program whose pipe is full stands still, and Node keeps in memory what it cannot write. One that
//! floods loses lines, which is said in their place, and is read more slowly: it must not cost others a CPU.

mod allowance;
mod cutter;
mod kept;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

pub use allowance::Limits;

use super::files::Files;
use crate::clock;
use allowance::Allowance;
use cutter::Cutter;
use kept::Kept;

/// Lines that wait for each follower; a slower one misses some.
const FOLLOWED: usize = 1024;
/// After so many bytes that are left out, reading pauses: at most 64 MB of a flood are read in a second.
const FLOOD: usize = 64 * 1024;
const FLOOD_PAUSE: Duration = Duration::from_millis(1);
/// Lintel's log is told of a flood into files at most this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// At the end: for what is still in pipes, and for the disk.
const LAST_READ: Duration = Duration::from_millis(500);
const LAST_WRITE: Duration = Duration::from_secs(2);

/// Where a line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    Stdout,
    Stderr,
    /// Lintel says something about the lines before and after.
    Lintel,
}

impl Source {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Lintel => "lintel",
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
    /// When it was read, since 1970.
    pub at: Duration,
    pub text: String,
}

/// The beginning of a line that was not at its end when its pipe was left to another reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    pub run: u64,
    pub source: Source,
    pub text: Vec<u8>,
}

impl Rest {
    /// Nothing was read yet.
    pub fn none(run: u64, source: Source) -> Self {
        Self { run, source, text: Vec::new() }
    }
}

/// The lines of all workers of an app.
#[derive(Debug)]
pub struct Output {
    pool: Arc<str>,
    /// Where lines go instead of Lintel's log.
    /// Other ones after a reload that says so.
    files: ArcSwapOption<Files>,
    kept: Mutex<Kept>,
    followers: broadcast::Sender<Arc<Line>>,
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

/// One pipe.
struct Stream {
    worker: u32,
    run: u64,
    source: Source,
    allowance: Allowance,
    /// Lines left out that Lintel's log was not told of, and when it was told last.
    untold: u64,
    told: Option<Instant>,
}

impl Output {
    /// Has lines go elsewhere from now on.
    pub fn go_to(&self, files: Option<Files>) {
        self.files.store(files.map(Arc::new));
    }

    /// `files`: where lines go; without, Lintel's log.
    pub fn new(pool: Arc<str>, files: Option<Files>) -> Arc<Self> {
        let (followers, _) = broadcast::channel(FOLLOWED);
        let files = ArcSwapOption::new(files.map(Arc::new));
        let readers = Mutex::new(JoinSet::new());
        let reading = watch::Sender::new(Reading::Goes);
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
        self.flush().await;
        rests
    }

    /// The last lines of a worker, the oldest first.
    pub fn last(&self, worker: Option<u32>, most: usize) -> Vec<Line> {
        self.kept.lock().last(most, |line| worker.is_none_or(|worker| line.worker == worker))
    }

    /// The last lines of one process, the oldest first.
    pub fn last_of_run(&self, run: u64, most: usize) -> Vec<Line> {
        self.kept.lock().last(most, |line| line.run == run)
    }

    /// The lines to come.
    pub fn follow(&self) -> broadcast::Receiver<Arc<Line>> {
        self.followers.subscribe()
    }

    /// Waits until the last words of workers that have ended are read and written, but not for long: what a worker left
    /// behind may hold its pipes open.
    pub async fn finish(&self) {
        let mut readers = std::mem::take(&mut *self.readers.lock());
        let read = async { while readers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_READ, read).await;
        self.flush().await;
    }

    async fn flush(&self) {
        if let Some(files) = self.files.load_full() {
            let _ = tokio::time::timeout(LAST_WRITE, files.flushed()).await;
        }
    }

    fn limits(&self) -> Limits {
        self.files.load().as_ref().map(|files| files.limits()).unwrap_or_default()
    }

    /// Gives the last line where it was left to another reader before its end.
    async fn pump(&self, worker: u32, begun: Rest, mut pipe: impl AsyncRead + Unpin) -> Option<Rest> {
        let Rest { run, source, text } = begun;
        let mut reading = self.reading.subscribe();
        let allowance = Allowance::new(self.limits(), Instant::now());
        let mut stream = Stream { worker, run, source, allowance, untold: 0, told: None };
        let (mut buffer, mut cutter) = (vec![0; 16 * 1024], Cutter::of(text));
        // Bytes since reading paused.
        let mut flood = 0;
        loop {
            let closed_until = stream.allowance.closed_until();
            let reopened = async {
                match closed_until {
                    Some(until) => tokio::time::sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            let read = tokio::select! {
                biased;
                _ = reading.wait_for(|reading| *reading == Reading::Stops) => {
                    let rest = cutter.rest().map(|text| Rest { run, source, text: text.to_vec() });
                    self.tell_lost(&mut stream);
                    return rest;
                }
                read = pipe.read(&mut buffer) => read,
                // It has stopped, or is read again from here on.
                () = reopened => {
                    stream.allowance.reopen();
                    self.tell_lost(&mut stream);
                    continue;
                }
            };
            let Ok(count @ 1..) = read else { break };
            stream.allowance.limit(self.limits());
            let (now, at) = (Instant::now(), clock::since_epoch());
            cutter.cut(&buffer[..count], |line| self.take(&mut stream, line, now, at));
            if stream.allowance.closed_until().is_some() {
                flood += count;
            }
            if flood >= FLOOD {
                flood = 0;
                tokio::time::sleep(FLOOD_PAUSE).await;
            }
        }
        if let Some(line) = cutter.rest() {
            self.take(&mut stream, line, Instant::now(), clock::since_epoch());
        }
        stream.told = None;
        self.tell_lost(&mut stream);
        None
    }

    fn take(&self, stream: &mut Stream, line: &[u8], now: Instant, at: Duration) {
        if !stream.allowance.spend(line.len(), now) {
            return;
        }
        self.tell_lost(stream);
        let text = String::from_utf8_lossy(line).trim_end().to_owned();
        let line = Line { worker: stream.worker, run: stream.run, source: stream.source, at, text };
        if self.files.load().is_none() {
            let (worker, from) = (line.worker, line.source.as_str());
            tracing::info!(target: "lintel::worker", pool = &*self.pool, worker, from, "{}", line.text);
        }
        self.spread(line);
    }

    /// Says how much was left out, where it would be: in the file, or in Lintel's log.
    fn tell_lost(&self, stream: &mut Stream) {
        let lost = stream.allowance.lost();
        if lost.lines > 0 {
            let (worker, run, limits) = (stream.worker, stream.run, stream.allowance.limits());
            let text = format!(
                "{} lines ({} bytes) of {} are left out here: more than {} lines or {} a second",
                lost.lines,
                lost.bytes,
                stream.source.as_str(),
                limits.lines,
                limits.bytes
            );
            self.spread(Line { worker, run, source: Source::Lintel, at: clock::since_epoch(), text });
        }
        stream.untold += lost.lines;
        let is_due =
            self.files.load().is_none() || stream.told.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY);
        if stream.untold > 0 && is_due {
            let (pool, worker, from) = (&*self.pool, stream.worker, stream.source.as_str());
            let lost = std::mem::take(&mut stream.untold);
            tracing::warn!(
                pool,
                worker,
                from,
                lost,
                "a worker writes more than is taken; the rest is dropped"
            );
            stream.told = Some(Instant::now());
        }
    }

    fn spread(&self, line: Line) {
        let line = Arc::new(line);
        if let Some(files) = &*self.files.load() {
            files.write(&line);
        }
        self.kept.lock().keep(Arc::clone(&line));
        let _ = self.followers.send(line);
    }
}

#[cfg(test)]
mod tests {
    use super::cutter::LONGEST_LINE;
    use super::*;
    use crate::worker::spec::LINES_PER_SECOND;

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
        assert_eq!(texts(&output.last_of_run(2, 9)), ["other"]);
        assert_eq!(followed.recv().await.unwrap().text, "one");
    }

    #[tokio::test]
    async fn last_words_are_in_their_file_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let spec = serde_json::from_value(serde_json::json!({ "directory": folder.path() })).unwrap();
        let output = Output::new("api".into(), Some(Files::open("api", &spec).unwrap()));
        let (reader, mut writer) = std::io::pipe().unwrap();
        output.read(0, Rest::none(1, Source::Stdout), reader.into());
        std::io::Write::write_all(&mut writer, b"one\nlast").unwrap();
        drop(writer);
        output.finish().await;
        let text = std::fs::read_to_string(folder.path().join("api-0.log")).unwrap();
        assert!(text.ends_with("Z stdout last\n") && text.lines().count() == 2, "{text}");
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut() {
        let output = Output::new("api".into(), None);
        output.pump(0, Rest::none(1, Source::Stdout), "y".repeat(LONGEST_LINE * 2 + 1).as_bytes()).await;
        let lengths: Vec<usize> = output.last(None, 9).iter().map(|line| line.text.len()).collect();
        assert_eq!(lengths, [LONGEST_LINE, LONGEST_LINE, 1]);
    }

    #[tokio::test]
    async fn a_flood_is_cut_and_the_last_line_says_by_how_much() {
        let output = Output::new("api".into(), None);
        let most = LINES_PER_SECOND as usize * 5;
        output.pump(0, Rest::none(1, Source::Stderr), "x\n".repeat(most + 70).as_bytes()).await;
        let lines = output.last(None, 2);
        assert_eq!(
            texts(&lines),
            ["x", "70 lines (70 bytes) of stderr are left out here: more than 1000 lines or 1MiB a second"]
        );
        assert_eq!(lines[1].source, Source::Lintel);
    }

    /// Gives a flood, and then nothing for ever.
    struct Flood(usize);

    impl AsyncRead for Flood {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            let Some(left) = self.0.checked_sub(1) else { return std::task::Poll::Pending };
            self.0 = left;
            buffer.put_slice(&b"flood\n".repeat(buffer.remaining() / 6));
            std::task::Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_was_left_out_is_told_though_nothing_comes_any_more() {
        let output = Output::new("api".into(), None);
        let mut followed = output.follow();
        let pumping = output.pump(0, Rest::none(1, Source::Stdout), Flood(100));
        let told = async {
            loop {
                match followed.recv().await {
                    Ok(line) if line.source == Source::Lintel => return line.text.clone(),
                    _ => {}
                }
            }
        };
        tokio::select! {
            _ = pumping => unreachable!("the pipe is still open"),
            text = told => assert!(text.ends_with("or 1MiB a second"), "{text}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_read_no_faster_than_64_mb_a_second() {
        let output = Output::new("api".into(), None);
        let began = tokio::time::Instant::now();
        let flood = "flood\n".repeat(2_000_000);
        output.pump(0, Rest::none(1, Source::Stdout), flood.as_bytes()).await;
        // All but the first 5,000 lines; the clock stands still but for the pauses.
        let pauses = (flood.len() - 30_000) / FLOOD;
        let took = began.elapsed().as_millis() as usize;
        assert!((pauses - 1..=pauses * 2).contains(&took), "{took} ms for {pauses} pauses");
    }
}
