//! A shell in a real emulated host, and the diagnosis of a host whose cell has stopped.

use crate::{
    harness::{Done, Place, left_over, scenario},
    kernels::unpacked,
};
use fake_qemu::programs::{End, program};
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

/// Runs `s2lab shell` with these commands on stdin.
fn shell(place: &Place, options: &[&str], commands: &str) -> Done {
    let up = scenario("up");
    let shell = ["shell", up.as_str(), "--kernel", "debian-6.12"];
    place.s2lab_with(options.iter().chain(&shell), commands)
}

/// Looks at an idle guest and at one that is not, and leaves while s2lab looks.
const LOOKS: &str = "look g0; echo looked $?; look nope; echo looked $?
    vmm=$(grep -l qemu-system /proc/[0-9]*/comm | head -n 1 | cut -d/ -f3)
    kill -STOP $vmm; timeout 3 look; look; echo looked $?
    kill -CONT $vmm; for i in 1 2 3 4 5 6 7 8 9; do look > last && break; sleep 1; done; cat last
    kill -STOP $vmm; look > last 2>&1 & sleep 2; exit 7\n";

/// Checks the output of [`LOOKS`].
fn check_looks(Done { stdout, stderr, .. }: &Done) {
    let parts: Vec<_> = stdout.split("looked ").collect();
    let [idle, unknown, busy, again] = parts[..] else { panic!("{stdout}{stderr}") };
    let has_tables = |text: &str| {
        text.contains(
            "@debian-6.12  look now  guest g0\n---[ IPA bits 40 start lvl 1 ]---  granule 4K  VMID ",
        ) && text.lines().filter(|line| line.ends_with("  Normal-WB      SH inner     ram")).count() > 1
    };
    assert!(has_tables(idle), "{stdout}");
    assert_eq!(unknown, "0\nthere is no guest `nope`: known here: g0\n");
    // The command before it was ended, and s2lab had asked the guest.
    assert_eq!(busy, "1\nno look at guest g0: it is busy: it has not answered `release`\n");
    assert!(again.starts_with("1\n") && has_tables(again), "{stdout}");
    assert!(!stderr.contains("final record"), "{stderr}");
}

/// Prints the command line of the guest's QEMU, a word a line.
const COMMAND: &str =
    "tr '\\0' '\\n' < /proc/$(grep -l qemu-system /proc/[0-9]*/comm | cut -d/ -f3)/cmdline; echo end\n";

/// Checks that the guest's QEMU runs with the command line that `s2lab explain` prints.
fn check_command(place: &Place, stdout: &str) {
    let up = scenario("up");
    let explained = place.s2lab(["explain", up.as_str(), "--kernel=debian-6.12", "--format=json"]);
    let explained: serde_json::Value = serde_json::from_str(&explained.stdout).unwrap();
    let shown = explained["cells"][0]["guests"][0]["qemu"]
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap());
    let started = stdout.lines().skip(1).take_while(|line| *line != "end");
    // What stands in <> is made when it starts.
    let fits = |(shown, started): (&str, &str)| match shown.split_once('<').zip(shown.split_once('>')) {
        Some(((before, _), (_, after))) => started.starts_with(before) && started.ends_with(after),
        None => shown == started,
    };
    assert_eq!(shown.clone().count(), started.clone().count(), "{stdout}");
    let other: Vec<_> = shown.zip(started).filter(|pair| !fits(*pair)).collect();
    assert!(other.is_empty(), "{other:?}");
}

/// Two hosts of its own, because a shell ends its host.
#[test]
fn a_shell_runs_commands_from_a_pipe_and_exits_as_the_last_of_them() {
    let place = Place::new();
    let looks = shell(&place, &[], &format!("uname -r; {COMMAND}{LOOKS}"));
    assert_eq!(looks.code, Some(7), "{}", looks.stderr);
    assert!(looks.stdout.starts_with("6.12."), "{}", looks.stdout);
    check_command(&place, &looks.stdout);
    check_looks(&looks);
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

/// A host of its own, because a shell ends its host.
#[test]
fn a_program_of_the_users_is_copied_into_the_host_and_run() {
    let place = Place::new();
    let (repro, data) = (place.path().join("repro"), place.path().join("data"));
    fs::write(&repro, program("not ok 1 it works\n", End::Exit(23))).unwrap();
    fs::set_permissions(&repro, Permissions::from_mode(0o700)).unwrap();
    fs::write(&data, "it's data\n".repeat(200_000)).unwrap();
    let copies = [repro.display().to_string(), format!("{}:/tmp/new/", data.display())];
    let done = place.s2lab([
        "shell",
        &scenario("up"),
        "--kernel=debian-6.12",
        "--copy",
        &copies[0],
        "--copy",
        &copies[1],
        "--",
        "sh",
        "-c",
        "wc -c < /tmp/new/data; ls -l repro | cut -c 1-10 >&2; ./repro",
    ]);
    assert_eq!(done.code, Some(23), "{}", done.stderr);
    assert_eq!(done.stdout, "2000000\nnot ok 1 it works\n", "{}", done.stderr);
    assert!(done.stderr.contains("\n-rwx------\n"), "{}", done.stderr);
    assert_eq!(left_over(&place), Vec::<String>::new());
}

/// A host of its own, because a shell ends its host.
#[test]
fn a_program_of_the_users_runs_in_a_guest() {
    let place = Place::new();
    let repro = place.path().join("repro");
    fs::write(&repro, program("in the guest\n", End::Signal(11))).unwrap();
    let copy = repro.display().to_string();
    let guest = ["--guest=g0", "--copy", &copy, "--", "./repro"];
    let up = scenario("up");
    let done = place.s2lab(["shell", up.as_str(), "--kernel=debian-6.12"].into_iter().chain(guest));
    assert_eq!((done.code, done.stdout.as_str()), (Some(139), "in the guest\n"), "{}", done.stderr);
    assert_eq!(left_over(&place), Vec::<String>::new());
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
    let done = place.s2lab(["run", "vfio-pci-bar+fwb=yes", "--kernel", image.to_str().unwrap()]);
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
