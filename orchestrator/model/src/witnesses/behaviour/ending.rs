//! The ending of an unaligned store, and whether this QEMU shows it.

use super::emulation;
use crate::record::{Record, environment};
use crate::steps::{Ending, ProbeOutcome};
use s2lab_protocol::UnalignedOutcome;
use std::collections::BTreeMap;

/// The ending of an outcome. Whether a fault reaches the guest or stops its VMM depends on the TLB,
/// so both are the same.
pub(crate) fn ending(outcome: &ProbeOutcome) -> Ending {
    match outcome {
        ProbeOutcome::Answered(UnalignedOutcome::Ok) => Ending::Ok,
        ProbeOutcome::Answered(UnalignedOutcome::Wrong) => Ending::Wrong,
        ProbeOutcome::Answered(UnalignedOutcome::Signal(_)) | ProbeOutcome::GuestEnded(_) => Ending::Fault,
    }
}

/// Returns the reason if the QEMU of this record does not show alignment faults.
pub(crate) fn shows_alignment(record: &Record) -> Result<(), String> {
    let fact = |map: &BTreeMap<String, String>, name| map.get(name).cloned();
    match fact(&record.session.environment.blocking, environment::ACCELERATOR).as_deref() {
        Some(environment::TCG) => {}
        other => {
            return Err(format!("accelerator {} is not {}", other.unwrap_or("unknown"), environment::TCG));
        }
    }
    emulation::shows_device_alignment(
        fact(&record.session.environment.variable, environment::QEMU).as_deref(),
    )
}
