//! Plans: everything that a reload does up to the point where something would change, and what would change from there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::reload::at;
use super::running::Running;
use crate::config::{self, Loaded, Problems};
use crate::control::command::InForce;
use crate::control::plan::{Figures, Plan};
use crate::control::workers;
use crate::observe::metrics::Metrics;
use crate::snapshot::build::Surroundings;
use crate::worker::spec::Instances;

impl Running {
    /// What a reload would change; all problems if it would be refused. `renewed` are files of the config in force that
    /// were written anew.
    pub fn plan(&self, renewed: &BTreeSet<PathBuf>) -> Result<Plan, Problems> {
        let loaded = config::load(&self.path, &|name| std::env::var(name).ok())?;
        self.check_access_log(&loaded)?;
        let before = self.live.load_full();
        let surroundings = Surroundings {
            // Metrics of their own: servers that are never to be would be shown in place of those that serve.
            metrics: Metrics::new(env!("CARGO_PKG_VERSION")),
            access_log: None,
            // A key for sticky cookies is made when it is needed, not before.
            state_directory: None,
            before: Some(&before),
        };
        let prepared = self.prepare(&loaded, &surroundings)?;
        let auto = workers::count(Instances::Auto);
        let figures = Figures::of(&before, auto, |pool| {
            let instances = self.workers.view(pool)["instances"].as_u64();
            instances.and_then(|count| u16::try_from(count).ok())
        });
        let plan = Plan::between(&self.loaded, &loaded, &figures, renewed);
        Ok(Plan { warnings: prepared.warnings, ..plan })
    }

    /// The config in force as it may be shown.
    pub fn in_force(&self) -> InForce {
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        InForce { path, hash: self.loaded.source.hash(), config: self.loaded.shown() }
    }

    /// Whether another access log could be written, without making its file.
    fn check_access_log(&self, loaded: &Loaded) -> Result<(), Problems> {
        let spec = &loaded.file.observability.access_log;
        let is_same = *spec == self.loaded.file.observability.access_log;
        let is_stream = matches!(spec.path.to_str(), Some("stdout" | "stderr"));
        if is_same || is_stream || !spec.enabled {
            return Ok(());
        }
        let folder = spec.path.parent().unwrap_or(Path::new("/"));
        let outcome = match spec.path.exists() {
            true => access(&spec.path, Access::WRITE_OK),
            false => access(folder, Access::WRITE_OK | Access::EXEC_OK),
        };
        outcome.map_err(|error| {
            let why = format!("cannot open the access log {}: {error}", spec.path.display());
            at(loaded, "observability.access_log", &why)
        })
    }
}
