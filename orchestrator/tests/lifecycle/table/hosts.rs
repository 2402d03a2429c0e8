//! The own stage 2 of a host in protected mode.

use super::*;

/// The first table behind the start tables of the host's own stage 2: that of RAM's first gigabyte.
const RAM_TABLE: u64 = 0x5900_2000;
/// The place in it of the descriptor of the hypervisor's memory, at 0x67e00000.
const HYPERVISOR: u64 = RAM_TABLE + 8 * ((0x67e0_0000 - 0x4000_0000) >> 21);
/// That of the first leaf, at 0x46000000.
const LEAF: u64 = RAM_TABLE + 8 * ((0x4600_0000 - 0x4000_0000) >> 21);

pub(super) fn hosts() -> Vec<Row> {
    let protected = |row: Row| Row { verdict: "PASS", ..row.protected().and(Moment::Start, Act::Protect) };
    let poke = |name, address, word| protected(fault(name, Moment::Start, Act::Poke { address, word }));
    vec![
        protected(good("host-in-protected-mode")),
        poke("hypervisor-mapped-in-the-host", HYPERVISOR, 0x67e0_07fd)
            .judged("FAIL", "512 of 512 pages are open to the host"),
        poke("hypervisor-not-withheld", HYPERVISOR, 0)
            .judged("FAIL", "512 of 512 pages are open to the host"),
        poke("host-address-that-leads-elsewhere", LEAF, 0x4620_07fd)
            .judged("FAIL", "1 leaves lead elsewhere"),
        poke("host-ram-not-cacheable", LEAF, 0x4600_07d5).judged("FAIL", "Normal-NC instead of Normal-WB"),
        good("host-without-a-stage-2-of-its-own").protected().stops(
            "MISS",
            Stage::Steps,
            "no vCPU was found under a stage 2 of the host's own",
        ),
    ]
}
