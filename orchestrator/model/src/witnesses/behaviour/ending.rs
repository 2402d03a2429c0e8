//! The ending of a probe, and whether this QEMU shows it.

use super::emulation;
use crate::record::{Record, environment};
use crate::steps::{Ending, ProbeOutcome};
use s2lab_protocol::{GuestEnd, ProbeEnd, ProbeKind, UNEXPECTED_EXIT};
use std::collections::BTreeMap;

/// The ending of an outcome. Whether a fault reaches the guest or stops its VMM depends on the TLB,
/// so both are the same. An exit to the VMM is another: KVM takes the access for one that user space emulates.
pub(crate) fn ending(outcome: &ProbeOutcome) -> Ending {
    match outcome {
        ProbeOutcome::Answered(ProbeEnd::Ok) => Ending::Ok,
        ProbeOutcome::Answered(ProbeEnd::Wrong) => Ending::Wrong,
        ProbeOutcome::GuestEnded(GuestEnd::Stopped { state, .. }) if state == UNEXPECTED_EXIT => Ending::Exit,
        ProbeOutcome::Answered(ProbeEnd::Signal(_) | ProbeEnd::Exception(_))
        | ProbeOutcome::GuestEnded(_) => Ending::Fault,
        ProbeOutcome::Answered(ProbeEnd::Unsupported) => Ending::Unsupported,
        ProbeOutcome::NotDone => Ending::NotDone,
    }
}

/// Returns the reason if the QEMU of this record does not show the fault of an access.
pub(crate) fn shows_fault(kind: ProbeKind, record: &Record) -> Result<(), String> {
    let fact = |map: &BTreeMap<String, String>, name| map.get(name).cloned();
    match fact(&record.session.environment.blocking, environment::ACCELERATOR).as_deref() {
        Some(environment::TCG) => {}
        other => {
            return Err(format!("accelerator {} is not {}", other.unwrap_or("unknown"), environment::TCG));
        }
    }
    emulation::shows(kind, fact(&record.session.environment.variable, environment::QEMU).as_deref())
}
