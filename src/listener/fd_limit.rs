//! The limit on open files, and how many connections fit below it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections at once over all listeners, however many files may be open.
const MOST_CONNECTIONS: u32 = 10_000;

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
    fn connections_default_to_45_percent_of_the_files_and_10000_at_most() {
        let table =
            [(1024, 460), (20_000, 9000), (22_222, 9999), (22_223, 10_000), (1_048_576, 10_000), (0, 1)];
        for (files, connections) in table {
            assert_eq!(default_connections(files), connections, "{files}");
        }
        assert_eq!(default_connections(u64::MAX), 10_000);
    }
}
