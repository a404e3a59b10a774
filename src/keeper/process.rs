//! The keeper's own process, `lintel keeper`: one thread that waits for Lintel's requests and for its workers' ends.
//!
//! Serving --Lintel is gone, or is not understood--> ending (SIGTERM, SIGKILL after 1.5 s) --nobody is left--> exit.
//! It decides nothing else by itself: who is started anew, and when, is for Lintel to say.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketType, sockopt};
use rustix::process::{
    Pid, PidfdFlags, Resource, Signal, WaitOptions, WaitStatus, getrlimit, kill_process, kill_process_group,
    wait, waitpid,
};
use tokio::signal::unix::{SignalKind, signal};

use super::account;
use super::protocol::{self, Answer, Exit, Order, Received, Request, To};
use super::socket::Sockets;
use crate::listener::fd_limit;

/// The way to this program that leads there even after an upgrade put another file in its place, and for every user.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// Answers that may wait for Lintel to read them, before no more requests are read. Ends of workers come on top; there are
/// no more of those than workers.
const MOST_ANSWERS: usize = 64;
/// Requests that are read before it is looked whether a worker has ended.
const REQUESTS_AT_ONCE: usize = 16;
/// The most open files of a worker, at first: above it, programs that walk through all possible descriptors take seconds.
/// The kernel's own limit on what can be asked for (fs.nr_open) is the same.
const MOST_OPEN_FILES: u64 = 1024 * 1024;

/// After the end of Lintel: from SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_millis(1500);
/// After the end of Lintel: until the keeper ends as well, whether or not the kernel was done with all it killed.
const PATIENCE: Duration = Duration::from_millis(1900);
/// How often an ending keeper looks for processes that it has no other news of.
const LOOK: Duration = Duration::from_millis(20);
/// How often a keeper at work does: whom workers leave behind, and who then ends, is reaped this much later at worst.
const ROUND: Duration = Duration::from_secs(1);

/// Serves Lintel, which is at standard input, until it is gone; then ends all workers.
pub fn run() -> io::Result<()> {
    let lintel = connection()?;
    outlive_signals()?;
    // As it is called in lists of processes, whatever file it came from.
    let _ = rustix::thread::set_name(c"lintel-keeper");
    // A session of its own: Ctrl-C in Lintel's terminal, or closing it, is for Lintel to act on. Refused to the leader of a
    // group, as in a shell that starts this by hand.
    let _ = rustix::process::setsid();
    // Whom a worker leaves behind becomes a child of this process, so that none is lost.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    // The limit as it was when Lintel started this process: each worker takes four files here, and gets that limit back.
    let open_files = getrlimit(Resource::Nofile).current.unwrap_or(MOST_OPEN_FILES).min(MOST_OPEN_FILES);
    fd_limit::raise();
    let mut keeper = Process::new(lintel, open_files);
    keeper.serve()?;
    match keeper.ending.and_then(|ending| ending.fault) {
        Some(fault) => Err(fault),
        None => Ok(()),
    }
}

/// The connection to Lintel, moved away from standard input.
fn connection() -> io::Result<OwnedFd> {
    let stdin = rustix::stdio::stdin();
    if sockopt::socket_type(stdin).ok() != Some(SocketType::SEQPACKET) {
        return Err(io::Error::other(
            "this is started by `lintel run` alone, with a socket as its standard input",
        ));
    }
    let lintel = rustix::io::fcntl_dupfd_cloexec(stdin, 0)?;
    // Else the connection would stay open after this process closed it.
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::io::ioctl_fionbio(&lintel, true)?;
    Ok(lintel)
}

/// Goes on when asked to end: what stops a service signals all of its processes, and workers may still have work.
///
/// Signals that are caught, unlike ignored ones, are as usual again in programs that are started.
fn outlive_signals() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _inside = runtime.enter();
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        // Once caught, a signal is caught for the life of the process; nobody needs to listen.
        drop(signal(kind)?);
    }
    Ok(())
}

