//! Kernels that s2lab builds: each does what it declares, and one that declares more than it does
//! fails.
//!
//! These tests need three whole builds of eight minutes on an idle machine and two small ones, once
//! for a cache, so they run only by name. `more_kernels` has those that CI does not build.

use crate::harness::{Done, Place, checkout, left_over};
use std::{fs, os::unix::fs::symlink};

/// Each kernel with the BAR's type in stage 2. The order is not the one that needs the least work
/// to build.
const KERNELS: [(&str, &str); 3] = [
    ("linux-6.1", "nic Device-nGnRE"),
    ("linux-6.1-wc", "nic Normal-NC"),
    ("linux-6.12-reverted", "nic Device-nGnRE"),
];

/// The point at which each listed kernel has an accepted report.
const POINT: &str = "vfio-pci-bar+fwb=yes";

/// Runs the scenario on kernels, which must do what they declare and what was accepted.
pub(crate) fn do_what_they_declare(place: &Place, kernels: &[(&str, &str)]) {
    let arguments = kernels.iter().flat_map(|(name, _)| ["--kernel", name]);
    let run = place.s2lab(["run", POINT].into_iter().chain(arguments));
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let normal = run.normal();
    let lines: Vec<&str> = normal.lines().take(kernels.len()).collect();
    for (name, shown) in kernels {
        let begin = format!("PASS vfio-pci-bar@{name}+fwb=yes ");
        let line = lines.iter().find(|line| line.starts_with(&begin));
        assert!(line.is_some_and(|line| line.contains(shown)), "{name}: {shown}\n{normal}");
    }
    let check = place.s2lab(["check"]);
    assert_eq!(check.code, Some(0), "{}{}", check.stdout, check.stderr);
}

/// One run for all that holds for every built kernel. One host more, because its entry is wrong on
/// purpose.
#[test]
#[ignore = "builds kernels: .ci/run asks for it by name"]
fn built_kernels_do_what_they_declare() {
    let place = Place::new();
    do_what_they_declare(&place, &KERNELS);

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
    let lying = ["run", POINT, "--offline", "--lab", &lab, "--kernel", "linux-6.12-reverted"];
    let lying = place.s2lab(lying);
    assert_eq!(lying.code, Some(1), "{}{}", lying.stdout, lying.stderr);
    assert!(lying.stdout.starts_with("FAIL ") && lying.stdout.contains("Device-nGnRE"), "{}", lying.stdout);
    assert!(!lying.stderr.contains("building"), "{}", lying.stderr);
}

/// The scenarios with VMAs of s2lab's own module. With the flag a BAR is Normal-NC on each kernel that honours it,
/// also on one whose vfio-pci sets no flag. Debian's kernels are not built here.
#[test]
#[ignore = "builds kernels: .ci/run asks for it by name"]
fn the_flag_of_a_vma_decides_and_nothing_else_of_it() {
    let place = Place::new();
    let scenarios = ["flag-of-vma-decides", "cacheable-vma", "private-vma", "vma-of-ram"];
    let kernels = ["linux-6.1", "linux-6.1-wc", "linux-6.12-reverted", "debian-6.12"];
    let kernels = kernels.iter().flat_map(|name| ["--kernel", name]);
    let run = place.s2lab(["run"].into_iter().chain(scenarios).chain(kernels));
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let reports = place.reports();
    let promised = |key: &str| {
        let report = reports.iter().find(|(found, _)| found == key);
        crate::harness::part(&report.unwrap_or_else(|| panic!("{key}\n{}", run.stdout)).1, "promised")
    };
    for (kernel, marked) in
        [("linux-6.1", "Device-nGnRE"), ("linux-6.1-wc", "Normal-NC"), ("linux-6.12-reverted", "Normal-NC")]
    {
        for (kind, flag, of) in
            [("pfnmap", "set", marked), ("mixedmap", "set", marked), ("mixedmap", "unset", "Device-nGnRE")]
        {
            let promised = promised(&format!("flag-of-vma-decides@{kernel}+flag={flag}+kind={kind}"));
            for device in ["combined", "device", "noncached"] {
                let line = format!("    {device}  stage2 {of}  rw  never-exec");
                assert!(promised.contains(&line), "{kernel}: {line}\n{promised}");
            }
        }
        let private = promised(&format!("private-vma@{kernel}+flag=set"));
        assert!(private.contains(&format!("nic  stage2 {marked}  r-  never-exec")), "{private}");
    }
    let skipped: Vec<_> = run.stdout.lines().filter(|line| line.starts_with("SKIP")).collect();
    assert!(
        !skipped.is_empty() && skipped.iter().all(|line| line.contains("@debian-6.12")),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("s2lab's own module cannot be built"), "{}", run.stdout);
    assert_eq!(left_over(&place), Vec::<String>::new());
}

