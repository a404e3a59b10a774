//! The last lines of every worker of an app. Each has its own, so that one that floods does not drive out the others'.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Line;

/// Lines kept of each worker, and their bytes.
const LINES: usize = 1000;
const BYTES: usize = 256 * 1024;

#[derive(Debug, Default)]
pub struct Kept {
    workers: BTreeMap<u32, Ring>,
    /// Of the next line: lines of several workers are put in order by it.
    number: u64,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<(u64, Arc<Line>)>,
    bytes: usize,
}

impl Kept {
    pub fn keep(&mut self, line: Arc<Line>) {
        let ring = self.workers.entry(line.worker).or_default();
        ring.bytes += line.text.len();
        ring.lines.push_back((self.number, line));
        self.number += 1;
        while ring.lines.len() > LINES || ring.bytes > BYTES {
            let Some((_, gone)) = ring.lines.pop_front() else { return };
            ring.bytes -= gone.text.len();
        }
    }

    /// The last lines of those that fit, the oldest first.
    pub fn last(&self, most: usize, fits: impl Fn(&Line) -> bool) -> Vec<Line> {
        let of_each = self
            .workers
            .values()
            .flat_map(|ring| ring.lines.iter().rev().filter(|(_, line)| fits(line)).take(most));
        let mut lines: Vec<&(u64, Arc<Line>)> = of_each.collect();
        lines.sort_unstable_by_key(|(number, _)| *number);
        let first = lines.len().saturating_sub(most);
        lines.into_iter().skip(first).map(|(_, line)| Line::clone(line)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::*;

    fn line(worker: u32, text: impl Into<String>) -> Arc<Line> {
        let at = std::time::Duration::ZERO;
        Arc::new(Line { worker, run: 1, source: Source::Stdout, at, text: text.into() })
    }

    fn texts(kept: &Kept, most: usize) -> Vec<String> {
        kept.last(most, |_| true).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_of_several_workers_are_in_their_order() {
        let mut kept = Kept::default();
        for (worker, text) in [(1, "a"), (0, "b"), (1, "c"), (1, "d"), (0, "e")] {
            kept.keep(line(worker, text));
        }
        assert_eq!(texts(&kept, 9), ["a", "b", "c", "d", "e"]);
        assert_eq!(texts(&kept, 2), ["d", "e"]);
        assert_eq!(kept.last(2, |line| line.worker == 1).len(), 2);
        assert!(texts(&kept, 0).is_empty());
    }

    #[test]
    fn a_flood_drives_out_only_its_own_lines() {
        let mut kept = Kept::default();
        kept.keep(line(0, "quiet"));
        (0..2 * LINES).for_each(|number| kept.keep(line(1, number.to_string())));
        assert_eq!(texts(&kept, usize::MAX).len(), LINES + 1);
        assert_eq!(texts(&kept, usize::MAX)[..2], ["quiet", "1000"]);
        (0..100).for_each(|_| kept.keep(line(1, "x".repeat(16 * 1024))));
        let bytes: usize = texts(&kept, usize::MAX).iter().map(String::len).sum();
        assert_eq!(bytes, BYTES + "quiet".len());
    }
}
