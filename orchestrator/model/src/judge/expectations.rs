//! Expectations, chosen by trait and compared with the observations.

use super::host_looks;
use super::leaves::{self, Property};
use crate::cell::ResolvedCell;
use crate::finding::{Finding, Subject, Weight};
use crate::kernel::Trait;
use crate::lines::effective_name;
use crate::record::host_look::DecodedHostLook;
use crate::record::look::{DecodedLook, GuestTables};
use crate::record::{At, Record};
use crate::regions::{RegionKind, RegionName};
use crate::scenario::{AccessEnd, Exec, Expectation, MemoryType, Promise, Stage2Type};
use crate::steps::{Ending, ProbeOutcome, ProbeStep, Probed, Step, access_words, probe_words};
use crate::witnesses::behaviour::{ending, shows_fault};
use s2lab_mmu::{Shareability, Stage2Leaf};
use s2lab_protocol::ProbeKind;
use std::collections::BTreeSet;

/// The name of a kernel without any of the traits.
const BEFORE: &str = "before the series";
/// The name of what a negative control passes as.
const CONTROL: &str = "negative control";
/// The begin of the finding that an expectation of a negative control is met.
pub(crate) const CONTROL_FINDING: &str = "negative control: ";

/// The looks that expectations are compared with.
#[derive(Clone, Copy)]
pub(super) struct Looks<'a> {
    pub(super) guests: &'a [DecodedLook],
    /// Those at the host's own stage 2.
    pub(super) hosts: &'a [DecodedHostLook],
}

/// The result of the expectations.
pub(super) struct Outcome {
    pub(super) label: Option<String>,
    pub(super) findings: Vec<Finding>,
    /// The sets of traits that fit the alternative that was met.
    pub(super) fits: Vec<BTreeSet<Trait>>,
}

/// Compares the record with the expectations that the kernel's traits choose. If the traits leave
/// something open, exactly one alternative must be met as a whole. With observations missing
/// (`all_there` false) that cannot be decided and is left out.
pub(super) fn evaluate(record: &Record, looks: Looks<'_>, all_there: bool) -> Outcome {
    let cell = &record.planned.resolved;
    let unmet = |wanted: &dyn Fn(&Expectation) -> bool| -> Vec<Finding> {
        cell.expect.iter().filter(|e| wanted(e)).flat_map(|e| unmet(e, record, looks)).collect()
    };
    let alternatives = alternatives(cell);
    if let [only] = alternatives.as_slice() {
        let findings = unmet(&|e: &Expectation| e.applies_to(&only.traits));
        return Outcome { label: only.label.clone(), findings, fits: only.fits.clone() };
    }
    let always = unmet(&|e: &Expectation| !conditional(e));
    if !all_there {
        return Outcome { label: None, findings: always, fits: vec![] };
    }
    let tried = alternatives.into_iter().map(|choice| {
        let unmet = unmet(&|e: &Expectation| conditional(e) && e.applies_to(&choice.traits));
        (choice, unmet)
    });
    let mut met = choose(tried.collect());
    met.findings.extend(always);
    met
}

/// Compares the record of a negative control with its expectations, each of which must be unmet at
/// each of its looks. One that is met puts the whole oracle in doubt. With observations missing
/// (`all_there` false) that cannot be decided.
pub(super) fn evaluate_inverted(record: &Record, looks: Looks<'_>, all_there: bool) -> Outcome {
    let expect = record.planned.resolved.expect.iter();
    let places = expect.flat_map(|expectation| expectation.at.iter().map(move |at| (expectation, at)));
    let is_met = |(expectation, at): &(&Expectation, &String)| {
        all_there && unmet_at(expectation, at, record, looks).is_empty()
    };
    let finding = |(expectation, at): (&Expectation, &String)| {
        let subject = Subject::cell().named(at).region(&expectation.of);
        let found = expectation.stage2.map(|of| of.name()).unwrap_or_default();
        let what = format!("{CONTROL_FINDING}stage2 of {subject}");
        Finding::new(Weight::Doubt, subject, what, format!("anything but {found}"), found)
    };
    Outcome {
        label: Some(CONTROL.into()),
        findings: places.filter(is_met).map(finding).collect(),
        fits: vec![],
    }
}

/// The sets of traits for which a cell expects the same.
#[derive(Clone)]
struct Choice {
    label: Option<String>,
    /// One of them.
    traits: BTreeSet<Trait>,
    /// All of them that the kernel may have.
    fits: Vec<BTreeSet<Trait>>,
}

