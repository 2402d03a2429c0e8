//! A real cell on the newest QEMU that the archive has.

use crate::harness::{Place, accepted, part};

const KEY: &str = "vfio-pci-bar@debian-6.12+fwb=yes+qemu=newest";

/// A host of its own, because its QEMU is another one. Everything that is promised is what the
/// accepted report of the default QEMU has.
#[test]
fn a_cell_on_the_newest_qemu_promises_the_same() {
    let place = Place::new();
    let run = place.s2lab(["run", "vfio-pci-bar+fwb=yes", "--kernel", "debian-6.12", "--qemu", "newest"]);
    assert_eq!((run.code, run.signal), (Some(0), None), "{}{}", run.stdout, run.stderr);
    let reports = place.reports();
    let [(key, report)] = &reports[..] else { panic!("one report was expected: {reports:?}") };
    assert_eq!(key, KEY);
    let default = accepted("vfio-pci-bar", "debian-6.12+fwb=yes");
    assert_eq!(part(report, "promised"), part(&default, "promised"));
    let version = |report: &str| {
        let environment = part(report, "environment");
        let line = environment.lines().find_map(|line| line.trim().strip_prefix("variable qemu = "));
        let version = line.unwrap_or_else(|| panic!("no QEMU in\n{environment}")).split(' ').next();
        version.unwrap().split('.').map(|number| number.parse().unwrap()).collect::<Vec<u32>>()
    };
    assert!(part(report, "environment").contains("variable tlbi = agrees\n"), "{report}");
    // The archive moves on, and never back.
    assert!(version(report) >= vec![11, 1, 3] && version(&default) < vec![11], "{report}");
}
