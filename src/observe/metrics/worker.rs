//! What is known of each worker of an app: whether it works, how often it was started again, and how busy it is.

use super::cell::{Counter, Gauge};
use super::family::{Cells, Family, Handle, Kind};

/// Handles of one worker: its place in the app, whichever process fills it.
pub type WorkerMetrics = Handle<WorkerCells>;

#[derive(Debug, Default)]
pub struct WorkerCells {
    /// 1 while it is ready.
    pub up: Gauge,
    /// Starts after the first.
    pub restarts: Counter,
    /// Busy share of the event loop, in thousandths.
    pub utilization: Gauge,
    /// Delay of the event loop (p99 since the last report), in microseconds.
    pub delay_us: Gauge,
    /// Bytes.
    pub memory: Gauge,
    pub heap: Gauge,
    /// CPUs used, in thousandths.
    pub cpu: Gauge,
}

impl Cells for WorkerCells {
    const LABELS: &'static [&'static str] = &["pool", "worker"];
    const FAMILIES: &'static [Family<Self>] = &[
        Family {
            name: "lintel_worker_up",
            kind: Kind::Gauge,
            labels: &[],
            help: "1 while the worker is ready; else 0.",
            read: |cells, samples| samples.value(&[], cells.up.value() as f64),
        },
        Family {
            name: "lintel_worker_restarts_total",
            kind: Kind::Counter,
            labels: &[],
            help: "Times that the worker was started again after it had ended by itself.",
            read: |cells, samples| samples.value(&[], cells.restarts.count() as f64),
        },
        Family {
            name: "lintel_worker_event_loop_utilization",
            kind: Kind::Gauge,
            labels: &[],
            help: "Share of the time that the worker's event loop was busy, 0 to 1.",
            read: |cells, samples| samples.value(&[], cells.utilization.value() as f64 / 1e3),
        },
        Family {
            name: "lintel_worker_event_loop_delay_seconds",
            kind: Kind::Gauge,
            labels: &[],
            help: "99th percentile of the event loop's delay since the report before.",
            read: |cells, samples| samples.value(&[], cells.delay_us.value() as f64 / 1e6),
        },
        Family {
            name: "lintel_worker_memory_bytes",
            kind: Kind::Gauge,
            labels: &[],
            help: "Resident memory of the worker's process.",
            read: |cells, samples| samples.value(&[], cells.memory.value() as f64),
        },
        Family {
            name: "lintel_worker_heap_bytes",
            kind: Kind::Gauge,
            labels: &[],
            help: "JavaScript heap in use.",
            read: |cells, samples| samples.value(&[], cells.heap.value() as f64),
        },
        Family {
            name: "lintel_worker_cpus",
            kind: Kind::Gauge,
            labels: &[],
            help: "CPUs that the worker's process used over the last second.",
            read: |cells, samples| samples.value(&[], cells.cpu.value() as f64 / 1e3),
        },
    ];
}
