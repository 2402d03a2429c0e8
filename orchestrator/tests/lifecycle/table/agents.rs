//! Messages and answers of agents.

use super::*;

pub(super) fn frames() -> Vec<Row> {
    let bent =
        |name, bend, says| fault(name, request("bind"), Act::Bend(bend)).stops("MISS", Stage::Bind, says);
    let at_hello =
        |name, bend, says| fault(name, Moment::Hello, Act::Bend(bend)).stops("MISS", Stage::HostBoot, says);
    vec![
        at_hello("hello-of-another-version", Bend::Version(9), "speaks version 9 of the protocol"),
        at_hello("hello-of-another-run", Bend::Nonce, "a frame of another cell"),
        at_hello("hello-that-is-no-frame", Bend::Payload("{}".into()), "frame is not what the protocol says"),
        bent("frame-damaged", Bend::Checksum, "CRC-32"),
        bent(
            "frame-that-is-no-json",
            Bend::Payload("{\"version\": ".into()),
            "frame is not what the protocol says",
        ),
        bent(
            "frame-that-is-not-utf-8",
            Bend::Payload("\u{1}\"".into()),
            "frame is not what the protocol says",
        ),
        bent("frame-too-long", Bend::Length(u32::MAX), "at most"),
        bent("frame-torn", Bend::Torn, "channel closed inside of a frame"),
        fault("frame-twice", request("stop-guest"), Act::Bend(Bend::Twice)).stops(
            "MISS",
            Stage::ShutDown,
            "was due",
        ),
        bent("frame-missing", Bend::Skip(1), "was due"),
        bent("frame-from-the-lab", Bend::From(Peer::Lab), "a frame from lab"),
        bent("frame-to-a-guest", Bend::To(guest()), "a frame from host to guest g0"),
        bent("frame-in-a-guests-name", Bend::From(guest()), "guest g0"),
        bent("reply-to-another-request", Bend::Id(7), "which waits for no answer"),
        // The next heartbeat is read as the rest of it.
        bent("frame-without-an-end", Bend::Half, "CRC-32"),
        fault("garbage-between-frames", request("bind"), Act::Before("login: ".into())).stops(
            "MISS",
            Stage::Bind,
            "no frame starts here",
        ),
        fault("agents-channel-closed", request("bind"), Act::Close).stops(
            "MISS",
            Stage::Bind,
            "channel is closed",
        ),
    ]
}

/// Returns a row in which an agent sends this beside its answer.
pub(super) fn also(name: &'static str, from: Peer, body: Body, says: &'static str) -> Row {
    // Guests have a nonce once they have started.
    let (at, stage) = match from {
        Peer::Guest(_) => ("store", Stage::Steps),
        _ => ("bind", Stage::Bind),
    };
    fault(name, request(at), Act::Also(from, body)).stops("MISS", stage, says)
}

