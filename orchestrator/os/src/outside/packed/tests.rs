use super::*;
use crate::outside::kinds;
use proptest::prelude::*;

/// One file, packed by gzip 1.12, zstd 1.5, xz 5.4 (with the filter that Linux uses on arm64), lz4
/// 1.9, bzip2 1.0.8 and lzma.
const SAMPLES: [(Packing, &[u8]); 7] = [
    (Packing::Gzip, include_bytes!("../../../tests/packed/Image.gz")),
    (Packing::Zstd, include_bytes!("../../../tests/packed/Image.zst")),
    (Packing::Xz, include_bytes!("../../../tests/packed/Image.xz")),
    (Packing::Lz4, include_bytes!("../../../tests/packed/Image.lz4")),
    (Packing::OldLz4, include_bytes!("../../../tests/packed/Image.old.lz4")),
    (Packing::Bzip2, include_bytes!("../../../tests/packed/Image.bz2")),
    (Packing::Lzma, include_bytes!("../../../tests/packed/Image.lzma")),
];
const PLAIN: &[u8] = include_bytes!("../../../tests/packed/Image");
const KIND: Kind = Kind { name: "a test", limit: 8 << 10 };

/// The decoder of lzma reads on behind the end.
fn has_members(packing: Packing) -> bool {
    packing != Packing::Lzma
}

#[test]
fn members_come_out_one_after_the_other() {
    for (packing, packed) in SAMPLES {
        let is = |packed: Vec<u8>, most, times| {
            let plain = unpacked(packed, KIND, most).map_err(|why| why.to_string());
            assert!(plain == Ok(PLAIN.repeat(times)), "{packing}: {:?}", plain.err());
        };
        is(packed.to_vec(), 1, 1);
        is([packed, &[0; 8]].concat(), 1, 1);
        if has_members(packing) {
            is(packed.repeat(3), 3, 3);
            let many = unpacked(packed.repeat(3), KIND, 2).unwrap_err();
            assert_eq!(many.to_string(), format!("it has more than 2 {packing} members"));
        }
    }
    assert_eq!(unpacked(b"plain".to_vec(), KIND, 1).unwrap(), b"plain");
    let lzop = unpacked(b"\x89LZO\0\r\n\x1a\n".to_vec(), KIND, 1).unwrap_err();
    assert_eq!(lzop.to_string(), "it is packed with lzop, which s2lab does not unpack");
}

#[test]
fn what_is_cut_or_followed_by_something_else_is_damaged() {
    for (packing, packed) in SAMPLES {
        for length in 9..packed.len() {
            let cut = unpacked(packed[..length].to_vec(), KIND, 1);
            assert!(matches!(cut, Err(Why::Packed { .. })), "{packing}, {length} bytes");
        }
        // The decoder of bzip2 takes no notice of it.
        if has_members(packing) && packing != Packing::Bzip2 {
            let followed = unpacked([packed, b"more, of whatever kind"].concat(), KIND, 2);
            assert!(matches!(followed, Err(Why::Packed { .. })), "{packing}");
        }
    }
}

#[test]
fn what_unpacks_to_too_much_is_refused() {
    for (packing, packed) in SAMPLES {
        for times in 1..=if has_members(packing) { 2 } else { 1 } {
            let few = Kind { limit: (PLAIN.len() * times - 1) as u64, ..KIND };
            let large = unpacked(packed.repeat(times), few, times);
            assert!(matches!(large, Err(Why::TooLarge(kind)) if kind == few), "{packing}");
        }
    }
    // A dictionary of 4 GiB.
    let mut xz = SAMPLES[2].1.to_vec();
    xz[17] = 40;
    assert!(matches!(unpacked(xz, KIND, 1), Err(Why::Packed { .. })));
}

proptest! {
    #[test]
    fn whatever_is_packed(
        which in 0..SAMPLES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        more in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = [SAMPLES[which].1, &more].concat();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = unpacked(bytes, kinds::NOTE, 3);
    }
}
