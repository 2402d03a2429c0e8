//! Console lines with a meaning: those that a healthy kernel does not print, and those of KVM's
//! initialization.

use crate::event::AlarmClass;
use aho_corasick::{AhoCorasick, AhoCorasickKind};
use std::sync::LazyLock;

/// The signs of an alarm in a line. The first match in this order counts. Sources: Linux 6.1, 6.12
/// and 7.x, by file below.
const SIGNS: &[(&str, AlarmClass)] = &[
    // kernel/panic.c, arch/arm64/kvm/handle_exit.c
    ("Kernel panic - not syncing: HYP panic", AlarmClass::HypPanic),
    ("nVHE hyp panic at", AlarmClass::HypPanic),
    ("nVHE hyp BUG at", AlarmClass::HypPanic),
    ("Invalid host exception to nVHE hyp", AlarmClass::HypPanic),
    ("Kernel panic - not syncing", AlarmClass::Panic),
    // arch/arm64/kernel/traps.c (die, arm64_serror_panic, __show_regs), arch/arm64/mm/fault.c,
    // kernel/exit.c
    ("Internal error: ", AlarmClass::Oops),
    ("Unable to handle kernel ", AlarmClass::Oops),
    ("SError Interrupt on CPU", AlarmClass::Oops),
    ("Insufficient stack space to handle exception", AlarmClass::Oops),
    ("Fixing recursive fault but reboot is needed", AlarmClass::Oops),
    // arch/arm64/kernel/entry-common.c (__panic_unhandled); `Bad mode in` until 5.12
    ("Unhandled 64-bit el", AlarmClass::Oops),
    ("Unhandled 32-bit el", AlarmClass::Oops),
    ("Unhandled exception on CPU", AlarmClass::Oops),
    ("Bad mode in ", AlarmClass::Oops),
    ("kernel BUG at ", AlarmClass::Bug),
    // mm/kasan/report.c, mm/kfence/report.c, lib/ubsan.c
    ("BUG: KASAN: ", AlarmClass::Kasan),
    ("BUG: KFENCE: ", AlarmClass::Kasan),
    ("UBSAN: ", AlarmClass::Ubsan),
    // kernel/watchdog.c, kernel/workqueue.c, kernel/rcu/tree_stall.h, kernel/rcu/tasks.h
    ("BUG: soft lockup", AlarmClass::Stall),
    ("BUG: workqueue lockup", AlarmClass::Stall),
    ("Watchdog detected hard LOCKUP", AlarmClass::Stall),
    ("detected stalls", AlarmClass::Stall),
    ("self-detected stall on CPU", AlarmClass::Stall),
    ("detected expedited stalls", AlarmClass::Stall),
    ("kthread starved for ", AlarmClass::Stall),
    // kernel/locking/lockdep.c
    ("WARNING: possible ", AlarmClass::Lockdep),
    ("WARNING: inconsistent lock state", AlarmClass::Lockdep),
    ("WARNING: suspicious RCU usage", AlarmClass::Lockdep),
    ("WARNING: bad unlock balance detected", AlarmClass::Lockdep),
    ("WARNING: bad contention detected", AlarmClass::Lockdep),
    ("WARNING: held lock freed", AlarmClass::Lockdep),
    ("WARNING: lock held when returning to user space", AlarmClass::Lockdep),
    ("WARNING: Nested lock was not taken", AlarmClass::Lockdep),
    ("WARNING: chain_key collision", AlarmClass::Lockdep),
    ("still has locks held", AlarmClass::Lockdep),
    ("unsafe lock order detected", AlarmClass::Lockdep),
    ("INFO: trying to register non-static key", AlarmClass::Lockdep),
    ("BUG: Invalid wait context", AlarmClass::Lockdep),
    ("DEBUG_LOCKS_WARN_ON(", AlarmClass::Lockdep),
    ("BUG: ", AlarmClass::Bug),
    // mm/slub.c, slab_bug: `BUG CACHE (TAINT): WHAT`; mm/page_poison.c
    ("(Not tainted): ", AlarmClass::Bug),
    ("(Tainted: ", AlarmClass::Bug),
    ("pagealloc: ", AlarmClass::Bug),
    // fs/sysfs/dir.c, lib/kobject.c: these print a trace, and taint nothing
    ("cannot create duplicate filename", AlarmClass::Bug),
    ("something is seriously wrong", AlarmClass::Bug),
    // lib/list_debug.c, kernel/irq/spurious.c
    ("list_add corruption", AlarmClass::Bug),
    ("list_del corruption", AlarmClass::Bug),
    ("list_add double add", AlarmClass::Bug),
    (": nobody cared", AlarmClass::Bug),
    // mm/kmemleak.c, mm/oom_kill.c, mm/page_alloc.c
    ("kmemleak: ", AlarmClass::Leak),
    ("ut of memory: Killed process", AlarmClass::OutOfMemory),
    ("Out of memory and no killable processes", AlarmClass::OutOfMemory),
    ("page allocation failure: ", AlarmClass::OutOfMemory),
    // kernel/panic.c, __warn: `WARNING: CPU: N PID: N at FILE:LINE F` until 6.18, `WARNING:
    // FILE:LINE at F, CPU#N: COMM/PID` since 6.19. Others print what they like behind the word.
    ("WARNING: ", AlarmClass::Warn),
    // arch/arm64/kvm/mmu.c, handle_exit.c, arm.c
    ("Unsupported FSC: ", AlarmClass::UnsupportedFault),
    ("Unexpected FSC", AlarmClass::Kvm),
    ("Unexpected L2 read permission error", AlarmClass::Kvm),
    ("Failed to find VMA for hva", AlarmClass::Kvm),
    ("Unsupported exception type: ", AlarmClass::Kvm),
    ("Unknown exception class: esr: ", AlarmClass::Kvm),
    ("error initializing Hyp mode", AlarmClass::Kvm),
    // kernel/printk/printk.c, console_prepend_dropped: `** N printk messages dropped **`
    ("printk messages dropped **", AlarmClass::Dropped),
    // arch/arm64/kernel/stacktrace.c, dump_backtrace: every report with a trace. A healthy kernel
    // prints none.
    ("Call trace:", AlarmClass::Trace),
];
/// A line about a hung task has two parts around the task's name (kernel/hung_task.c).
const HUNG: (&str, &str) = ("INFO: task ", " blocked for more than ");

