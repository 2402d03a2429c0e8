//! The witnesses of what the looks saw, each held against the walk.

use super::probe::{Ending, ending, map_name, shows_alignment};
use super::{Finding, Weight, placement, taint, vmas};
use crate::kernel::Trait;
use crate::record::look::{Combined, Decoded, Seen, SeenMapping};
use crate::record::{Probed, Record};
use s2lab_mmu::{MemoryType, Stage2Leaf};
use std::fmt;

/// How `/proc/PID/smaps` prints a VMA flag that has no mnemonic (fs/proc/task_mmu.c, 6.1 to 7.2): of the flags that a
/// vfio-pci VMA may have, only VM_ALLOW_ANY_UNCACHED, bit 39.
const UNNAMED_FLAG: &str = "??";
/// Leaves told as evidence.
const MOST_LEAVES: usize = 4;

/// A source that says something about what a look saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Witness {
    /// The stage-2 tables, walked.
    Walk,
    /// Where QEMU has placed the BARs, against where the host's kernel says.
    Placement,
    /// The flags of the VMM's VMAs.
    Smaps,
    /// The bytes in the BAR.
    Bytes,
    /// What became of an unaligned store.
    Behaviour,
    /// What the kernels know to have gone wrong, without a word of any console.
    Taint,
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Witness::Walk => "walk",
            Witness::Placement => "placement",
            Witness::Smaps => "smaps",
            Witness::Bytes => "bytes",
            Witness::Behaviour => "behaviour",
            Witness::Taint => "taint",
        })
    }
}

/// What a witness said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Testimony {
    Agrees,
    Contradicts,
    /// Nothing, for this reason.
    Silent(String),
}

/// What the last look at the probe's guest before it saw of the mapping that was probed.
pub(super) fn probed_mapping<'a>(looks: &'a [Decoded], probe: &Probed) -> Option<&'a SeenMapping> {
    let before = looks.iter().filter(|look| look.guest == probe.guest && look.step < probe.step);
    let last = before.max_by_key(|look| look.step)?.seen.as_ref().ok()?;
    last.mappings.iter().find(|mapping| mapping.device == probe.device && mapping.map == probe.map)
}

/// Asks every witness. Returns what each said, and a finding for each contradiction.
pub(super) fn hear(record: &Record, looks: &[Decoded]) -> (Vec<(Witness, Testimony)>, Vec<Finding>) {
    let heard = [
        (Witness::Walk, walk(record, looks)),
        (Witness::Placement, placement::hear(record, looks)),
        (Witness::Smaps, smaps(record, looks)),
        (Witness::Bytes, bytes(record)),
        (Witness::Behaviour, behaviour(record, looks)),
        (Witness::Taint, taint::hear(record)),
    ];
    let mut findings = vec![];
    let witnesses = heard.map(|(witness, (testimony, found))| {
        findings.extend(found);
        (witness, testimony)
    });
    (witnesses.into(), findings)
}

pub(super) type Heard = (Testimony, Vec<Finding>);

pub(super) fn heard(findings: Vec<Finding>, spoke: bool, else_silent: &str) -> Heard {
    let testimony = match (findings.is_empty(), spoke) {
        (false, _) => Testimony::Contradicts,
        (true, true) => Testimony::Agrees,
        (true, false) => Testimony::Silent(else_silent.into()),
    };
    (testimony, findings)
}

fn readable(looks: &[Decoded]) -> impl Iterator<Item = (&Decoded, &Seen)> {
    looks.iter().filter_map(|look| look.seen.as_ref().ok().map(|seen| (look, seen)))
}

