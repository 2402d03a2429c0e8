//! The known state of the other side.

use super::looks::LookRequest;
use s2lab_os::waits::Moment;
use s2lab_protocol::{Failure, GuestEnd, Hello, Peer};
use serde_json::Value;
use std::{
    collections::BTreeMap,
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

/// The known state of the other side. Waiters watch its changes.
#[derive(Debug, Default)]
pub(super) struct State {
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
}

pub(super) fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Every critical section leaves the state valid.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
