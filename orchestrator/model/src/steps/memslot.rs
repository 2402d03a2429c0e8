//! The step `memslot`: the VMM of a guest operates on a memslot.

use super::{Due, Observed, Removal, RemovedPart, StepAttempt, StepKind, StepLine, Unmapped};
use crate::cell::ResolvedCell;
use crate::finding::{Finding, Weight};
use crate::kconfig::{Need, Whose, need};
use crate::lines::{LineError, Promised, Word, line, one_of};
use crate::record::At;
use crate::record::look::DecodedLook;
use crate::scenario::{Promise, RAM, schema};
use s2lab_mmu::Stage2Leaf;
use s2lab_protocol::{MemslotOperation, RamKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::{fmt, str::FromStr};

/// The error with which KVM refuses dirty logging of device memory: the VMA has VM_PFNMAP (Linux 6.1
/// to 7.2 arch/arm64/kvm/mmu.c, kvm_arch_prepare_memory_region; the number is in
/// include/uapi/asm-generic/errno-base.h).
const EINVAL: i32 = 22;

/// The VMM of a guest operates on a memslot. Only for `vmm: builtin`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct MemslotStep {
    /// The guest.
    pub guest: String,
    /// Its memslot: a device of the guest, or `ram`.
    pub of: String,
    /// The operation.
    #[serde(rename = "do")]
    #[schemars(schema_with = "schema::memslot_operation")]
    pub operation: MemslotOperation,
    /// The other device of the guest whose BAR comes there. Only for `do: replace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub with: Option<String>,
}

impl MemslotStep {
    /// Returns the error with which a kernel must refuse the operation.
    fn refusal(&self, cell: &ResolvedCell) -> Option<i32> {
        let is_device = self.of != RAM;
        (is_device && (self.operation == MemslotOperation::Log || self.is_tagged(cell))).then_some(EINVAL)
    }

    /// Returns the promise of the operation.
    fn promise(&self, cell: &ResolvedCell) -> Option<Promise> {
        match self.is_tagged(cell) {
            true => Some(Promise::MTE),
            false => self.operation.is_of_log().then_some(Promise::LOGGING),
        }
    }

    /// Returns true if it adds a memslot to a guest with memory tagging. KVM refuses device memory there: it
    /// has no tags (Linux 6.1 to 7.2 arch/arm64/kvm/mmu.c, kvm_arch_prepare_memory_region, by VM_SHARED or
    /// VM_MTE_ALLOWED).
    fn is_tagged(&self, cell: &ResolvedCell) -> bool {
        self.operation == MemslotOperation::Add && cell.guests.get(&self.guest).is_some_and(|guest| guest.mte)
    }

    fn what(&self, at: usize) -> String {
        format!("step {at}, {} of the memslot of {}", self.operation, self.of)
    }

    /// Returns a finding for each device whose leaves an operation on the log has changed: those of
    /// the last look before it differ from those of the next look, with no other step between. Of a fork,
    /// returns one if RAM was not copied.
    fn changed_leaves(&self, attempt: &StepAttempt<'_>) -> Vec<Finding> {
        let here = || attempt.looks.iter().filter(|look| look.guest == self.guest);
        let before = here().filter(|look| look.step < attempt.at).max_by_key(|look| look.step);
        let after = here().filter(|look| look.step > attempt.at).min_by_key(|look| look.step);
        let Some((before, after)) = before.zip(after) else { return vec![] };
        if self.operation == MemslotOperation::Fork {
            let guest = attempt.record.planned.resolved.guests.get(&self.guest);
            // A file is shared with the copy, and so is a VMA of the module.
            let is_shared = |kind: &RamKind| matches!(kind, RamKind::Memfd | RamKind::Module);
            let is_private = guest.is_some_and(|guest| !guest.ram_kinds().iter().any(is_shared));
            let shared = is_private.then(|| not_copied(attempt, before, after)).flatten();
            return shared.into_iter().collect();
        }
        if !self.operation.is_of_log() {
            return vec![];
        }
        let steps = &attempt.record.planned.resolved.steps;
        let mut between = steps.get(before.step + 1..after.step).unwrap_or_default().iter();
        match between.all(|step| step.of::<MemslotStep>().is_some_and(|step| step.operation.is_of_log())) {
            true => unlike(attempt, before, after),
            false => vec![],
        }
    }
}

