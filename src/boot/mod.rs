//! The composition root: makes the parts, joins them, starts the threads, and ends them in order.
//!
//! ```text
//! file -> plan -> sockets -> control runtime: checks, look-ups, metrics -> engine threads accept -> ready
//! SIGTERM -> no more accepts -> running exchanges end -> exit 0, at the latest at drain_timeout
//! ```

pub mod accept;
pub mod control;
pub mod engines;
pub mod signals;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::watch;

use crate::admin::{self, Door, Office, Surface};
use crate::config::file::Threads;
use crate::config::{File, Loaded, Problems};
use crate::control::workers::Places;
use crate::control::{Directories, Readiness, Workers, directories, threads};
use crate::listener::{Gate, Socket, bind as bind_socket, fd_limit};
use crate::net::Endpoint;
use crate::observe::metrics::Metrics;
use crate::observe::{AccessLog, log};
use crate::proxy::engine::Process;
use crate::snapshot::{self, Live, Snapshot, build::Surroundings};

use engines::Engines;
use signals::Signals;

/// How long the first checks and look-ups may hold the start up.
const FIRST_ROUND: Duration = Duration::from_secs(5);
/// For what is cut off at the end of draining to leave its records.
const LAST_RECORDS: Duration = Duration::from_millis(500);
/// For the access log's last lines.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Runs until a signal ends it.
pub fn run(loaded: Loaded) -> anyhow::Result<()> {
    let File { observability, runtime, .. } = &loaded.file;
    std::panic::set_hook(Box::new(|panic| tracing::error!(bug = true, "{panic}")));
    let lost_lines = log::start(&observability.log).context("cannot start the program log")?;
    for warning in &loaded.warnings.0 {
        tracing::warn!("{}", warning.message);
    }
    let directories = directories::resolve(&directories::Surroundings {
        state: runtime.state_directory.as_deref(),
        run: runtime.run_directory.as_deref(),
        environment: &|name| std::env::var_os(name),
        root: std::path::Path::new("/"),
    })?;
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    metrics.process.follow_log(lost_lines);
    let access_log = open_access_log(&loaded.file, &metrics)?;
    let snapshot = plan(&loaded, &metrics, access_log.clone(), &directories)?;
    let open_files = fd_limit::raise();
    let sockets = bind(&snapshot)?;
    let doors = open_doors(&loaded.file, &directories)?;
    let count = match runtime.threads {
        Threads::Auto => threads::auto().get(),
        Threads::Count(count) => count.into(),
    };
    let control = control_runtime()?;
    let process = Arc::new(Process::new());
    let gate = Gate::new(most_connections(&snapshot, open_files));
    let live: Arc<Live> = Arc::new(Live::from(Arc::new(snapshot)));
    let outcome = control.block_on(async {
        let (readiness, watched) = watch::channel(Readiness::Starting("first checks and look-ups".into()));
        let rendered = Arc::clone(&metrics);
        let surface = Surface::new(move || rendered.render(), watched);
        for (name, door) in doors {
            tracing::info!(listener = name, address = %door.address(), "listening");
            tokio::spawn(admin::serve(door, Arc::clone(&surface)));
        }
        let signals = Signals::watch().context("cannot watch for signals")?;
        let tasks = control::start(&live.load_full(), &metrics);
        let workers = start_workers(&loaded, &live.load_full(), &metrics, &directories, &tasks)?;
        let _ = surface.office.set(Office { live: Arc::clone(&live), workers: Arc::clone(&workers) });
        first_round(&tasks, &workers, &live.load_full()).await;
        let engines = Engines::start(count, &process, &live).context("cannot start the engine threads")?;
        engines.listen(&live.load(), sockets, &gate)?;
        let _ = readiness.send(Readiness::Ready);
        tracing::info!(version = env!("CARGO_PKG_VERSION"), threads = count, open_files, "ready");
        signals.until_end(access_log.as_deref()).await;
        let _ = readiness.send(Readiness::Draining);
        let drain_timeout = live.load().drain_timeout;
        tracing::info!(drain_timeout = ?drain_timeout, "draining");
        process.drain();
        drain(&engines, drain_timeout, &signals, access_log.as_deref()).await;
        process.cut();
        engines.cut();
        let _ = tokio::time::timeout(LAST_RECORDS, engines.ended()).await;
        tokio::select! {
            () = workers.stop() => {}
            () = signals.until_end(access_log.as_deref()) => tracing::warn!("workers are cut off by a second signal"),
        }
        drop(tasks);
        anyhow::Ok(())
    });
    control.shutdown_background();
    if let Some(log) = access_log {
        log.flush_and_close(LAST_LINES);
    }
    outcome
}

/// Waits for the first checks, look-ups and workers, no longer than each may take.
async fn first_round(tasks: &control::Tasks, workers: &Workers, snapshot: &Snapshot) {
    tasks.first_round(FIRST_ROUND).await;
    for pool in workers.first_ready(snapshot, FIRST_ROUND).await {
        tracing::warn!(pool = &*pool, "starting before a worker is ready");
    }
}

