//! The step `dma`: a guest's kernel transfers data to and from a drive, whose memory L0 reads and writes from
//! outside.

use super::{Due, Observed, StepAttempt, StepKind, StepLine};
use crate::finding::{Finding, Subject, Weight};
use crate::lines::{LineError, Promised, Word, equality, is_equal, line};
use crate::record::At;
use crate::scenario::Size;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A guest's kernel writes a pattern to a drive and reads it back; then it reads one that s2lab has put there. All
/// of it goes by DMA, through the host's IOMMU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct DmaStep {
    /// The guest, which has a Linux of its own.
    pub guest: String,
    /// The device of the guest, of the model `nvme`.
    pub device: String,
    /// The bytes of each transfer, from the first one of the drive: a multiple of 4K, 64M at most.
    pub bytes: Size,
}

impl DmaStep {
    fn what(&self, at: usize) -> String {
        format!("step {at}, DMA of {} by {}", self.device, self.guest)
    }

    fn subject(&self, attempt: &StepAttempt<'_>) -> Subject {
        attempt.subject().guest(&self.guest).region(&self.device)
    }

    fn is_of(&self, done: &DmaDone) -> bool {
        done.guest == self.guest && done.device == self.device
    }
}

impl StepKind for DmaStep {
    fn device(&self) -> Option<&str> {
        Some(&self.device)
    }

    fn due(&self, attempt: &StepAttempt<'_>) -> Vec<Due> {
        vec![Due {
            subject: self.subject(attempt),
            what: self.what(attempt.at),
            found: attempt.all().filter(|done: &At<'_, DmaDone>| self.is_of(done)).count(),
        }]
    }

    fn unlike(&self, attempt: &StepAttempt<'_>) -> Vec<Finding> {
        let wrong = |done: At<'_, DmaDone>| {
            let (what, found) = (self.what(attempt.at), format!("{} bytes", done.bytes));
            let expected = format!("{} bytes", self.bytes.0);
            (done.bytes != self.bytes.0)
                .then(|| Finding::new(Weight::Lab, self.subject(attempt), what, expected, found))
        };
        attempt.all().filter_map(wrong).collect()
    }

    fn promised(&self, attempt: &StepAttempt<'_>) -> Vec<Promised> {
        let line = |done: At<'_, DmaDone>| Promised::Step(StepLine::Dma(done.line()));
        attempt.all().map(line).collect()
    }
}

/// Transfers between a guest and a drive. A difference is the offset of the first word that is not the pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DmaDone {
    pub guest: String,
    pub device: String,
    /// The bytes of each transfer.
    pub bytes: u64,
    /// The difference in the memory of the drive, after the guest has written.
    pub drive_difference: Option<u64>,
    /// The difference in what the guest has read back.
    pub back_difference: Option<u64>,
    /// The difference in what the guest has read after s2lab had put another pattern into the memory of the drive.
    pub read_difference: Option<u64>,
}

impl Observed for DmaDone {
    fn bytes(&self, at: usize) -> Option<Vec<Finding>> {
        let subject = Subject::step(at).guest(&self.guest).region(&self.device);
        let doing = format!("step {at}, DMA of {}", self.device);
        let compared = [
            ("drive", self.drive_difference),
            ("read-back", self.back_difference),
            ("guest's memory", self.read_difference),
        ];
        Some(differences(&subject, &doing, "the pattern that was transferred", compared))
    }
}

/// Returns a finding for each side of a transfer that has a difference: the offset of the first word that is not
/// `expected`. `doing` is the transfer, for people.
pub(super) fn differences<const N: usize>(
    subject: &Subject,
    doing: &str,
    expected: &str,
    sides: [(&str, Option<u64>); N],
) -> Vec<Finding> {
    let finding = |(side, difference): (&str, Option<u64>)| {
        let found = format!("differs from offset {:#x}", difference?);
        let what = format!("{side} after {doing}");
        Some(Finding::new(Weight::Kernel, subject.clone(), what, expected, found))
    };
    sides.into_iter().filter_map(finding).collect()
}

impl DmaDone {
    fn line(&self) -> DmaLine {
        let DmaDone { guest, device, bytes, drive_difference, back_difference, read_difference } = self;
        DmaLine {
            guest: Word::new(guest),
            device: Word::new(device),
            bytes: Size(*bytes),
            drive_equal: drive_difference.is_none(),
            back_equal: back_difference.is_none(),
            read_equal: read_difference.is_none(),
        }
    }
}

/// `dma g0 disk 4M: drive equal, read-back equal, read equal`: the result of the transfers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DmaLine {
    pub guest: Word,
    pub device: Word,
    pub bytes: Size,
    /// The drive has what the guest has written.
    pub drive_equal: bool,
    /// The guest reads it back.
    pub back_equal: bool,
    /// The guest reads what s2lab has put into the drive.
    pub read_equal: bool,
}

/// The first word of the line.
pub(super) const DMA: &str = "dma";
const FORM: &str = "dma GUEST DEVICE BYTES: drive equal, read-back equal, read equal";

impl fmt::Display for DmaLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DmaLine { guest, device, bytes, .. } = self;
        let [drive, back, read] = [self.drive_equal, self.back_equal, self.read_equal].map(equality);
        write!(f, "{DMA} {guest} {device} {bytes}: drive {drive}, read-back {back}, read {read}")
    }
}

impl FromStr for DmaLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, FORM, |text| {
            let (subject, values) = text.rsplit_once(": ")?;
            let [_, guest, device, bytes]: [&str; 4] =
                subject.split(' ').collect::<Vec<_>>().try_into().ok()?;
            let [drive, back, read]: [&str; 3] = values.split(", ").collect::<Vec<_>>().try_into().ok()?;
            Some(DmaLine {
                guest: guest.parse().ok()?,
                device: device.parse().ok()?,
                bytes: Size::try_from(bytes.to_owned()).ok()?,
                drive_equal: is_equal(drive.strip_prefix("drive ")?)?,
                back_equal: is_equal(back.strip_prefix("read-back ")?)?,
                read_equal: is_equal(read.strip_prefix("read ")?)?,
            })
        })
    }
}