/// Returns a finding if a leaf that the guest can write to leads to its page of before a fork. The copy of the
/// VMM has that page, and a writer gets another (mm/memory.c, do_wp_page, Linux 6.1 to 7.2).
fn not_copied(attempt: &StepAttempt<'_>, before: &DecodedLook, after: &DecodedLook) -> Option<Finding> {
    let (Ok(old), Ok(new)) = (&before.seen, &after.seen) else { return None };
    let is_old = |leaf: &&Stage2Leaf| {
        let at = old.ram.partition_point(|old| old.ipa <= leaf.ipa).checked_sub(1);
        let known = at.and_then(|at| old.ram.get(at)).filter(|old| leaf.ipa - old.ipa < old.size);
        leaf.write && known.is_some_and(|old| old.pa + (leaf.ipa - old.ipa) == leaf.pa)
    };
    let mut shared = new.ram.iter().filter(is_old);
    let Stage2Leaf { ipa, pa, .. } = shared.next()?;
    let subject = attempt.subject().guest(&after.guest).region(RAM);
    let what = format!("pages of {RAM} at look {}, after the VMM has forked", after.name);
    let found = format!("IPA {ipa:#x} -> PA {pa:#x}, as at look {}; {} more", before.name, shared.count());
    let finding =
        Finding::new(Weight::Tables, subject, what, "a copy of each that the guest can write to", found);
    Some(finding.breaking(Promise::ISOLATION))
}

/// Returns a finding for each device that has other leaves at the second look.
fn unlike(attempt: &StepAttempt<'_>, before: &DecodedLook, after: &DecodedLook) -> Vec<Finding> {
    let (Ok(old), Ok(new)) = (&before.seen, &after.seen) else { return vec![] };
    let devices: BTreeSet<_> = old.devices.keys().chain(new.devices.keys()).collect();
    let differs = |device: &&String| old.devices.get(*device) != new.devices.get(*device);
    let finding = |device: &String| {
        let subject = attempt.subject().guest(&after.guest).region(device);
        let what = format!("leaves of {device} at look {}, after an operation on the log", after.name);
        let expected = format!("those of look {}, bit by bit", before.name);
        let leaves = |of: Option<&Vec<_>>| of.map_or(0, Vec::len);
        let (old, new) = (leaves(old.devices.get(device)), leaves(new.devices.get(device)));
        let found = format!("others: {new} leaves in place of {old}");
        Finding::new(Weight::Tables, subject, what, expected, found).breaking(Promise::LOGGING)
    };
    devices.into_iter().filter(differs).map(finding).collect()
}

/// The kernel moves pages from one of the blocks in which it groups them to another. With pages of 64K such a block has
/// 512M (Linux 6.1 to 7.2 include/linux/pageblock-flags.h), a third of the host's memory, and no page moved.
static COMPACT_NEEDS: [Need; 2] = [
    need("COMPACTION", "the host's kernel compacts its memory", Whose::All),
    need(
        "ARM64_4K_PAGES",
        "with larger pages the host's kernel may find no place for those that move",
        Whose::All,
    ),
];

impl StepKind for MemslotStep {
    fn needs(&self) -> &'static [Need] {
        match self.operation {
            MemslotOperation::Compact => &COMPACT_NEEDS,
            _ => &[],
        }
    }

    fn device(&self) -> Option<&str> {
        Some(&*self.of).filter(|of| *of != RAM)
    }

    fn removes(&self) -> Option<Removal<'_>> {
        let device = self.device().filter(|_| self.operation.removes())?;
        let part = match self.operation {
            MemslotOperation::Renew => RemovedPart::SecondQuarter,
            _ => RemovedPart::Whole,
        };
        Some(Removal { device, by: self.operation.name(), part })
    }

    fn due(&self, attempt: &StepAttempt<'_>) -> Vec<Due> {
        let here = |done: &At<'_, MemslotOperated>| {
            done.guest == self.guest
                && done.of == self.of
                && done.operation == self.operation
                && done.with == self.with
        };
        vec![Due {
            subject: attempt.subject().guest(&self.guest).region(&self.of),
            what: self.what(attempt.at),
            found: attempt.all().filter(here).count(),
        }]
    }

    fn unlike(&self, attempt: &StepAttempt<'_>) -> Vec<Finding> {
        let wrong = |done: At<'_, MemslotOperated>| {
            let (what, subject) = (self.what(attempt.at), attempt.subject());
            let subject = subject.guest(&self.guest).region(&self.of);
            let cell = &attempt.record.planned.resolved;
            let (expected, found) = (Outcome(self.refusal(cell)), Outcome(done.errno));
            let finding =
                Finding::new(Weight::Kernel, subject, what, expected.to_string(), found.to_string());
            (expected != found).then_some(Finding { promise: self.promise(cell), ..finding })
        };
        attempt.all().filter_map(wrong).chain(self.changed_leaves(attempt)).collect()
    }

    fn promised(&self, attempt: &StepAttempt<'_>) -> Vec<Promised> {
        let line = |done: At<'_, MemslotOperated>| {
            let MemslotOperated { guest, of, operation, with, errno } = done.data;
            let (guest, of, with) = (Word::new(guest), Word::new(of), with.as_deref().map(Word::new));
            let line = MemslotLine { guest, of, operation: *operation, with, outcome: Outcome(*errno) };
            Promised::Step(StepLine::Memslot(line))
        };
        attempt.all().map(line).collect()
    }
}

