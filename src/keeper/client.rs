//! Lintel's side of its keeper: a handle to give orders with, and the task that carries them.
//!
//! The task ends with the last handle, and so does the connection: which is how the keeper learns that it has to end.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot, watch};

use super::protocol::{self, Answer, EncodeError, Exit, Order, Received, Request, To};

/// Requests that may wait for the keeper to read them, before no more are taken from the handles.
const MOST_REQUESTS: usize = 64;

/// A handle to the keeper's process, which ends, with all it started, when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Keeper {
    // Without a limit, since no caller may have to wait: there are no more orders than workers, and each of those is waited
    // for.
    wishes: mpsc::UnboundedSender<Wish>,
    /// Closed once the task is over, and the keeper with it where this process has started it.
    over: watch::Receiver<()>,
}

/// The two ends of connections to a keeper that change hands at an upgrade.
#[derive(Debug)]
pub struct Handover {
    /// For the successor to take over with.
    pub theirs: OwnedFd,
    /// To take over with again where the successor ends while this end is held.
    pub ours: OwnedFd,
}

/// A process that was started.
#[derive(Debug)]
pub struct Spawned {
    /// Also the number of its process group.
    pub pid: u32,
    /// The end to read from, which never waits. It reads as ended once all who could write to it are gone.
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// What the keeper says unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// A process ended, and the rest of its group was killed. One that ends at once may be reported before the caller of
    /// `spawn` has run on.
    Exited { run: u64, pid: u32, how: Exit },
    /// The keeper is gone, and its workers with it, whose own ends are not told. The last report.
    Lost,
}

/// Why a process was not started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("the order is too large: {size} bytes with its environment; {limit} at most")]
    TooLarge { size: usize, limit: usize },
    #[error("the order cannot be passed on: {0}")]
    NotText(String),
    /// By the keeper, for this reason.
    #[error("{0}")]
    Refused(String),
    #[error("the keeper of workers is gone")]
    Lost,
}

/// What a handle wants of the task.
#[derive(Debug)]
enum Wish {
    Spawn {
        run: u64,
        bytes: Vec<u8>,
        answer: Reply,
    },
    Send(Vec<u8>, Vec<OwnedFd>),
    /// Tell the keeper that its successor is Lintel now, and end.
    Yield,
    /// Let go of the keeper, which ends with all it started.
    End,
}

/// A process that runs already, as a successor is told.
#[derive(Debug)]
pub struct Running {
    pub run: u64,
    pub pid: u32,
    /// Ends of stdout and stderr to read from.
    pub output: Option<(OwnedFd, OwnedFd)>,
}

type Reply = oneshot::Sender<Result<Spawned, SpawnError>>;

impl Keeper {
    /// Starts the keeper's process and connects to it. `program` is this binary. Within a tokio runtime that does IO.
    pub fn start(program: &Path) -> io::Result<(Self, mpsc::UnboundedReceiver<Report>)> {
        let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        let (ours, theirs) = protocol::pair()?;
        let connection = watch(ours, Interest::READABLE | Interest::WRITABLE)?;
        let child = launch(program, theirs)?;
        let pidfd = rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        let ended = watch(pidfd, Interest::READABLE)?;
        let (keeper, received_reports, carrier, over) = Self::over(connection, HashMap::new());
        runtime.spawn(async move {
            carrier.run().await;
            wait_for(child, ended).await;
            drop(over);
        });
        Ok((keeper, received_reports))
    }

    fn over(
        connection: AsyncFd<OwnedFd>,
        running: HashMap<u64, u32>,
    ) -> (Self, mpsc::UnboundedReceiver<Report>, Carrier, watch::Sender<()>) {
        let (wishes, received_wishes) = mpsc::unbounded_channel();
        let (until, over) = watch::channel(());
        let (reports, received_reports) = mpsc::unbounded_channel();
        let carrier = Carrier {
            connection,
            room: protocol::room(),
            wishes: received_wishes,
            requests: VecDeque::new(),
            waiting: HashMap::new(),
            running,
            reports,
            is_over: false,
        };
        (Self { wishes, over }, received_reports, carrier, until)
    }

