//! Expectations, chosen by trait and compared with the observations.

use crate::cell::ResolvedCell;
use crate::finding::{Finding, Subject, Weight};
use crate::kernel::Trait;
use crate::lines::effective_name;
use crate::record::look::{DecodedLook, GuestTables};
use crate::record::{At, Record};
use crate::regions::RegionName;
use crate::scenario::{AccessEnd, Exec, Expectation, Promise};
use crate::steps::{Ending, ProbeStep, Probed, access_words, probe_words};
use crate::witnesses::behaviour::{ending, shows_fault};
use s2lab_mmu::Stage2Leaf;
use s2lab_protocol::ProbeKind;
use std::collections::{BTreeMap, BTreeSet};

/// The name of a kernel without any of the traits.
const BEFORE: &str = "before the series";
/// The name of what a negative control passes as.
const CONTROL: &str = "negative control";
/// The begin of the finding that an expectation of a negative control is met.
pub(crate) const CONTROL_FINDING: &str = "negative control: ";
/// The most leaves that are evidence of one finding.
const MOST_LEAVES: usize = 4;

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
pub(super) fn evaluate(record: &Record, looks: &[DecodedLook], all_there: bool) -> Outcome {
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
pub(super) fn evaluate_inverted(record: &Record, looks: &[DecodedLook], all_there: bool) -> Outcome {
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
fn unmet(expectation: &Expectation, record: &Record, looks: &[DecodedLook]) -> Vec<Finding> {
    let mut out = vec![];
    for (kind, expected) in expectation.probes() {
        out.extend(unmet_probe(&expectation.of, kind, expected, record));
    }
    for at in &expectation.at {
        out.extend(unmet_at(expectation, at, record, looks));
    }
    let says = expectation.stage2.is_some() || expectation.effective.is_some() || expectation.exec.is_some();
    if (expectation.at.is_empty() || !says) && expectation.probes().next().is_none() {
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
        (AccessEnd::Ok, Ending::Ok) | (AccessEnd::Fault, Ending::Fault) => None,
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
            let unmet = finding(Weight::Tables, ending.to_string()).with([format!("{outcome:?}")]);
            Some(unmet.breaking(Promise::EFFECTIVE))
        }
    }
}

fn unmet_at(expectation: &Expectation, at: &str, record: &Record, looks: &[DecodedLook]) -> Vec<Finding> {
    let of = &expectation.of;
    let region = RegionName::of(of);
    let has = |guest: &str| {
        record.planned.resolved.guests.get(guest).is_some_and(|guest| region.kind().is_given(guest))
    };
    let concerned: Vec<_> = looks.iter().filter(|look| look.name == at && has(&look.guest)).collect();
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
    let finding = |what: &str, expected: &str, found: String| {
        Finding::new(Weight::Tables, place.clone(), format!("{what} of {place}"), expected, found)
    };
    let mut out = vec![];
    if let Some(expected) = expectation.stage2 {
        let fits = |leaf: &&Stage2Leaf| leaf.attr.memory_type() == Some(expected);
        let show = |leaf: &Stage2Leaf| leaf.attr.to_string();
        let unmet = unmet_by(leaves, &fits, &show);
        let promise = region.promise(expected);
        let of = |Unmet { found, detail }| finding("stage2", expected.name(), found).with(detail);
        out.extend(unmet.map(|unmet| Finding { promise, ..of(unmet) }));
    }
    if let Some(Exec::Never) = expectation.exec {
        let fits = |leaf: &&Stage2Leaf| leaf.exec.is_never();
        let show = |leaf: &Stage2Leaf| leaf.exec.to_string();
        let of = |Unmet { found, detail }| finding("exec", "never-exec", found).with(detail);
        out.extend(unmet_by(leaves, &fits, &show).map(of).map(|unmet| unmet.breaking(Promise::BAR)));
    }
    if let Some(expected) = region.missing(leaves, &record.session.around) {
        let subject = place.clone();
        out.push(Finding::new(Weight::Tables, subject, place.to_string(), expected, "nothing mapped"));
    }
    out
}

/// Leaves that do not fit: the kinds of all leaves, and the first wrong ones as evidence.
struct Unmet {
    found: String,
    detail: Vec<String>,
}

fn unmet_by(
    leaves: &[Stage2Leaf],
    fits: &dyn Fn(&&Stage2Leaf) -> bool,
    show: &dyn Fn(&Stage2Leaf) -> String,
) -> Option<Unmet> {
    if leaves.is_empty() {
        return Some(Unmet { found: "nothing mapped".into(), detail: vec![] });
    }
    let mut wrong = leaves.iter().filter(|leaf| !fits(leaf)).peekable();
    wrong.peek()?;
    // A million leaves are of a few kinds.
    let mut alike: Vec<(&Stage2Leaf, usize)> = vec![];
    for leaf in leaves {
        match alike.iter_mut().find(|(one, _)| one.attr == leaf.attr && one.exec == leaf.exec) {
            Some((_, n)) => *n += 1,
            None => alike.push((leaf, 1)),
        }
    }
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    alike.into_iter().for_each(|(leaf, n)| *kinds.entry(show(leaf)).or_default() += n);
    let found: Vec<_> = match kinds.len() {
        1 => kinds.into_keys().collect(),
        _ => kinds.into_iter().map(|(kind, n)| format!("{kind} ({n} of {} leaves)", leaves.len())).collect(),
    };
    let detail = wrong.take(MOST_LEAVES).map(|leaf| {
        format!(
            "IPA {:#x} -> PA {:#x}, level {}, descriptor {:#x}",
            leaf.ipa, leaf.pa, leaf.level, leaf.descriptor
        )
    });
    Some(Unmet { found: found.join(", "), detail: detail.collect() })
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
