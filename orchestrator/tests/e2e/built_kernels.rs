//! Kernels that s2lab builds: each does what it declares, and one that declares more than it does
//! fails.
//!
//! These tests need four whole builds of eight minutes on an idle machine and a small one, once for
//! a cache, so they run only by name.

use crate::harness::{Done, Place, checkout, left_over};
use std::{fs, os::unix::fs::symlink};

/// Each kernel with the BAR's type in stage 2. The order is not the one that needs the least work
/// to build.
const KERNELS: [(&str, &str); 5] = [
    ("linux-6.1", "nic Device-nGnRE"),
    ("linux-6.1-wc", "nic Normal-NC"),
    ("linux-6.1-wc-v6", "nic Normal-NC"),
    ("linux-6.1-wc-kvm-only", "nic Device-nGnRE"),
    ("linux-6.12-reverted", "nic Device-nGnRE"),
];

/// One run for all that holds for every built kernel. One host more, because its entry is wrong on
/// purpose.
#[test]
#[ignore = "builds kernels: .ci/run asks for it by name"]
fn built_kernels_do_what_they_declare() {
    let place = Place::new();
    let arguments = KERNELS.iter().flat_map(|(name, _)| ["--kernel", name]);
    let run = place.s2lab(["run", "vfio-pci-bar"].into_iter().chain(arguments));
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let normal = run.normal();
    let lines: Vec<&str> = normal.lines().take(KERNELS.len()).collect();
    for (name, shown) in KERNELS {
        let begin = format!("PASS vfio-pci-bar@{name} ");
        let line = lines.iter().find(|line| line.starts_with(&begin));
        assert!(line.is_some_and(|line| line.contains(shown)), "{name}: {shown}\n{normal}");
    }
    let check = place.s2lab(["check"]);
    assert_eq!(check.code, Some(0), "{}{}", check.stdout, check.stderr);

    // Again from the cache alone, where nothing is built or fetched: the same Image under an entry
    // that claims that vfio-pci marks its VMAs.
    let lab = place.path().join("lab");
    fs::create_dir_all(lab.join("images")).unwrap();
    symlink(checkout().join("scenarios"), lab.join("scenarios")).unwrap();
    ["config", "patches"].iter().for_each(|folder| {
        symlink(checkout().join("images").join(folder), lab.join("images").join(folder)).unwrap();
    });
    let list = fs::read_to_string(checkout().join("images/kernels.yaml")).unwrap();
    let claims = list.replace("traits: [wc-honoured]", "traits: [wc-conveyed, wc-honoured]");
    assert_ne!(claims, list);
    fs::write(lab.join("images/kernels.yaml"), claims).unwrap();
    let lab = lab.display().to_string();
    let lying = ["run", "vfio-pci-bar", "--offline", "--lab", &lab, "--kernel", "linux-6.12-reverted"];
    let lying = place.s2lab(lying);
    assert_eq!(lying.code, Some(1), "{}{}", lying.stdout, lying.stderr);
    assert!(lying.stdout.starts_with("FAIL ") && lying.stdout.contains("Device-nGnRE"), "{}", lying.stdout);
    assert!(!lying.stderr.contains("building"), "{}", lying.stderr);
}

/// Returns a host whose KVM is wrong on purpose: `linux-6.1-wc` with a patch of these tests on top.
fn wrong_host(patch: &str) -> (Place, Done) {
    let place = Place::new();
    let series = checkout().join("orchestrator/tests/e2e/patches").join(patch);
    let series = series.display().to_string();
    let done = place.s2lab(["run", "vfio-pci-bar", "--kernel", "linux-6.1-wc", "--series", &series]);
    assert_eq!(done.code, Some(1), "{}{}", done.stdout, done.stderr);
    assert_eq!(left_over(&place), Vec::<String>::new());
    (place, done)
}

/// A host of its own, because its KVM is wrong on purpose.
#[test]
#[ignore = "builds kernels: .ci/run asks for it by name"]
fn a_guest_that_never_stores_is_given_up() {
    let (place, done) = wrong_host("faults-for-ever");
    assert!(done.stdout.starts_with("TIMEOUT"), "{}", done.stdout);
    let [(_, report)] = &place.reports()[..] else { panic!("more than one report") };
    for said in ["TIMEOUT(steps)", "guest g0 made no progress in `store` for ", "takes again and again"] {
        assert!(report.contains(said), "{said}\n{report}");
    }
}

/// Two hosts of its own, because each has a series that its entry does not declare.
#[test]
#[ignore = "builds kernels: .ci/run asks for it by name"]
fn what_an_entry_declares_must_hold_with_a_series_on_top() {
    let (place, done) = wrong_host("drops-the-mark");
    let line = done.stdout.lines().next().unwrap_or_default();
    assert!(line.starts_with("FAIL ") && line.contains("stage2 of nic at look "), "{}", done.stdout);
    assert!(line.ends_with("expected Normal-NC, found Device-nGnRE"), "{}", done.stdout);
    assert!(done.stdout.contains("breaks I1; ") && done.stdout.contains("expected as wc-honoured"));
    let [(_, report)] = &place.reports()[..] else { panic!("more than one report") };
    assert!(report.contains("expected Normal-NC\n    found    Device-nGnRE"), "{report}");

    // Undeclared traits are open: the series is judged by its behaviour.
    let series = checkout().join("images/patches/6.1-wc").display().to_string();
    let wc = place.s2lab(["run", "vfio-pci-bar", "--kernel", "linux-6.1", "--series", &series]);
    assert_eq!(wc.code, Some(0), "{}{}", wc.stdout, wc.stderr);
    assert!(wc.stdout.contains("nic Normal-NC   as wc-honoured"), "{}", wc.stdout);
}

/// A host of its own, because its KVM is wrong on purpose.
#[test]
#[ignore = "builds kernels: .ci/run asks for it by name"]
fn a_guest_that_panics_fails_its_host() {
    let (place, done) = wrong_host("kills-the-guest");
    assert!(done.stdout.starts_with("FAIL "), "{}", done.stdout);
    let [(key, report)] = &place.reports()[..] else { panic!("more than one report") };
    for said in ["guest g0 panicked: ", "Asynchronous SError Interrupt", "the guest's console"] {
        assert!(report.contains(said), "{said}\n{report}");
    }
    let crash = fs::read_to_string(place.run().join("cells").join(key).join("crash.txt")).unwrap();
    assert!(crash.starts_with("g0: "), "{crash}");
}
