//! The signs of life of a host: its agent sends a heartbeat once a second, and every 3 s during a
//! request.

use s2lab_os::waits::{self, Moment};
use s2lab_protocol::Peer;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A shared record of the last signs of life.
#[derive(Debug, Clone, Default)]
pub(crate) struct Liveness(Arc<Mutex<LastHeard>>);

/// The last signs of life, by their kind.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LastHeard {
    /// The time and uptime of the last heartbeat of the host's agent. None before its hello.
    pub(crate) beat: Option<(Moment, u64)>,
    /// The time of anything else: replies, guests, their consoles. A kernel that is stuck in part
    /// still sends its agent's heartbeat.
    pub(crate) moved: Option<Moment>,
    /// The time of the last bytes on the host's console. None before the first.
    pub(crate) console: Option<Moment>,
    /// The host's console has been closed.
    pub(crate) console_closed: bool,
    /// True while frames have come that are not noted yet.
    pub(crate) reads: bool,
    /// True while s2lab has stopped the machine: nothing of it is due.
    pub(crate) stands: bool,
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

    /// Notes that s2lab has stopped the machine, or lets it run on.
    pub(crate) fn stands(&self, stands: bool) {
        let mut heard = self.lock();
        heard.stands = stands;
        if let Some((last, _)) = &mut heard.beat {
            *last = waits::now();
        }
    }

    /// Returns true while frames have come that are not noted yet.
    pub(crate) fn reads(&self) -> bool {
        self.lock().reads
    }

    /// Returns the last signs of life until now.
    pub(crate) fn last_heard(&self) -> LastHeard {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, LastHeard> {
        // Every critical section leaves the clock valid.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
