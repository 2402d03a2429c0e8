//! A shell in a real emulated host, and the diagnosis of a host whose cell has stopped.

use crate::{
    harness::{Done, Place, left_over, scenario},
    kernels::unpacked,
};
use std::fs;

/// Runs `s2lab shell` with these commands on stdin.
fn shell(place: &Place, options: &[&str], commands: &str) -> Done {
    let up = scenario("up");
    let shell = ["shell", up.as_str(), "--kernel", "debian-6.12"];
    place.s2lab_with(options.iter().chain(&shell), commands)
}

/// Two hosts of its own, because a shell ends its host.
#[test]
fn a_shell_runs_commands_from_a_pipe_and_exits_as_the_last_of_them() {
    let place = Place::new();
    let release = shell(&place, &[], "uname -r; exit 7\n");
    assert_eq!(release.code, Some(7), "{}", release.stderr);
    assert!(release.stdout.starts_with("6.12.") && release.stdout.lines().count() == 1, "{}", release.stdout);
    assert_eq!(left_over(&place), Vec::<String>::new());
    let kept: Vec<_> = fs::read_dir(place.path().join("s2lab/shells")).unwrap().collect();
    assert!(kept.is_empty(), "{kept:?}");
    assert!(!place.path().join("s2lab/runs").exists(), "a shell is no run");

    // More than a window on each stream, files, running guests, and a death by signal.
    let commands = "head -c 5000000 /dev/zero >&2; head -c 5000000 /dev/zero | tr '\\0' x\n\
                    grep -c qemu-system /proc/[0-9]*/comm | grep -c ':1$' && kill -TERM $$\n";
    let flood = shell(&place, &["--quiet"], commands);
    assert_eq!(flood.code, Some(143), "{}", flood.stderr);
    assert_eq!((flood.stdout.len(), flood.stderr.len()), (5_000_002, 5_000_000));
    assert!(flood.stdout.ends_with("x1\n"), "one guest's QEMU is there");
}

/// A host of its own, because it dies.
#[test]
fn a_host_that_dies_under_a_shell_says_so_in_time() {
    let place = Place::new();
    let done = shell(&place, &[], "echo c > /proc/sysrq-trigger; sleep 1000\n");
    assert_eq!(done.code, Some(3), "{}", done.stderr);
    assert!(done.stderr.contains("panic"), "{}", done.stderr);
    assert_eq!(left_over(&place), Vec::<String>::new());
}

/// A host of its own, because its cell stops early.
#[test]
fn a_cell_that_stops_early_leaves_a_diagnosis_and_its_verdict() {
    let place = Place::new();
    let (image, _) = unpacked(&place, "6.12.");
    // This kernel reaches its agent without a module, but has VFIO in modules only. Nothing shows
    // that: its Image has no configuration, and none is given.
    let done = place.s2lab(["run", "vfio-pci-bar", "--kernel", image.to_str().unwrap()]);
    assert!(done.stdout.starts_with("SKIP "), "{}{}", done.stdout, done.stderr);
    let key = fs::read_dir(place.run().join("cells")).unwrap().next().unwrap().unwrap().path();
    let diagnosis = fs::read_to_string(key.join("diagnosis.txt")).unwrap();
    for shown in [
        "CONFIG_VFIO_PCI",
        "vCPU 1 pc 0x",
        " ESR_EL2 0x",
        "[$ dmesg",
        "Run /init as init process",
        "MemTotal:",
        "0000:01:00.0",
    ] {
        assert!(diagnosis.contains(shown), "{shown} is not in\n{diagnosis}");
    }
    assert!(!diagnosis.contains("not all of"), "{diagnosis}");
}
