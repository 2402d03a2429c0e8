//! The receiver of the agents' frames: each frame is checked, and kept or passed on.

use super::{
    error::LinkError,
    liveness::Liveness,
    looks::LookRequest,
    state::{Beat, State, lock},
};
use crate::host::ending::Ending;
use data_encoding::HEXLOWER_PERMISSIVE;
use s2lab_os::waits;
use s2lab_protocol::{Body, Decoder, Frame, Hello, Level, Notice, Peer, VERSION, is_name};
use std::{
    io,
    sync::{Arc, Mutex},
};
use tokio::{
    net::unix::OwnedReadHalf,
    sync::{mpsc, oneshot, watch},
};

/// A notice of an agent that the link passes on.
#[derive(Debug)]
pub enum AgentNotice {
    /// The bytes of a guest's console.
    Console {
        guest: String,
        bytes: Vec<u8>,
    },
    Log {
        peer: Peer,
        text: String,
    },
    Heartbeat {
        peer: Peer,
        uptime_ms: u64,
        stored: u64,
    },
    /// Not from an agent: all notices before it have been passed on.
    Mark(oneshot::Sender<()>),
}

pub(super) struct Listener {
    /// The nonce of the host's frames.
    pub(super) nonce: u64,
    /// Their nonce until the host begins anew, if it was saved.
    pub(super) before: Option<u64>,
    pub(super) state: Arc<Mutex<State>>,
    pub(super) notices: mpsc::Sender<AgentNotice>,
    pub(super) liveness: Liveness,
    pub(super) ending: Ending,
}

impl Listener {
    pub(super) async fn run(mut self, mut read: OwnedReadHalf, notify: watch::Sender<u64>) {
        let why = match self.listen(&mut read, &notify).await {
            Ok(()) => LinkError::Closed.to_string(),
            Err(error) => error.to_string(),
        };
        lock(&self.state).failed = Some(why);
        self.liveness.reading(false);
        notify.send_modify(|n| *n += 1);
    }

