//! s2lab's side of the agents' protocol: requests out, replies and notices in.

use super::pulse::Pulse;
use s2lab_protocol::{
    Body, Decoder, Failure, Frame, FrameError, GuestEnd, Hello, Level, Notice, Peer, Reply, Request, VERSION,
    encode,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    time::{timeout, timeout_at},
};

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("the channel to the host's agent: {0}")]
    Io(#[from] io::Error),
    #[error("the agent's channel carries no frames: {0}")]
    Frame(#[from] FrameError),
    #[error("{peer}: {why}")]
    Protocol { peer: Peer, why: String },
    #[error("the agent's channel is closed")]
    Closed,
    #[error("{peer} has not answered `{what}` in {deadline:?}")]
    Silent { peer: Peer, what: &'static str, deadline: Duration },
    #[error("{peer} has not got on with `{what}` for {idle:?}; its agent {}", if *lives { "says that it lives" } else { "is silent" })]
    Idle { peer: Peer, what: &'static str, idle: Duration, lives: bool },
    #[error("{peer} cannot do `{what}`: {}", failure.message)]
    Failed { peer: Peer, what: &'static str, failure: Failure },
    #[error("{peer} answers `{what}` with something else: {reply}")]
    WrongReply { peer: Peer, what: &'static str, reply: String },
    #[error("guest {guest} ended during `{what}`: {}", ending(how))]
    GuestEnded { guest: String, what: &'static str, how: GuestEnd },
}

/// A guest's end in words.
pub fn ending(how: &GuestEnd) -> String {
    let (short, detail) = match how {
        GuestEnd::Stopped { state, detail } => (format!("its VMM stopped it ({state})"), detail),
        GuestEnd::Exited { code: Some(code), detail, .. } => (format!("its VMM exited with {code}"), detail),
        GuestEnd::Exited { signal: Some(signal), detail, .. } => {
            (format!("its VMM was killed by signal {signal}"), detail)
        }
        GuestEnd::Exited { detail, .. } => ("its VMM ended".into(), detail),
    };
    if detail.is_empty() { short } else { format!("{short}: {}", detail.trim_end()) }
}

/// How long an answer is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// In all.
    pub whole: Duration,
    /// While the peer's heartbeats tell of no more stored bytes; none: it is not to store.
    pub idle: Option<Duration>,
}

impl From<Duration> for Patience {
    fn from(whole: Duration) -> Self {
        Self { whole, idle: None }
    }
}

#[derive(Debug, Clone, Copy)]
struct Beat {
    /// Bytes, and since when it is not more.
    stored: u64,
    since: Instant,
    last: Instant,
}

/// What is known of the other side; waiters watch it change.
#[derive(Debug, Default)]
struct State {
    hello: BTreeMap<Peer, Hello>,
    ended: BTreeMap<String, GuestEnd>,
    replies: BTreeMap<u64, (Peer, Result<Reply, Failure>)>,
    awaited: BTreeMap<u64, Peer>,
    /// The last heartbeats.
    beats: BTreeMap<Peer, Beat>,
    failed: Option<String>,
}

/// The link of one cell.
pub struct Link {
    write: OwnedWriteHalf,
    nonce: u64,
    seq: u64,
    next_id: u64,
    /// Requests that the host itself answered.
    host_answered: u64,
    state: Arc<Mutex<State>>,
    changed: watch::Receiver<u64>,
    pulse: Pulse,
}

/// What the link passes on.
#[derive(Debug)]
pub enum Heard {
    /// Bytes of a guest's console.
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
}

impl Link {
    /// Starts to listen, to a host that may speak of these guests. Notices go to `heard`, which must be emptied.
    pub fn start(
        stream: UnixStream,
        nonce: u64,
        guests: BTreeSet<String>,
        heard: mpsc::Sender<Heard>,
    ) -> Self {
        let (read, write) = stream.into_split();
        let state = Arc::new(Mutex::new(State::default()));
        let (notify, changed) = watch::channel(0);
        let pulse = Pulse::default();
        let listener = Listener {
            nonce,
            guests,
            next_seq: BTreeMap::new(),
            state: Arc::clone(&state),
            heard,
            pulse: pulse.clone(),
        };
        tokio::spawn(listener.run(read, notify));
        Self { write, nonce, seq: 0, next_id: 0, host_answered: 0, state, changed, pulse }
    }

    /// What is heard on this link.
    pub(super) fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// How many requests the host's agent has answered; its final record must say the same.
    pub fn host_answered(&self) -> u64 {
        self.host_answered
    }

    /// Waits until the agent of `peer` is up.
    pub async fn hello(&mut self, peer: &Peer, deadline: Duration) -> Result<Hello, LinkError> {
        self.wait(peer, "hello", deadline.into(), |state| state.hello.get(peer).cloned()).await
    }

    /// How a guest ended, if it has.
    pub fn guest_ended(&self, guest: &str) -> Option<GuestEnd> {
        lock(&self.state).ended.get(guest).cloned()
    }

    /// Sends a request and waits for its reply. `what` names it in errors.
    pub async fn ask(
        &mut self,
        peer: &Peer,
        request: Request,
        what: &'static str,
        patience: impl Into<Patience>,
    ) -> Result<Reply, LinkError> {
        let patience = patience.into();
        let deadline = patience.whole;
        let id = self.next_id;
        self.next_id += 1;
        let bytes = encode(&Frame {
            version: VERSION,
            nonce: self.nonce,
            seq: self.seq,
            from: Peer::Lab,
            to: peer.clone(),
            body: Body::Request { id, request },
        })?;
        self.seq += 1;
        lock(&self.state).awaited.insert(id, peer.clone());
        let silent = || LinkError::Silent { peer: peer.clone(), what, deadline };
        timeout(deadline, self.write.write_all(&bytes)).await.map_err(|_| silent())??;
        let reply = self.wait(peer, what, patience, |state| state.replies.remove(&id)).await;
        lock(&self.state).awaited.remove(&id);
        let (_, reply) = reply?;
        if *peer == Peer::Host {
            self.host_answered += 1;
        }
        reply.map_err(|failure| LinkError::Failed { peer: peer.clone(), what, failure })
    }

    /// Whether a heartbeat of the peer came within this time.
    fn lives(&self, peer: &Peer, time: Duration) -> bool {
        lock(&self.state).beats.get(peer).is_some_and(|beat| beat.last.elapsed() < time)
    }

    async fn wait<T>(
        &mut self,
        peer: &Peer,
        what: &'static str,
        Patience { whole, idle }: Patience,
        mut found: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, LinkError> {
        let begin = Instant::now();
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
            match timeout_at(until.into(), self.changed.changed()).await {
                Ok(changed) => changed.map_err(|_| LinkError::Closed)?,
                Err(_) => {
                    let peer = peer.clone();
                    return Err(match idle.filter(|_| until < begin + whole) {
                        Some(idle) => LinkError::Idle { lives: self.lives(&peer, idle), peer, what, idle },
                        None => LinkError::Silent { peer, what, deadline: whole },
                    });
                }
            }
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Every critical section leaves the state whole.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Listener {
    nonce: u64,
    /// The cell's guests: nobody else is spoken of, so that a hostile host makes us remember nothing.
    guests: BTreeSet<String>,
    /// The number that a peer's next frame must have.
    next_seq: BTreeMap<Peer, u64>,
    state: Arc<Mutex<State>>,
    heard: mpsc::Sender<Heard>,
    pulse: Pulse,
}

impl Listener {
    async fn run(mut self, mut read: OwnedReadHalf, notify: watch::Sender<u64>) {
        let why = match self.listen(&mut read, &notify).await {
            Ok(()) => LinkError::Closed.to_string(),
            Err(error) => error.to_string(),
        };
        lock(&self.state).failed = Some(why);
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
            let n = read.read(&mut buffer).await?;
            if n == 0 {
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
        if frame.nonce != self.nonce {
            return wrong("a frame of another run".into());
        }
        if frame.from == Peer::Lab || frame.to != Peer::Lab {
            return wrong(format!("a frame from {} to {}", frame.from, frame.to));
        }
        if let Peer::Guest(guest) = &peer {
            self.known(guest)?;
        }
        let next = self.next_seq.entry(peer.clone()).or_insert(0);
        if frame.seq != *next {
            return wrong(format!("frame {} where {next} was due", frame.seq));
        }
        *next += 1;
        let uptime = match &frame.body {
            Body::Notice(Notice::Heartbeat { uptime_ms, .. }) => Some(*uptime_ms),
            _ => None,
        };
        self.pulse.frame(&peer, uptime);
        match frame.body {
            Body::Request { .. } => wrong("sends a request".into()),
            Body::Reply { id, result } => {
                let mut state = lock(&self.state);
                match state.awaited.remove(&id) {
                    Some(asked) if asked == peer => {
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
        let heard = match notice {
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
                    return wrong(peer, "tells of a guest's end a second time".into());
                }
                return Ok(());
            }
            Notice::Console { guest, hex } if peer == Peer::Host => {
                self.known(&guest)?;
                let bytes = unhex(&hex).ok_or_else(|| LinkError::Protocol {
                    peer,
                    why: "console bytes are not hexadecimal".into(),
                })?;
                Heard::Console { guest, bytes }
            }
            Notice::Heartbeat { uptime_ms, stored } => {
                let last = Instant::now();
                let mut state = lock(&self.state);
                let same = state.beats.get(&peer).filter(|beat| beat.stored == stored);
                let since = same.map_or(last, |beat| beat.since);
                state.beats.insert(peer.clone(), Beat { stored, since, last });
                drop(state);
                Heard::Heartbeat { peer, uptime_ms, stored }
            }
            Notice::Log { text } => Heard::Log { peer, text },
            Notice::GuestEnded { .. } | Notice::Console { .. } => {
                return Err(LinkError::Protocol { peer, why: "a guest speaks for the host".into() });
            }
        };
        // The receiver goes when the cell ends; then nobody needs to hear.
        let _ = self.heard.send(heard).await;
        Ok(())
    }

    fn known(&self, guest: &str) -> Result<(), LinkError> {
        if self.guests.contains(guest) {
            return Ok(());
        }
        Err(LinkError::Protocol {
            peer: Peer::Host,
            why: format!("tells of a guest {guest:?}, which is not the cell's"),
        })
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    text.chunks_exact(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.last()?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: u64 = 42;
    const SOON: Duration = Duration::from_secs(5);

    fn frame(from: Peer, seq: u64, body: Body) -> Vec<u8> {
        encode(&Frame { version: VERSION, nonce: NONCE, seq, from, to: Peer::Lab, body }).unwrap()
    }

    fn hello(from: Peer, seq: u64) -> Vec<u8> {
        let level = if from == Peer::Host { Level::Host } else { Level::Guest };
        let hello = Hello { level, release: "6.1".into(), page_size: 4096, uptime_ms: 1 };
        frame(from, seq, Body::Notice(Notice::Hello(hello)))
    }

    fn reply(from: Peer, seq: u64, id: u64) -> Vec<u8> {
        frame(from, seq, Body::Reply { id, result: Ok(Reply::Released) })
    }

    fn link() -> (Link, UnixStream, mpsc::Receiver<Heard>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (heard, hearing) = mpsc::channel(16);
        (Link::start(ours, NONCE, ["g0".to_owned()].into(), heard), theirs, hearing)
    }

    async fn failure(bytes: Vec<u8>) -> String {
        let (mut link, mut agent, _hearing) = link();
        agent.write_all(&bytes).await.unwrap();
        link.hello(&Peer::Guest("g0".into()), SOON).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_reply_reaches_its_asker() {
        let (mut link, mut agent, _hearing) = link();
        let (answer, ()) = tokio::join!(link.ask(&Peer::Host, Request::Release, "release", SOON), async {
            let mut request = [0; 4096];
            while agent.read(&mut request).await.unwrap() == 0 {}
            agent.write_all(&reply(Peer::Host, 0, 0)).await.unwrap();
        });
        assert!(matches!(answer, Ok(Reply::Released)), "{answer:?}");
        assert_eq!(link.host_answered(), 1);
    }

    #[tokio::test]
    async fn what_breaks_the_protocol_ends_the_link() {
        let bent = |change: fn(&mut Frame)| {
            let mut decoder = Decoder::default();
            decoder.push(&hello(Peer::Host, 0));
            let mut frame = decoder.next_frame().unwrap().unwrap();
            change(&mut frame);
            encode(&frame).unwrap()
        };
        let cases = [
            (bent(|f| f.version = 9), "speaks version 9"),
            (bent(|f| f.nonce = 1), "another run"),
            (bent(|f| f.seq = 1), "frame 1 where 0 was due"),
            ([hello(Peer::Host, 0), hello(Peer::Host, 0)].concat(), "frame 0 where 1 was due"),
            (bent(|f| f.from = Peer::Lab), "from lab"),
            (bent(|f| f.to = Peer::Host), "to host"),
            (b"nonsense, not a frame".to_vec(), "no frame starts here"),
            (frame(Peer::Host, 0, Body::Request { id: 0, request: Request::Release }), "sends a request"),
            // A reply before its request, too: it cannot be to it.
            (reply(Peer::Host, 0, 0), "answers request 0, which waits for no answer"),
            ([hello(Peer::Host, 0), hello(Peer::Host, 1)].concat(), "a second time"),
            (
                frame(
                    Peer::Guest("g0".into()),
                    0,
                    Body::Notice(Notice::Console { guest: "g1".into(), hex: String::new() }),
                ),
                "speaks for the host",
            ),
            (
                frame(Peer::Host, 0, Body::Notice(Notice::Console { guest: "g0".into(), hex: "0é".into() })),
                "hexadecimal",
            ),
            (
                frame(Peer::Host, 0, Body::Notice(Notice::Console { guest: "g1".into(), hex: "00".into() })),
                "of a guest \"g1\"",
            ),
            (hello(Peer::Guest("g1".into()), 0), "of a guest \"g1\""),
        ];
        for (bytes, expected) in cases {
            let found = failure(bytes).await;
            assert!(found.contains(expected), "expected `{expected}`, found `{found}`");
        }
    }

    #[tokio::test]
    async fn a_torn_frame_is_told_from_a_clean_end() {
        for (cut, expected) in [(5, "inside of a frame, after 5 bytes"), (0, "closed")] {
            let (mut link, mut agent, _hearing) = link();
            agent.write_all(&hello(Peer::Host, 0)[..cut]).await.unwrap();
            drop(agent);
            let found = link.hello(&Peer::Host, SOON).await.unwrap_err().to_string();
            assert!(found.contains(expected), "{found}");
        }
    }

    /// A guest that is asked to store, and beats every 50 ms with what it has stored by then.
    async fn storing(stored: fn(u64) -> u64) -> String {
        let (mut link, mut agent, mut hearing) = link();
        tokio::spawn(async move { while hearing.recv().await.is_some() {} });
        let guest = Peer::Guest("g0".into());
        let patience =
            Patience { whole: Duration::from_millis(1500), idle: Some(Duration::from_millis(400)) };
        let beats = async {
            for seq in 0.. {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let beat = Notice::Heartbeat { uptime_ms: 1, stored: stored(seq) };
                agent.write_all(&frame(Peer::Guest("g0".into()), seq, Body::Notice(beat))).await.unwrap();
            }
        };
        tokio::select! {
            answer = link.ask(&guest, Request::Release, "store", patience) => answer.unwrap_err().to_string(),
            () = beats => unreachable!(),
        }
    }

    #[tokio::test]
    async fn a_guest_that_does_not_get_on_is_told_from_a_slow_one() {
        let stuck = storing(|_| 7).await;
        assert_eq!(stuck, "guest g0 has not got on with `store` for 400ms; its agent says that it lives");
        assert_eq!(storing(|n| n).await, "guest g0 has not answered `store` in 1.5s");
    }

    #[tokio::test]
    async fn the_end_of_a_guest_ends_what_waits_for_it() {
        let (mut link, mut agent, _hearing) = link();
        let how = GuestEnd::Stopped { state: "internal-error".into(), detail: "Bad address".into() };
        agent
            .write_all(&frame(Peer::Host, 0, Body::Notice(Notice::GuestEnded { guest: "g0".into(), how })))
            .await
            .unwrap();
        let found = link.ask(&Peer::Guest("g0".into()), Request::Release, "release", SOON).await.unwrap_err();
        assert_eq!(
            found.to_string(),
            "guest g0 ended during `release`: its VMM stopped it (internal-error): Bad address"
        );
    }
}
