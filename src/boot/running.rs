//! The running program: its parts, and the loop that carries commands out until the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use super::control::Tasks;
use super::doors::Doors;
use super::engines::Engines;
use super::farewell::Gone;
use super::inherited::{Inherited, Kind};
use super::init;
use super::listeners::Listeners;
use super::located;
use super::reload::Refused;
use super::service;
use super::signals::{Asked, Signals};
use super::upgrade::{self, Heir, Successor, UpgradeError, follow_sessions};
use super::watch::Files;
use crate::admin::office::Part;
use crate::admin::{Followers, Office, Surface};
use crate::config::file::Threads;
use crate::config::{File, Loaded};
use crate::control::command::{Command, LastReload};
use crate::control::workers::{Check, Places};
use crate::control::{Directories, Readiness, Workers, directories, threads};
use crate::listener::{Gate, fd_limit};
use crate::observe::AccessLog;
use crate::observe::log::Started;
use crate::observe::metrics::Metrics;
use crate::proxy::engine::Process;
use crate::snapshot::{self, Live, Snapshot, build::Surroundings};

/// This program even after an upgrade put another file in its place: the keeper is to be of its version.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// How long the first checks and look-ups may hold the start up.
const FIRST_ROUND: Duration = Duration::from_secs(5);
/// For what is cut off at the end of draining to leave its records.
const LAST_RECORDS: Duration = Duration::from_millis(500);
/// For the answer to who asked for an upgrade.
const LAST_WORD: Duration = Duration::from_millis(100);
/// For the access log's last lines.
const LAST_LINES: Duration = Duration::from_secs(2);

/// All parts.
pub struct Running {
    /// This program's own file, as it was named at the start: an upgrade may have put another there.
    pub program: PathBuf,
    /// The file that a reload reads.
    pub path: PathBuf,
    pub loaded: Loaded,
    pub directories: Directories,
    pub log: Started,
    pub access_log: Option<Arc<AccessLog>>,
    pub metrics: Arc<Metrics>,
    pub live: Arc<Live>,
    pub process: Arc<Process>,
    pub open_files: u64,
    pub engines: Engines,
    pub listeners: Listeners,
    pub doors: Doors,
    pub surface: Arc<Surface>,
    pub tasks: Arc<Tasks>,
    pub workers: Arc<Workers>,
    pub last_reload: Arc<Mutex<LastReload>>,
    /// The last try, while its file is not mended.
    pub refused: Refused,
    files: Files,
    readiness: watch::Sender<Readiness>,
    pub signals: Signals,
    commands: mpsc::UnboundedReceiver<Command>,
}

impl Running {
    /// Makes everything and serves from here on. Fails where the file asks for what cannot be had.
    pub async fn start(
        path: &Path,
        loaded: Loaded,
        log: Started,
        mut heir: Option<&mut Heir>,
    ) -> anyhow::Result<Self> {
        // Before anything takes its time, so that a change meanwhile is seen.
        let files = Files::of(&loaded);
        let program = upgrade::program().context("cannot find this program's own file")?;
        let mut inherited = Inherited::from_environment();
        if let Some(heir) = &mut heir {
            inherited = std::mem::take(&mut heir.inherited);
        }
        let Basis { directories, metrics, access_log, live } = basis(&loaded, &log)?;
        let snapshot = live.load_full();
        heir.iter_mut().for_each(|heir| heir.hand_out_tickets(&snapshot));
        let open_files = fd_limit::raise();
        let (process, count) = (Arc::new(Process::new()), threads_of(&loaded.file));
        let engines = Engines::start(count, &process, &live).context("cannot start the engine threads")?;
        let gate = Gate::new(admit_connections(&snapshot, open_files), possible_connections(open_files));
        let mut listeners = Listeners::new(gate);
        let prepared = listeners.prepare(&snapshot, &engines, &mut inherited).map_err(first_error)?;
        let (readiness, watched) = watch::channel(Readiness::Starting("first checks and look-ups".into()));
        let surface = surface(&metrics, watched);
        let mut doors = if heir.is_some() { Doors::held() } else { Doors::default() };
        let opened = doors.prepare(&loaded.file, &directories, &mut inherited)?;
        doors.commit(&loaded.file, opened, &surface);
        let signals = watch_signals()?;
        let tasks = Arc::new(Tasks::start(&live, &metrics));
        tasks.reconcile(&snapshot);
        let workers = start_workers(&loaded, &metrics, &directories, &tasks);
        take_over_workers(&mut heir, &workers, &snapshot).await?;
        workers.reconcile(&snapshot).context("cannot start workers")?;
        let (orders, commands) = mpsc::unbounded_channel();
        let last_reload = Arc::default();
        let office = office(&live, &workers, &tasks, &engines, &log, orders, &last_reload);
        let _ = surface.office.set(office);
        first_round(&tasks, &workers, &snapshot).await;
        heir.iter_mut().for_each(|heir| heir.hand_out_sessions(&snapshot));
        listeners.commit(&snapshot, &engines, prepared);
        leave_unused(&mut heir, &inherited);
        let _ = readiness.send(Readiness::Ready);
        doors.free();
        tracing::info!(version = env!("CARGO_PKG_VERSION"), threads = count, open_files, "ready");
        service::ready();
        Ok(Self {
            program,
            path: path.to_path_buf(),
            loaded,
            directories,
            log,
            access_log,
            metrics,
            live,
            process,
            open_files,
            engines,
            listeners,
            doors,
            surface,
            tasks,
            workers,
            last_reload,
            refused: Refused::default(),
            files,
            readiness,
            signals,
            commands,
        })
    }