impl ResolvedCell {
    /// Returns the device whose BAR is behind the memslot of `device` in step `at`.
    pub fn behind<'a>(&'a self, device: &'a str, at: usize) -> &'a str {
        let before = self.steps.iter().take(at).filter_map(|step| step.of::<MemslotStep>());
        let mut replaced = before.filter(|step| step.of == device).filter_map(|step| step.with.as_deref());
        replaced.next_back().unwrap_or(device)
    }

    /// Returns true if the VMM has mapped the BAR of `device` over another, or another over it, before
    /// step `at`.
    pub(crate) fn is_in_replacement(&self, device: &str, at: usize) -> bool {
        let before = self.steps.iter().take(at).filter_map(|step| step.of::<MemslotStep>());
        let mut replaced = before.filter(|step| step.with.is_some());
        replaced.any(|step| step.of == device || step.with.as_deref() == Some(device))
    }
}

/// An operation on a memslot was carried out, or the kernel refused it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemslotOperated {
    pub guest: String,
    pub of: String,
    #[serde(rename = "do")]
    pub operation: MemslotOperation,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
    /// The error number of a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
}

impl Observed for MemslotOperated {
    fn unmaps(&self) -> Option<Unmapped<'_>> {
        match self.operation {
            _ if self.errno.is_some() => None,
            MemslotOperation::Renew => Some(Unmapped::PartOf(&self.of)),
            operation => operation.removes().then_some(Unmapped::Device(&self.of)),
        }
    }
}

/// The outcome of an operation: `done`, or `refused with errno 22`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome(pub Option<i32>);

const DONE: &str = "done";
const REFUSED: &str = "refused with errno ";

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str(DONE),
            Some(errno) => write!(f, "{REFUSED}{errno}"),
        }
    }
}

/// `memslot g0 nic replace by plain: done`: the outcome of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemslotLine {
    pub guest: Word,
    pub of: Word,
    pub operation: MemslotOperation,
    pub with: Option<Word>,
    pub outcome: Outcome,
}

impl fmt::Display for MemslotLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MemslotLine { guest, of, operation, with, outcome } = self;
        write!(f, "memslot {guest} {of} {operation}")?;
        if let Some(with) = with {
            write!(f, " by {with}")?;
        }
        write!(f, ": {outcome}")
    }
}

impl FromStr for MemslotLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "memslot GUEST REGION OPERATION: OUTCOME", |text| {
            let (subject, outcome) = text.rsplit_once(": ")?;
            let outcome = match outcome {
                DONE => None,
                other => Some(other.strip_prefix(REFUSED)?.parse().ok()?),
            };
            let words: Vec<_> = subject.split(' ').collect();
            let ([_, guest, of, operation], with) = (words.first_chunk()?, words.get(4..)?);
            let with = match with {
                [] => None,
                ["by", with] => Some(with.parse().ok()?),
                _ => return None,
            };
            let operation = one_of(MemslotOperation::ALL, operation)?;
            let (guest, of, outcome) = (guest.parse().ok()?, of.parse().ok()?, Outcome(outcome));
            Some(MemslotLine { guest, of, operation, with, outcome })
        })
    }
}