pub(super) fn answers() -> Vec<Row> {
    let silent = |name, at: &str, verdict, stage, deadline, says| {
        fault(name, request(at), Act::Ignore).stops(verdict, stage, says).after(deadline)
    };
    let ended = || GuestEnd::Exited { code: Some(0), signal: None, detail: String::new() };
    let no_kvm = |name| {
        let missing = FailureKind::Missing(Facility::Kvm);
        fault(name, request("start-guest"), refuse(missing, "there is no /dev/kvm"))
    };
    vec![
        fault("agent-silent", Moment::Hello, Act::Ignore)
            .stops("TIMEOUT(host-boot)", Stage::HostBoot, "has not answered `hello`")
            .after(Deadline::HostBoot),
        silent("bind-never-answered", "bind", "TIMEOUT(bind)", Stage::Bind, Deadline::Bind, "`bind`"),
        silent(
            "start-never-answered",
            "start-guest",
            "TIMEOUT(guest-boot)",
            Stage::GuestBoot,
            Deadline::Request,
            "`start a guest`",
        ),
        silent("store-never-answered", "store", "TIMEOUT(steps)", Stage::Steps, Deadline::Store, "`store`"),
        silent("load-never-answered", "load", "TIMEOUT(steps)", Stage::Steps, Deadline::Store, "`load`"),
        silent("hold-never-answered", "hold", "TIMEOUT(steps)", Stage::Steps, Deadline::Request, "`hold`"),
        silent(
            "release-never-answered",
            "release",
            "TIMEOUT(steps)",
            Stage::Steps,
            Deadline::Request,
            "`release`",
        ),
        silent(
            "reset-never-answered",
            "reset",
            "TIMEOUT(steps)",
            Stage::Steps,
            Deadline::Request,
            "`reset a device`",
        ),
        silent(
            "operation-never-answered",
            "device",
            "TIMEOUT(steps)",
            Stage::Steps,
            Deadline::Request,
            "`change the state of a device`",
        ),
        silent(
            "command-register-never-written",
            "command",
            "TIMEOUT(steps)",
            Stage::Steps,
            Deadline::Request,
            "`write the configuration space`",
        ),
        silent(
            "probe-never-answered",
            "probe",
            "TIMEOUT(steps)",
            Stage::Steps,
            Deadline::Request,
            "`probe`",
        ),
        silent(
            "vmas-never-answered",
            "vma-flags",
            "TIMEOUT(steps)",
            Stage::Steps,
            Deadline::Request,
            "`read the VMAs",
        ),
        silent(
            "stop-never-answered",
            "stop-guest",
            "TIMEOUT(shut-down)",
            Stage::ShutDown,
            Deadline::ShutDown,
            "`stop a guest`",
        ),
        silent(
            "final-record-never-comes",
            "finish",
            "TIMEOUT(shut-down)",
            Stage::ShutDown,
            Deadline::ShutDown,
            "`finish`",
        ),
        silent(
            "cells-record-never-comes",
            "end-cell",
            "TIMEOUT(shut-down)",
            Stage::ShutDown,
            Deadline::ShutDown,
            "`end the cell`",
        ),
        fault("hangs-in-the-middle", request("store"), Act::Hang)
            .stops("TIMEOUT(steps)", Stage::Steps, "`store`")
            .after(Deadline::Store),
        no_kvm("kvm-does-not-come-up").configured().stops(
            "FAIL",
            Stage::GuestBoot,
            "there is no /dev/kvm, and the kernel has CONFIG_KVM=y",
        ),
        no_kvm("no-kvm-of-a-kernel-that-nobody-knows").stops(
            "SKIP(there is no /dev/kvm: the kernel lacks CONFIG_KVM, or has it and does not bring it up; its configuration is unknown)",
            Stage::GuestBoot,
            "name the kernel's configuration with --config",
        ),
        fault("iommu-does-not-come-up", request("bind"), refuse(FailureKind::Missing(Facility::Iommu), "no group"))
            .configured()
            .stops("FAIL", Stage::Bind, "no group, and the kernel has CONFIG_ARM_SMMU_V3=y"),
        fault(
            "vfio-pci-does-not-bind",
            request("bind"),
            refuse(FailureKind::Refused(Facility::VfioPci), "cannot bind"),
        )
        .stops("FAIL", Stage::Bind, "cannot bind"),
        fault("a-guest-lacks-kvm", request("store"), refuse(FailureKind::Missing(Facility::Kvm), "no /dev/kvm"))
            .configured()
            .stops("MISS", Stage::Steps, "no /dev/kvm"),
        fault("store-does-not-fit", request("store"), refuse(FailureKind::Invalid, "beyond the BAR")).stops(
            "ERROR",
            Stage::Steps,
            "beyond the BAR",
        ),
        fault("agent-cannot", request("reset"), refuse(FailureKind::System, "ENOMEM")).stops(
            "MISS",
            Stage::Steps,
            "ENOMEM",
        ),
        fault("agent-does-not-know-the-request", request("hold"), refuse(FailureKind::Unsupported, "hold?"))
            .stops("MISS", Stage::Steps, "hold?"),
        fault("bind-answered-with-something-else", request("bind"), Act::answer::<Release>(&())).stops(
            "MISS",
            Stage::Bind,
            "answers `bind` with something else",
        ),
        fault("stop-answered-with-something-else", request("stop-guest"), Act::answer::<Reset>(&ResetDone { method: "bus".into() }))
            .stops("MISS", Stage::ShutDown, "answers `stop a guest` with something else"),
        fault(
            "final-record-counts-wrongly",
            request("finish"),
            Act::answer::<Finish>(&FinalRecord { answered: 3, taint: Some(0), tables: None }),
        )
        .stops("MISS", Stage::ShutDown, "final record counts 3 answers"),
        fault(
            "record-of-another-cell",
            request("end-cell"),
            Act::answer::<EndCell>(&CellRecord {
                nonce: 1,
                answered: 3,
                taint: Some(0),
                tables: None,
                unclean: None,
            }),
        )
        .stops("MISS", Stage::ShutDown, "it is the record of another cell"),
        fault("channel-closed-before-the-final-record", request("finish"), Act::Close).stops(
            "MISS",
            Stage::ShutDown,
            "channel is closed",
        ),
        also(
            "agent-sends-a-request",
            Peer::Host,
            Body::Request { id: 0, request: Release {}.request().into() },
            "sends a request",
        ),
        also(
            "agent-asks-for-a-look-at-a-path",
            Peer::Host,
            Body::Notice(Notice::LookRequested { id: 0, guest: Some("../g0".into()) }),
            "asks for a look at what is not a guest's name",
        ),
        also(
            "guest-asks-for-a-look",
            guest(),
            Body::Notice(Notice::LookRequested { id: 0, guest: None }),
            "a guest speaks for the host",
        ),
        also("agent-says-hello-twice", Peer::Host, hello(Level::Host), "hello a second time"),
        also("agent-of-the-wrong-level", guest(), hello(Level::Host), "says that it is a Host"),
        also(
            "guest-speaks-for-the-host",
            guest(),
            Body::Notice(Notice::GuestEnded { guest: "g0".into(), how: ended() }),
            "a guest speaks for the host",
        ),
        also(
            "console-of-an-unknown-guest",
            Peer::Host,
            Body::Notice(Notice::Console { guest: "\u{1b}[2J".into(), hex: "00".into() }),
            "which is not the cell's",
        ),
        also(
            "console-that-is-not-hexadecimal",
            Peer::Host,
            Body::Notice(Notice::Console { guest: "g0".into(), hex: "0x".into() }),
            "not hexadecimal",
        ),
        fault(
            "agent-is-talkative",
            request("bind"),
            Act::Repeat(
                3000,
                Peer::Host,
                Body::Notice(Notice::Log { text: "\u{1b}]0;title\u{7}<script>".repeat(50) }),
            ),
        ),
    ]
}

