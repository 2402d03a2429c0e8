//! Comparisons of real kernels: one with itself, and one whose stage-2 faults take longer.
//!
//! They need an idle machine and hours, so they run only by name:
//! `cargo test --release -p s2lab --test e2e -- --ignored --nocapture compare::`.

use crate::harness::{Place, checkout};
use std::{fs, os::unix::fs::symlink};

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
#[ignore = "three hours on an idle machine"]
fn a_kernel_is_never_different_from_itself_and_mostly_the_same() {
    let exits = exits(&["debian-6.12", "debian-6.12"], 20);
    let same = exits.iter().filter(|exit| **exit == SAME).count();
    assert!(!exits.contains(&DIFFERENT) && same >= 10, "{exits:?}");
}

/// Both kernels map a BAR by pages: 4,096 faults a sample. A fault takes 250 us under emulation.
#[test]
#[ignore = "builds kernels, and takes two hours on an idle machine"]
fn a_kernel_with_100_us_more_in_each_fault_is_different() {
    let place = Place::new();
    let lab = place.path().join("lab");
    fs::create_dir_all(lab.join("images/patches")).unwrap();
    symlink(checkout().join("scenarios"), lab.join("scenarios")).unwrap();
    symlink(checkout().join("images/config"), lab.join("images/config")).unwrap();
    for patches in ["maps-by-pages", "slow-faults"] {
        let from = checkout().join("orchestrator/tests/e2e/patches").join(patches);
        symlink(from, lab.join("images/patches").join(patches)).unwrap();
    }
    let list = fs::read_to_string(checkout().join("images/kernels.yaml")).unwrap();
    let (kernels, rest) = list.split_once("default: ").unwrap();
    let entry = |name: &str, patches: &str| {
        format!(
            "  {name}:\n    about: For a test.\n    provider: source\n    package: linux-source-6.1\n    \
             suites: [bookworm]\n    version: 6.1.176-1\n    \
             config: [config/boot.config, config/suite.config]\n    patches: [{patches}]\n    traits: []\n"
        )
    };
    // Entries whose patches are not in this lab folder go.
    let debian = kernels.split("\n  linux-").next().unwrap();
    let by_pages = entry("by-pages", "patches/maps-by-pages");
    let slow = entry("slow", "patches/maps-by-pages, patches/slow-faults");
    let list = format!("{debian}\n{by_pages}{slow}default: {rest}");
    fs::write(lab.join("images/kernels.yaml"), list).unwrap();
    let lab = lab.display().to_string();
    assert_eq!(exits(&["--lab", &lab, "by-pages", "slow"], 5), [DIFFERENT; 5]);
}
