//! The walked stage-2 tables.

use super::{Hearing, Scene, Witness};
use crate::finding::{Finding, Subject, Weight};
use crate::regions::RegionName;
use s2lab_mmu::Stage2Leaf;

/// The most leaves that are shown as evidence.
const MOST_LEAVES: usize = 4;

/// Nothing is malformed, nothing is nowhere, and no region is one that the guest was not given.
pub(super) struct Walk;

impl Witness for Walk {
    fn name(&self) -> &'static str {
        "walk"
    }

    fn hear(&self, scene: &Scene<'_>) -> Hearing {
        let mut findings = vec![];
        for (look, seen) in scene.readable() {
            let place = Subject::look(look);
            let finding = |what: &str, expected: &str, found: String| {
                Finding::new(Weight::Tables, place.clone(), format!("{what} at {place}"), expected, found)
            };
            if let Some(first) = seen.anomalies.first() {
                let found = format!("{} that a hypervisor in order does not write", seen.anomalies.len());
                findings.push(finding("tables", "well-formed descriptors", found).with([first.clone()]));
            }
            if !seen.unknown.is_empty() {
                let found = format!("{} leaves in neither RAM nor a BAR", seen.unknown.len());
                findings.push(finding("unknown region", "nothing", found).with(evidence(&seen.unknown)));
            }
            let guest = scene.record.planned.resolved.guests.get(&look.guest);
            for region in RegionName::not_given(guest, seen) {
                let (leaves, name) = (region.kind().leaves(seen), region.kind().area().to_string());
                let found = format!("{} leaves", leaves.len());
                let what = format!("{name}, which the guest was not given,");
                let finding = finding(&what, "nothing mapped", found).with(evidence(leaves));
                findings.push(Finding { subject: place.clone().region(&name), ..finding });
            }
            for mapping in seen.mappings.iter().filter(|mapping| !mapping.unmapped.is_empty()) {
                let what = format!("the guest's mapping of {}", mapping.device);
                let found = "pages that it does not map".to_owned();
                let finding = finding(&what, "the whole BAR", found).with(mapping.unmapped.clone());
                findings.push(Finding { subject: place.clone().region(&mapping.device), ..finding });
            }
        }
        Hearing::new(findings, scene.readable().next().is_some(), "no look")
    }
}

fn evidence(leaves: &[Stage2Leaf]) -> impl Iterator<Item = String> {
    leaves.iter().take(MOST_LEAVES).map(|leaf| {
        format!("IPA {:#x} -> PA {:#x}, {:#x} bytes, {}", leaf.ipa, leaf.pa, leaf.size, leaf.attr)
    })
}