struct Process {
    /// None once it is gone.
    lintel: Option<OwnedFd>,
    /// Who follows it, while an upgrade is under way.
    next: Option<OwnedFd>,
    /// Who it was before, and is again where the one that follows ends before the upgrade is done.
    before: Option<OwnedFd>,
    room: Vec<u8>,
    answers: VecDeque<Queued>,
    /// By run: all that were started and have not been waited for, so their process ids are theirs.
    workers: HashMap<u64, Worker>,
    sockets: Sockets,
    open_files: u64,
    /// Whether there were any at the last look, those that workers left behind among them.
    children: Children,
    ending: Option<Ending>,
}

struct Worker {
    pid: Pid,
    /// Readable when it has ended.
    ended: OwnedFd,
    /// What it writes is kept from loss while nobody reads: the pipes outlive Lintel's ends of them.
    stdout: OwnedFd,
    stderr: OwnedFd,
}

struct Queued {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

struct Ending {
    since: Instant,
    /// What was wrong, if it was not Lintel's end.
    fault: Option<io::Error>,
}

/// What there is to do.
#[derive(Default)]
struct Woken {
    lintel: bool,
    /// Runs of workers that ended.
    ended: Vec<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Children {
    Left,
    None,
}

impl Process {
    fn new(lintel: OwnedFd, open_files: u64) -> Self {
        Self {
            lintel: Some(lintel),
            next: None,
            before: None,
            room: protocol::room(),
            answers: VecDeque::new(),
            workers: HashMap::new(),
            sockets: Sockets::default(),
            open_files,
            children: Children::None,
            ending: None,
        }
    }

    fn serve(&mut self) -> io::Result<()> {
        loop {
            let woken = self.wait()?;
            for run in woken.ended {
                self.bury(run);
            }
            self.children = self.reap();
            if woken.lintel {
                self.read_requests();
            }
            self.send_answers();
            if self.ending.as_ref().is_some_and(|ending| self.end(ending.since.elapsed()) == Children::None) {
                return Ok(());
            }
        }
    }

    /// Waits until something happens, or until it is time to look again.
    fn wait(&self) -> io::Result<Woken> {
        let pause = match (&self.ending, self.children) {
            (Some(_), _) => Some(LOOK),
            (None, Children::None) if self.workers.is_empty() => None,
            (None, _) => Some(ROUND),
        };
        let timeout = pause.and_then(|pause| Timespec::try_from(pause).ok());
        let mut descriptors: Vec<PollFd<'_>> =
            self.workers.values().map(|worker| PollFd::new(&worker.ended, PollFlags::IN)).collect();
        if let Some(lintel) = &self.lintel {
            let mut wanted = PollFlags::empty();
            wanted.set(PollFlags::IN, self.answers.len() < MOST_ANSWERS);
            wanted.set(PollFlags::OUT, !self.answers.is_empty());
            descriptors.push(PollFd::new(lintel, wanted));
        }
        match poll(&mut descriptors, timeout.as_ref()) {
            // A signal that is outlived.
            Err(Errno::INTR) => return Ok(Woken::default()),
            outcome => outcome?,
        };
        let ready = |descriptor: &PollFd<'_>| !descriptor.revents().is_empty();
        let runs = self.workers.keys().zip(&descriptors);
        Ok(Woken {
            ended: runs.filter(|(_, descriptor)| ready(descriptor)).map(|(run, _)| *run).collect(),
            lintel: self.lintel.is_some() && descriptors.last().is_some_and(ready),
        })
    }

    fn read_requests(&mut self) {
        for _ in 0..REQUESTS_AT_ONCE {
            let Some(lintel) = &self.lintel else { return };
            if self.answers.len() >= MOST_ANSWERS {
                return;
            }
            match protocol::receive(lintel, &mut self.room) {
                Ok(Received::Message(request, descriptors)) => self.obey(request, descriptors),
                Ok(Received::Closed) => self.lose_lintel(None),
                Err(error) if is_temporary(&error) => return,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => self.lose_lintel(Some(error)),
                // It went with messages unread, which is told first; what it had said is there still, its Yield maybe.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Err(_) => self.lose_lintel(None),
            }
        }
    }

