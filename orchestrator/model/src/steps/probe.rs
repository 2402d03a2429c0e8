//! The step `probe`: one access that may fault, and end the guest.

use super::{Due, Observed, StepAttempt, StepKind, StepLine};
use crate::cell::ResolvedCell;
use crate::finding::{Finding, Subject, Weight};
use crate::lines::{LineError, Promised, Word, line, one_of};
use crate::record::At;
use crate::scenario::schema;
use crate::witnesses::behaviour::ending;
use s2lab_protocol::{GuestEnd, MapKind, ProbeEnd, ProbeKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::{fmt, str::FromStr};

/// One access in the guest's user space that may fault. It may kill the guest, so only other probes
/// of the guest may follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ProbeStep {
    /// The guest that accesses.
    pub guest: String,
    /// The device of the guest.
    pub device: String,
    /// The kind of the guest's mapping of the BAR.
    #[schemars(schema_with = "schema::map_kind")]
    pub map: MapKind,
    /// The access, an unaligned store if left out.
    #[serde(default, rename = "do", skip_serializing_if = "is_usual")]
    #[schemars(schema_with = "schema::probe_kind")]
    pub kind: ProbeKind,
}

fn is_usual(kind: &ProbeKind) -> bool {
    *kind == ProbeKind::default()
}

impl StepKind for ProbeStep {
    fn device(&self) -> Option<&str> {
        Some(&self.device)
    }

    fn due(&self, attempt: &StepAttempt<'_>) -> Vec<Due> {
        let here = |probed: &At<'_, Probed>| {
            probed.guest == self.guest
                && probed.device == self.device
                && probed.map == self.map
                && probed.kind == self.kind
        };
        let words = if is_usual(&self.kind) { String::new() } else { format!(" by {}", words(self.kind)) };
        vec![Due {
            subject: attempt.subject().guest(&self.guest).region(&self.device),
            what: format!("step {}, probe of {} by {}{words}", attempt.at, self.device, self.guest),
            found: attempt.all().filter(here).count(),
        }]
    }

    fn promised(&self, attempt: &StepAttempt<'_>) -> Vec<Promised> {
        let line = |probed: At<'_, Probed>| {
            let Probed { guest, device, map, kind, outcome, .. } = probed.data;
            let (guest, device, ending) = (Word::new(guest), Word::new(device), ending(outcome));
            Promised::Step(StepLine::Probe(ProbeLine { kind: *kind, guest, device, map: *map, ending }))
        };
        attempt.all().map(line).collect()
    }
}

/// Returns the words for a kind of probe in messages and reports.
pub(crate) fn words(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Store => "unaligned store",
        ProbeKind::Load => "unaligned load",
        ProbeKind::Zva | ProbeKind::Atomic | ProbeKind::Exclusive | ProbeKind::Fetch => kind.name(),
    }
}

/// Returns `unaligned store by GUEST to DEVICE`.
pub(crate) fn access_words(kind: ProbeKind, guest: &str, device: &str) -> String {
    let to = if matches!(kind, ProbeKind::Load | ProbeKind::Fetch) { "from" } else { "to" };
    format!("{} by {guest} {to} {device}", words(kind))
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

/// The end of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    pub guest: String,
    pub device: String,
    pub map: MapKind,
    #[serde(default, rename = "do", skip_serializing_if = "is_usual")]
    pub kind: ProbeKind,
    pub outcome: ProbeOutcome,
    /// The access did not complete, and the BAR's memory has changed all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub arrived: bool,
}

impl Observed for Probed {
    /// Only an access that leaves wrong bytes was compared.
    fn bytes(&self, at: usize) -> Option<Vec<Finding>> {
        let (expected, found) = match self.outcome {
            ProbeOutcome::Answered(ProbeEnd::Wrong) => ("ok or fault", "completes, but reads back wrong"),
            _ if self.arrived => ("the BAR's bytes as before", "does not complete, and leaves other bytes"),
            _ => return None,
        };
        let subject = Subject::step(at).guest(&self.guest).region(&self.device);
        let what = access_words(self.kind, &self.guest, &self.device);
        Some(vec![Finding::new(Weight::Kernel, subject, what, expected, found)])
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeOutcome {
    /// The guest answered.
    Answered(ProbeEnd),
    /// The guest's VMM stopped or ended instead.
    GuestEnded(GuestEnd),
    /// Nothing was tried: an earlier probe has ended the guest.
    NotDone,
}

/// `unaligned store g0 nic wc: ok`: the ending of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeLine {
    pub kind: ProbeKind,
    pub guest: Word,
    pub device: Word,
    pub map: MapKind,
    pub ending: Ending,
}

/// The ending of a probe, as far as it is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Ok,
    Fault,
    /// KVM_RUN gave the access to the VMM, which does not answer it.
    Exit,
    /// The access completed, but the bytes read back are wrong.
    Wrong,
    /// The guest's CPU does not have the instruction.
    Unsupported,
    /// An earlier probe has ended the guest.
    NotDone,
}

impl Ending {
    pub(crate) const ALL: [Ending; 6] =
        [Ending::Ok, Ending::Fault, Ending::Exit, Ending::Wrong, Ending::Unsupported, Ending::NotDone];
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ending::Ok => "ok",
            Ending::Fault => "fault",
            Ending::Exit => "exit",
            Ending::Wrong => "wrong",
            Ending::Unsupported => "unsupported",
            Ending::NotDone => "not done",
        })
    }
}

impl ProbeLine {
    /// Returns true for the first word of such a line.
    pub(super) fn is_begun(word: &str) -> bool {
        ProbeKind::ALL.into_iter().any(|kind| words(kind).split(' ').next() == Some(word))
    }
}

impl fmt::Display for ProbeLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProbeLine { kind, guest, device, map, ending } = self;
        write!(f, "{} {guest} {device} {map}: {ending}", words(*kind))
    }
}

impl FromStr for ProbeLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "ACCESS GUEST DEVICE MAP: ENDING", |text| {
            let (subject, ending) = text.rsplit_once(": ")?;
            let mut subject = subject.rsplitn(4, ' ');
            let (map, device, guest) = (subject.next()?, subject.next()?, subject.next()?);
            let kind = subject.next()?;
            Some(ProbeLine {
                kind: ProbeKind::ALL.into_iter().find(|known| words(*known) == kind)?,
                guest: guest.parse().ok()?,
                device: device.parse().ok()?,
                map: map.parse().ok()?,
                ending: one_of(Ending::ALL, ending)?,
            })
        })
    }
}
