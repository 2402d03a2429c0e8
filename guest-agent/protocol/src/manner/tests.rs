use super::*;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeSet;

fn usual() -> Manner {
    Manner::default()
}

/// Returns the offsets of the chunks in their order.
fn offsets(manner: Manner, bytes: u64) -> Vec<u64> {
    manner.rows(bytes, 0).map(|row| row.offset).collect()
}

#[test]
fn the_usual_run_is_one_row_up_to_64k() {
    let row = |offset, bytes, ends| Row { offset, bytes, ends };
    let rows = |bytes| usual().rows(bytes, 0).collect::<Vec<_>>();
    assert_eq!(rows(4096), [row(0, 4096, true)]);
    assert_eq!(rows(2 * ROW + 128), [row(0, ROW, false), row(ROW, ROW, false), row(2 * ROW, 128, true)]);
}

#[test]
fn orders_are_those_of_the_chunks() {
    let strided = Manner { order: Order::Strided, from: 64, ..usual() };
    let expected: Vec<u64> = [0, 8, 1, 9, 2, 3, 4, 5, 6, 7].map(|chunk| 64 + 64 * chunk).into();
    assert_eq!(offsets(strided, 640), expected);
    let random = |seed| offsets(Manner { order: Order::Random, seed, ..usual() }, 64 * 1000);
    assert_eq!(random(1), random(1), "a seed gives one order");
    assert_ne!(random(1), random(2));
    let ascending = random(1).windows(2).filter(|pair| pair[0] < pair[1]).count();
    assert!((400..600).contains(&ascending), "{ascending} of 999 pairs ascend");
}

/// Reports have the results of an order: it must not change.
#[test]
fn the_random_order_stays_as_it_is() {
    let random = Manner { order: Order::Random, seed: 7, ..usual() };
    let chunks: Vec<_> = offsets(random, 640).into_iter().map(|offset| offset / 64).collect();
    assert_eq!(chunks, RANDOM_7);
}
const RANDOM_7: [u64; 10] = [6, 2, 8, 7, 9, 0, 4, 5, 1, 3];

#[test]
fn two_vcpus_take_turns() {
    let halves = Manner { vcpus: 2, chunk: 2048, ..usual() };
    let of = |manner: Manner, vcpu| manner.rows(4096, vcpu).map(|row| row.offset).collect::<Vec<_>>();
    assert_eq!((of(halves, 0), of(halves, 1)), (vec![0], vec![2048]));
    let interleaved = Manner { vcpus: 2, chunk: 1024, ..usual() };
    assert_eq!((of(interleaved, 0), of(interleaved, 1)), (vec![0, 2048], vec![1024, 3072]));
}

#[test]
fn values_that_do_not_fit_are_named() {
    let key = |manner: Manner, width, bytes| manner.misfit(width, bytes).map(|misfit| misfit.key);
    assert_eq!(key(usual(), 8, 64), None);
    for (manner, width, bytes, expected) in [
        (usual(), 0, 64, "width"),
        (usual(), 3, 64, "width"),
        (usual(), 32, 64, "width"),
        (usual(), 8, 0, "bytes"),
        (usual(), 8, 72, "bytes"),
        (Manner { from: 8, ..usual() }, 8, 64, "from"),
        (Manner { from: u64::MAX - 63, ..usual() }, 8, 64, "from"),
        (Manner { chunk: 0, ..usual() }, 8, 64, "chunk"),
        (Manner { chunk: 4, ..usual() }, 4, 64, "chunk"),
        (Manner { chunk: 24, ..usual() }, 16, 192, "chunk"),
        (Manner { chunk: 128, ..usual() }, 8, 192, "chunk"),
        (Manner { seed: 2, ..usual() }, 8, 64, "seed"),
        (Manner { vcpus: 0, ..usual() }, 8, 64, "vcpus"),
        (Manner { vcpus: 3, ..usual() }, 8, 4096, "vcpus"),
        (Manner { vcpus: 2, ..usual() }, 8, 64, "vcpus"),
    ] {
        assert_eq!(key(manner, width, bytes), Some(expected), "{manner:?} {width} {bytes}");
    }
}

#[test]
fn each_width_has_instructions() {
    for width in WIDTHS {
        assert_eq!(By::usual(width).misfit(width), None, "{width}");
    }
    let fits: Vec<_> = By::ALL.map(|by| WIDTHS.map(|width| by.misfit(width).is_none())).into();
    let (no, yes) = (false, true);
    assert_eq!(
        fits,
        [
            [yes, yes, yes, yes, no, no],
            [no, no, no, no, yes, yes],
            [no, no, no, no, yes, no],
            [no, no, no, no, no, yes],
            [no, no, no, no, no, yes],
        ]
    );
    let stores = By::ALL.map(|by| by.stores(by.widths()[0], 4096));
    assert_eq!(stores, [4096, 256, 256, 64, 512]);
}

fn manner() -> impl Strategy<Value = (Manner, u64)> {
    let chunk = select(vec![8u64, 16, 64, 128, 4096, 3 * ROW]);
    let order = select(Order::ALL.to_vec());
    let barrier = select(Barrier::ALL.to_vec());
    (order, any::<u32>(), barrier, 0u64..100, chunk, 1u64..60, 1u32..=2).prop_map(
        |(order, seed, barrier, from, chunk, chunks, vcpus)| {
            let chunks = if chunk < GRAIN { chunks * (GRAIN / chunk) } else { chunks };
            (Manner { order, seed, barrier, from: from * GRAIN, chunk, vcpus }, chunks * chunk)
        },
    )
}

proptest! {
    /// Every plan has each of its bytes once, whatever the order and the number of vCPUs.
    #[test]
    fn every_byte_is_accessed_once((manner, bytes) in manner()) {
        let mut rows: Vec<_> =
            (0..manner.vcpus).flat_map(|vcpu| manner.rows(bytes, vcpu)).collect();
        prop_assert!(rows.iter().all(|row| row.bytes <= ROW && row.bytes % WORD == 0));
        rows.sort_by_key(|row| row.offset);
        let mut next = manner.from;
        for row in rows {
            prop_assert_eq!(row.offset, next);
            next += row.bytes;
        }
        prop_assert_eq!(next, manner.from + bytes);
    }

    #[test]
    fn a_barrier_follows_each_chunk((manner, bytes) in manner()) {
        prop_assume!(manner.barrier != Barrier::None);
        let rows = (0..manner.vcpus).flat_map(|vcpu| manner.rows(bytes, vcpu));
        let ends: BTreeSet<_> = rows.filter(|row| row.ends).map(|row| row.offset + row.bytes).collect();
        let expected = (1..=bytes / manner.chunk).map(|chunk| manner.from + chunk * manner.chunk);
        prop_assert_eq!(ends, expected.collect());
    }

    #[test]
    fn a_random_order_is_a_permutation(count in 1u64..2000, seed: u32) {
        let places: BTreeSet<_> = (0..count).map(|at| shuffled(at, count, seed)).collect();
        prop_assert_eq!(places.len() as u64, count);
        prop_assert!(places.last() < Some(&count));
    }

    #[test]
    fn no_value_panics(seed: u32, from: u64, chunk: u64, vcpus: u32, width: u32, bytes: u64) {
        let manner = Manner { order: Order::Random, seed, barrier: Barrier::Dsb, from, chunk, vcpus };
        if manner.misfit(width, bytes).is_none() {
            let _ = manner.rows(bytes, 0).take(3).count();
        }
    }
}
