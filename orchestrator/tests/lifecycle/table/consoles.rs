//! The host's console.

use super::*;

pub(super) fn consoles() -> Vec<Row> {
    let alarm = |name, line: &str, says| fault(name, request("store"), print(line)).judged("FAIL", says);
    // A crashed host answers nothing more.
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
            "serror",
            request("store"),
            "[    9.1] SError Interrupt on CPU0, code 0x00000000be000000 -- SError",
            Stage::Steps,
            "oops",
        ),
        fatal(
            "unhandled-exception",
            request("store"),
            "[    9.1] Unhandled 64-bit el1h sync exception on CPU0, ESR 0x02000000 -- Unknown",
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
        alarm(
            "warning-since-6.19",
            "[    9.1] WARNING: arch/arm64/kvm/mmu.c:1612 at user_mem_abort+0x9b4/0xb90, CPU#1: qemu/131",
            "WARN",
        ),
        alarm(
            "warning-behind-a-long-line",
            &format!("{}WARNING: x.c:1 at f+0x0/0x4, CPU#0: a/1", "x".repeat(5000)),
            "WARN",
        ),
        alarm("ubsan", "[    9.1] UBSAN: array-index-out-of-bounds in arch/arm64/kvm/mmu.c:1612:9", "UBSAN"),
        alarm(
            "lock-order",
            "[    9.1] WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected",
            "lockdep",
        ),
        alarm("unlock-balance", "[    9.1] WARNING: bad unlock balance detected!", "lockdep"),
        alarm(
            "list-corruption",
            "[    9.1] list_add corruption. next->prev should be prev (0), but was 1.",
            "BUG",
        ),
        alarm("slab-corruption", "[    9.1] BUG kmalloc-64 (Not tainted): Right Redzone overwritten", "BUG"),
        alarm(
            "name-twice-in-sysfs",
            "[    9.1] sysfs: cannot create duplicate filename '/bus/pci/drivers/vfio-pci'",
            "BUG",
        ),
        alarm(
            "memory-leak",
            "[    9.1] kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
            "memory leak",
        ),
        alarm(
            "out-of-memory",
            "[    9.1] Out of memory: Killed process 131 (qemu-system-aar)",
            "out of memory",
        ),
        alarm("error-of-kvm", "kvm [112]: Unexpected FSC: EC=0x24 xFSC=0x30 ESR_EL2=0x93c28070", "KVM error"),
        fault("warning-without-a-word", request("store"), Act::Taint(1 << 9))
            .judged("FAIL", "W (warning), since then"),
        fault("warning-at-boot-without-a-word", Moment::Hello, Act::Taint(1 << 9))
            .judged("FAIL", "W (warning), while it booted"),
        fault("unsigned-module", Moment::Hello, Act::Taint(1 << 13)),
        fault("taint-that-goes", Moment::Hello, Act::Taint(1 << 13))
            .and(request("store"), Act::Taint(0))
            .judged("MISS", "taint of the host, in its final record"),
        fault("tables-that-stay", Moment::Hello, Act::LeakTables(64))
            .judged("FAIL", "memory of secondary page tables after the guests (SecPageTables)"),
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
            .stops("TIMEOUT(steps)", Stage::Steps, "guest g0 made no progress in `store`")
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
            "report-without-a-known-line",
            request("store"),
            print("[   9.1] x: it broke\n[   9.1] Call trace:\n[   9.1]  f+0x4/0x8\n[   9.1]  g+0x4/0x8\n[   9.1] y"),
        )
        .judged("FAIL", "call trace in f < g"),
        fault("messages-dropped", request("store"), print("** 37 printk messages dropped **"))
            .judged("MISS", "37 messages dropped"),
        fault("messages-dropped-and-a-warning", request("store"), print("** 37 printk messages dropped **"))
            .and(request("store"), print("[    9.1] WARNING: CPU: 1 PID: 9 at kernel/x.c:1"))
            .judged("FAIL", "WARN"),
        fault(
            "harmless-warnings-without-end",
            request("store"),
            print(&"WARNING: Unprivileged eBPF is enabled\n".repeat(40)),
        )
        .judged("MISS", "more than 32 lines that say WARN"),
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
        fault("console-silent", Moment::Start, Act::MuteConsole)
            .judged("MISS", "the host's console does not show what its kernel logs"),
        fault("console-silent-after-the-boot", Moment::Hello, Act::MuteConsole)
            .judged("MISS", "the host's console does not show what its kernel logs"),
    ]
}