    /// Takes over the keeper of a Lintel that yields to this one, of whose `successor` this is the end; with every process
    /// that there is.
    pub async fn take_over(
        end: OwnedFd,
    ) -> io::Result<(Self, mpsc::UnboundedReceiver<Report>, Vec<Running>)> {
        let connection = watch(end, Interest::READABLE | Interest::WRITABLE)?;
        let (mut room, mut running) = (protocol::room(), Vec::new());
        loop {
            let received = connection
                .async_io(Interest::READABLE, |socket| protocol::receive(socket, &mut room))
                .await?;
            match received {
                Received::Message(Answer::Running { run, pid }, descriptors) => {
                    let output = <[OwnedFd; 2]>::try_from(descriptors).ok().map(|[one, two]| (one, two));
                    running.push(Running { run, pid, output });
                }
                Received::Message(Answer::Yours, _) => break,
                Received::Message(..) => {}
                Received::Closed => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let pids = running.iter().map(|process| (process.run, process.pid)).collect();
        let (keeper, reports, carrier, over) = Self::over(connection, pids);
        tokio::spawn(async move {
            carrier.run().await;
            drop(over);
        });
        Ok((keeper, reports, running))
    }

    /// Makes room for a successor, which takes over once this one has yielded.
    pub fn successor(&self) -> io::Result<Handover> {
        let ((theirs, to_them), (ours, to_us)) = (protocol::pair()?, protocol::pair()?);
        let bytes = protocol::encode(&Request::Successor).map_err(io::Error::other)?;
        self.wishes.send(Wish::Send(bytes, vec![to_them, to_us])).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(Handover { theirs, ours })
    }

    /// Ends the keeper, whoever else has a handle; ready when it has ended, if this process has started it.
    pub fn end(&self) -> impl Future<Output = ()> + Send + use<> {
        let _ = self.wishes.send(Wish::End);
        let mut over = self.over.clone();
        async move { while over.changed().await.is_ok() {} }
    }

    /// Makes the successor the keeper's Lintel. Nothing can be ordered any more, and nothing is reported.
    pub fn yield_to_successor(&self) {
        let _ = self.wishes.send(Wish::Yield);
    }

    /// Starts a process. Resolves when the keeper has forked it, or could not.
    ///
    /// A process whose start nobody waits for any more is killed.
    pub async fn spawn(&self, order: Order) -> Result<Spawned, SpawnError> {
        let run = order.run;
        let bytes = protocol::encode(&Request::Spawn(order))?;
        let (answer, answered) = oneshot::channel();
        self.wishes.send(Wish::Spawn { run, bytes, answer }).map_err(|_| SpawnError::Lost)?;
        answered.await.unwrap_or(Err(SpawnError::Lost))
    }

    /// Sends a signal. Nothing happens if the process has ended.
    pub fn signal(&self, run: u64, signal: Signal, to: To) {
        self.send(&Request::Signal { run, signal: signal.as_raw(), to });
    }

    /// Lets go of the listening socket of this path. Its file stays, and is the caller's to remove.
    pub fn close_socket(&self, path: &Path) {
        self.send(&Request::CloseSocket { path: path.to_owned() });
    }

    fn send(&self, request: &Request) {
        // A path that cannot be said was never bound; a keeper that is gone holds nothing and has nobody to signal.
        if let Ok(bytes) = protocol::encode(request) {
            let _ = self.wishes.send(Wish::Send(bytes, Vec::new()));
        }
    }
}

impl From<EncodeError> for SpawnError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::TooLarge(size) => Self::TooLarge { size, limit: protocol::MESSAGE_LIMIT },
            EncodeError::NotText(error) => Self::NotText(error.to_string()),
        }
    }
}

/// The keeper makes itself the leader of a session and so of a group; a leader of a group could not.
fn launch(program: &Path, connection: OwnedFd) -> io::Result<Child> {
    // What it has to say belongs among errors: stdout may be the access log.
    let stdout = io::stderr().as_fd().try_clone_to_owned().map_or_else(|_| Stdio::null(), Stdio::from);
    Command::new(program)
        .arg0("lintel")
        .arg("keeper")
        .stdin(connection)
        .stdout(stdout)
        .stderr(Stdio::inherit())
        .spawn()
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for the sake of types whose descriptor changes; OwnedFd's does not"
)]
fn watch(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, interest)
}

/// Waits for the keeper's process, so that it does not stay behind as a zombie.
async fn wait_for(mut child: Child, ended: AsyncFd<OwnedFd>) {
    if ended.readable().await.is_ok() {
        let _ = child.wait();
    }
}