/// An automaton for each of [`SIGNS`] and the second part of [`HUNG`]. It searches for all at once:
/// a console at full speed is megabytes a second.
static SOUGHT: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let patterns = SIGNS.iter().map(|(sign, _)| *sign).chain([HUNG.1]);
    AhoCorasick::builder().kind(Some(AhoCorasickKind::DFA)).build(patterns).ok()
});

/// Returns the class of a line, if it is an alarm. The line need not be UTF-8.
pub fn classify(line: impl AsRef<[u8]>) -> Option<AlarmClass> {
    let line = line.as_ref();
    // A few constant patterns always fit into an automaton; a test checks it.
    let found = SOUGHT.as_ref()?.find_overlapping_iter(line);
    let first = found.map(|found| (found.pattern().as_usize(), found.start())).min()?;
    match SIGNS.get(first.0) {
        Some((_, class)) => Some(*class),
        None => {
            let before = line.get(..first.1)?;
            before.windows(HUNG.0.len()).any(|part| part == HUNG.0.as_bytes()).then_some(AlarmClass::HungTask)
        }
    }
}

/// KVM's messages when it is ready (Linux 6.1 and 6.12, arch/arm64/kvm/arm.c, kvm_arm_init), and
/// the host mode of each.
const MODES: &[(&str, &str)] = &[
    (": VHE mode initialized successfully", "vhe"),
    (": VHE+NV2 mode initialized successfully", "vhe+nv2"),
    (": Protected nVHE mode initialized successfully", "protected"),
    (": Protected hVHE mode initialized successfully", "protected"),
    (": nVHE mode initialized successfully", "nvhe"),
    (": hVHE mode initialized successfully", "hvhe"),
    (": Hyp mode initialized successfully", "nvhe"),
];

/// Returns the number of lost messages in a line of [`AlarmClass::Dropped`].
pub fn dropped(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("** ")?;
    rest.split_once(' ')?.0.parse().ok()
}

/// Returns the host mode, if the line has it.
pub fn host_mode(line: &str) -> Option<&'static str> {
    MODES.iter().find(|(sign, _)| line.contains(sign)).map(|(_, mode)| *mode)
}

