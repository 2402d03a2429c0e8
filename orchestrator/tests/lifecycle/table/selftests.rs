//! Selftests of the kernel's own tree, in the host.

use super::*;
use crate::harness::SELFTEST;
use s2lab_protocol::ask::{InHost, ProgramEnd, ProgramRun, RunProgram};

/// A selftest ends like this.
fn ends(name: &'static str, end: ProgramEnd, output: &str) -> Row {
    let hex = data_encoding::HEXLOWER.encode(output.as_bytes());
    let act = Act::answer::<InHost<RunProgram>>(&ProgramRun { end, hex });
    fault(name, request("run-program"), act).running_selftests(&[SELFTEST])
}

pub(super) fn selftests() -> Vec<Row> {
    vec![
        good("selftests-that-exit-with-0").running_selftests(&[SELFTEST, "kvm_page_table_test -b 64M"]),
        ends("selftest-fails", ProgramEnd::Exit(254), "==== Test Assertion Failure ====\n")
            .judged("FAIL", "kvm_page_table_test in host"),
        ends("selftest-hangs", ProgramEnd::Timeout, "").judged("FAIL", "no end within 1s, and killed"),
        ends("selftest-is-not-ok", ProgramEnd::Exit(0), "TAP version 13\n1..1\nnot ok 1 map\n")
            .judged("FAIL", "test map of kvm_page_table_test in host"),
        ends("selftest-skips", ProgramEnd::Exit(4), "1..0 # SKIP - KVM_CAP_X\n")
            .judged("SKIP(kvm_page_table_test skips: KVM_CAP_X)", "kvm_page_table_test skips: KVM_CAP_X"),
        ends("selftest-skips-by-its-exit-code", ProgramEnd::Exit(4), "")
            .judged("SKIP(kvm_page_table_test skips: exit code 4)", "kvm_page_table_test skips: exit code 4"),
        ends("one-of-two-selftests-skips", ProgramEnd::Exit(4), "")
            .running_selftests(&[SELFTEST, "kvm_page_table_test -b 64M"]),
        good("selftest-that-the-tree-does-not-have").running_selftests(&["kvm_page_tabel_test"]).stops(
            "SKIP(kvm-selftests of the kernel's tree have no test `kvm_page_tabel_test`; did you mean \
             `kvm_page_table_test`? known here: kvm_page_table_test, page_fault_test)",
            Stage::Preflight,
            "have no test `kvm_page_tabel_test`",
        ),
        Row { verdict: "PASS", ..good("selftest-gets-the-address-of-its-device").with_a_suite() },
        fault(
            "device-of-selftests-does-not-bind",
            request("bind"),
            refuse(FailureKind::Refused(Facility::VfioPci), "cannot bind"),
        )
        .with_a_suite()
        .stops("FAIL", Stage::Bind, "cannot bind"),
        good("device-of-selftests-and-a-kernel-without-its-driver").with_a_suite().without("VFIO_PCI").stops(
            "SKIP(the kernel lacks CONFIG_VFIO_PCI (a PCI device is bound to vfio-pci))",
            Stage::Preflight,
            "CONFIG_VFIO_PCI",
        ),
        good("selftest-that-was-not-built").running_selftests(&["page_fault_test"]).stops(
            "MISS",
            Stage::Steps,
            "the selftest `page_fault_test` was not built",
        ),
    ]
}
