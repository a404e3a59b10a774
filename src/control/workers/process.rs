//! What the system says of a worker's process.

use std::time::Instant;

use super::crew::Worker;
use crate::worker::machine::State;

/// Reads how much of a CPU the process used since it was read last.
pub fn measure(worker: &mut Worker) {
    let now = Instant::now();
    let ticks = worker.machine.pid().and_then(cpu_ticks);
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    if let (Some(ticks), Some((before, at))) = (ticks, worker.cpu) {
        let seconds = now.saturating_duration_since(at).as_secs_f64();
        let used = ticks.saturating_sub(before) as f64 / per_second;
        worker.cpu_share = (seconds > 0.0).then(|| used / seconds);
    }
    worker.cpu = ticks.map(|ticks| (ticks, now));
    record(worker);
}

/// What is known of it, for the metrics.
fn record(worker: &Worker) {
    let (metrics, load) = (&worker.metrics, worker.load.unwrap_or_default());
    metrics.up.record(i64::from(worker.machine.state() == State::Ready));
    metrics.utilization.record((load.elu * 1e3) as i64);
    metrics.delay_us.record((load.lag_p99 * 1e3) as i64);
    metrics.memory.record(i64::try_from(load.rss).unwrap_or(i64::MAX));
    metrics.heap.record(i64::try_from(load.heap).unwrap_or(i64::MAX));
    metrics.cpu.record((worker.cpu_share.unwrap_or_default() * 1e3) as i64);
}

fn cpu_ticks(pid: u32) -> Option<u64> {
    parse_ticks(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields 14 and 15 of proc_pid_stat(5): user and system time. The second field is a name that may hold anything.
fn parse_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_does_not_confuse() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 50 60 0 0 20 0 1 0 99 1 2";
        assert_eq!(parse_ticks(stat), Some(110));
        assert_eq!(parse_ticks("7 (a"), None);
        assert!(cpu_ticks(std::process::id()).is_some());
    }
}
