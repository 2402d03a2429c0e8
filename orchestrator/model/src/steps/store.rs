//! The step `store`: a guest stores to a BAR, and L0 reads the BAR's memory from outside.

use super::access::{Access, Accesses, Words};
use super::manner::{self, MannerWords};
use super::{Due, Observed, StepAttempt, StepKind, StepLine};
use crate::finding::{Finding, Subject, Weight};
use crate::lines::{LineError, Promised, Word, equality, is_equal, line};
use crate::record::At;
use crate::scenario::{Promise, Size, schema};
use s2lab_protocol::{Barrier, By, Manner, MapKind, Order, StoreResult};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

const WORDS: Words = Words { verb: "store", to: "to" };

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
    /// Widths of a store in bytes, of 1, 2, 4, 8, 16 and 64; the pattern is stored once with each.
    #[schemars(schema_with = "schema::widths")]
    pub width: Vec<u32>,
    /// The instructions of a store: `str` up to width 8 and `stp` above, if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::by")]
    pub by: Option<By>,
    /// The total: a multiple of 64, at most the size of the BAR.
    pub bytes: Size,
    /// The order of the chunks.
    #[serde(default, skip_serializing_if = "manner::is_sequential")]
    #[schemars(schema_with = "schema::order")]
    pub order: Order,
    /// The seed of `order: random`, 1 if left out.
    #[serde(default = "manner::usual_seed", skip_serializing_if = "manner::is_usual_seed")]
    #[schemars(schema_with = "schema::seed")]
    pub seed: u32,
    /// The barrier after each chunk.
    #[serde(default, skip_serializing_if = "manner::is_without_barrier")]
    #[schemars(schema_with = "schema::barrier")]
    pub barrier: Barrier,
    /// The first byte in the BAR, a multiple of 64; the start if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Size")]
    pub from: Option<Size>,
    /// The bytes of a chunk: a multiple of 8 and of each width, a divisor of `bytes`; 64 if left
    /// out.
    #[serde(default = "manner::usual_chunk", skip_serializing_if = "manner::is_usual_chunk")]
    pub chunk: Size,
    /// The number of vCPUs of the guest, which take turns by chunks at the same time.
    #[serde(default = "manner::usual_vcpus", skip_serializing_if = "manner::is_usual_vcpus")]
    #[schemars(schema_with = "schema::vcpus")]
    pub vcpus: u32,
}

impl StepKind for StoreStep {
    fn device(&self) -> Option<&str> {
        Some(&self.device)
    }

    fn due(&self, attempt: &StepAttempt<'_>) -> Vec<Due> {
        self.accesses().due::<Stored>(attempt)
    }

    fn unlike(&self, attempt: &StepAttempt<'_>) -> Vec<Finding> {
        self.accesses().unlike(attempt, |stored: &Stored| stored.result.nanos > 0)
    }

    fn promised(&self, attempt: &StepAttempt<'_>) -> Vec<Promised> {
        let line = |stored: At<'_, Stored>| Promised::Step(StepLine::Store(stored.line()));
        attempt.all().map(line).collect()
    }
}

impl StoreStep {
    /// Returns the manner of its accesses.
    pub fn manner(&self) -> Manner {
        let Self { order, seed, barrier, from, chunk, vcpus, .. } = *self;
        Manner { order, seed, barrier, from: from.map_or(0, |from| from.0), chunk: chunk.0, vcpus }
    }

    pub(super) fn accesses(&self) -> Accesses<'_> {
        let StoreStep { guest, device, map, width, by, bytes, .. } = self;
        Accesses {
            words: WORDS,
            guest,
            device,
            map: *map,
            widths: width,
            by: *by,
            manner: self.manner(),
            bytes: *bytes,
        }
    }
}

/// The result of one store of a step: one for each width.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub guest: String,
    pub device: String,
    pub map: MapKind,
    pub width: u32,
    /// The instructions, if they are not those usual for the width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
    #[serde(default, skip_serializing_if = "Manner::is_usual")]
    pub manner: Manner,
    pub bytes: u64,
    pub result: StoreResult,
    /// The offset of the first word of the BAR's file that is not the pattern.
    pub file_difference: Option<u64>,
}

impl Observed for Stored {
    fn access(&self) -> Option<Access<'_>> {
        let Stored { guest, device, map, width, by, manner, bytes, result, .. } = self;
        let (bar, instructions) = (result.bar, result.stores);
        Some(Access {
            words: WORDS,
            guest,
            device,
            map: *map,
            width: *width,
            by: *by,
            manner: *manner,
            bytes: *bytes,
            bar,
            instructions,
        })
    }

    fn stored(&self) -> Option<&Stored> {
        Some(self)
    }

    /// Returns a finding if the store did not arrive, and one if it reads back wrong.
    fn bytes(&self, at: usize) -> Option<Vec<Finding>> {
        let finding = |(of, difference): (&str, Option<u64>)| {
            let found = format!("differs from offset {:#x}", difference?);
            let what = format!("{of} after step {at}, store {} B to {}", self.width, self.device);
            let subject = Subject::step(at).guest(&self.guest).region(&self.device);
            let finding = Finding::new(Weight::Kernel, subject, what, "the pattern that was stored", found);
            Some(finding.breaking(Promise::BAR))
        };
        let compared = [("BAR file", self.file_difference), ("read-back", self.result.first_difference)];
        Some(compared.into_iter().filter_map(finding).collect())
    }
}

impl Stored {
    pub(super) fn line(&self) -> StoreLine {
        let Stored { guest, device, map, width, by, manner, result, file_difference, .. } = self;
        StoreLine {
            guest: Word::new(guest),
            device: Word::new(device),
            map: *map,
            width: *width,
            by: *by,
            manner: *manner,
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
    /// The instructions, if they are not those usual for the width.
    pub by: Option<By>,
    pub manner: Manner,
    pub stores: u64,
    /// The BAR's file holds the pattern.
    pub file_equal: bool,
    /// The guest reads the pattern back.
    pub reads_back: bool,
}

const FORM: &str = "store GUEST DEVICE MAP WIDTH B MANNER: N stores, BAR file equal, read-back equal";
impl fmt::Display for StoreLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StoreLine { guest, device, map, width, by, manner, stores, file_equal, reads_back } = self;
        let words = MannerWords(*by, *manner);
        let (file, back) = (equality(*file_equal), equality(*reads_back));
        write!(
            f,
            "store {guest} {device} {map} {width} B{words}: {stores} stores, BAR file {file}, read-back {back}"
        )
    }
}

impl FromStr for StoreLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, FORM, |text| {
            let (subject, result) = text.rsplit_once(": ")?;
            let subject: Vec<_> = subject.split(' ').collect();
            let [_, guest, device, map, width, _, words @ ..] = subject.as_slice() else { return None };
            let result: Vec<_> = result.split(' ').collect();
            let [stores, _, _, _, file, _, back] = result[..] else { return None };
            let MannerWords(by, manner) = MannerWords::read(words)?;
            Some(StoreLine {
                by,
                manner,
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
