//! The table of faults.

use crate::{
    agent,
    row::{Deadline, Row, fault, good},
};
use fake_qemu::{
    script::{Act, Bend, Moment, Script},
    tables,
};
use s2lab_model::event::Stage;
use s2lab_protocol::{
    Body, Failure, FailureKind, FinalRecord, GuestEnd, Hello, Level, MapKind, Mapping, Notice, Peer, Reply,
    Request, StoreResult, UnalignedOutcome,
};

/// Rows that have something in common.
pub(crate) struct Group {
    pub(crate) title: &'static str,
    pub(crate) rows: Vec<Row>,
}

pub(crate) fn groups() -> Vec<Group> {
    let group = |title, rows| Group { title, rows };
    vec![
        group("Nothing that matters", good_runs()),
        group("QEMU's process", processes()),
        group("Preflight", preflight()),
        group("QMP", qmp_channel()),
        group("The gdbstub", gdb_channel()),
        group("Frames", frames()),
        group("What agents answer", answers()),
        group("Guests", guests()),
        group("What a look sees", looks()),
        group("Bytes, places and flags", evidence()),
        group("The host's console", consoles()),
        group("The real agent", agent::rows()),
        group("Clocks", clocks()),
    ]
}

fn request(name: &str) -> Moment {
    Moment::Request(name.into())
}

fn qmp(command: &str) -> Moment {
    Moment::Qmp(command.into())
}

fn gdb(request: &str) -> Moment {
    Moment::Gdb(request.into())
}

fn question(command: &str) -> Moment {
    Moment::Question(command.into())
}

fn print(text: &str) -> Act {
    Act::Print(text.into())
}

fn refuse(kind: FailureKind, message: &str) -> Act {
    Act::Answer(Err(Failure { kind, message: message.into() }))
}

fn guest() -> Peer {
    Peer::Guest("g0".into())
}

fn hello(level: Level) -> Body {
    let (release, page_size, uptime_ms) = ("6.12".into(), 4096, 1);
    Body::Notice(Notice::Hello(Hello { level, release, page_size, uptime_ms }))
}

/// Numbers of signals, which are the same on all of s2lab's machines.
const SIGKILL: i32 = 9;
const SIGABRT: i32 = 6;
const SIGSTOP: i32 = 19;

/// The greeting of a QEMU whose gdbstub cannot serve.
const OLD_QEMU: &str = "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 4, \"minor\": 2, \"major\": 9}, \"package\": \"\"}, \
    \"capabilities\": []}}\n";