/// The task between the handles and the connection.
struct Carrier {
    connection: AsyncFd<OwnedFd>,
    room: Vec<u8>,
    wishes: mpsc::UnboundedReceiver<Wish>,
    requests: VecDeque<Asked>,
    /// Those who wait for a process to be started, by run.
    waiting: HashMap<u64, Reply>,
    /// The process groups of all that has not ended, by run.
    running: HashMap<u64, u32>,
    reports: mpsc::UnboundedSender<Report>,
    /// Nothing more is to be said than what waits already: another process has the keeper from here on, or it ends.
    is_over: bool,
}

/// A message on its way to the keeper.
type Asked = (Vec<u8>, Vec<OwnedFd>);

impl Carrier {
    async fn run(mut self) {
        if let Err(lost) = self.carry().await {
            tracing::error!("lost the keeper of workers: {lost}");
            // The kernel has killed the workers, but not what they had started. The number of a group is taken for as long
            // as any of that is there.
            for group in self.running.values().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)) {
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
            // Whoever waits for a start learns it as its sender is dropped.
            let _ = self.reports.send(Report::Lost);
        }
    }

    /// Carries messages until there are no more handles; fails when the keeper is lost.
    async fn carry(&mut self) -> io::Result<()> {
        while !(self.is_over && self.requests.is_empty()) {
            let Self { connection, room, wishes, requests, .. } = self;
            tokio::select! {
                wish = wishes.recv(), if requests.len() < MOST_REQUESTS => match wish {
                    Some(wish) => self.take(wish),
                    None => break,
                },
                received = connection.async_io(Interest::READABLE, |socket| protocol::receive(socket, room)) => {
                    match received? {
                        Received::Message(answer, descriptors) => self.hear(answer, descriptors)?,
                        Received::Closed => return Err(io::ErrorKind::UnexpectedEof.into()),
                    }
                }
                sent = send_first(connection, requests), if !requests.is_empty() => {
                    sent?;
                    requests.pop_front();
                }
            }
        }
        // What was wished for before the last handle went, as far as it is possible at once.
        while let Some((request, descriptors)) = self.requests.pop_front() {
            protocol::send(&self.connection, &request, &descriptors)?;
        }
        Ok(())
    }

    fn take(&mut self, wish: Wish) {
        match wish {
            Wish::Spawn { run, bytes, answer } => {
                if self.waiting.contains_key(&run) {
                    let _ = answer.send(Err(SpawnError::Refused(format!("run {run} is being started"))));
                    return;
                }
                self.waiting.insert(run, answer);
                self.requests.push_back((bytes, Vec::new()));
            }
            Wish::Send(bytes, descriptors) => self.requests.push_back((bytes, descriptors)),
            Wish::Yield => {
                self.requests.extend(protocol::encode(&Request::Yield).ok().map(|bytes| (bytes, Vec::new())));
                self.is_over = true;
            }
            Wish::End => self.is_over = true,
        }
    }

    fn hear(&mut self, answer: Answer, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        match answer {
            Answer::Spawned { run, pid } => {
                let [stdout, stderr] = <[OwnedFd; 2]>::try_from(descriptors)
                    .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a process without its pipes"))?;
                self.running.insert(run, pid);
                let spawned = Ok(Spawned { pid, stdout, stderr });
                let answered = self.waiting.remove(&run).map(|waiting| waiting.send(spawned));
                if !matches!(answered, Some(Ok(()))) {
                    // Nobody knows of it, so nobody would ever end it.
                    let request = Request::Signal { run, signal: Signal::KILL.as_raw(), to: To::Group };
                    self.requests.extend(protocol::encode(&request).ok().map(|bytes| (bytes, Vec::new())));
                }
            }
            Answer::Refused { run, reason } => {
                if let Some(waiting) = self.waiting.remove(&run) {
                    let _ = waiting.send(Err(SpawnError::Refused(reason)));
                }
            }
            // Only at the beginning, to a successor.
            Answer::Running { .. } | Answer::Yours => {}
            Answer::Exited { run, pid, how } => {
                self.running.remove(&run);
                // Nobody may want to know any more.
                let _ = self.reports.send(Report::Exited { run, pid, how });
            }
        }
        Ok(())
    }
}

async fn send_first(connection: &AsyncFd<OwnedFd>, requests: &VecDeque<Asked>) -> io::Result<()> {
    let Some((request, descriptors)) = requests.front() else { return Ok(()) };
    connection.async_io(Interest::WRITABLE, |socket| protocol::send(socket, request, descriptors)).await
}
