//! The promises of the series, and of what must stay as it was: the invariants that a scenario can
//! check.

use super::Scenario;
use crate::steps::LookStep;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// Each promise in one sentence, I1 first.
const SENTENCES: [&str; 17] = [
    "Stage 2 maps a vfio-pci BAR as Normal-NC, never executable, inner shareable and accessed, with FEAT_S2FWB and without.",
    "Stage 2 maps the memory of a vfio-platform device as Device-nGnRE.",
    "Stage 2 maps the GICv2 virtual CPU interface as Device-nGnRE.",
    "Stage 2 maps guest RAM as cacheable, whatever backs it: anonymous memory, huge pages, memfd or a file.",
    "A VMA over a BAR without the flag, such as sysfs resourceN and resourceN_wc, gives Device-nGnRE in stage 2.",
    "Over Normal-NC in stage 2, a guest's Device mapping stays Device, and its Normal mappings are Normal-NC, never cacheable.",
    "KVM refuses Device with Normal-NC and executable Normal-NC; a guest that executes a BAR gets an abort, and its VMM stays alive.",
    "A 32-bit kernel builds with the new VMA flag and behaves as before.",
    "After a reset, D3, hot-unplug or PCI memory disabled, the BAR's stage-2 entries are gone, and a new fault maps Normal-NC again.",
    "KVM refuses dirty logging of a memslot over a BAR; a read-only memslot is Normal-NC without write permission.",
    "RAM and a BAR at neighbouring IPAs, or in one memslot, each have the type of their VMA; no block spans both.",
    "A permission fault that makes a page writable later keeps its type.",
    "/proc/PID/smaps shows the flag `??` on VMAs of a vfio-pci BAR and on no other.",
    "A 2M block and a 4K page of a BAR have the same type.",
    "A guest with MTE gets no memslot over a BAR.",
    "Without the VMA flag, KVM behaves as the kernel before the series.",
    "Stage 2 of a guest maps only what the guest was given.",
];

/// A promise, I1 to I17.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("format" = "promise", "pattern" = "^I([1-9]|1[0-7])$"))]
pub struct Promise(u8);

impl Promise {
    /// I1, about a BAR's stage-2 type.
    pub const BAR: Promise = Promise(1);
    /// I2, about the memory of a platform device.
    pub const PLATFORM: Promise = Promise(2);
    /// I3, about the GIC's virtual CPU interface.
    pub const GICV: Promise = Promise(3);
    /// I4, about the stage-2 type of guest RAM.
    pub const RAM: Promise = Promise(4);
    /// I5, about a BAR whose VMA has no flag.
    pub const UNFLAGGED: Promise = Promise(5);
    /// I6, about the result of both stages.
    pub const EFFECTIVE: Promise = Promise(6);
    /// I7, about instruction fetches from a BAR.
    pub const FETCH: Promise = Promise(7);
    /// I9, about the BAR after a reset.
    pub const RESET: Promise = Promise(9);
    /// I10, about dirty logging.
    pub const LOGGING: Promise = Promise(10);
    /// I11, about memory at neighbouring IPAs.
    pub const NEIGHBOURS: Promise = Promise(11);
    /// I13, about the VMA flag.
    pub const FLAG: Promise = Promise(13);
    /// I15, about guests with memory tagging.
    pub const MTE: Promise = Promise(15);
    /// I17. Every scenario that looks checks it.
    pub const ISOLATION: Promise = Promise(17);

    /// All promises with their sentences, I1 first.
    pub fn all() -> impl Iterator<Item = (Promise, &'static str)> {
        (1..).map(Promise).zip(SENTENCES)
    }
}

impl Scenario {
    /// Returns the promises that the scenario checks: those that it names, and isolation if it
    /// looks.
    pub fn held_up(&self) -> BTreeSet<Promise> {
        let looks = self.steps.iter().any(|step| step.of::<LookStep>().is_some());
        self.promises.iter().copied().chain(looks.then_some(Promise::ISOLATION)).collect()
    }
}

impl TryFrom<String> for Promise {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::all()
            .map(|(promise, _)| promise)
            .find(|promise| promise.to_string() == text)
            .ok_or_else(|| format!("`{text}` is not a promise; the promises are I1 to I{}", SENTENCES.len()))
    }
}

impl From<Promise> for String {
    fn from(promise: Promise) -> String {
        promise.to_string()
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "I{}", self.0)
    }
}