impl AlarmClass {
    /// Returns true if the kernel does not continue, so that waiting is useless.
    pub fn is_fatal(self) -> bool {
        matches!(self, AlarmClass::Panic | AlarmClass::HypPanic | AlarmClass::Oops)
    }

    /// Returns true if the kernel, or a part of it, may be stuck. The caller then checks for
    /// progress.
    pub fn is_stuck(self) -> bool {
        matches!(self, AlarmClass::Stall | AlarmClass::HungTask)
    }

    /// Returns true if such a line names the kind of a crash.
    pub fn names_a_crash(self) -> bool {
        !matches!(self, AlarmClass::UnsupportedFault | AlarmClass::Trace | AlarmClass::Dropped)
    }

    /// Returns the name that people use.
    pub fn name(self) -> &'static str {
        match self {
            AlarmClass::Panic => "panic",
            AlarmClass::Oops => "oops",
            AlarmClass::HypPanic => "hyp panic",
            AlarmClass::Warn => "WARN",
            AlarmClass::Bug => "BUG",
            AlarmClass::Lockdep => "lockdep",
            AlarmClass::Kasan => "KASAN",
            AlarmClass::Ubsan => "UBSAN",
            AlarmClass::Leak => "memory leak",
            AlarmClass::OutOfMemory => "out of memory",
            AlarmClass::Kvm => "KVM error",
            AlarmClass::Stall => "stall",
            AlarmClass::HungTask => "hung task",
            AlarmClass::UnsupportedFault => "unsupported fault of a guest",
            AlarmClass::Trace => "call trace",
            AlarmClass::Dropped => "dropped messages",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_mode_is_not_taken_for_another() {
        for (mode, expected) in
            [("VHE", "vhe"), ("nVHE", "nvhe"), ("Hyp", "nvhe"), ("Protected nVHE", "protected")]
        {
            let line = format!("[    0.9] kvm [1]: {mode} mode initialized successfully");
            assert_eq!(host_mode(&line), Some(expected), "{line}");
        }
        assert_eq!(host_mode("kvm [1]: HYP mode not available"), None);
    }

    #[test]
    fn dropped_messages_are_counted() {
        for (line, count) in [
            ("** 37 printk messages dropped **", Some(37)),
            ("[    4.1][    T1] ** 18446744073709551615 printk messages dropped **", Some(u64::MAX)),
            ("** many printk messages dropped **", None),
            ("s2lab: more than 32 lines that say WARN", None),
        ] {
            assert_eq!(dropped(line), count, "{line}");
        }
    }

    #[test]
    fn lines_of_real_kernels() {
        let cases = [
            (
                "[    4.2] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100",
                Some(AlarmClass::Panic),
            ),
            ("Kernel panic - not syncing: HYP panic:", Some(AlarmClass::HypPanic)),
            ("[    9.1] Internal error: Oops: 0000000096000044 [#1] SMP", Some(AlarmClass::Oops)),
            ("[   12.0] BUG: KASAN: slab-out-of-bounds in foo+0x1/0x2", Some(AlarmClass::Kasan)),
            (
                "[   12.0] BUG: sleeping function called from invalid context at mm/x.c:1",
                Some(AlarmClass::Bug),
            ),
            ("[   33.0] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [init:1]", Some(AlarmClass::Stall)),
            ("[   21.1] rcu: INFO: rcu_preempt self-detected stall on CPU", Some(AlarmClass::Stall)),
            ("[  242.0] INFO: task init:1 blocked for more than 120 seconds.", Some(AlarmClass::HungTask)),
            ("[    1.0] WARNING: CPU: 0 PID: 1 at arch/arm64/kvm/mmu.c:1 f+0x0/0x10", Some(AlarmClass::Warn)),
            ("[    1.0] WARNING: possible circular locking dependency detected", Some(AlarmClass::Lockdep)),
            // 6.19 and later, 28ea295f941e.
            (
                "WARNING: arch/arm64/kvm/mmu.c:1612 at user_mem_abort+0x9b4/0xb90, CPU#1: qemu-system-aar/131",
                Some(AlarmClass::Warn),
            ),
            ("WARNING: bad unlock balance detected!", Some(AlarmClass::Lockdep)),
            ("WARNING: held lock freed!", Some(AlarmClass::Lockdep)),
            ("WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected", Some(AlarmClass::Lockdep)),
            ("WARNING: lock held when returning to user space!", Some(AlarmClass::Lockdep)),
            ("WARNING: Nested lock was not taken", Some(AlarmClass::Lockdep)),
            ("WARNING: init/1 still has locks held!", Some(AlarmClass::Lockdep)),
            ("[ BUG: Invalid wait context ]", Some(AlarmClass::Lockdep)),
            ("UBSAN: array-index-out-of-bounds in arch/arm64/kvm/mmu.c:1612:9", Some(AlarmClass::Ubsan)),
            ("list_add corruption. next->prev should be prev (0), but was 1.", Some(AlarmClass::Bug)),
            ("list_del corruption, 0->next is LIST_POISON1 (dead000000000100)", Some(AlarmClass::Bug)),
            ("BUG kmalloc-64 (Not tainted): Right Redzone overwritten", Some(AlarmClass::Bug)),
            ("BUG kmalloc-64 (Tainted: G    B             ): Object already free", Some(AlarmClass::Bug)),
            ("pagealloc: memory corruption", Some(AlarmClass::Bug)),
            ("sysfs: cannot create duplicate filename '/bus/pci/drivers/vfio-pci'", Some(AlarmClass::Bug)),
            (
                "kobject: 'x' (0): tried to init an initialized object, something is seriously wrong.",
                Some(AlarmClass::Bug),
            ),
            ("[   12.1] Call trace:", Some(AlarmClass::Trace)),
            ("** 37 printk messages dropped **", Some(AlarmClass::Dropped)),
            ("** replaying previous printk message **", None),
            ("CPU: 1 UID: 0 PID: 131 Comm: qemu-system-aar Not tainted 7.0.7-cloud-arm64 #1 PREEMPT", None),
            ("SError Interrupt on CPU0, code 0x00000000be000000 -- SError", Some(AlarmClass::Oops)),
            ("Bad mode in Error handler detected on CPU0, code 0xbf000000 -- SError", Some(AlarmClass::Oops)),
            (
                "Unhandled 64-bit el1h sync exception on CPU0, ESR 0x02000000 -- Unknown/Uncategorized",
                Some(AlarmClass::Oops),
            ),
            (
                "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
                Some(AlarmClass::Leak),
            ),
            ("Out of memory: Killed process 131 (qemu-system-aar)", Some(AlarmClass::OutOfMemory)),
            ("Memory cgroup out of memory: Killed process 131 (x)", Some(AlarmClass::OutOfMemory)),
            ("BUG: KFENCE: use-after-free read in f+0x1/0x2", Some(AlarmClass::Kasan)),
            (
                "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 31s!",
                Some(AlarmClass::Stall),
            ),
            ("rcu: INFO: rcu_tasks detected stalls on tasks:", Some(AlarmClass::Stall)),
            ("kvm [112]: Unexpected FSC: EC=0x24 xFSC=0x30 ESR_EL2=0x93c28070", Some(AlarmClass::Kvm)),
            // User space; printed if show_unhandled_signals is set. It is not the kernel's fault.
            ("init[1]: unhandled exception: ESR 0x0000000000000000", None),
            (
                "kvm [112]: Unsupported FSC: EC=0x24 xFSC=0x21 ESR_EL2=0x93c28061",
                Some(AlarmClass::UnsupportedFault),
            ),
            ("[    0.0] INFO: task scheduling enabled", None),
            ("[    1.0] kvm [1]: VHE mode initialized successfully", None),
        ];
        for (line, class) in cases {
            assert_eq!(classify(line), class, "{line}");
        }
        assert_eq!(classify(b"\xff\xfe Kernel panic - not syncing: \xff"), Some(AlarmClass::Panic));
        assert_eq!(
            classify("x blocked for more than INFO: task "),
            None,
            "the two parts the other way round"
        );
    }

    #[test]
    fn the_first_sign_counts_wherever_it_stands() {
        assert!(SOUGHT.is_some());
        for (index, (sign, _)) in SIGNS.iter().enumerate() {
            for (other, _) in SIGNS.iter().skip(index) {
                let expected = SIGNS.iter().find(|(first, _)| format!("{other} {sign}").contains(first));
                assert_eq!(classify(format!("{other} {sign}")), expected.map(|(_, class)| *class));
            }
        }
    }
}
