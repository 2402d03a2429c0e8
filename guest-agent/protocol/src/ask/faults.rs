//! The stage-2 faults of a guest, in the trace of the host's kernel.

use super::{Ask, HostRequest};
use serde::{Deserialize, Serialize};

/// Asks for the pages at which a guest has taken a stage-2 translation fault since the last such
/// request, from KVM's trace event `kvm_guest_fault`. The trace has the IPAs of
/// [`crate::BAR_WINDOWS`] alone: a guest's RAM has most of its faults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Faults {
    pub guest: String,
}

impl Ask for Faults {
    type Level = HostRequest;
    type Answer = Faulted;
    const DOING: &str = "read the trace of faults";

    fn request(self) -> HostRequest {
        HostRequest::Faults(self)
    }
}

/// The pages at which a guest has taken faults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Faulted {
    /// The pages, ascending and disjoint; at most [`Pages::MOST`] runs.
    pub runs: Vec<Pages>,
    /// The reason why faults may be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
}

/// Neighbouring 4 KiB pages of a guest's physical address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pages {
    /// The IPA of the first byte.
    pub ipa: u64,
    /// The number of pages, at least 1.
    pub pages: u64,
}

impl Pages {
    /// The size of a page in bytes.
    pub const SIZE: u64 = 4096;
    /// The most runs in one answer.
    pub const MOST: usize = 2048;

    /// Returns the runs of the pages with these IPAs, which are ascending.
    pub fn runs(pages: impl IntoIterator<Item = u64>) -> Vec<Pages> {
        let mut runs: Vec<Pages> = vec![];
        for ipa in pages {
            match runs.last_mut().filter(|last| last.end() == Some(ipa)) {
                Some(last) => last.pages += 1,
                None => runs.push(Pages { ipa, pages: 1 }),
            }
        }
        runs
    }

    /// Returns the IPA after the last byte, or None beyond the address space.
    pub fn end(&self) -> Option<u64> {
        self.ipa.checked_add(self.pages.checked_mul(Self::SIZE)?)
    }
}
