//! What is known of the whole process: its build, its config, its logs, and what Linux says of it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::cell::{Counter, Gauge};
use super::family::{Cells, Family, Handle, Kind, Samples};
use crate::clock;
use crate::observe::access_log::Counts;

/// Handle of one certificate of a listener.
pub type CertificateMetrics = Handle<CertificateCells>;

#[derive(Debug, Default)]
pub struct CertificateCells {
    /// End of validity (notAfter), in seconds since 1970.
    pub expiry: Gauge,
}

#[derive(Debug, Default)]
pub struct ProcessCells {
    pub(super) version: Mutex<String>,
    pub(super) start: Mutex<Duration>,
    pub(super) config: Mutex<Config>,
    pub(super) access_log: Mutex<Option<Arc<Counts>>>,
    pub(super) log_dropped: Mutex<Option<Arc<Counter>>>,
    pub(super) admin_refused: Mutex<Option<Arc<Counter>>>,
}

/// What became of the config.
#[derive(Debug, Default)]
pub(super) struct Config {
    /// Empty before the first load.
    pub hash: String,
    pub loaded: Duration,
    pub last_load_ok: bool,
}

impl ProcessCells {
    /// A config was loaded and serves; `hash` tells one file from another.
    pub fn config_loaded(&self, hash: &str) {
        *self.config.lock() =
            Config { hash: hash.to_owned(), loaded: clock::since_epoch(), last_load_ok: true };
    }

    /// A config was refused; the one before serves on.
    pub fn config_refused(&self) {
        self.config.lock().last_load_ok = false;
    }

    /// The access log whose lines are shown from now on.
    pub fn follow_access_log(&self, counts: Arc<Counts>) {
        *self.access_log.lock() = Some(counts);
    }

    /// Where the program log counts the lines it could not write.
    pub fn follow_log(&self, dropped: Arc<Counter>) {
        *self.log_dropped.lock() = Some(dropped);
    }

    /// Where the control interface counts whom it did not let in.
    pub fn follow_admin(&self, refused: Arc<Counter>) {
        *self.admin_refused.lock() = Some(refused);
    }

    fn access_log(&self, samples: &mut Samples<'_>, count: fn(&Counts) -> &Counter) {
        if let Some(counts) = &*self.access_log.lock() {
            samples.value(&[], count(counts).count() as f64);
        }
    }
}

impl Cells for CertificateCells {
    const LABELS: &'static [&'static str] = &["listener", "certificate"];
    const FAMILIES: &'static [Family<Self>] = &[Family {
        name: "lintel_certificate_expiry_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "When a listener's certificate ends to be valid, in seconds since 1970.",
        read: |cells, samples| samples.value(&[], cells.expiry.value() as f64),
    }];
}

