//! Benchmark of a walk of stage-2 tables with a million leaves: 2,048 tables of 4 KiB pages. The limit
//! is 50 ms, with the record of pages that a look keeps.
//!
//! `cargo bench -p s2lab-mmu --bench walk`.

#![expect(clippy::unwrap_used, reason = "a benchmark ends at the first thing that is wrong")]

use s2lab_mmu::{Limits, PhysMem, RecordingMem, Stage2};
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

const MOST_TIME: Duration = Duration::from_millis(50);
/// The number of measurements of which the fastest counts: whatever else the machine does only adds
/// to a time.
const TIMES: usize = 7;
/// Entries of a table of the 4 KiB granule.
const ENTRIES: usize = 512;
/// Tables of level 3.
const LAST: usize = 2048;
/// A valid table descriptor; a valid page descriptor: Normal write-back with FEAT_S2FWB, read-write,
/// inner shareable, with the access flag.
const TABLE: u64 = 0b11;
const PAGE: u64 = 0x7db;
/// The bytes of a page of the 4 KiB granule, and of a table.
const SIZE: u64 = 4096;

/// Memory from address 0 on.
struct Memory(Vec<u64>);

impl PhysMem for Memory {
    fn read_u64(&self, pa: u64) -> Option<u64> {
        self.0.get(usize::try_from(pa / 8).ok()?).copied()
    }
}

fn main() {
    let memory = tables();
    // VTCR_EL2: 40-bit IPAs, start level 1, 4 KiB granule, 48-bit PAs. HCR_EL2: VM and FWB.
    let stage2 = Stage2::new(0, 24 | 1 << 6 | 5 << 16, 1 | 1 << 46).unwrap();
    let limits = Limits::default();
    let walk = stage2.walk_within(&memory, limits);
    assert_eq!((walk.leaves.len(), walk.anomaly_count), (LAST * ENTRIES, 0));
    let plain = fastest(|| drop(black_box(stage2.walk_within(&memory, limits))));
    let recorded = fastest(|| {
        let recording = RecordingMem::new(&memory);
        drop(black_box(stage2.walk_within(&recording, limits)));
        drop(black_box(recording.pages()));
    });
    println!("{} leaves: {plain:.1?}, with the record of pages {recorded:.1?}", LAST * ENTRIES);
    assert!(recorded < MOST_TIME, "more than {MOST_TIME:?}");
}

/// Returns a table of level 1, which has the size of two because 40-bit IPAs concatenate them, tables
/// of level 2 and those of level 3, in this order.
fn tables() -> Memory {
    let (first, second) = (2 * ENTRIES, LAST / ENTRIES);
    let base = |table: usize| (2 + table) as u64 * SIZE;
    let mut words: Vec<_> = (0..second).map(|table| base(table) | TABLE).collect();
    words.resize(first, 0);
    words.extend((0..LAST).map(|table| base(second + table) | TABLE));
    words.extend((0..(LAST * ENTRIES) as u64).map(|page| ((1 << 40) + page * SIZE) | PAGE));
    Memory(words)
}

fn fastest(mut work: impl FnMut()) -> Duration {
    let times = (0..TIMES).map(|_| {
        let began = Instant::now();
        work();
        began.elapsed()
    });
    times.min().unwrap()
}
