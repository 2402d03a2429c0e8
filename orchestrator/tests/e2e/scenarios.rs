//! Scenarios that do not ship: other devices, other CPU models, and one that must fail.

use crate::harness::{Place, part, scenario};

/// A host of its own, because the scenario must fail.
#[test]
fn inverted_expectations_fail_and_show_both_values() {
    let place = Place::new();
    let run = place.s2lab(["run", &scenario("inverted")]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    insta::assert_snapshot!(run.normal());
}

/// A host of its own, because the CPU model has LPA2. The devices have different sizes, the smaller
/// BAR has one page, and they are mapped in different ways.
#[test]
fn two_devices_with_lpa2() {
    passes_on_both("two-devices");
}

/// A host of its own, because its two guests have no FEAT_S2FWB. A reset takes one
/// device out of its table and not the other.
#[test]
fn three_looks() {
    let place = passes_on_both("three-looks");
    for (key, report) in place.reports() {
        let promised = part(&report, "promised");
        let (_, two) = promised.split_once("look two, guest g0\n").unwrap();
        assert!(two.trim_start().starts_with("nic  nothing mapped\n"), "{key}\n{promised}");
    }
}

fn passes_on_both(name: &str) -> Place {
    let place = Place::new();
    let run = place.s2lab(["run", &scenario(name)]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    for (kernel, label) in [("debian-6.1", "before the series"), ("debian-6.12", "wc-honoured")] {
        let line = run.stdout.lines().find(|line| line.contains(&format!("{name}@{kernel} "))).unwrap();
        assert!(line.starts_with("PASS") && line.ends_with(&format!("as {label}")), "{line}");
    }
    place
}