/// The guests' and the host's clocks may show any time; no deadline and no order of s2lab's depends
/// on them.
pub(super) fn clocks() -> Vec<Row> {
    let beat = |uptime_ms| Act::Also(Peer::Host, Body::Notice(Notice::Heartbeat { uptime_ms, stored: 0 }));
    let hello_at = |uptime_ms| {
        let hello =
            Hello { level: Level::Host, release: "6.12".into(), page_size: 4096, uptime_ms, taint: Some(0) };
        Act::Also(Peer::Host, Body::Notice(Notice::Hello(hello)))
    };
    vec![
        fault("uptime-jumps-forward", request("bind"), beat(u64::MAX)),
        fault("uptime-jumps-back", request("bind"), beat(u64::MAX)).and(request("store"), beat(0)),
        fault("hello-from-the-far-future", Moment::Hello, hello_at(u64::MAX)).and(Moment::Hello, Act::Ignore),
        // s2lab counts the silence itself; the uptime is only reported.
        fault("silent-after-a-jump", request("hold"), beat(u64::MAX))
            .and(request("hold"), Act::StopBeating)
            .and(request("hold"), Act::Hang)
            .stops("TIMEOUT(steps)", Stage::Steps, "the host's agent has been silent")
            .after(Deadline::Silence),
    ]
}
