//! The host's console.

use super::*;

pub(super) fn consoles() -> Vec<Row> {
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
