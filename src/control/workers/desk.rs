//! Where workers report: a unix socket on which the preload of each process says how it is, and hears what to do.
//!
//! One JSON object per line, both ways. Whoever connects says first which worker it belongs to; a process that says
//! nonsense, or too much at once, is cut off.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Bytes of one line.
const LONGEST_LINE: usize = 64 * 1024;
/// Connections at once; each process of each worker's tree may have one.
const CONNECTIONS: usize = 4096;
/// Commands that wait for one process to read them.
const COMMANDS: usize = 16;

/// What a worker says.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "t", rename_all = "kebab-case")]
pub enum Word {
    /// The first word of each connection.
    Hello {
        worker: String,
        pid: u32,
        node: Option<String>,
    },
    /// Its main server listens: on the socket that it was given (`fd:3`), or on one that it bound itself.
    Listening {
        boot_ms: Option<f64>,
        port: Option<u32>,
        at: Option<String>,
    },
    /// Something that its user should know.
    Problem {
        text: String,
    },
    /// `process.send('ready')`.
    Ready {},
    Load(Load),
    Draining {},
    /// A second port, on a socket of its own.
    Extra {
        port: u32,
        at: PathBuf,
    },
    #[serde(other)]
    Other,
}

/// A report of how busy a worker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub struct Load {
    /// Share of the time that the event loop was busy, 0 to 1.
    #[serde(default)]
    pub elu: f64,
    /// Delay of the event loop in milliseconds.
    #[serde(default)]
    pub lag_p99: f64,
    #[serde(default)]
    pub lag_max: f64,
    /// Bytes.
    #[serde(default)]
    pub rss: u64,
    #[serde(default)]
    pub heap: u64,
    #[serde(default)]
    pub handles: u32,
}

/// A word with its worker, by the number of its run.
#[derive(Clone, Debug)]
pub struct Said {
    pub run: u64,
    pub word: Word,
}

/// The socket, for as long as it is held.
pub struct Desk {
    path: PathBuf,
    rooms: Arc<Mutex<Rooms>>,
    /// Who may come, by user id.
    users: Arc<Mutex<Vec<u32>>>,
    /// Another process listens there from now on.
    leaves_file: AtomicBool,
    serving: tokio::task::JoinHandle<()>,
}

/// Who is there.
#[derive(Default)]
struct Rooms {
    /// Who wants to hear of a run.
    listeners: HashMap<u64, mpsc::UnboundedSender<Said>>,
    /// Connections of the processes of a run.
    connections: HashMap<u64, Vec<mpsc::Sender<&'static str>>>,
}

