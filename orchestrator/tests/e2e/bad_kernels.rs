//! Kernels that fail, each in its own way: the right verdict, in time, with a helpful message.

use crate::harness::{Done, Place, left_over, scenario};
use crate::kernels::unpacked;
use std::{fs, path::Path};

fn run(place: &Place, name: &str) -> Done {
    let done = place.s2lab(["run", &scenario(name), "--kernel", "debian-6.12"]);
    assert_eq!(left_over(place), Vec::<String>::new());
    done
}

/// Returns the seconds that the only cell took by its own line.
fn seconds(done: &Done) -> f64 {
    let words: Vec<_> = done.stdout.lines().next().unwrap().split_whitespace().collect();
    let at = words.iter().position(|word| *word == "s").unwrap();
    words[at - 1].parse().unwrap()
}

/// A host of its own, because it panics.
#[test]
fn one_that_panics_at_boot_fails_with_its_crash() {
    let place = Place::new();
    let done = run(&place, "panics-at-boot");
    assert_eq!(done.code, Some(1), "{}{}", done.stdout, done.stderr);
    let line = "console of host: expected no alarm, found panic in mount_root_generic < mount_root";
    assert!(done.stdout.starts_with("FAIL ") && done.stdout.contains(line), "{}", done.stdout);
    // The kernel needs about 6 s to its panic.
    assert!(seconds(&done) < 60.0, "{}", done.stdout);
    let [(key, report)] = &place.reports()[..] else { panic!("more than one report") };
    for said in ["Kernel panic - not syncing: VFS: Unable to mount root fs", "crash.txt"] {
        assert!(report.contains(said), "{said}\n{report}");
    }
    let crash = fs::read_to_string(place.run().join("cells").join(key).join("crash.txt")).unwrap();
    assert!(
        crash.starts_with("host: panic in mount_root_generic < ") && crash.contains("Call trace:"),
        "{crash}"
    );
}

/// A host of its own, because it hangs.
#[test]
fn one_that_hangs_at_boot_is_not_waited_for_to_the_deadline() {
    let place = Place::new();
    let done = run(&place, "hangs-at-boot");
    assert_eq!(done.code, Some(1), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.starts_with("TIMEOUT "), "{}", done.stdout);
    assert!(done.stdout.contains("the host's console has printed nothing for "), "{}", done.stdout);
    assert!(seconds(&done) < 100.0, "{}", done.stdout);
    let [(_, report)] = &place.reports()[..] else { panic!("more than one report") };
    assert!(report.contains("the end of console.host.log may say for what"), "{report}");
}

/// A host of its own, because it has no KVM.
#[test]
fn one_whose_kvm_does_not_come_up_fails() {
    let place = Place::new();
    let done = run(&place, "without-kvm");
    assert_eq!(done.code, Some(1), "{}{}", done.stdout, done.stderr);
    let said = "there is no /dev/kvm, and the kernel has CONFIG_KVM=y";
    assert!(done.stdout.starts_with("FAIL ") && done.stdout.contains(said), "{}", done.stdout);
}

/// A host of its own, because its tree of modules has no vfio-pci. With `modules.builtin` the file
/// shows that it is not built in; without, the host itself does.
#[test]
fn one_without_vfio_pci_is_named_as_such() {
    let place = Place::new();
    let (image, entry) = unpacked(&place, "6.12.");
    let modules = place.path().join("modules");
    copy_without_vfio(&entry.join("modules"), &modules);
    let done = |place: &Place| {
        place.s2lab([
            "run",
            "vfio-pci-bar+fwb=yes",
            "--kernel",
            image.to_str().unwrap(),
            "--modules",
            modules.to_str().unwrap(),
        ])
    };
    let without = done(&place);
    assert_eq!(without.code, Some(3), "{}{}", without.stdout, without.stderr);
    assert!(without.stdout.starts_with("SKIP ") && without.stdout.contains("vfio-pci"), "{}", without.stdout);
    fs::write(modules.join("modules.builtin"), BUILT_IN).unwrap();
    let with = done(&place);
    assert_eq!(with.code, Some(3), "{}{}", with.stdout, with.stderr);
    let named = "CONFIG_VFIO_PCI, neither built in nor a module";
    assert!(
        with.stdout.starts_with("SKIP ") && with.stdout.contains(named),
        "{}{}",
        with.stdout,
        with.stderr
    );
}

/// The other modules that the host needs and that Debian's kernels have built in.
const BUILT_IN: &str = "kernel/drivers/virtio/virtio_pci.ko\nkernel/drivers/char/virtio_console.ko\n";

/// Links all modules that are not VFIO's.
fn copy_without_vfio(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        let name = entry.file_name().to_string_lossy().into_owned();
        match entry.file_type().unwrap().is_dir() {
            true => copy_without_vfio(&path, &to),
            false if name.contains(".ko") && !name.starts_with("vfio") => {
                std::os::unix::fs::symlink(&path, &to).unwrap();
            }
            false => {}
        }
    }
}