/// Lets what runs end, until `limit` or a second signal.
async fn drain(engines: &Engines, limit: Duration, signals: &Signals, access_log: Option<&AccessLog>) {
    tokio::select! {
        () = engines.drain() => tracing::info!("every connection has ended"),
        () = tokio::time::sleep(limit) => {
            tracing::warn!(open = engines.open(), "drain_timeout passed with connections open");
        }
        () = signals.until_end(access_log) => tracing::warn!("ended by a second signal"),
    }
}

/// Starts the workers of every app.
fn start_workers(
    loaded: &Loaded,
    snapshot: &Snapshot,
    metrics: &Arc<Metrics>,
    directories: &Directories,
    tasks: &control::Tasks,
) -> anyhow::Result<Arc<Workers>> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let file = loaded.source.files().next().unwrap_or_default();
    let folder = file.parent().map(std::path::Path::to_path_buf).unwrap_or_default();
    let places = Places { program: &program, run_directory: &directories.run, folder: &folder };
    Workers::start(snapshot, metrics, &places, &|plan| tasks.checks(plan)).context("cannot start workers")
}

/// Everything that `lintel run` checks before it serves, without serving: certificates, keys, routes.
pub fn check(loaded: &Loaded) -> Problems {
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let surroundings = Surroundings { metrics, access_log: None, state_directory: None };
    let locate = |problem: &snapshot::Problem| loaded.source.problem_at(&problem.at, &problem.message);
    match snapshot::build(&loaded.file, &surroundings) {
        Ok(built) => Problems(
            built
                .warnings
                .iter()
                .map(|warning| loaded.source.warning_at(&warning.at, &warning.message))
                .collect(),
        ),
        Err(problems) => Problems(problems.iter().map(locate).collect()),
    }
}

fn plan(
    loaded: &Loaded,
    metrics: &Arc<Metrics>,
    access_log: Option<Arc<AccessLog>>,
    directories: &Directories,
) -> anyhow::Result<Snapshot> {
    let surroundings =
        Surroundings { metrics: Arc::clone(metrics), access_log, state_directory: Some(&directories.state) };
    match snapshot::build(&loaded.file, &surroundings) {
        Ok(built) => {
            for warning in built.warnings {
                tracing::warn!(key = warning.at, "{}", warning.message);
            }
            metrics.process.config_loaded(&loaded.source.hash());
            Ok(built.snapshot)
        }
        Err(problems) => {
            let problems =
                problems.iter().map(|problem| loaded.source.problem_at(&problem.at, &problem.message));
            Err(Problems(problems.collect()).into())
        }
    }
}

fn open_access_log(file: &File, metrics: &Arc<Metrics>) -> anyhow::Result<Option<Arc<AccessLog>>> {
    let spec = &file.observability.access_log;
    if !spec.enabled {
        return Ok(None);
    }
    let log = AccessLog::open(spec)
        .with_context(|| format!("cannot open the access log {}", spec.path.display()))?;
    metrics.process.follow_access_log(log.counts());
    Ok(Some(log))
}

/// Binds every listener; the ports that the system chose become known to redirects.
fn bind(snapshot: &Snapshot) -> anyhow::Result<Vec<Socket>> {
    let mut sockets = Vec::with_capacity(snapshot.listeners.len());
    for listener in &snapshot.listeners {
        let socket = bind_socket(&listener.spec.address)
            .with_context(|| format!("listener {} cannot listen", listener.name))?;
        tracing::info!(listener = &*listener.name, address = %socket.local_address(), "listening");
        sockets.push(socket);
    }
    for redirect in snapshot.listeners.iter().filter_map(|listener| listener.redirect_to.as_ref()) {
        let to = snapshot.listeners.iter().position(|listener| *listener.name == *redirect.listener);
        if let Some(Endpoint::Inet(bound)) = to.and_then(|to| sockets.get(to)).map(Socket::local_address) {
            redirect.port.store(bound.port(), Ordering::Relaxed);
        }
    }
    Ok(sockets)
}

/// The read-only metrics address and the control interface.
fn open_doors(file: &File, directories: &Directories) -> anyhow::Result<Vec<(&'static str, Door)>> {
    let mut doors = Vec::new();
    if let Some(metrics) = &file.observability.metrics {
        doors.push((
            "metrics",
            Door::metrics(&metrics.address).context("observability.metrics cannot listen")?,
        ));
    }
    match Door::admin(file.admin.address.as_ref(), &directories.run) {
        Ok(door) => doors.push(("admin", door)),
        Err(error) if file.admin.address.is_some() => bail!("admin cannot listen: {error}"),
        // Two of them with one run directory: the second one serves, without its control interface.
        Err(error) => tracing::warn!("no control interface: {error}"),
    }
    Ok(doors)
}

/// Connections at once over all listeners: what the listeners ask for, as far as there are files for it.
fn most_connections(snapshot: &Snapshot, open_files: u64) -> u32 {
    let written = snapshot.listeners.iter().filter_map(|listener| listener.spec.limits.connections);
    let asked = written.fold(0u32, u32::saturating_add).max(fd_limit::default_connections(open_files));
    let possible = u32::try_from(open_files / 10 * 9).unwrap_or(u32::MAX).max(1);
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

fn control_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("lintel-control")
        .enable_all()
        .build()
        .context("cannot start the control runtime")
}
