//! What is known of the other side.

use crate::waits::Moment;
use s2lab_protocol::{Failure, GuestEnd, Hello, Peer};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Beat {
    /// Bytes, and since when it is not more.
    pub(super) stored: u64,
    pub(super) since: Moment,
    pub(super) last: Moment,
}

/// What is known of the other side; waiters watch it change.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) hello: BTreeMap<Peer, Hello>,
    pub(super) ended: BTreeMap<String, GuestEnd>,
    pub(super) replies: BTreeMap<u64, (Peer, Result<Value, Failure>)>,
    pub(super) awaited: BTreeMap<u64, Peer>,
    /// The last heartbeats.
    pub(super) beats: BTreeMap<Peer, Beat>,
    pub(super) failed: Option<String>,
}

pub(super) fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Every critical section leaves the state whole.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
