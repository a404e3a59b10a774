//! What all exchanges of one engine thread share.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::bell::{Bell, Cut, Drained};
use crate::life::{Life, Stage};
use crate::net::Deadline;
use crate::snapshot::{Listener, Live, Snapshot};
use crate::upstream::{Idle, Sessions};
use crate::wire::head::Head;

/// Heads that a thread keeps for reuse.
const STOCK: usize = 64;

/// State of the whole process that every engine thread looks at.
#[derive(Debug)]
pub struct Process {
    /// Name in Via, with a random part: only one's own counts as a loop.
    pub pseudonym: String,
    draining: AtomicBool,
    cut: AtomicBool,
    /// Open tunnels, for the pace of their goodbye.
    pub tunnels: AtomicU32,
    /// In milliseconds; 0 where the number of tunnels decides.
    goodbyes_ms: AtomicU64,
}

impl Process {
    pub fn new() -> Self {
        Self {
            pseudonym: format!("lintel-{:016x}", fastrand::u64(..)),
            draining: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            tunnels: AtomicU32::new(0),
            goodbyes_ms: AtomicU64::new(0),
        }
    }

    /// No more requests are to come: running ones end, connections close.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The same, with the goodbyes of tunnels spread over nearly all of the time there is.
    pub fn drain_over(&self, time: Duration) {
        let spread = u64::try_from((time * 3 / 4).as_millis()).unwrap_or(u64::MAX);
        self.goodbyes_ms.store(spread.max(1), Ordering::Relaxed);
        self.drain();
    }

    /// The time that goodbyes are spread over, where it was chosen.
    pub fn goodbyes_over(&self) -> Option<u64> {
        Some(self.goodbyes_ms.load(Ordering::Relaxed)).filter(|spread| *spread > 0)
    }

    /// The time to drain is over.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

impl Default for Process {
    fn default() -> Self {
        Self::new()
    }
}

/// One engine thread: its view of the plan, its idle connections to servers, its memory.
pub struct Engine {
    pub process: Arc<Process>,
    live: RefCell<arc_swap::Cache<Arc<Live>, Arc<Snapshot>>>,
    pub idle: Idle,
    /// Connections of HTTP/2 to servers.
    pub sessions: Sessions,
    #[expect(clippy::vec_box, reason = "the boxes go to exchanges and come back; their content never moves")]
    heads: RefCell<Vec<Box<Heads>>>,
    random: RefCell<fastrand::Rng>,
    date: Cell<(u64, [u8; 29])>,
    /// Wakes everything when the end of something may have come.
    bell: Bell,
    /// When the wake-up that runs now began.
    now: Cell<Instant>,
}

/// The memory of one exchange: its heads, and a timer.
#[derive(Debug, Default)]
pub struct Heads {
    /// As the client sent it.
    pub request: Head,
    /// As the server gets it.
    pub outgoing: Head,
    /// As the server sent it, then as the client gets it.
    pub response: Head,
    /// For the answer; its timer stays in the wheel from one exchange to the next.
    pub deadline: Deadline,
}

impl Engine {
    pub fn new(process: Arc<Process>, live: Arc<Live>) -> Self {
        Self {
            process,
            live: RefCell::new(arc_swap::Cache::new(live)),
            idle: Idle::new(),
            sessions: Sessions::default(),
            heads: RefCell::default(),
            random: RefCell::new(fastrand::Rng::new()),
            date: Cell::new((0, [0; 29])),
            bell: Bell::default(),
            now: Cell::new(Instant::now()),
        }
    }

    /// The plan as it is now; costs one relaxed load and one count while it does not change.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(self.live.borrow_mut().load())
    }

    /// When the wake-up that runs now began: good enough for whatever is not shorter than a wake-up.
    pub fn now(&self) -> std::time::Instant {
        self.now.get().into_std()
    }

    /// Reads the clock: for every wake-up, before `now` is asked.
    pub fn tick(&self) -> std::time::Instant {
        self.now.set(Instant::now());
        self.now()
    }

    /// Waits until draining begins.
    pub fn drained(&self) -> Drained<'_> {
        Drained::new(&self.process, &self.bell)
    }

    /// Waits until what came by a listener is cut off: at the end of draining, or of the listener's own end.
    pub fn cut<'e>(&'e self, listener: &'e Life) -> Cut<'e> {
        Cut::new(&self.process, &self.bell, listener)
    }

    /// Has everything that runs on this thread look whether its end has come.
    pub fn wake(&self) {
        self.bell.ring();
    }

    /// Whether a connection may be kept for another request.
    pub fn keeps_alive(&self, listener: &Listener) -> bool {
        !self.process.is_draining() && !listener.life.is(Stage::Retired)
    }

    pub fn random(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }

    /// Memory for an exchange's heads; give it back with `keep_heads`.
    pub fn take_heads(&self) -> Box<Heads> {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    pub fn keep_heads(&self, mut heads: Box<Heads>) {
        let mut stock = self.heads.borrow_mut();
        if stock.len() < STOCK {
            heads.request.clear();
            heads.outgoing.clear();
            heads.response.clear();
            heads.deadline.clear();
            stock.push(heads);
        }
    }

    /// The date as HTTP writes it (RFC 9110 section 5.6.7), made once a second.
    pub fn date(&self) -> [u8; 29] {
        let second = crate::clock::since_epoch().as_secs();
        let (made, text) = self.date.get();
        if made == second {
            return text;
        }
        let mut text = [b' '; 29];
        let made = httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(second));
        for (to, from) in text.iter_mut().zip(made.bytes()) {
            *to = from;
        }
        self.date.set((second, text));
        text
    }
}
