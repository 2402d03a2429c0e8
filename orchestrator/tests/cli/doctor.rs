//! `s2lab doctor` on made-up machines.

use crate::harness::Home;
use std::{fs, os::unix::fs::PermissionsExt};

/// The subjects whose lines differ from machine to machine. Only state and subject of these lines
/// are kept.
const VARY: [&str; 5] = ["cores", "memory", "KVM", "cache", "state"];

fn doctor(home: &Home) -> (String, Option<i32>) {
    let output = home.command(&["doctor"]).output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

fn stable(home: &Home, shown: &str) -> String {
    let line = |line: &str| {
        let subject = line.split_whitespace().nth(1).unwrap_or_default();
        let shown = if VARY.contains(&subject) { &line[..22] } else { line };
        format!("{}\n", shown.trim_end())
    };
    home.stable(&shown.lines().map(line).collect::<String>())
}

fn program(home: &Home, name: &str, script: &str) {
    home.write(&format!("bin/{name}"), format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(home.path(&format!("bin/{name}")), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Returns a script that prints the version of QEMU, and has a gdbstub with these registers. The stub's
/// answers come before s2lab's requests, and it ends with the channel.
fn emulator(registers: &[&str]) -> String {
    let registers = registers.iter().map(|name| format!("<reg name=\"{name}\" bitsize=\"64\"/>"));
    let target = registers.collect::<String>();
    let stub = "[[ $* =~ id=gdb,fd=([0-9]+) ]]; fd=${BASH_REMATCH[1]}; \
                printf %s \"$0\" >&$fd; while read -rn1 -u $fd; do :; done";
    format!(
        "case \"$*\" in --version) echo QEMU emulator version 10.0.2;; \
         *chardev:gdb*) exec /bin/bash -c '{stub}' '+$x#00+$l<target>{target}</target>#00' \"$@\";; esac"
    )
}

/// The registers that a look reads, by the names of QEMU 10.0.
const REGISTERS: [&str; 11] = [
    "x19",
    "x20",
    "cpsr",
    "HCR_EL2",
    "VTTBR_EL2",
    "VTCR_EL2",
    "TTBR0_EL1",
    "TTBR1_EL1",
    "TCR_EL1",
    "MAIR_EL1",
    "SCTLR",
];

/// Makes a machine with all programs and files that s2lab needs.
fn equip(home: &Home) {
    for name in ["cargo", "rustc", "dpkg-deb"] {
        program(home, name, &format!("echo {name} 1.2.3; echo and more"));
    }
    let archive =
        "echo 'file:/archive bookworm main Debian'; echo 'file:/security bookworm-security main Debian'";
    program(home, "apt-get", &format!("case $1 in indextargets) {archive};; *) echo apt 2.6;; esac"));
    program(home, "qemu-system-aarch64", &emulator(&REGISTERS));
}

#[test]
fn a_qemu_whose_registers_have_other_names_is_named() {
    let home = Home::new();
    equip(&home);
    let renamed = REGISTERS.map(|name| if name == "SCTLR" { "SCTLR_EL12" } else { name });
    program(&home, "qemu-system-aarch64", &emulator(&renamed));
    let (shown, exit) = doctor(&home);
    let due = "missing  qemu         10.0.2: this QEMU's gdbstub offers no register SCTLR_EL1 or SCTLR; it offers \
        SCTLR_EL12; QEMU 10.0 to 11.1 are known to work; bring another with --qemu FILE\n";
    assert!(shown.contains(due), "{shown}");
    assert_eq!(exit, Some(3), "{shown}");
}

#[test]
fn a_machine_with_nothing() {
    let home = Home::new();
    let (shown, exit) = doctor(&home);
    assert_eq!(exit, Some(3));
    insta::assert_snapshot!("nothing", stable(&home, &shown));
}

#[test]
fn a_machine_with_all_of_it() {
    let home = Home::new();
    equip(&home);
    let (shown, exit) = doctor(&home);
    insta::assert_snapshot!("equipped", stable(&home, &shown));
    assert_eq!(exit, Some(0), "{shown}");
    assert!(home.tree("cache/s2lab/factor").len() == 1, "the factor is kept");
}

#[test]
fn what_lacks_is_told_with_what_to_do() {
    let home = Home::new();
    equip(&home);
    program(
        &home,
        "qemu-system-aarch64",
        "case $1 in --version) echo QEMU emulator version 10.0.2;; *) exit 1;; esac",
    );
    program(&home, "apt-get", "echo 'file:/elsewhere jammy main Elsewhere'");
    program(&home, "cargo", "exit 1");
    home.write("file", "");
    fs::remove_dir(home.path("state")).unwrap();
    home.write("state", "no folder");
    let (shown, exit) = doctor(&home);
    assert_eq!(exit, Some(3));
    for due in [
        "missing  cargo        `TMP/bin/cargo` failed (exit status: 1)",
        "missing  archive      apt on this machine names no Debian archive",
        "missing  factor       QEMU ended (exit status: 1)",
        "set XDG_STATE_HOME to a folder of yours",
    ] {
        assert!(home.stable(&shown).contains(due), "{due}\n{shown}");
    }
}

/// `doctor` is for people who have nothing yet.
#[test]
fn no_lab_is_no_obstacle() {
    let home = Home::new();
    equip(&home);
    let mut command = home.command(&["doctor"]);
    let output = command.current_dir(home.path("home")).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{shown}");
    assert!(shown.contains("-built-in, the built-in one\n"), "{shown}");
}