fn preflight() -> Vec<Row> {
    let lacking = |name, option, verdict| good(name).without(option).stops(verdict, Stage::Preflight, option);
    vec![
        good("nothing-lacks").without("NONE"),
        lacking("no-kvm", "KVM", "SKIP(the kernel lacks CONFIG_KVM (the host runs guests))"),
        lacking(
            "no-vfio-pci",
            "VFIO_PCI",
            "SKIP(the kernel lacks CONFIG_VFIO_PCI (the guest is given a PCI device))",
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

fn good_runs() -> Vec<Row> {
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

fn processes() -> Vec<Row> {
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
        ended("exits-while-probing", request("unaligned"), Stage::Steps),
        ended("exits-while-a-guest-ends", request("stop-guest"), Stage::ShutDown),
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

fn qmp_channel() -> Vec<Row> {
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
            "a line that is no message",
        ),
        fault("qmp-closed", qmp("stop"), Act::Close).stops("MISS", Stage::Steps, "QEMU closed its QMP channel"),
        fault("qmp-refuses-cont", qmp("cont"), Act::Instead(
            "{\"id\": 1, \"error\": {\"class\": \"GenericError\", \"desc\": \"Resetting the VM is required\"}}\n".into(),
        ))
        .stops("MISS", Stage::HostBoot, "QEMU refuses `cont`: GenericError: Resetting the VM is required"),
        fault("qmp-silent-at-stop", qmp("stop"), Act::Ignore)
            .stops("MISS", Stage::Steps, "QEMU has not answered `stop`")
            .after(Deadline::Qmp),
        fault("qmp-silent-at-query-pci", qmp("query-pci"), Act::Ignore)
            .stops("MISS", Stage::Bind, "QEMU has not answered `query-pci`")
            .after(Deadline::Qmp),
        fault("qmp-pci-is-empty", qmp("query-pci"), Act::Instead("{\"id\": 2, \"return\": []}\n".into())).stops(
            "MISS",
            Stage::Bind,
            "QEMU knows no prefetchable BAR of `nic`",
        ),
        fault("qmp-pci-is-nonsense", qmp("query-pci"), Act::Instead("{\"id\": 2, \"return\": [{\"bus\": \"x\"}]}\n".into()))
            .stops("MISS", Stage::Bind, "is not what its schema says"),
    ]
}

fn gdb_channel() -> Vec<Row> {
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
            Stage::Steps,
            "offers no register HCR_EL2",
        ),
        answers(
            "gdb-lacks-system-registers",
            gdb("qXfer:features:read:system"),
            "+$l#6c",
            Stage::Steps,
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

fn frames() -> Vec<Row> {
    let bent =
        |name, bend, says| fault(name, request("bind"), Act::Bend(bend)).stops("MISS", Stage::Bind, says);
    let at_hello =
        |name, bend, says| fault(name, Moment::Hello, Act::Bend(bend)).stops("MISS", Stage::HostBoot, says);
    vec![
        at_hello("hello-of-another-version", Bend::Version(9), "speaks version 9 of the protocol"),
        at_hello("hello-of-another-run", Bend::Nonce, "a frame of another run"),
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
        // The heartbeat is taken for the rest of it.
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

/// An agent says this beside its answer.
fn also(name: &'static str, from: Peer, body: Body, says: &'static str) -> Row {
    fault(name, request("bind"), Act::Also(from, body)).stops("MISS", Stage::Bind, says)
}

fn answers() -> Vec<Row> {
    let silent = |name, at: &str, verdict, stage, deadline, says| {
        fault(name, request(at), Act::Ignore).stops(verdict, stage, says).after(deadline)
    };
    let ended = || GuestEnd::Exited { code: Some(0), signal: None, detail: String::new() };
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
            "probe-never-answered",
            "unaligned",
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
        fault("hangs-in-the-middle", request("store"), Act::Hang)
            .stops("TIMEOUT(steps)", Stage::Steps, "`store`")
            .after(Deadline::Store),
        fault("lacks-vfio", request("bind"), refuse(FailureKind::Missing, "CONFIG_VFIO_PCI")).stops(
            "SKIP(CONFIG_VFIO_PCI)",
            Stage::Bind,
            "CONFIG_VFIO_PCI",
        ),
        fault("lacks-kvm", request("start-guest"), refuse(FailureKind::Missing, "there is no /dev/kvm"))
            .stops("SKIP(there is no /dev/kvm)", Stage::GuestBoot, "/dev/kvm"),
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
        fault("bind-answered-with-something-else", request("bind"), Act::Answer(Ok(Reply::Released))).stops(
            "MISS",
            Stage::Bind,
            "answers `bind` with something else",
        ),
        fault("stop-answered-with-something-else", request("stop-guest"), Act::Answer(Ok(Reply::Released)))
            .stops("MISS", Stage::ShutDown, "answers `stop a guest` with something else"),
        fault(
            "final-record-counts-wrongly",
            request("finish"),
            Act::Answer(Ok(Reply::Finished(FinalRecord { answered: 3 }))),
        )
        .stops("MISS", Stage::ShutDown, "final record counts 3 answers"),
        fault("channel-closed-before-the-final-record", request("finish"), Act::Close).stops(
            "MISS",
            Stage::ShutDown,
            "channel is closed",
        ),
        also(
            "agent-sends-a-request",
            Peer::Host,
            Body::Request { id: 0, request: Request::Release },
            "sends a request",
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

/// The guests' and the host's clocks are theirs; no deadline, no order of s2lab's follows them.
fn clocks() -> Vec<Row> {
    let beat = |uptime_ms| Act::Also(Peer::Host, Body::Notice(Notice::Heartbeat { uptime_ms, stored: 0 }));
    let hello_at = |uptime_ms| {
        let hello = Hello { level: Level::Host, release: "6.12".into(), page_size: 4096, uptime_ms };
        Act::Also(Peer::Host, Body::Notice(Notice::Hello(hello)))
    };
    vec![
        fault("uptime-jumps-forward", request("bind"), beat(u64::MAX)),
        fault("uptime-jumps-back", request("bind"), beat(u64::MAX)).and(request("store"), beat(0)),
        fault("hello-from-the-far-future", Moment::Hello, hello_at(u64::MAX)).and(Moment::Hello, Act::Ignore),
        // Silence is counted here, not there: the last uptime is only told.
        fault("silent-after-a-jump", request("hold"), beat(u64::MAX))
            .and(request("hold"), Act::StopBeating)
            .and(request("hold"), Act::Hang)
            .stops("TIMEOUT(steps)", Stage::Steps, "the host's agent has been silent")
            .after(Deadline::Silence),
    ]
}

fn internal_error() -> GuestEnd {
    GuestEnd::Stopped { state: "internal-error".into(), detail: "kvm run failed Bad address".into() }
}

const PANIC: &str = "[    2.1] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b";

fn guests() -> Vec<Row> {
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
        fault("guest-stopped-by-the-probe", request("unaligned"), Act::GuestEnds(internal_error()))
            .judged("MISS", "oracle in doubt"),
        fault(
            "probe-reads-back-wrong",
            request("unaligned"),
            Act::Answer(Ok(Reply::Unaligned { outcome: UnalignedOutcome::Wrong })),
        )
        .judged("FAIL", "reads back wrong"),
    ]
}

fn looks() -> Vec<Row> {
    let register = |name, register: &str, value, verdict, says| {
        fault(name, Moment::Start, Act::Register(register.into(), value)).stops(verdict, Stage::Steps, says)
    };
    let no_match = "no vCPU was found in guest g0 with the look's nonce";
    let poke = |name, address, word| fault(name, Moment::Start, Act::Poke { address, word });
    let leaf = |name, bits| fault(name, Moment::Start, Act::BarLeaf(bits));
    // The start tables' descriptor of the BAR's gigabyte, and of RAM's first.
    let bar_table = tables::STAGE2_ROOT + 8 * (tables::BAR_IPA >> 30);
    let next = |n: u64| tables::STAGE2_ROOT + n * 4096;
    // VTCR_EL2 as it should be, to be spoiled: PS 40 bits, SL0 level 1, T0SZ 24.
    let vtcr = 1 << 31 | 2 << 16 | 1 << 6 | 24;
    let hcr = 1 << 46 | 1 << 31 | 1;
    vec![
        register("nonce-never-there", "x19", 1, "MISS", no_match),
        register("no-vmid", "VTTBR_EL2", tables::STAGE2_ROOT, "MISS", no_match),
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
        poke("tables-in-a-circle", bar_table, tables::STAGE2_ROOT | 0b11).judged("FAIL", "met a second time"),
        poke("table-outside-of-memory", bar_table, 0xf0_0000_0000 | 0b11).judged("FAIL", "outside of memory"),
        poke("table-beyond-the-address-size", bar_table, 0xffff_0000_0000 | 0b11)
            .judged("FAIL", "beyond VTCR_EL2.PS"),
        poke("block-that-is-misaligned", bar_table, tables::BAR_PA | 0x1000 | tables::NORMAL_NC)
            .judged("FAIL", "misaligned block"),
        poke("bar-not-in-stage-2", bar_table, 0).judged("FAIL", "nothing mapped"),
        poke("leaf-that-leads-nowhere", next(3), 0xe0_0000_0000 | tables::NORMAL_NC | 0b10)
            .judged("FAIL", "unknown region"),
        leaf("bar-device-and-a-probe-that-passes", tables::DEVICE).judged("MISS", "oracle in doubt"),
        leaf("bar-device-with-the-series", tables::DEVICE)
            .and(request("unaligned"), Act::GuestEnds(internal_error()))
            .judged("FAIL", "Device-nGnRE"),
        leaf("bar-write-back", tables::NORMAL_WB | tables::NEVER_EXEC).judged("FAIL", "Normal-WB"),
        leaf("bar-executable", tables::NORMAL_NC & !tables::NEVER_EXEC).judged("FAIL", "exec"),
        fault("ram-not-cacheable", Moment::Start, Act::RamLeaf(tables::NORMAL_NC)).judged("FAIL", "ram"),
        fault(
            "mappings-without-end",
            request("hold"),
            Act::Answer(Ok(Reply::Held { pid: 1, mappings: vec![mapping("nic"); 1000] })),
        )
        .stops("MISS", Stage::Steps, "answers `hold` with something else"),
        fault(
            "mapping-of-an-unknown-device",
            request("hold"),
            Act::Answer(Ok(Reply::Held { pid: 1, mappings: vec![mapping("gpu")] })),
        )
        .stops("MISS", Stage::Steps, "of which the host said nothing"),
        fault(
            "mapping-beyond-the-address-space",
            request("hold"),
            Act::Answer(Ok(Reply::Held {
                pid: 1,
                mappings: vec![Mapping { va: u64::MAX - 4095, ..mapping("nic") }],
            })),
        )
        .stops("MISS", Stage::Steps, "leaves the address space"),
        fault(
            "mapping-that-is-not-there",
            request("hold"),
            Act::Answer(Ok(Reply::Held {
                pid: 1,
                mappings: vec![Mapping { va: 0x1000_0000, ..mapping("nic") }],
            })),
        )
        .judged("FAIL", "pages that it does not map"),
    ]
}

fn mapping(device: &str) -> Mapping {
    let bar = s2lab_protocol::Bar { index: 2, start: tables::BAR_IPA, size: 4 << 20, prefetchable: true };
    Mapping { device: device.into(), map: MapKind::Wc, va: 0xffff_8000_0000, bar }
}

fn evidence() -> Vec<Row> {
    let stored = |stores, first_difference| {
        Act::Answer(Ok(Reply::Stored(StoreResult {
            bar: mapping("nic").bar,
            stores,
            nanos: 1,
            first_difference,
        })))
    };
    vec![
        fault("bar-file-differs", request("store"), Act::Spoil(64))
            .judged("FAIL", "differs from offset 0x40"),
        fault("read-back-differs", request("store"), stored(8192, Some(8)))
            .judged("FAIL", "differs from offset 0x8"),
        fault("too-few-stores", request("store"), stored(1, None)).judged("MISS", "1 stores of 8 B"),
        fault("bar-placed-elsewhere", Moment::Start, Act::Misplace(0x1000_0000))
            .judged("MISS", "oracle in doubt"),
        fault("flag-missing-with-the-series", Moment::Start, Act::OtherFlags).judged("FAIL", "no flag `??`"),
        Row { script: Script::default(), ..good("flag-without-the-series") }
            .and(Moment::Start, Act::OtherFlags)
            .judged("FAIL", "flag `??`"),
        Row { script: Script::default(), ..good("normal-nc-without-the-series") }
            .and(Moment::Start, Act::BarLeaf(tables::NORMAL_NC))
            .judged("FAIL", "Normal-NC"),
        fault("no-vma-over-the-bar", request("vma-flags"), Act::Answer(Ok(Reply::VmaFlags { vmas: vec![] })))
            .judged("MISS", "VMAs over nic"),
    ]
}

fn consoles() -> Vec<Row> {
    let alarm = |name, line: &str, says| fault(name, request("store"), print(line)).judged("FAIL", says);
    // What has crashed answers nothing more.
    let fatal = |name, at: Moment, line: &str, stage, says| {
        fault(name, at.clone(), print(line)).and(at, Act::Ignore).stops("FAIL", stage, says)
    };
    vec![
        fatal("panic-while-the-host-boots", Moment::Hello, PANIC, Stage::HostBoot, "Attempted to kill init"),
        fatal("panic-while-binding", request("bind"), PANIC, Stage::Bind, "Kernel panic"),
        fatal("panic-while-a-guest-boots", Moment::GuestHello, PANIC, Stage::GuestBoot, "Kernel panic"),
        fatal("panic-in-a-step", request("store"), PANIC, Stage::Steps, "Kernel panic"),
        fatal("panic-in-the-end", request("stop-guest"), PANIC, Stage::ShutDown, "Kernel panic"),
        fatal(
            "oops",
            request("hold"),
            "[    9.1] Internal error: Oops: 0000000096000044 [#1] SMP",
            Stage::Steps,
            "oops",
        ),
        fatal(
            "bad-address",
            request("reset"),
            "[    9.0] Unable to handle kernel paging request at virtual address 0",
            Stage::Steps,
            "oops",
        ),
        fatal(
            "hyp-panic",
            request("start-guest"),
            "[    8.0] Kernel panic - not syncing: HYP panic:",
            Stage::GuestBoot,
            "hyp panic",
        ),
        fault("panic-and-power-off", request("store"), print(PANIC))
            .and(request("store"), Act::Exit(0))
            .stops("FAIL", Stage::Steps, "Kernel panic"),
        fault("panic-and-silence", Moment::Hello, print(PANIC)).and(Moment::Hello, Act::Hang).stops(
            "FAIL",
            Stage::HostBoot,
            "Kernel panic",
        ),
        alarm("warning", "[    1.0] WARNING: CPU: 0 PID: 1 at arch/arm64/kvm/mmu.c:1 f+0x0/0x10", "WARN"),
        alarm("bug", "[    1.0] BUG: sleeping function called from invalid context at mm/x.c:1", "BUG"),
        alarm("lockdep", "[    1.0] WARNING: possible circular locking dependency detected", "lockdep"),
        alarm("kasan", "[   12.0] BUG: KASAN: slab-out-of-bounds in foo+0x1/0x2", "KASAN"),
        alarm("rcu-stall", "[   21.1] rcu: INFO: rcu_preempt self-detected stall on CPU", "stall"),
        alarm("soft-lockup", "[   33.0] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [init:1]", "stall"),
        alarm("hung-task", "[  242.0] INFO: task init:1 blocked for more than 120 seconds.", "hung task"),
        alarm(
            "unexplained-fault-of-a-guest",
            "kvm [112]: Unsupported FSC: EC=0x24 xFSC=0x21 ESR_EL2=0x93c28061",
            "unsupported fault",
        ),
        fault(
            "stall-and-silence",
            request("store"),
            print("[   21.1] rcu: INFO: rcu_preempt self-detected stall on CPU"),
        )
        .and(request("store"), Act::Ignore)
        .stops("FAIL", Stage::Steps, "nothing has moved")
        .after(Deadline::Stuck),
        fault(
            "hung-task-and-silence",
            request("reset"),
            print("[  242.0] INFO: task s2lab-agent:1 blocked for more than 120 seconds."),
        )
        .and(request("reset"), Act::Ignore)
        .stops("FAIL", Stage::Steps, "nothing has moved")
        .after(Deadline::Stuck),
        fault("store-does-not-get-on", request("store"), Act::Ignore)
            .stops("TIMEOUT(steps)", Stage::Steps, "guest g0 has not got on with `store`")
            .after(Deadline::Idle),
        fault("heartbeats-stop", request("store"), Act::StopBeating)
            .and(request("store"), Act::Ignore)
            .stops("TIMEOUT(steps)", Stage::Steps, "the host's agent has been silent")
            .after(Deadline::Silence),
        fault(
            "warning-in-the-last-moment",
            request("finish"),
            print("[   22.0] WARNING: CPU: 1 PID: 9 at kernel/x.c:1"),
        )
        .judged("FAIL", "WARN"),
        fault(
            "console-is-hostile",
            Moment::Hello,
            print("\u{1b}[2J\u{1b}]52;c;QUJD\u{7}<img src=x onerror=alert(1)>\u{0}\u{7f}"),
        ),
        fault("console-of-one-endless-line", Moment::Hello, print(&"x".repeat(1 << 20))),
        fault("console-floods", Moment::Hello, Act::Flood(1 << 30)),
        fault("console-closed", request("bind"), Act::CloseConsole).stops(
            "MISS",
            Stage::ShutDown,
            "console was closed",
        ),
        fault("console-silent", Moment::Start, Act::MuteConsole).stops(
            "MISS",
            Stage::ShutDown,
            "console said nothing",
        ),
    ]
}