/// The expectations that a kernel must meet as a whole, if it is the one that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternative {
    /// The name in a verdict.
    pub label: Option<String>,
    pub expectations: Vec<Expectation>,
}

/// Returns the expectations of a cell: every alternative that its traits leave open.
pub fn expected(cell: &ResolvedCell) -> Vec<Alternative> {
    let alternative = |Choice { label, traits, .. }| Alternative {
        label,
        expectations: cell.expect.iter().filter(|e| e.applies_to(&traits)).cloned().collect(),
    };
    alternatives(cell).into_iter().map(alternative).collect()
}

/// Returns the alternative that is met, from alternatives with their unmet expectations.
fn choose(tried: Vec<(Choice, Vec<Finding>)>) -> Outcome {
    let fits = |findings: &[Finding]| findings.iter().all(|finding| finding.weight == Weight::Lacking);
    let fitting: Vec<_> = tried.iter().filter(|(_, findings)| fits(findings)).collect();
    if let [(choice, findings)] = fitting.as_slice() {
        let Choice { label, fits, .. } = choice.clone();
        return Outcome { label, findings: findings.clone(), fits };
    }
    let names = |of: &[&(Choice, Vec<Finding>)]| {
        of.iter()
            .map(|(choice, _)| choice.label.clone().unwrap_or_default())
            .collect::<Vec<_>>()
            .join(" and ")
    };
    let found = if fitting.is_empty() { "none".into() } else { names(&fitting) };
    let expected = format!("exactly one of {}", names(&tried.iter().collect::<Vec<_>>()));
    let what = "alternative that is met";
    let mut findings = vec![Finding::new(Weight::Tables, Subject::cell(), what, expected, found)];
    for (Choice { label, .. }, unmet) in tried {
        let label = label.unwrap_or_default();
        findings.extend(unmet.into_iter().map(|f| Finding { what: format!("as {label}: {}", f.what), ..f }));
    }
    Outcome { label: None, findings, fits: vec![] }
}

fn conditional(expectation: &Expectation) -> bool {
    !expectation.when.is_empty() || !expectation.unless.is_empty()
}

/// Returns the distinct lists of traits on which expectations depend, in order of appearance.
fn conditions(cell: &ResolvedCell) -> Vec<Vec<Trait>> {
    let mut out: Vec<Vec<Trait>> = vec![];
    for list in cell.expect.iter().flat_map(|e| [&e.when, &e.unless]).filter(|list| !list.is_empty()) {
        let same = |known: &Vec<Trait>| known.iter().collect::<BTreeSet<_>>() == list.iter().collect();
        if !out.iter().any(same) {
            out.push(list.clone());
        }
    }
    out
}

/// Returns one choice for each combination of true conditions, among the sets of traits that the
/// kernel may have.
fn alternatives(cell: &ResolvedCell) -> Vec<Choice> {
    let conditions = conditions(cell);
    let mut choices: Vec<(Vec<bool>, Choice)> = vec![];
    for traits in cell.traits.possible() {
        let truth = truth(&conditions, &traits);
        match choices.iter_mut().find(|(known, _)| *known == truth) {
            Some((_, choice)) => choice.fits.push(traits),
            None => {
                let label = label(cell, &traits);
                choices.push((truth, Choice { label, fits: vec![traits.clone()], traits }));
            }
        }
    }
    choices.into_iter().map(|(_, choice)| choice).collect()
}

fn truth(conditions: &[Vec<Trait>], traits: &BTreeSet<Trait>) -> Vec<bool> {
    conditions.iter().map(|list| list.iter().all(|t| traits.contains(t))).collect()
}

/// Returns the name of an alternative: the last trait of the longest condition that is true.
fn label(cell: &ResolvedCell, traits: &BTreeSet<Trait>) -> Option<String> {
    let conditions = conditions(cell);
    let truth = truth(&conditions, traits);
    let longest = conditions.iter().zip(&truth).filter(|(_, holds)| **holds).map(|(list, _)| list);
    match longest.max_by_key(|list| list.len()).and_then(|list| list.last()) {
        Some(last) => Some(last.to_string()),
        None if conditions.is_empty() => None,
        None => Some(BEFORE.into()),
    }
}

