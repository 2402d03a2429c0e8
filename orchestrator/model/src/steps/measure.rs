//! The step `measure`: a store that is made several times, of which each has a time.

use super::store::{StoreLine, StoreStep, Stored};
use super::{Access, Due, Observed, StepAttempt, StepKind, StepLine, Unmapped};
use crate::finding::{Finding, Weight};
use crate::lines::{LineError, Promised, Word, line};
use crate::record::At;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The most stores before the samples, and the most samples: each has a line in the log.
const MOST: u32 = 100;

/// A store is made several times, and each time is a sample. The report has their median, an interval
/// of it, the least and the greatest. They never decide a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
pub struct MeasureStep {
    /// The name of the measure in the report.
    #[schemars(extend("format" = "name", "pattern" = s2lab_protocol::NAME_PATTERN))]
    pub name: String,
    /// The measured store, with the keys of the step `store`. It has one width.
    pub store: StoreStep,
    /// The number of stores before the first sample, from 0 to 100. They are logged and not counted.
    #[serde(default = "MeasureStep::default_warm_up")]
    #[schemars(range(min = 0, max = MOST))]
    pub warm_up: u32,
    /// The number of samples, from 1 to 100. An interval needs 6.
    #[serde(default = "MeasureStep::default_samples")]
    #[schemars(range(min = 1, max = MOST))]
    pub samples: u32,
    /// The device to reset through VFIO before each store, so that each store takes the stage-2 faults
    /// of its pages; none: only the first store takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub reset: Option<String>,
}

impl MeasureStep {
    fn default_warm_up() -> u32 {
        3
    }

    fn default_samples() -> u32 {
        15
    }

    /// Returns the number of stores, with the warm-up.
    pub fn stores(&self) -> u32 {
        self.warm_up.saturating_add(self.samples)
    }

    fn has(&self, sample: &Sample) -> bool {
        sample.measure == self.name && sample.warm_up == (sample.number < self.warm_up)
    }
}

impl StepKind for MeasureStep {
    fn device(&self) -> Option<&str> {
        Some(&self.store.device)
    }

    fn due(&self, attempt: &StepAttempt<'_>) -> Vec<Due> {
        let samples: Vec<_> = attempt.all::<Sample>().filter(|sample| self.has(sample.data)).collect();
        let of_number = |number: u32| Due {
            subject: attempt.subject().guest(&self.store.guest).region(&self.store.device),
            what: format!("step {}, store {number} of measure {}", attempt.at, self.name),
            found: samples.iter().filter(|sample| sample.number == number).count(),
        };
        (0..self.stores()).map(of_number).collect()
    }

    fn unlike(&self, attempt: &StepAttempt<'_>) -> Vec<Finding> {
        let stores = self.store.accesses().unlike(attempt, |sample: &Sample| sample.stored.result.nanos > 0);
        let unlike = |sample: At<'_, Sample>| {
            let found = sample.reset.as_deref().unwrap_or("no reset").to_owned();
            let what = format!("step {}, reset before store {}", attempt.at, sample.number);
            let expected =
                self.reset.as_deref().map_or("no reset".to_owned(), |of| format!("a reset of {of}"));
            Finding::new(Weight::Lab, attempt.subject(), what, expected, found)
        };
        let other = |sample: &At<'_, Sample>| sample.reset.is_some() != self.reset.is_some();
        stores.into_iter().chain(attempt.all().filter(other).map(unlike)).collect()
    }

    /// The samples have one line, as long as they have the same result.
    fn promised(&self, attempt: &StepAttempt<'_>) -> Vec<Promised> {
        let mut lines: Vec<_> = attempt.all::<Sample>().map(|sample| sample.line()).collect();
        lines.dedup();
        lines.into_iter().map(|line| Promised::Step(StepLine::Measure(line))).collect()
    }
}

/// One store of a measure. Its time is [`StoreResult::nanos`](s2lab_protocol::StoreResult::nanos), by
/// the guest's CNTVCT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The name of the measure.
    pub measure: String,
    /// From 0, the warm-up first.
    pub number: u32,
    /// The store is before the first sample, and is not counted.
    pub warm_up: bool,
    /// The method of the device's reset before the store, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<String>,
    pub stored: Stored,
}

impl Observed for Sample {
    fn access(&self) -> Option<Access<'_>> {
        self.stored.access()
    }

    fn stored(&self) -> Option<&Stored> {
        Some(&self.stored)
    }

    fn unmaps(&self) -> Option<Unmapped<'_>> {
        self.reset.as_ref().map(|_| Unmapped::Device(&self.stored.device))
    }

    fn bytes(&self, at: usize) -> Option<Vec<Finding>> {
        self.stored.bytes(at)
    }
}

impl Sample {
    fn line(&self) -> MeasureLine {
        MeasureLine { name: Word::new(&self.measure), store: self.stored.line() }
    }
}

/// `measure first-touch, store g0 nic wc 8 B: 512 stores, BAR file equal, read-back equal`: the result
/// of each sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasureLine {
    pub name: Word,
    pub store: StoreLine,
}

const FORM: &str = "measure NAME, store ...";

impl fmt::Display for MeasureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "measure {}, {}", self.name, self.store)
    }
}

impl FromStr for MeasureLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, FORM, |text| {
            let (name, store) = text.strip_prefix("measure ")?.split_once(", ")?;
            Some(MeasureLine { name: name.parse().ok()?, store: store.parse().ok()? })
        })
    }
}