    async fn listen(
        &mut self,
        read: &mut OwnedReadHalf,
        notify: &watch::Sender<u64>,
    ) -> Result<(), LinkError> {
        let mut decoder = Decoder::default();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            read.readable().await?;
            self.liveness.reading(true);
            let n = match read.try_read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.liveness.reading(false);
                    continue;
                }
                Err(error) => {
                    self.ending.settle().await;
                    return Err(error.into());
                }
                Ok(n) => n,
            };
            if n == 0 {
                self.ending.settle().await;
                return match decoder.pending() {
                    0 => Ok(()),
                    n => Err(LinkError::Protocol {
                        peer: Peer::Host,
                        why: format!("channel closed inside of a frame, after {n} bytes"),
                    }),
                };
            }
            decoder.push(buffer.get(..n).unwrap_or_default());
            while let Some(frame) = decoder.next_frame()? {
                self.take(frame).await?;
                notify.send_modify(|n| *n += 1);
            }
            lock(&self.state).pending = decoder.pending();
            self.liveness.reading(false);
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<(), LinkError> {
        let peer = frame.from.clone();
        let wrong = |why: String| Err(LinkError::Protocol { peer: peer.clone(), why });
        if frame.version != VERSION {
            return wrong(format!(
                "speaks version {} of the protocol, s2lab speaks {VERSION}",
                frame.version
            ));
        }
        if peer == Peer::Host && frame.nonce == self.nonce && self.before.take().is_some() {
            lock(&self.state).host_begins_anew();
        }
        let nonce = match &peer {
            Peer::Guest(_) => lock(&self.state).cell.nonce,
            _ => self.before.unwrap_or(self.nonce),
        };
        if frame.nonce != nonce {
            return wrong("a frame of another cell".into());
        }
        if frame.from == Peer::Lab || frame.to != Peer::Lab {
            return wrong(format!("a frame from {} to {}", frame.from, frame.to));
        }
        if let Peer::Guest(guest) = &peer {
            self.known(guest)?;
        }
        let due = lock(&self.state).take_number(&peer, frame.seq);
        if let Err(due) = due {
            return wrong(format!("frame {} where {due} was due", frame.seq));
        }
        let uptime = match &frame.body {
            // An agent's heartbeat is due from its hello on.
            Body::Notice(Notice::Heartbeat { uptime_ms, .. } | Notice::Hello(Hello { uptime_ms, .. })) => {
                Some(*uptime_ms)
            }
            _ => None,
        };
        self.liveness.frame(&peer, uptime);
        match frame.body {
            Body::Request { .. } => wrong("sends a request".into()),
            Body::Reply { id, result } => {
                let mut state = lock(&self.state);
                match state.awaited.remove(&id) {
                    Some(asked) if asked.peer == peer => {
                        state.host_answered += u64::from(peer == Peer::Host);
                        state.replies.insert(id, (peer, result));
                    }
                    _ => return wrong(format!("answers request {id}, which waits for no answer of it")),
                }
                Ok(())
            }
            Body::Notice(notice) => self.notice(peer, notice).await,
        }
    }

    async fn notice(&mut self, peer: Peer, notice: Notice) -> Result<(), LinkError> {
        let wrong = |peer, why| Err(LinkError::Protocol { peer, why });
        let passed_on = match notice {
            Notice::Hello(hello) => {
                let level = if peer == Peer::Host { Level::Host } else { Level::Guest };
                if hello.level != level {
                    return wrong(peer, format!("says that it is a {:?}", hello.level));
                }
                if lock(&self.state).hello.insert(peer.clone(), hello).is_some() {
                    return wrong(peer, "says hello a second time".into());
                }
                return Ok(());
            }
            Notice::GuestEnded { guest, how } if peer == Peer::Host => {
                self.known(&guest)?;
                if lock(&self.state).ended.insert(guest, how).is_some() {
                    return wrong(peer, "reports a guest's end a second time".into());
                }
                return Ok(());
            }
            Notice::Console { guest, hex } if peer == Peer::Host => {
                self.known(&guest)?;
                let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).map_err(|_| LinkError::Protocol {
                    peer,
                    why: "console bytes are not hexadecimal".into(),
                })?;
                AgentNotice::Console { guest, bytes }
            }
            Notice::Heartbeat { uptime_ms, stored } => {
                let last = waits::now();
                let mut state = lock(&self.state);
                let same = state.beats.get(&peer).filter(|beat| beat.stored == stored);
                let since = same.map_or(last, |beat| beat.since);
                state.beats.insert(peer.clone(), Beat { stored, since, last });
                drop(state);
                AgentNotice::Heartbeat { peer, uptime_ms, stored }
            }
            Notice::Log { text } => AgentNotice::Log { peer, text },
            Notice::LookRequested { id, guest } if peer == Peer::Host => {
                if guest.as_ref().is_some_and(|guest| !is_name(guest)) {
                    return wrong(peer, "asks for a look at what is not a guest's name".into());
                }
                // The person has left an earlier one.
                lock(&self.state).look = Some(LookRequest { id, guest });
                return Ok(());
            }
            Notice::GuestEnded { .. } | Notice::Console { .. } | Notice::LookRequested { .. } => {
                return Err(LinkError::Protocol { peer, why: "a guest speaks for the host".into() });
            }
        };
        // The receiver goes when the cell ends, and then nobody needs the notice.
        let _ = self.notices.send(passed_on).await;
        Ok(())
    }

    fn known(&self, guest: &str) -> Result<(), LinkError> {
        if lock(&self.state).cell.guests.contains(guest) {
            return Ok(());
        }
        Err(LinkError::Protocol {
            peer: Peer::Host,
            why: format!("reports a guest {guest:?}, which is not the cell's"),
        })
    }
}
