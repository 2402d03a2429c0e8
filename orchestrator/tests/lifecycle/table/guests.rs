//! Ends of guests.

use super::{agents::also, *};

pub(super) fn internal_error() -> GuestEnd {
    GuestEnd::Stopped { state: "internal-error".into(), detail: "kvm run failed Bad address".into() }
}

pub(super) fn guests() -> Vec<Row> {
    // Its VMM ends with success, for a panic restarts the guest.
    let guest_says = |name, how, line: &str, says| {
        let hex = format!("{line}\r\n").bytes().map(|byte| format!("{byte:02x}")).collect();
        let console = Notice::Console { guest: "g0".into(), hex };
        fault(name, Moment::GuestHello, Act::Also(Peer::Host, Body::Notice(console)))
            .and(Moment::GuestHello, Act::GuestEnds(how))
            .stops("FAIL", Stage::GuestBoot, says)
    };
    let exited = |code, signal| GuestEnd::Exited { code, signal, detail: "qemu: oh no".into() };
    let ends_of =
        |guest: &str| Body::Notice(Notice::GuestEnded { guest: guest.into(), how: exited(Some(0), None) });
    let ends = |name, at: &str, how, verdict, stage, says| {
        fault(name, request(at), Act::GuestEnds(how)).stops(verdict, stage, says)
    };
    vec![
        fault("guest-silent", Moment::GuestHello, Act::Ignore)
            .stops("TIMEOUT(guest-boot)", Stage::GuestBoot, "guest g0 has not answered `hello`")
            .after(Deadline::GuestBoot),
        fault("guest-stopped-while-it-boots", Moment::GuestHello, Act::GuestEnds(internal_error())).stops(
            "FAIL",
            Stage::GuestBoot,
            "internal-error",
        ),
        fault("vmm-exits-while-the-guest-boots", Moment::GuestHello, Act::GuestEnds(exited(Some(1), None)))
            .stops("MISS", Stage::GuestBoot, "its VMM exited with 1"),
        guest_says("guest-panics", exited(Some(0), None), PANIC, "guest g0 panicked: "),
        guest_says(
            "guest-oopses",
            exited(Some(0), None),
            "[    9.1] Internal error: Oops: 0000000096000044 [#1] SMP",
            "guest g0 crashed: ",
        ),
        ends(
            "guest-stopped-while-storing",
            "store",
            internal_error(),
            "FAIL",
            Stage::Steps,
            "internal-error",
        ),
        ends(
            "vmm-exits-while-storing",
            "store",
            exited(Some(1), None),
            "MISS",
            Stage::Steps,
            "its VMM exited with 1",
        ),
        ends(
            "vmm-killed-while-storing",
            "store",
            exited(None, Some(9)),
            "MISS",
            Stage::Steps,
            "killed by signal 9",
        ),
        ends("guest-stopped-while-held", "release", internal_error(), "FAIL", Stage::Steps, "internal-error"),
        ends(
            "vmm-gone-at-a-look",
            "hold",
            exited(Some(0), None),
            "MISS",
            Stage::Steps,
            "its VMM exited with 0",
        ),
        // While nobody waits for the guest: its first end would be the cause.
        also("unknown-guest-ends", Peer::Host, ends_of("g9"), "which is not the cell's"),
        also("guest-ends-twice", Peer::Host, ends_of("g0"), "a guest's end a second time")
            .and(request("bind"), Act::Also(Peer::Host, ends_of("g0"))),
        // Kernels with the series let the store through.
        fault("guest-stopped-by-the-probe", request("probe"), Act::GuestEnds(internal_error()))
            .judged("MISS", "oracle in doubt"),
        fault("probe-reads-back-wrong", request("probe"), probed(ProbeKind::Store, ProbeEnd::Wrong))
            .judged("FAIL", "reads back wrong"),
        another_probe("probe-of-another-kind", probed(ProbeKind::Zva, ProbeEnd::Ok)),
        another_probe(
            "probe-through-another-mapping",
            Act::answer::<Probe>(&ProbeDone {
                map: MapKind::Device,
                kind: ProbeKind::Store,
                outcome: ProbeEnd::Ok,
            }),
        ),
        // The unaligned store after it is not done.
        fault("guest-stopped-by-a-zva", request("probe-zva"), Act::GuestEnds(internal_error()))
            .judged("MISS", "zva by g0 to nic, mapped wc: oracle in doubt"),
        fault("zva-faults", request("probe-zva"), probed(ProbeKind::Zva, ProbeEnd::Signal(7)))
            .judged("MISS", "zva by g0 to nic, mapped wc: oracle in doubt"),
        fault("zva-leaves-other-bytes", request("probe-zva"), probed(ProbeKind::Zva, ProbeEnd::Wrong))
            .judged("FAIL", "zva by g0 to nic: completes, but reads back wrong instead of ok or fault"),
        fault("zva-that-the-cpu-lacks", request("probe-zva"), probed(ProbeKind::Zva, ProbeEnd::Unsupported))
            .judged(
                "SKIP(the guest's CPU does not have the instruction)",
                "the guest's CPU does not have the instruction",
            ),
        fault("zva-never-answered", request("probe-zva"), Act::Ignore)
            .stops("TIMEOUT(steps)", Stage::Steps, "`probe`")
            .after(Deadline::Request),
    ]
}

/// The answer to a probe.
fn probed(kind: ProbeKind, outcome: ProbeEnd) -> Act {
    Act::answer::<Probe>(&ProbeDone { map: MapKind::Wc, kind, outcome })
}

/// A good answer, but to another probe than the unaligned store that was asked for.
fn another_probe(name: &'static str, act: Act) -> Row {
    fault(name, request("probe"), act).stops("MISS", Stage::Steps, "answers `probe` with something else")
}
