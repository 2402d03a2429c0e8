//! The rules for the host's own stage 2, which hold at every look `of: host`, and what is expected there.

use super::leaves::Property;
use crate::finding::{Finding, Subject, Weight};
use crate::record::host_look::{DecodedHostLook, HostTables, Open, Withheld};
use crate::regions::{HostRegion, HostRegionSeen};
use crate::scenario::{Exec, Expectation, Promise, Stage2Type};
use s2lab_mmu::Stage2Leaf;

/// The most leaves that are shown as evidence.
const MOST_LEAVES: usize = 4;

/// Returns the findings of the rules: the tables can be read and are well-formed, each address leads to itself, the
/// kernel's log and the hypervisor's tables agree, and nothing of the hypervisor is open to the host.
pub(super) fn findings(looks: &[DecodedHostLook]) -> Vec<Finding> {
    looks.iter().flat_map(of_look).collect()
}

fn of_look(look: &DecodedHostLook) -> Vec<Finding> {
    let place = place(look);
    match &look.seen {
        Ok(seen) => of_tables(seen, &place),
        Err(why) => {
            let expected = "tables that can be read";
            vec![Finding::new(Weight::Lab, place.clone(), place.to_string(), expected, why.to_string())]
        }
    }
}

fn place(look: &DecodedHostLook) -> Subject {
    Subject::step(look.step).named(&look.name)
}

fn of_tables(seen: &HostTables, place: &Subject) -> Vec<Finding> {
    let finding = |weight, what: &str, expected: &str, found: String| {
        Finding::new(weight, place.clone(), format!("{what} at {place}"), expected, found)
    };
    let mut out = vec![];
    if let Some(first) = seen.unmapped.first() {
        let found = format!("{} of its pages are not mapped, the first {first:#x}", seen.unmapped.len());
        let expected = "the range in the kernel's log, in the hypervisor's own stage 1";
        out.push(finding(Weight::Doubt, "the hypervisor's memory", expected, found));
    }
    if let Some(first) = seen.anomalies.first() {
        let found = format!("{} that a hypervisor in order does not write", seen.anomalies.len());
        let finding = finding(Weight::Tables, "tables", "well-formed descriptors", found);
        out.push(finding.with([first.clone()]));
    }
    let moved: Vec<_> = seen.moved().take(MOST_LEAVES).map(evidence).collect();
    if !moved.is_empty() {
        let found = format!("{} leaves lead elsewhere", seen.moved().count());
        let finding = finding(Weight::Tables, "addresses", "each address leads to itself", found);
        out.push(finding.with(moved).breaking(Promise::ISOLATION));
    }
    let hypervisor = place.clone().region(HostRegion::Hypervisor.name());
    out.extend(open(&seen.hypervisor, &hypervisor));
    out
}

/// Returns the finding of pages that the host may reach.
fn open(withheld: &Withheld, place: &Subject) -> Option<Finding> {
    if withheld.open == 0 {
        return None;
    }
    let found = format!("{} of {} pages are open to the host", withheld.open, withheld.pages);
    let detail = withheld.first.iter().map(|Open { pa, leaf }| match leaf {
        Some(leaf) => format!("PA {pa:#x}: {}", evidence(leaf)),
        None => format!("PA {pa:#x}: mapped at the host's next access"),
    });
    let what = format!("stage2 of {place}");
    let finding = Finding::new(Weight::Tables, place.clone(), what, Stage2Type::Nothing.name(), found);
    Some(finding.with(detail).breaking(Promise::ISOLATION))
}

fn evidence(leaf: &Stage2Leaf) -> String {
    let Stage2Leaf { ipa, pa, level, descriptor, .. } = leaf;
    format!("IPA {ipa:#x} -> PA {pa:#x}, level {level}, descriptor {descriptor:#x}")
}

/// Returns the findings of an expectation that is not met at a look.
pub(super) fn unmet(expectation: &Expectation, look: &DecodedHostLook) -> Vec<Finding> {
    // A look that cannot be read is already a finding of the lab.
    let Ok(seen) = &look.seen else { return vec![] };
    let place = place(look).region(&expectation.of);
    match HostRegion::named(&expectation.of) {
        Some(region) => match region.seen(seen) {
            HostRegionSeen::Leaves(leaves) => {
                let unmet = properties(expectation);
                unmet.filter_map(|property| property.unmet(leaves, &place)).collect()
            }
            // The rules have the finding about the rest of the hypervisor.
            HostRegionSeen::Withheld(_) if region == HostRegion::Hypervisor => vec![],
            HostRegionSeen::Withheld(withheld) => open(withheld, &place).into_iter().collect(),
        },
        None => {
            let (what, expected) = (place.to_string(), "a region of the host's own stage 2");
            vec![Finding::new(Weight::Tables, place, what, expected, "none of this name")]
        }
    }
}

/// Yields the properties of leaves that an expectation asks for.
fn properties(expectation: &Expectation) -> impl Iterator<Item = Property> {
    let Expectation { stage2, exec, access, .. } = expectation;
    let stage2 = stage2.and_then(|of| match of {
        Stage2Type::Type(of) => Some(Property::stage2(of)),
        Stage2Type::Nothing => None,
    });
    let exec = exec.map(|Exec::Never| Property::never_exec());
    stage2.into_iter().chain(exec).chain(access.map(Property::access))
}
