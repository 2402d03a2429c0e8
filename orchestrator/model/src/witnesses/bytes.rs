//! The stored bytes, in the BAR's file and read back by the guest.

use super::{Hearing, Scene, Witness};
use crate::event::{ProbeOutcome, Probed, Stored};
use crate::finding::{Finding, Subject, Weight};
use crate::record::Record;
use s2lab_protocol::UnalignedOutcome;

/// The stored bytes are in the BAR's file and read back.
pub(super) struct Bytes;

impl Witness for Bytes {
    fn name(&self) -> &'static str {
        "bytes"
    }

    fn hear(&self, Scene { record, .. }: &Scene<'_>) -> Hearing {
        Hearing::new(self.early(record), !record.observations.none::<Stored>(), "no store")
    }

    /// Returns a finding for each store that did not arrive, or reads back wrong.
    fn early(&self, record: &Record) -> Vec<Finding> {
        let mut out = vec![];
        for stored in record.all::<Stored>() {
            let what = |of| {
                format!("{of} after step {}, store {} B to {}", stored.step, stored.width, stored.device)
            };
            for (of, difference) in
                [("BAR file", stored.file_difference), ("read-back", stored.result.first_difference)]
            {
                if let Some(offset) = difference {
                    let subject = Subject::step(stored.step).guest(&stored.guest).region(&stored.device);
                    let found = format!("differs from offset {offset:#x}");
                    let expected = "the pattern that was stored";
                    out.push(Finding::new(Weight::Kernel, subject, what(of), expected, found));
                }
            }
        }
        for probe in record.all::<Probed>() {
            if probe.outcome == ProbeOutcome::Answered(UnalignedOutcome::Wrong) {
                let subject = Subject::step(probe.step).guest(&probe.guest).region(&probe.device);
                let what = format!("unaligned store by {} to {}", probe.guest, probe.device);
                let found = "completes, but reads back wrong";
                out.push(Finding::new(Weight::Kernel, subject, what, "ok or fault", found));
            }
        }
        out
    }
}
