//! The ending of an unaligned store, and whether this QEMU shows it.

use super::emulation;
use crate::event::ProbeOutcome;
use crate::record::{Record, environment};
use s2lab_protocol::{MapKind, UnalignedOutcome};
use std::collections::BTreeMap;
use std::fmt;

/// What became of an unaligned store, by what is promised of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Ok,
    Fault,
    /// Neither: it completed and reads back wrong.
    Wrong,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ending::Ok => "ok",
            Ending::Fault => "fault",
            Ending::Wrong => "wrong",
        })
    }
}

/// Whether a fault reaches the guest or stops its VMM depends on the TLB, so both are the same.
pub(crate) fn ending(outcome: &ProbeOutcome) -> Ending {
    match outcome {
        ProbeOutcome::Answered(UnalignedOutcome::Ok) => Ending::Ok,
        ProbeOutcome::Answered(UnalignedOutcome::Wrong) => Ending::Wrong,
        ProbeOutcome::Answered(UnalignedOutcome::Signal(_)) | ProbeOutcome::GuestEnded(_) => Ending::Fault,
    }
}

/// Whether the QEMU of this record shows alignment faults.
pub(crate) fn shows_alignment(record: &Record) -> Result<(), String> {
    let fact = |map: &BTreeMap<String, String>, name| map.get(name).cloned();
    match fact(&record.environment.blocking, environment::ACCELERATOR).as_deref() {
        Some(environment::TCG) => {}
        other => {
            return Err(format!("accelerator {} is not {}", other.unwrap_or("unknown"), environment::TCG));
        }
    }
    emulation::shows_device_alignment(fact(&record.environment.variable, environment::QEMU).as_deref())
}

pub(crate) fn map_name(map: MapKind) -> &'static str {
    map.name()
}
