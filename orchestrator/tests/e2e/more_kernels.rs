//! Kernels that s2lab builds and CI does not: each does what it declares, dumps its own tables, and runs the
//! selftests of its own tree. They need three whole builds and two small ones besides those of
//! [`crate::built_kernels`].

use crate::{
    built_kernels::do_what_they_declare,
    harness::{Place, part},
};
use std::fs;

const KERNELS: [(&str, &str); 3] = [
    ("linux-6.1-wc-v6", "nic Normal-NC"),
    ("linux-6.1-wc-kvm-only", "nic Device-nGnRE"),
    ("linux-6.12-64k", "nic Normal-NC"),
];

#[test]
#[ignore = "builds kernels: CONTRIBUTING.md has the command"]
fn other_built_kernels_do_what_they_declare() {
    do_what_they_declare(&Place::new(), &KERNELS);
}

/// KVM's own dump of stage 2, for the guests of both VMMs. Debian's kernels have none.
#[test]
#[ignore = "builds a kernel: CONTRIBUTING.md has the command"]
fn the_dump_of_the_kernel_has_the_leaves_of_the_walk() {
    let place = Place::new();
    let cells = ["vfio-pci-bar@linux-6.12+fwb=yes", "kinds-of-memory@linux-6.12"];
    let run = place.s2lab(["run"].iter().chain(&cells));
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let reports = place.reports();
    assert_eq!(reports.len(), cells.len());
    for (key, report) in reports {
        let environment = part(&report, "environment");
        assert!(environment.contains("variable ptdump = agrees\n"), "{key}\n{environment}");
    }
}

/// Selftests of KVM out of the tree of the cell's kernel. On a kernel without a tree, and without the test,
/// nothing boots.
#[test]
#[ignore = "builds a kernel: CONTRIBUTING.md has the command"]
fn selftests_of_the_kernels_tree_run_in_its_host() {
    let place = Place::new();
    let folder = place.path().join("mine");
    fs::create_dir(&folder).unwrap();
    let file = |name: &str, tests: &str| {
        let path = folder.join(format!("{name}.yaml"));
        let step = format!("  - suite: {{of: kvm-selftests, tests: [{tests}], timeout: 10m}}\n");
        let head = "about: Selftests run.\nhost: {cpu: neoverse-v1}\nsteps:\n";
        fs::write(&path, format!("scenario: {name}\n{head}{step}")).unwrap();
        path.display().to_string()
    };
    let good = "kvm_page_table_test -m 3 -b 16M -v 1 -s anonymous_thp";
    let files = [
        file("good", &format!("kvm_binary_stats_test, {good}")),
        file("fails", "kvm_page_table_test -m 99"),
        file("missing", "stage2_block_transitions"),
    ];
    let kernels = ["--kernel", "linux-6.12", "--kernel", "debian-6.12"].map(str::to_owned);
    let run = place.s2lab(["run".to_owned()].into_iter().chain(files).chain(kernels));
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    let reports = place.reports();
    let report = |name: &str| &reports.iter().find(|(key, _)| key.starts_with(name)).unwrap().1;
    let promised = part(report("good@linux-6.12"), "promised");
    for line in [
        "exec host kvm-selftests/kvm_binary_stats_test: exit 0".to_owned(),
        format!("exec host kvm-selftests/{good}: exit 0"),
        format!("test host kvm-selftests/{good}  kvm_page_table_test: ok"),
    ] {
        assert!(promised.lines().any(|found| found.trim() == line), "{line}\n{promised}");
    }
    let fails = report("fails@linux-6.12");
    assert!(fails.contains("kvm_page_table_test in host\n    expected exit code 0\n"), "{fails}");
    for (key, why) in [
        ("missing@linux-6.12", "have no test `stage2_block_transitions`"),
        ("good@debian-6.12", "the kernel is not built here"),
    ] {
        let line = run.stdout.lines().find(|line| line.contains(key)).unwrap_or_default();
        assert!(line.starts_with("SKIP") && run.stdout.contains(why), "{key}\n{}", run.stdout);
    }
}

