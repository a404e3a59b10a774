//! Upgrade: another process of the program, mostly a newer one, takes over sockets, workers, keys and sessions.
//!
//! The old process starts it, answers what it asks (`handover`), and drains once the new one accepts. Until it has let its
//! workers go, a new process that fails changes nothing; if it fails after that, workers are started anew.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::handover::{Message, SESSIONS, Talk};
use super::inherited::{Inherited, Kind};
use super::running::Running;
use super::service;
use crate::control::workers::AppState;
use crate::snapshot::Snapshot;
use crate::tls::TicketKey;

/// For the new process to read its config and to open what it needs.
const START: Duration = Duration::from_secs(30);
/// For it to serve after that: its first checks and workers that are not ready.
const SERVE: Duration = Duration::from_secs(60);

/// Why there was no upgrade; the process before serves on.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    #[error(
        "this is process 1, whose end is the end of its container: start a new container instead, or run Lintel below an \
         init such as `docker run --init`"
    )]
    Init,
    #[error("{0}")]
    Workers(#[from] crate::control::workers::OrderError),
    #[error("the new process cannot be started: {0}")]
    Start(io::Error),
    #[error("the new process did not start: {0}")]
    Failed(String),
}

/// What a new process has got of the one before.
pub struct Heir {
    talk: Talk,
    pub inherited: Inherited,
    tickets: Vec<(String, String, Vec<TicketKey>)>,
    keeper: Option<OwnedFd>,
    sessions: Vec<(String, Sessions)>,
}

/// Ids of Socket.IO sessions, with the identity of their server and their life after the last use.
type Sessions = Vec<(String, String, Duration)>;

impl Running {
    /// Starts the program's file anew and hands everything over; gives the new process id. After it this process only drains.
    pub async fn upgrade(&mut self) -> Result<u32, UpgradeError> {
        if std::process::id() == 1 {
            return Err(UpgradeError::Init);
        }
        let keeper = self.workers.successor()?;
        let (mut talk, theirs) = Talk::pair().map_err(UpgradeError::Start)?;
        let mut child = Command::new(&self.program)
            .args(["run", "--take-over", "-c"])
            .arg(&self.path)
            .stdin(Stdio::from(theirs))
            .spawn()
            .map_err(UpgradeError::Start)?;
        tracing::info!(pid = child.id(), program = %self.program.display(), "upgrading");
        let asked = tokio::time::timeout(START, self.offer(&mut talk, keeper)).await;
        let failed = match asked {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(why),
            Err(_) => Some(format!("it was not ready within {START:?}")),
        };
        if let Some(why) = failed {
            end(&mut child);
            return Err(UpgradeError::Failed(why));
        }
        let served = tokio::time::timeout(SERVE, self.give(&mut talk)).await;
        let pid = match served {
            Ok(Ok(pid)) => pid,
            other => {
                end(&mut child);
                let why = match other {
                    Ok(Err(why)) => why,
                    _ => format!("it did not serve within {SERVE:?}"),
                };
                // Its workers ended with the keeper that it had taken over.
                if let Err(error) = self.workers.reconcile(&self.live.load_full()) {
                    tracing::error!(%error, "workers cannot be started again");
                }
                return Err(UpgradeError::Failed(format!("{why}; workers were started anew")));
            }
        };
        service::succeeded_by(pid);
        // It is a process of its own from here on, whose end is nobody's business here.
        std::thread::spawn(move || _ = child.wait());
        Ok(pid)
    }

    /// Everything that does not change by being handed over; ready when the new process wants the rest.
    async fn offer(&self, talk: &mut Talk, keeper: Option<OwnedFd>) -> Result<(), String> {
        let lost = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => "it ended; the log has its reason".to_owned(),
            _ => error.to_string(),
        };
        for (name, address, socket) in self.listeners.sockets() {
            let message = Message::Listener { name: name.to_owned(), address: address.clone() };
            let descriptor = socket.descriptor().map_err(lost)?;
            talk.pass(&message, vec![descriptor]).await.map_err(lost)?;
        }
        for (name, address, descriptor) in self.doors.descriptors() {
            talk.pass(&Message::Door { name: name.to_owned(), address }, vec![descriptor]).await.map_err(lost)?;
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

    /// Lets workers and sessions go; gives the process id of the one that serves now.
    async fn give(&self, talk: &mut Talk) -> Result<u32, String> {
        let lost = |error: io::Error| error.to_string();
        for app in self.workers.let_go().await {
            talk.say(&Message::App(app)).await.map_err(lost)?;
        }
        let now = Instant::now();
        for (name, plan) in &self.live.load_full().pools {
            let sessions = plan.pool.sessions(now);
            for sessions in sessions.chunks(SESSIONS) {
                let sessions = sessions.iter().map(|(sid, server, life)| (sid.clone(), server.to_string(), *life));
                let message = Message::Sessions { pool: name.clone(), sessions: sessions.collect() };
                talk.say(&message).await.map_err(lost)?;
            }
        }
        talk.say(&Message::End).await.map_err(lost)?;
        match talk.hear().await.map_err(lost)?.0 {
            Message::Serving { pid } => Ok(pid),
            Message::Failed { why } => Err(why),
            _ => Err("it said something else than was expected".to_owned()),
        }
    }
}

fn end(child: &mut std::process::Child) {
    let _ = child.kill();
    let _ = child.wait();
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
        let mut apps = Vec::new();
        loop {
            match self.talk.hear().await?.0 {
                Message::App(app) => apps.push(app),
                Message::Sessions { pool, sessions } => self.sessions.push((pool, sessions)),
                Message::End => return Ok((self.keeper.take(), apps)),
                _ => {}
            }
        }
    }

    /// Makes the sessions known, once their servers are there.
    pub fn hand_out_sessions(&mut self, snapshot: &Snapshot) {
        for (pool, sessions) in self.sessions.drain(..) {
            if let Some(plan) = snapshot.pools.get(&pool) {
                plan.pool.take_sessions(&sessions, Instant::now());
            }
        }
    }

    /// This process accepts.
    pub async fn serve(self) -> io::Result<()> {
        self.talk.say(&Message::Serving { pid: std::process::id() }).await
    }

    /// Says why it will not come to that.
    pub async fn fail(&self, why: String) {
        let _ = self.talk.say(&Message::Failed { why }).await;
    }
}
