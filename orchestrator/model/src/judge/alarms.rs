//! Lines on a console that a healthy kernel does not print.

use crate::crash::{self, MAX_LINE, is_registers};
use crate::event::AlarmClass;
use crate::finding::{Finding, Subject, Weight};
use crate::record::look::DecodedLook;
use crate::record::{Alarm, At, Crash, Record};
use crate::steps::{Ending, Probed};
use crate::witnesses::behaviour::{ending, probed_mapping};
use s2lab_protocol::ProbeKind;
use std::collections::{HashMap, HashSet};

/// A line that is known and harmless.
struct Allowed {
    class: AlarmClass,
    /// The text that the line contains.
    contains: &'static str,
    /// The reason why it has no meaning for the kernel under test. Only people read it.
    #[expect(dead_code, reason = "an entry without a reason is not an entry")]
    reason: &'static str,
}

const fn harmless(class: AlarmClass, contains: &'static str, reason: &'static str) -> Allowed {
    Allowed { class, contains, reason }
}

/// The allow-list. None of the kernels measured so far needs one of those about `WARNING: `.
static ALLOWED: [Allowed; 8] = [
    harmless(
        AlarmClass::Leak,
        "kmemleak: Kernel memory leak detector",
        "it says that it works (mm/kmemleak.c)",
    ),
    harmless(AlarmClass::Leak, "kmemleak: Automatic memory scanning thread", "it says that it works"),
    harmless(AlarmClass::Leak, "kmemleak: Kmemleak disabled without freeing", "it was asked to stop"),
    harmless(AlarmClass::Leak, "kmemleak: Memory pool empty", "its own setting is too small for this kernel"),
    harmless(
        AlarmClass::Warn,
        "WARNING: Unprivileged eBPF is enabled",
        "a setting (EBPF_WARN, arch/arm64/kernel/proton-pack.c, 6.1)",
    ),
    harmless(
        AlarmClass::Warn,
        "WARNING: 'bootconfig' found on the kernel command line",
        "a word of the scenario's that this kernel does not know (init/main.c, 6.1)",
    ),
    harmless(
        AlarmClass::Warn,
        "WARNING: The mand mount option",
        "a mount option that does nothing (fs/namespace.c, 6.1)",
    ),
    harmless(
        AlarmClass::Warn,
        "WARNING: x1-x3 nonzero in violation of boot protocol",
        "it is said of the boot loader, which is QEMU (arch/arm64/kernel/setup.c, 6.1)",
    ),
];

/// The most lines of evidence that a finding shows.
const SHOWN: usize = 40;

/// Returns a finding for each crash that nothing explains, and one for each kind of alarm outside
/// of them. Repeated alarms on a console, such as stalls, are one finding: their number is a matter
/// of time.
pub(super) fn findings(record: &Record, looks: &[DecodedLook]) -> Vec<Finding> {
    let mut explained = expected_faults(record, looks);
    let mut unexplained: Vec<&Alarm> = record.alarms.iter().collect();
    unexplained.retain(|alarm| {
        if alarm.class == AlarmClass::UnsupportedFault && explained > 0 {
            explained -= 1;
            return false;
        }
        // Lost lines show nothing about the kernel, see `consoles`.
        alarm.class != AlarmClass::Dropped && !allowed(alarm, &ALLOWED)
    });
    // Names of crashes come first: the trace of a crash that was not cut out adds nothing to them.
    unexplained.sort_by_key(|alarm| alarm.class == AlarmClass::Trace);
    let named: HashSet<&str> = unexplained
        .iter()
        .filter(|alarm| alarm.class.names_a_crash())
        .map(|alarm| alarm.console.as_str())
        .collect();
    let mut crashes = Crashes::of(&record.crashes);
    let mut findings: Vec<Finding> = vec![];
    let mut known = HashSet::new();
    for alarm in unexplained {
        let crash = crashes.with(alarm);
        let print = crash.and_then(|lines| lines.print.clone());
        if print.is_none() && alarm.class == AlarmClass::Trace && named.contains(alarm.console.as_str()) {
            continue;
        }
        let found = print.unwrap_or_else(|| alarm.class.name().to_owned());
        if known.insert((&alarm.console, found.clone())) {
            let detail = crash.map_or_else(|| vec![alarm.line.clone()], |lines| lines.shown.clone());
            let what = format!("console of {}", alarm.console);
            let subject = match record.guests.contains_key(&alarm.console) {
                true => Subject::cell().guest(&alarm.console),
                false => Subject::cell(),
            };
            let finding = Finding::new(Weight::Kernel, subject, what, "no alarm", found);
            findings.push(finding.with(detail));
        }
    }
    findings
}