impl Cells for ProcessCells {
    const LABELS: &'static [&'static str] = &[];
    const FAMILIES: &'static [Family<Self>] = &[
        Family {
            name: "lintel_build_info",
            kind: Kind::Gauge,
            labels: &["version"],
            help: "Always 1; the label says which version runs.",
            read: |cells, samples| samples.value(&[cells.version.lock().as_str()], 1.0),
        },
        Family {
            name: "lintel_config_info",
            kind: Kind::Gauge,
            labels: &["hash"],
            help: "Always 1; the label tells which config serves.",
            read: |cells, samples| {
                let config = cells.config.lock();
                if !config.hash.is_empty() {
                    samples.value(&[config.hash.as_str()], 1.0);
                }
            },
        },
        Family {
            name: "lintel_config_loaded_seconds",
            kind: Kind::Gauge,
            labels: &[],
            help: "When the config that serves was loaded, in seconds since 1970.",
            read: |cells, samples| samples.value(&[], cells.config.lock().loaded.as_secs_f64().round()),
        },
        Family {
            name: "lintel_config_last_load_ok",
            kind: Kind::Gauge,
            labels: &[],
            help: "1 if the last config that was tried serves; 0 if it was refused and the one before serves on.",
            read: |cells, samples| samples.value(&[], cells.config.lock().last_load_ok.into()),
        },
        Family {
            name: "lintel_access_log_lines_total",
            kind: Kind::Counter,
            labels: &[],
            help: "Lines of the access log that were written.",
            read: |cells, samples| cells.access_log(samples, |counts| &counts.written),
        },
        Family {
            name: "lintel_access_log_dropped_total",
            kind: Kind::Counter,
            labels: &[],
            help: "Lines of the access log that were lost: its file or pipe was too slow, full or gone.",
            read: |cells, samples| cells.access_log(samples, |counts| &counts.dropped),
        },
        Family {
            name: "lintel_log_dropped_total",
            kind: Kind::Counter,
            labels: &[],
            help: "Lines of the program log that were lost because stderr did not take them.",
            read: |cells, samples| {
                if let Some(dropped) = &*cells.log_dropped.lock() {
                    samples.value(&[], dropped.count() as f64);
                }
            },
        },
        Family {
            name: "lintel_admin_refused_total",
            kind: Kind::Counter,
            labels: &[],
            help: "Requests to the control interface without the right token, Host or Origin.",
            read: |cells, samples| {
                if let Some(refused) = &*cells.admin_refused.lock() {
                    samples.value(&[], refused.count() as f64);
                }
            },
        },
        Family {
            name: "process_cpu_seconds_total",
            kind: Kind::Counter,
            labels: &[],
            help: "CPU time used, in user and system mode.",
            read: |_, samples| {
                let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
                samples.value(&[], used.tv_sec as f64 + used.tv_nsec as f64 / 1e9);
            },
        },
        Family {
            name: "process_resident_memory_bytes",
            kind: Kind::Gauge,
            labels: &[],
            help: "Memory in RAM.",
            read: |_, samples| status(samples, "VmRSS:", 1024),
        },
        Family {
            name: "process_virtual_memory_bytes",
            kind: Kind::Gauge,
            labels: &[],
            help: "Address space in use.",
            read: |_, samples| status(samples, "VmSize:", 1024),
        },
        Family {
            name: "process_threads",
            kind: Kind::Gauge,
            labels: &[],
            help: "Threads of the system.",
            read: |_, samples| status(samples, "Threads:", 1),
        },
        Family {
            name: "process_open_fds",
            kind: Kind::Gauge,
            labels: &[],
            help: "Open files and sockets.",
            read: |_, samples| {
                if let Some(count) = open_files() {
                    samples.value(&[], count as f64);
                }
            },
        },
        Family {
            name: "process_max_fds",
            kind: Kind::Gauge,
            labels: &[],
            help: "Files and sockets that may be open at once.",
            read: |_, samples| {
                if let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
                    samples.value(&[], limit as f64);
                }
            },
        },
        Family {
            name: "process_start_time_seconds",
            kind: Kind::Gauge,
            labels: &[],
            help: "When the process began, in seconds since 1970.",
            read: |cells, samples| samples.value(&[], cells.start.lock().as_secs_f64()),
        },
    ];
}

/// How many files are open, where that can be read.
fn open_files() -> Option<u64> {
    const FOLDER: &str = "/proc/self/fd";
    // Its size is their number since Linux 6.2. Going through ten thousand takes milliseconds.
    let size = std::fs::metadata(FOLDER).ok()?.len();
    if size > 0 {
        return Some(size);
    }
    // Less the one that this listing is read from.
    Some(std::fs::read_dir(FOLDER).ok()?.count().saturating_sub(1) as u64)
}

/// One number of /proc/self/status, in units of `unit`; nothing where there is no such file.
fn status(samples: &mut Samples<'_>, key: &str, unit: u64) {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return };
    let value = status.lines().find_map(|line| line.strip_prefix(key));
    let number = value.and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok());
    if let Some(number) = number {
        samples.value(&[], (number * unit) as f64);
    }
}
