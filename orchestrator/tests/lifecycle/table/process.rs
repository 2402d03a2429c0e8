//! QEMU's process, before and while it runs.

use super::*;

pub(super) fn preflight() -> Vec<Row> {
    let lacking = |name, option, verdict| good(name).without(option).stops(verdict, Stage::Preflight, option);
    vec![
        good("nothing-lacks").configured(),
        lacking("no-kvm", "KVM", "SKIP(the kernel lacks CONFIG_KVM (the host runs guests))"),
        lacking(
            "no-vfio-pci",
            "VFIO_PCI",
            "SKIP(the kernel lacks CONFIG_VFIO_PCI (a PCI device is bound to vfio-pci))",
        ),
        lacking(
            "no-initramfs",
            "BLK_DEV_INITRD",
            "SKIP(the kernel lacks CONFIG_BLK_DEV_INITRD (the host's user land is an initramfs))",
        ),
        fault("old-qemu", qmp("greeting"), Act::Instead(OLD_QEMU.into())).stops(
            "SKIP(QEMU 9.2.4 is older than 10.0)",
            Stage::Preflight,
            "older than 10.0",
        ),
    ]
}

pub(super) fn good_runs() -> Vec<Row> {
    vec![
        good("nothing"),
        Row {
            script: Script::default(),
            verdict: "PASS as before the series",
            ..good("nothing-before-the-series")
        },
        fault("power-off-at-once", request("finish"), Act::PowerOff(0)),
        fault("everything-is-slow", request("store"), Act::Wait(700)).and(qmp("stop"), Act::Wait(300)),
    ]
}

pub(super) fn processes() -> Vec<Row> {
    let ended =
        |name, at, stage| fault(name, at, Act::Exit(3)).stops("MISS", stage, "QEMU ended (exit status: 3)");
    vec![
        fault("exits-when-asked-about-cpus", question("greeting"), Act::Exit(1)).stops(
            "MISS",
            Stage::Prepare,
            "QEMU ended (exit status: 1)",
        ),
        fault("silent-when-asked-about-cpus", question("query-cpu-model-expansion"), Act::Hang)
            .stops("MISS", Stage::Prepare, "has not answered `query-cpu-model-expansion`")
            .after(Deadline::Qmp),
        fault(
            "no-such-cpu",
            question("query-cpu-model-expansion"),
            Act::Instead("{\"id\": 1, \"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n".into()),
        )
        .stops("ERROR", Stage::Prepare, "has no CPU model `neoverse-v1`"),
        fault("exits-at-once", Moment::Start, Act::Exit(1)).stops(
            "MISS",
            Stage::Prepare,
            "QEMU ended (exit status: 1)",
        ),
        fault("killed-at-once", Moment::Start, Act::Signal(SIGKILL)).stops(
            "MISS",
            Stage::Prepare,
            "QEMU ended (signal: 9",
        ),
        ended("exits-before-the-first-instruction", qmp("cont"), Stage::HostBoot),
        ended("exits-while-the-host-boots", Moment::Hello, Stage::HostBoot),
        ended("exits-while-binding", request("bind"), Stage::Bind),
        ended("exits-while-a-guest-starts", request("start-guest"), Stage::GuestBoot),
        ended("exits-while-a-guest-boots", Moment::GuestHello, Stage::GuestBoot),
        ended("exits-while-storing", request("store"), Stage::Steps),
        ended("exits-while-a-guest-is-held", request("hold"), Stage::Steps),
        ended("exits-in-a-look", gdb("Hg2"), Stage::Steps),
        ended("exits-while-stopped", qmp("stop"), Stage::Steps),
        ended("exits-while-resetting", request("reset"), Stage::Steps),
        ended("exits-while-probing", request("probe"), Stage::Steps),
        ended("exits-while-a-guest-ends", request("stop-guest"), Stage::ShutDown),
        ended("exits-before-the-cells-record", request("end-cell"), Stage::ShutDown),
        ended("exits-before-the-final-record", request("finish"), Stage::ShutDown),
        fault("crashes-while-storing", request("store"), Act::Signal(SIGABRT)).stops(
            "MISS",
            Stage::Steps,
            "QEMU ended (signal: 6",
        ),
        fault("frozen-while-storing", request("store"), Act::Signal(SIGSTOP))
            .stops("MISS", Stage::Steps, "QEMU does not answer QMP")
            .after(Deadline::Store),
        fault("frozen-in-a-look", gdb("Hg2"), Act::Signal(SIGSTOP))
            .stops("MISS", Stage::Steps, "the gdbstub has not answered")
            .after(Deadline::Gdb),
        fault("ignores-sigterm", Moment::Start, Act::IgnoreTerm),
        fault("leaves-a-child", Moment::Start, Act::Child),
        fault("leaves-a-child-and-exits", request("store"), Act::Child)
            .and(request("hold"), Act::Exit(3))
            .stops("MISS", Stage::Steps, "QEMU ended (exit status: 3)"),
        fault("leaves-a-child-and-exits-at-once", Moment::Start, Act::Child)
            .and(Moment::Start, Act::Exit(1))
            .stops("MISS", Stage::Prepare, "QEMU ended (exit status: 1)"),
        fault("starts-a-daemon", Moment::Start, Act::Daemon).stops(
            "MISS",
            Stage::ShutDown,
            "had left the process group",
        ),
        fault("starts-a-daemon-and-exits", Moment::Start, Act::Daemon)
            .and(request("store"), Act::Exit(3))
            .stops("MISS", Stage::Steps, "had left the process group"),
    ]
}
