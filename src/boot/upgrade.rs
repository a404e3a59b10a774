//! Upgrade: another process of the program, mostly a newer one, takes over sockets, workers, keys and sessions.
//!
//! The old process starts it, answers what it asks (`handover`), and drains once the new one accepts. Until it has let its
//! workers go, a new process that fails changes nothing; if it fails after that, workers are started anew.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::handover::{Message, SESSIONS, Talk};
use super::inherited::{Inherited, Kind};
use super::running::Running;
use super::service;
use super::signals::Asked;
use crate::config::{Problems, render};
use crate::control::workers::{AppState, OrderError};
use crate::keeper::Handover;
use crate::pool::sticky::NewSession;
use crate::snapshot::{Live, Snapshot};
use crate::tls::TicketKey;

/// For the new process to read its config and to open what it needs.
const START: Duration = Duration::from_secs(30);
/// For it to serve after that: its first checks and workers that are not ready.
const SERVE: Duration = Duration::from_secs(60);
/// For the exit of a process that is gone to be known.
const LAST_WORD: Duration = Duration::from_millis(500);
/// Bytes of a reason that is told.
const LONGEST_REASON: usize = 64 * 1024;

/// Why there was no upgrade; the process before serves on.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    #[error(
        "this is process 1, whose end is the end of its container: start a new container instead, or run Lintel below an \
         init such as `docker run --init`"
    )]
    Init,
    #[error("{0}")]
    Workers(#[from] OrderError),
    #[error("the new process cannot be started: {0}")]
    Start(io::Error),
    #[error("the new process did not start: {0}")]
    Failed(String),
    #[error("Lintel was told to end meanwhile")]
    Ended,
}

/// Another process that serves.
#[derive(Debug)]
pub struct Successor {
    pub pid: u32,
    /// Listeners and doors whose sockets it has no use for.
    pub listeners: Vec<String>,
    pub doors: Vec<String>,
    talk: Talk,
    /// Sessions that began here since it was told of those before.
    begun: UnboundedReceiver<NewSession>,
}

/// What a new process has got of the one before.
pub struct Heir {
    talk: Talk,
    pub inherited: Inherited,
    tickets: Vec<(String, String, Vec<TicketKey>)>,
    keeper: Option<OwnedFd>,
    sessions: Vec<(String, Sessions)>,
    /// Listeners and doors whose sockets are of no use here.
    left: (Vec<String>, Vec<String>),
}

/// Ids of Socket.IO sessions, with the identity of their server and their life after the last use.
type Sessions = Vec<(String, String, Duration)>;

/// The file that this program was started as: where an upgrade puts another. A link is not followed.
pub fn program() -> io::Result<PathBuf> {
    let running = std::env::current_exe()?;
    let identity = |path: &Path| path.metadata().ok().map(|file| (file.dev(), file.ino()));
    let named = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::path::absolute(&named).into_iter().collect();
    if named.components().count() == 1 {
        places = std::env::split_paths(&folders).map(|folder| folder.join(&named)).collect();
    }
    let found = places.into_iter().find(|place| identity(place) == identity(&running));
    Ok(found.unwrap_or(running))
}

/// The process to be. It ends when this is dropped, unless it was let go.
struct Begun(Option<Child>);

impl Begun {
    fn id(&self) -> Option<u32> {
        self.0.as_ref().map(Child::id)
    }

    async fn ended(&mut self) {
        while self.0.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None))) {
            tokio::time::sleep(LAST_WORD / 50).await;
        }
    }

    /// Ends it; says so if it has ended by itself.
    fn end(&mut self) -> Option<String> {
        let mut child = self.0.take()?;
        let by_itself = child.try_wait().ok().flatten().map(|status| status.to_string());
        let _ = child.kill();
        let _ = child.wait();
        by_itself
    }

    /// It is a process of its own from here on, whose end is nobody's business here.
    fn let_go(mut self) {
        if let Some(mut child) = self.0.take() {
            std::thread::spawn(move || _ = child.wait());
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.end();
    }
}

impl Running {
    /// Starts the program's file anew and hands everything over. After it this process only drains.
    pub async fn upgrade(&mut self) -> Result<Successor, UpgradeError> {
        if std::process::id() == 1 {
            return Err(UpgradeError::Init);
        }
        let mut is_reload_wanted = false;
        let outcome = self.hand_over(&mut is_reload_wanted).await;
        match &outcome {
            // It has read its config some time before.
            Ok(successor) if is_reload_wanted => signal(successor.pid, rustix::process::Signal::HUP),
            Err(_) if is_reload_wanted => _ = self.reload_from_file("SIGHUP").await,
            _ => {}
        }
        outcome
    }

