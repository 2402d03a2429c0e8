//! Lines of a console that tell something: what a healthy kernel does not print, and how KVM came up.

use crate::event::AlarmClass;
use aho_corasick::{AhoCorasick, AhoCorasickKind};
use std::sync::LazyLock;

/// What gives a line away, and whether the kernel can go on after it. The first match counts. Sources: Linux 6.1 and 6.12,
/// kernel/panic.c, arch/arm64/kernel/traps.c, arch/arm64/kvm/handle_exit.c, arch/arm64/kvm/mmu.c, kernel/watchdog.c,
/// kernel/hung_task.c, kernel/rcu/tree_stall.h, kernel/locking/lockdep.c, mm/kasan/report.c.
const SIGNS: &[(&str, AlarmClass)] = &[
    ("Kernel panic - not syncing: HYP panic", AlarmClass::HypPanic),
    ("nVHE hyp panic at", AlarmClass::HypPanic),
    ("nVHE hyp BUG at", AlarmClass::HypPanic),
    ("Kernel panic - not syncing", AlarmClass::Panic),
    ("Internal error: ", AlarmClass::Oops),
    ("Unable to handle kernel ", AlarmClass::Oops),
    ("kernel BUG at ", AlarmClass::Bug),
    ("BUG: KASAN: ", AlarmClass::Kasan),
    ("BUG: soft lockup", AlarmClass::Stall),
    ("watchdog: Watchdog detected hard LOCKUP", AlarmClass::Stall),
    ("detected stalls on CPUs/tasks", AlarmClass::Stall),
    ("self-detected stall on CPU", AlarmClass::Stall),
    ("detected expedited stalls on CPUs/tasks", AlarmClass::Stall),
    ("BUG: ", AlarmClass::Bug),
    ("WARNING: possible ", AlarmClass::Lockdep),
    ("WARNING: inconsistent lock state", AlarmClass::Lockdep),
    ("WARNING: suspicious RCU usage", AlarmClass::Lockdep),
    ("WARNING: CPU: ", AlarmClass::Warn),
    ("Unsupported FSC: ", AlarmClass::UnsupportedFault),
];
/// A hung task is told in two parts around the task's name.
const HUNG: (&str, &str) = ("INFO: task ", " blocked for more than ");

/// Each of [`SIGNS`] and the second part of [`HUNG`], sought at once: a console at full speed is megabytes a second.
static SOUGHT: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let patterns = SIGNS.iter().map(|(sign, _)| *sign).chain([HUNG.1]);
    AhoCorasick::builder().kind(Some(AhoCorasickKind::DFA)).build(patterns).ok()
});

/// The class of a line, if it is an alarm. The line need not be UTF-8.
pub fn classify(line: impl AsRef<[u8]>) -> Option<AlarmClass> {
    let line = line.as_ref();
    // A few constant patterns always fit into an automaton; a test holds that.
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

/// What KVM says when it is ready (Linux 6.1 and 6.12, arch/arm64/kvm/arm.c, kvm_arm_init), and the host mode that it means.
const MODES: &[(&str, &str)] = &[
    (": VHE mode initialized successfully", "vhe"),
    (": VHE+NV2 mode initialized successfully", "vhe+nv2"),
    (": Protected nVHE mode initialized successfully", "protected"),
    (": Protected hVHE mode initialized successfully", "protected"),
    (": nVHE mode initialized successfully", "nvhe"),
    (": hVHE mode initialized successfully", "hvhe"),
    (": Hyp mode initialized successfully", "nvhe"),
];

/// The host mode, if the line tells it.
pub fn host_mode(line: &str) -> Option<&'static str> {
    MODES.iter().find(|(sign, _)| line.contains(sign)).map(|(_, mode)| *mode)
}

impl AlarmClass {
    /// The kernel does not go on: nothing more is to be waited for.
    pub fn is_fatal(self) -> bool {
        matches!(self, AlarmClass::Panic | AlarmClass::HypPanic | AlarmClass::Oops)
    }

    /// The kernel, or a part of it, may be stuck: it is to be seen whether anything still moves.
    pub fn is_stuck(self) -> bool {
        matches!(self, AlarmClass::Stall | AlarmClass::HungTask)
    }

    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            AlarmClass::Panic => "panic",
            AlarmClass::Oops => "oops",
            AlarmClass::HypPanic => "hyp panic",
            AlarmClass::Warn => "WARN",
            AlarmClass::Bug => "BUG",
            AlarmClass::Lockdep => "lockdep",
            AlarmClass::Kasan => "KASAN",
            AlarmClass::Stall => "stall",
            AlarmClass::HungTask => "hung task",
            AlarmClass::UnsupportedFault => "unsupported fault of a guest",
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
