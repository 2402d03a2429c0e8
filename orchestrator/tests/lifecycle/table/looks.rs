//! Results of looks, and of the other witnesses.

use super::{guests::internal_error, *};
use guest_tables::{BAR_IPA, BAR_PA, DEVICE, HCR, HCR_FWB, NEVER_EXEC, NORMAL_NC, NORMAL_WB, STAGE2_ROOT};
use s2lab_protocol::{Bar, BoundDevice, Vma};

pub(super) fn looks() -> Vec<Row> {
    let register = |name, register: &str, value, verdict, says| {
        fault(name, Moment::Start, Act::Register(register.into(), value)).stops(verdict, Stage::Steps, says)
    };
    let no_match = "no vCPU was found in guest g0 with the look's nonce";
    let poke = |name, address, word| fault(name, Moment::Start, Act::Poke { address, word });
    let leaf = |name, bits| fault(name, Moment::Start, Act::BarLeaf(bits));
    // The start tables' descriptor of the BAR's gigabyte, and of RAM's first.
    let bar_table = STAGE2_ROOT + 8 * (BAR_IPA >> 30);
    let next = |n: u64| STAGE2_ROOT + n * 4096;
    // A correct VTCR_EL2, which rows spoil: PS 40 bits, SL0 level 1, T0SZ 24.
    let vtcr = 1 << 31 | 2 << 16 | 1 << 6 | 24;
    let hcr = 1 << 46 | 1 << 31 | 1;
    vec![
        fault("a-guest-without-a-cpu-for-120-stops", Moment::Start, Act::NoCpu(120)),
        register("nonce-never-there", "x19", 1, "MISS", no_match),
        register("host-user-space-with-the-nonce", "HCR_EL2", hcr | 1 << 27, "MISS", no_match),
        register("stage-2-off", "HCR_EL2", hcr & !1, "MISS", no_match),
        register("vcpu-in-el2-with-the-nonce", "cpsr", 0x3c9, "MISS", no_match),
        register(
            "vtcr-of-no-geometry",
            "VTCR_EL2",
            vtcr & !0x3f | 63,
            "MISS",
            "the tables of guest g0 cannot be read",
        ),
        register("vtcr-of-a-reserved-granule", "VTCR_EL2", vtcr | 3 << 14, "MISS", "reserved granule"),
        register("stage-1-without-a-geometry", "TCR_EL1", 63, "MISS", "cannot be read"),
        fault(
            "vttbr-outside-of-memory",
            Moment::Start,
            Act::Register("VTTBR_EL2".into(), 1 << 48 | 0xf0_0000_0000),
        )
        .judged("FAIL", "outside of memory"),
        poke("tables-in-a-circle", bar_table, STAGE2_ROOT | 0b11).judged("FAIL", "met a second time"),
        poke("table-outside-of-memory", bar_table, 0xf0_0000_0000 | 0b11).judged("FAIL", "outside of memory"),
        poke("table-beyond-the-address-size", bar_table, 0xffff_0000_0000 | 0b11)
            .judged("FAIL", "beyond VTCR_EL2.PS"),
        poke("block-that-is-misaligned", bar_table, BAR_PA | 0x1000 | NORMAL_NC)
            .judged("FAIL", "misaligned block"),
        poke("bar-not-in-stage-2", bar_table, 0).judged("FAIL", "nothing mapped"),
        poke("leaf-that-leads-nowhere", next(3), 0xe0_0000_0000 | NORMAL_NC | 0b10)
            .judged("FAIL", "unknown region"),
        leaf("bar-device-and-a-probe-that-passes", DEVICE).judged("MISS", "oracle in doubt"),
        leaf("bar-device-with-the-series", DEVICE)
            .and(request("probe"), Act::GuestEnds(internal_error()))
            .judged("FAIL", "Device-nGnRE"),
        leaf("bar-write-back", NORMAL_WB | NEVER_EXEC).judged("FAIL", "Normal-WB"),
        leaf("bar-executable", NORMAL_NC & !NEVER_EXEC).judged("FAIL", "exec"),
        fault("ram-not-cacheable", Moment::Start, Act::RamLeaf(NORMAL_NC)).judged("FAIL", "ram"),
        fault("mappings-without-end", request("hold"), held(vec![mapping("nic"); 1000])).stops(
            "MISS",
            Stage::Steps,
            "answers `hold` with something else",
        ),
        fault("mapping-of-an-unknown-device", request("hold"), held(vec![mapping("gpu")])).stops(
            "MISS",
            Stage::Steps,
            "of which the host said nothing",
        ),
        fault(
            "mapping-beyond-the-address-space",
            request("hold"),
            held(vec![Mapping { va: u64::MAX - 4095, ..mapping("nic") }]),
        )
        .stops("MISS", Stage::Steps, "leaves the address space"),
        fault(
            "mapping-that-is-not-there",
            request("hold"),
            held(vec![Mapping { va: 0x1000_0000, ..mapping("nic") }]),
        )
        .judged("FAIL", "pages that it does not map"),
    ]
}