/// The tables themselves: nothing malformed, nothing that is nowhere, no device of another guest.
fn walk(record: &Record, looks: &[Decoded]) -> Heard {
    let mut findings = vec![];
    for (look, seen) in readable(looks) {
        let place = format!("look {}, guest {}", look.name, look.guest);
        let finding = |what: &str, expected: &str, found: String| {
            Finding::new(Weight::Tables, format!("{what} at {place}"), expected, found)
        };
        if let Some(first) = seen.anomalies.first() {
            let found = format!("{} that a hypervisor in order does not write", seen.anomalies.len());
            findings.push(finding("tables", "well-formed descriptors", found).with([first.clone()]));
        }
        if !seen.unknown.is_empty() {
            let found = format!("{} leaves in neither RAM nor a BAR", seen.unknown.len());
            findings.push(finding("unknown region", "nothing", found).with(evidence(&seen.unknown)));
        }
        let assigned = record.planned.scenario.guests.get(&look.guest);
        for (device, leaves) in &seen.devices {
            if !assigned.is_some_and(|guest| guest.assign.contains_key(device)) {
                let found = format!("{} leaves", leaves.len());
                let what = format!("{device}, which the guest was not given,");
                findings.push(finding(&what, "nothing mapped", found).with(evidence(leaves)));
            }
        }
        for mapping in seen.mappings.iter().filter(|mapping| !mapping.unmapped.is_empty()) {
            let what = format!("the guest's mapping of {}", mapping.device);
            let found = "pages that it does not map".to_owned();
            findings.push(finding(&what, "the whole BAR", found).with(mapping.unmapped.clone()));
        }
    }
    heard(findings, readable(looks).next().is_some(), "no look")
}

fn evidence(leaves: &[Stage2Leaf]) -> impl Iterator<Item = String> {
    leaves.iter().take(MOST_LEAVES).map(|leaf| {
        format!("IPA {:#x} -> PA {:#x}, {:#x} bytes, {}", leaf.ipa, leaf.pa, leaf.size, leaf.attr)
    })
}

/// The kernel's own account: a VMA over the BAR that carries the flag, and Normal-NC in the tables, go together.
///
/// With declared traits both are held against them: the flag is there exactly if the kernel conveys, and Normal-NC exactly
/// if the flag is there and the kernel honours it. So a kernel that only conveys, or only honours, is judged by what it
/// declares. Where the traits leave it open, the flag alone decides.
fn smaps(record: &Record, looks: &[Decoded]) -> Heard {
    let declared = |of| record.planned.traits.has(of);
    let mut findings = vec![];
    let mut spoke = false;
    for (look, seen) in readable(looks) {
        let Some(guest) = record.planned.scenario.guests.get(&look.guest) else { continue };
        for device in guest.assign.keys() {
            let place = format!("{device} at look {}, guest {}", look.name, look.guest);
            let vmas = vmas::over_bar(record, look, device);
            if vmas.is_empty() {
                findings.push(Finding::new(
                    Weight::Lab,
                    format!("VMAs over {place}"),
                    "at least one",
                    "none",
                ));
                continue;
            }
            if let Some(wrong) = vmas::contradiction(record, device, &vmas) {
                let what = format!("VMAs over {place}: the kernel's own account contradicts the BAR");
                let expected = "pages of the BAR, from its first to its last";
                findings.push(Finding::new(Weight::Tables, what, expected, wrong));
            }
            let flagged = vmas.iter().filter(|vma| vma.flags.iter().any(|flag| flag == UNNAMED_FLAG)).count();
            let flag = match (flagged, declared(Trait::WcConveyed)) {
                (n, conveys) if n != 0 && n != vmas.len() => conveys.unwrap_or(true),
                (n, _) => n > 0,
            };
            let told = |some: bool| if some { "flag `??`" } else { "no flag `??`" };
            let detail =
                || vmas.iter().map(|vma| format!("{:#x}..{:#x} {}", vma.start, vma.end, vma.flags.join(" ")));
            if flagged != 0 && flagged != vmas.len() {
                let found = format!("flag `??` on {flagged} of {}", vmas.len());
                let what = format!("VMAs over {place}");
                findings
                    .push(Finding::new(Weight::Kernel, what, "VMAs that are alike", found).with(detail()));
            }
            if let Some(conveys) = declared(Trait::WcConveyed).filter(|conveys| *conveys != flag) {
                let what = format!("VMAs over {place}, by the kernel's traits");
                findings.push(Finding::new(Weight::Kernel, what, told(conveys), told(flag)).with(detail()));
            }
            let leaves = seen.devices.get(device).map(Vec::as_slice).unwrap_or_default();
            let wanted = flag && declared(Trait::WcHonoured).unwrap_or(true);
            let wrong =
                |leaf: &&Stage2Leaf| (leaf.attr.memory_type() == Some(MemoryType::NormalNC)) != wanted;
            if let Some(leaf) = leaves.iter().find(wrong) {
                let expected = if wanted { "Normal-NC" } else { "not Normal-NC" };
                let what = format!(
                    "{} on the VMA, stage2 of {place}: the kernel's own account contradicts the tables",
                    told(flag)
                );
                let finding = Finding::new(Weight::Tables, what, expected, leaf.attr.to_string());
                findings.push(finding.with(detail()));
            }
            spoke |= !leaves.is_empty();
        }
    }
    heard(findings, spoke, "no assigned device was looked at")
}