/// Returns the findings of one expectation that is not met.
fn unmet(expectation: &Expectation, record: &Record, looks: Looks<'_>) -> Vec<Finding> {
    let mut out = vec![];
    for (kind, expected) in expectation.probes() {
        out.extend(unmet_probe(&expectation.of, kind, expected, record));
    }
    for at in &expectation.at {
        out.extend(unmet_at(expectation, at, record, looks));
    }
    let is_of_looks = expectation.is_of_tables() && !expectation.at.is_empty();
    if !is_of_looks && expectation.probes().next().is_none() {
        let what = format!("expectation of {}", expectation.of);
        let (subject, wanted) =
            (Subject::cell().region(&expectation.of), "something to hold against what was seen");
        out.push(Finding::new(Weight::Tables, subject, what, wanted, "nothing"));
    }
    out
}

/// Returns the findings of the expected end of the probes of one kind of a device.
fn unmet_probe(device: &str, kind: ProbeKind, expected: AccessEnd, record: &Record) -> Vec<Finding> {
    let mut steps = record.planned.resolved.steps.iter().filter_map(|step| step.of::<ProbeStep>());
    if !steps.any(|probe| probe.device == device && probe.kind == kind) {
        let (subject, what) = (Subject::cell().region(device), format!("{} to {device}", probe_words(kind)));
        return vec![Finding::new(Weight::Tables, subject, what, expected.name(), "no probe")];
    }
    let of_kind = |probe: &At<'_, Probed>| probe.device == device && probe.kind == kind;
    record.all().filter(of_kind).filter_map(|probe| unmet_end(probe, expected, record)).collect()
}

fn unmet_end(probe: At<'_, Probed>, expected: AccessEnd, record: &Record) -> Option<Finding> {
    let At { step, data: Probed { guest, device, kind, outcome, .. } } = probe;
    let ending = ending(outcome);
    let finding = |weight, found: String| {
        let subject = Subject::step(step).guest(guest).region(device);
        Finding::new(weight, subject, access_words(*kind, guest, device), expected.name(), found)
    };
    match (expected, ending) {
        // KVM gives the guest an abort for a fetch (Linux 6.1 to 7.2 arch/arm64/kvm/mmu.c, user_mem_abort:
        // -ENOEXEC), whatever the TLB has. So its VMM goes on.
        (AccessEnd::Fault, Ending::Fault)
            if *kind == ProbeKind::Fetch && matches!(outcome, ProbeOutcome::GuestEnded(_)) =>
        {
            let ended =
                finding(Weight::Kernel, "the end of its VMM".to_owned()).with([format!("{outcome:?}")]);
            Some(ended.breaking(Promise::FETCH))
        }
        (AccessEnd::Ok, Ending::Ok) | (AccessEnd::Fault, Ending::Fault) | (AccessEnd::Exit, Ending::Exit) => {
            None
        }
        (AccessEnd::Fault, Ending::Ok) if let Err(why) = shows_fault(*kind, record) => {
            Some(finding(Weight::Lacking, why))
        }
        (_, Ending::Unsupported) => {
            Some(finding(Weight::Lacking, "the guest's CPU does not have the instruction".to_owned()))
        }
        (_, Ending::NotDone) => {
            Some(finding(Weight::Lacking, format!("an earlier probe has ended guest {guest}")))
        }
        _ => {
            // KVM decides about an exit without the tables.
            let weight = if expected == AccessEnd::Exit { Weight::Kernel } else { Weight::Tables };
            let unmet = finding(weight, ending.to_string()).with([format!("{outcome:?}")]);
            Some(unmet.breaking(match (kind, expected) {
                (ProbeKind::Fetch, _) => Promise::FETCH,
                // A store to a read-only memslot is the VMM's.
                (_, AccessEnd::Exit) => Promise::LOGGING,
                _ => Promise::EFFECTIVE,
            }))
        }
    }
}

fn unmet_at(expectation: &Expectation, at: &str, record: &Record, looks: Looks<'_>) -> Vec<Finding> {
    if record.planned.resolved.is_of_host(at) {
        // A look that is planned but missing is already a finding of the lab.
        let here = looks.hosts.iter().filter(|look| look.name == at);
        return here.flat_map(|look| host_looks::unmet(expectation, look)).collect();
    }
    let of = &expectation.of;
    let region = RegionName::of(of);
    let has = |guest: &str| {
        record.planned.resolved.guests.get(guest).is_some_and(|guest| region.kind().is_given(guest))
    };
    let concerned: Vec<_> = looks.guests.iter().filter(|look| look.name == at && has(&look.guest)).collect();
    let mut out = vec![];
    for look in &concerned {
        // A look that cannot be read is already a finding of the lab.
        if let Ok(seen) = &look.seen {
            let place = Subject::look(look).region(of);
            out.extend(unmet_leaves(expectation, seen, record, &place));
            out.extend(unmet_effective(expectation, seen, &place));
        }
    }
    // A look that is planned but missing is already a finding of the lab.
    let cell = &record.planned.resolved;
    let running = cell.look(at).map(|step| cell.running_at(step)).unwrap_or_default();
    if !running.into_iter().any(has) {
        let subject = Subject::cell().named(at).region(of);
        let what = subject.to_string();
        out.push(Finding::new(Weight::Tables, subject, what, "a running guest that has it", "none"));
    }
    out
}

