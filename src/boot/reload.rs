//! Reload: build, publish, reconcile. Until the first step of the second part nothing has changed; after it nothing can
//! fail any more.

use std::path::PathBuf;
use std::sync::Arc;

use super::farewell::Gone;
use super::inherited::Inherited;
use super::running::{Running, admit_connections, open_access_log};
use super::watch::Changed;
use super::{doors, listeners, located, service, warm};
use crate::clock;
use crate::config::{self, Loaded, Problems, render};
use crate::control::command::{LastReload, Reloaded};
use crate::control::plan::needs_restart;
use crate::snapshot::build::{Built, Surroundings};
use crate::snapshot::{self, Snapshot};

impl Running {
    /// Reads the file that the program was started with, and takes it if there is no problem in it.
    pub async fn reload_from_file(&mut self, asked_by: &str) -> Result<Reloaded, Problems> {
        let (loaded, read) = config::load_noting(&self.path, &|name| std::env::var(name).ok());
        self.take(asked_by, loaded, read).await
    }

    /// Files changed that are looked after.
    pub async fn take_note(&mut self, changed: Changed) {
        if changed.config && self.loaded.file.runtime.watch {
            let (loaded, read) = config::load_noting(&self.path, &|name| std::env::var(name).ok());
            let says_the_same =
                loaded.as_ref().is_ok_and(|loaded| loaded.source.hash() == self.loaded.source.hash());
            if !says_the_same || !self.refused.is_empty() {
                let _ = self.take("a changed file", loaded, read).await;
                return;
            }
        }
        if changed.others {
            tracing::info!("certificates or keys have changed");
            let outcome = self.reload(self.loaded.clone()).await;
            self.note(&outcome);
        }
    }

    async fn take(
        &mut self,
        asked_by: &str,
        loaded: Result<Loaded, Problems>,
        mut read: Vec<PathBuf>,
    ) -> Result<Reloaded, Problems> {
        service::reloading();
        tracing::info!(by = asked_by, file = %self.path.display(), "reloading");
        let outcome = match loaded {
            Ok(loaded) => {
                read.extend(loaded.file.files());
                self.reload(loaded).await
            }
            Err(problems) => Err(problems),
        };
        // What would mend it is looked after as well.
        self.refused = Refused::default();
        if let Err(problems) = &outcome {
            self.refused = Refused { problems: problems.0.iter().map(render::line).collect(), files: read };
        }
        self.note(&outcome);
        service::ready();
        outcome
    }

    /// Says in log, metrics and status how it went. Renewed certificates mend no file that was refused.
    fn note(&self, outcome: &Result<Reloaded, Problems>) {
        let at = clock::since_epoch().as_secs();
        match outcome {
            Ok(reloaded) => {
                for warning in &reloaded.warnings {
                    tracing::warn!("{warning}");
                }
                if !reloaded.needs_restart.is_empty() {
                    tracing::warn!(keys = ?reloaded.needs_restart, "these keys only count after a restart");
                }
                tracing::info!(hash = reloaded.hash, "the new config is in force");
            }
            Err(problems) => {
                for problem in &problems.0 {
                    tracing::error!("config refused: {}", render::line(problem));
                }
            }
        }
        let mut problems = self.refused.problems.clone();
        let others = outcome.as_ref().err().into_iter().flat_map(|problems| &problems.0).map(render::line);
        problems.extend(others.filter(|line| !self.refused.problems.contains(line)));
        if !problems.is_empty() {
            self.metrics.process.config_refused();
        }
        *self.last_reload.lock() = LastReload { at, problems };
    }

    /// Waits for what was given up a moment ago: its addresses may be asked for again.
    pub(super) async fn settle(&mut self) {
        self.listeners.settle().await;
        self.doors.settle().await;
    }