/// Selftests of VFIO drive an emulated controller in the host. Linux 6.12 has none, so nothing of it boots.
#[test]
#[ignore = "builds a kernel: CONTRIBUTING.md has the command"]
fn selftests_of_vfio_drive_a_device_of_the_host() {
    let place = Place::new();
    let run = place.s2lab(["run", "vfio-selftests", "--kernel", "linux-7.3", "--kernel", "linux-6.12"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let reports = place.reports();
    let report = |key: &str| &reports.iter().find(|(found, _)| *found == key).unwrap().1;
    for (test, line) in [
        ("device", "vfio_pci_device_test  vfio_pci_device_test.validate_bars: ok"),
        ("mmio", "vfio_dma_mapping_mmio_test  vfio_dma_mapping_mmio_test.iommufd.map_full_bar: ok"),
    ] {
        let found = report(&format!("vfio-selftests@linux-7.3+test={test}"));
        let due = format!("test host vfio-selftests/{line}");
        assert!(part(found, "promised").lines().any(|found| found.trim() == due), "{due}\n{found}");
    }
    let old = run.stdout.lines().find(|line| line.contains("vfio-selftests@linux-6.12")).unwrap_or_default();
    assert!(old.starts_with("SKIP"), "{}", run.stdout);
    assert!(run.stdout.contains("the kernel's tree has no vfio-selftests"), "{}", run.stdout);
}

/// A guest of the built-in VMM exchanges frames with its host by a virtual function. The default QEMU, 10.0 on this
/// release of the archive, maps no virtual function of `igb` where the kernel has it. Linux 6.12 has no packet sockets.
#[test]
#[ignore = "builds a kernel: CONTRIBUTING.md has the command"]
fn a_virtual_function_transfers_frames_by_dma() {
    let place = Place::new();
    let kernels = ["--kernel", "linux-7.3", "--kernel", "linux-6.12"];
    let run = place.s2lab(["run", "function-by-dma", "--qemu", "default,newest"].into_iter().chain(kernels));
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let reports = place.reports();
    let report = &reports.iter().find(|(key, _)| *key == "function-by-dma@linux-7.3+qemu=newest").unwrap().1;
    let promised = part(report, "promised");
    let exchanged = |bytes: &str| {
        let line = format!("frames g0 nic {bytes}: host equal, guest equal");
        promised.lines().filter(|found| found.trim() == line).count()
    };
    assert_eq!([exchanged("512K"), exchanged("64K")], [2, 1], "{promised}");
    assert!(promised.contains("nic   stage2 Normal-NC  effective Device-nGnRE"), "{promised}");
    let old = run.stdout.lines().find(|line| line.contains("function-by-dma@linux-6.12")).unwrap_or_default();
    assert!(old.starts_with("SKIP") && run.stdout.contains("CONFIG_PACKET"), "{}", run.stdout);
    let elsewhere = run.stdout.lines().filter(|line| line.contains("function-by-dma@linux-7.3 "));
    assert!(
        elsewhere.clone().count() == 1 && elsewhere.clone().all(|line| line.starts_with("SKIP")),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("for 32-bit ones"), "{}", run.stdout);
}

/// The same two scenarios as in `docs/promises.md`: no selftest has a device's memory in a guest.
#[test]
#[ignore = "builds a kernel: CONTRIBUTING.md has the command"]
fn the_suite_catches_a_mutant_that_the_selftests_pass() {
    let place = Place::new();
    let kernel = "linux-6.12~flag-dropped";
    let run = place.s2lab(["run", "kvm-selftests", "vfio-pci-bar", "--kernel", kernel]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    let reports = place.reports();
    let report = |key: String| &reports.iter().find(|(found, _)| *found == key).unwrap().1;
    let selftests = report(format!("kvm-selftests@{kernel}+test=page-table"));
    assert!(selftests.lines().next().unwrap_or_default().contains(" PASS "), "{selftests}");
    assert!(part(selftests, "promised").contains("kvm_page_table_test: ok"), "{selftests}");
    let caught = report(format!("vfio-pci-bar@{kernel}"));
    assert!(caught.contains("expected Normal-NC\n    found    Device-nGnRE"), "{caught}");
}
