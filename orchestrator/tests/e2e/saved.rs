//! A cell on a saved host says what it says on a host that boots.

use crate::harness::{Done, Place, constant, left_over, scenario};
use std::fs;
use std::path::Path;

/// The words in the report of a resumed cell.
const RESUMED: &str = "  variable boot = resumed";
/// The number of scenarios in a run. The cache keeps the hosts of so many, each of some 150 MB, also if two such runs
/// take turns: saved hosts take 4 GiB at most.
const AT_ONCE: usize = 5;

#[test]
fn a_saved_host_says_what_a_booted_one_says() {
    assert_ne!(same_booted_and_resumed(&["vfio-pci-bar@debian-6.12+fwb=yes"]), 0);
}

/// The counts are equal, too.
#[test]
fn a_saved_host_counts_like_a_booted_one() {
    assert_ne!(same_booted_and_resumed(&[scenario("counted").as_str(), "--kernel", "debian-6.12"]), 0);
}

/// The same for every shipped scenario.
#[test]
#[ignore = "half an hour"]
fn all_scenarios_say_on_saved_hosts_what_they_say_on_booted_ones() {
    all_same_booted_and_resumed("debian-6.12");
}

/// The same on a kernel without the series.
#[test]
#[ignore = "half an hour"]
fn all_scenarios_say_on_saved_hosts_of_before_the_series_what_they_say_on_booted_ones() {
    all_same_booted_and_resumed("debian-6.1");
}

fn all_same_booted_and_resumed(kernel: &str) {
    let shipped = shipped();
    let compared = shipped.chunks(AT_ONCE).map(|names| {
        let names = names.iter().map(String::as_str);
        same_booted_and_resumed(&names.chain(["--kernel", kernel]).collect::<Vec<_>>())
    });
    let compared: usize = compared.sum();
    assert!(compared >= shipped.len() / 2, "{compared} cells of {} scenarios", shipped.len());
}

/// Returns the names of the shipped scenarios.
fn shipped() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let files = [folder.clone(), folder.join("full")].map(|folder| fs::read_dir(folder).unwrap());
    let files = files.into_iter().flatten().map(|file| file.unwrap().path());
    let scenarios = files.filter(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    let names = scenarios.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn passes(run: &Done) {
    assert_eq!((run.code, run.signal), (Some(0), None), "{}{}", run.stdout, run.stderr);
}

/// Compares the reports, and returns the number of cells that had a host.
fn same_booted_and_resumed(what: &[&str]) -> usize {
    let booted = Place::new();
    passes(&booted.s2lab(["run"].iter().chain(what)));
    // It saves the hosts that the cache does not have.
    let saving = Place::new().s2lab(["run", "--resume"].iter().chain(what));
    passes(&saving);
    // QEMU 10.0 does not migrate an `nvme`.
    let is_refused =
        |key: &str| saving.stderr.contains(&format!("{key}: its host is not saved: QEMU refuses `migrate`"));
    let resumed = Place::new();
    passes(&resumed.s2lab(["run", "--resume"].iter().chain(what)));
    assert_eq!(left_over(&resumed), Vec::<String>::new());
    let (due, found) = (booted.reports(), resumed.reports());
    assert_eq!(found.len(), due.len());
    let mut compared = 0;
    for ((key, due), (of, found)) in due.iter().zip(&found) {
        assert_eq!(of, key);
        assert!(!due.contains(RESUMED), "{due}");
        // What is known before the boot needs no host.
        let skipped = due.lines().next().is_some_and(|title| title.contains("    SKIP"));
        assert!(skipped || is_refused(key) || found.contains(RESUMED), "{key} has booted:\n{found}");
        assert_eq!(constant(found), constant(due), "{key}");
        compared += usize::from(!skipped);
    }
    compared
}
