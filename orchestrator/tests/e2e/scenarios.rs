//! Scenarios that do not ship: other devices, other CPU models, and one that must fail.

use crate::harness::{Place, part, scenario};

/// A host of its own, because the scenario must fail.
#[test]
fn inverted_expectations_fail_and_show_both_values() {
    let place = Place::new();
    // One host at a time: cells are printed in the order in which they end.
    let run = place.s2lab(["run", &scenario("inverted"), "--jobs", "1"]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    insta::assert_snapshot!(run.normal());
}

/// A host of its own, because the CPU model has LPA2. The devices have different sizes, the smaller
/// BAR has one page, and they are mapped in different ways.
#[test]
fn two_devices_with_lpa2() {
    passes_on_both("two-devices");
}

/// A host of its own, because its two guests have no FEAT_S2FWB. A reset takes one
/// device out of its table and not the other.
#[test]
fn three_looks() {
    let place = passes_on_both("three-looks");
    for (key, report) in place.reports() {
        let promised = part(&report, "promised");
        let (_, two) = promised.split_once("look two, guest g0\n").unwrap();
        assert!(two.trim_start().starts_with("nic  nothing mapped\n"), "{key}\n{promised}");
    }
}

/// A host of its own, because its guest has two vCPUs. Each store arrives in the words that its step
/// asks for; the numbers are those of the instructions.
#[test]
fn stores_of_every_kind_arrive() {
    let place = passes_on_both("stores");
    for (key, report) in place.reports() {
        let promised = part(&report, "promised");
        for line in [
            "store g0 nic wc 1 B: 65536 stores, BAR file equal, read-back equal",
            "store g0 nic wc 16 B by q: 4096 stores, BAR file equal, read-back equal",
            "store g0 nic wc 64 B by st4 barrier dsb: 1024 stores, BAR file equal, read-back equal",
            "store g0 nic wc 64 B by dgh from 128K: 8192 stores, BAR file equal, read-back equal",
            "store g0 nic wc 1 B order strided chunk 8: 65536 stores, BAR file equal, read-back equal",
            "store g0 nic wc 8 B chunk 32K vcpus 2: 8192 stores, BAR file equal, read-back equal",
            "store g0 gpu device 64 B by dgh order random: 8192 stores, BAR file equal, read-back equal",
            "load g0 nic wc 8 B order random seed 9 barrier dmb from 64K vcpus 2: 8192 loads, equal",
        ] {
            assert!(promised.contains(line), "{key}: {line}\n{promised}");
        }
    }
}

/// A host of its own, because it has four guests. The scenario has what the architecture says of
/// the type that each kernel gives.
#[test]
fn probes_end_as_the_architecture_says() {
    let place = passes_on_both("probes");
    for (key, report) in place.reports() {
        let promised = part(&report, "promised");
        for line in ["atomic g0 nic wc: ok", "exclusive g2 disk device: ok", "fetch g0 nic wc: fault"] {
            assert!(promised.contains(line), "{key}: {line}\n{promised}");
        }
    }
}

/// A host of its own, because its cell on Device memory is a SKIP.
#[test]
fn a_fault_that_qemu_does_not_raise_is_a_skip_by_name() {
    let place = Place::new();
    let run = place.s2lab(["run", &scenario("probes-zva")]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let line = |kernel: &str| run.stdout.lines().find(|line| line.contains(&format!("@{kernel} "))).unwrap();
    let skip = line("debian-6.1");
    assert!(skip.starts_with("SKIP") && skip.contains("ignores the memory type of DC ZVA"), "{skip}");
    let pass = line("debian-6.12");
    assert!(pass.starts_with("PASS") && pass.ends_with("as wc-honoured"), "{pass}");
}

/// A host of its own, because it counts. Debian's 6.1 maps a BAR by
/// 4K pages, and 6.12 by a block of 2 MiB, which makes one fault for all of them.
#[test]
fn counts_are_exact_on_each_qemu() {
    let place = Place::new();
    let run = place.s2lab(["run", &scenario("counted"), "--qemu", "default,newest"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let reports = place.reports();
    assert_eq!(reports.len(), 4, "{}", run.stdout);
    for (key, report) in reports {
        let environment = part(&report, "environment");
        assert!(environment.contains("variable tlbi = agrees\n"), "{key}\n{environment}");
        let (faults, invalidations) = if key.contains("debian-6.12") { (1, 2) } else { (256, 258) };
        let shape = part(&report, "shape");
        for line in [
            format!(
                "count step 0 nic  131072 stores of 8 B, 131072 loads of 8 B, {faults} data aborts, \
                 0 instruction aborts, 0 stage-2 invalidations"
            ),
            format!(
                "count step 2 nic  0 data aborts, 0 instruction aborts, {invalidations} stage-2 invalidations"
            ),
        ] {
            assert!(shape.lines().any(|found| found.trim() == line), "{key}: {line}\n{shape}");
        }
    }
}

/// A host of its own, because its guests are the built-in VMM's.
#[test]
fn the_built_in_vmm_makes_the_same_accesses() {
    let place = passes_on_both("builtin");
    for (key, report) in place.reports() {
        let promised = part(&report, "promised");
        for line in [
            "store g0 nic wc 64 B by dgh from 128K: 8192 stores, BAR file equal, read-back equal",
            "store g0 nic wc 8 B chunk 32K vcpus 2: 8192 stores, BAR file equal, read-back equal",
            "load g0 nic wc 8 B order random seed 9 barrier dmb from 64K vcpus 2: 8192 loads, equal",
            "atomic g0 nic wc: ok",
            "fetch g0 nic wc: fault",
            "fetch g1 plain device: fault",
        ] {
            assert!(promised.contains(line), "{key}: {line}\n{promised}");
        }
        // The threads that faulted for two vCPUs have ended by then.
        let environment = part(&report, "environment");
        assert!(environment.contains("variable faults = agrees\n"), "{key}\n{environment}");
    }
}

/// A host of its own, because its devices have other drivers.
#[test]
fn a_bar_through_sysfs_stays_device_beside_one_of_vfio() {
    passes_as("kinds-of-memory", "kinds-of-memory");
}

/// The guests' kernel is Debian's, which gives a drive's disk another name than the quick kernel for guests.
#[test]
fn a_guest_transfers_data_to_a_drive_by_dma() {
    let run = Place::new().s2lab(["run", "drive-by-dma@debian-6.12"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("disk Normal-NC   nic Normal-NC   as wc-honoured\n"), "{}", run.stdout);
}

fn passes_on_both(name: &str) -> Place {
    passes_as(name, &scenario(name))
}

fn passes_as(name: &str, argument: &str) -> Place {
    let place = Place::new();
    let run = place.s2lab(["run", argument]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    for (kernel, label) in [("debian-6.1", "before the series"), ("debian-6.12", "wc-honoured")] {
        let line = run.stdout.lines().find(|line| line.contains(&format!("{name}@{kernel} "))).unwrap();
        assert!(line.starts_with("PASS") && line.ends_with(&format!("as {label}")), "{line}");
    }
    place
}
