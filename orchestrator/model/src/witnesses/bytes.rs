//! The bytes that guests have moved, compared on both sides.

use super::{Hearing, Scene, Witness};
use crate::finding::Finding;
use crate::record::Record;

/// Each observation compares the bytes that its guest has moved.
pub(super) struct Bytes;

impl Witness for Bytes {
    fn name(&self) -> &'static str {
        "bytes"
    }

    fn hear(&self, Scene { record, .. }: &Scene<'_>) -> Hearing {
        let compared = record.observations.iter().any(|of| of.data.bytes(of.step).is_some());
        Hearing::new(self.early(record), compared, "no store")
    }

    /// Returns a finding for each difference.
    fn early(&self, record: &Record) -> Vec<Finding> {
        let findings = record.observations.iter().filter_map(|of| of.data.bytes(of.step));
        findings.flatten().collect()
    }
}
