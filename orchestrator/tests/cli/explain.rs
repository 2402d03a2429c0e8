//! `s2lab explain`.

use crate::harness::Home;
use s2lab_model::{cell::ResolvedCell, scenario::load};
use std::{collections::BTreeSet, path::Path};

#[test]
fn a_cell() {
    let home = Home::new();
    home.write("lab/Image", "");
    let mut session = home.session();
    session.s2lab(&["explain", "bar@debian-6.12"]);
    session.note("a kernel that declares nothing is held against every alternative");
    session.s2lab(&["explain", "scenarios/bar.yaml", "--kernel", "./Image", "--modules", "images"]);
    for none in [&["explain", "bra@debian-6.1"][..], &["explain"]] {
        assert_eq!(session.s2lab(none).status.code(), Some(2));
    }
    session.check("explain");
}

/// Each guest has the command line of its own VMM.
#[test]
fn the_vmm_of_each_guest() {
    let home = Home::new();
    let bar = home.read("lab/scenarios/bar.yaml").replace("scenario: bar", "scenario: both");
    home.write("lab/scenarios/both.yaml", bar.replace("guests:\n", "guests:\n  b0: {vmm: builtin}\n"));
    let output = home.command(&["explain", "both@debian-6.1"]).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    let (_, guests) =
        shown.split_once("# The guest b0 (L2) has no QEMU: its VMM is the host's agent").unwrap();
    let (_, guest) = guests.split_once("# QEMU of the guest g0 (L2), in the host\n").unwrap();
    assert!(
        guest.starts_with("/usr/bin/qemu-system-aarch64 \\\n    -M virt,gic-version=host \\\n"),
        "{guest}"
    );
    assert!(guest.contains("    -device 'vfio-pci,host=<address of nic>,addr=0x10' \\\n"), "{guest}");
    let json = home.command(&["explain", "both@debian-6.1", "--format", "json"]).output().unwrap().stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let guests = &json["cells"][0]["guests"];
    assert_eq!((&guests[0]["name"], &guests[0]["qemu"]), (&"b0".into(), &serde_json::Value::Null));
    let words = guests[1]["qemu"].as_array().unwrap();
    // The same words, without the quotes for a shell.
    let due: Vec<_> = words.iter().map(|word| word.as_str().unwrap()).collect();
    let plain = guest.trim_end().replace(" \\\n    ", " ").replace('\'', "");
    assert_eq!(due.join(" "), plain);
}

/// The scenario that is shown is a valid one, and the same.
#[test]
fn the_scenario_that_is_shown_can_be_run() {
    let home = Home::new();
    for cell in home.plan(&["*"]) {
        let output = home.command(&["explain", cell.key.as_str()]).output().unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        let (scenario, rest) = shown.split_once("\n\n").unwrap();
        let file = format!("{}.yaml", cell.key.scenario());
        let scenario = load::load(&file, scenario).unwrap();
        assert_eq!(scenario.about, cell.about);
        assert_eq!(ResolvedCell::of(&scenario, cell.resolved.traits.clone()), cell.resolved);
        assert!(rest.starts_with(&format!("# The kernel, {}\n", cell.kernel)), "{rest}");
    }
}

/// Returns the type of `nic` in the lines of an explanation or a report: the word after `stage2`.
fn type_of_nic(text: &str) -> Option<&str> {
    let (_, of_nic) = text.split_once("nic")?;
    of_nic.split_once("stage2")?.1.trim_start_matches(':').split_whitespace().next()
}

#[test]
fn the_template_of_new_expects_of_each_kernel_what_its_accepted_report_shows() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let home = Home::with_lab(repository);
    assert!(home.command(&["new", "mine"]).output().unwrap().status.success());
    let reports = std::fs::read_dir(repository.join("reports/vfio-pci-bar")).unwrap();
    let mut seen = BTreeSet::new();
    for report in reports.map(|entry| entry.unwrap().path()) {
        let kernel = report.file_stem().unwrap().to_str().unwrap();
        // The template has no axes.
        let kernel = kernel.split('+').next().unwrap();
        let explained = home.command(&["explain", &format!("mine@{kernel}")]).output().unwrap();
        let explained = String::from_utf8(explained.stdout).unwrap();
        let (_, expected) = explained.split_once("# Expected").unwrap();
        let accepted = std::fs::read_to_string(&report).unwrap();
        let found = type_of_nic(accepted.split_once("look stored").unwrap().1);
        assert_eq!(type_of_nic(expected), found, "{kernel}");
        seen.insert(found.unwrap().to_owned());
    }
    assert_eq!(seen, ["Device-nGnRE", "Normal-NC"].map(str::to_owned).into());
}
