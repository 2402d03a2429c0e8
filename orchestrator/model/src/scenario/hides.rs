//! Parameters of a kernel that could hide an alarm: a cell could pass with a defect that nobody
//! sees.

/// The reason for refused words.
const QUIET: &str = "every message of the kernel goes to the console, so that no warning is missed";
const DETECTOR: &str = "it can turn off what finds a defect of the kernel";
const SYSCTL: &str = "it can turn off what finds or prints a defect of the kernel";
const INITCALL: &str =
    "it can take the console or a detector away; use a kernel that is configured without the part";
const KERNEL_LOG: &str = "the host's agent writes to the kernel's log, to see that the console prints it";

/// Each word and the reason. A name means every value, a word with `=` that value, a `*` at the end
/// every word that begins so, like `__setup` without `=` compares (init/main.c,
/// obsolete_checksetup). Sources: Linux 6.1 and 6.12, by file below.
const WORDS: [(&str, &str); 24] = [
    // init/main.c, kernel/printk/printk.c
    ("quiet", QUIET),
    ("loglevel", QUIET),
    ("initcall_blacklist", INITCALL),
    ("printk.devkmsg", KERNEL_LOG),
    // fs/proc/proc_sysctl.c, process_sysctl_arg: `printk`, `panic`, `hung_task_timeout_secs`,
    // `watchdog` ...
    ("sysctl.kernel.*", SYSCTL),
    // kernel/watchdog.c
    ("nowatchdog*", DETECTOR),
    ("nosoftlockup*", DETECTOR),
    ("watchdog_thresh", DETECTOR),
    ("nmi_watchdog=0", DETECTOR),
    // kernel/workqueue.c, kernel/irq/spurious.c
    ("workqueue.watchdog_thresh", DETECTOR),
    ("noirqdebug*", DETECTOR),
    ("spurious.noirqdebug", DETECTOR),
    // kernel/rcu/update.c, tasks.h, tree_stall.h
    ("rcupdate.rcu_cpu_stall_suppress*", DETECTOR),
    ("rcupdate.rcu_cpu_stall_timeout", DETECTOR),
    ("rcupdate.rcu_exp_cpu_stall_timeout", DETECTOR),
    ("rcupdate.rcu_task_stall_timeout", DETECTOR),
    ("rcutree.csd_lock_suppress_rcu_stall", DETECTOR),
    // kernel/locking/lockdep.c, lib/debugobjects.c
    ("lockdep.prove_locking=0", DETECTOR),
    ("no_debug_objects", DETECTOR),
    // mm/kasan/hw_tags.c, mm/kfence/core.c, mm/kmemleak.c, mm/slub.c (slub_debug until 6.8)
    ("kasan=off", DETECTOR),
    ("kfence.sample_interval=0", DETECTOR),
    ("kmemleak=off", DETECTOR),
    ("slab_debug=-", DETECTOR),
    ("slub_debug=-", DETECTOR),
];

/// Returns the reason why a parameter could hide an alarm, if it could. `name` has `_` for `-`.
pub(super) fn reason(name: &str, value: Option<&str>) -> Option<&'static str> {
    // The kernel takes any of both between the parts, and several for one.
    let parts: Vec<&str> = name.split(['.', '/']).filter(|part| !part.is_empty()).collect();
    let sysctl = parts.first() == Some(&"sysctl");
    let name = if sysctl { parts.join(".") } else { name.to_owned() };
    let is = |word: &str| match (word.strip_suffix('*'), word.split_once('=')) {
        (Some(start), _) => name.starts_with(start),
        (None, Some((own, off))) => name == own && value == Some(off),
        (None, None) => name == word,
    };
    WORDS.iter().find(|(word, _)| is(word)).map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_and_its_like() {
        for (name, value) in [
            ("quiet", None),
            ("loglevel", Some("4")),
            ("initcall_blacklist", Some("pl011_init")),
            ("printk.devkmsg", Some("off")),
            ("sysctl.kernel.panic", Some("0")),
            ("sysctl/kernel/printk", Some("1")),
            ("sysctl..kernel.hung_task_timeout_secs", Some("0")),
            ("nowatchdog", None),
            ("nowatchdogs", None),
            ("nosoftlockup", None),
            ("watchdog_thresh", Some("0")),
            ("nmi_watchdog", Some("0")),
            ("rcupdate.rcu_cpu_stall_suppress", Some("1")),
            ("rcupdate.rcu_cpu_stall_suppress_at_boot", Some("1")),
            ("kmemleak", Some("off")),
            ("slub_debug", Some("-")),
            ("kfence.sample_interval", Some("0")),
        ] {
            assert!(reason(name, value).is_some(), "{name} {value:?}");
        }
    }

    #[test]
    fn what_makes_the_kernel_stricter_or_concerns_no_detector_stays() {
        for (name, value) in [
            ("panic_on_warn", Some("1")),
            ("softlockup_panic", Some("1")),
            ("hung_task_panic", Some("1")),
            ("nmi_watchdog", Some("1")),
            ("kmemleak", Some("on")),
            ("slub_debug", Some("FZP")),
            ("slab_debug", None),
            ("kfence.sample_interval", Some("100")),
            ("sysctl.vm.nr_hugepages", Some("8")),
            ("sysctl.vm.kernel", Some("8")),
            ("earlycon", None),
            ("kvm_arm.mode", Some("nvhe")),
        ] {
            assert_eq!(reason(name, value), None, "{name} {value:?}");
        }
    }
}