fn mapping(device: &str) -> Mapping {
    let bar = Bar { index: 2, start: BAR_IPA, size: 4 << 20, prefetchable: true };
    Mapping { device: device.into(), map: MapKind::Wc, va: 0xffff_8000_0000, bar, hypervisor: None }
}

fn part_of_the_bar() -> Mapping {
    let mut part = mapping("nic");
    part.bar.size = 4096;
    part
}

fn stored_elsewhere() -> Act {
    let bar = Bar { index: 7, start: 0, size: 1, prefetchable: false };
    stored_by(StoreResult { bar, stores: 8192, nanos: 1, first_difference: None })
}

/// The answer to the scenario's first store.
fn stored_by(result: StoreResult) -> Act {
    let (map, by, manner) = (MapKind::Wc, By::Str, Manner::default());
    Act::answer::<Store>(&Stored { map, width: 8, by, manner, bytes: 65536, result })
}

/// A good answer, but of a store as it was not asked.
fn stored_as(map: MapKind, width: u32, by: By, manner: Manner) -> Act {
    let bar = mapping("nic").bar;
    let result = StoreResult { bar, stores: 8192, nanos: 1, first_difference: None };
    Act::answer::<Store>(&Stored { map, width, by, manner, bytes: 65536, result })
}

/// An answer to the scenario's first load, with digests that no pattern has.
fn loaded_as(map: MapKind, width: u32, bytes: u64) -> Act {
    let (bar, loads, digests) = (mapping("nic").bar, bytes / 8, vec![0; 64]);
    let manner = Manner::default();
    Act::answer::<Load>(&Loaded { bar, map, width, manner, bytes, loads, digests })
}

fn reset_done(method: &str) -> Act {
    Act::answer::<Reset>(&ResetDone { method: method.into() })
}

fn held(mappings: Vec<Mapping>) -> Act {
    Act::answer::<Hold>(&Held { pid: 1, mappings, vcpus: 1 })
}

fn a_byte() -> Vma {
    Vma { start: 0, end: 1, offset: 2 << 40, name: String::new(), flags: vec!["??".into()] }
}

/// The host's kernel reports a piece of its GIC as a BAR of the device.
fn invented_bar(name: &'static str) -> Row {
    let bar = |index, start, size, prefetchable| Bar { index, start, size, prefetchable };
    let bars = vec![
        bar(0, 0x1000_0000, 256, false),
        bar(2, 0x80_0000_0000, 4 << 20, true),
        bar(4, 0x800_0000, 2 << 20, false),
    ];
    let bound = BoundDevice {
        device: "nic".into(),
        address: "0000:01:00.0".into(),
        vendor: 0x1af4,
        id: 0x1110,
        driver: "vfio-pci".into(),
        iommu_group: Some(0),
        bars,
    };
    fault(name, request("bind"), Act::answer::<Bind>(&bound))
        .judged("FAIL", "BAR 4 at 0x8000000, 0x200000 bytes, not prefetchable instead of no BAR 4")
}

