//! What was heard of a host, and when: its agent says once a second that it lives.

use crate::waits::{self, Moment};
use s2lab_protocol::Peer;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was heard, and when.
#[derive(Debug, Clone, Default)]
pub(super) struct Pulse(Arc<Mutex<Heard>>);

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Heard {
    /// When the host's agent last said that it lives, and the uptime that it gave; none before its hello.
    pub(super) beat: Option<(Moment, u64)>,
    /// Anything but that: replies, guests, their consoles. A kernel of which only a part is stuck still lets its agent's
    /// heartbeat through.
    pub(super) moved: Option<Moment>,
    /// When the host's console last said something; none before its first word.
    pub(super) console: Option<Moment>,
    /// Frames have come that are not taken note of yet.
    pub(super) reads: bool,
}

impl Pulse {
    /// A frame has come.
    pub(super) fn frame(&self, from: &Peer, uptime_ms: Option<u64>) {
        let mut heard = self.lock();
        let now = waits::now();
        match (from, uptime_ms, heard.beat) {
            (Peer::Host, Some(uptime), _) => heard.beat = Some((now, uptime)),
            (_, _, Some((_, uptime))) => (heard.beat, heard.moved) = (Some((now, uptime)), Some(now)),
            (_, _, None) => heard.moved = Some(now),
        }
    }

    /// The host's console has said something.
    pub(super) fn console(&self) {
        self.lock().console = Some(waits::now());
    }

    /// Frames have come, or all that have come are taken note of.
    pub(super) fn reading(&self, reads: bool) {
        self.lock().reads = reads;
    }

    /// Whether frames have come that are not taken note of yet.
    pub(super) fn reads(&self) -> bool {
        self.lock().reads
    }

    /// What was heard until now.
    pub(super) fn heard(&self) -> Heard {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        // Every critical section leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
