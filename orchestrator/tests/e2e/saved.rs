//! A cell on a saved host says what it says on a host that boots.

use crate::harness::{Done, Place, constant, left_over, scenario};

/// The words in the report of a resumed cell.
const RESUMED: &str = "  variable boot = resumed";

#[test]
fn a_saved_host_says_what_a_booted_one_says() {
    same_booted_and_resumed(&["vfio-pci-bar@debian-6.12+fwb=yes"]);
}

/// The counts are equal, too.
#[test]
fn a_saved_host_counts_like_a_booted_one() {
    same_booted_and_resumed(&[scenario("counted").as_str(), "--kernel", "debian-6.12"]);
}

/// The same for every shipped scenario.
#[test]
#[ignore = "a quarter of an hour"]
fn all_scenarios_say_on_saved_hosts_what_they_say_on_booted_ones() {
    same_booted_and_resumed(&["--set", "full", "--kernel", "debian-6.12"]);
}

/// The same on a kernel without the series.
#[test]
#[ignore = "a quarter of an hour"]
fn all_scenarios_say_on_saved_hosts_of_before_the_series_what_they_say_on_booted_ones() {
    same_booted_and_resumed(&["--set", "full", "--kernel", "debian-6.1"]);
}

fn passes(run: &Done) {
    assert_eq!((run.code, run.signal), (Some(0), None), "{}{}", run.stdout, run.stderr);
}

fn same_booted_and_resumed(what: &[&str]) {
    let booted = Place::new();
    passes(&booted.s2lab(["run"].iter().chain(what)));
    // It saves the hosts that the cache does not have.
    passes(&Place::new().s2lab(["run", "--resume"].iter().chain(what)));
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
        assert!(skipped || found.contains(RESUMED), "{key} has booted:\n{found}");
        assert_eq!(constant(found), constant(due), "{key}");
        compared += usize::from(!skipped);
    }
    assert!(compared > 0, "no report");
}
