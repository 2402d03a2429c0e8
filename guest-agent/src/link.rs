//! Frames over a byte stream, and the check of their sender.

use crate::fault;
use s2lab_protocol::{Body, Decoder, Failure, FailureKind, Frame, FrameError, Notice, Peer, VERSION, encode};
use serde::Serialize;
use serde_json::Value;
use std::io::{self, Read, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The bytes read from the stream at once. With a whole payload this is the most that a decoder
/// contains.
pub(crate) const READ_SIZE: usize = 16 * 1024;

/// The longest time for which a request delays frames. s2lab misses the heartbeat after 8 s (docs/reports.md).
const DELAY: Duration = Duration::from_secs(2);

/// The reason why a link has ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("{doing} the link: {why}")]
    Stream { doing: &'static str, why: io::Error },
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("a frame of protocol version {found}; this agent speaks {VERSION}")]
    Version { found: u16 },
    #[error("a frame with nonce {found:#018x}, which is not this cell's")]
    Nonce { found: u64 },
    #[error("a frame from {found} on the link of {expected}")]
    From { expected: Peer, found: Peer },
    #[error("a frame to {found}, who is not reached through this link")]
    To { found: Peer },
    #[error("frame {found} of {from} came after frame {last}")]
    Order { from: Peer, last: u64, found: u64 },
    #[error("the stream ended within a frame, after {pending} bytes of it")]
    Torn { pending: usize },
}

/// The sending half. Every frame is sent whole; frames of several threads do not mix.
pub(crate) struct Link {
    me: Peer,
    out: Mutex<Out>,
    /// Notified when the link begins anew, and when fewer frames wait.
    changed: Condvar,
}

struct Out {
    writer: Box<dyn Write + Send>,
    nonce: u64,
    /// The number of this agent's next frame.
    seq: u64,
    /// The number of requests answered so far.
    answered: u64,
    /// The number of times that the link has begun anew.
    begun_anew: u64,
    quiet: Quiet,
}

/// The frames that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Quiet {
    None,
    /// The agent's own heartbeat.
    Heartbeat,
    All,
}

impl Link {
    pub(crate) fn new(me: Peer, nonce: u64, writer: impl Write + Send + 'static) -> Link {
        let writer = Box::new(writer);
        let out = Out { writer, nonce, seq: 0, answered: 0, begun_anew: 0, quiet: Quiet::None };
        Link { me, out: Mutex::new(out), changed: Condvar::new() }
    }

    /// Begins anew: frames carry `nonce` from now on, and they and the answers are counted from 0.
    pub(crate) fn begin_anew(&self, nonce: u64) {
        let mut out = self.lock();
        (out.nonce, out.seq, out.answered) = (nonce, 0, 0);
        out.begun_anew += 1;
        self.changed.notify_all();
    }

    /// Runs `work`, which changes where a device is mapped. No thread sends a frame meanwhile, for [`DELAY`] at
    /// most: each is a store to a device, and QEMU may send it to a wrong one (docs/troubleshooting.md).
    pub(crate) fn silent<T>(&self, work: impl FnOnce() -> T) -> T {
        self.quiet(Quiet::All, work)
    }

    /// Runs the work of a request, which may change where a device is mapped. The heartbeat waits meanwhile,
    /// for [`DELAY`] at most.
    pub(crate) fn busy<T>(&self, work: impl FnOnce() -> T) -> T {
        self.quiet(Quiet::Heartbeat, work)
    }

    fn quiet<T>(&self, quiet: Quiet, work: impl FnOnce() -> T) -> T {
        let before = std::mem::replace(&mut self.lock().quiet, quiet);
        let done = work();
        self.lock().quiet = before;
        self.changed.notify_all();
        done
    }

    /// Returns the sending half once `frames` need not wait.
    fn free(&self, frames: Quiet) -> MutexGuard<'_, Out> {
        let waited = self.changed.wait_timeout_while(self.lock(), DELAY, |out| out.quiet >= frames);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Sends a heartbeat.
    pub(crate) fn beat(&self, beat: impl FnOnce() -> Notice) -> Result<(), LinkError> {
        self.free(Quiet::Heartbeat).say(self, Body::Notice(beat()))
    }