    async fn hand_over(&mut self, is_reload_wanted: &mut bool) -> Result<Successor, UpgradeError> {
        let (theirs, ours) = match self.workers.successor()? {
            Some(Handover { theirs, ours }) => (Some(theirs), Some(ours)),
            None => (None, None),
        };
        let (mut talk, stdin) = Talk::pair().map_err(UpgradeError::Start)?;
        let child = Command::new(&self.program)
            .args(["run", "--take-over", "-c"])
            .arg(&self.path)
            .stdin(Stdio::from(stdin))
            .spawn()
            .map_err(UpgradeError::Start)?;
        tracing::info!(pid = child.id(), program = %self.program.display(), "upgrading");
        let mut child = Begun(Some(child));
        let offered = tokio::select! {
            offered = tokio::time::timeout(START, self.offer(&mut talk, theirs)) => offered,
            () = self.told_to_end(is_reload_wanted) => return Err(UpgradeError::Ended),
        };
        let offered = offered.unwrap_or_else(|_| Err(format!("it was not ready within {START:?}")));
        if let Err(why) = offered {
            return Err(failed(why, &mut child).await);
        }
        let mut apps = Vec::new();
        // Orders are for whoever has the workers.
        self.doors.hold("admin");
        let (follower, begun) = unbounded_channel();
        follow_sessions(&self.live.load(), Some(&follower));
        drop(follower);
        let given = self.give_in_time(&mut talk, &mut apps, child.id(), is_reload_wanted).await;
        match given {
            Ok((pid, listeners, doors)) => {
                service::succeeded_by(pid);
                child.let_go();
                Ok(Successor { pid, listeners, doors, talk, begun })
            }
            Err(error) => {
                let error = match error {
                    UpgradeError::Failed(why) => failed(why, &mut child).await,
                    error => error,
                };
                drop(child);
                follow_sessions(&self.live.load(), None);
                self.take_back(ours, apps).await;
                self.doors.free();
                Err(error)
            }
        }
    }

    /// Gives the rest. Told to end meanwhile, it has the new process end when it is there, and this one as well; told so
    /// twice, it gives up.
    async fn give_in_time(
        &self,
        talk: &mut Talk,
        apps: &mut Vec<AppState>,
        child: Option<u32>,
        is_reload_wanted: &mut bool,
    ) -> Result<Gone, UpgradeError> {
        let mut giving = std::pin::pin!(tokio::time::timeout(SERVE, self.give(talk, apps)));
        let mut is_told = false;
        loop {
            tokio::select! {
                given = &mut giving => {
                    let late = || Err(format!("it did not serve within {SERVE:?}"));
                    return given.unwrap_or_else(|_| late()).map_err(UpgradeError::Failed);
                }
                () = self.told_to_end(is_reload_wanted) => {
                    if std::mem::replace(&mut is_told, true) {
                        return Err(UpgradeError::Ended);
                    }
                    tracing::info!("the new process is told to end as well");
                    child.into_iter().for_each(|child| signal(child, rustix::process::Signal::TERM));
                }
            }
        }
    }

    /// Waits for a signal that asks for the end; takes note of others.
    async fn told_to_end(&self, is_reload_wanted: &mut bool) {
        loop {
            match self.signals.next().await {
                Asked::End => return,
                Asked::Reopen => self.reopen(),
                Asked::Reload => *is_reload_wanted = true,
                Asked::Upgrade => tracing::warn!("an upgrade is under way"),
            }
        }
    }

    /// Goes on with the workers that were let go, which the keeper has given back as the new process ended.
    async fn take_back(&self, end: Option<OwnedFd>, apps: Vec<AppState>) {
        let snapshot = self.live.load_full();
        if let Some(end) = end.filter(|_| !apps.is_empty())
            && let Err(error) = self.workers.take_over(&snapshot, end, apps).await
        {
            tracing::error!(%error, "the keeper did not give the workers back; they are started anew");
        }
        if let Err(error) = self.workers.reconcile(&snapshot) {
            tracing::error!(%error, "workers cannot be started again");
        }
    }

