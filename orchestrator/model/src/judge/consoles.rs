//! The check that the consoles could have shown every alarm.

use crate::console::dropped;
use crate::event::AlarmClass;
use crate::finding::{Finding, Subject, Weight};
use crate::record::{Alarm, Record};
use std::collections::BTreeMap;

/// The hint about settings that keep a kernel's log from its console.
const HINT: &str =
    "the kernel needs CONFIG_PRINTK and CONFIG_SERIAL_AMBA_PL011_CONSOLE, and arguments that leave both on";

/// Returns a finding for a host's console that shows nothing, and one for each console that has
/// lost lines.
pub(super) fn findings(record: &Record) -> impl Iterator<Item = Finding> {
    untested(record).into_iter().chain(lossy(&record.alarms))
}

/// Returns the finding that the console never showed the line that the host's agent wrote to the
/// kernel's log.
fn untested(record: &Record) -> Option<Finding> {
    let found =
        "none: the host's console does not show what its kernel logs, so that its alarms could not be seen";
    let what = "the agent's test line on the console of host";
    let finding = Finding::new(Weight::Lab, Subject::cell(), what, "the line", found);
    (!record.session.console_tested).then(|| finding.with([HINT.to_owned()]))
}

fn lossy(alarms: &[Alarm]) -> impl Iterator<Item = Finding> {
    let mut lost: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for alarm in alarms.iter().filter(|alarm| alarm.class == AlarmClass::Dropped) {
        lost.entry(&alarm.console).or_default().push(&alarm.line);
    }
    lost.into_iter().map(|(console, lines)| {
        let found = match lines.iter().filter_map(|line| dropped(line)).fold(0, u64::saturating_add) {
            0 => "more than were kept".to_owned(),
            count => format!("{count} messages dropped: alarms may be among them"),
        };
        let what = format!("lines on the console of {console}");
        let finding = Finding::new(Weight::Lab, Subject::cell(), what, "all that the kernel logs", found);
        finding.with(lines.into_iter().map(str::to_owned))
    })
}
