//! The table of faults.

use crate::row::{Deadline, Row, fault, good};
use fake_qemu::script::{Act, Bend, Moment, Script};
use s2lab_model::event::Stage;

fn request(name: &str) -> Moment {
    Moment::Request(name.into())
}

fn qmp(command: &str) -> Moment {
    Moment::Qmp(command.into())
}

fn gdb(request: &str) -> Moment {
    Moment::Gdb(request.into())
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        good("nothing"),
        Row {
            script: Script::default(),
            verdict: "PASS as before the series",
            ..good("nothing-before-the-series")
        },
        fault("qmp-silent", qmp("greeting"), Act::Hang)
            .stops("MISS", Stage::Prepare, "QEMU has not answered `greeting`")
            .after(Deadline::Qmp),
        fault("exits-at-once", Moment::Start, Act::Exit(1)).stops(
            "MISS",
            Stage::Prepare,
            "QEMU closed its QMP channel",
        ),
        fault("gdb-silent", gdb("qXfer"), Act::Ignore)
            .stops("MISS", Stage::Prepare, "has not answered `qXfer")
            .after(Deadline::Gdb),
        fault("agent-silent", Moment::Hello, Act::Ignore)
            .stops("TIMEOUT(host-boot)", Stage::HostBoot, "has not answered `hello`")
            .after(Deadline::HostBoot),
        fault("frame-damaged", request("bind"), Act::Bend(Bend::Checksum)).stops(
            "MISS",
            Stage::Bind,
            "CRC-32",
        ),
    ]
}
