//! Replaces workers by others without an outage: new ones are started beside the old, and an old one leaves only when
//! its new one is ready.
//!
//! ```text
//! Forward --every wanted worker is ready, the others are gone--> Complete
//!    `--a new one ends or is late--> Back --the workers from before are there again--> Failed
//! ```
//! The same plan scales: places that are new are filled, places too many are left last, the highest first.
//!
//! Back: new workers that are not ready are stopped at once. Where an old one has left already it is started again, and
//! the new one serves until then; if even that fails, the new one stays, which `Outcome::Failed` tells. So no place that
//! had a ready worker is without one by the rollout's doing.
//!
//! A pure plan: it is told what becomes of workers and answers with whom to start and whom to retire.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::machine::{Entry, Exit, Machine, Standing, State};

/// A worker: its place in the app, and which of the settings that have been there it runs with.
///
/// To replace a worker by one with the same settings, give the new one a generation of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// From 0.
    pub slot: u16,
    pub generation: u64,
}

/// How a worker is doing, as far as a rollout cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Starting,
    Ready,
    /// Ended or ending, and not because it was told to; it may come back by itself.
    Down,
    /// Was told to stop, and is not gone yet.
    Leaving,
}

/// What became of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Ready(Id),
    Down(Id, Reason),
    /// It was stopped: its process is gone and will not come back.
    Gone(Id),
}

/// Why a worker is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Exited(Exit),
    NotReadyInTime,
    SpawnFailed,
    Stalled,
    /// Somebody else stopped it.
    Stopped,
}

/// What there is to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make a machine for it and start it.
    Start { id: Id, standing: Standing },
    /// Stop it, its requests first; a machine's `StopWanted` does that.
    Retire(Id),
    /// Comes once, as the last action.
    Done(Outcome),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Exactly the wanted workers are there.
    Complete,
    /// The workers from before are there, but for those in `kept`.
    Failed {
        /// The new worker that failed first.
        id: Id,
        reason: Reason,
        /// New workers that stay, because the old ones in their places did not come back.
        kept: Vec<Id>,
    },
}

/// A rollout under way.
#[derive(Clone, Debug)]
pub struct Rollout {
    direction: Direction,
    /// Who is to be there in the end: the new ones, or on the way back those from before.
    wanted: BTreeSet<Id>,
    /// Who was there, except for those on their way out.
    before: BTreeSet<Id>,
    /// Everybody of whom there may be a process.
    members: BTreeMap<Id, Status>,
    /// Those of `wanted` that this rollout started and therefore waits for.
    started: BTreeSet<Id>,
    /// Most processes at a time.
    limit: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Direction {
    Forward,
    Back { id: Id, reason: Reason, kept: Vec<Id> },
    Done,
}

impl Status {
    /// None for a machine that is stopped: it is nobody's concern any more.
    pub fn of(machine: &Machine) -> Option<Self> {
        match machine.state() {
            State::Stopped => None,
            _ if machine.is_leaving() => Some(Self::Leaving),
            State::Starting => Some(Self::Starting),
            State::Ready => Some(Self::Ready),
            State::BackingOff | State::Failed | State::Stopping | State::Draining => Some(Self::Down),
        }
    }
}

impl Event {
    /// What a line of a machine's log means for a rollout.
    pub fn of(id: Id, entry: &Entry) -> Option<Self> {
        let down = |reason| Some(Self::Down(id, reason));
        match *entry {
            Entry::Ready { .. } => Some(Self::Ready(id)),
            Entry::BootCrash { exit: Some(exit), .. } | Entry::Crash { exit, .. } => {
                down(Reason::Exited(exit))
            }
            Entry::BootCrash { exit: None, .. } => down(Reason::SpawnFailed),
            Entry::NotReady { .. } => down(Reason::NotReadyInTime),
            Entry::Stalled { .. } => down(Reason::Stalled),
            Entry::Stopped { .. } => Some(Self::Gone(id)),
            _ => None,
        }
    }
}

impl Rollout {
    /// A worker of this generation in each of the first `count` places.
    pub fn wanted(count: u16, generation: u64) -> BTreeSet<Id> {
        (0..count).map(|slot| Id { slot, generation }).collect()
    }

    /// Begins: `current` is everybody but the stopped, `wanted` (one for each place) who is to be there in the end, `surge`
    /// how many processes more than the larger of the two there may be (0 counts as 1).
    pub fn begin(current: &BTreeMap<Id, Status>, wanted: BTreeSet<Id>, surge: u16) -> (Self, Vec<Action>) {
        let stays = current.iter().filter(|(_, status)| **status != Status::Leaving);
        let before: BTreeSet<Id> = stays.map(|(id, _)| *id).collect();
        let limit = before.len().max(wanted.len()) + usize::from(surge.max(1));
        let mut rollout = Self {
            direction: Direction::Forward,
            wanted,
            before,
            members: current.clone(),
            started: BTreeSet::new(),
            limit,
        };
        let actions = rollout.advance();
        (rollout, actions)
    }

