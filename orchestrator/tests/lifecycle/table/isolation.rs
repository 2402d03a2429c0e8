//! Tables that map something that is not the guest's own.

use super::*;
use guest_tables::{BAR_PA, GUEST_OFFSET, HCR, HCR_FWB, NORMAL_NC, NORMAL_WB, STAGE1_ROOT, STAGE2_ROOT};
use s2lab_protocol::{Extent, HostMemory};

/// A page, or a block, of the first guest's RAM; the fake host's kernel code and data; a table of
/// the first guest.
const PAGE: u64 = NORMAL_WB | 0b10;
const BLOCK: u64 = NORMAL_WB;
const CODE: u64 = 0x4100_0000;
const DATA: u64 = 0x4210_0000;
/// S2AP\[0\], S2AP\[1\] and AF.
const READ: u64 = 1 << 6;
const WRITE: u64 = 1 << 7;
const ACCESSED: u64 = 1 << 10;
const VTCR: u64 = 1 << 31 | 2 << 16 | 1 << 6 | 24;

fn poke(name: &'static str, at: u64, word: u64, says: &'static str) -> Row {
    fault(name, Moment::Start, Act::Poke { address: at, word }).judged("FAIL", says)
}

/// Rows whose table has one leaf too many.
pub(super) fn foreign() -> Vec<Row> {
    // Level 2 below IPA 0x4000_0000, level 3 below that, level 2 of the BAR's gigabyte.
    let [level_2, level_3, of_bar] = [2, 3, 4].map(|n| STAGE2_ROOT + n * 4096);
    let in_ram = |n: u64| level_3 + 8 * n;
    let blocks: Row = (0..4).fold(good("blocks-over-the-hosts-ram"), |row, n| {
        let word = (0x4000_0000 + n * (2 << 20)) | BLOCK;
        row.and(Moment::Start, Act::Poke { address: level_2 + 8 * (100 + n), word })
    });
    let ram_of_first = (STAGE1_ROOT + GUEST_OFFSET) | PAGE;
    vec![
        blocks.judged("FAIL", "PA 0x40200000: the host's kernel code; 3 more leaves"),
        poke(
            "kernel-code-in-the-guest",
            in_ram(10),
            CODE | PAGE,
            "0x4000a000 -> PA 0x41000000: the host's kernel code",
        ),
        poke("kernel-code-read-only", in_ram(10), (CODE | PAGE) & !WRITE, "the host's kernel code")
            .and(Moment::Start, Act::Poke { address: CODE + 8, word: 1 }),
        poke("zero-page-writable", in_ram(10), DATA | PAGE, "the host's kernel data"),
        good("zero-page-read-only")
            .and(Moment::Start, Act::Poke { address: in_ram(10), word: (DATA | PAGE) & !WRITE }),
        poke("no-zero-page-read-only", in_ram(10), (DATA | PAGE) & !WRITE, "the host's kernel data")
            .and(Moment::Start, Act::Poke { address: DATA + 8, word: 1 }),
        poke("table-in-the-guest", in_ram(12), level_2 | PAGE, "PA 0x50002000: a stage-2 table of g0"),
        poke("table-read-only", in_ram(12), (level_2 | PAGE) & !WRITE, "a stage-2 table of g0"),
        poke("ram-at-two-ipas", in_ram(13), ram_of_first, "a writable page at a second IPA"),
        poke(
            "ram-where-a-bar-would-be",
            of_bar + 8 * 10,
            0x6000_0000 | BLOCK,
            "RAM of the host where the guest has none",
        ),
        poke("bar-at-two-ipas", of_bar + 8 * 10, BAR_PA | NORMAL_NC, "the BAR of nic at a second IPA"),
        poke("device-tree-in-the-guest", in_ram(14), 0x4840_0000 | PAGE, "the host's device tree"),
        poke(
            "reserved-memory-in-the-guest",
            in_ram(14),
            0x67e0_0000 | PAGE,
            "memory that the host's kernel has reserved",
        ),
    ]
}

