//! Consoles of a kernel that checks itself, with mistakes made on purpose: real lines for
//! `model/tests/consoles`.
//!
//! They need one build of a 6.12 with KASAN, UBSAN, lockdep and LKDTM, a quarter of an hour once
//! for a cache, and a boot of a minute for each mistake. `S2LAB_UPDATE_CONSOLES=1` writes the
//! consoles.

use crate::harness::{Place, checkout};
use s2lab_model::{console::classify, event::AlarmClass};
use std::{fs, path::Path};

/// A request to LKDTM (drivers/misc/lkdtm, 6.12), the console's name, and the class that must be
/// found.
const MISTAKES: [(&str, &str, AlarmClass); 4] = [
    ("WARNING_MESSAGE", "lkdtm-warning-6.12", AlarmClass::Warn),
    ("ARRAY_BOUNDS", "lkdtm-ubsan-6.12", AlarmClass::Ubsan),
    ("CORRUPT_LIST_ADD", "lkdtm-list-6.12", AlarmClass::Bug),
    ("READ_AFTER_FREE", "lkdtm-kasan-6.12", AlarmClass::Kasan),
];
const KERNEL: &str = "linux-6.12-debug";
/// The number of lines of the kernel's log around a mistake.
const LINES: usize = 70;

/// Makes a copy of the shipped lab with one more kernel.
fn lab(place: &Place) -> String {
    let lab = place.path().join("lab");
    for folder in ["scenarios", "images/config", "images/patches"] {
        fs::create_dir_all(lab.join(folder)).unwrap();
        for file in fs::read_dir(checkout().join(folder)).unwrap().map(Result::unwrap) {
            if file.file_type().unwrap().is_file() {
                fs::copy(file.path(), lab.join(folder).join(file.file_name())).unwrap();
            }
        }
    }
    for patches in fs::read_dir(checkout().join("images/patches")).unwrap().map(Result::unwrap) {
        let to = lab.join("images/patches").join(patches.file_name());
        if patches.file_type().unwrap().is_dir() {
            std::os::unix::fs::symlink(patches.path(), to).unwrap();
        }
    }
    let debug = checkout().join("orchestrator/tests/e2e/debug/debug.config");
    fs::copy(debug, lab.join("images/config/debug.config")).unwrap();
    let list = fs::read_to_string(checkout().join("images/kernels.yaml")).unwrap();
    let (before, _) = list.split_once("  linux-6.12-reverted:").unwrap();
    let (_, entry) = before.split_once("  linux-6.12:\n").unwrap();
    let entry = entry.replace("suite-6.12.config]", "suite-6.12.config, config/debug.config]");
    let with = list.replace("\ndefault:", &format!("\n  {KERNEL}:\n{entry}default:"));
    assert!(with.contains("config/debug.config"));
    fs::write(lab.join("images/kernels.yaml"), with).unwrap();
    lab.display().to_string()
}

/// Returns the line without the folder in which this machine built the source.
fn without_place(line: &str) -> String {
    match line.split_once("/source/") {
        Some((before, after)) => {
            before.rsplit_once(' ').map_or("", |(words, _)| words).to_owned() + " " + after
        }
        None => line.to_owned(),
    }
}

#[test]
#[ignore = "builds a kernel that checks itself: asked for by name, see CONTRIBUTING.md"]
fn mistakes_made_on_purpose_are_seen() {
    let place = Place::new();
    let lab = lab(&place);
    let cell = format!("ram-stays-cacheable@{KERNEL}");
    for (mistake, name, class) in MISTAKES {
        let commands = format!(
            "dmesg -c > /dev/null; echo {mistake} > /sys/kernel/debug/provoke-crash/DIRECT; sleep 2; dmesg; exit 0\n"
        );
        let done = place.s2lab_with(["--lab", &lab, "shell", &cell], &commands);
        let said: Vec<_> = done.stdout.lines().take(LINES).collect();
        let seen: Vec<_> = said.iter().filter_map(classify).collect();
        assert!(seen.contains(&class), "{mistake}: {seen:?}\n{}\n{}", done.stdout, done.stderr);
        if std::env::var_os("S2LAB_UPDATE_CONSOLES").is_some() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("model/tests/consoles");
            let text: String = said.iter().map(|line| without_place(line) + "\n").collect();
            fs::write(folder.join(format!("{name}.log")), text).unwrap();
        }
    }
}