/// The crashes of an attempt by their lines: a console may have thousands of both.
struct Crashes<'a> {
    all: &'a [Crash],
    /// The first crash with that line of that console.
    places: HashMap<(&'a str, &'a str), usize>,
    /// The findings of the crash at a place.
    shown_crashes: HashMap<usize, CrashLines>,
}

struct CrashLines {
    /// The fingerprint. None: the lines are not a crash of a known form.
    print: Option<String>,
    shown: Vec<String>,
}

impl<'a> Crashes<'a> {
    fn of(all: &'a [Crash]) -> Self {
        let mut places = HashMap::new();
        for (place, crash) in all.iter().enumerate() {
            for line in &crash.lines {
                places.entry((crash.console.as_str(), line.as_str())).or_insert(place);
            }
        }
        Self { all, places, shown_crashes: HashMap::new() }
    }

    /// Returns the crash that contains the alarm. Its lines are cut to a length.
    fn with(&mut self, alarm: &Alarm) -> Option<&CrashLines> {
        let end = alarm.line.floor_char_boundary(MAX_LINE);
        let line = alarm.line.get(..end).unwrap_or_default();
        let place = *self.places.get(&(alarm.console.as_str(), line))?;
        let crash = self.all.get(place)?;
        Some(self.shown_crashes.entry(place).or_insert_with(|| {
            let named = crash.named();
            let print = crash::Crash::of(&named).map(|crash| crash.fingerprint());
            CrashLines { print, shown: shown(&named) }
        }))
    }
}

/// Returns a crash without its registers; all of it is in the log and in `crash.txt`.
fn shown(lines: &[String]) -> Vec<String> {
    let lines = || lines.iter().filter(|line| !is_registers(line));
    let more = lines().count().saturating_sub(SHOWN);
    let more = (more > 0).then(|| format!("... and {more} lines more"));
    lines().take(SHOWN).cloned().chain(more).collect()
}

fn allowed(alarm: &Alarm, list: &[Allowed]) -> bool {
    list.iter().any(|allowed| allowed.class == alarm.class && alarm.line.contains(allowed.contains))
}

/// Returns the number of `Unsupported FSC` lines that probes explain: one for each that faulted
/// where stage 2 is Device. KVM cannot handle the alignment fault of stage 2 that such a store
/// takes (kvm_handle_guest_abort, arch/arm64/kvm/mmu.c, 6.1 to 7.2). A fetch takes a permission
/// fault, which KVM handles.
fn expected_faults(record: &Record, looks: &[DecodedLook]) -> usize {
    let on_device = |probe: &At<'_, Probed>| {
        let touched =
            probed_mapping(looks, *probe).map(|mapping| mapping.touched.as_slice()).unwrap_or_default();
        !touched.is_empty()
            && touched.iter().all(|(both, _)| both.stage2.memory_type().is_some_and(|t| t.is_device()))
    };
    record
        .all()
        .filter(|probe: &At<'_, Probed>| {
            probe.kind != ProbeKind::Fetch && ending(&probe.outcome) == Ending::Fault
        })
        .filter(on_device)
        .count()
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
