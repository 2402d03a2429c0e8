//! A guest that transfers data to and from a drive, or by the frames of a virtual function.

use super::*;
use s2lab_protocol::ask::{Direction, Frames, Transfer, Transferred};

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

pub(super) fn frames() -> Vec<Row> {
    let row = |name, at, skip, act| {
        let row = good(name).with_a_function();
        Row { script: row.script.and_later(request(at), skip, act), ..row }
    };
    let (bytes, read) = (64 << 10, Direction::Read);
    let differs = Transferred { direction: read, bytes, first_difference: Some(0x40) };
    let (by_guest, by_host) = (Act::answer::<Transfer>(&differs), Act::answer::<Frames>(&differs));
    vec![
        Row { verdict: "PASS", ..good("frames-exchanged").with_a_function() },
        row("frames-that-the-host-does-not-get", "frames", 2, by_host).judged(
            "FAIL",
            "what the host received after step 0, frames of nic: differs from offset 0x10040 instead of the pattern that was sent",
        ),
        row("frames-that-the-guest-does-not-get", "transfer", 1, by_guest).judged(
            "FAIL",
            "what the guest received after step 0, frames of nic: differs from offset 0x40 instead of the pattern that was sent",
        ),
        row("frames-that-the-guest-does-not-send", "transfer", 0, refuse(FailureKind::System, "a frame is sent"))
            .stops("MISS", Stage::Steps, "a frame is sent"),
        row("other-frames", "frames", 1, Act::answer::<Frames>(&differs)).stops(
            "MISS",
            Stage::Steps,
            "answers `exchange frames` with something else",
        ),
        row("frames-never-answered", "frames", 0, Act::Ignore)
            .stops("TIMEOUT(steps)", Stage::Steps, "`exchange frames`")
            .after(Deadline::Request),
        good("function-elsewhere")
            .with_a_function()
            .and(Moment::Start, Act::Misplace(0x1000))
            .judged("FAIL", "place of nic"),
        good("function-that-qemu-places-elsewhere").with_a_function().and(Moment::Start, Act::Narrow).stops(
            "SKIP(QEMU takes the BARs of the virtual function of `nic` for 32-bit ones, so no access reaches it)",
            Stage::Bind,
            "32-bit",
        ),
        good("function-without-the-driver-of-the-physical-one").with_a_function().without("IGB").stops(
            "SKIP(the kernel lacks CONFIG_IGB (it makes the virtual function of a guest))",
            Stage::Preflight,
            "CONFIG_IGB",
        ),
        fault(
            "function-without-sockets-for-frames",
            request("bind"),
            refuse(FailureKind::Missing(Facility::PacketSockets), "no sockets"),
        )
        .with_a_function()
        .configured()
        .stops("FAIL", Stage::Bind, "no sockets, and the kernel has CONFIG_PACKET=y"),
    ]
}
