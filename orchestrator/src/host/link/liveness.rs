//! The signs of life of a host: its agent sends a heartbeat once a second.

use crate::waits::{self, Moment};
use s2lab_protocol::Peer;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A shared record of the last signs of life.
#[derive(Debug, Clone, Default)]
pub(crate) struct Liveness(Arc<Mutex<LastHeard>>);

/// The last signs of life, by their kind.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LastHeard {
    /// Time and uptime of the last heartbeat of the host's agent; none before its hello.
    pub(crate) beat: Option<(Moment, u64)>,
    /// Time of anything else: replies, guests, their consoles. A kernel of which only a part is stuck still lets its agent's
    /// heartbeat through.
    pub(crate) moved: Option<Moment>,
    /// Time of the last bytes on the host's console; none before the first.
    pub(crate) console: Option<Moment>,
    /// The host's console has been closed.
    pub(crate) console_closed: bool,
    /// Frames have come that are not noted yet.
    pub(crate) reads: bool,
}

impl Liveness {
    /// Notes a frame.
    pub(crate) fn frame(&self, from: &Peer, uptime_ms: Option<u64>) {
        let mut heard = self.lock();
        let now = waits::now();
        match (from, uptime_ms, heard.beat) {
            (Peer::Host, Some(uptime), _) => heard.beat = Some((now, uptime)),
            (_, _, Some((_, uptime))) => (heard.beat, heard.moved) = (Some((now, uptime)), Some(now)),
            (_, _, None) => heard.moved = Some(now),
        }
    }

    /// Notes bytes on the host's console.
    pub(crate) fn console(&self) {
        self.lock().console = Some(waits::now());
    }

    /// Notes the end of the host's console.
    pub(crate) fn console_closed(&self) {
        self.lock().console_closed = true;
    }

    /// Notes that frames have come, or that all of them are noted.
    pub(crate) fn reading(&self, reads: bool) {
        self.lock().reads = reads;
    }

    /// Returns true while frames have come that are not noted yet.
    pub(crate) fn reads(&self) -> bool {
        self.lock().reads
    }

    /// The last signs of life until now.
    pub(crate) fn last_heard(&self) -> LastHeard {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, LastHeard> {
        // Every critical section leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