    /// Carries out what it is told until a signal asks for the end, or until another process has taken over, and ends.
    pub async fn serve(mut self) -> anyhow::Result<()> {
        let pulse = tokio::spawn(self.engines.keep_alive());
        let end = loop {
            tokio::select! {
                asked = self.signals.next() => match asked {
                    Asked::End => break End::Stop,
                    Asked::Reopen => self.reopen(),
                    Asked::Reload => _ = self.reload_from_file("SIGHUP").await,
                    Asked::Upgrade => if let Some(end) = self.try_upgrade(None).await {
                        break end;
                    },
                },
                Some(command) = self.commands.recv() => match command {
                    Command::Reload(waiter) => {
                        _ = waiter.send(self.reload_from_file("the control interface").await);
                    }
                    Command::Plan(waiter) => {
                        self.settle().await;
                        _ = waiter.send(self.plan(&self.files.renewed()));
                    }
                    Command::Config(waiter) => _ = waiter.send(self.in_force()),
                    Command::Upgrade(waiter) => if let Some(end) = self.try_upgrade(Some(waiter)).await {
                        break end;
                    },
                },
                changed = self.files.changed() => self.take_note(changed).await,
            }
            self.files.follow(&self.loaded, &self.refused.files);
        };
        match end {
            End::Stop => self.end().await,
            End::Succeeded(successor) => {
                pulse.abort();
                self.give_way(successor).await;
            }
        }
        Ok(())
    }

    /// Gives what the program's end comes of, where it comes to one.
    async fn try_upgrade(&mut self, waiter: Option<oneshot::Sender<Result<u32, String>>>) -> Option<End> {
        let outcome = self.upgrade().await;
        match &outcome {
            Ok(next) => tracing::info!(pid = next.pid, "another process serves from now on; this one drains"),
            Err(error) => tracing::error!("no upgrade: {error}"),
        }
        if let Some(waiter) = waiter {
            let _ = waiter.send(outcome.as_ref().map(|next| next.pid).map_err(ToString::to_string));
        }
        match outcome {
            Ok(successor) => Some(End::Succeeded(successor)),
            Err(UpgradeError::Ended) => Some(End::Stop),
            Err(_) => None,
        }
    }

    /// Ends what still runs here, and leaves everything else to the process that serves now.
    async fn give_way(mut self, successor: Successor) {
        let _ = self.readiness.send(Readiness::Draining);
        let drain_timeout = self.live.load().drain_timeout;
        self.listeners.leave(&successor.listeners);
        self.doors.leave_files(&successor.doors);
        self.doors.hold("metrics");
        let telling = tokio::spawn(successor.tell_sessions());
        // Whoever asked for the upgrade is told by this process; all others are answered by the new one.
        tokio::time::sleep(LAST_WORD).await;
        self.doors.close().await;
        self.process.drain_over(drain_timeout);
        self.drain(drain_timeout).await;
        self.listeners.settle().await;
        follow_sessions(&self.live.load(), None);
        let _ = tokio::time::timeout(LAST_WORD, telling).await;
        if let Some(log) = self.access_log {
            log.flush_and_close(LAST_LINES);
        }
    }

    pub fn reopen(&self) {
        tracing::info!("reopening log files");
        if let Some(log) = &self.access_log {
            log.reopen();
        }
    }