fn unmet_leaves(
    expectation: &Expectation,
    seen: &GuestTables,
    record: &Record,
    place: &Subject,
) -> Vec<Finding> {
    let region = RegionName::of(&expectation.of);
    let region = region.kind();
    let leaves = region.leaves(seen);
    if expectation.stage2 == Some(Stage2Type::Nothing) {
        let promise = was_removed(&record.planned.resolved, &expectation.of, place).then_some(Promise::RESET);
        return mapped(leaves, place).map(|finding| Finding { promise, ..finding }).into_iter().collect();
    }
    let promised = promised(expectation, region, &record.planned.resolved);
    let unmet = promised.iter().filter_map(|(property, promise)| {
        let finding = property.unmet(leaves, place)?;
        Some(Finding { promise: *promise, ..finding })
    });
    let mut out: Vec<_> = unmet.collect();
    if let Some(expected) = expectation.share
        && leaves.iter().any(|leaf| leaf.sh.is_none())
    {
        let (what, why) = (format!("share of {place}"), "the descriptors of FEAT_LPA2 have no shareability");
        out.push(Finding::new(
            Weight::Lacking,
            place.clone(),
            what,
            Shareability::from(expected).to_string(),
            why,
        ));
    }
    if let Some(expected) = region.missing(leaves, &record.session.around) {
        let subject = place.clone();
        out.push(Finding::new(Weight::Tables, subject, place.to_string(), expected, "nothing mapped"));
    }
    out
}

/// Returns true if a step has removed the device before the look.
fn was_removed(cell: &ResolvedCell, device: &str, look: &Subject) -> bool {
    let before = cell.steps.iter().take(look.step.unwrap_or_default());
    before.filter_map(Step::removes).any(|removal| removal.device == device)
}

/// Returns the finding of leaves where there must be none.
fn mapped(leaves: &[Stage2Leaf], place: &Subject) -> Option<Finding> {
    let none = Property::new("stage2", Stage2Type::Nothing.name(), leaves::stage2);
    if leaves.is_empty() { None } else { none.unmet(leaves, place) }
}

/// Returns the properties of leaves that an expectation asks for, each with its promise.
fn promised(
    expectation: &Expectation,
    region: &dyn RegionKind,
    cell: &ResolvedCell,
) -> Vec<(Property, Option<Promise>)> {
    let Expectation { stage2, exec, access, share, af, .. } = expectation;
    let of_type = |of: &Stage2Type| match of {
        Stage2Type::Type(of) => Some((Property::stage2(*of), region.promise(*of, cell))),
        Stage2Type::Nothing => None,
    };
    let of_region = |property| (property, region.promise(MemoryType::NormalNC, cell));
    let all = [
        stage2.as_ref().and_then(of_type),
        exec.map(|Exec::Never| of_region(Property::never_exec())),
        access.map(|of| of_region(Property::access(of))),
        share.map(|of| of_region(Property::share(of))),
        af.map(|of| of_region(Property::access_flag(of))),
    ];
    all.into_iter().flatten().collect()
}

fn unmet_effective(expectation: &Expectation, seen: &GuestTables, place: &Subject) -> Option<Finding> {
    let expected = expectation.effective?;
    let mappings = seen.mappings.iter().filter(|mapping| mapping.device == expectation.of);
    let touched: Vec<_> = mappings.flat_map(|mapping| &mapping.touched).collect();
    let finding = |found: String| {
        let what = format!("effective type of {place}");
        let finding = Finding::new(Weight::Tables, place.clone(), what, expected.name(), found);
        finding.breaking(Promise::EFFECTIVE)
    };
    if touched.is_empty() {
        return Some(finding("nothing mapped".into()));
    }
    if touched.iter().all(|(both, _)| both.effective == Some(expected)) {
        return None;
    }
    let kinds: BTreeSet<_> = touched.iter().map(|(both, _)| effective_name(both.effective)).collect();
    let detail =
        touched.iter().map(|(both, bytes)| format!("{bytes:#x} bytes: {} on {}", both.stage1, both.stage2));
    let found = kinds.into_iter().collect::<Vec<_>>().join(", ");
    Some(finding(found).with(detail))
}
