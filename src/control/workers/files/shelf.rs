//! The files of an app as they stand: written to, put aside, compressed and thrown away.
//!
//! Files are taken by their names each time, never from memory, so a folder is in order again after whatever happened to
//! it: a crash halfway, a restart, a `logrotate` or `rm` of somebody else.

use std::collections::BTreeMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;

use super::name::{self, Form, Name};
use super::pack::pack;
use super::rules::{Old, Rules};

/// How often it is looked whether a file has been compressed.
const LOOK: Duration = Duration::from_millis(100);
/// A time as it stands at the beginning of a line is shorter.
const LONGEST_TIME: usize = 40;

/// The files of one app. Times are since 1970.
pub struct Shelf {
    folder: PathBuf,
    pool: String,
    /// None: others put files aside.
    rules: Option<Rules>,
    open: BTreeMap<u32, Open>,
    /// The one file that is compressed at the moment.
    packing: Option<JoinHandle<io::Result<()>>>,
    /// The stamp of the last file that was put aside.
    latest: Duration,
    /// Old files have changed since it was looked which may go.
    is_untidy: bool,
}

struct Open {
    file: File,
    /// Which file it is, whatever its name is by now.
    identity: (u64, u64),
    began: Duration,
    /// A line ended in the middle.
    is_torn: bool,
}

