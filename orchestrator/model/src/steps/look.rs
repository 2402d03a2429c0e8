//! The step `look`: each guest is held, and its tables are read from outside. A look `of: host` reads the host's
//! own stage 2 instead, see [`HostLook`].

use super::{Due, HostLook, Observed, StepAttempt, StepKind, StepLine, host_look};
use crate::cell::ResolvedCell;
use crate::hex;
use crate::judge::account::regions;
use crate::kconfig::{Need, Whose, need};
use crate::lines::{Geometry, LineError, Promised, Shape, Word, line};
use crate::record::look::DecodedLook;
use crate::scenario::Size;
use s2lab_protocol::{Mapping, Vma};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::{fmt, str::FromStr};

/// The VMAs of an assigned device are a witness of each look.
static NEEDS: [Need; 1] =
    [need("PROC_PAGE_MONITOR", "the flags of VMAs are read from smaps", Whose::WithDevices)];

/// s2lab reads the tables of every running guest, or the host's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct LookStep {
    /// The name of this look in expectations.
    #[schemars(extend("format" = "name", "pattern" = s2lab_protocol::NAME_PATTERN))]
    pub name: String,
    /// `host`: the host's own stage 2, which only a host in protected mode has (`kvm-arm.mode=protected` in its
    /// `arguments`). If left out, the tables of every guest that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LookOf")]
    pub of: Option<LookOf>,
}

/// The tables of a look that is not one at guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LookOf {
    /// The host's own stage 2.
    Host,
}

impl StepKind for LookStep {
    fn needs(&self) -> &'static [Need] {
        &NEEDS
    }

    /// Each running guest is looked at, or the host.
    fn due(&self, attempt: &StepAttempt<'_>) -> Vec<Due> {
        if self.of.is_some() {
            let found = attempt.all::<HostLook>().filter(|look| look.name == self.name).count();
            let subject = attempt.subject().named(&self.name);
            return vec![Due { what: subject.to_string(), subject, found }];
        }
        let running = attempt.record.planned.resolved.running_at(attempt.at);
        let of_guest = |guest: &str| {
            let subject = attempt.subject().named(&self.name).guest(guest);
            let here = attempt.looks().filter(|(look, _)| look.name == self.name && look.guest == guest);
            Due { what: subject.to_string(), subject, found: here.count() }
        };
        running.into_iter().map(of_guest).collect()
    }

    fn promised(&self, attempt: &StepAttempt<'_>) -> Vec<Promised> {
        let mut out = vec![];
        for (look, isolation) in attempt.looks() {
            out.push(Promised::Step(StepLine::Look(LookLine::new(&look.name, &look.guest))));
            match &look.seen {
                Ok(seen) => {
                    out.extend(regions::lines(attempt.record, look, seen));
                    out.push(Promised::Isolation(regions::isolation(attempt.record, look, isolation)));
                }
                Err(_) => out.push(Promised::Unreadable),
            }
        }
        out.extend(host_look::promised(attempt));
        out
    }

    fn shape(&self, attempt: &StepAttempt<'_>) -> Vec<Shape> {
        attempt.looks().filter_map(|(look, _)| geometry(look)).map(Shape::Geometry).collect()
    }
}

/// Returns the geometry of the tables, if they could be read.
fn geometry(look: &DecodedLook) -> Option<Geometry> {
    let seen = look.seen.as_ref().ok()?;
    Some(Geometry {
        look: Word::new(&look.name),
        guest: Word::new(&look.guest),
        granule: Size(seen.granule.size()),
        ipa_bits: seen.ipa_bits,
        start_level: seen.start_level,
    })
}

impl ResolvedCell {
    /// Returns the number of the step that is the look of this name.
    pub(crate) fn look(&self, name: &str) -> Option<usize> {
        self.steps.iter().position(|step| step.of::<LookStep>().is_some_and(|look| look.name == name))
    }

    /// Returns true if the look of this name is one at the host's own stage 2.
    pub(crate) fn is_of_host(&self, name: &str) -> bool {
        let mut looks = self.steps.iter().filter_map(|step| step.of::<LookStep>());
        looks.any(|look| look.name == name && look.of == Some(LookOf::Host))
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
    /// VTTBR_EL2 of each vCPU of a guest with several, by its number from 0, while it runs the guest.
    /// Not all of them are from the stop at which the tables were read. Absent from logs before 2.4.
    #[serde(default, with = "hex::values", skip_serializing_if = "BTreeMap::is_empty")]
    pub vcpus: BTreeMap<String, u64>,
}

impl Observed for Look {}

/// A guest beside the one that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// `VTTBR_EL2`, `VTCR_EL2` and `HCR_EL2` of the last look at it.
    #[serde(with = "hex::values")]
    pub registers: BTreeMap<String, u64>,
}

/// VMAs of VFIO in a guest's VMM, read for one of its devices before a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmaFlags {
    pub guest: String,
    pub device: String,
    pub vmas: Vec<Vma>,
}

impl Observed for VmaFlags {
    fn is_due(&self) -> bool {
        false
    }
}

/// `look stored, guest g0`: the lines below are of this look at this guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookLine {
    pub name: Word,
    pub guest: Word,
}

impl LookLine {
    pub(crate) fn new(name: &str, guest: &str) -> LookLine {
        LookLine { name: Word::new(name), guest: Word::new(guest) }
    }
}

impl fmt::Display for LookLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "look {}, guest {}", self.name, self.guest)
    }
}

impl FromStr for LookLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "look NAME, guest GUEST", |text| {
            let (name, guest) = text.strip_prefix("look ")?.split_once(", guest ")?;
            Some(LookLine { name: name.parse().ok()?, guest: guest.parse().ok()? })
        })
    }
}
