//! QMP and the gdbstub.

use super::*;

pub(super) fn qmp_channel() -> Vec<Row> {
    let protocol = |name, text: &str| {
        let act = Act::Instead(text.into());
        fault(name, qmp("greeting"), act).stops("MISS", Stage::Prepare, "QEMU does not speak QMP")
    };
    vec![
        fault("qmp-silent", qmp("greeting"), Act::Hang)
            .stops("MISS", Stage::Prepare, "QEMU has not answered `greeting`")
            .after(Deadline::Qmp),
        fault("qmp-greeting-without-an-end", qmp("greeting"), Act::Instead("{\"QMP\": {\"version\"".into()))
            .stops("MISS", Stage::Prepare, "QEMU has not answered `")
            .after(Deadline::Qmp),
        fault("qmp-greeting-torn", qmp("greeting"), Act::Before("{\"QMP\": {\"ver".into())).stops(
            "MISS",
            Stage::Prepare,
            "QEMU does not speak QMP",
        ),
        protocol("qmp-greeting-is-garbage", "\u{1b}[2Jno QMP\n"),
        protocol("qmp-greeting-is-something-else", "{\"return\": {}}\n"),
        protocol("qmp-greeting-without-a-version", "{\"QMP\": {}}\n"),
        fault("qmp-unknown-event", qmp("stop"), Act::Before("{\"event\": \"FROM_THE_FUTURE\", \"data\": [7]}\n".into())),
        fault("qmp-answer-to-nobody", qmp("stop"), Act::Before("{\"return\": 1, \"id\": 4711}\n".into())),
        fault("qmp-garbage", qmp("stop"), Act::Before("\u{0}\u{1}garbage\n".into())).stops(
            "MISS",
            Stage::Steps,
            "a line that is not a message",
        ),
        fault("qmp-closed", qmp("stop"), Act::Close).stops("MISS", Stage::Steps, "QEMU closed its QMP channel"),
        fault("qmp-refuses-cont", qmp("cont"), Act::Instead(
            "{\"id\": 2, \"error\": {\"class\": \"GenericError\", \"desc\": \"Resetting the VM is required\"}}\n".into(),
        ))
        .stops("MISS", Stage::HostBoot, "QEMU refuses `cont`: GenericError: Resetting the VM is required"),
        fault("qmp-silent-at-stop", qmp("stop"), Act::Ignore)
            .stops("MISS", Stage::Steps, "QEMU has not answered `stop`")
            .after(Deadline::Qmp),
        fault("qmp-silent-at-query-pci", qmp("query-pci"), Act::Ignore)
            .stops("MISS", Stage::Bind, "QEMU has not answered `query-pci`")
            .after(Deadline::Qmp),
        fault("qmp-pci-is-empty", qmp("query-pci"), Act::Instead("{\"id\": 3, \"return\": []}\n".into())).stops(
            "MISS",
            Stage::Bind,
            "QEMU knows no prefetchable BAR of `nic`",
        ),
        fault("qmp-pci-is-nonsense", qmp("query-pci"), Act::Instead("{\"id\": 3, \"return\": [{\"bus\": \"x\"}]}\n".into()))
            .stops("MISS", Stage::Bind, "is not what its schema says"),
    ]
}

pub(super) fn gdb_channel() -> Vec<Row> {
    let answers = |name, at, packet: &str, stage, says| {
        fault(name, at, Act::Instead(packet.into())).stops("MISS", stage, says)
    };
    vec![
        fault("gdb-silent", gdb("qXfer"), Act::Ignore)
            .stops("MISS", Stage::Prepare, "has not answered `qXfer")
            .after(Deadline::Gdb),
        fault("gdb-closed", gdb("qSupported"), Act::Close).stops("MISS", Stage::Prepare, "gdbstub channel"),
        answers("gdb-has-no-description", gdb("qXfer"), "+$E00#a5", Stage::Prepare, "answers `qXfer"),
        answers(
            "gdb-has-no-registers",
            gdb("qXfer"),
            "+$l<target/>#00",
            Stage::Prepare,
            "offers no register HCR_EL2",
        ),
        answers(
            "gdb-lacks-system-registers",
            gdb("qXfer:features:read:system"),
            "+$l#6c",
            Stage::Prepare,
            "offers no register HCR_EL2",
        ),
        answers("gdb-refuses-a-vcpu", gdb("Hg2"), "+$E22#a9", Stage::Steps, "answers `Hg2` with `E22`"),
        answers("gdb-refuses-a-register", gdb("p"), "+$E14#aa", Stage::Steps, "with `E14`"),
        answers("gdb-register-too-short", gdb("p"), "+$00000000#00", Stage::Steps, "with `00000000`"),
        answers(
            "gdb-register-too-long",
            gdb("p"),
            "+$000000000000000000#00",
            Stage::Steps,
            "with `000000000000000000`",
        ),
        answers(
            "gdb-register-is-not-hexadecimal",
            gdb("p"),
            "+$xxxxxxxxxxxxxxxx#00",
            Stage::Steps,
            "with `xxxxxxxxxxxxxxxx`",
        ),
        fault("gdb-packet-without-an-end", gdb("p"), Act::Instead("+$0000".into()))
            .stops("MISS", Stage::Steps, "the gdbstub has not answered `p")
            .after(Deadline::Gdb),
        fault("gdb-slow", Moment::Start, Act::Slow(600))
            .stops("MISS", Stage::Prepare, "QEMU and its gdbstub did not come up")
            .after(Deadline::Attach),
        fault("gdb-slow-in-a-look", qmp("stop"), Act::Slow(200))
            .stops("MISS", Stage::Steps, "the look at guest g0 was not done")
            .after(Deadline::Look),
        fault("gdb-closed-in-a-look", gdb("Hg2"), Act::Close).stops("MISS", Stage::Steps, "gdbstub channel"),
    ]
}