    /// Everything that does not change by being handed over; ready when the new process wants the rest.
    async fn offer(&self, talk: &mut Talk, keeper: Option<OwnedFd>) -> Result<(), String> {
        for (name, address, socket) in self.listeners.sockets() {
            let message = Message::Listener { name: name.to_owned(), address: address.clone() };
            let descriptor = socket.descriptor().map_err(lost)?;
            talk.pass(&message, vec![descriptor]).await.map_err(lost)?;
        }
        for (name, address, descriptor) in self.doors.descriptors() {
            talk.pass(&Message::Door { name: name.to_owned(), address }, vec![descriptor])
                .await
                .map_err(lost)?;
        }
        for listener in &self.live.load().listeners {
            let Some(tls) = &listener.tls else { continue };
            let (trust, keys) = tls.ticket_keys();
            let keys = keys.iter().map(TicketKey::to_bytes).collect();
            let message = Message::Tickets { listener: listener.name.to_string(), trust, keys };
            talk.say(&message).await.map_err(lost)?;
        }
        if let Some(keeper) = keeper {
            talk.pass(&Message::Keeper, vec![keeper]).await.map_err(lost)?;
        }
        talk.say(&Message::Begin).await.map_err(lost)?;
        match talk.hear().await.map_err(lost)?.0 {
            Message::TakeOver => Ok(()),
            Message::Failed { why } => Err(why),
            _ => Err("it said something else than was expected".to_owned()),
        }
    }

    /// Lets workers and sessions go; `apps` is what was let go, whatever becomes of it.
    async fn give(&self, talk: &mut Talk, apps: &mut Vec<AppState>) -> Result<Gone, String> {
        *apps = self.workers.let_go().await.map_err(|error| error.to_string())?;
        if let Some(app) = apps.iter().find(|app| app.is_rolling_out) {
            return Err(format!("a rollout of {} began meanwhile", app.pool));
        }
        for app in &*apps {
            talk.say(&Message::App(app.clone())).await.map_err(lost)?;
            for worker in &app.workers {
                let message = Message::Worker { pool: app.pool.clone(), worker: worker.clone() };
                talk.say(&message).await.map_err(lost)?;
            }
        }
        tell_known_sessions(talk, &self.live.load_full()).await.map_err(lost)?;
        talk.say(&Message::End).await.map_err(lost)?;
        match talk.hear().await.map_err(lost)?.0 {
            Message::Serving { pid, listeners, doors } => Ok((pid, listeners, doors)),
            Message::Failed { why } => Err(why),
            _ => Err("it said something else than was expected".to_owned()),
        }
    }
}

/// The new process, and names of listeners and doors that it has no use for.
type Gone = (u32, Vec<String>, Vec<String>);

impl Successor {
    /// Tells it of sessions that begin here, until none can begin any more.
    pub async fn tell_sessions(mut self) {
        while let Some(NewSession { pool, sid, server, life }) = self.begun.recv().await {
            let sessions = vec![(sid, server.to_string(), life)];
            // It may have ended since.
            let _ = self.talk.say(&Message::Sessions { pool: pool.to_string(), sessions }).await;
        }
    }
}

/// Has `follower` told of the sessions that begin.
pub fn follow_sessions(snapshot: &Snapshot, follower: Option<&UnboundedSender<NewSession>>) {
    for plan in snapshot.pools.values() {
        plan.pool.follow_sessions(follower.cloned());
    }
}

async fn tell_known_sessions(talk: &Talk, snapshot: &Snapshot) -> io::Result<()> {
    let now = Instant::now();
    for (name, plan) in &snapshot.pools {
        for sessions in plan.pool.sessions(now).chunks(SESSIONS) {
            let sessions =
                sessions.iter().map(|(sid, server, life)| (sid.clone(), server.to_string(), *life));
            let message = Message::Sessions { pool: name.clone(), sessions: sessions.collect() };
            talk.say(&message).await?;
        }
    }
    Ok(())
}

/// What became of a process that nothing more is heard of.
const GONE: &str = "it ended; the log has its reason";

fn lost(error: io::Error) -> String {
    match error.kind() {
        // With something unread it is a reset.
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            GONE.to_owned()
        }
        _ => error.to_string(),
    }
}

/// Ends a process that did not come to serve.
async fn failed(why: String, child: &mut Begun) -> UpgradeError {
    if why == GONE {
        // Its end shows a moment after that of the connection.
        let _ = tokio::time::timeout(LAST_WORD, child.ended()).await;
    }
    match child.end() {
        Some(status) if why == GONE => UpgradeError::Failed(format!("{why} ({status})")),
        _ => UpgradeError::Failed(why),
    }
}

fn signal(process: u32, signal: rustix::process::Signal) {
    if let Some(process) = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(process, signal);
    }
}

/// Says to the Lintel before that the config has problems.
pub fn decline(problems: &Problems) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let mut talk = Talk::of_stdin()?;
        // What is not read makes the end a reset, which overtakes the answer.
        while !matches!(talk.hear().await?.0, Message::Begin) {}
        talk.say(&Message::Failed { why: written(problems) }).await
    })
}

