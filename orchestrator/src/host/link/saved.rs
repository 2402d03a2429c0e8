//! The link to a host that is saved, and goes on in another machine.

use super::{
    Link, LinkError, Listener, listener::AgentNotice, liveness::Liveness, state::PresentCell, state::State,
    state::lock,
};
use crate::host::ending::Ending;
use s2lab_protocol::{Hello, Peer, ask::Resume};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    net::UnixStream,
    sync::{mpsc, watch},
};

/// The state of a link between two frames, with no request without an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedLink {
    /// The nonce of the host's frames.
    nonce: u64,
    /// The number of s2lab's next frame, and that of its next request.
    seq: u64,
    next_id: u64,
    /// The number of the host's next frame.
    host_seq: u64,
    /// The nonce of the cell.
    cell: u64,
    /// The guests, which are up.
    guests: BTreeMap<String, SavedGuest>,
}

impl SavedLink {
    /// Returns the names of the guests.
    pub(crate) fn guests(&self) -> impl Iterator<Item = &str> {
        self.guests.keys().map(String::as_str)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedGuest {
    hello: Hello,
    /// The number of its next frame.
    seq: u64,
}

/// The deadlines of a host that goes on.
#[derive(Debug, Clone, Copy)]
pub struct ResumePatience {
    pub answer: Duration,
    pub heartbeat: Duration,
}

impl Link {
    /// Returns the state of the link to a machine that is stopped. None: a frame or an answer is under way, or
    /// something has ended.
    pub fn saved(&self) -> Option<SavedLink> {
        if self.unread() {
            return None;
        }
        let state = lock(&self.state);
        let is_between = state.pending == 0 && state.awaited.is_empty();
        if !is_between || state.failed.is_some() || !state.ended.is_empty() {
            return None;
        }
        let seq = |peer: &Peer| state.next_seq.get(peer).copied().unwrap_or_default();
        let guest = |name: &String| {
            let peer = Peer::Guest(name.clone());
            let hello = state.hello.get(&peer)?.clone();
            Some((name.clone(), SavedGuest { hello, seq: seq(&peer) }))
        };
        Some(SavedLink {
            nonce: self.nonce,
            seq: self.seq,
            next_id: self.next_id,
            host_seq: seq(&Peer::Host),
            cell: state.cell.nonce,
            guests: state.cell.guests.iter().map(guest).collect::<Option<_>>()?,
        })
    }

    /// Goes on with a host that was saved in this state. Its frames have `nonce` from its answer on. It is
    /// believed after its next heartbeat: without its timers it would still answer.
    pub async fn resume(
        stream: UnixStream,
        saved: &SavedLink,
        nonce: u64,
        notices: mpsc::Sender<AgentNotice>,
        ending: Ending,
        patience: ResumePatience,
    ) -> Result<Self, LinkError> {
        let (read, write) = stream.into_split();
        let state = Arc::new(Mutex::new(State::resumed(saved)));
        let (notify, changed) = watch::channel(0);
        let liveness = Liveness::default();
        let listener = Listener {
            nonce,
            before: Some(saved.nonce),
            state: Arc::clone(&state),
            notices,
            liveness: liveness.clone(),
            ending: ending.clone(),
        };
        tokio::spawn(listener.run(read, notify));
        let SavedLink { nonce: before, seq, next_id, .. } = *saved;
        let mut link = Self { write, nonce: before, seq, next_id, state, changed, liveness, ending };
        link.ask_host(Resume { nonce }, patience.answer).await?;
        link.nonce = nonce;
        link.hello(&Peer::Host, patience.answer).await?;
        let beats = |state: &mut State| state.beats.contains_key(&Peer::Host).then_some(());
        link.wait(&Peer::Host, "heartbeat", patience.heartbeat.into(), beats).await?;
        Ok(link)
    }

    /// Waits for the next heartbeat of the host's agent.
    pub(crate) async fn heartbeat(&mut self, deadline: Duration) -> Result<(), LinkError> {
        let last = |state: &State| state.beats.get(&Peer::Host).map(|beat| beat.last);
        let known = last(&lock(&self.state));
        let next = |state: &mut State| (last(&*state) > known).then_some(());
        self.wait(&Peer::Host, "heartbeat", deadline.into(), next).await
    }
}

impl State {
    /// The state of a link that goes on.
    fn resumed(saved: &SavedLink) -> Self {
        let guests = saved.guests.keys().cloned().collect();
        let mut state = Self::default();
        state.begin_cell(PresentCell { nonce: saved.cell, guests });
        state.next_seq.insert(Peer::Host, saved.host_seq);
        for (name, SavedGuest { hello, seq }) in &saved.guests {
            let peer = Peer::Guest(name.clone());
            state.next_seq.insert(peer.clone(), *seq);
            state.hello.insert(peer, hello.clone());
        }
        state
    }

    /// The host begins anew: its frames and answers are counted from 0, and no heartbeat has come.
    pub(super) fn host_begins_anew(&mut self) {
        self.next_seq.insert(Peer::Host, 0);
        self.beats.remove(&Peer::Host);
        self.host_answered = 0;
    }
}
