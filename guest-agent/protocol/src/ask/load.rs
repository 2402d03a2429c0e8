//! A run of loads from a BAR.

use super::{Ask, GuestRequest, pattern};
use crate::{Bar, GRAIN, Manner, MapKind};
use serde::{Deserialize, Serialize};

/// The most parts of a run.
const MOST_PARTS: u64 = 64;

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
    /// The bytes of each load, of [`crate::WIDTHS`]: 1 to 8 (LDR), 16 (LDP) or 64 (four LDP).
    pub width: u32,
    pub manner: Manner,
    /// The number of bytes; a multiple of 64.
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
        let Loaded { map, width, manner, bytes, .. } = *loaded;
        let as_asked = (map, width, manner, bytes) == (self.map, self.width, self.manner, self.bytes);
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
    /// The manner, with the number of vCPUs that loaded.
    pub manner: Manner,
    /// Bytes that were loaded.
    pub bytes: u64,
    /// The number of executed load instructions.
    pub loads: u64,
    /// The digest of the words of each part, see [`Load::parts`] and [`Load::digest`].
    pub digests: Vec<u64>,
}

impl Load {
    /// Yields first byte and length of the parts of a run of `bytes`, counted from the first byte of
    /// the run: at most 64, of equal length but the last.
    pub fn parts(bytes: u64) -> impl Iterator<Item = (u64, u64)> {
        let length = Load::length(bytes);
        let starts = (0..MOST_PARTS).map(move |part| part * length).take_while(move |start| *start < bytes);
        starts.map(move |start| (start, length.min(bytes - start)))
    }

    /// Returns the part of a run of `bytes` that has byte `at`, counted from the first of the run.
    pub fn part(bytes: u64, at: u64) -> u64 {
        at / Load::length(bytes)
    }

    fn length(bytes: u64) -> u64 {
        bytes.div_ceil(MOST_PARTS).next_multiple_of(GRAIN).max(GRAIN)
    }

    /// Returns the digest of words, each with its offset in the BAR. It depends on each word and on
    /// its place, not on their order.
    pub fn digest(words: impl IntoIterator<Item = (u64, u64)>) -> u64 {
        words.into_iter().fold(0, |digest, (offset, word)| digest.wrapping_add(pattern(word, offset)))
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
    fn each_byte_is_in_its_part() {
        for bytes in [64, 4096, 4160, 1 << 20] {
            for (part, (start, length)) in (0..).zip(Load::parts(bytes)) {
                assert_eq!((Load::part(bytes, start), Load::part(bytes, start + length - 1)), (part, part));
            }
        }
    }

    #[test]
    fn a_digest_shows_other_words_and_other_places() {
        let words = [
            vec![(0, 1), (8, 2)],
            vec![(0, 2), (8, 1)],
            vec![(0, 1), (8, 3)],
            vec![(0, 1), (8, 2), (16, 0)],
            vec![(8, 1), (16, 2)],
            vec![],
        ];
        let digests = words.map(Load::digest);
        assert!((1..digests.len()).all(|n| !digests[..n].contains(&digests[n])), "{digests:?}");
        assert_eq!(Load::digest([(8, 2), (0, 1)]), digests[0], "two vCPUs load in any order");
    }
}