impl Shelf {
    /// Makes the folder. What an earlier process left there is seen to by the first `look`.
    pub fn open(folder: &Path, pool: &str, rules: Option<Rules>) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            pool: pool.to_owned(),
            rules,
            open: BTreeMap::new(),
            packing: None,
            latest: Duration::ZERO,
            is_untidy: true,
        })
    }

    /// Adds whole lines to the file of a worker.
    pub fn put(&mut self, worker: u32, text: &str, now: Duration) -> io::Result<()> {
        let path = self.path(Name::Current { worker });
        let mut written = match (self.open.get(&worker), std::fs::symlink_metadata(&path)) {
            (Some(open), Ok(found)) if open.identity == identity(&found) => found.len(),
            // Somebody has renamed or removed it, as `logrotate` does: the next one takes its place.
            _ => self.reopen(worker, &path, now)?,
        };
        let began = self.open.get(&worker).map_or(now, |open| open.began);
        let (more, count) = (text.len() as u64, self.open.len());
        let is_over = |rules: &Rules| rules.is_full(written, more, count) || rules.is_due(began, now);
        if written > 0 && self.rules.as_ref().is_some_and(is_over) {
            self.put_aside(worker, now)?;
            written = self.reopen(worker, &path, now)?;
        }
        let Some(open) = self.open.get_mut(&worker) else { return Ok(()) };
        if written == 0 {
            open.began = now;
        }
        open.write(text, written)
    }

    /// Puts old files aside, throws superfluous ones away and compresses the rest, one at a time.
    pub fn look(&mut self, now: Duration) -> io::Result<()> {
        let Some(rules) = self.rules.clone() else { return Ok(()) };
        let of_age = self.open.iter().filter(|(_, open)| rules.is_due(open.began, now));
        for worker in of_age.map(|(worker, _)| *worker).collect::<Vec<u32>>() {
            self.put_aside(worker, now)?;
        }
        if let Some(packing) = self.packing.take_if(|packing| packing.is_finished()) {
            self.is_untidy = true;
            packing.join().unwrap_or_else(|_| Err(io::Error::other("compressing panicked")))?;
        }
        if self.is_untidy {
            self.tidy(&rules)?;
            self.is_untidy = false;
        }
        Ok(())
    }

    /// How long nothing needs to be looked at; none: until something is written.
    pub fn rest(&self, now: Duration) -> Option<Duration> {
        let rules = self.rules.as_ref()?;
        let dues = self.open.values().filter_map(|open| rules.due(open.began));
        let rest = dues.min().map(|due| due.saturating_sub(now));
        if self.packing.is_some() { Some(rest.map_or(LOOK, |rest| rest.min(LOOK))) } else { rest }
    }

    pub fn path(&self, name: Name) -> PathBuf {
        self.folder.join(name.text(&self.pool))
    }

    /// Opens the file of a worker; its length.
    fn reopen(&mut self, worker: u32, path: &Path, now: Duration) -> io::Result<u64> {
        self.open.remove(&worker);
        self.is_untidy = true;
        let open = || options().read(true).append(true).create(true).open(path);
        let file = match open() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                std::fs::create_dir_all(&self.folder)?;
                open()?
            }
            opened => opened?,
        };
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::other("this is no plain file"));
        }
        let began = if found.len() == 0 { now } else { began(&file).unwrap_or_else(|| modified(&found)) };
        let mut last = *b"\n";
        file.read_at(&mut last, found.len().saturating_sub(1))?;
        self.open.insert(worker, Open { file, identity: identity(&found), began, is_torn: last != *b"\n" });
        Ok(found.len())
    }

    fn put_aside(&mut self, worker: u32, now: Duration) -> io::Result<()> {
        self.is_untidy = true;
        let path = self.path(Name::Current { worker });
        self.open.remove(&worker);
        // Later than all before, also when the clock goes back.
        let now = Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        let mut stamp = now.max(self.latest.saturating_add(Duration::from_millis(1)));
        let aside = |stamp, form| self.path(Name::Aside { stamp, worker, form });
        while aside(stamp, Form::Plain).exists() || aside(stamp, Form::Packed).exists() {
            stamp += Duration::from_millis(1);
        }
        match std::fs::rename(&path, aside(stamp, Form::Plain)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        self.latest = stamp;
        Ok(())
    }

    fn tidy(&mut self, rules: &Rules) -> io::Result<()> {
        let (mut old, mut in_use) = (Vec::new(), 0);
        let size = rules.size(self.open.len());
        for (name, found) in self.list()? {
            match name {
                // Left by a process that ended: nothing is compressed now.
                Name::Aside { form: Form::Part, .. } if self.packing.is_none() => self.remove(name)?,
                Name::Aside { form: Form::Part, .. } => in_use += found.len(),
                // The same: the compressed file has its name, so it is whole.
                Name::Aside { form: Form::Plain, .. }
                    if self.packing.is_none() && self.path(name.in_form(Form::Packed)).exists() =>
                {
                    self.remove(name)?;
                }
                // What it may grow to.
                Name::Current { worker } if self.open.contains_key(&worker) => {
                    in_use += found.len().max(size)
                }
                Name::Current { .. } => old.push(Old { name, bytes: found.len(), at: modified(&found) }),
                Name::Aside { stamp, .. } => {
                    self.latest = self.latest.max(stamp);
                    old.push(Old { name, bytes: found.len(), at: stamp });
                }
            }
        }
        let superfluous = rules.superfluous(old.clone(), in_use);
        for name in &superfluous {
            self.remove(*name)?;
        }
        let is_plain = |name: &Name| matches!(name, Name::Aside { form: Form::Plain, .. });
        let kept = old.iter().map(|file| file.name).filter(|name| !superfluous.contains(name));
        // The newest waits until there is time: it is the one that people look at.
        if let Some(plain) = kept.filter(is_plain).min()
            && rules.0.compress
            && self.packing.is_none()
        {
            self.packing = Some(self.pack(plain)?);
        }
        Ok(())
    }

    /// Compresses a file on a thread of its own.
    fn pack(&self, plain: Name) -> io::Result<JoinHandle<io::Result<()>>> {
        let [plain, part, packed] =
            [Form::Plain, Form::Part, Form::Packed].map(|form| self.path(plain.in_form(form)));
        thread::Builder::new().name("lintel-gzip".to_owned()).spawn(move || {
            pack(&plain, &part, &packed).map_err(|error| named(&plain, "cannot be compressed", &error))
        })
    }

    fn remove(&self, name: Name) -> io::Result<()> {
        let path = self.path(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(named(&path, "cannot be removed", &error))
            }
            _ => Ok(()),
        }
    }

    /// Lintel's own files.
    fn list(&self) -> io::Result<Vec<(Name, Metadata)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_str().and_then(|text| Name::parse(&self.pool, text));
            // One that has gone in the meantime has no metadata.
            if let (Some(name), Ok(metadata)) = (name, entry.metadata())
                && metadata.is_file()
            {
                found.push((name, metadata));
            }
        }
        Ok(found)
    }
}

impl Open {
    /// Adds whole lines to a file of `length` bytes.
    fn write(&mut self, text: &str, length: u64) -> io::Result<()> {
        if self.is_torn {
            self.file.write_all(b"\n")?;
            self.is_torn = false;
        }
        let written = self.file.write_all(text.as_bytes());
        if written.is_err() {
            self.is_torn = self.file.metadata().is_ok_and(|found| found.len() > length);
        }
        written
    }
}

/// How every file is opened: for nobody else to read, neither following a link that a worker may have put there, nor
/// waiting for a pipe's other end.
pub fn options() -> OpenOptions {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.mode(0o640).custom_flags(flags.bits().cast_signed());
    options
}

/// When the first line of a file was written, which begins with the time.
fn began(file: &File) -> Option<Duration> {
    let mut first = [b' '; LONGEST_TIME];
    file.read_at(&mut first, 0).ok()?;
    let time = std::str::from_utf8(first.split(|byte| *byte == b' ').next()?).ok()?;
    name::since_epoch(time.parse().ok()?)
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn modified(metadata: &Metadata) -> Duration {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    modified.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn named(path: &Path, what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{} {what}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
