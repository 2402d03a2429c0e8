//! s2lab's side of the agents' protocol: requests out, replies and notices in.

mod error;
mod listener;
mod liveness;
mod looks;
mod saved;
mod state;
#[cfg(test)]
mod tests;

pub use error::{LinkError, ending};
pub use listener::AgentNotice;
pub(crate) use liveness::{LastHeard, Liveness};
pub use looks::{LookRequest, LookRequests};
pub use saved::{ResumePatience, SavedLink};

use super::ending::Ending;
use listener::Listener;
use rustix::io::ioctl_fionread;
use s2lab_os::waits::{self, timeout, timeout_at};
use s2lab_protocol::{
    Body, Frame, GuestEnd, Hello, Peer, VERSION,
    ask::{Ask, GuestRequest, HostRequest},
    encode,
};
use serde::Deserialize;
use state::{Awaited, PresentCell, State, lock};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    net::{UnixStream, unix::OwnedWriteHalf},
    sync::{mpsc, watch},
    time::sleep,
};

/// The time after a deadline in which earlier frames are still read.
const LATE: Duration = Duration::from_secs(5);
/// The interval of the checks whether they have been read.
const AGAIN: Duration = Duration::from_millis(20);

/// The deadlines of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The deadline of the whole answer.
    pub whole: Duration,
    /// The longest time in which the peer's heartbeats report no more stored bytes. None: it does
    /// not store.
    pub idle: Option<Duration>,
}

impl From<Duration> for Patience {
    fn from(whole: Duration) -> Self {
        Self { whole, idle: None }
    }
}

/// The link to a host, and through it to the guests of the present cell.
pub struct Link {
    write: OwnedWriteHalf,
    nonce: u64,
    seq: u64,
    next_id: u64,
    state: Arc<Mutex<State>>,
    changed: watch::Receiver<u64>,
    liveness: Liveness,
    ending: Ending,
}

impl Link {
    /// Starts to receive from a host, whose frames have this nonce. Notices go to `notices`, which must
    /// be emptied. `ending` is that of the machine behind the channel.
    pub fn start(stream: UnixStream, nonce: u64, notices: mpsc::Sender<AgentNotice>, ending: Ending) -> Self {
        let (read, write) = stream.into_split();
        let state = Arc::new(Mutex::new(State::default()));
        let (notify, changed) = watch::channel(0);
        let liveness = Liveness::default();
        let listener = Listener {
            nonce,
            before: None,
            state: Arc::clone(&state),
            notices,
            liveness: liveness.clone(),
            ending: ending.clone(),
        };
        tokio::spawn(listener.run(read, notify));
        Self { write, nonce, seq: 0, next_id: 0, state, changed, liveness, ending }
    }

    /// Begins a cell with these guests, whose frames have this nonce.
    pub fn begin_cell(&mut self, nonce: u64, guests: BTreeSet<String>) {
        lock(&self.state).begin_cell(PresentCell { nonce, guests });
    }

    /// Returns the signs of life on this link.
    pub(crate) fn liveness(&self) -> Liveness {
        self.liveness.clone()
    }

    /// Returns the number of requests that the host's agent has answered. Its final record must
    /// have the same number.
    pub fn host_answered(&self) -> u64 {
        lock(&self.state).host_answered
    }

    /// Waits until the agent of `peer` is up.
    pub async fn hello(&mut self, peer: &Peer, deadline: Duration) -> Result<Hello, LinkError> {
        self.wait(peer, "hello", deadline.into(), |state| state.hello.get(peer).cloned()).await
    }

    /// Returns the end of a guest, if it has ended.
    pub fn guest_ended(&self, guest: &str) -> Option<GuestEnd> {
        lock(&self.state).ended.get(guest).cloned()
    }

    /// Returns true if the agent of a guest has said hello.
    pub(crate) fn is_up(&self, guest: &str) -> bool {
        lock(&self.state).hello.contains_key(&Peer::Guest(guest.to_owned()))
    }

