//! The limit on open files, and how many connections fit below it.

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections at once over all listeners, however many files may be open.
const MOST_CONNECTIONS: u32 = 10_000;

/// Open files that there is room for from the start.
const MOST_ROOM: u64 = 65_536;

/// Stands for a limit that is not there: the kernel's own default (fs.nr_open).
const NO_LIMIT: u64 = 1_048_576;

/// Raises this process's soft limit on open files to the hard one; returns the soft limit that holds now.
///
/// Programs that Lintel starts inherit it, unless it is put back for them.
pub fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(NO_LIMIT);
    if limit.current.is_some_and(|current| current < wanted) {
        // Refused only in odd sandboxes; what holds is read below either way.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(NO_LIMIT)
}

/// Has the kernel's table of this process's open files be as large at once as so many connections make it, at most
/// `MOST_ROOM` files (8 bytes each).
///
/// It grows by doubling, and while it does every thread that opens a file waits until all processors have come by
/// (synchronize_rcu): up to 14 ms in which nobody is accepted, measured on two cores. It never shrinks.
pub fn make_room(connections: u32, open_files: u64) {
    // Two for each and those of its server, and the pipes of some.
    let files = (u64::from(connections) * 5 / 2).min(open_files).min(MOST_ROOM);
    let last = i32::try_from(files.saturating_sub(1)).unwrap_or(i32::MAX);
    // Without it there is only the wait.
    let _ = fcntl_dupfd_cloexec(rustix::stdio::stdin(), last);
}

/// The default limit on connections below `open_files`: a connection and its server's take two files, and 10 % are for
/// everything else.
pub fn default_connections(open_files: u64) -> u32 {
    let share = open_files.saturating_mul(45) / 100;
    u32::try_from(share).unwrap_or(u32::MAX).clamp(1, MOST_CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let raised = raise();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(raised, limit.current.unwrap_or(NO_LIMIT));
        assert!(limit.maximum.is_none_or(|maximum| raised == maximum));
    }

    #[test]
    fn the_table_of_files_has_room_before_they_are_open() {
        let size = || -> u64 {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
            line.trim().parse().unwrap()
        };
        let open_files = raise();
        make_room(400, open_files);
        assert!(size() >= open_files.min(1000), "{}", size());
        make_room(u32::MAX, open_files);
        let large = size();
        assert!((open_files.min(MOST_ROOM)..=2 * MOST_ROOM).contains(&large), "{large}");
        make_room(1, open_files);
        assert_eq!(size(), large);
    }

    #[test]
    fn connections_default_to_45_percent_of_the_files_and_10000_at_most() {
        let table =
            [(1024, 460), (20_000, 9000), (22_222, 9999), (22_223, 10_000), (1_048_576, 10_000), (0, 1)];
        for (files, connections) in table {
            assert_eq!(default_connections(files), connections, "{files}");
        }
        assert_eq!(default_connections(u64::MAX), 10_000);
    }
}
