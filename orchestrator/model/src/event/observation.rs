//! Observations: what a step of a scenario has brought to light. The same types are in the log and
//! in the record.

use crate::hex;
use s2lab_protocol::{GuestEnd, MapKind, Mapping, StoreResult, UnalignedOutcome, Vma};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use strum::VariantNames;

/// The content of an [`super::Event::Observed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Observation {
    Stored(Stored),
    Look(Look),
    Reset(Reset),
    AfterReset(AfterReset),
    Probed(Probed),
    VmaFlags(VmaFlags),
}

/// One kind of observation.
pub trait Observed: Sized + 'static {
    /// The observation, if it is of this kind.
    fn of(observation: &Observation) -> Option<&Self>;
}

/// The result of one store of a step: one for each width.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub guest: String,
    pub device: String,
    pub map: MapKind,
    pub width: u32,
    pub bytes: u64,
    pub result: StoreResult,
    /// The offset of the first word of the BAR's file that is not the pattern.
    pub file_difference: Option<u64>,
}

impl Observed for Stored {
    fn of(observation: &Observation) -> Option<&Self> {
        if let Observation::Stored(of) = observation { Some(of) } else { None }
    }
}

/// The tables of one guest at one moment. The pages are in `raw/` under their SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    pub name: String,
    pub guest: String,
    /// The index of the host's vCPU that ran the guest.
    pub vcpu: u32,
    /// The number of stops until a vCPU with the nonce was found.
    pub stops: u32,
    /// The time for which the machine was stopped for the look that counted, in microseconds.
    pub pause_us: u64,
    /// System registers by their architectural names: `VTTBR_EL2`, `VTCR_EL2`, `HCR_EL2`,
    /// `TTBR0_EL1`, `TCR_EL1`, `MAIR_EL1`, `SCTLR_EL1`.
    #[serde(with = "hex::values")]
    pub registers: BTreeMap<String, u64>,
    /// The host physical address of each 4 KiB page that the walks read, or whose content decides
    /// if it may be mapped, and its SHA-256 in hexadecimal.
    #[serde(with = "hex::keys")]
    pub pages: BTreeMap<u64, String>,
    /// The mappings of the held guest. Their stage 1 was walked.
    pub mappings: Vec<Mapping>,
    /// The guests that ran beside it and were looked at before. Their stage 2 was walked in the
    /// same pause.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub beside: BTreeMap<String, Beside>,
}

impl Observed for Look {
    fn of(observation: &Observation) -> Option<&Self> {
        if let Observation::Look(of) = observation { Some(of) } else { None }
    }
}

/// A guest beside the one that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// `VTTBR_EL2`, `VTCR_EL2` and `HCR_EL2` of the last look at it.
    #[serde(with = "hex::values")]
    pub registers: BTreeMap<String, u64>,
}

/// A device was reset, and by which method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    pub device: String,
    pub method: String,
}

impl Observed for Reset {
    fn of(observation: &Observation) -> Option<&Self> {
        if let Observation::Reset(of) = observation { Some(of) } else { None }
    }
}

/// Stage 2 of the guest that has the device, right after [`Reset`]; there is one if the guest was
/// looked at before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AfterReset {
    pub device: String,
    pub tables: Beside,
    /// Like [`Look::pages`].
    #[serde(with = "hex::keys")]
    pub pages: BTreeMap<u64, String>,
}

impl Observed for AfterReset {
    fn of(observation: &Observation) -> Option<&Self> {
        if let Observation::AfterReset(of) = observation { Some(of) } else { None }
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
    fn of(observation: &Observation) -> Option<&Self> {
        if let Observation::Probed(of) = observation { Some(of) } else { None }
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

/// VMAs of VFIO in a guest's VMM, read for one of its devices before a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmaFlags {
    pub guest: String,
    pub device: String,
    pub vmas: Vec<Vma>,
}

impl Observed for VmaFlags {
    fn of(observation: &Observation) -> Option<&Self> {
        if let Observation::VmaFlags(of) = observation { Some(of) } else { None }
    }
}
