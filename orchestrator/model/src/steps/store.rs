//! The step `store`: a guest stores to a BAR, and L0 reads the BAR's memory from outside.

use super::{Access, Due, Observed, StepAttempt, StepKind, StepLine, may_access};
use crate::finding::{Finding, Subject, Weight};
use crate::lines::{LineError, Promised, Word, equality, is_equal, line};
use crate::record::At;
use crate::scenario::{Size, schema};
use s2lab_protocol::{MapKind, StoreResult};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The guest's user space maps a device's BAR and stores a pattern to it, once for each width.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct StoreStep {
    /// The guest that stores.
    pub guest: String,
    /// The device of the guest.
    pub device: String,
    /// The kind of the guest's mapping of the BAR.
    #[schemars(schema_with = "schema::map_kind")]
    pub map: MapKind,
    /// Widths of a store in bytes, of 8, 16 and 64; the pattern is stored once with each.
    #[schemars(schema_with = "schema::widths")]
    pub width: Vec<u32>,
    /// The total, from the start of the BAR: a multiple of 64, at most the size of the BAR.
    pub bytes: Size,
}

impl StepKind for StoreStep {
    fn due(&self, attempt: &StepAttempt<'_>) -> Vec<Due> {
        let of_width = |width: &u32| Due {
            subject: attempt.subject().guest(&self.guest).region(&self.device),
            what: format!("step {}, store {width} B by {} to {}", attempt.at, self.guest, self.device),
            found: attempt.all::<Stored>().filter(|stored| stored.width == *width).count(),
        };
        self.width.iter().map(of_width).collect()
    }

    fn unlike(&self, attempt: &StepAttempt<'_>) -> Vec<Finding> {
        let unlike = |stored: At<'_, Stored>| {
            let Stored { guest, device, width, bytes, result, .. } = stored.data;
            let found =
                format!("{} stores of {width} B, {bytes} bytes by {guest} to {device}", result.stores);
            let expected = format!("{} bytes by {} to {}", self.bytes, self.guest, self.device);
            let subject = attempt.subject().guest(&self.guest).region(&self.device);
            Finding::new(Weight::Lab, subject, format!("step {}, store", attempt.at), expected, found)
        };
        attempt.all::<Stored>().filter(|stored| !self.is_done_by(stored)).map(unlike).collect()
    }

    fn promised(&self, attempt: &StepAttempt<'_>) -> Vec<Promised> {
        let line = |stored: At<'_, Stored>| Promised::Step(StepLine::Store(stored.line()));
        attempt.all().map(line).collect()
    }
}

impl StoreStep {
    fn is_done_by(&self, stored: &Stored) -> bool {
        stored.guest == self.guest
            && stored.device == self.device
            && stored.map == self.map
            && stored.bytes == self.bytes.0
            && may_access(stored.result.stores, stored.bytes, stored.width)
            && stored.result.nanos > 0
    }
}

/// The result of one store of a step: one for each width.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub guest: String,
    pub device: String,
    pub map: MapKind,
    pub width: u32,
    pub bytes: u64,
    pub result: StoreResult,
    /// The offset of the first word of the BAR's file that is not the pattern.
    pub file_difference: Option<u64>,
}

impl Observed for Stored {
    fn access(&self) -> Option<Access<'_>> {
        let Stored { guest, device, result, .. } = self;
        Some(Access { guest, device, bar: result.bar, words: "store to" })
    }

    /// Returns a finding if the store did not arrive, and one if it reads back wrong.
    fn bytes(&self, at: usize) -> Option<Vec<Finding>> {
        let finding = |(of, difference): (&str, Option<u64>)| {
            let found = format!("differs from offset {:#x}", difference?);
            let what = format!("{of} after step {at}, store {} B to {}", self.width, self.device);
            let subject = Subject::step(at).guest(&self.guest).region(&self.device);
            Some(Finding::new(Weight::Kernel, subject, what, "the pattern that was stored", found))
        };
        let compared = [("BAR file", self.file_difference), ("read-back", self.result.first_difference)];
        Some(compared.into_iter().filter_map(finding).collect())
    }
}

impl Stored {
    fn line(&self) -> StoreLine {
        let Stored { guest, device, map, width, result, file_difference, .. } = self;
        StoreLine {
            guest: Word::new(guest),
            device: Word::new(device),
            map: *map,
            width: *width,
            stores: result.stores,
            file_equal: file_difference.is_none(),
            reads_back: result.first_difference.is_none(),
        }
    }
}

/// `store g0 nic wc 8 B: 131072 stores, BAR file equal, read-back equal`: the result of one width.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreLine {
    pub guest: Word,
    pub device: Word,
    pub map: MapKind,
    /// Bytes.
    pub width: u32,
    pub stores: u64,
    /// The BAR's file holds the pattern.
    pub file_equal: bool,
    /// The guest reads the pattern back.
    pub reads_back: bool,
}

const FORM: &str = "store GUEST DEVICE MAP WIDTH B: N stores, BAR file equal, read-back equal";
impl fmt::Display for StoreLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StoreLine { guest, device, map, width, stores, file_equal, reads_back } = self;
        let (file, back) = (equality(*file_equal), equality(*reads_back));
        write!(
            f,
            "store {guest} {device} {map} {width} B: {stores} stores, BAR file {file}, read-back {back}"
        )
    }
}

impl FromStr for StoreLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, FORM, |text| {
            let words: Vec<_> = text.split(' ').collect();
            let [_, guest, device, map, width, _, stores, _, _, _, file, _, back] = words[..] else {
                return None;
            };
            Some(StoreLine {
                guest: guest.parse().ok()?,
                device: device.parse().ok()?,
                map: map.parse().ok()?,
                width: width.parse().ok()?,
                stores: stores.parse().ok()?,
                file_equal: is_equal(file.strip_suffix(',')?)?,
                reads_back: is_equal(back)?,
            })
        })
    }
}
