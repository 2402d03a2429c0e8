//! The step `probe`: one unaligned store, which may end the guest.

use super::{Due, Observed, StepAttempt, StepKind, StepLine};
use crate::cell::ResolvedCell;
use crate::finding::{Finding, Subject, Weight};
use crate::lines::{LineError, Promised, Word, line, one_of};
use crate::record::At;
use crate::scenario::schema;
use crate::witnesses::behaviour::ending;
use s2lab_protocol::{GuestEnd, MapKind, UnalignedOutcome};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::{fmt, str::FromStr};

/// One unaligned store in the guest's user space. It may kill the guest, so it is the last step of
/// its guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ProbeStep {
    /// The guest that stores.
    pub guest: String,
    /// The device of the guest.
    pub device: String,
    /// The kind of the guest's mapping of the BAR.
    #[schemars(schema_with = "schema::map_kind")]
    pub map: MapKind,
}

impl StepKind for ProbeStep {
    fn device(&self) -> Option<&str> {
        Some(&self.device)
    }

    fn due(&self, attempt: &StepAttempt<'_>) -> Vec<Due> {
        let here = |probed: &At<'_, Probed>| {
            probed.guest == self.guest && probed.device == self.device && probed.map == self.map
        };
        vec![Due {
            subject: attempt.subject().guest(&self.guest).region(&self.device),
            what: format!("step {}, probe of {} by {}", attempt.at, self.device, self.guest),
            found: attempt.all().filter(here).count(),
        }]
    }

    fn promised(&self, attempt: &StepAttempt<'_>) -> Vec<Promised> {
        let line = |probed: At<'_, Probed>| {
            let Probed { guest, device, map, outcome } = probed.data;
            let (guest, device, map) = (Word::new(guest), Word::new(device), *map);
            Promised::Step(StepLine::Probe(ProbeLine { guest, device, map, ending: ending(outcome) }))
        };
        attempt.all().map(line).collect()
    }
}

impl ResolvedCell {
    /// Returns the guests that run at step `at`: those without a probe before it, which may have
    /// ended them.
    pub fn running_at(&self, at: usize) -> BTreeSet<&str> {
        let before = self.steps.iter().take(at).filter_map(|step| step.of::<ProbeStep>());
        let probed: BTreeSet<_> = before.map(|probe| probe.guest.as_str()).collect();
        self.guests.keys().map(String::as_str).filter(|guest| !probed.contains(guest)).collect()
    }
}

/// The end of an unaligned store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    pub guest: String,
    pub device: String,
    pub map: MapKind,
    pub outcome: ProbeOutcome,
}

impl Observed for Probed {
    /// Only a store that reads back wrong was compared.
    fn bytes(&self, at: usize) -> Option<Vec<Finding>> {
        let wrong = self.outcome == ProbeOutcome::Answered(UnalignedOutcome::Wrong);
        wrong.then(|| {
            let subject = Subject::step(at).guest(&self.guest).region(&self.device);
            let what = format!("unaligned store by {} to {}", self.guest, self.device);
            let found = "completes, but reads back wrong";
            vec![Finding::new(Weight::Kernel, subject, what, "ok or fault", found)]
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeOutcome {
    /// The guest answered.
    Answered(UnalignedOutcome),
    /// The guest's VMM stopped or ended instead.
    GuestEnded(GuestEnd),
}

/// `unaligned store g0 nic wc: ok`: the ending of an unaligned store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeLine {
    pub guest: Word,
    pub device: Word,
    pub map: MapKind,
    pub ending: Ending,
}

/// The ending of an unaligned store, as far as it is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Ok,
    Fault,
    /// The store completed, but the bytes read back are wrong.
    Wrong,
}

impl Ending {
    pub(super) const ALL: [Ending; 3] = [Ending::Ok, Ending::Fault, Ending::Wrong];
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

impl fmt::Display for ProbeLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProbeLine { guest, device, map, ending } = self;
        write!(f, "unaligned store {guest} {device} {map}: {ending}")
    }
}

impl FromStr for ProbeLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "unaligned store GUEST DEVICE MAP: ENDING", |text| {
            let words: Vec<_> = text.split(' ').collect();
            let [_, _, guest, device, map, ending] = words[..] else { return None };
            Some(ProbeLine {
                guest: guest.parse().ok()?,
                device: device.parse().ok()?,
                map: map.strip_suffix(':')?.parse().ok()?,
                ending: one_of(Ending::ALL, ending)?,
            })
        })
    }
}