    /// Whether a worker is to be there in the end, as things stand.
    pub fn keeps(&self, id: Id) -> bool {
        self.wanted.contains(&id)
    }

    /// Takes one event; after `Done` nothing comes any more.
    pub fn step(&mut self, event: Event) -> Vec<Action> {
        let (Event::Ready(id) | Event::Down(id, _) | Event::Gone(id)) = event;
        let Some(status) = self.members.get(&id).copied() else { return Vec::new() };
        if self.direction == Direction::Done {
            return Vec::new();
        }
        match event {
            Event::Gone(id) => {
                self.members.remove(&id);
                if status != Status::Leaving {
                    self.lost(id, Reason::Stopped);
                    // Whoever stopped it meant it.
                    self.before.remove(&id);
                    self.wanted.remove(&id);
                }
                self.started.remove(&id);
            }
            // It is on its way out, whatever else it does.
            _ if status == Status::Leaving => {}
            Event::Ready(id) => {
                self.members.insert(id, Status::Ready);
            }
            Event::Down(id, reason) => {
                self.members.insert(id, Status::Down);
                self.lost(id, reason);
            }
        }
        self.advance()
    }

    /// A worker is down or gone. Of those that the rollout did not start nothing follows: they come back by themselves.
    fn lost(&mut self, id: Id, reason: Reason) {
        if !self.started.contains(&id) {
            return;
        }
        match &mut self.direction {
            Direction::Forward => {
                self.direction = Direction::Back { id, reason, kept: Vec::new() };
                self.wanted.clone_from(&self.before);
                self.started.clear();
            }
            Direction::Back { kept, .. } => {
                let ready = |other: &Id| self.members.get(other) == Some(&Status::Ready);
                let in_place =
                    self.members.keys().find(|other| other.slot == id.slot && ready(other)).copied();
                self.started.remove(&id);
                if let Some(newer) = in_place.filter(|other| !self.wanted.contains(other)) {
                    kept.push(newer);
                    self.wanted.remove(&id);
                    self.wanted.insert(newer);
                }
            }
            Direction::Done => {}
        }
    }

    fn advance(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        let leaving: Vec<Id> = self.members.keys().rev().filter(|id| self.may_leave(**id)).copied().collect();
        for id in leaving {
            self.members.insert(id, Status::Leaving);
            self.started.remove(&id);
            actions.push(Action::Retire(id));
        }
        let standing =
            if self.direction == Direction::Forward { Standing::OnTrial } else { Standing::Proven };
        for id in self.wanted.iter().filter(|id| !self.members.contains_key(id)).copied().collect::<Vec<_>>()
        {
            if self.members.len() < self.limit {
                self.members.insert(id, Status::Starting);
                self.started.insert(id);
                actions.push(Action::Start { id, standing });
            }
        }
        let nobody_else = self.members.len() == self.wanted.len();
        if nobody_else && self.wanted.iter().all(|id| self.is_settled(*id)) {
            actions.extend(self.outcome().map(Action::Done));
        }
        actions
    }

    /// Whether a worker is one too many, and can be done without.
    fn may_leave(&self, id: Id) -> bool {
        if self.wanted.contains(&id) || self.members.get(&id) == Some(&Status::Leaving) {
            return false;
        }
        let mut in_place = self.wanted.iter().filter(|other| other.slot == id.slot).peekable();
        let goes_back = self.direction != Direction::Forward;
        if goes_back && (in_place.peek().is_none() || self.members.get(&id) != Some(&Status::Ready)) {
            return true;
        }
        match in_place.peek() {
            Some(_) => in_place.all(|other| self.is_settled(*other)),
            // A place too many: it could be needed until all others are filled.
            None => self.wanted.iter().all(|other| self.is_settled(*other)),
        }
    }

    /// Whether nothing is to be awaited of a wanted worker: it is there, and ready if it was started by this rollout.
    fn is_settled(&self, id: Id) -> bool {
        match self.members.get(&id) {
            None | Some(Status::Leaving) => false,
            Some(Status::Ready) => true,
            Some(Status::Starting | Status::Down) => !self.started.contains(&id),
        }
    }

    fn outcome(&mut self) -> Option<Outcome> {
        match std::mem::replace(&mut self.direction, Direction::Done) {
            Direction::Forward => Some(Outcome::Complete),
            Direction::Back { id, reason, kept } => Some(Outcome::Failed { id, reason, kept }),
            Direction::Done => None,
        }
    }
}
