//! The known state of the other side.

use super::looks::LookRequest;
use s2lab_os::waits::Moment;
use s2lab_protocol::{Failure, GuestEnd, Hello, Peer};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Beat {
    /// The stored bytes, and the time since which they are not more.
    pub(super) stored: u64,
    pub(super) since: Moment,
    pub(super) last: Moment,
}

/// A request without an answer.
#[derive(Debug, Clone)]
pub(super) struct Awaited {
    pub(super) peer: Peer,
    /// Its words for people.
    pub(super) what: &'static str,
}

/// The cell that the host serves.
#[derive(Debug, Default)]
pub(super) struct PresentCell {
    /// The nonce of its guests' frames.
    pub(super) nonce: u64,
    /// Its guests. A frame about any other is an error, so that a hostile host cannot fill our memory.
    pub(super) guests: BTreeSet<String>,
}

/// The known state of the other side. Waiters watch its changes.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) cell: PresentCell,
    /// The number that a peer's next frame must have.
    pub(super) next_seq: BTreeMap<Peer, u64>,
    pub(super) hello: BTreeMap<Peer, Hello>,
    pub(super) ended: BTreeMap<String, GuestEnd>,
    pub(super) replies: BTreeMap<u64, (Peer, Result<Value, Failure>)>,
    /// The requests without an answer, by their numbers. An answer may come after its asker has
    /// left.
    pub(super) awaited: BTreeMap<u64, Awaited>,
    /// The number of requests that the host itself answered.
    pub(super) host_answered: u64,
    /// The last heartbeats.
    pub(super) beats: BTreeMap<Peer, Beat>,
    /// The look that a person in the host has asked for, until it is begun.
    pub(super) look: Option<LookRequest>,
    pub(super) failed: Option<String>,
    /// The bytes of a frame whose end has not come yet.
    pub(super) pending: usize,
}

impl State {
    /// Begins a cell. What is known of the guests before it is forgotten.
    pub(super) fn begin_cell(&mut self, cell: PresentCell) {
        let of_host = |peer: &Peer| *peer == Peer::Host;
        self.next_seq.retain(|peer, _| of_host(peer));
        self.hello.retain(|peer, _| of_host(peer));
        self.beats.retain(|peer, _| of_host(peer));
        self.replies.retain(|_, (peer, _)| of_host(peer));
        self.awaited.retain(|_, awaited| of_host(&awaited.peer));
        self.ended.clear();
        self.cell = cell;
    }

    /// Counts a frame of a peer. The error is the number that it should have.
    pub(super) fn take_number(&mut self, peer: &Peer, seq: u64) -> Result<(), u64> {
        let next = self.next_seq.entry(peer.clone()).or_default();
        match seq == *next {
            true => {
                *next += 1;
                Ok(())
            }
            false => Err(*next),
        }
    }
}

pub(super) fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Every critical section leaves the state valid.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
