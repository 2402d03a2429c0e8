//! A device that leaves its slot while its guest runs, and comes back.

use super::*;
use s2lab_protocol::{Bar, BoundDevice, Vma};

pub(super) fn hotplug() -> Vec<Row> {
    let row = |name, at, act| fault(name, at, act).that_plugs();
    let later = |name, at: &str, act| {
        let row = good(name).that_plugs();
        Row { script: row.script.and_later(request(at), 1, act), ..row }
    };
    let flags = ["rd", "wr", "sh", "??"].map(str::to_owned).into();
    let (start, end, name) = (0xffff_0000_0000, 0xffff_0040_0000, "anon_inode:[vfio-device]".into());
    let vma = Vma { start, end, offset: 2 << 40, name, flags };
    let elsewhere = BoundDevice {
        device: "nic".into(),
        address: "0000:01:00.0".into(),
        vendor: 0x1af4,
        id: 0x1110,
        driver: "vfio-pci".into(),
        iommu_group: Some(3),
        bars: vec![Bar { index: 2, start: 0x90_0000_0000, size: 4 << 20, prefetchable: true }],
    };
    vec![
        good("unplugged-and-plugged").that_plugs(),
        Row { script: Script::default(), verdict: "PASS as before the series", ..good("plugged-before-the-series") }
            .that_plugs(),
        row("a-leaf-outlives-its-device", Moment::Start, Act::StayMapped).judged(
            "FAIL",
            "step 2, stage 2 after the unplug of nic: 2 leaves, the first at IPA 0x8080000000 instead of no leaf in its BARs",
        ),
        later("a-vma-outlives-its-device", "vma-flags", Act::answer::<VmaFlags>(&vec![vma])).judged(
            "FAIL",
            "which is unplugged: 1 instead of none",
        ),
        row("vmm-keeps-its-device", request("plug"), refuse(FailureKind::System, "VFIO does not ask"))
            .stops("MISS", Stage::Steps, "VFIO does not ask"),
        row("kernel-keeps-an-unplugged-device", qmp("DEVICE_DELETED"), Act::Ignore)
            .stops("TIMEOUT(steps)", Stage::Steps, "the host has not released `nic`")
            .after(Deadline::Plug),
        row("kernel-still-shows-an-unplugged-device", request("device"), refuse(FailureKind::System, "still has it"))
            .stops("MISS", Stage::Steps, "still has it"),
        row("unplug-never-answered", qmp("device_del"), Act::Ignore)
            .stops("MISS", Stage::Steps, "QEMU has not answered `device_del`")
            .after(Deadline::Qmp),
        row("plug-never-answered", qmp("device_add"), Act::Ignore)
            .stops("MISS", Stage::Steps, "QEMU has not answered `device_add`")
            .after(Deadline::Qmp),
        later("plugged-elsewhere", "bind", Act::answer::<Bind>(&elsewhere))
            .stops("MISS", Stage::Steps, "`nic` has come back at 0000:01:00.0 with other BARs"),
    ]
}
