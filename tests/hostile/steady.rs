//! The normal client: a request every ten milliseconds, in turn on a connection that is kept and on a new one.
//!
//! It has a thread of its own and blocking sockets, so that what it measures is Lintel and not the runtime of attackers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::support::eventually;
use crate::support::time::DEADLINE;

const PAUSE: Duration = Duration::from_millis(10);

/// A normal client at work.
pub struct Steady {
    log: Arc<Mutex<Log>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What came of its requests so far.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// How long each served request took, in order.
    pub times: Vec<Duration>,
    pub failures: Vec<String>,
}

impl Steady {
    pub fn start(address: SocketAddr) -> Self {
        let log = Arc::<Mutex<Log>>::default();
        let (stop, stopped) = channel();
        let its_own = Arc::clone(&log);
        let thread = std::thread::spawn(move || run(address, &its_own, &stopped));
        Self { log, stop: Some(stop), thread: Some(thread) }
    }

    /// How many requests were made so far.
    pub fn count(&self) -> usize {
        let log = self.log.lock();
        log.times.len() + log.failures.len()
    }

    /// Awaits so many requests more.
    pub async fn more(&self, count: usize) {
        let wanted = self.count() + count;
        eventually("the normal client goes on", async || (self.count() >= wanted).then_some(())).await;
    }

    /// Takes what there is so far.
    pub fn take(&self) -> Log {
        std::mem::take(&mut self.log.lock())
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        drop(self.stop.take());
        let thread = self.thread.take();
        let _ = thread.map(JoinHandle::join);
    }
}

impl Log {
    /// The time that 99 of 100 requests stayed within.
    pub fn p99(&self) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        times.get(times.len() * 99 / 100).copied().unwrap_or_default()
    }
}

fn run(address: SocketAddr, log: &Mutex<Log>, stopped: &Receiver<()>) {
    let mut kept = None;
    for turn in 0u64.. {
        // The pause, unless it is over.
        if stopped.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let began = Instant::now();
        let served = if turn % 2 == 0 { ask_kept(address, &mut kept) } else { ask_anew(address) };
        let took = began.elapsed();
        let mut log = log.lock();
        match served {
            Ok(()) => log.times.push(took),
            Err(why) => log.failures.push(format!("request {turn} after {took:?}: {why}")),
        }
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    let stream =
        TcpStream::connect_timeout(&address, DEADLINE).map_err(|error| format!("connect: {error}"))?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(DEADLINE)).map_err(|error| error.to_string())?;
    Ok(stream)
}

fn ask_anew(address: SocketAddr) -> Result<(), String> {
    ask(&mut connect(address)?, "close")
}

fn ask_kept(address: SocketAddr, kept: &mut Option<TcpStream>) -> Result<(), String> {
    if kept.is_none() {
        *kept = Some(connect(address)?);
    }
    let Some(stream) = kept else { return Ok(()) };
    let mut served = ask(stream, "keep-alive");
    // A kept connection may be closed at the very moment of the next request, which is then sent anew (RFC 9112 section 9.3.1).
    if matches!(&served, Err(why) if is_unanswered(why)) {
        served = ask(kept.insert(connect(address)?), "keep-alive");
    }
    if served.is_err() {
        *kept = None;
    }
    served
}

const UNANSWERED: &str = "the end before any answer";

/// Whether nothing of an answer came, for the connection was gone.
fn is_unanswered(why: &str) -> bool {
    why == UNANSWERED || why.starts_with("write: ") || why.contains("(os error 104) after 0 bytes")
}

/// One GET; the answer must be the server's own, and whole.
fn ask(stream: &mut TcpStream, connection: &str) -> Result<(), String> {
    let request = format!("GET /normal HTTP/1.1\r\nHost: a.test\r\nConnection: {connection}\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| format!("write: {error}"))?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while !answer.ends_with(b"\r\n\r\none") {
        match stream.read(&mut piece) {
            Ok(0) if answer.is_empty() => return Err(UNANSWERED.to_owned()),
            Ok(0) => return Err(format!("the end after {:?}", String::from_utf8_lossy(&answer))),
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            Err(error) => return Err(format!("read: {error} after {} bytes", answer.len())),
        }
        if answer.len() > 4096 {
            break;
        }
    }
    let is_served = answer.starts_with(b"HTTP/1.1 200 ");
    is_served.then_some(()).ok_or_else(|| String::from_utf8_lossy(&answer).into_owned())
}
