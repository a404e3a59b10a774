//! How far the end of something has come that a reload took away: a route, a listener, a server.
//!
//! ```text
//! Stays --taken away--> Retired --drain_timeout--> Leaving --goodbyes are said--> Over
//! ```
//! Retired: no new work; connections that are kept alive end after their next answer. Leaving: WebSockets say goodbye.
//! Over: what still runs is cut off. Whoever waits is woken by its engine, which is told when a life moves on.

use std::sync::atomic::{AtomicU8, Ordering};

/// Only ever moves on.
#[derive(Debug, Default)]
pub struct Life(AtomicU8);

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    Retired = 1,
    Leaving = 2,
    Over = 3,
}

impl Life {
    pub fn enter(&self, stage: Stage) {
        self.0.fetch_max(stage as u8, Ordering::Relaxed);
    }

    /// It is at this stage or beyond.
    pub fn is(&self, stage: Stage) -> bool {
        self.0.load(Ordering::Relaxed) >= stage as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_moves_on_and_never_back() {
        let life = Life::default();
        assert!(!life.is(Stage::Retired));
        life.enter(Stage::Leaving);
        life.enter(Stage::Retired);
        assert!(life.is(Stage::Retired) && life.is(Stage::Leaving) && !life.is(Stage::Over));
    }
}
