//! `s2lab lint`.

use crate::harness::Home;
use fake_qemu::programs::{End, program};
use std::{fs, path::Path};

#[test]
fn a_lab_in_order() {
    let home = Home::new();
    let mut session = home.session();
    session.s2lab(&["lint"]);
    session.s2lab(&["lint", "scenarios/idle.yaml"]);
    session.s2lab(&["lint", "scenarios/idle.yaml", "scenarios/bar.yaml"]);
    session.check("lint-good");
}

#[test]
fn one_bad_file() {
    let home = Home::new();
    home.write("lab/scenarios/bar.yaml", home.read("lab/scenarios/bar.yaml").replace("devices:", "devcies:"));
    let mut session = home.session();
    assert_eq!(session.s2lab(&["lint"]).status.code(), Some(2));
    session.s2lab(&["lint", "scenarios/idle.yaml"]);
    session.s2lab(&["list"]);
    session.check("lint-bad");
}

/// Every mistake of every file is shown, the kernels' first, the rest in the order of the names.
#[test]
fn many_mistakes() {
    let home = Home::new();
    let kernels = home.read("lab/images/kernels.yaml");
    let bar = home.read("lab/scenarios/bar.yaml");
    let idle = home.read("lab/scenarios/idle.yaml");
    home.write("lab/images/kernels.yaml", kernels.replace("[wc-conveyed", "[wc-convoyed"));
    home.write(
        "lab/scenarios/idle.yaml",
        idle.replace("neoverse-n1", "neoverse-n9").replace("Normal-WB", "WB"),
    );
    home.write("lab/scenarios/bar.yaml", bar.replace("- look", "- lok").replace("bar: 16M", "bar: 17M"));
    home.write("lab/scenarios/other.yaml", idle);
    home.write("lab/scenarios/binary.yaml", b"scenario: binary\nabout: caf\xe9\n");
    home.write("lab/scenarios/folder.yaml/nothing", "");
    let mut session = home.session();
    assert_eq!(session.s2lab(&["lint"]).status.code(), Some(2));
    session.check("lint-many");
}

/// Every file that the list of kernels names: those that are missing, and those that are something
/// else.
#[test]
fn what_the_kernels_name() {
    let home = Home::new();
    let kernels = home.read("lab/images/kernels.yaml");
    let more = "kernels:
  good: {about: x, provider: source, package: linux-source-6.1, suites: [bookworm], track: newest, traits: [],
    config: [config/there.config], patches: [patches/there.patch]}
  bad: {about: x, provider: source, package: linux-source-6.1, suites: [bookworm], track: newest, traits: [],
    config: [config/there.config, config/none.config], patches: [patches/none, patches/empty, patches/words.patch]}
  tree: {about: x, provider: tree, path: ~/none, traits: []}
  image: {about: x, provider: image, path: config, modules: config/there.config, config: none, traits: []}";
    home.write("lab/images/kernels.yaml", kernels.replace("kernels:", more));
    home.write("lab/images/config/there.config", "CONFIG_ARM64=y\n");
    home.write("lab/images/patches/there.patch", "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n");
    home.write("lab/images/patches/words.patch", "words\n");
    home.write("lab/images/patches/empty/README", "");
    let mut session = home.session();
    assert_eq!(session.s2lab(&["lint"]).status.code(), Some(2));
    session.check("lint-named");
}

#[test]
fn what_is_not_seen_is_named() {
    let home = Home::new();
    let idle = home.read("lab/scenarios/idle.yaml");
    let write = |name: &str, from: &str, to: &str| {
        assert!(idle.contains(from));
        let text = idle.replace("scenario: idle", &format!("scenario: {name}")).replace(from, to);
        home.write(&format!("lab/{name}.yaml"), text);
    };
    write("tab", "cpu: ", "cpu:\t");
    write("no-break-space", "cpu: ", "cpu:\u{a0}");
    write("no-space", "cpu: ", "cpu:");
    write("zero-width-space", "cpu: ", "cpu\u{200b}: ");
    write("conflict", "\nsteps:", "\n<<<<<<< HEAD\nsteps:\n=======\nsteps: \n>>>>>>> topic");
    let mut session = home.session();
    for name in ["tab", "no-break-space", "no-space", "zero-width-space", "conflict"] {
        assert_eq!(session.s2lab(&["lint", &format!("{name}.yaml")]).status.code(), Some(2));
    }
    session.check("lint-unseen");
}

#[test]
fn files_that_are_no_scenarios() {
    let home = Home::new();
    home.write("lab/empty.yaml", "");
    home.write("lab/binary.yaml", b"scenario: binary\nabout: caf\xe9\n");
    home.write("lab/long.yaml", format!("scenario: long\nabout: {}\n", "x".repeat(1 << 20)));
    home.write(
        "lab/anchors.yaml",
        home.read("lab/scenarios/idle.yaml")
            .replace("scenario: idle", "scenario: anchors")
            .replace("{vmm: qemu}", "&a {vmm: qemu}"),
    );
    home.write("lab/deep.yaml", format!("scenario: {}", "[".repeat(60_000)));
    std::os::unix::fs::symlink("nowhere", home.path("lab/link.yaml")).unwrap();
    let mut session = home.session();
    for file in ["empty", "binary", "long", "anchors", "deep", "link", "scenarios", "no"] {
        let file = if file == "scenarios" { file.to_owned() } else { format!("{file}.yaml") };
        assert_eq!(session.s2lab(&["lint", &file]).status.code(), Some(2), "{file}");
    }
    // A file without an end.
    std::os::unix::fs::symlink("/dev/zero", home.path("lab/zero.yaml")).unwrap();
    assert_eq!(session.s2lab(&["lint", "zero.yaml"]).status.code(), Some(2));
    session.check("lint-no-scenarios");
}