fn written(problems: &Problems) -> String {
    let lines: Vec<String> =
        problems.0.iter().map(|problem| format!("\n  {}", render::line(problem))).collect();
    let mut why = format!("the config has problems:{}", lines.concat());
    why.truncate(why.floor_char_boundary(LONGEST_REASON));
    why
}

impl Heir {
    /// Hears what the Lintel before has to give, which is at standard input.
    pub async fn receive() -> io::Result<Self> {
        let mut heir = Self {
            talk: Talk::of_stdin()?,
            inherited: Inherited::default(),
            tickets: Vec::new(),
            keeper: None,
            sessions: Vec::new(),
            left: Default::default(),
        };
        loop {
            match heir.talk.hear().await? {
                (Message::Listener { name, address }, Some(socket)) => {
                    heir.inherited.add(Kind::Listener, name, address, socket);
                }
                (Message::Door { name, address }, Some(socket)) => {
                    heir.inherited.add(Kind::Door, name, address, socket);
                }
                (Message::Tickets { listener, trust, keys }, _) => {
                    let keys = keys.iter().filter_map(|key| TicketKey::of_bytes(key)).collect();
                    heir.tickets.push((listener, trust, keys));
                }
                (Message::Keeper, Some(end)) => heir.keeper = Some(end),
                (Message::Begin, _) => return Ok(heir),
                _ => {}
            }
        }
    }

    /// Has the plan's listeners take sessions up that were begun before.
    pub fn hand_out_tickets(&mut self, snapshot: &Snapshot) {
        for (name, trust, keys) in self.tickets.drain(..) {
            let listener = snapshot.listeners.iter().find(|listener| *listener.name == *name);
            if let Some(tls) = listener.and_then(|listener| listener.tls.as_ref()) {
                tls.take_ticket_keys(&trust, keys);
            }
        }
    }

    /// Asks for what only one of the two can have: the workers, and the end of the connection to their keeper.
    pub async fn take_over(&mut self) -> io::Result<(Option<OwnedFd>, Vec<AppState>)> {
        self.talk.say(&Message::TakeOver).await?;
        let mut apps: Vec<AppState> = Vec::new();
        loop {
            match self.talk.hear().await?.0 {
                Message::App(app) => apps.push(app),
                Message::Worker { pool, worker } => {
                    let app = apps.iter_mut().find(|app| app.pool == pool);
                    app.into_iter().for_each(|app| app.workers.push(worker.clone()));
                }
                Message::Sessions { pool, sessions } => self.sessions.push((pool, sessions)),
                Message::End => return Ok((self.keeper.take(), apps)),
                _ => {}
            }
        }
    }

    /// Makes the sessions known, once their servers are there.
    pub fn hand_out_sessions(&mut self, snapshot: &Snapshot) {
        snapshot.pools.values().for_each(|plan| plan.pool.expect_sessions());
        for (pool, sessions) in self.sessions.drain(..) {
            if let Some(plan) = snapshot.pools.get(&pool) {
                plan.pool.take_sessions(&sessions, Instant::now());
            }
        }
    }

    /// Takes note of what nobody here has taken.
    pub fn leave(&mut self, inherited: &Inherited) {
        self.left = (inherited.left(Kind::Listener), inherited.left(Kind::Door));
    }

    /// This process accepts; sessions that began elsewhere are still heard of.
    pub async fn serve(mut self, live: &Arc<Live>) {
        let (listeners, doors) = std::mem::take(&mut self.left);
        let message = Message::Serving { pid: std::process::id(), listeners, doors };
        if let Err(error) = self.talk.say(&message).await {
            tracing::warn!(%error, "the Lintel before ended by itself");
            live.load().pools.values().for_each(|plan| plan.pool.expect_no_sessions());
            return;
        }
        let live = Arc::clone(live);
        tokio::spawn(async move {
            while let Ok((message, _)) = self.talk.hear().await {
                let Message::Sessions { pool, sessions } = message else { continue };
                if let Some(plan) = live.load().pools.get(&pool) {
                    plan.pool.take_sessions(&sessions, Instant::now());
                }
            }
            live.load().pools.values().for_each(|plan| plan.pool.expect_no_sessions());
        });
    }

    /// Says why it will not come to that.
    pub async fn fail(&self, error: &anyhow::Error) {
        let why = error.downcast_ref::<Problems>().map_or_else(|| format!("{error:#}"), written);
        let _ = self.talk.say(&Message::Failed { why }).await;
    }
}