impl Desk {
    /// Listens at `path` to processes of Lintel's own user and of `users`. A socket that a process before left there is
    /// taken away.
    pub fn open(path: &Path, mut users: Vec<u32>) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        users.push(rustix::process::geteuid().as_raw());
        let rooms = Arc::new(Mutex::new(Rooms::default()));
        let users = Arc::new(Mutex::new(users));
        let serving = tokio::spawn(serve(listener, Arc::clone(&users), Arc::clone(&rooms)));
        Ok(Self { path: path.to_path_buf(), rooms, users, leaves_file: AtomicBool::new(false), serving })
    }

    /// Listens no more, and leaves its path to another process.
    pub fn leave(&self) {
        self.leaves_file.store(true, Ordering::Relaxed);
        self.serving.abort();
    }

    /// Listens to further users.
    pub fn admit(&self, users: Vec<u32>) {
        let mut known = self.users.lock();
        known.extend(users);
        known.sort_unstable();
        known.dedup();
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Has what a run says sent to `listener`.
    pub fn expect(&self, run: u64, listener: mpsc::UnboundedSender<Said>) {
        self.rooms.lock().listeners.insert(run, listener);
    }

    /// Forgets a run that has ended.
    pub fn forget(&self, run: u64) {
        let mut rooms = self.rooms.lock();
        rooms.listeners.remove(&run);
        rooms.connections.remove(&run);
    }

    /// Tells every process of a run; one that does not read misses it.
    pub fn tell(&self, run: u64, command: &'static str) {
        if let Some(connections) = self.rooms.lock().connections.get_mut(&run) {
            connections.retain(|connection| !connection.is_closed());
            for connection in connections {
                let _ = connection.try_send(command);
            }
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.serving.abort();
        if !self.leaves_file.load(Ordering::Relaxed) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

async fn serve(listener: UnixListener, users: Arc<Mutex<Vec<u32>>>, rooms: Arc<Mutex<Rooms>>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            // Others could say of a worker what is not so.
            Ok((stream, _)) if connections.len() < CONNECTIONS && is_of(&stream, &users.lock()) => {
                connections.spawn(converse(stream, Arc::clone(&rooms)));
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a worker's connection");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

fn is_of(stream: &UnixStream, users: &[u32]) -> bool {
    stream.peer_cred().is_ok_and(|peer| users.contains(&peer.uid()))
}

/// One process of a worker.
async fn converse(stream: UnixStream, rooms: Arc<Mutex<Rooms>>) {
    let (read, write) = stream.into_split();
    let mut read = BufReader::new(read);
    let Some(Word::Hello { worker, pid, node }) = next(&mut read).await else { return };
    let Some(run) = worker.rsplit('/').next().and_then(|run| run.parse::<u64>().ok()) else { return };
    let (commands, orders) = mpsc::channel(COMMANDS);
    let listener = {
        let mut rooms = rooms.lock();
        let Some(listener) = rooms.listeners.get(&run).cloned() else { return };
        rooms.connections.entry(run).or_default().push(commands);
        listener
    };
    let _ = listener.send(Said { run, word: Word::Hello { worker, pid, node } });
    let told = tell(write, orders);
    let heard = async {
        while let Some(word) = next(&mut read).await {
            if listener.send(Said { run, word }).is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = told => {}
        () = heard => {}
    }
}

async fn tell(mut write: OwnedWriteHalf, mut orders: mpsc::Receiver<&'static str>) {
    while let Some(command) = orders.recv().await {
        let line = format!("{{\"cmd\":\"{command}\"}}\n");
        if write.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
    // The run is forgotten; the process itself ends soon, or says more for nothing.
    std::future::pending::<()>().await;
}

/// The next word; `None` at the end, and for whatever is none.
async fn next(read: &mut BufReader<OwnedReadHalf>) -> Option<Word> {
    let mut line = Vec::new();
    loop {
        let available = read.fill_buf().await.ok()?;
        if available.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', available);
        let count = end.map_or(available.len(), |end| end + 1);
        line.extend_from_slice(&available[..count]);
        read.consume(count);
        if line.len() > LONGEST_LINE {
            return None;
        }
        if end.is_some() {
            return serde_json::from_slice(&line).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn connect(desk: &Desk, hello: &str) -> BufReader<UnixStream> {
        let mut stream = UnixStream::connect(desk.path()).await.unwrap();
        stream.write_all(hello.as_bytes()).await.unwrap();
        BufReader::new(stream)
    }

    #[tokio::test]
    async fn a_worker_is_heard_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let desk = Desk::open(&folder.path().join("workers.sock"), Vec::new()).unwrap();
        let (sender, mut said) = mpsc::unbounded_channel();
        desk.expect(7, sender);
        let mut worker = connect(
            &desk,
            "{\"t\":\"hello\",\"worker\":\"a/b/0/7\",\"pid\":12,\"node\":\"v20\"}\n{\"t\":\"listening\",\"port\":3000,\"boot_ms\":1.5}\n{\"t\":\"load\",\"elu\":0.5,\"rss\":9}\n{\"t\":\"news\",\"x\":1}\n",
        )
        .await;
        assert!(matches!(said.recv().await.unwrap().word, Word::Hello { pid: 12, .. }));
        assert!(matches!(said.recv().await.unwrap().word, Word::Listening { port: Some(3000), .. }));
        let Word::Load(load) = said.recv().await.unwrap().word else { panic!("no load") };
        assert_eq!((load.elu, load.rss), (0.5, 9));
        assert_eq!(said.recv().await.unwrap().word, Word::Other, "newer preloads may say more");
        desk.tell(7, "drain");
        let mut line = String::new();
        worker.read_line(&mut line).await.unwrap();
        assert_eq!(line, "{\"cmd\":\"drain\"}\n");
    }

    #[tokio::test]
    async fn strangers_and_nonsense_are_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let desk = Desk::open(&folder.path().join("workers.sock"), Vec::new()).unwrap();
        let (sender, mut said) = mpsc::unbounded_channel();
        desk.expect(7, sender);
        for hello in [
            "{\"t\":\"hello\",\"worker\":\"a/0/8\",\"pid\":1}\n".to_owned(),
            "{\"t\":\"ready\"}\n".to_owned(),
            "nonsense\n".to_owned(),
            "x".repeat(LONGEST_LINE + 1),
        ] {
            let mut line = String::new();
            let read = connect(&desk, &hello).await.read_line(&mut line).await;
            assert!(matches!(read, Ok(0) | Err(_)), "{hello:.40}");
        }
        assert!(said.try_recv().is_err());
        let path = desk.path().to_path_buf();
        drop(desk);
        assert!(!path.exists());
    }
}
