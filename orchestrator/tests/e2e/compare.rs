//! Comparisons of real kernels: one with itself, and one whose stage-2 faults take longer.
//!
//! They need an idle machine and an hour, so they run only by name:
//! `cargo test --release -p s2lab --test e2e -- --ignored --nocapture compare::`.

use crate::harness::{Place, checkout};
use std::fs;

const SAME: Option<i32> = Some(0);
const DIFFERENT: Option<i32> = Some(5);
const INCONCLUSIVE: Option<i32> = Some(4);

/// Returns the exit codes of as many comparisons, each of which must have come to its end.
fn exits(arguments: &[&str], times: usize) -> Vec<Option<i32>> {
    let compare = |_| {
        let place = Place::new();
        let done = place.s2lab([&["compare", "-q"], arguments].concat());
        println!("{}", done.stdout);
        assert!([SAME, DIFFERENT, INCONCLUSIVE].contains(&done.code), "{}{}", done.stdout, done.stderr);
        done.code
    };
    (0..times).map(compare).collect()
}

#[test]
#[ignore = "three quarters of an hour on an idle machine"]
fn a_kernel_is_never_different_from_itself_and_mostly_the_same() {
    let exits = exits(&["debian-6.12", "debian-6.12"], 20);
    let same = exits.iter().filter(|exit| **exit == SAME).count();
    assert!(!exits.contains(&DIFFERENT) && same >= 10, "{exits:?}");
}

/// The default scenario, whose measure `faults` stores to all of the BAR: with leaves of 4K a sample has
/// 4,096 faults.
fn of_the_whole_bar() -> String {
    let usual = fs::read_to_string(checkout().join("scenarios/compare/bar-stores.yaml")).unwrap();
    let all = usual
        .replace("bytes: 64K", "bytes: 16M")
        .replace("warm-up: 2\n      samples: 64", "warm-up: 1\n      samples: 6");
    assert!(all.contains("bytes: 16M") && all.contains("samples: 6"), "{all}");
    all
}

/// Both kernels map a BAR by pages, and are one build. A fault takes 250 us under emulation.
#[test]
#[ignore = "builds a kernel, and takes ten minutes on an idle machine"]
fn a_kernel_with_100_us_more_in_each_fault_is_different() {
    let place = Place::new();
    let scenario = place.path().join("bar-stores.yaml");
    fs::write(&scenario, of_the_whole_bar()).unwrap();
    let scenario = scenario.display().to_string();
    let kernels = ["linux-6.1-wc~map-by-pages", "linux-6.1-wc~slow-fault-by-pages"];
    assert_eq!(exits(&[kernels[0], kernels[1], &scenario], 5), [DIFFERENT; 5]);
}