/// Rows whose registers or permissions contradict the walk.
pub(super) fn walked() -> Vec<Row> {
    let register = |name, register: &str, value, says| {
        fault(name, Moment::Start, Act::Register(register.into(), value)).judged("FAIL", says)
    };
    let leaf = |name, bits, says| fault(name, Moment::Start, Act::BarLeaf(bits)).judged("FAIL", says);
    let hcr = HCR | HCR_FWB;
    let second = |name, register: &str, value| {
        fault(name, Moment::Start, Act::SecondVcpu(register.into(), value)).two_vcpus()
    };
    vec![
        leaf("bar-not-accessed", NORMAL_NC & !ACCESSED, "the first never accessed"),
        leaf("bar-read-only", NORMAL_NC & !WRITE, "the first not writable"),
        leaf("bar-without-access", NORMAL_NC & !WRITE & !READ, "the first not readable, not writable"),
        register("caches-off-in-stage-2", "HCR_EL2", hcr | 1 << 32, "HCR_EL2.CD is 1"),
        register("default-cacheability", "HCR_EL2", hcr | 1 << 12, "HCR_EL2.DC is 1"),
        register("nested-guest", "HCR_EL2", hcr | 1 << 42, "HCR_EL2.NV is 1"),
        register("dirty-state-by-hardware", "VTCR_EL2", VTCR | 1 << 21 | 1 << 22, "VTCR_EL2.HD is 1"),
        good("access-flag-by-hardware").and(Moment::Start, Act::Register("VTCR_EL2".into(), VTCR | 1 << 21)),
        register("guests-mmu-off", "SCTLR", 0x4, "SCTLR_EL1.M is 0"),
        register("guests-caches-off", "SCTLR", 0x1, "SCTLR_EL1.C is 0"),
        register(
            "vmid-of-the-host",
            "VTTBR_EL2",
            STAGE2_ROOT,
            "VMID at look stored, guest g0: 0, which is the host's",
        ),
        fault(
            "vmid-that-changes",
            request("reset"),
            Act::Register("VTTBR_EL2".into(), 7 << 48 | STAGE2_ROOT),
        )
        .judged("FAIL", "VMID at look again, guest g0: another instead of that of the look before"),
        good("two-vcpus").two_vcpus(),
        second("second-vcpu-with-vmid-0", "VTTBR_EL2", STAGE2_ROOT)
            .judged("FAIL", "on vCPU 1 VTTBR_EL2 0x50000000 instead of VMID 0x1 and tables at 0x50000000"),
        second("second-vcpu-with-other-tables", "VTTBR_EL2", 1 << 48 | (STAGE2_ROOT + 0x10_0000))
            .judged("FAIL", "on vCPU 1 VTTBR_EL2 0x1000050100000 instead of"),
        second("second-vcpu-never-there", "x19", 1).stops(
            "MISS",
            Stage::Steps,
            "stops only 1 of the 2 vCPUs of guest g0 were found",
        ),
    ]
}

/// Rows in which QEMU or the host report something wrong about the host's memory.
pub(super) fn memory() -> Vec<Row> {
    let roms = |name, list: &str, says| {
        let answer = serde_json::json!({"id": 1, "return": {"human-readable-text": list}});
        fault(name, qmp("x-query-roms"), Act::Instead(format!("{answer}\n"))).stops(
            "MISS",
            Stage::HostBoot,
            says,
        )
    };
    let host = |name, iomem: &str, reserved: Option<Vec<Extent>>| {
        let memory = HostMemory { iomem: iomem.into(), reserved, hypervisor: None };
        fault(name, request("memory"), Act::answer::<Memory>(&memory))
    };
    let kernel = "40200000-41a6ffff : Kernel code\n42080000-4242ffff : Kernel data\n";
    vec![
        roms("qemu-has-loaded-nothing", "", "has no kernel"),
        roms("qemu-has-loaded-nonsense", "addr=zz size=0x mem=ram name=\"dtb\"\n", "has no kernel"),
        host("no-flags-of-pages", kernel, None).judged("PASS as wc-honoured", ""),
        host("no-kernel-in-iomem", "", None).judged("MISS", "the host's account of its kernel"),
        host("kernel-elsewhere", &kernel.replace("-41a6ffff", "-4020ffff"), None)
            .judged("MISS", "the host's account of its kernel"),
        host("kernel-that-is-all-free", kernel, Some(vec![])).judged("MISS", "of data are free"),
        fault(
            "no-iomem",
            request("memory"),
            refuse(FailureKind::System, "cannot read proc/iomem: No such file or directory"),
        )
        .stops("MISS", Stage::HostBoot, "proc/iomem"),
    ]
}