    /// Returns the request that a guest has not answered.
    pub(crate) fn unanswered(&self, guest: &str) -> Option<&'static str> {
        let of_guest = |awaited: &&Awaited| matches!(&awaited.peer, Peer::Guest(name) if name == guest);
        lock(&self.state).awaited.values().find(of_guest).map(|awaited| awaited.what)
    }

    /// Returns the requests of the person in the host's shell, which come while others are answered.
    pub(crate) fn look_requests(&self) -> LookRequests {
        LookRequests { state: Arc::clone(&self.state), changed: self.changed.clone() }
    }

    /// Asks the host and waits for its answer.
    ///
    /// # Errors
    /// If there is no answer in time, the host fails to do it, or the answer is none to `ask`.
    pub async fn ask_host<A: Ask<Level = HostRequest>>(
        &mut self,
        ask: A,
        patience: impl Into<Patience>,
    ) -> Result<A::Answer, LinkError> {
        self.ask(Peer::Host, ask, patience.into()).await
    }

    /// Asks a guest and waits for its answer. The errors are those of [`Link::ask_host`], and the
    /// guest's end.
    pub async fn ask_guest<A: Ask<Level = GuestRequest>>(
        &mut self,
        guest: &str,
        ask: A,
        patience: impl Into<Patience>,
    ) -> Result<A::Answer, LinkError> {
        self.ask(Peer::Guest(guest.to_owned()), ask, patience.into()).await
    }

    async fn ask<A: Ask>(&mut self, peer: Peer, ask: A, patience: Patience) -> Result<A::Answer, LinkError> {
        let what = A::DOING;
        let deadline = patience.whole;
        let id = self.next_id;
        self.next_id += 1;
        let nonce = match &peer {
            Peer::Guest(_) => lock(&self.state).cell.nonce,
            _ => self.nonce,
        };
        let bytes = encode(&Frame {
            version: VERSION,
            nonce,
            seq: self.seq,
            from: Peer::Lab,
            to: peer.clone(),
            body: Body::Request { id, request: ask.clone().request().into() },
        })?;
        self.seq += 1;
        lock(&self.state).awaited.insert(id, Awaited { peer: peer.clone(), what });
        let silent = || LinkError::Silent { peer: peer.clone(), what, deadline };
        if let Err(error) = timeout(deadline, self.write.write_all(&bytes)).await.map_err(|_| silent())? {
            self.ending.settle().await;
            return Err(error.into());
        }
        let (_, reply) = self.wait(&peer, what, patience, |state| state.replies.remove(&id)).await?;
        match reply {
            Ok(text) => {
                let answer = A::Answer::deserialize(&text);
                let answer = answer.map_err(|why| LinkError::wrong_answer::<A>(peer.clone(), &text, why))?;
                match ask.mismatch(&answer) {
                    Some(why) => Err(LinkError::wrong_answer::<A>(peer, &text, why)),
                    None => Ok(answer),
                }
            }
            Err(failure) => Err(LinkError::Failed { peer, what, failure }),
        }
    }

    /// Returns true if a heartbeat of the peer came within this time.
    fn lives(&self, peer: &Peer, time: Duration) -> bool {
        lock(&self.state).beats.get(peer).is_some_and(|beat| beat.last.elapsed() < time)
    }

    /// Returns true if bytes of the other side have not been noted yet.
    fn unread(&self) -> bool {
        // The order matters: bytes that are no longer in the socket are being read, or have been. A
        // socket that cannot be asked has ended.
        ioctl_fionread(self.write.as_ref()).is_ok_and(|bytes| bytes > 0) || self.liveness.reads()
    }

    async fn wait<T>(
        &mut self,
        peer: &Peer,
        what: &'static str,
        Patience { whole, idle }: Patience,
        mut found: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, LinkError> {
        let begin = waits::now();
        // The deadline has passed, and all earlier frames were read.
        let mut over = false;
        loop {
            self.changed.mark_unchanged();
            let mut until = begin + whole;
            {
                let mut state = lock(&self.state);
                if let Some(value) = found(&mut state) {
                    return Ok(value);
                }
                if let Peer::Guest(guest) = peer
                    && let Some(how) = state.ended.get(guest)
                {
                    return Err(LinkError::GuestEnded { guest: guest.clone(), what, how: how.clone() });
                }
                if let Some(why) = &state.failed {
                    return Err(LinkError::Protocol { peer: Peer::Host, why: why.clone() });
                }
                if let Some(idle) = idle {
                    let got_on = state.beats.get(peer).map_or(begin, |beat| begin.max(beat.since));
                    until = until.min(got_on + idle);
                }
            }
            if over && until <= waits::now() {
                let peer = peer.clone();
                return Err(match idle.filter(|_| until < begin + whole) {
                    Some(idle) => LinkError::Idle { lives: self.lives(&peer, idle), peer, what, idle },
                    None => LinkError::Silent { peer, what, deadline: whole },
                });
            }
            match timeout_at(until, self.changed.changed()).await {
                Ok(changed) => changed.map_err(|_| LinkError::Closed)?,
                Err(_) if until.elapsed() < LATE && self.unread() => sleep(AGAIN).await,
                Err(_) => over = true,
            }
        }
    }
}
