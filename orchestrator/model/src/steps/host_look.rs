//! A look at the host's own stage 2, as a step `look` with `of: host` has it.

use super::{Observed, StepAttempt, StepLine};
use crate::hex;
use crate::lines::{LineError, Promised, Text, Word, line};
use crate::record::host_look::{DecodedHostLook, HostTables};
use crate::regions::HostRegion;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::{fmt, str::FromStr};

/// The host's own stage 2 at one moment. The pages are in `raw/` under their SHA-256.
///
/// No nonce marks it. It is that of a vCPU below EL2 under a stage 2 whose VMID is 0, while no other vCPU is at EL2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLook {
    pub name: String,
    /// The index of the vCPU.
    pub vcpu: u32,
    /// The number of stops until such a vCPU was found.
    pub stops: u32,
    /// The time for which the machine was stopped for the look that counted, in microseconds.
    pub pause_us: u64,
    /// System registers by their architectural names: `HCR_EL2`, `VTTBR_EL2`, `VTCR_EL2`, `TTBR0_EL2`, `TCR_EL2`.
    #[serde(with = "hex::values")]
    pub registers: BTreeMap<String, u64>,
    /// The host physical address of each 4 KiB page that the walks read, and its SHA-256 in hexadecimal.
    #[serde(with = "hex::keys")]
    pub pages: BTreeMap<u64, String>,
}

impl Observed for HostLook {}

/// Returns the lines of the looks of a step.
pub(super) fn promised(attempt: &StepAttempt<'_>) -> Vec<Promised> {
    let here = attempt.hosts.iter().filter(|look| look.step == attempt.at);
    let line = |look: &DecodedHostLook| {
        let seen = look.seen.as_ref().map_or_else(|_| UNREADABLE.to_owned(), words);
        HostLookLine { name: Word::new(&look.name), seen: Text::new(&seen) }
    };
    here.map(|look| Promised::Step(StepLine::HostLook(line(look)))).collect()
}

const UNREADABLE: &str = "not readable";

/// Returns what each region has, `ram Normal-WB rw exec, mmio Normal-WB rw never-exec, ...`.
fn words(seen: &HostTables) -> String {
    let of = |region: &HostRegion| format!("{} {}", region.name(), region.seen(seen));
    HostRegion::ALL.iter().map(of).collect::<Vec<_>>().join(", ")
}

/// `look booted of host: ram Normal-WB rw exec, hypervisor withheld`: the host's own stage 2 at a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLookLine {
    pub name: Word,
    /// The regions, separated by commas, each with what it has.
    pub seen: Text,
}

/// The words after the name of the look.
const OF_HOST: &str = " of host: ";

impl HostLookLine {
    /// Returns true if a line that begins with `look` is one of these.
    pub(super) fn is_it(text: &str) -> bool {
        text.split(' ').nth(2) == Some("of")
    }
}

impl fmt::Display for HostLookLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "look {}{OF_HOST}{}", self.name, self.seen)
    }
}

impl FromStr for HostLookLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "look NAME of host: REGION WORDS, REGION WORDS", |text| {
            let (name, seen) = text.strip_prefix("look ")?.split_once(OF_HOST)?;
            Some(HostLookLine { name: name.parse().ok()?, seen: seen.parse().ok()? })
        })
    }
}
