//! The leaves of BARs, as KVM itself dumps them.

mod leaves;
#[cfg(test)]
mod tests;

use super::{Hearing, NO_LEAF, Scene, Witness};
use crate::finding::{Finding, Subject, Weight};
use crate::lines::Area;
use crate::record::Record;
use crate::record::look::{DecodedLook, GuestTables};
use crate::steps::DumpedTables;
use leaves::{Exec, Run, difference, of_dump, of_walk};
use s2lab_protocol::ask::Dumped;
use s2lab_protocol::is_bar_place;

/// KVM's dump has the ranges, levels and permissions of the walk, at the places of BARs. RAM is not
/// compared: the host moves and ages it between the look and the dump.
pub(super) struct Ptdump;

/// KVM runs the guest of a hypervisor by a shadow of stage 2, and a look reads that. The dump of a VM is of
/// the other one (Linux 7.3 arch/arm64/kvm/ptdump.c, kvm_s2_ptdump_create_debugfs).
const SHADOW: &str = "the dump is not of the shadow stage 2 of a guest hypervisor";

impl Witness for Ptdump {
    fn name(&self) -> &'static str {
        "ptdump"
    }

    /// Logs before 2.4 have no dump.
    fn applies(&self, record: &Record) -> bool {
        !record.observations.none::<DumpedTables>()
    }

    /// It depends on the configuration of the kernel.
    fn is_variable(&self) -> bool {
        true
    }

    fn hear(&self, scene: &Scene<'_>) -> Hearing {
        let (mut findings, mut silent, mut spoke) = (vec![], None, false);
        for (look, seen) in scene.readable() {
            if scene.record.is_nested(look) {
                silent.get_or_insert(SHADOW);
                continue;
            }
            let of_guest = |of: &DumpedTables| of.guest == look.guest;
            for dump in scene.record.at::<DumpedTables>(look.step).filter(|of| of_guest(of.data)) {
                let ranges = match &dump.data.dumped {
                    Dumped::Missing(why) => {
                        silent.get_or_insert(why.as_str());
                        continue;
                    }
                    Dumped::Ranges(ranges) => ranges,
                };
                let exec = Exec::of(ranges);
                let leaves = seen.devices.values().flatten().chain(&seen.gicv).chain(&seen.unknown);
                let walked = of_walk(leaves.filter(|leaf| is_bar_place(leaf.ipa)), exec);
                let dumped = of_dump(ranges, exec);
                spoke |= !walked.is_empty();
                findings.extend(
                    difference(&walked, &dumped)
                        .map(|(ipa, walked, dumped)| finding(scene.record, look, seen, ipa, walked, dumped)),
                );
            }
        }
        Hearing::unless_silent(findings, silent.or((!spoke).then_some(NO_LEAF)))
    }
}

fn finding(
    record: &Record,
    look: &DecodedLook,
    seen: &GuestTables,
    ipa: u64,
    walked: Option<&Run>,
    dumped: Option<&Run>,
) -> Finding {
    let of = region(record, look, seen, ipa).unwrap_or_else(|| Area::Unknown.to_string());
    let subject = Subject::look(look).region(&of);
    let what = format!("KVM's dump of {subject}: the kernel's own account contradicts the tables");
    let text = |run: Option<&Run>| run.map_or_else(|| "no leaf".to_owned(), Run::to_string);
    let expected = format!("at IPA {ipa:#x}: {}", text(walked));
    Finding::new(Weight::Tables, subject, what, expected, text(dumped))
}

/// Returns the device whose BAR is at this IPA: by a leaf, or by the guest's mapping.
fn region(record: &Record, look: &DecodedLook, seen: &GuestTables, ipa: u64) -> Option<String> {
    let has = |start: u64, size: u64| ipa.checked_sub(start).is_some_and(|offset| offset < size);
    let by_leaf = seen.devices.iter().find(|(_, leaves)| leaves.iter().any(|leaf| has(leaf.ipa, leaf.size)));
    let by_mapping = || {
        let mut mappings = record.logged(look)?.mappings.iter();
        let mapping = mappings.find(|mapping| has(mapping.bar.start, mapping.bar.size))?;
        Some(mapping.device.clone())
    };
    by_leaf.map(|(device, _)| device.clone()).or_else(by_mapping)
}
