//! Findings: what is not as it should be, whose fault it is, what it is about, and which promise it
//! breaks.

use crate::record::look::DecodedLook;
use crate::scenario::Promise;
use crate::verdict::Verdict;
use std::fmt;

/// Most lines of evidence of one finding.
const MOST_DETAIL: usize = 64;

/// Something that is not as it should be. Its texts may come from a guest; whoever shows them
/// escapes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub weight: Weight,
    pub subject: Subject,
    /// The promise that it breaks, where one is known.
    pub promise: Option<Promise>,
    /// The property that is wrong, and where, in words: `stage2 of nic at look stored, guest g0`.
    pub what: String,
    pub expected: String,
    pub found: String,
    /// Evidence that may differ from run to run: console lines, addresses.
    pub detail: Vec<String>,
}

/// Whose fault a finding is, in the order in which they decide the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// The kernel's, whatever the tables say: FAIL.
    Kernel,
    /// The CPU or QEMU contradicts the walk, so nothing that rests on the walk counts: MISS.
    Doubt,
    /// The kernel's, as the tables show: FAIL.
    Tables,
    /// The lab's: something that should have been observed was not: MISS.
    Lab,
    /// Nobody's: this QEMU cannot show what is expected: SKIP.
    Lacking,
}

impl Weight {
    /// Returns true for a finding that shows something about the kernel.
    pub(crate) fn is_kernel(self) -> bool {
        match self {
            Weight::Kernel | Weight::Tables => true,
            Weight::Doubt | Weight::Lab | Weight::Lacking => false,
        }
    }
}

/// The part of a cell that a finding is about; without any of them it is the cell as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// From 0, in the scenario's order.
    pub step: Option<usize>,
    /// The look's name.
    pub look: Option<String>,
    pub guest: Option<String>,
    /// A device by the scenario's name, or `ram`.
    pub region: Option<String>,
}

impl Subject {
    /// The cell as a whole.
    pub(crate) fn cell() -> Self {
        Self::default()
    }

    pub(crate) fn step(step: usize) -> Self {
        Self { step: Some(step), ..Self::default() }
    }

    /// One guest at one look.
    pub(crate) fn look(look: &DecodedLook) -> Self {
        Self::step(look.step).named(&look.name).guest(&look.guest)
    }

    /// At the look of this name.
    pub(crate) fn named(self, look: &str) -> Self {
        Self { look: Some(look.to_owned()), ..self }
    }

    pub(crate) fn guest(self, guest: &str) -> Self {
        Self { guest: Some(guest.to_owned()), ..self }
    }

    pub(crate) fn region(self, region: &str) -> Self {
        Self { region: Some(region.to_owned()), ..self }
    }
}

impl fmt::Display for Subject {
    /// `nic at look stored, guest g0`; the step is named where there is no look.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Subject { step, look, guest, region } = self;
        let place = match (look, step) {
            (Some(look), _) => Some(format!("look {look}")),
            (None, Some(step)) => Some(format!("step {step}")),
            (None, None) => None,
        };
        let guest = guest.as_ref().map(|guest| format!("guest {guest}"));
        let place: Vec<_> = place.into_iter().chain(guest).collect();
        match (region, place.is_empty()) {
            (Some(region), true) => f.write_str(region),
            (Some(region), false) => write!(f, "{region} at {}", place.join(", ")),
            (None, true) => f.write_str("the cell"),
            (None, false) => f.write_str(&place.join(", ")),
        }
    }
}

impl Finding {
    pub(crate) fn new(
        weight: Weight,
        subject: Subject,
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Finding {
        let (what, expected, found) = (what.into(), expected.into(), found.into());
        Finding { weight, subject, promise: None, what, expected, found, detail: vec![] }
    }

    /// With lines of evidence, of which the first [`MOST_DETAIL`] are kept.
    pub(crate) fn with(mut self, detail: impl IntoIterator<Item = String>) -> Finding {
        let mut detail = detail.into_iter();
        let room = MOST_DETAIL.saturating_sub(self.detail.len());
        self.detail.extend(detail.by_ref().take(room));
        if let more @ 1.. = detail.count() {
            self.detail.push(format!("... and {more} more"));
        }
        self
    }

    pub(crate) fn breaking(self, promise: Promise) -> Finding {
        Finding { promise: Some(promise), ..self }
    }

    /// The verdict on an attempt of which this is the weightiest finding.
    pub(crate) fn verdict(&self) -> Verdict {
        match self.weight {
            Weight::Kernel | Weight::Tables => Verdict::Fail,
            Weight::Doubt | Weight::Lab => Verdict::Miss,
            Weight::Lacking => Verdict::Skip(self.found.clone()),
        }
    }
}

/// Returns the finding that a single line names: the first. If a witness and the tables contradict
/// each other over a region, the tables' finding names the type, and is taken.
pub(crate) fn lead(findings: &[Finding]) -> Option<&Finding> {
    let first = findings.first()?;
    let same = |finding: &&Finding| finding.weight == Weight::Tables && finding.subject == first.subject;
    let at_a_look = first.weight == Weight::Kernel && first.subject.look.is_some();
    findings.iter().filter(|_| at_a_look).find(same).or(Some(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_in_words() {
        let look = Subject::step(1).named("stored").guest("g0");
        for (subject, words) in [
            (look.clone().region("nic"), "nic at look stored, guest g0"),
            (look, "look stored, guest g0"),
            (Subject::step(1).guest("g0"), "step 1, guest g0"),
            (Subject::step(1), "step 1"),
            (Subject::cell().region("nic"), "nic"),
            (Subject::cell().guest("g0"), "guest g0"),
            (Subject::cell(), "the cell"),
        ] {
            assert_eq!(subject.to_string(), words);
        }
    }
}