    async fn end(mut self) {
        service::stopping();
        let _ = self.readiness.send(Readiness::Draining);
        let drain_timeout = self.live.load().drain_timeout;
        tracing::info!(drain_timeout = ?drain_timeout, "draining");
        self.process.drain();
        self.drain(drain_timeout).await;
        tokio::select! {
            () = self.workers.stop() => {}
            () = second_signal(&self.signals, self.access_log.as_deref()) => {
                tracing::warn!("workers are cut off by a second signal");
            }
        }
        if let Some(log) = self.access_log {
            log.flush_and_close(LAST_LINES);
        }
    }

    /// Waits for what runs to end, at most `limit`, and cuts the rest off.
    async fn drain(&mut self, limit: Duration) {
        let wake = self.engines.waker();
        let draining = async {
            self.listeners.turn_away().await;
            self.listeners.close();
            self.engines.drain().await;
        };
        tokio::select! {
            () = draining => tracing::info!("every connection has ended"),
            () = tokio::time::sleep(limit) => {
                tracing::warn!(open = self.engines.open(), "drain_timeout passed with connections open");
            }
            () = second_signal(&self.signals, self.access_log.as_deref()) => {
                tracing::warn!("ended by a second signal");
            }
        }
        self.process.cut();
        wake();
        let _ = tokio::time::timeout(LAST_RECORDS, self.engines.ended()).await;
    }
}

/// What the program's end comes of.
enum End {
    Stop,
    /// Another process serves.
    Succeeded(Successor),
}

/// What is made of the file alone.
struct Basis {
    directories: Directories,
    metrics: Arc<Metrics>,
    access_log: Option<Arc<AccessLog>>,
    live: Arc<Live>,
}

fn basis(loaded: &Loaded, log: &Started) -> anyhow::Result<Basis> {
    let runtime = &loaded.file.runtime;
    let directories = directories::resolve(&directories::Surroundings {
        state: runtime.state_directory.as_deref(),
        run: runtime.run_directory.as_deref(),
        environment: &|name| std::env::var_os(name),
        root: Path::new("/"),
    })?;
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    metrics.process.follow_log(Arc::clone(&log.lost));
    let access_log = open_access_log(&loaded.file)?;
    if let Some(log) = &access_log {
        metrics.process.follow_access_log(log.counts());
    }
    let snapshot = first_plan(loaded, &metrics, access_log.clone(), &directories)?;
    let live = Arc::new(Live::from(Arc::new(snapshot)));
    Ok(Basis { directories, metrics, access_log, live })
}

fn threads_of(file: &File) -> usize {
    match file.runtime.threads {
        Threads::Auto => threads::auto().get(),
        Threads::Count(count) => count.into(),
    }
}

/// Takes over the workers of the Lintel before, where there is one.
async fn take_over_workers(
    heir: &mut Option<&mut Heir>,
    workers: &Workers,
    snapshot: &Snapshot,
) -> anyhow::Result<()> {
    let Some(heir) = heir else { return Ok(()) };
    let (keeper, apps) = heir.take_over().await.context("the Lintel before did not hand over")?;
    if let Some(keeper) = keeper {
        workers.take_over(snapshot, keeper, apps).await.context("cannot take over the workers")?;
    }
    Ok(())
}

/// Who is told and asked through the control interface.
fn office(
    live: &Arc<Live>,
    workers: &Arc<Workers>,
    tasks: &Arc<Tasks>,
    engines: &Engines,
    log: &Started,
    orders: mpsc::UnboundedSender<Command>,
    last_reload: &Arc<Mutex<LastReload>>,
) -> Office {
    Office {
        live: Arc::clone(live),
        workers: Arc::clone(workers),
        commands: orders,
        last_reload: Arc::clone(last_reload),
        check: check_of(tasks),
        part: part_of(live, engines),
        events: log.events.clone(),
        followers: Followers::default(),
    }
}

fn watch_signals() -> anyhow::Result<Signals> {
    init::wait_for_all().context("cannot wait for children")?;
    Signals::watch().context("cannot watch for signals")
}

fn surface(metrics: &Arc<Metrics>, watched: watch::Receiver<Readiness>) -> Arc<Surface> {
    let rendered = Arc::clone(metrics);
    let surface = Surface::new(move || rendered.render(), watched);
    metrics.process.follow_admin(surface.refused.count());
    surface
}

/// Sockets that nobody wants.
fn leave_unused(heir: &mut Option<&mut Heir>, inherited: &Inherited) {
    match heir {
        Some(heir) => heir.leave(inherited),
        None => match inherited.left(Kind::Listener) {
            names if names.is_empty() => {}
            names => tracing::warn!(?names, "sockets that were passed on and that no listener wants"),
        },
    }
}

