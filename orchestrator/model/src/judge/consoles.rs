//! Whether the host's console could have shown an alarm.

use super::{Finding, Weight};
use crate::record::Record;

/// What may keep a kernel's log from its console.
const HINT: &str =
    "the kernel needs CONFIG_PRINTK and CONFIG_SERIAL_AMBA_PL011_CONSOLE, and arguments that leave both on";

/// A finding if the console never showed the line that the host's agent wrote to the kernel's log.
pub(super) fn untested(record: &Record) -> Option<Finding> {
    let found =
        "none: the host's console does not show what its kernel logs, so that its alarms could not be seen";
    let finding =
        Finding::new(Weight::Lab, "the agent's test line on the console of host", "the line", found);
    (!record.console_tested).then(|| finding.with([HINT.to_owned()]))
}
