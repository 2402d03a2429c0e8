//! A guest that transfers data to and from a drive.

use super::*;
use s2lab_protocol::ask::{Direction, Transfer, Transferred};

pub(super) fn dma() -> Vec<Row> {
    let row = |name, skip, act| {
        let row = good(name).with_a_drive();
        Row { script: row.script.and_later(request("transfer"), skip, act), ..row }
    };
    let done = |direction, bytes, first_difference| {
        Act::answer::<Transfer>(&Transferred { direction, bytes, first_difference })
    };
    let read = Direction::Read;
    vec![
        Row { verdict: "PASS", ..good("data-transferred").with_a_drive() },
        row("data-that-does-not-arrive", 0, Act::Spoil(0x80)).judged(
            "FAIL",
            "drive after step 0, DMA of disk: differs from offset 0x80 instead of the pattern that was transferred",
        ),
        row("data-that-reads-back-wrong", 1, done(read, 64 << 10, Some(0x40))).judged(
            "FAIL",
            "read-back after step 0, DMA of disk: differs from offset 0x40 instead of the pattern that was transferred",
        ),
        row("data-that-does-not-come-back", 2, done(read, 64 << 10, Some(0x80))).judged(
            "FAIL",
            "guest's memory after step 0, DMA of disk: differs from offset 0x80 instead of the pattern that was transferred",
        ),
        row("another-transfer", 0, done(read, 64 << 10, None)).stops(
            "MISS",
            Stage::Steps,
            "answers `transfer data by DMA` with something else",
        ),
        row("no-drive-in-the-guest", 0, refuse(FailureKind::System, "cannot find the drive of 0000:00:10.0"))
            .stops("MISS", Stage::Steps, "cannot find the drive"),
        row("transfer-never-answered", 0, Act::Ignore)
            .stops("TIMEOUT(steps)", Stage::Steps, "`transfer data by DMA`")
            .after(Deadline::Store),
    ]
}
