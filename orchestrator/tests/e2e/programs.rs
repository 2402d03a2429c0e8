//! Programs of the user's: static ones for arm64, in real hosts and guests.

use crate::harness::{Done, Place, left_over, part};
use fake_qemu::programs::{End, program};
use std::{fs, path::PathBuf};

const KTAP: &str = "KTAP version 1\n1..2\n  1..1\n  ok 1 large\nok 1 map\nok 2 unmap # SKIP no memory\n";

/// Writes the programs and scenarios, and runs these on one kernel, in one host if they can share it.
fn run(place: &Place, programs: &[(&str, Vec<u8>)], scenarios: &[(&str, &str)]) -> Done {
    let folder = place.path().join("mine");
    fs::create_dir(&folder).unwrap();
    for (name, bytes) in programs {
        fs::write(folder.join(name), bytes).unwrap();
    }
    let file = |(name, rest): &(&str, &str)| {
        let path: PathBuf = folder.join(format!("{name}.yaml"));
        let head = "host: {cpu: neoverse-v1, arguments: [nokaslr]}";
        fs::write(&path, format!("scenario: {name}\nabout: A program runs.\n{head}\n{rest}")).unwrap();
        path.display().to_string()
    };
    let files: Vec<_> = scenarios.iter().map(file).collect();
    let options = ["--kernel", "debian-6.12", "--jobs", "1"].map(str::to_owned);
    let done = place.s2lab(["run".to_owned()].into_iter().chain(files).chain(options));
    assert_eq!(left_over(place), Vec::<String>::new());
    done
}

/// A host of its own, because a program in a host ends its boot, which the next cell shows.
#[test]
fn programs_run_in_host_and_guest_and_their_tests_are_in_the_report() {
    let place = Place::new();
    let programs = [("repro", program(KTAP, End::Exit(0))), ("other", program("fine\n", End::Exit(0)))];
    let both = "guests: {g0: {vmm: qemu}}
steps:
  - look: {name: before}
  - exec: {in: host, file: repro, args: [-n, \"3\"]}
  - exec: {in: g0, file: ./repro}
  - exec: {in: host, file: other}
  - look: {name: after}
expect:
  - {at: [before, after], of: ram, stage2: Normal-WB}
";
    let host = "guests: {g0: {vmm: builtin}}\nsteps:\n  - exec: {in: host, file: repro}\n";
    let guest = "guests: {g0: {vmm: qemu}}\nsteps:\n  - exec: {in: g0, file: repro}\n";
    // In the order of their names.
    let run = run(&place, &programs, &[("a-both", both), ("b-guest", guest), ("c-host", host)]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let reports = place.reports();
    let report = |name: &str| &reports.iter().find(|(key, _)| key.starts_with(name)).unwrap().1;
    let promised = part(report("a-both"), "promised");
    for line in [
        "exec host repro -n 3: exit 0",
        "test host repro -n 3  map/large: ok",
        "test host repro -n 3  unmap: skip",
        "exec g0 repro: exit 0",
        "test g0 repro  map: ok",
        "exec host other: exit 0",
    ] {
        assert!(promised.lines().any(|found| found.trim() == line), "{line}\n{promised}");
    }
    assert!(promised.contains("look after, guest g0\n    ram  stage2 Normal-WB"), "{promised}");
    let session = |name: &str| {
        let environment = part(report(name), "environment");
        assert!(environment.contains("blocking program "), "{environment}");
        environment.lines().find_map(|line| line.strip_prefix("  variable session = ")).unwrap().to_owned()
    };
    assert_eq!(session("a-both"), "boot 1, its first cell");
    assert_eq!(session("b-guest"), "boot 2, its first cell");
    assert!(session("c-host").starts_with("boot 2, its cell 2, "), "{}", session("c-host"));
}

/// A host of its own, because its cell must fail.
#[test]
fn a_program_that_hangs_floods_dies_or_fails_is_a_finding_and_the_host_stays_usable() {
    let place = Place::new();
    let programs = [
        ("hangs", program("waits\n", End::Hang)),
        ("floods", program(&"x".repeat(5000), End::Flood)),
        ("dies", program("", End::Signal(11))),
        ("fails", program("1..3\nok 1 a\nnot ok 2 b\n", End::Exit(3))),
        ("fine", program("", End::Exit(0))),
    ];
    let steps = ["host", "g0"].map(|place| {
        let step =
            |(name, _): &(&str, Vec<u8>)| format!("  - exec: {{in: {place}, file: {name}, timeout: 3s}}\n");
        programs.iter().map(step).collect::<String>()
    });
    let scenario =
        format!("guests: {{g0: {{vmm: qemu}}}}\nsteps:\n{}  - look: {{name: after}}\n", steps.concat());
    let run = run(&place, &programs, &[("bad", &scenario)]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    let (_, report) = place.reports().remove(0);
    for place in ["host", "g0"] {
        let findings = format!("{}\n", part(&report, "findings"));
        for found in [
            format!(
                "hangs in {place}\n    expected exit code 0\n    found    no end within 3s, and killed\n    | waits\n"
            ),
            format!(
                "floods in {place}\n    expected exit code 0\n    found    more than 96K of output, and killed\n"
            ),
            format!("dies in {place}\n    expected exit code 0\n    found    killed by signal 11\n"),
            format!("fails in {place}\n    expected exit code 0\n    found    exit code 3\n    | 1..3\n"),
            format!("test b of fails in {place}\n    expected ok\n    found    not ok\n"),
            format!("results of fails in {place}\n    expected 3 results, as planned\n    found    2\n"),
        ] {
            assert!(findings.contains(&found), "{found}\n{findings}");
        }
        let promised = format!("{}\n", part(&report, "promised"));
        let due = ["hangs: timeout", "floods: flood", "dies: signal 11", "fails: exit 3", "fine: exit 0"];
        for line in due {
            assert!(promised.contains(&format!("exec {place} {line}\n")), "{line}\n{promised}");
        }
    }
    assert!(report.contains("look after, guest g0\n    ram  stage2 Normal-WB"), "{report}");
}
