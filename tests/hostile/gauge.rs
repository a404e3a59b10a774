//! What a process has: memory and descriptors, now and at their highest.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::support::Lintel;

const EVERY: Duration = Duration::from_millis(50);

/// A reading.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// Resident bytes.
    pub memory: u64,
    pub descriptors: u64,
}

/// Reads again and again until it is dropped.
pub struct Gauge {
    highest: Arc<[AtomicU64; 2]>,
    task: JoinHandle<()>,
}

/// What Lintel has now.
pub fn read(lintel: &Lintel) -> Reading {
    of_process(lintel.id()).expect("Lintel runs")
}

impl Gauge {
    pub fn start(lintel: &Lintel) -> Self {
        let highest = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let (id, its_own) = (lintel.id(), Arc::clone(&highest));
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            loop {
                ticks.tick().await;
                let Some(reading) = of_process(id) else { return };
                its_own[0].fetch_max(reading.memory, Ordering::Relaxed);
                its_own[1].fetch_max(reading.descriptors, Ordering::Relaxed);
            }
        });
        Self { highest, task }
    }

    pub fn highest(&self) -> Reading {
        let [memory, descriptors] = &*self.highest;
        Reading { memory: memory.load(Ordering::Relaxed), descriptors: descriptors.load(Ordering::Relaxed) }
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn of_process(id: u32) -> Option<Reading> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(Reading { memory: kib * 1024, descriptors: descriptors(id)? })
}

fn descriptors(id: u32) -> Option<u64> {
    let folder = format!("/proc/{id}/fd");
    // Its size is their number since Linux 6.2. Going through them all takes Lintel's table of files from it meanwhile.
    let size = std::fs::metadata(&folder).ok()?.len();
    if size > 0 { Some(size) } else { Some(std::fs::read_dir(&folder).ok()?.count() as u64) }
}