    /// Waits for `pause`. Returns true earlier if the link begins anew.
    pub(crate) fn begins_anew_within(&self, pause: Duration) -> bool {
        let out = self.lock();
        let before = out.begun_anew;
        let waited = self.changed.wait_timeout_while(out, pause, |out| out.begun_anew == before);
        let (_out, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out()
    }

    pub(crate) fn notice(&self, notice: Notice) -> Result<(), LinkError> {
        self.free(Quiet::All).say(self, Body::Notice(notice))
    }

    /// Sends a [`Notice::Log`].
    pub(crate) fn log(&self, text: impl Into<String>) -> Result<(), LinkError> {
        self.notice(Notice::Log { text: text.into() })
    }

    /// Answers request `id`. An answer that is too long for a frame becomes a failure with that
    /// reason.
    pub(crate) fn reply(&self, id: u64, result: Result<Value, Failure>) -> Result<(), LinkError> {
        let mut out = self.free(Quiet::All);
        out.answered += 1;
        match out.say(self, Body::Reply { id, result }) {
            Err(LinkError::Frame(why @ FrameError::TooLong(_))) => {
                let failure = Failure { kind: FailureKind::System, message: format!("the answer is {why}") };
                out.say(self, Body::Reply { id, result: Err(failure) })
            }
            said => said,
        }
    }

    /// Answers request `id` with a record, which gets the number of answered requests, this one
    /// included.
    pub(crate) fn record<R: Serialize>(
        &self,
        id: u64,
        record: impl FnOnce(u64) -> R,
    ) -> Result<(), LinkError> {
        let mut out = self.free(Quiet::All);
        out.answered += 1;
        let record = record(out.answered);
        out.say(self, Body::Reply { id, result: in_json(&record) })
    }

    /// Passes on a frame of another sender without a change.
    pub(crate) fn relay(&self, frame: &Frame) -> Result<(), LinkError> {
        self.free(Quiet::All).write(frame)
    }

    /// A thread that panics while it holds the lock ends the agent, so no other thread finds
    /// poison.
    fn lock(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer as it travels.
pub(crate) fn in_json(answer: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(answer).map_err(|why| fault::system("write", "an answer", why))
}

impl Out {
    fn say(&mut self, link: &Link, body: Body) -> Result<(), LinkError> {
        let (nonce, seq, from) = (self.nonce, self.seq, link.me.clone());
        let frame = Frame { version: VERSION, nonce, seq, from, to: Peer::Lab, body };
        self.write(&frame)?;
        self.seq += 1;
        Ok(())
    }

    fn write(&mut self, frame: &Frame) -> Result<(), LinkError> {
        let bytes = encode(frame)?;
        self.writer
            .write_all(&bytes)
            .and_then(|()| self.writer.flush())
            .map_err(|why| LinkError::Stream { doing: "writing to", why })
    }
}

/// The expected sender of a link.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) from: Peer,
    pub(crate) nonce: u64,
}

impl Credentials {
    pub(crate) fn check(&self, frame: &Frame) -> Result<(), LinkError> {
        if frame.version != VERSION {
            return Err(LinkError::Version { found: frame.version });
        }
        if frame.nonce != self.nonce {
            return Err(LinkError::Nonce { found: frame.nonce });
        }
        if frame.from != self.from {
            return Err(LinkError::From { expected: self.from.clone(), found: frame.from.clone() });
        }
        Ok(())
    }
}

/// The receiving half, over a stream that blocks.
pub(crate) struct Incoming<R> {
    reader: R,
    decoder: Decoder,
    credentials: Credentials,
    /// Frames to guests pass: each has the nonce of its cell, which the guest checks.
    relays: bool,
    last: Option<u64>,
}

impl<R: Read> Incoming<R> {
    pub(crate) fn new(reader: R, credentials: Credentials) -> Incoming<R> {
        Incoming { reader, decoder: Decoder::default(), credentials, relays: false, last: None }
    }

    /// Makes the receiving half of a host, through which frames to its guests come too.
    pub(crate) fn relaying(self) -> Self {
        Incoming { relays: true, ..self }
    }

    /// Takes frames with this nonce from now on. Their numbers go on rising.
    pub(crate) fn adopt(&mut self, nonce: u64) {
        self.credentials.nonce = nonce;
    }

    /// Returns the next frame of the right sender, or None at the end of the stream. Sequence
    /// numbers must rise. Only the sender's counterpart, which gets all of its frames, can notice a
    /// missing one.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, LinkError> {
        let mut buffer = [0; READ_SIZE];
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                let nonce = match frame.to {
                    Peer::Guest(_) if self.relays => frame.nonce,
                    _ => self.credentials.nonce,
                };
                Credentials { nonce, ..self.credentials.clone() }.check(&frame)?;
                if let Some(last) = self.last.filter(|last| frame.seq <= *last) {
                    return Err(LinkError::Order { from: frame.from, last, found: frame.seq });
                }
                self.last = Some(frame.seq);
                return Ok(Some(frame));
            }
            match self.reader.read(&mut buffer) {
                Ok(0) if self.decoder.pending() == 0 => return Ok(None),
                Ok(0) => return Err(LinkError::Torn { pending: self.decoder.pending() }),
                Ok(n) => self.decoder.push(buffer.get(..n).unwrap_or_default()),
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) => return Err(LinkError::Stream { doing: "reading from", why }),
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use s2lab_protocol::ask::{Ask, Release};
    use s2lab_protocol::{FinalRecord, MAX_PAYLOAD};
    use std::sync::Arc;
    use std::time::Instant;

    /// A writer whose bytes can be read.
    #[derive(Clone, Default)]
    pub(crate) struct Tape(Arc<Mutex<Vec<u8>>>);

    impl Write for Tape {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Tape {
        pub(crate) fn frames(&self) -> Vec<Frame> {
            let mut decoder = Decoder::default();
            decoder.push(&self.0.lock().unwrap());
            std::iter::from_fn(|| decoder.next_frame().unwrap()).collect()
        }
    }

    pub(crate) fn frame(seq: u64, from: Peer, to: Peer) -> Frame {
        let body = Body::Request { id: seq, request: Release {}.request().into() };
        Frame { version: VERSION, nonce: 7, seq, from, to, body }
    }

    fn read(frames: &[Frame], cut: usize) -> Result<Vec<u64>, LinkError> {
        let bytes: Vec<u8> = frames.iter().flat_map(|f| encode(f).unwrap()).collect();
        let bytes = &bytes[..bytes.len() - cut];
        let mut incoming = Incoming::new(bytes, Credentials { from: Peer::Lab, nonce: 7 });
        let mut seen = vec![];
        while let Some(frame) = incoming.next_frame()? {
            seen.push(frame.seq);
        }
        Ok(seen)
    }

    #[test]
    fn own_frames_are_counted_and_others_pass_unchanged() {
        let tape = Tape::default();
        let link = Link::new(Peer::Host, 7, tape.clone());
        let foreign = frame(41, Peer::Guest("g0".into()), Peer::Lab);
        link.log("one").unwrap();
        link.relay(&foreign).unwrap();
        link.reply(3, Ok(Value::Null)).unwrap();
        link.record(4, |answered| FinalRecord { answered, taint: Some(512), tables: None }).unwrap();
        let frames = tape.frames();
        assert_eq!(frames[1], foreign);
        let own: Vec<_> = frames.iter().filter(|f| f.from == Peer::Host).map(|f| (f.seq, f.nonce)).collect();
        assert_eq!(own, [(0, 7), (1, 7), (2, 7)]);
        let record = FinalRecord { answered: 2, taint: Some(512), tables: None };
        let last = Body::Reply { id: 4, result: in_json(&record) };
        assert_eq!(frames[3].body, last);
    }

    #[test]
    fn a_link_that_begins_anew_counts_from_0_with_another_nonce() {
        let tape = Tape::default();
        let link = Link::new(Peer::Host, 7, tape.clone());
        link.log("one").unwrap();
        link.reply(3, Ok(Value::Null)).unwrap();
        link.begin_anew(8);
        link.log("two").unwrap();
        link.record(4, |answered| FinalRecord { answered, taint: None, tables: None }).unwrap();
        let frames = tape.frames();
        let numbers: Vec<_> = frames.iter().map(|frame| (frame.nonce, frame.seq)).collect();
        assert_eq!(numbers, [(7, 0), (7, 1), (8, 0), (8, 1)]);
        let record = FinalRecord { answered: 1, taint: None, tables: None };
        assert_eq!(frames[3].body, Body::Reply { id: 4, result: in_json(&record) });
    }

    fn beat() -> Notice {
        Notice::Heartbeat { uptime_ms: 1, stored: 0 }
    }

    fn reply() -> Body {
        Body::Reply { id: 3, result: Ok(Value::Null) }
    }

    /// Sends a heartbeat and a log from threads of their own during some work, whose end is a reply. Returns the
    /// frames in the order in which they left.
    fn sent_during(quiet: Quiet, work: impl FnOnce(&Tape)) -> Vec<Body> {
        let tape = Tape::default();
        let link = Link::new(Peer::Host, 7, tape.clone());
        std::thread::scope(|scope| {
            link.quiet(quiet, || {
                let spawn = |send: fn(&Link)| {
                    let link = &link;
                    std::thread::Builder::new().spawn_scoped(scope, move || send(link)).unwrap();
                };
                spawn(|link| link.beat(beat).unwrap());
                spawn(|link| link.log("one").unwrap());
                work(&tape);
                link.lock().say(&link, reply()).unwrap();
            });
        });
        tape.frames().into_iter().map(|frame| frame.body).collect()
    }

    /// Waits until so many frames have left.
    fn until(tape: &Tape, frames: usize) {
        let begun = Instant::now();
        while tape.frames().len() < frames {
            assert!(begun.elapsed() < Duration::from_secs(60), "frames still wait");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_heartbeat_waits_for_a_request() {
        let bodies = sent_during(Quiet::Heartbeat, |tape| until(tape, 1));
        assert_eq!(bodies, [Body::Notice(Notice::Log { text: "one".into() }), reply(), Body::Notice(beat())]);
    }

    #[test]
    fn no_frame_leaves_while_a_device_moves() {
        let bodies = sent_during(Quiet::All, |_| std::thread::sleep(Duration::from_millis(50)));
        assert_eq!((bodies.len(), &bodies[0]), (3, &reply()));
    }

    #[test]
    fn no_frame_waits_for_ever() {
        let bodies = sent_during(Quiet::All, |tape| until(tape, 2));
        assert_eq!(bodies[2], reply());
    }

    #[test]
    fn who_waits_learns_that_the_link_begins_anew() {
        let link = Link::new(Peer::Host, 7, Tape::default());
        assert!(!link.begins_anew_within(Duration::from_millis(1)));
        let began = std::thread::scope(|scope| {
            let waits = || link.begins_anew_within(Duration::from_secs(60));
            let waits = std::thread::Builder::new().spawn_scoped(scope, waits).unwrap();
            while !waits.is_finished() {
                link.begin_anew(8);
                std::thread::yield_now();
            }
            waits.join().unwrap()
        });
        assert!(began);
        assert!(!link.begins_anew_within(Duration::from_millis(1)), "it began before");
    }

    #[test]
    fn a_receiver_that_adopts_another_nonce_takes_only_that() {
        let lab = |seq, nonce| Frame { nonce, ..frame(seq, Peer::Lab, Peer::Host) };
        let bytes: Vec<u8> =
            [lab(4, 7), lab(5, 8), lab(6, 7)].iter().flat_map(|frame| encode(frame).unwrap()).collect();
        let mut incoming = Incoming::new(&*bytes, Credentials { from: Peer::Lab, nonce: 7 });
        assert_eq!(incoming.next_frame().unwrap().map(|frame| frame.seq), Some(4));
        incoming.adopt(8);
        assert_eq!(incoming.next_frame().unwrap().map(|frame| frame.seq), Some(5));
        assert!(matches!(incoming.next_frame(), Err(LinkError::Nonce { found: 7 })));
    }

    #[test]
    fn an_answer_that_is_too_long_becomes_a_failure_without_a_gap() {
        let tape = Tape::default();
        let link = Link::new(Peer::Host, 7, tape.clone());
        link.reply(9, Ok("x".repeat(MAX_PAYLOAD).into())).unwrap();
        let frames = tape.frames();
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].seq, 0);
        assert!(
            matches!(&frames[0].body, Body::Reply { id: 9, result: Err(why) } if why.kind == FailureKind::System)
        );
    }

    #[test]
    fn only_the_right_sender_is_believed() {
        let lab = |seq| frame(seq, Peer::Lab, Peer::Host);
        assert_eq!(read(&[lab(0), lab(1), lab(5)], 0).unwrap(), [0, 1, 5]);
        assert!(matches!(read(&[lab(1), lab(1)], 0), Err(LinkError::Order { last: 1, found: 1, .. })));
        assert!(matches!(read(&[frame(0, Peer::Host, Peer::Host)], 0), Err(LinkError::From { .. })));
        assert!(matches!(read(&[Frame { nonce: 8, ..lab(0) }], 0), Err(LinkError::Nonce { found: 8 })));
        assert!(matches!(read(&[Frame { version: 9, ..lab(0) }], 0), Err(LinkError::Version { found: 9 })));
        assert!(matches!(read(&[lab(0), lab(1)], 1), Err(LinkError::Torn { .. })));
    }
}
