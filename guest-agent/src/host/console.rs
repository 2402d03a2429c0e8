//! A guest's console on its way to s2lab: all of it, unless the guest floods it.

use super::router::Meter;
use crate::hex;
use s2lab_protocol::Notice;
use std::time::{Duration, Instant};

/// The most bytes of one [`Notice::Console`].
pub(crate) const MAX_PIECE: usize = 16 * 1024;
/// The bytes of a second above which the rest is dropped, so that the guest's console cannot starve
/// the link.
const PER_SECOND: usize = 1 << 20;
/// The time in which bytes are gathered after the first: a serial console writes them one by one.
pub(crate) const GATHER: Duration = Duration::from_millis(20);

/// A converter of console bytes to notices.
#[derive(Debug)]
pub(crate) struct Console {
    guest: String,
    meter: Meter,
    /// The bytes dropped since the last report.
    dropped: u64,
}

impl Console {
    pub(crate) fn new(guest: &str, now: Instant) -> Console {
        Console { guest: guest.to_owned(), meter: Meter::new(PER_SECOND, now), dropped: 0 }
    }

    /// Returns notices for `bytes`, at most [`MAX_PIECE`] of them.
    pub(crate) fn push(&mut self, bytes: &[u8], now: Instant) -> Vec<Notice> {
        let (pass, drop) = bytes.split_at(self.meter.take(bytes.len(), now));
        let mut notices = Vec::new();
        if !pass.is_empty() {
            notices.extend(self.finish());
            notices.push(Notice::Console { guest: self.guest.clone(), hex: hex::encode(pass) });
        }
        self.dropped += drop.len() as u64;
        notices
    }

    /// Returns the last notice: the number of dropped bytes.
    pub(crate) fn finish(&mut self) -> Option<Notice> {
        let dropped = std::mem::take(&mut self.dropped);
        let text = format!(
            "console of guest {}: {dropped} bytes dropped, more than {PER_SECOND} in a second",
            self.guest
        );
        (dropped > 0).then_some(Notice::Log { text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_survive() {
        let now = Instant::now();
        let notices = Console::new("g0", now).push(b"\x00[\xff\n", now);
        assert_eq!(notices, [Notice::Console { guest: "g0".into(), hex: "005bff0a".into() }]);
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let begin = Instant::now();
        let mut console = Console::new("g0", begin);
        let piece = vec![b'x'; MAX_PIECE];
        let said: Vec<_> = (0..80).flat_map(|_| console.push(&piece, begin)).collect();
        assert_eq!(said.len(), PER_SECOND / MAX_PIECE);
        let later = console.push(b"y", begin + Duration::from_secs(1));
        let dropped = 80 * MAX_PIECE - PER_SECOND;
        assert!(
            matches!(&later[0], Notice::Log { text } if text.contains(&format!("{dropped} bytes"))),
            "{later:?}"
        );
        assert_eq!(later[1], Notice::Console { guest: "g0".into(), hex: "79".into() });
        assert_eq!(console.finish(), None);
    }
}
