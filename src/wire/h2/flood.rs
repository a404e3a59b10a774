//! What a peer may do too often: frames that cost little to send and something to take (RFC 9113 section 10.5).
//!
//! Each kind has a bucket of its own that leaks at its rate and holds ten seconds' worth.

/// Why a connection is ended with ENHANCE_YOUR_CALM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// Streams opened and reset at once (CVE-2023-44487).
    RapidReset,
    Settings,
    Ping,
    /// PRIORITY and frames of unknown types.
    Priority,
    /// Window updates out of proportion to the data sent.
    WindowUpdate,
    /// DATA frames without a byte.
    EmptyData,
    /// DATA frames of a few bytes each, faster than anyone means it.
    SmallData,
    /// Mistakes that Lintel has to reset streams for (CVE-2025-8671).
    StreamErrors,
    /// A header list in more CONTINUATION frames than any needs (CVE-2024-27316).
    Continuation,
    /// A header block far beyond the limit of a head.
    HeaderBlock,
    /// Answers that the peer asks for and does not read.
    Unread,
}

impl Flood {
    /// What GOAWAY says about it.
    pub fn detail(self) -> &'static str {
        match self {
            Self::RapidReset => "streams are reset too fast",
            Self::Settings => "too many SETTINGS frames",
            Self::Ping => "too many PING frames",
            Self::Priority => "too many PRIORITY or unknown frames",
            Self::WindowUpdate => "too many WINDOW_UPDATE frames",
            Self::EmptyData => "too many empty DATA frames",
            Self::SmallData => "too many tiny DATA frames",
            Self::StreamErrors => "too many stream errors",
            Self::Continuation => "too many CONTINUATION frames",
            Self::HeaderBlock => "a header block without end",
            Self::Unread => "answers are not read",
        }
    }
}

/// Kinds that are counted over time; the first ones of `Flood`.
const COUNTED: usize = 8;

/// Seconds whose worth may come at once.
const BURST: u32 = 10;

/// DATA frames below this many bytes are tiny.
pub const TINY: usize = 32;

/// Tiny frames a second: far above chat and calls, far below what would hurt.
const TINY_PER_SECOND: u32 = 10_000;

/// How often each kind may come.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// RST_STREAM frames per second.
    pub resets: u32,
    /// Of each kind of control frame per second.
    pub control: u32,
}

/// Counts what a peer does.
#[derive(Debug)]
pub struct Guard {
    rates: Rates,
    buckets: [Bucket; COUNTED],
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Thousandths of a frame.
    level: u64,
    /// Milliseconds.
    at: u64,
}

impl Guard {
    pub fn new(rates: Rates) -> Self {
        Self { rates, buckets: [Bucket::default(); COUNTED] }
    }

    /// Counts one frame at `now_ms`; the flood, if it is one too many.
    pub fn count(&mut self, kind: Flood, now_ms: u64) -> Result<(), Flood> {
        let rate = u64::from(match kind {
            Flood::RapidReset => self.rates.resets,
            Flood::SmallData => TINY_PER_SECOND,
            _ => self.rates.control,
        });
        let Some(bucket) = self.buckets.get_mut(kind as usize) else { return Err(kind) };
        let leaked = now_ms.saturating_sub(bucket.at).saturating_mul(rate);
        bucket.level = bucket.level.saturating_sub(leaked) + 1000;
        bucket.at = now_ms;
        if bucket.level > rate * u64::from(BURST) * 1000 { Err(kind) } else { Ok(()) }
    }

    /// Takes back what was counted, since there was a reason for it.
    pub fn excuse(&mut self, kind: Flood, frames: u64) {
        if let Some(bucket) = self.buckets.get_mut(kind as usize) {
            bucket.level = bucket.level.saturating_sub(frames * 1000);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_seconds_worth_may_come_at_once_and_then_the_rate() {
        let mut guard = Guard::new(Rates { resets: 20, control: 100 });
        for _ in 0..200 {
            guard.count(Flood::RapidReset, 5).unwrap();
        }
        assert_eq!(guard.count(Flood::RapidReset, 5), Err(Flood::RapidReset));
        let mut guard = Guard::new(Rates { resets: 20, control: 100 });
        for second in 0..1000 {
            for _ in 0..100 {
                guard.count(Flood::Ping, second * 1000).unwrap();
            }
        }
    }

    #[test]
    fn kinds_do_not_count_for_each_other_and_can_be_excused() {
        let mut guard = Guard::new(Rates { resets: 1, control: 1 });
        for _ in 0..10 {
            guard.count(Flood::Ping, 0).unwrap();
            guard.count(Flood::Settings, 0).unwrap();
        }
        guard.excuse(Flood::Ping, 3);
        assert_eq!((0..4).filter(|_| guard.count(Flood::Ping, 0).is_ok()).count(), 3);
        assert_eq!(guard.count(Flood::Continuation, 0), Err(Flood::Continuation), "those are never counted");
    }
}
