//! The step `load`: L0 puts a pattern into a BAR's memory, and a guest loads it.

use super::access::{Access, Accesses, Words};
use super::manner::{self, MannerWords};
use super::{Due, Observed, StepAttempt, StepKind, StepLine};
use crate::finding::{Finding, Subject, Weight};
use crate::lines::{LineError, Promised, Word, equality, is_equal, line};
use crate::record::At;
use crate::scenario::{Promise, Size, schema};
use s2lab_protocol::{Bar, Barrier, Manner, MapKind, Order, ask::Load};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

const WORDS: Words = Words { verb: "load", to: "from" };

/// The guest's user space maps a device's BAR and loads a pattern from it, once for each width.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct LoadStep {
    /// The guest that loads.
    pub guest: String,
    /// The device of the guest.
    pub device: String,
    /// The kind of the guest's mapping of the BAR.
    #[schemars(schema_with = "schema::map_kind")]
    pub map: MapKind,
    /// Widths of a load in bytes, of 1, 2, 4, 8, 16 and 64; each has a pattern of its own.
    #[schemars(schema_with = "schema::widths")]
    pub width: Vec<u32>,
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

impl StepKind for LoadStep {
    fn device(&self) -> Option<&str> {
        Some(&self.device)
    }

    fn due(&self, attempt: &StepAttempt<'_>) -> Vec<Due> {
        self.accesses().due::<LoadedBytes>(attempt)
    }

    fn unlike(&self, attempt: &StepAttempt<'_>) -> Vec<Finding> {
        self.accesses().unlike(attempt, |_: &LoadedBytes| true)
    }

    fn promised(&self, attempt: &StepAttempt<'_>) -> Vec<Promised> {
        let line = |loaded: At<'_, LoadedBytes>| Promised::Step(StepLine::Load(loaded.line()));
        attempt.all().map(line).collect()
    }
}

impl LoadStep {
    /// Returns the manner of its accesses.
    pub fn manner(&self) -> Manner {
        let Self { order, seed, barrier, from, chunk, vcpus, .. } = *self;
        Manner { order, seed, barrier, from: from.map_or(0, |from| from.0), chunk: chunk.0, vcpus }
    }

    fn accesses(&self) -> Accesses<'_> {
        let LoadStep { guest, device, map, width, bytes, .. } = self;
        Accesses {
            words: WORDS,
            guest,
            device,
            map: *map,
            widths: width,
            by: None,
            manner: self.manner(),
            bytes: *bytes,
        }
    }
}

/// The result of one load of a step: one for each width.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedBytes {
    pub guest: String,
    pub device: String,
    pub map: MapKind,
    pub width: u32,
    #[serde(default, skip_serializing_if = "Manner::is_usual")]
    pub manner: Manner,
    pub bytes: u64,
    /// The BAR in the guest.
    pub bar: Bar,
    /// The number of executed load instructions.
    pub loads: u64,
    /// The offset in the BAR of the first part, see [`Load::parts`], that the guest has not loaded
    /// as L0 has put it there.
    pub difference: Option<u64>,
}

impl Observed for LoadedBytes {
    fn access(&self) -> Option<Access<'_>> {
        let LoadedBytes { guest, device, map, width, manner, bytes, bar, loads, .. } = self;
        let (bar, instructions) = (*bar, *loads);
        Some(Access {
            words: WORDS,
            guest,
            device,
            map: *map,
            width: *width,
            by: None,
            manner: *manner,
            bytes: *bytes,
            bar,
            instructions,
        })
    }

    /// Returns a finding if the guest has loaded other bytes than those in the BAR's memory.
    fn bytes(&self, at: usize) -> Option<Vec<Finding>> {
        let finding = |offset: u64| {
            let part = Load::parts(self.bytes).find(|(start, _)| self.manner.from + start == offset);
            let length = part.map_or(0, |(_, length)| length);
            let what = format!("load {} B by {} from {} in step {at}", self.width, self.guest, self.device);
            let subject = Subject::step(at).guest(&self.guest).region(&self.device);
            let (expected, found) = (
                "the pattern in the BAR's memory",
                format!("differs in the {length} bytes from offset {offset:#x}"),
            );
            Finding::new(Weight::Kernel, subject, what, expected, found).breaking(Promise::BAR)
        };
        Some(self.difference.map(finding).into_iter().collect())
    }
}

impl LoadedBytes {
    fn line(&self) -> LoadLine {
        let LoadedBytes { guest, device, map, width, manner, loads, difference, .. } = self;
        LoadLine {
            guest: Word::new(guest),
            device: Word::new(device),
            map: *map,
            width: *width,
            manner: *manner,
            loads: *loads,
            equal: difference.is_none(),
        }
    }
}

/// `load g0 nic wc 8 B: 131072 loads, equal`: the result of one width.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadLine {
    pub guest: Word,
    pub device: Word,
    pub map: MapKind,
    /// Bytes.
    pub width: u32,
    pub manner: Manner,
    pub loads: u64,
    /// The guest has loaded what was in the BAR's memory.
    pub equal: bool,
}

impl fmt::Display for LoadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LoadLine { guest, device, map, width, manner, loads, equal } = self;
        let words = MannerWords(None, *manner);
        write!(f, "load {guest} {device} {map} {width} B{words}: {loads} loads, {}", equality(*equal))
    }
}

impl FromStr for LoadLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "load GUEST DEVICE MAP WIDTH B MANNER: N loads, equal", |text| {
            let (subject, result) = text.rsplit_once(": ")?;
            let subject: Vec<_> = subject.split(' ').collect();
            let [_, guest, device, map, width, _, words @ ..] = subject.as_slice() else { return None };
            let result: Vec<_> = result.split(' ').collect();
            let [loads, _, equal] = result[..] else { return None };
            let MannerWords(None, manner) = MannerWords::read(words)? else { return None };
            Some(LoadLine {
                manner,
                guest: guest.parse().ok()?,
                device: device.parse().ok()?,
                map: map.parse().ok()?,
                width: width.parse().ok()?,
                loads: loads.parse().ok()?,
                equal: is_equal(equal)?,
            })
        })
    }
}