pub(super) fn evidence() -> Vec<Row> {
    let stored = |stores, first_difference| {
        stored_by(StoreResult { bar: mapping("nic").bar, stores, nanos: 1, first_difference })
    };
    let usual = Manner::default();
    let another = |name, act| {
        fault(name, request("store"), act).stops("MISS", Stage::Steps, "answers `store` with something else")
    };
    vec![
        fault("bar-file-differs", request("store"), Act::Spoil(64))
            .judged("FAIL", "differs from offset 0x40"),
        fault("read-back-differs", request("store"), stored(8192, Some(8)))
            .judged("FAIL", "differs from offset 0x8"),
        fault("too-few-stores", request("store"), stored(1, None)).judged("MISS", "1 stores of 8 B"),
        fault("bar-placed-elsewhere", Moment::Start, Act::Misplace(0x1000_0000))
            .judged("FAIL", "place of nic: the kernel's own account contradicts QEMU"),
        invented_bar("bar-that-only-the-host-has"),
        fault(
            "mapping-of-a-part-of-the-bar",
            request("hold"),
            held(vec![part_of_the_bar()]),
        )
        .judged("FAIL", "the agent's account contradicts QEMU"),
        fault("store-to-another-bar", request("store"), stored_elsewhere())
            .judged("FAIL", "the agent's account contradicts QEMU"),
        another("store-through-another-mapping", stored_as(MapKind::Device, 8, By::Str, usual)),
        another("store-of-another-width", stored_as(MapKind::Wc, 16, By::Stp, usual)),
        another("store-by-other-instructions", stored_as(MapKind::Wc, 8, By::Stp, usual)),
        another(
            "store-in-another-order",
            stored_as(MapKind::Wc, 8, By::Str, Manner { order: Order::Strided, ..usual }),
        ),
        another("store-on-another-vcpu", stored_as(MapKind::Wc, 8, By::Str, Manner { vcpus: 2, ..usual })),
        fault("load-reads-other-bytes", request("load"), loaded_as(MapKind::Wc, 8, 4096))
            .judged("FAIL", "differs in the 64 bytes from offset 0x0"),
        fault("load-of-another-width", request("load"), loaded_as(MapKind::Wc, 16, 4096)).stops(
            "MISS",
            Stage::Steps,
            "answers `load` with something else",
        ),
        fault("load-of-fewer-bytes", request("load"), loaded_as(MapKind::Wc, 8, 2048)).stops(
            "MISS",
            Stage::Steps,
            "answers `load` with something else",
        ),
        fault("reset-without-a-method", request("reset"), reset_done("none"))
            .judged("FAIL", "`none` instead of a method of the kernel's"),
        fault("reset-that-was-none", Moment::Start, Act::StayMapped).judged(
            "FAIL",
            "step 2, stage 2 after the reset of nic: 2 leaves, the first at IPA 0x8080000000 instead of no leaf in its BARs",
        ),
        fault("memory-off-that-was-none", request("device"), Act::StayMapped).judged(
            "FAIL",
            "step 5, stage 2 after the memory-off of nic: 2 leaves, the first at IPA 0x8080000000 instead of no leaf in its BARs",
        ),
        fault("another-operation", request("device"), device_done(DeviceOperation::PowerOff))
            .stops("MISS", Stage::Steps, "answers `change the state of a device` with something else"),
        fault(
            "vma-of-a-byte",
            request("vma-flags"),
            Act::answer::<VmaFlags>(&vec![a_byte()]),
        )
        .judged("FAIL", "the kernel's own account contradicts the BAR"),
        fault("flag-missing-with-the-series", Moment::Start, Act::OtherFlags).judged("FAIL", "no flag `??`"),
        Row { script: Script::default(), ..good("flag-without-the-series") }
            .and(Moment::Start, Act::OtherFlags)
            .judged("FAIL", "flag `??`"),
        Row { script: Script::default(), ..good("normal-nc-without-the-series") }
            .and(Moment::Start, Act::BarLeaf(NORMAL_NC))
            .judged("FAIL", "Normal-NC"),
        fault("no-vma-over-the-bar", request("vma-flags"), Act::answer::<VmaFlags>(&vec![]))
            .judged("MISS", "VMAs over nic"),
    ]
}

fn device_done(operation: DeviceOperation) -> Act {
    Act::answer::<Device>(&DeviceDone { operation })
}