    fn obey(&mut self, request: Request, descriptors: Vec<OwnedFd>) {
        match request {
            Request::Spawn(order) => match self.spawn(&order) {
                Ok((worker, descriptors)) => {
                    let pid = number(worker.pid);
                    self.workers.insert(order.run, worker);
                    self.answer(&Answer::Spawned { run: order.run, pid }, descriptors);
                }
                Err(reason) => self.answer(&Answer::Refused { run: order.run, reason }, Vec::new()),
            },
            Request::Signal { run, signal, to } => {
                let Some(signal) = Signal::from_named_raw(signal) else { return };
                let Some(worker) = self.workers.get(&run) else { return };
                // It may have ended just now, which its report will tell.
                let _ = match to {
                    To::Process => kill_process(worker.pid, signal),
                    To::Group => kill_process_group(worker.pid, signal),
                };
            }
            Request::CloseSocket { path } => self.sockets.close(&path),
            Request::Successor => {
                let mut ends = descriptors.into_iter();
                (self.next, self.before) = (ends.next(), ends.next());
            }
            Request::Yield => {
                if let Some(next) = self.next.take() {
                    self.go_over_to(next);
                }
            }
        }
    }

    /// Another process is Lintel from now on, and is told of every worker.
    fn go_over_to(&mut self, next: OwnedFd) {
        let _ = rustix::io::ioctl_fionbio(&next, true);
        self.lintel = Some(next);
        // What was not read by the one before is all told again by what there is.
        self.answers.clear();
        let runs: Vec<(u64, u32)> =
            self.workers.iter().map(|(run, worker)| (*run, number(worker.pid))).collect();
        for (run, pid) in runs {
            let shares = self.workers.get(&run).and_then(|worker| {
                Some(vec![worker.stdout.try_clone().ok()?, worker.stderr.try_clone().ok()?])
            });
            // Without its output it is a worker all the same.
            self.answer(&Answer::Running { run, pid }, shares.unwrap_or_default());
        }
        self.answer(&Answer::Yours, Vec::new());
    }

    /// Starts a worker; gives what Lintel gets of it.
    fn spawn(&mut self, order: &Order) -> Result<(Worker, Vec<OwnedFd>), String> {
        if self.workers.contains_key(&order.run) {
            return Err(format!("run {} has not ended", order.run));
        }
        if order.command.is_empty() {
            return Err("there is no command".to_owned());
        }
        let directory = order.directory.display();
        if !order.directory.is_dir() {
            return Err(format!("there is no folder `{directory}`"));
        }
        let mut command = self.command(order)?;
        let failed = |error: io::Error| format!("cannot start a process in `{directory}`: {error}");
        let mut child = command.spawn().map_err(failed)?;
        let pid = Pid::from_child(&child);
        adopt(&mut child).map_err(|error| {
            // Out of files, most likely. What cannot be watched does not run.
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = child.wait();
            failed(error)
        })
    }

    fn command(&mut self, order: &Order) -> Result<Command, String> {
        let account = account::resolve(order.user.as_deref(), order.group.as_deref())?;
        let mut command = Command::new(THIS_PROGRAM);
        command
            .arg0("lintel")
            .args(["worker-setup", "--keeper", &rustix::process::getpid().to_string()])
            .args(["--open-files", &self.open_files.to_string()]);
        match &order.socket {
            Some(path) => command.arg("--listener").stdin(self.sockets.open(path)?),
            None => command.stdin(Stdio::null()),
        };
        command
            .arg("--")
            .args(&order.command)
            .current_dir(&order.directory)
            .env_clear()
            .envs(order.env.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(account) = account {
            // The standard library sets the group first, then drops all supplementary groups if it may, then sets the
            // user. It drops them only with a user, so one is set even if it is the one we are.
            command.gid(account.gid).uid(account.uid);
        }
        Ok(command)
    }

    /// Waits for a worker that has ended, ends what is left of its group, and reports it.
    fn bury(&mut self, run: u64) {
        let Some(worker) = self.workers.remove(&run) else { return };
        // A worker's children do not outlive it. Until it is waited for, the number of its group is taken by it, dead as it
        // is, so this cannot meet anybody else.
        let _ = kill_process_group(worker.pid, Signal::KILL);
        let status = waitpid(Some(worker.pid), WaitOptions::empty()).ok().flatten();
        self.report(run, worker.pid, status.map(|(_, status)| status));
    }

    /// Waits for all other children that have ended, which are those that workers left behind.
    fn reap(&mut self) -> Children {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    // Or a worker that has ended since the last look.
                    let run = self.workers.iter().find(|(_, worker)| worker.pid == pid).map(|(run, _)| *run);
                    if let Some(run) = run {
                        self.workers.remove(&run);
                        let _ = kill_process_group(pid, Signal::KILL);
                        self.report(run, pid, Some(status));
                    }
                }
                Ok(None) => return Children::Left,
                Err(Errno::INTR) => {}
                Err(_) => return Children::None,
            }
        }
    }