/// Whoever asks for the end twice means it; log files are opened anew meanwhile too.
async fn second_signal(signals: &Signals, access_log: Option<&AccessLog>) {
    loop {
        match signals.next().await {
            Asked::End => return,
            Asked::Reopen => {
                if let Some(log) = access_log {
                    log.reopen();
                }
            }
            Asked::Reload | Asked::Upgrade => tracing::warn!("a signal comes too late: Lintel is ending"),
        }
    }
}

/// Waits for the first checks, look-ups and workers, no longer than each may take.
async fn first_round(tasks: &Tasks, workers: &Workers, snapshot: &Snapshot) {
    tasks.first_round(FIRST_ROUND).await;
    for pool in workers.first_ready(snapshot, FIRST_ROUND).await {
        tracing::warn!(pool = &*pool, "starting before a worker is ready");
    }
}

/// The apps of all pools, none of them started.
fn start_workers(
    loaded: &Loaded,
    metrics: &Arc<Metrics>,
    directories: &Directories,
    tasks: &Arc<Tasks>,
) -> Arc<Workers> {
    let file = loaded.source.files().next().unwrap_or_default();
    let folder = file.parent().map(Path::to_path_buf).unwrap_or_default();
    let places = Places { program: THIS_PROGRAM.into(), run_directory: directories.run.clone(), folder };
    Workers::new(metrics, places, check_of(tasks))
}

fn check_of(tasks: &Arc<Tasks>) -> Check {
    let tasks = Arc::clone(tasks);
    Arc::new(move |pool| tasks.check(pool))
}

fn part_of(live: &Arc<Live>, engines: &Engines) -> Part {
    let (live, wake) = (Arc::clone(live), Arc::new(engines.waker()));
    Box::new(move |server| {
        let (drain_timeout, wake) = (live.load().drain_timeout, Arc::clone(&wake));
        tokio::spawn(Gone::server(&server).run(drain_timeout, move || wake()));
    })
}

fn first_plan(
    loaded: &Loaded,
    metrics: &Arc<Metrics>,
    access_log: Option<Arc<AccessLog>>,
    directories: &Directories,
) -> anyhow::Result<Snapshot> {
    let surroundings = Surroundings {
        metrics: Arc::clone(metrics),
        access_log,
        state_directory: Some(&directories.state),
        before: None,
    };
    let built =
        snapshot::build(&loaded.file, &surroundings).map_err(|problems| located(loaded, &problems))?;
    for warning in &built.warnings {
        tracing::warn!(key = warning.at, "{}", warning.message);
    }
    metrics.process.config_loaded(&loaded.source.hash());
    Ok(built.commit(None))
}

fn first_error(errors: Vec<(Arc<str>, super::listeners::ListenError)>) -> anyhow::Error {
    match errors.into_iter().next() {
        Some((name, error)) => anyhow::Error::new(error).context(format!("listener {name} cannot listen")),
        None => anyhow::anyhow!("nothing can be listened on"),
    }
}

pub fn open_access_log(file: &File) -> anyhow::Result<Option<Arc<AccessLog>>> {
    let spec = &file.observability.access_log;
    if !spec.enabled {
        return Ok(None);
    }
    let log = AccessLog::open(spec)
        .with_context(|| format!("cannot open the access log {}", spec.path.display()))?;
    Ok(Some(log))
}

/// Connections at once over all listeners, with room for their files.
pub fn admit_connections(snapshot: &Snapshot, open_files: u64) -> u32 {
    let connections = most_connections(snapshot, open_files);
    fd_limit::make_room(connections, open_files);
    connections
}

/// Connections at once over all listeners: what the listeners ask for, as far as there are files for it.
fn most_connections(snapshot: &Snapshot, open_files: u64) -> u32 {
    let written = snapshot.listeners.iter().filter_map(|listener| listener.spec.limits.connections);
    let asked = written.fold(0u32, u32::saturating_add).max(fd_limit::default_connections(open_files));
    let possible = possible_connections(open_files);
    if asked > possible {
        tracing::warn!(
            asked,
            possible,
            open_files,
            "limits.connections is more than the open-files limit has room for"
        );
    }
    asked.min(possible)
}

fn possible_connections(open_files: u64) -> u32 {
    u32::try_from(open_files / 10 * 9).unwrap_or(u32::MAX).max(1)
}
