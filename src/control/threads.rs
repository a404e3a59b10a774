//! How many engine threads `runtime.threads: auto` means: as many as there are CPUs for this process.

use std::num::NonZeroUsize;

use crate::worker::cores;

/// More threads than this are never started by themselves.
const MOST: usize = 256;

/// The number for this process on this machine.
pub fn auto() -> NonZeroUsize {
    let count = cores::here().count();
    NonZeroUsize::new(count.get().min(MOST)).unwrap_or(NonZeroUsize::MIN)
}
