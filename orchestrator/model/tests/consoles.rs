//! Consoles of real arm64 kernels that were made to crash. Debian's 6.1 and 6.12 in QEMU 10.0.2
//! crashed by sysrq, without an init, and through the gdbstub: an instruction that loads from a bad
//! pointer, one that jumps to itself, one that is a WARN of the kernel, a vCPU that is not run any
//! more. A 6.1 of our own had a patch in KVM: a BUG in the hypervisor of nVHE, a loop that never
//! ends in KVM_RUN, and a use after free with KASAN.

use s2lab_model::console::classify;
use s2lab_model::crash::{Crash, Cutter};
use s2lab_model::event::AlarmClass;
use std::{fmt::Write, fs, path::Path};

/// The snapshot has the fingerprint, the first and the last line of every crash of each console.
#[test]
fn real_crashes_are_cut_out_and_known() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/consoles");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 8);
    let mut shown = String::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        writeln!(shown, "{}", path.file_stem().unwrap().display()).unwrap();
        for lines in cut(&text) {
            let crash = Crash::of(&lines).unwrap();
            writeln!(shown, "  {}, {} lines", crash.fingerprint(), lines.len()).unwrap();
            for line in [lines.first(), lines.last()].into_iter().flatten() {
                writeln!(shown, "    {line}").unwrap();
            }
        }
    }
    insta::assert_snapshot!(shown);
}

/// A trace belongs to the crash before it, which the console names.
#[test]
fn no_trace_of_a_real_crash_is_a_crash_of_its_own() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/consoles");
    let mut traces = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let crashes = cut(&fs::read_to_string(&path).unwrap());
        for crash in &crashes {
            traces += crash.iter().filter(|line| classify(line) == Some(AlarmClass::Trace)).count();
            assert!(Crash::of(crash).unwrap().class.names_a_crash(), "{}: {crash:?}", path.display());
        }
    }
    assert!(traces >= 8, "{traces}");
}

/// The cutter returns the lines of a crash up to any place at which the console stops.
#[test]
fn a_console_that_stops_early_has_its_crash_all_the_same() {
    let text = include_str!("consoles/oops-6.12.log");
    let whole = Crash::of(&cut(text)[0]).unwrap();
    let begin = text.find("Internal error").unwrap();
    for (at, _) in text.match_indices('\n').filter(|(at, _)| *at > begin) {
        let crashes = cut(&text[..at]);
        assert_eq!(crashes.len(), 1);
        assert_eq!(Crash::of(&crashes[0]).unwrap().class, whole.class);
    }
}

fn cut(text: &str) -> Vec<Vec<String>> {
    let mut cutter = Cutter::default();
    let mut found: Vec<_> = text.lines().filter_map(|line| cutter.push(line, classify(line))).collect();
    found.extend(cutter.finish());
    found
}