/// Runs the scenario on a host whose KVM is wrong on purpose.
fn wrong_host(kernel: &[&str]) -> (Place, Done) {
    let place = Place::new();
    let done = place.s2lab(["run", POINT, "--kernel"].iter().chain(kernel));
    assert_eq!(done.code, Some(1), "{}{}", done.stdout, done.stderr);
    assert_eq!(left_over(&place), Vec::<String>::new());
    (place, done)
}

/// The mutants of the one build that CI runs: vfio-pci, the page-table code, the TLB.
const MUTANTS: [&str; 3] = ["reset-keeps-mapping", "nc-as-gre", "tlbi-wrong-level"];

/// Four hosts, on one of which nothing is wrong.
#[test]
#[ignore = "builds kernels: .ci/run asks for it by name"]
fn mutants_are_caught_by_the_promise_that_they_break() {
    let place = Place::new();
    let which = ["--kernel", "linux-6.1-wc", "--scenario", "whole-bar"];
    let arguments = ["mutants"].into_iter().chain(MUTANTS).chain(which);
    let done = place.s2lab(arguments);
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    let normal = done.normal();
    for line in [
        "linux-6.1-wc none - passes",
        "linux-6.1-wc reset-keeps-mapping I9 caught",
        "linux-6.1-wc nc-as-gre I1 I6 I10 caught",
        "whole-bar: I1, stage2 of nic at look stored, guest g0: expected Normal-NC, found Device-GRE",
        "linux-6.1-wc tlbi-wrong-level I9 caught",
        "whole-bar: I9, step 2, TLB invalidation of nic ",
    ] {
        assert!(normal.lines().any(|shown| shown.starts_with(line)), "{line}\n{normal}");
    }
    assert!(normal.contains("\n3 mutants: 3 caught "), "{normal}");
    let report = place.s2lab(["report"]);
    assert_eq!((report.code, report.stdout), (Some(0), done.stdout));
    assert_eq!(left_over(&place), Vec::<String>::new());
}

/// A host of its own, because its KVM is wrong on purpose.
#[test]
#[ignore = "builds kernels: .ci/run asks for it by name"]
fn a_guest_that_never_stores_is_given_up() {
    let (place, done) = wrong_host(&["linux-6.1-wc~faults-for-ever"]);
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
    let series = checkout().join("orchestrator/tests/e2e/patches/drops-the-mark").display().to_string();
    let (place, done) = wrong_host(&["linux-6.1-wc", "--series", &series]);
    let line = done.stdout.lines().next().unwrap_or_default();
    assert!(line.starts_with("FAIL ") && line.contains("stage2 of nic at look "), "{}", done.stdout);
    assert!(line.ends_with("expected Normal-NC, found Device-nGnRE"), "{}", done.stdout);
    assert!(done.stdout.contains("breaks I1; ") && done.stdout.contains("expected as wc-honoured"));
    let [(_, report)] = &place.reports()[..] else { panic!("more than one report") };
    assert!(report.contains("expected Normal-NC\n    found    Device-nGnRE"), "{report}");

    // Undeclared traits are open: the series is judged by its behaviour.
    let series = checkout().join("images/patches/6.1-wc").display().to_string();
    let wc = place.s2lab(["run", POINT, "--kernel", "linux-6.1", "--series", &series]);
    assert_eq!(wc.code, Some(0), "{}{}", wc.stdout, wc.stderr);
    assert!(wc.stdout.contains("nic Normal-NC   as wc-honoured"), "{}", wc.stdout);
}

/// A host of its own, because its KVM is wrong on purpose.
#[test]
#[ignore = "builds kernels: .ci/run asks for it by name"]
fn a_guest_that_panics_fails_its_host() {
    let (place, done) = wrong_host(&["linux-6.1-wc~kills-the-guest"]);
    assert!(done.stdout.starts_with("FAIL "), "{}", done.stdout);
    let [(key, report)] = &place.reports()[..] else { panic!("more than one report") };
    for said in ["guest g0 panicked: ", "Asynchronous SError Interrupt", "the guest's console"] {
        assert!(report.contains(said), "{said}\n{report}");
    }
    let crash = fs::read_to_string(place.run().join("cells").join(key).join("crash.txt")).unwrap();
    assert!(crash.starts_with("g0: "), "{crash}");
}
