//! Frames between s2lab and a guest. The guest is not trusted: its output is bounded, and anything
//! but a frame of its own ends its link.

use crate::fault;
use crate::link::{Credentials, LinkError};
use rustix::net::{SendFlags, send};
use s2lab_protocol::{Decoder, Failure, Frame, Peer, encode};
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A converter of a guest's bytes to frames that may be passed on.
#[derive(Debug)]
pub(crate) struct Uplink {
    credentials: Credentials,
    decoder: Decoder,
}

impl Uplink {
    pub(crate) fn new(name: &str, nonce: u64) -> Uplink {
        let from = Peer::Guest(name.to_owned());
        Uplink { credentials: Credentials { from, nonce }, decoder: Decoder::default() }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    /// Returns the next whole frame, or None if it needs more bytes. After an error the link has
    /// ended.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, LinkError> {
        let Some(frame) = self.decoder.next_frame()? else { return Ok(None) };
        self.credentials.check(&frame)?;
        if frame.to != Peer::Lab {
            return Err(LinkError::To { found: frame.to });
        }
        Ok(Some(frame))
    }
}

/// The links to the guests' agents, by name.
#[derive(Debug, Default)]
pub(crate) struct Downlinks(Mutex<BTreeMap<String, UnixStream>>);

impl Downlinks {
    pub(crate) fn insert(&self, name: &str, link: UnixStream) {
        self.lock().insert(name.to_owned(), link);
    }

    pub(crate) fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Passes on a frame. It fits whole into the socket's buffer or the link ends: a guest with
    /// more than a hundred kilobytes of unread requests must not make the host wait.
    pub(crate) fn send(&self, name: &str, frame: &Frame) -> Result<(), Failure> {
        let mut links = self.lock();
        let link = links
            .get(name)
            .ok_or_else(|| fault::invalid(format_args!("there is no guest {name:?} to talk to")))?;
        let bytes = encode(frame).map_err(|why| fault::invalid(why.to_string()))?;
        let why = match send(link, &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) if sent == bytes.len() => return Ok(()),
            Ok(sent) => format!("it takes {sent} of {} bytes", bytes.len()),
            Err(why) => why.to_string(),
        };
        links.remove(name);
        Err(fault::system("send a frame to guest", name, why))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, UnixStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A limit of the bytes in a second.
#[derive(Debug)]
pub(crate) struct Meter {
    per_second: usize,
    left: usize,
    /// The beginning of the second.
    begin: Instant,
}

impl Meter {
    const SECOND: Duration = Duration::from_secs(1);

    pub(crate) fn new(per_second: usize, now: Instant) -> Meter {
        Meter { per_second, left: per_second, begin: now }
    }

    /// Takes up to `wanted` bytes from the limit, and returns their number.
    pub(crate) fn take(&mut self, wanted: usize, now: Instant) -> usize {
        if now.saturating_duration_since(self.begin) >= Self::SECOND {
            (self.begin, self.left) = (now, self.per_second);
        }
        let taken = wanted.min(self.left);
        self.left -= taken;
        taken
    }

    /// Returns the time at which bytes may pass again, if none may now.
    pub(crate) fn closed_until(&self) -> Option<Instant> {
        (self.left == 0).then(|| self.begin + Self::SECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::tests::frame;
    use proptest::prelude::*;
    use std::io::Read;

    fn guest(name: &str) -> Peer {
        Peer::Guest(name.into())
    }

    #[test]
    fn a_guest_speaks_for_itself_only() {
        let push = |frame: Frame| {
            let mut uplink = Uplink::new("g0", 7);
            uplink.push(&encode(&frame).unwrap());
            uplink.next_frame()
        };
        let good = frame(3, guest("g0"), Peer::Lab);
        assert_eq!(push(good.clone()).unwrap().as_ref(), Some(&good));
        assert!(matches!(push(frame(0, guest("g1"), Peer::Lab)), Err(LinkError::From { .. })));
        assert!(matches!(push(frame(0, Peer::Host, Peer::Lab)), Err(LinkError::From { .. })));
        assert!(matches!(push(frame(0, guest("g0"), Peer::Host)), Err(LinkError::To { found: Peer::Host })));
        assert!(matches!(push(frame(0, guest("g0"), guest("g1"))), Err(LinkError::To { .. })));
        assert!(matches!(push(Frame { nonce: 8, ..good.clone() }), Err(LinkError::Nonce { .. })));
        assert!(matches!(push(Frame { version: 9, ..good }), Err(LinkError::Version { .. })));
    }

    #[test]
    fn a_guest_that_does_not_read_loses_its_link_and_nobody_waits() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let links = Downlinks::default();
        let request = frame(0, Peer::Lab, guest("g0"));
        assert!(links.send("g0", &request).is_err(), "no such guest yet");
        links.insert("g0", ours);
        let whole = encode(&request).unwrap().len();
        let sent = (0..1_000_000).take_while(|_| links.send("g0", &request).is_ok()).count();
        assert!(sent > 10 && sent < 1_000_000, "{sent}");
        assert!(links.send("g0", &request).unwrap_err().message.contains("no guest"));
        let mut taken = vec![];
        theirs.read_to_end(&mut taken).unwrap();
        assert!(taken.len() >= sent * whole);
    }

    #[test]
    fn a_meter_counts_by_the_second() {
        let begin = Instant::now();
        let mut meter = Meter::new(100, begin);
        assert_eq!((meter.take(70, begin), meter.closed_until()), (70, None));
        assert_eq!((meter.take(70, begin), meter.closed_until()), (30, Some(begin + Meter::SECOND)));
        assert_eq!(meter.take(70, begin + Duration::from_millis(999)), 0);
        assert_eq!(meter.take(170, begin + Meter::SECOND), 100);
    }

    proptest! {
        #[test]
        fn hostile_bytes_neither_panic_nor_pass(bytes in proptest::collection::vec(any::<u8>(), 1..3000)) {
            let mut uplink = Uplink::new("g0", 7);
            uplink.push(&bytes);
            prop_assert!(!matches!(uplink.next_frame(), Ok(Some(_))));
        }
    }
}