    async fn reload(&mut self, loaded: Loaded) -> Result<Reloaded, Problems> {
        self.settle().await;
        let before = self.live.load_full();
        let is_same_log = loaded.file.observability.access_log == self.loaded.file.observability.access_log;
        let access_log = if is_same_log {
            self.access_log.clone()
        } else {
            let failed =
                |error: anyhow::Error| at(&loaded, "observability.access_log", &format!("{error:#}"));
            open_access_log(&loaded.file).map_err(failed)?
        };
        let surroundings = Surroundings {
            metrics: Arc::clone(&self.metrics),
            access_log: access_log.clone(),
            state_directory: Some(&self.directories.state),
            before: Some(&before),
        };
        let Prepared { built, sockets, doors, warnings } = self.prepare(&loaded, &surroundings)?;
        let needs_restart = needs_restart(&self.loaded.file, &loaded.file);
        self.warm_up(&loaded, &built.snapshot, &before).await?;

        // From here on nothing fails.
        let gone = Gone::between(&before, &built.snapshot);
        let snapshot = Arc::new(built.commit(Some(&before)));
        self.listeners.limit_to(admit_connections(&snapshot, self.open_files));
        self.live.store(Arc::clone(&snapshot));
        let gone = gone.with_listeners(&self.listeners.commit(&snapshot, &self.engines, sockets));
        if !gone.is_empty() {
            tokio::spawn(gone.run(before.drain_timeout, self.engines.waker()));
        }
        self.doors.commit(&loaded.file, doors, &self.surface);
        self.tasks.reconcile(&snapshot);
        if let Err(error) = self.workers.reconcile(&snapshot) {
            tracing::error!(%error, "workers cannot be made those of the new config");
        }
        if self.loaded.file.observability.log.level != loaded.file.observability.log.level {
            (self.log.set_level)(loaded.file.observability.log.level);
        }
        if !is_same_log && let Some(log) = &access_log {
            self.metrics.process.follow_access_log(log.counts());
        }
        // Exchanges of the plan before still write to the one before, for as long as they hold it.
        self.access_log = access_log;
        let hash = loaded.source.hash();
        self.metrics.process.config_loaded(&hash);
        self.loaded = loaded;
        Ok(Reloaded { hash, warnings, needs_restart })
    }

    /// Starts, looks up and checks what is new in a plan, and waits a while for it. Where an app cannot be started, all is
    /// as it was.
    async fn warm_up(&self, loaded: &Loaded, next: &Snapshot, before: &Snapshot) -> Result<(), Problems> {
        self.tasks.tend(next);
        if let Err((pool, error)) = self.workers.start_new(next) {
            self.tasks.reconcile(before);
            if let Err(error) = self.workers.reconcile(before) {
                tracing::error!(%error, "workers cannot be made those of the config in force");
            }
            return Err(at(loaded, &format!("pools.{pool}.app"), &format!("cannot be started: {error}")));
        }
        warm::up(next, before).await;
        Ok(())
    }

    /// Builds the plan of a file and opens what it needs, beside all that is in force; all that can fail does here.
    pub(super) fn prepare(
        &self,
        loaded: &Loaded,
        surroundings: &Surroundings<'_>,
    ) -> Result<Prepared, Problems> {
        let built =
            snapshot::build(&loaded.file, surroundings).map_err(|problems| located(loaded, &problems))?;
        let sockets = self.listeners.prepare(&built.snapshot, &self.engines, &mut Inherited::default());
        let sockets = sockets.map_err(|errors| {
            let problem = |(name, error): (Arc<str>, super::listeners::ListenError)| {
                loaded.source.problem_at(&format!("listeners.{name}.address"), error.to_string())
            };
            Problems(errors.into_iter().map(problem).collect())
        })?;
        let doors = self.doors.prepare(&loaded.file, &self.directories, &mut Inherited::default());
        let doors = doors.map_err(|error| at(loaded, &error.at, &error.source.to_string()))?;
        let mut warnings: Vec<String> = loaded.warnings.0.iter().map(render::line).collect();
        let late = built.warnings.iter();
        warnings.extend(
            late.map(|warning| render::line(&loaded.source.warning_at(&warning.at, &warning.message))),
        );
        Ok(Prepared { built, sockets, doors, warnings })
    }
}

/// The file that was refused last, while it is not mended.
#[derive(Debug, Default)]
pub struct Refused {
    /// What was wrong, as people read it; empty while none is refused.
    problems: Vec<String>,
    /// What was read for it, and what it names.
    pub files: Vec<PathBuf>,
}

impl Refused {
    fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }
}

/// A plan that can be taken: dropped, it leaves nothing behind.
pub(super) struct Prepared {
    pub built: Built,
    pub sockets: listeners::Prepared,
    pub doors: doors::Prepared,
    pub warnings: Vec<String>,
}

pub(super) fn at(loaded: &Loaded, key: &str, message: &str) -> Problems {
    Problems(vec![loaded.source.problem_at(key, message)])
}
