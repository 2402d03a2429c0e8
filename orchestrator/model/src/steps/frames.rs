//! The step `frames`: a guest and the host exchange Ethernet frames through a virtual function.

use super::dma::differences;
use super::{Due, Observed, StepAttempt, StepKind, StepLine};
use crate::finding::{Finding, Subject, Weight};
use crate::lines::{LineError, Promised, Word, equality, is_equal, line};
use crate::record::At;
use crate::scenario::Size;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A guest sends frames by its virtual function, and the host receives them at the interface of the physical one;
/// then the host sends, and the guest receives. Both sides compare each byte. All of it goes by DMA, through the
/// host's IOMMU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct FramesStep {
    /// The guest, which is of the built-in VMM.
    pub guest: String,
    /// The device, of which the guest has a virtual function.
    pub device: String,
    /// The bytes of each direction: a multiple of 4K, 64M at most. A frame has 1K of them.
    pub bytes: Size,
}

impl FramesStep {
    fn what(&self, at: usize) -> String {
        format!("step {at}, frames of {} by {}", self.device, self.guest)
    }

    fn subject(&self, attempt: &StepAttempt<'_>) -> Subject {
        attempt.subject().guest(&self.guest).region(&self.device)
    }

    fn is_of(&self, done: &FramesDone) -> bool {
        done.guest == self.guest && done.device == self.device
    }
}

impl StepKind for FramesStep {
    fn device(&self) -> Option<&str> {
        Some(&self.device)
    }

    fn due(&self, attempt: &StepAttempt<'_>) -> Vec<Due> {
        vec![Due {
            subject: self.subject(attempt),
            what: self.what(attempt.at),
            found: attempt.all().filter(|done: &At<'_, FramesDone>| self.is_of(done)).count(),
        }]
    }

    fn unlike(&self, attempt: &StepAttempt<'_>) -> Vec<Finding> {
        let wrong = |done: At<'_, FramesDone>| {
            let (what, found) = (self.what(attempt.at), format!("{} bytes", done.bytes));
            let expected = format!("{} bytes", self.bytes.0);
            (done.bytes != self.bytes.0)
                .then(|| Finding::new(Weight::Lab, self.subject(attempt), what, expected, found))
        };
        attempt.all().filter_map(wrong).collect()
    }

    fn promised(&self, attempt: &StepAttempt<'_>) -> Vec<Promised> {
        let line = |done: At<'_, FramesDone>| Promised::Step(StepLine::Frames(done.line()));
        attempt.all().map(line).collect()
    }
}

/// Frames between a guest and the host. A difference is the offset of the first word that is not the pattern; a frame
/// that did not arrive differs as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FramesDone {
    pub guest: String,
    pub device: String,
    /// The bytes of each direction.
    pub bytes: u64,
    /// The difference in what the host has received.
    pub host_difference: Option<u64>,
    /// The difference in what the guest has received.
    pub guest_difference: Option<u64>,
}

impl Observed for FramesDone {
    fn bytes(&self, at: usize) -> Option<Vec<Finding>> {
        let subject = Subject::step(at).guest(&self.guest).region(&self.device);
        let doing = format!("step {at}, frames of {}", self.device);
        let compared = [
            ("what the host received", self.host_difference),
            ("what the guest received", self.guest_difference),
        ];
        Some(differences(&subject, &doing, "the pattern that was sent", compared))
    }
}

impl FramesDone {
    fn line(&self) -> FramesLine {
        let FramesDone { guest, device, bytes, host_difference, guest_difference } = self;
        FramesLine {
            guest: Word::new(guest),
            device: Word::new(device),
            bytes: Size(*bytes),
            host_equal: host_difference.is_none(),
            guest_equal: guest_difference.is_none(),
        }
    }
}

/// `frames g0 nic 256K: host equal, guest equal`: the result of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FramesLine {
    pub guest: Word,
    pub device: Word,
    pub bytes: Size,
    /// The host has received what the guest has sent.
    pub host_equal: bool,
    /// The guest has received what the host has sent.
    pub guest_equal: bool,
}

/// The first word of the line.
pub(super) const FRAMES: &str = "frames";
const FORM: &str = "frames GUEST DEVICE BYTES: host equal, guest equal";

impl fmt::Display for FramesLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FramesLine { guest, device, bytes, .. } = self;
        let [host, of_guest] = [self.host_equal, self.guest_equal].map(equality);
        write!(f, "{FRAMES} {guest} {device} {bytes}: host {host}, guest {of_guest}")
    }
}

impl FromStr for FramesLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, FORM, |text| {
            let (subject, values) = text.rsplit_once(": ")?;
            let [_, guest, device, bytes]: [&str; 4] =
                subject.split(' ').collect::<Vec<_>>().try_into().ok()?;
            let (host, of_guest) = values.split_once(", ")?;
            Some(FramesLine {
                guest: guest.parse().ok()?,
                device: device.parse().ok()?,
                bytes: Size::try_from(bytes.to_owned()).ok()?,
                host_equal: is_equal(host.strip_prefix("host ")?)?,
                guest_equal: is_equal(of_guest.strip_prefix("guest ")?)?,
            })
        })
    }
}
