//! What all apps share: the keeper of their processes, the desk where these report, and who is told of what happens.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::Places;
use super::crew::News;
use super::desk::Desk;
use crate::keeper::{self, Exit, Keeper, Report};
use crate::snapshot::PoolPlan;

/// What Node loads before an app.
const PRELOAD: &str = include_str!("../../worker/preload.cjs");

/// Made with the first app.
#[derive(Clone)]
pub struct Station {
    pub keeper: Arc<Mutex<Keeper>>,
    pub desk: Arc<Desk>,
    pub folder: PathBuf,
    pub preload: PathBuf,
    pub runs: Arc<AtomicU64>,
    pub newsrooms: Arc<Mutex<Newsrooms>>,
}

/// Whoever hears of what the keeper reports.
pub struct Newsrooms {
    rooms: Vec<mpsc::UnboundedSender<News>>,
    /// Ends of processes from before all apps were there to hear of them; none are kept after that.
    early: Option<Vec<(u64, Exit)>>,
}

impl Newsrooms {
    fn new() -> Self {
        Self { rooms: Vec::new(), early: Some(Vec::new()) }
    }

    /// An app hears from here on, and of what it has missed: a worker that it takes over may have ended meanwhile.
    pub fn add(&mut self, room: mpsc::UnboundedSender<News>) {
        self.rooms.retain(|room| !room.is_closed());
        for (run, how) in self.early.iter().flatten() {
            let _ = room.send(News::Exited { run: *run, how: *how });
        }
        self.rooms.push(room);
    }

    /// Every app that was there before is there again.
    pub fn are_complete(&mut self) {
        self.early = None;
    }

    fn tell_of_exit(&mut self, run: u64, how: Exit) {
        if let Some(early) = &mut self.early {
            early.push((run, how));
        }
        self.tell(|| News::Exited { run, how });
    }

    fn tell(&self, news: impl Fn() -> News) {
        for room in &self.rooms {
            let _ = room.send(news());
        }
    }
}

impl Station {
    /// `last_run`: the highest that was ever given out.
    pub fn open(
        places: &Places,
        plans: &[&Arc<PoolPlan>],
        keeper: Keeper,
        reports: mpsc::UnboundedReceiver<Report>,
        last_run: u64,
    ) -> io::Result<Self> {
        let folder = places.run_directory.join("workers");
        std::fs::create_dir_all(&folder)?;
        let preload = folder.join("preload.cjs");
        std::fs::write(&preload, PRELOAD)?;
        let desk = Arc::new(Desk::open(&folder.join("control.sock"), users(plans))?);
        if plans.iter().any(|plan| plan.pool.spec.app.as_ref().is_some_and(|app| app.user.is_some())) {
            open_to_others(&places.run_directory, &folder, desk.path())?;
        }
        let keeper = Arc::new(Mutex::new(keeper));
        let newsrooms = Arc::new(Mutex::new(Newsrooms::new()));
        let relay = Relay {
            program: places.program.clone(),
            keeper: Arc::clone(&keeper),
            newsrooms: Arc::clone(&newsrooms),
        };
        tokio::spawn(relay.run(reports));
        let runs = Arc::new(AtomicU64::new(last_run));
        Ok(Self { keeper, desk, folder, preload, runs, newsrooms })
    }

    /// Listens to the workers of these as well.
    pub fn admit(&self, plans: &[&Arc<PoolPlan>]) {
        self.desk.admit(users(plans));
    }
}

/// Tells every app what the keeper reports; each knows its own runs.
struct Relay {
    program: PathBuf,
    keeper: Arc<Mutex<Keeper>>,
    newsrooms: Arc<Mutex<Newsrooms>>,
}

impl Relay {
    async fn run(self, mut reports: mpsc::UnboundedReceiver<Report>) {
        while let Some(report) = reports.recv().await {
            match report {
                Report::Exited { run, how, .. } => self.newsrooms.lock().tell_of_exit(run, how),
                Report::Lost => {
                    tracing::error!(
                        "the keeper of workers is gone, and all workers with it: both are started again"
                    );
                    match Keeper::start(&self.program) {
                        Ok((keeper, another)) => (*self.keeper.lock(), reports) = (keeper, another),
                        Err(error) => {
                            tracing::error!(%error, "the keeper cannot be started: Lintel must be restarted");
                        }
                    }
                    self.newsrooms.lock().tell(|| News::KeeperLost);
                }
            }
        }
    }
}

/// Who workers run as, besides Lintel's own user. One that does not exist shows when its worker is to be started.
fn users(plans: &[&Arc<PoolPlan>]) -> Vec<u32> {
    let names = plans.iter().filter_map(|plan| plan.pool.spec.app.as_ref()?.user.as_deref());
    names.filter_map(keeper::user_id).collect()
}

/// Lets workers of other users reach what is theirs: the preload, and the socket on which they report.
fn open_to_others(run_directory: &Path, folder: &Path, desk: &Path) -> io::Result<()> {
    let allow = |path: &Path, mode: u32| std::fs::set_permissions(path, Permissions::from_mode(mode));
    // To pass through; what else is in it keeps its own mode.
    let mode = std::fs::metadata(run_directory)?.permissions().mode();
    allow(run_directory, (mode & 0o7777) | 0o011)?;
    allow(folder, 0o711)?;
    allow(desk, 0o666)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(room: &mut mpsc::UnboundedReceiver<News>) -> Vec<u64> {
        let mut runs = Vec::new();
        while let Ok(News::Exited { run, .. }) = room.try_recv() {
            runs.push(run);
        }
        runs
    }

    #[test]
    fn an_app_hears_of_workers_that_ended_before_it_was_there() {
        let mut newsrooms = Newsrooms::new();
        let ((one, mut first), (other, mut second), (late, mut third)) =
            (mpsc::unbounded_channel(), mpsc::unbounded_channel(), mpsc::unbounded_channel());
        newsrooms.tell_of_exit(7, Exit::Code(0));
        newsrooms.add(one);
        newsrooms.tell_of_exit(8, Exit::Signal(9));
        newsrooms.add(other);
        newsrooms.are_complete();
        newsrooms.tell_of_exit(9, Exit::Code(1));
        newsrooms.add(late);
        assert_eq!((heard(&mut first), heard(&mut second)), (vec![7, 8, 9], vec![7, 8, 9]));
        assert!(heard(&mut third).is_empty(), "what was before its app was, is none of its runs");
    }
}
