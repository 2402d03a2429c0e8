//! The agents of a machine that is saved, and goes on in another process.

use super::{Host, frames::Out, frames::Sender, guest::Guest, program::Program};
use crate::{Error, machine::Machine};
use s2lab_protocol::{Peer, ask::StartGuest};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// All that the agents know, in the form of a file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct SavedAgents {
    nonce: u64,
    /// The numbers of the next frames.
    seq: Vec<(Peer, u64)>,
    guests: Vec<StartGuest>,
}

/// The agents of a machine that runs.
pub(crate) struct Agents {
    nonce: Arc<AtomicU64>,
    out: Arc<Mutex<Out>>,
    /// The guests that were started.
    pub(crate) guests: Vec<StartGuest>,
}

impl Agents {
    pub(crate) fn saved(&self) -> SavedAgents {
        let out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        SavedAgents {
            nonce: self.nonce.load(Ordering::SeqCst),
            seq: out.seq.iter().map(|(peer, seq)| (peer.clone(), *seq)).collect(),
            guests: self.guests.clone(),
        }
    }
}

impl Host {
    /// The host with its guests as they were saved; those of a fresh boot have nothing but the nonce.
    pub(super) fn new(machine: &Arc<Machine>, stream: UnixStream, saved: SavedAgents) -> Self {
        let SavedAgents { nonce, seq, guests } = saved;
        let nonce = Arc::new(AtomicU64::new(nonce));
        let out = Arc::new(Mutex::new(Out { stream, seq: seq.into_iter().collect() }));
        let nonces = guests.iter().map(|spec| (spec.name.clone(), spec.nonce)).collect();
        let sender = Sender {
            machine: Arc::clone(machine),
            nonce: Arc::clone(&nonce),
            guests: Arc::new(Mutex::new(nonces)),
            out: Arc::clone(&out),
        };
        let running =
            guests.iter().zip(0..).map(|(spec, number)| (spec.name.clone(), Guest::new(spec, number)));
        let running: BTreeMap<_, _> = running.collect();
        machine.lock().agents = Some(Agents { nonce, out, guests });
        Self { sender, guests: running, program: Program::default(), answered: 0 }
    }

    /// Begins anew with this nonce. The answer is the first.
    pub(super) fn begin_anew(&mut self, nonce: u64) -> Result<(), Error> {
        {
            // No heartbeat has the new nonce and an old number.
            let mut out = self.sender.out.lock().unwrap_or_else(PoisonError::into_inner);
            self.sender.nonce.store(nonce, Ordering::SeqCst);
            out.seq.insert(Peer::Host, 0);
        }
        self.answered = 1;
        self.greet()
    }
}

impl SavedAgents {
    /// Those of a host that boots.
    pub(super) fn booting(nonce: u64) -> Self {
        Self { nonce, ..Self::default() }
    }
}
