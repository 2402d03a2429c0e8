use super::super::bar::tests::{ADDRESS, BAR_SIZE, fixture};
use super::super::linux::Linux;
use super::*;
use proptest::prelude::*;
use proptest::sample::select;
use s2lab_protocol::{Barrier, Manner, MapKind, Order, WIDTHS, WORD, pattern};
use std::path::Path;

const SEED: u64 = 7;

/// The digests of the pattern.
fn expected(from: u64, bytes: u64) -> Vec<u64> {
    let words = |(start, length)| {
        let offsets = (from + start..from + start + length).step_by(WORD as usize);
        offsets.map(|place| (place, pattern(SEED, place)))
    };
    Load::parts(bytes).map(|part| Load::digest(words(part))).collect()
}

/// A guest whose BAR has the pattern, but for the byte at `spoiled`.
fn guest(folder: &Path, spoiled: Option<usize>) -> Guest<Linux> {
    let root = fixture(folder);
    let words = (0..BAR_SIZE).step_by(WORD as usize);
    let mut bytes: Vec<u8> = words.flat_map(|place| pattern(SEED, place).to_le_bytes()).collect();
    if let Some(byte) = spoiled {
        bytes[byte] = !bytes[byte];
    }
    std::fs::write(folder.join("sys/bus/pci/devices").join(ADDRESS).join("resource2_wc"), bytes).unwrap();
    Guest { machine: Linux::at(root), program: None, stores: None }
}

fn spec(width: u32, manner: Manner, bytes: u64) -> Load {
    Load { device: "nic".into(), address: ADDRESS.into(), map: MapKind::Wc, width, manner, bytes }
}

#[test]
fn a_word_that_changed_is_in_its_part() {
    let digests = |width, spoiled| {
        let folder = tempfile::tempdir().unwrap();
        guest(folder.path(), spoiled).answer(spec(width, Manner::default(), BAR_SIZE)).unwrap().digests
    };
    let (before, after) = (digests(8, None), digests(64, Some(5000)));
    let other: Vec<_> = (0..after.len()).filter(|part| before[*part] != after[*part]).collect();
    assert_eq!(other, [4], "of 1024 bytes each");
}

#[test]
fn what_lies_outside_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let beyond = spec(8, Manner::default(), BAR_SIZE + 64);
    assert!(guest(folder.path(), None).answer(beyond).unwrap_err().message.contains("do not lie in a BAR"));
    let odd = spec(8, Manner { chunk: 12, ..Manner::default() }, 64);
    assert!(guest(folder.path(), None).answer(odd).unwrap_err().message.contains("a chunk is a multiple"));
}

proptest! {
    #[test]
    fn each_manner_reads_the_same(
        width in select(WIDTHS.to_vec()),
        order in select(Order::ALL.to_vec()),
        barrier in select(Barrier::ALL.to_vec()),
        chunk in select(vec![64u64, 128, 4096]),
        (start, chunks) in (0u64..64, 2u64..16),
        vcpus in 1..=u32::try_from(std::thread::available_parallelism().unwrap().get().min(2)).unwrap(),
    ) {
        let (from, bytes) = (start * 64, chunks * chunk);
        prop_assume!(from + bytes <= BAR_SIZE);
        let manner = Manner { order, barrier, from, chunk, vcpus, ..Manner::default() };
        let folder = tempfile::tempdir().unwrap();
        let loaded = guest(folder.path(), None).answer(spec(width, manner, bytes)).unwrap();
        prop_assert_eq!(loaded.digests, expected(from, bytes));
        prop_assert_eq!((loaded.width, loaded.manner, loaded.bytes), (width, manner, bytes));
        prop_assert_eq!(loaded.loads, bytes / u64::from(width.min(16)));
    }
}
