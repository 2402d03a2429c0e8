//! The attempts that wait, and the hosts that may serve them.
//!
//! A host takes the waiting cells that it can serve, one after the other. A new one is booted for the first
//! cell whose kernel is there and that none of the running hosts can serve; if they can serve all those,
//! for the last of them: a second boot is faster than a core that idles.

use super::turns::Turns;
use s2lab_model::{
    event::PlannedCell,
    plan::{Key, SharedHost},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The number of a session in the queue.
pub(super) type Ticket = usize;

/// The next attempt at a cell.
#[derive(Debug, Clone)]
pub(super) struct PendingAttempt {
    pub(super) cell: PlannedCell,
    /// The number of the attempt, from 1.
    pub(super) attempt: usize,
    /// The place in a pair of a comparison.
    pub(super) turns: Option<Arc<Turns>>,
}

/// All attempts of a run that have not ended.
#[derive(Debug)]
pub(super) struct Queue(Mutex<State>);

#[derive(Debug)]
struct State {
    waiting: VecDeque<PendingAttempt>,
    open: BTreeMap<Ticket, OpenSession>,
    tickets: Ticket,
    /// Each cell has a host of its own.
    isolate: bool,
}

#[derive(Debug)]
struct OpenSession {
    host: SharedHost,
    /// The cells that it has served, and the present one. One boot is one sample: no cell comes twice.
    served: BTreeSet<Key>,
    /// The attempt that it works at.
    present: Option<PendingAttempt>,
    /// The attempt that comes next, if the host may go on.
    reserved: Option<PendingAttempt>,
}

impl OpenSession {
    fn takes(&self, pending: &PendingAttempt) -> bool {
        !self.served.contains(&pending.cell.key) && self.host.takes(&pending.cell)
    }
}

/// A session that is to begin.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) ticket: Ticket,
    pub(super) host: SharedHost,
    pub(super) first: PendingAttempt,
}

impl Queue {
    pub(super) fn new(waiting: VecDeque<PendingAttempt>, isolate: bool) -> Self {
        Self(Mutex::new(State { waiting, open: BTreeMap::new(), tickets: 0, isolate }))
    }

    /// Opens a session for an attempt that waits and may begin, with the devices of all that could
    /// follow. Returns None if there is none.
    pub(super) fn open(&self, may_begin: impl Fn(&PlannedCell) -> bool) -> Option<Opening> {
        let mut state = self.lock();
        let is_claimed = |pending: &PendingAttempt| state.open.values().any(|open| open.takes(pending));
        let ready = || state.waiting.iter().enumerate().filter(|(_, pending)| may_begin(&pending.cell));
        let free = ready().find(|(_, pending)| state.isolate || !is_claimed(pending));
        let (place, _) = free.or_else(|| ready().next_back())?;
        let first = state.waiting.remove(place)?;
        let mut host = SharedHost::of(&first.cell);
        if !state.isolate {
            for pending in &state.waiting {
                host.add(&pending.cell);
            }
        }
        let ticket = state.tickets;
        state.tickets += 1;
        let open = OpenSession {
            host: host.clone(),
            served: [first.cell.key.clone()].into(),
            present: Some(first.clone()),
            reserved: None,
        };
        state.open.insert(ticket, open);
        Some(Opening { ticket, host, first })
    }

    /// Sets the first attempt aside that the session can serve next. Returns false if there is none.
    pub(super) fn reserve(&self, ticket: Ticket) -> bool {
        let mut state = self.lock();
        let State { waiting, open, isolate, .. } = &mut *state;
        let Some(session) = open.get_mut(&ticket).filter(|_| !*isolate) else { return false };
        let place = waiting.iter().position(|pending| session.takes(pending));
        session.reserved = place.and_then(|place| waiting.remove(place));
        session.reserved.is_some()
    }

    /// Takes the attempt that has ended from a session that goes on, or has ended itself.
    pub(super) fn take_present(&self, ticket: Ticket) -> Option<PendingAttempt> {
        self.lock().open.get_mut(&ticket)?.present.take()
    }

    /// Begins the attempt that was set aside.
    pub(super) fn begin_reserved(&self, ticket: Ticket) -> Option<PendingAttempt> {
        let mut state = self.lock();
        let session = state.open.get_mut(&ticket)?;
        let next = session.reserved.take()?;
        session.served.insert(next.cell.key.clone());
        session.present = Some(next.clone());
        Some(next)
    }

    /// Returns the attempt that was set aside to those that wait.
    pub(super) fn release(&self, ticket: Ticket) {
        let mut state = self.lock();
        let reserved = state.open.get_mut(&ticket).and_then(|session| session.reserved.take());
        reserved.into_iter().for_each(|pending| state.waiting.push_front(pending));
    }

    /// Closes a session that has ended.
    pub(super) fn close(&self, ticket: Ticket) {
        self.release(ticket);
        self.lock().open.remove(&ticket);
    }

    /// Adds an attempt before all others.
    pub(super) fn push_first(&self, pending: PendingAttempt) {
        self.lock().waiting.push_front(pending);
    }

    /// Takes all cells that wait for their first attempt.
    pub(super) fn take_unbegun(&self) -> Vec<PendingAttempt> {
        let mut state = self.lock();
        let (begun, left): (VecDeque<_>, VecDeque<_>) =
            state.waiting.drain(..).partition(|pending| pending.attempt > 1);
        state.waiting = begun;
        left.into()
    }

    /// Takes all attempts that wait.
    pub(super) fn clear(&self) {
        self.lock().waiting.clear();
    }

    /// Returns true if an attempt waits that may not begin yet.
    pub(super) fn awaits(&self, may_begin: impl Fn(&PlannedCell) -> bool) -> bool {
        self.lock().waiting.iter().any(|pending| !may_begin(&pending.cell))
    }

    /// Returns true if an attempt at this cell waits.
    pub(super) fn waits(&self, key: &Key) -> bool {
        self.lock().waiting.iter().any(|pending| pending.cell.key == *key)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state valid.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
