//! The doors of the control interface: opened before a plan is taken, exchanged when it is.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::inherited::Inherited;
use crate::admin::locks::LockError;
use crate::admin::{self, Door, Entry, Locks, OpenError, Surface};
use crate::config::File;
use crate::control::Directories;
use crate::net::Address;

/// How long a door that is given up still answers: whoever asked for it asked there.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// What is open now.
#[derive(Default)]
pub struct Doors {
    metrics: Option<Open>,
    admin: Option<Open>,
    /// What the door of `admin` asks for.
    locks: Arc<ArcSwap<Locks>>,
    /// Those on their way out.
    given_up: JoinSet<()>,
    /// Of doors that are still to be opened.
    entry: Entry,
}

struct Open {
    /// As written; `None` for the default.
    address: Option<Address>,
    /// For an upgrade: one more descriptor of it, what it is bound to, and a word that its file stays.
    descriptor: Option<OwnedFd>,
    bound: Option<Address>,
    leaves_file: Arc<AtomicBool>,
    entry: watch::Sender<Entry>,
    serving: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Doors of another plan than the one in force; `None` where nothing changes.
pub struct Prepared {
    metrics: Option<Option<Door>>,
    admin: Option<Door>,
    locks: Arc<Locks>,
}

/// Why a door cannot be opened, and the key that it is written under.
#[derive(Debug, thiserror::Error)]
#[error("{at} cannot listen: {source}")]
pub struct PrepareError {
    pub at: String,
    pub source: OpenError,
}

fn first_lock(errors: Vec<LockError>) -> PrepareError {
    let first = errors.into_iter().next();
    let first = first.unwrap_or_else(|| LockError { at: "admin".to_owned(), message: "no locks".to_owned() });
    PrepareError { at: first.at.clone(), source: OpenError::Lock(first) }
}

impl Doors {
    /// For a process that follows another one: newcomers are the other's until they are let in.
    pub fn held() -> Self {
        Self { entry: Entry::Held, ..Self::default() }
    }

    /// Leaves newcomers at the door of this name in its queue.
    pub fn hold(&self, door: &str) {
        let doors = [("metrics", &self.metrics), ("admin", &self.admin)];
        for open in doors.into_iter().filter_map(|(name, open)| open.as_ref().filter(|_| name == door)) {
            open.entry.send_replace(Entry::Held);
        }
    }

    /// Lets newcomers in at all doors.
    pub fn free(&mut self) {
        self.entry = Entry::Free;
        for open in [&self.metrics, &self.admin].into_iter().flatten() {
            open.entry.send_replace(Entry::Free);
        }
    }

    /// Waits for doors that were given up to be closed: one of their addresses may be asked for again.
    pub async fn settle(&mut self) {
        while self.given_up.join_next().await.is_some() {}
    }

    /// Opens what is new.
    pub fn prepare(
        &self,
        file: &File,
        directories: &Directories,
        inherited: &mut Inherited,
    ) -> Result<Prepared, PrepareError> {
        let written = file.observability.metrics.as_ref().map(|metrics| &metrics.address);
        let is_same = self.metrics.as_ref().and_then(|open| open.address.as_ref()) == written;
        let metrics = if is_same {
            None
        } else {
            let at = "observability.metrics.address";
            let open = |address: &Address| match inherited.door("metrics", address, &self.locks) {
                Some(door) => Ok(door),
                None => Door::metrics(address),
            };
            Some(written.map(open).transpose().map_err(|source| PrepareError { at: at.to_owned(), source })?)
        };
        let locks = Arc::new(Locks::read(&file.admin).map_err(first_lock)?);
        let written = file.admin.address.as_ref();
        if self.admin.as_ref().is_some_and(|open| open.address.as_ref() == written) {
            return Ok(Prepared { metrics, admin: None, locks });
        }
        let place = written.cloned().unwrap_or_else(|| Address::Unix(directories.run.join("admin.sock")));
        if let Some(door) = inherited.door("admin", &place, &self.locks) {
            return Ok(Prepared { metrics, admin: Some(door), locks });
        }
        let admin = match Door::admin(written, &self.locks, &locks, &directories.run) {
            Ok(door) => Some(door),
            Err(source) if written.is_some() => {
                return Err(PrepareError { at: "admin.address".to_owned(), source });
            }
            // Two of them with one run directory: the second one serves, without its control interface.
            Err(error) => {
                tracing::warn!("no control interface: {error}");
                None
            }
        };
        Ok(Prepared { metrics, admin, locks })
    }

    pub fn commit(&mut self, file: &File, prepared: Prepared, surface: &Arc<Surface>) {
        self.locks.store(prepared.locks);
        if let Some(metrics) = prepared.metrics {
            let address = file.observability.metrics.as_ref().map(|metrics| metrics.address.clone());
            let open = metrics.map(|door| open("metrics", address, door, surface, self.entry));
            let before = std::mem::replace(&mut self.metrics, open);
            self.given_up.spawn(give_up(before));
        }
        if let Some(door) = prepared.admin {
            let open = open("admin", file.admin.address.clone(), door, surface, self.entry);
            let before = self.admin.replace(open);
            self.given_up.spawn(give_up(before));
        }
    }
}

impl Doors {
    /// The open doors, for another process: name, address as bound, descriptor.
    pub fn descriptors(&self) -> Vec<(&'static str, Address, OwnedFd)> {
        let doors = [("metrics", &self.metrics), ("admin", &self.admin)];
        let doors = doors.into_iter().filter_map(|(name, open)| Some((name, open.as_ref()?)));
        doors
            .filter_map(|(name, open)| {
                Some((name, open.bound.clone()?, open.descriptor.as_ref()?.try_clone().ok()?))
            })
            .collect()
    }

    /// Closes them, and waits for that.
    pub async fn close(&mut self) {
        for mut open in [self.metrics.take(), self.admin.take()].into_iter().flatten() {
            open.serving.abort();
            let _ = (&mut open.serving).await;
        }
    }

    /// Another process serves them from now on, but for those of these names.
    pub fn leave_files(&self, but_for: &[String]) {
        for (name, open) in [("metrics", &self.metrics), ("admin", &self.admin)] {
            if let Some(open) = open.as_ref().filter(|_| !but_for.iter().any(|but| but == name)) {
                open.leaves_file.store(true, Ordering::Relaxed);
            }
        }
    }
}

async fn give_up(door: Option<Open>) {
    let Some(mut door) = door else { return };
    tokio::time::sleep(LAST_ANSWERS).await;
    door.serving.abort();
    // Its socket is closed then.
    let _ = (&mut door.serving).await;
}

fn open(name: &str, address: Option<Address>, door: Door, surface: &Arc<Surface>, entry: Entry) -> Open {
    let (descriptor, bound) = (door.descriptor().ok(), door.address().parse().ok());
    let leaves_file = door.leaves_file();
    tracing::info!(listener = name, address = %door.address(), "listening");
    let surface = Arc::clone(surface);
    let (entry, entered) = watch::channel(entry);
    let serving = tokio::spawn(async move {
        if let Err(error) = admin::serve(door, surface, entered).await {
            tracing::error!(%error, "the control interface cannot be served");
        }
    });
    Open { address, descriptor, bound, leaves_file, entry, serving }
}