/// A difference is a finding already, see [`super::completeness::bytes`].
fn bytes(record: &Record) -> Heard {
    let wrong = super::completeness::bytes(record).iter().any(|f| f.weight == Weight::Kernel);
    match (wrong, record.stores.is_empty()) {
        (true, _) => (Testimony::Contradicts, vec![]),
        (false, true) => (Testimony::Silent("no store".into()), vec![]),
        (false, false) => (Testimony::Agrees, vec![]),
    }
}

/// The CPU's own answer to what the effective type is.
fn behaviour(record: &Record, looks: &[Decoded]) -> Heard {
    let mut findings = vec![];
    let mut silent = "no probe".to_owned();
    let mut spoke = false;
    for probe in &record.probes {
        let predicted = match predict(record, looks, probe) {
            Ok(predicted) => predicted,
            Err(why) => {
                silent = why;
                continue;
            }
        };
        spoke = true;
        let ending = ending(&probe.outcome);
        // What reads back wrong is a finding of its own; as far as the type goes it completed.
        let completed = ending != Ending::Fault;
        if completed != (predicted == Ending::Ok) {
            let what = format!(
                "unaligned store by {} to {}, mapped {}: oracle in doubt",
                probe.guest,
                probe.device,
                map_name(probe.map)
            );
            let detail = [format!("{:?}", probe.outcome)];
            let expected = format!("{predicted}, as the walk says");
            findings.push(Finding::new(Weight::Doubt, what, expected, ending.to_string()).with(detail));
        }
    }
    heard(findings, spoke, &silent)
}

/// How the unaligned store must end by what the last look saw; `Err` with the reason if that cannot be told.
///
/// In QEMU the Device-ness of stage 2 always counts. That of stage 1 alone counts on the first access to a page after its
/// TLB entry went, and not later (measured with 10.0.2, same code in 10.2.2), so such a mapping predicts nothing.
fn predict(record: &Record, looks: &[Decoded], probe: &Probed) -> Result<Ending, String> {
    let mapping = probed_mapping(looks, probe).ok_or("no look saw the mapping that was probed")?;
    let endings = mapping.touched.iter().map(|(both, _)| predict_one(both));
    let mut endings = endings.collect::<Result<Vec<_>, _>>()?.into_iter();
    let first = endings.next().ok_or("no page of the mapping was touched at the last look")?;
    if endings.any(|ending| ending != first) {
        return Err("the mapping's pages are not alike".into());
    }
    if first == Ending::Fault {
        shows_alignment(record)?;
    }
    Ok(first)
}

fn predict_one(both: &Combined) -> Result<Ending, String> {
    let device = |of: Option<MemoryType>| of.map(MemoryType::is_device).ok_or("a type that is left open");
    match (device(both.stage1.memory_type())?, device(both.stage2.memory_type())?) {
        (_, true) => Ok(Ending::Fault),
        (false, false) => Ok(Ending::Ok),
        (true, false) => Err("stage 1 alone says Device, which QEMU does not always check".into()),
    }
}
