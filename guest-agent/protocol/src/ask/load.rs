//! A run of loads from a BAR.

use super::{Ask, GuestRequest, pattern};
use crate::{Bar, MapKind};
use serde::{Deserialize, Serialize};

/// The most parts of a run.
const MOST_PARTS: u64 = 64;
/// The bytes of a part are a multiple of it.
const GRAIN: u64 = 64;

/// Maps the device's BAR (see [`Bar::chosen`]) and loads its bytes. The guest does not know them:
/// the answer has their digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// The scenario's name for the device.
    pub device: String,
    /// PCI address in the guest.
    pub address: String,
    pub map: MapKind,
    /// The width of each load in bytes: 8 (LDR), 16 (LDP) or 64 (four LDP).
    pub width: u32,
    /// The number of bytes from the start of the BAR; a multiple of 64.
    pub bytes: u64,
}

impl Ask for Load {
    type Level = GuestRequest;
    type Answer = Loaded;
    const DOING: &str = "load";

    fn request(self) -> GuestRequest {
        GuestRequest::Load(self)
    }

    fn mismatch(&self, loaded: &Loaded) -> Option<&'static str> {
        let as_asked = (loaded.map, loaded.width, loaded.bytes) == (self.map, self.width, self.bytes);
        let whole = loaded.digests.len() == Load::parts(self.bytes).count();
        (!as_asked || !whole).then_some("another load was asked for")
    }
}

/// A run of loads that was carried out, in the words of the guest that did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loaded {
    pub bar: Bar,
    /// The kind of the mapped file.
    pub map: MapKind,
    /// Bytes of each load.
    pub width: u32,
    /// Bytes that were loaded.
    pub bytes: u64,
    /// The number of executed load instructions.
    pub loads: u64,
    /// The digest of the words of each part, see [`Load::parts`].
    pub digests: Vec<u64>,
}

impl Load {
    /// Yields offset and length of the parts of a run of `bytes`: at most 64, of equal length but
    /// the last.
    pub fn parts(bytes: u64) -> impl Iterator<Item = (u64, u64)> {
        let length = bytes.div_ceil(MOST_PARTS).next_multiple_of(GRAIN).max(GRAIN);
        let starts = (0..MOST_PARTS).map(move |part| part * length).take_while(move |start| *start < bytes);
        starts.map(move |start| (start, length.min(bytes - start)))
    }

    /// The digest of no words.
    pub const EMPTY: u64 = 1;

    /// Returns the digest of the words of `so_far` and of more. It depends on each word and on
    /// their order.
    pub fn digest(so_far: u64, more: impl IntoIterator<Item = u64>) -> u64 {
        more.into_iter().fold(so_far, |digest, word| pattern(digest ^ word, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_whole() {
        for (bytes, count, last) in [
            (64, 1, (0, 64)),
            (4096, 64, (4032, 64)),
            (4160, 33, (4096, 64)),
            (1 << 30, 64, (63 << 24, 1 << 24)),
        ] {
            let parts: Vec<_> = Load::parts(bytes).collect();
            assert_eq!((parts.len(), parts.last()), (count, Some(&last)), "{bytes}");
            assert_eq!(parts.iter().map(|(_, length)| length).sum::<u64>(), bytes);
        }
        assert_eq!(Load::parts(0).count(), 0);
        assert!(Load::parts(u64::MAX).count() <= 64);
    }

    #[test]
    fn a_digest_shows_other_words_and_another_order() {
        let words = [vec![1, 2], vec![2, 1], vec![1, 3], vec![1, 2, 0], vec![0, 1, 2], vec![]];
        let digests = words.map(|words| Load::digest(Load::EMPTY, words));
        assert!((1..digests.len()).all(|n| !digests[..n].contains(&digests[n])), "{digests:?}");
        assert_eq!(Load::digest(Load::digest(Load::EMPTY, [1]), [2]), digests[0]);
    }
}
