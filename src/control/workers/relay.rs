//! From the keeper to the apps: what it reports, and its own end.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::crew::News;
use crate::keeper::{Keeper, Report};

/// Whoever hears of what the keeper reports.
pub type Newsrooms = Arc<Mutex<Vec<mpsc::UnboundedSender<News>>>>;

/// Tells every app what the keeper reports; each knows its own runs.
pub struct Relay {
    pub program: PathBuf,
    pub keeper: Arc<Mutex<Keeper>>,
    pub newsrooms: Newsrooms,
}

impl Relay {
    pub async fn run(self, mut reports: mpsc::UnboundedReceiver<Report>) {
        while let Some(report) = reports.recv().await {
            match report {
                Report::Exited { run, how, .. } => self.tell(|| News::Exited { run, how }),
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
                    self.tell(|| News::KeeperLost);
                }
            }
        }
    }

    fn tell(&self, news: impl Fn() -> News) {
        for newsroom in &*self.newsrooms.lock() {
            let _ = newsroom.send(news());
        }
    }
}
