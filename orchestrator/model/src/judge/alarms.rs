//! Lines on a console that a healthy kernel does not print.

use super::witnesses::{Ending, ending, probed_mapping};
use super::{Finding, Weight};
use crate::event::AlarmClass;
use crate::record::look::Decoded;
use crate::record::{Alarm, Record};

/// A line that is known and harmless.
struct Allowed {
    class: AlarmClass,
    /// What the line contains.
    contains: &'static str,
    /// Why it says nothing about the kernel under test. Read by people only.
    #[expect(dead_code, reason = "an entry without a reason is not an entry")]
    reason: &'static str,
}

/// The allow-list. Empty: none of the kernels measured so far needs an entry.
static ALLOWED: [Allowed; 0] = [];

/// A finding for each alarm that nothing explains.
pub(super) fn findings(record: &Record, looks: &[Decoded]) -> Vec<Finding> {
    let mut explained = expected_faults(record, looks);
    let unexplained = record.alarms.iter().filter(|alarm| {
        if alarm.class == AlarmClass::UnsupportedFault && explained > 0 {
            explained -= 1;
            return false;
        }
        !allowed(alarm, &ALLOWED)
    });
    unexplained.map(finding).collect()
}

fn finding(alarm: &Alarm) -> Finding {
    Finding::new(Weight::Kernel, format!("console of {}", alarm.console), "no alarm", name(alarm.class))
        .with([alarm.line.clone()])
}

fn allowed(alarm: &Alarm, list: &[Allowed]) -> bool {
    list.iter().any(|allowed| allowed.class == alarm.class && alarm.line.contains(allowed.contains))
}

/// How many `Unsupported FSC` lines probes account for: one for each that faulted where stage 2 says Device. KVM cannot
/// handle the alignment fault of stage 2 that such a store takes (kvm_handle_guest_abort, arch/arm64/kvm/mmu.c, 6.1 to 7.2).
fn expected_faults(record: &Record, looks: &[Decoded]) -> usize {
    let on_device = |probe: &&crate::record::Probed| {
        let touched =
            probed_mapping(looks, probe).map(|mapping| mapping.touched.as_slice()).unwrap_or_default();
        !touched.is_empty()
            && touched.iter().all(|(both, _)| both.stage2.memory_type().is_some_and(|t| t.is_device()))
    };
    record.probes.iter().filter(|probe| ending(&probe.outcome) == Ending::Fault).filter(on_device).count()
}

fn name(class: AlarmClass) -> &'static str {
    match class {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_allows_its_class_and_line_only() {
        let list = [Allowed { class: AlarmClass::Warn, contains: "known", reason: "of the test" }];
        let alarm = |class, line: &str| Alarm { console: "host".into(), class, line: line.into() };
        assert!(allowed(&alarm(AlarmClass::Warn, "a known line"), &list));
        assert!(!allowed(&alarm(AlarmClass::Warn, "another line"), &list));
        assert!(!allowed(&alarm(AlarmClass::Oops, "a known line"), &list));
    }
}
