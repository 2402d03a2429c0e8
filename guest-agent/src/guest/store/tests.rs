use super::super::bar::tests::{ADDRESS, BAR_SIZE, fixture};
use super::super::bar::{Mapped, tests::bar_file};
use super::super::linux::Linux;
use super::*;
use proptest::prelude::*;
use proptest::sample::select;
use s2lab_protocol::{Barrier, By, Manner, MapKind, Order};

fn guest(folder: &std::path::Path) -> Guest<Linux> {
    Guest { machine: Linux::at(fixture(folder)), program: None, stores: None }
}

fn spec(by: By, width: u32, manner: Manner, bytes: u64) -> Store {
    let (device, address) = ("nic".into(), ADDRESS.into());
    Store { device, address, map: MapKind::Wc, width, by, manner, bytes, seed: 5 }
}

#[test]
fn a_word_that_changed_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(By::Str, 8, Manner::default(), 4096);
    let mut guest = guest(folder.path());
    let stored = guest.answer(spec.clone()).unwrap();
    assert_eq!(stored.result.first_difference, None);
    let mapped = Mapped::open(&fixture_there(folder.path()), "nic", ADDRESS, MapKind::Wc).unwrap();
    let place = mapped.target().at(1003, 1).unwrap();
    // SAFETY: within the mapping.
    unsafe { place.write_volatile(!place.read_volatile()) };
    let run = Run::of(spec.manner, spec.bytes, mapped.target()).unwrap();
    assert_eq!(first_difference(&guest.machine, spec.seed, run).unwrap(), Some(1000));
}

fn fixture_there(folder: &std::path::Path) -> crate::root::Root {
    crate::root::Root::at(folder)
}

#[test]
fn a_request_that_does_not_fit_is_refused() {
    let usual = Manner::default();
    for (spec, why) in [
        (spec(By::St4, 8, usual, 64), "`st4` has no store of 8 bytes"),
        (spec(By::Str, 3, usual, 64), "no access has 3 bytes"),
        (spec(By::Str, 8, Manner { chunk: 0, ..usual }, 64), "a chunk is a multiple"),
        (spec(By::Str, 8, Manner { vcpus: 9, ..usual }, 64), "1 to 2 vCPUs, not 9"),
        (spec(By::Str, 8, Manner { from: BAR_SIZE, ..usual }, 64), "do not lie in a BAR"),
        (spec(By::Str, 8, usual, u64::MAX - 63), "do not lie in a BAR"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let failure = guest(folder.path()).answer(spec).unwrap_err();
        assert!(failure.message.contains(why), "{}", failure.message);
    }
}

proptest! {
    #[test]
    fn the_file_holds_the_pattern_and_nothing_else(
        (by, width) in select(By::ALL.to_vec()).prop_flat_map(|by| (Just(by), select(by.widths().to_vec()))),
        order in select(Order::ALL.to_vec()),
        barrier in select(Barrier::ALL.to_vec()),
        chunk in select(vec![64u64, 128, 4096]),
        (start, chunks) in (0u64..64, 2u64..16),
        vcpus in 1..=u32::try_from(std::thread::available_parallelism().unwrap().get().min(2)).unwrap(),
        seed: u64,
    ) {
        let (from, bytes) = (start * 64, chunks * chunk);
        prop_assume!(from + bytes <= BAR_SIZE);
        let manner = Manner { order, barrier, from, chunk, vcpus, ..Manner::default() };
        let folder = tempfile::tempdir().unwrap();
        let stored = guest(folder.path()).answer(Store { seed, ..spec(by, width, manner, bytes) }).unwrap();
        prop_assert_eq!((stored.by, stored.width, stored.manner, stored.bytes), (by, width, manner, bytes));
        prop_assert_eq!(stored.result.first_difference, None);
        prop_assert_eq!(stored.result.stores, by.stores(width, bytes));
        let file = bar_file(folder.path());
        for (place, word) in (0..).step_by(8).zip(file.chunks(8)) {
            let inside = (from..from + bytes).contains(&place);
            let expected = if inside { pattern(seed, place) } else { 0 };
            prop_assert_eq!(word, expected.to_le_bytes(), "at {:#x}", place);
        }
    }
}