/// Rows about the trace of faults.
pub(super) fn faults() -> Vec<Row> {
    let faulted = |name, runs: &[(u64, u64)], incomplete: Option<&str>| {
        let runs = runs.iter().map(|(ipa, pages)| Pages { ipa: *ipa, pages: *pages }).collect();
        let incomplete = incomplete.map(str::to_owned);
        fault(name, request("faults"), Act::answer::<Faults>(&Faulted { runs, incomplete }))
    };
    // Entry 1 of the table of the BAR's gigabyte, which is behind the start tables and two for RAM.
    let second_block = STAGE2_ROOT + 4 * 4096 + 8;
    vec![
        good("faults-of-each-leaf").hears("faults", "agrees"),
        faulted("a-leaf-without-a-fault", &[(BAR_IPA, 1)], None)
            .judged("FAIL", "no fault in 1 of 2, first IPA 0x8080200000 instead of a fault at each leaf"),
        faulted("no-fault-at-all", &[], None).judged("FAIL", "no fault in 2 of 2, first IPA 0x8080000000"),
        faulted("faults-of-the-whole-bar", &[(BAR_IPA, 1024)], None).hears("faults", "agrees"),
        faulted("faults-beyond-the-address-space", &[(u64::MAX, u64::MAX), (BAR_IPA, 513)], None)
            .hears("faults", "agrees"),
        faulted("faults-that-are-lost", &[], Some("the kernel has overwritten events of the trace"))
            .hears("faults", "silent: the kernel has overwritten events of the trace"),
        fault("a-fault-without-a-leaf", Moment::Start, Act::Poke { address: second_block, word: 0 })
            .judged("FAIL", "a fault at IPA 0x8080200000, and no leaf there instead of a leaf at each fault"),
    ]
}

/// Rows about KVM's own dump of stage 2.
pub(super) fn dumps() -> Vec<Row> {
    let dumped = |name, dumped: Dumped| fault(name, request("dump"), Act::answer::<Dump>(&dumped));
    let range = |size: u64, flags: &str| {
        let (ipa, flags) = (BAR_IPA, flags.to_owned());
        Dumped::Ranges(vec![DumpedRange { ipa, end: ipa.saturating_add(size), level: 2, flags }])
    };
    let missing = "the kernel has no stage2_page_tables (CONFIG_PTDUMP_STAGE2_DEBUGFS)";
    vec![
        good("dump-of-the-same-leaves").hears("ptdump", "agrees"),
        dumped("dump-without-leaves", Dumped::Ranges(vec![]))
            .judged("FAIL", "instead of at IPA 0x8080000000"),
        dumped("dump-that-is-read-only", range(4 << 20, "R NX AF BLK"))
            .judged("FAIL", "level 2 r- XN 0b10 AF BLK"),
        dumped("dump-of-more-than-the-walk", range(6 << 20, "R W AF BLK"))
            .judged("FAIL", "at IPA 0x8080400000: no leaf"),
        dumped("dump-of-all-addresses", range(u64::MAX, "R W AF BLK")).judged("FAIL", "KVM's dump of"),
        dumped("kernel-without-a-dump", Dumped::Missing(missing.into()))
            .hears("ptdump", "silent: the kernel has no stage2_page_tables"),
    ]
}

/// Rows about the leaves of the VMM's own stage 1.
pub(super) fn own_leaves() -> Vec<Row> {
    let vma = |start: u64| {
        let flags = ["rd", "wr", "??"].map(str::to_owned).into();
        let (end, name) = (start + (4 << 20), "anon_inode:[vfio-device]".into());
        Act::answer::<VmaFlags>(&vec![Vma { start, end, offset: 2 << 40, name, flags }])
    };
    let register = |name: &str, value| Act::Register(name.into(), value);
    vec![
        good("vmm-with-the-same-blocks").hears("vmm", "agrees"),
        fault("vmm-with-pages-only", Moment::Start, Act::VmmPages)
            .judged("FAIL", "2 of 2 are not: 2M where the VMM's leaf has 4K"),
        Row {
            script: Script::default(),
            verdict: "PASS as before the series",
            ..good("vmm-with-pages-only-of-old")
        }
        .and(Moment::Start, Act::VmmPages)
        .hears("vmm", "silent: the kernel does not declare pfnmap-stage1-leaf"),
        fault("vma-where-the-vmm-has-nothing", request("vma-flags"), vma(0xfffe_0000_0000))
            .judged("FAIL", "2M where the VMM has none"),
        good("host-without-vhe")
            .and(Moment::Start, register("HCR_EL2", HCR | HCR_FWB))
            .hears("vmm", "silent: the host has no VHE"),
        good("vmm-without-tables")
            .and(Moment::Start, register("TCR_EL2", 63))
            .hears("vmm", "silent: its registers do not lead to tables"),
    ]
}