    fn report(&mut self, run: u64, pid: Pid, status: Option<WaitStatus>) {
        let signal = status.and_then(WaitStatus::terminating_signal);
        let code = status.and_then(WaitStatus::exit_status);
        // No status at all is not possible: only this process waits for its children.
        let how = signal.map_or(Exit::Code(code.unwrap_or(-1)), Exit::Signal);
        self.answer(&Answer::Exited { run, pid: number(pid), how }, Vec::new());
    }

    fn answer(&mut self, answer: &Answer, descriptors: Vec<OwnedFd>) {
        if self.lintel.is_none() {
            return;
        }
        match protocol::encode(answer) {
            Ok(bytes) => self.answers.push_back(Queued { bytes, descriptors }),
            // An answer that Lintel waits for must not get lost.
            Err(error) => self.lose_lintel(Some(io::Error::other(error))),
        }
    }

    fn send_answers(&mut self) {
        while let (Some(lintel), Some(answer)) = (&self.lintel, self.answers.front()) {
            match protocol::send(lintel, &answer.bytes, &answer.descriptors) {
                Ok(()) => {
                    self.answers.pop_front();
                }
                Err(error) if is_temporary(&error) => return,
                // It is gone. What it had said decides whether another one follows.
                Err(_) => {
                    self.answers.clear();
                    self.read_requests();
                }
            }
        }
    }

    /// Lintel is gone. The one place that decides what becomes of its workers: they end, unless it was the new one of an
    /// upgrade that is not done, and the one before still holds on.
    fn lose_lintel(&mut self, fault: Option<io::Error>) {
        if let Some(before) = self.before.take().filter(is_held) {
            return self.go_over_to(before);
        }
        self.lintel = None;
        self.next = None;
        self.answers.clear();
        for worker in self.workers.values() {
            let _ = kill_process_group(worker.pid, Signal::TERM);
        }
        self.ending = Some(Ending { since: Instant::now(), fault });
    }

    /// Goes on with ending everything, this long after it began; no children are left once it is done.
    fn end(&self, past: Duration) -> Children {
        if self.children == Children::None || past >= PATIENCE {
            return Children::None;
        }
        if past >= GRACE {
            for worker in self.workers.values() {
                let _ = kill_process_group(worker.pid, Signal::KILL);
            }
        }
        if past >= GRACE || self.workers.is_empty() {
            // Those that left their worker's group, as programs do that want to run in the background. Their own children
            // become ours when they end, and are found at the next look.
            for pid in listed_children() {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        Children::Left
    }
}

/// What there is to keep of a process that was started, and Lintel's share of it.
fn adopt(child: &mut Child) -> io::Result<(Worker, Vec<OwnedFd>)> {
    let pid = Pid::from_child(child);
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let (stdout, stderr) = (OwnedFd::from(stdout), OwnedFd::from(stderr));
    // Of the ends that are read, Lintel's and this process's, and not of those the worker writes to.
    rustix::io::ioctl_fionbio(&stdout, true)?;
    rustix::io::ioctl_fionbio(&stderr, true)?;
    let shares = vec![stdout.try_clone()?, stderr.try_clone()?];
    let ended = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    Ok((Worker { pid, ended, stdout, stderr }, shares))
}

/// All children of this process, as far as the kernel tells (proc_pid_task_children(5)).
fn listed_children() -> Vec<Pid> {
    let list = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    list.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

/// Whether anybody has the other end of a connection.
fn is_held(end: &OwnedFd) -> bool {
    let mut looked = [PollFd::new(end, PollFlags::IN)];
    let nothing = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut looked, Some(&nothing)).is_ok()
        && !looked.iter().any(|end| end.revents().intersects(PollFlags::HUP))
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests;