/// Editors leave such files beside the edited ones.
#[test]
fn what_is_not_taken_for_a_scenario() {
    let home = Home::new();
    std::os::unix::fs::symlink("user@machine.1234", home.path("lab/scenarios/.#bar.yaml")).unwrap();
    home.write("lab/scenarios/bar.yaml~", "nothing");
    home.write("lab/scenarios/.bar.yaml.swp", "nothing");
    let mut session = home.session();
    session.s2lab(&["lint"]);
    session.note("a name that looks like a scenario's and is not read would be a test that never runs");
    home.write("lab/scenarios/other.yml", home.read("lab/scenarios/idle.yaml"));
    session.s2lab(&["lint"]);
    session.check("lint-not-taken");
}

#[test]
fn a_file_is_checked_as_what_it_is() {
    let home = Home::new();
    let mut session = home.session();
    assert_eq!(session.s2lab(&["lint", "images/kernels.yaml"]).status.code(), Some(0));
    assert_eq!(session.s2lab(&["lint", "bar", "scenarios/idle.yaml"]).status.code(), Some(0));
    assert_eq!(session.s2lab(&["lint", "baz"]).status.code(), Some(2));
    home.write("lab/images/kernels.yaml", "kernel: {}\n");
    home.write("lab/scenarios/idle.yaml", "scenario: idle\n");
    session.note("all mistakes of all files");
    assert_eq!(session.s2lab(&["lint", "images/kernels.yaml", "idle"]).status.code(), Some(2));
    session.check("lint-kinds");
}

/// The program of a scenario is read with it, before anything boots.
#[test]
fn programs_that_could_not_run() {
    let home = Home::new();
    let good = program("", End::Exit(0));
    let mut dynamic = good.clone();
    // PT_INTERP, with the name in the last bytes.
    dynamic[64] = 3;
    let loader = b"/lib/ld-linux-aarch64.so.1\0";
    let place = (dynamic.len() as u64).to_le_bytes();
    dynamic[72..80].copy_from_slice(&place);
    dynamic[96..104].copy_from_slice(&(loader.len() as u64).to_le_bytes());
    dynamic.extend(loader);
    let mut foreign = good.clone();
    foreign[18] = 62;
    let long = [&good[..], &vec![0; 16 << 20]].concat();
    let files = [
        ("good", &good[..]),
        ("dynamic", &dynamic),
        ("foreign", &foreign),
        ("script", b"#!/bin/sh\n"),
        ("empty", b""),
        ("long", &long),
    ];
    let mut text =
        "scenario: programs\nabout: x\nhost: {cpu: neoverse-v1}\nsteps:\n  - exec: {in: host, file: good}\n"
            .to_owned();
    for (name, bytes) in files {
        home.write(&format!("lab/scenarios/{name}"), bytes);
    }
    home.write("lab/scenarios/programs.yaml", &text);
    let mut session = home.session();
    session.s2lab(&["lint", "scenarios/programs.yaml"]);
    for name in ["dynamic", "foreign", "script", "empty", "long", "../scenarios", "nowhere"] {
        text.push_str(&format!("  - exec: {{in: host, file: {name}}}\n"));
    }
    home.write("lab/scenarios/programs.yaml", &text);
    assert_eq!(session.s2lab(&["lint", "scenarios/programs.yaml"]).status.code(), Some(2));
    session.check("lint-programs");
}

/// A shipped scenario without the argument that a part of it needs. No host boots.
#[test]
fn parts_that_need_an_argument() {
    let home = Home::new();
    let mut session = home.session();
    for (name, argument) in [
        ("unplugged-device-is-gone", "pciehp.pciehp_poll_mode=1"),
        ("drive-by-dma", "vfio_pci.disable_idle_d3=1"),
    ] {
        let file = format!("scenarios/full/{name}.yaml");
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)).unwrap();
        let without = text.replace(&format!("  arguments: [{argument}]\n"), "");
        assert_ne!(without, text, "{name}");
        let place = format!("lab/scenarios/{name}.yaml");
        home.write(&place, without);
        for verb in ["lint", "run"] {
            assert_eq!(session.s2lab(&[verb, name]).status.code(), Some(2), "{verb} {name}");
        }
        home.write(&place, text);
        assert_eq!(session.s2lab(&["lint", name]).status.code(), Some(0), "{name}");
    }
    session.check("lint-arguments");
    assert_eq!(home.tree("state"), Vec::<String>::new());
    assert_eq!(home.tree("cache"), Vec::<String>::new());
}
