//! A judged attempt to its report.

use super::text::INDENT;
use super::{DETAIL, LONGEST, Report};
use crate::escape;
use crate::finding::{Finding, Subject, Weight};
use crate::judge::{Isolation, JudgedAttempt, JudgedCell, Judgement, effective_name, endings};
use crate::record::look::{Decoded, Seen, SeenMapping, digest};
use crate::record::{Record, Stored, environment, virt};
use crate::scenario::{Size, Step};
use crate::statistics::{self, megabytes_per_second};
use crate::verdict::Verdict;
use crate::witnesses::Testimony;
use crate::witnesses::behaviour::{ending, map_name};
use s2lab_mmu::{Range, Stage2Leaf, ranges};
use s2lab_protocol::MapKind;
use std::collections::{BTreeMap, BTreeSet};

/// Longest section of a report, bytes without its last line. A report has six, the last of them by [`MOST_FACTS`].
const LONGEST_SECTION: usize = LONGEST / 8;
/// Most facts of each kind; each takes two texts of [`escape::LONGEST`].
const MOST_FACTS: usize = LONGEST_SECTION / 2 / (3 * escape::LONGEST);
/// Ranges of one device that a report shows; more are counted.
const MOST_RANGES: usize = 64;

fn device_types(looks: &[Decoded]) -> BTreeMap<String, BTreeSet<String>> {
    let mut types: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (device, leaves) in
        looks.iter().filter_map(|look| look.seen.as_ref().ok()).flat_map(|seen| &seen.devices)
    {
        types.entry(device.clone()).or_default().extend(self::types(leaves));
    }
    types
}

/// In what the attempts of a FLAKY cell differ, with what the first and the first other one saw.
pub(crate) fn difference(cell: &JudgedCell) -> Finding {
    let first = cell.attempts.first();
    let other = cell.attempts.iter().find(|attempt| {
        first.is_some_and(|first| {
            first.judgement.verdict != attempt.judgement.verdict
                || first.account.promised != attempt.account.promised
        })
    });
    let lines = |attempt: Option<&JudgedAttempt>| -> Vec<String> {
        attempt.map(|attempt| attempt.account.promised.clone()).unwrap_or_default()
    };
    let (a, b) = (lines(first), lines(other));
    let only = |sign: &str, these: &[String], those: &[String]| {
        let those: BTreeSet<_> = those.iter().collect();
        let lines = these.iter().filter(|line| !those.contains(line));
        lines.map(|line| format!("{sign} {}", line.trim_start())).collect::<Vec<_>>()
    };
    Finding {
        weight: Weight::Tables,
        subject: Subject::cell(),
        promise: None,
        what: format!("{} attempts", cell.attempts.len()),
        expected: "all alike".into(),
        found: match endings(cell.verdicts()) {
            // All of one verdict.
            Some(how) if !how.contains(", then ") => format!("{how}, and not the same was seen"),
            how => how.unwrap_or_default(),
        },
        detail: [only("-", &a, &b), only("+", &b, &a)].concat(),
    }
}

/// What a report says of an attempt's looks and steps, in lines. It is made while the looks are there: a hostile kernel's have
/// millions of leaves, and what is said of them is short.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Step by step what was seen, as far as it must not vary.
    pub(crate) promised: Vec<String>,
    /// Levels, sizes and layout: what the kernel may choose freely.
    shape: Vec<String>,
    /// Each device with the types that stage 2 gave it.
    pub(crate) types: BTreeMap<String, BTreeSet<String>>,
}

impl Account {
    /// `isolation`: what is said of each of `looks`.
    pub(crate) fn of(record: &Record, looks: &[Decoded], isolation: &[Isolation]) -> Self {
        let promised = bounded(promised(record, looks, isolation));
        let shape = bounded(shape(record, looks));
        Self { promised, shape, types: device_types(looks) }
    }
}

impl Report {
    /// The report of a cell: that of its last attempt, with the verdict on all and how each ended. None if there is no verdict,
    /// or no attempt.
    pub fn of_cell(cell: &JudgedCell) -> Option<Report> {
        let (verdict, attempt) = (cell.verdict.as_ref()?, cell.attempts.last()?);
        let mut report = Report { verdict: escape::line(&verdict.to_string()), ..Report::of(attempt) };
        if *verdict == Verdict::Flaky {
            report.findings.splice(0..0, self::finding(&difference(cell)));
            report.findings = bounded(report.findings);
        }
        if let Some(how) = endings(cell.verdicts()) {
            let text = format!("{}: {how}", cell.attempts.len());
            report.variable.insert(environment::ATTEMPTS.into(), escape::line(&text));
        }
        Some(report)
    }

    pub fn of(attempt: &JudgedAttempt) -> Report {
        let JudgedAttempt { record, judgement, account } = attempt;
        let verdict =
            judgement.verdict.as_ref().map_or_else(|| "no verdict (interrupted)".into(), Verdict::to_string);
        Report {
            key: record.planned.key.to_string(),
            verdict: escape::line(&verdict),
            promises: record.planned.scenario.held_up().iter().map(ToString::to_string).collect(),
            findings: bounded(judgement.findings.iter().flat_map(finding).collect()),
            promised: account.promised.clone(),
            witnesses: bounded(witnesses(judgement)),
            shape: account.shape.clone(),
            numbers: bounded(numbers(record)),
            blocking: facts(&record.environment.blocking),
            variable: facts(&record.environment.variable),
        }
    }
}

fn finding(finding: &Finding) -> Vec<String> {
    let Finding { what, expected, found, detail, .. } = finding;
    let lines = [
        escape::line(what),
        format!("  expected {}", escape::line(expected)),
        format!("  found    {}", escape::line(found)),
    ];
    lines.into_iter().chain(detail.iter().map(|text| format!("{DETAIL}{}", escape::line(text)))).collect()
}

fn promised(record: &Record, looks: &[Decoded], isolation: &[Isolation]) -> Vec<String> {
    let mut out = vec![];
    for (at, step) in record.planned.scenario.steps.iter().enumerate() {
        match step {
            Step::Store(_) => out.extend(record.stores.iter().filter(|s| s.step == at).map(stored)),
            Step::Look(_) => {
                for (look, isolation) in looks.iter().zip(isolation).filter(|(look, _)| look.step == at) {
                    out.push(format!(
                        "look {}, guest {}",
                        escape::line(&look.name),
                        escape::line(&look.guest)
                    ));
                    match &look.seen {
                        Ok(seen) => {
                            let isolated = self::isolation(record, look, isolation);
                            let lines = regions(record, look, seen).chain([isolated]);
                            out.extend(lines.map(|line| format!("  {line}")));
                        }
                        Err(_) => out.push("  not readable".into()),
                    }
                }
            }
            Step::Host(_) => {
                let resets = record.resets.iter().filter(|reset| reset.step == at);
                out.extend(resets.map(|reset| format!("reset {}", escape::line(&reset.device))));
            }
            Step::Probe(_) => {
                out.extend(record.probes.iter().filter(|probe| probe.step == at).map(|probe| {
                    let place = place(&probe.guest, &probe.device, probe.map);
                    format!("unaligned store {place}: {}", ending(&probe.outcome))
                }));
            }
        }
    }
    out
}

fn place(guest: &str, device: &str, map: MapKind) -> String {
    format!("{} {} {}", escape::line(guest), escape::line(device), map_name(map))
}

fn stored(stored: &Stored) -> String {
    let Stored { guest, device, map, width, result, file_difference, .. } = stored;
    let equal = |difference: Option<u64>| if difference.is_none() { "equal" } else { "DIFFERS" };
    format!(
        "store {} {width} B: {} stores, BAR file {}, read-back {}",
        place(guest, device, *map),
        result.stores,
        equal(*file_difference),
        equal(result.first_difference)
    )
}

fn regions<'a>(record: &'a Record, look: &'a Decoded, seen: &'a Seen) -> impl Iterator<Item = String> + 'a {
    let assigned = record.planned.scenario.guests.get(&look.guest).map(|guest| &guest.assign);
    let assigned = assigned.into_iter().flat_map(BTreeMap::keys);
    let devices: BTreeSet<&String> = assigned.chain(seen.devices.keys()).collect();
    let devices = devices.into_iter().flat_map(|device| {
        let leaves = seen.devices.get(device).map(Vec::as_slice).unwrap_or_default();
        let mappings = seen.mappings.iter().filter(move |mapping| mapping.device == *device);
        let name = escape::line(device);
        let mapped =
            mappings.map(move |mapping| format!("{}  {}", escape::line(device), mapping_line(mapping)));
        [format!("{name}  {}", device_line(leaves))].into_iter().chain(mapped)
    });
    let ram = match types(&seen.ram) {
        types if types.is_empty() => "ram  nothing mapped".to_owned(),
        types => format!("ram  stage2 {}", either(&types)),
    };
    let unknown = (!seen.unknown.is_empty())
        .then(|| format!("unknown region  stage2 {}", either(&types(&seen.unknown))));
    devices.chain([ram]).chain(unknown)
}

/// What the guest was given, and whether stage 2 maps nothing else.
fn isolation(record: &Record, look: &Decoded, isolation: &Isolation) -> String {
    if !isolation.own {
        return "maps what is not its own".into();
    }
    let given = record.planned.scenario.guests.get(&look.guest);
    let memory = given.map_or(Size(0), |guest| guest.memory);
    let devices = given.into_iter().flat_map(|guest| guest.assign.keys());
    let devices: String = devices.map(|device| format!(", {}", escape::line(device))).collect();
    format!("maps only its own: {memory} of RAM at {:#x}{devices}", virt::RAM_START)
}

fn device_line(leaves: &[Stage2Leaf]) -> String {
    if leaves.is_empty() {
        return "nothing mapped".into();
    }
    let access = |leaf: &Stage2Leaf| {
        format!("{}{}", if leaf.read { "r" } else { "-" }, if leaf.write { "w" } else { "-" })
    };
    let access = distinct(leaves, |leaf| (leaf.read, leaf.write), access);
    let exec = distinct(leaves, |leaf| leaf.exec, |leaf| leaf.exec.to_string());
    format!("stage2 {}  {}  {}", either(&types(leaves)), either(&access), either(&exec))
}

fn mapping_line(mapping: &SeenMapping) -> String {
    let types: BTreeSet<String> =
        mapping.touched.iter().map(|(both, _)| effective_name(both.effective).to_owned()).collect();
    let alike = match types.len() {
        0 => return format!("mapped {}  no page touched", map_name(mapping.map)),
        1 => "all touched pages alike",
        _ => "touched pages DIFFER",
    };
    format!("mapped {}  effective {}  {alike}", map_name(mapping.map), either(&types))
}

fn types(leaves: &[Stage2Leaf]) -> BTreeSet<String> {
    distinct(leaves, |leaf| leaf.attr, |leaf| leaf.attr.to_string())
}

/// What is told of each kind of leaf there is. A million leaves are of a few kinds.
fn distinct<K: PartialEq>(
    leaves: &[Stage2Leaf],
    kind: impl Fn(&Stage2Leaf) -> K,
    text: impl Fn(&Stage2Leaf) -> String,
) -> BTreeSet<String> {
    let (mut kinds, mut texts) = (vec![], BTreeSet::new());
    for leaf in leaves {
        let kind = kind(leaf);
        if !kinds.contains(&kind) {
            kinds.push(kind);
            texts.insert(text(leaf));
        }
    }
    texts
}

fn either(texts: &BTreeSet<String>) -> String {
    texts.iter().map(String::as_str).collect::<Vec<_>>().join(" and ")
}

fn witnesses(judgement: &Judgement) -> Vec<String> {
    let who = |testimony: &Testimony| {
        let who =
            judgement.witnesses.iter().filter(|(_, said)| said == testimony).map(|(who, _)| who.to_string());
        who.collect::<Vec<_>>().join(", ")
    };
    let (agree, contradict) = (who(&Testimony::Agrees), who(&Testimony::Contradicts));
    let mut out = vec![];
    if judgement.witnesses.is_empty() {
        out.push("none heard: the cell did not complete".into());
    }
    if !contradict.is_empty() {
        out.push(format!("contradicting: {contradict}"));
    }
    if !agree.is_empty() {
        out.push(format!("agreeing: {agree}"));
    }
    for (who, testimony) in &judgement.witnesses {
        if let Testimony::Silent(why) = testimony {
            out.push(format!("silent: {who}, {}", escape::line(why)));
        }
    }
    out
}

fn shape(record: &Record, looks: &[Decoded]) -> Vec<String> {
    let mut out = vec![];
    for look in looks {
        let Ok(seen) = &look.seen else { continue };
        let place = format!("{} {}", escape::line(&look.name), escape::line(&look.guest));
        let (granule, bits, level) = (Size(seen.granule.size()), seen.ipa_bits, seen.start_level);
        out.push(format!("{place}  granule {granule}, IPA {bits} bits, start level {level}"));
        for (device, leaves) in &seen.devices {
            let mut ranges = ranges(leaves);
            let shown = ranges.by_ref().take(MOST_RANGES);
            out.extend(shown.map(|range| format!("{place}  {}", range_line(record, device, &range))));
            if let Some(more) = Some(ranges.count()).filter(|more| *more > 0) {
                out.push(format!("{place}  {} and {more} more ranges", escape::line(device)));
            }
        }
    }
    out.extend(record.resets.iter().map(|reset| {
        format!("reset {}  method {}", escape::line(&reset.device), escape::line(&reset.method))
    }));
    out
}

/// A range relative to the BAR that it lies in, for where the BAR lies says nothing.
fn range_line(record: &Record, device: &str, range: &Range) -> String {
    let main = record.around.bar(device);
    let bars = record.around.placed.get(device).map(Vec::as_slice).unwrap_or_default();
    let end = range.pa.saturating_add(range.size);
    let bar = bars.iter().find(|bar| bar.start < end && range.pa < bar.start.saturating_add(bar.size));
    let number = match bar {
        Some(bar) if Some(bar.index) != main.map(|main| main.index) => format!(" BAR {}", bar.index),
        _ => String::new(),
    };
    // A page around a BAR that is smaller than a page begins before it.
    let start = bar.map_or(0, |bar| bar.start).min(range.pa);
    let (from, to) = (range.pa - start, end - start);
    let (count, size, level, ipa) = (range.count, Size(range.leaf_size), range.level, range.ipa);
    format!(
        "{}{number} +{from:#x}..{to:#x}  {count} x {size} level {level}  at IPA {ipa:#x}",
        escape::line(device)
    )
}

/// Throughput of each kind of store. Says nothing under emulation, and decides nothing anywhere.
fn numbers(record: &Record) -> Vec<String> {
    let mut samples: BTreeMap<(&str, &str, MapKind, u32), Vec<u64>> = BTreeMap::new();
    for Stored { guest, device, map, width, bytes, result, .. } in &record.stores {
        let rate = megabytes_per_second(*bytes, result.nanos);
        samples.entry((guest, device, *map, *width)).or_default().extend(rate);
    }
    let tcg = record.environment.blocking.get(environment::ACCELERATOR).map(String::as_str)
        == Some(environment::TCG);
    let head = if tcg { "emulated, never decide" } else { "never decide" };
    let lines = samples.iter().filter_map(|(&(guest, device, map, width), samples)| {
        let statistics::Summary { n, median, least, most } = statistics::summary(samples)?;
        let place = place(guest, device, map);
        Some(format!("store {place} {width} B  n {n}  median {median} MB/s  [{least}, {most}]"))
    });
    [head.to_owned()].into_iter().chain(lines).collect()
}

/// Names lose their `=`, which separates them from the value.
fn facts(facts: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let escaped = |(name, value): (&String, &String)| {
        (escape::line(&name.replace('=', "\u{ff1d}")), escape::line(value))
    };
    let mut shown: BTreeMap<_, _> = facts.iter().take(MOST_FACTS).map(escaped).collect();
    if facts.len() > MOST_FACTS {
        let rest = facts.iter().skip(MOST_FACTS).map(|(name, value)| format!("{name}={value}"));
        shown.insert("further facts".into(), further(&rest.collect::<Vec<_>>()));
    }
    shown
}

/// A section that is not too large: a report that is written can be read. What is left out still compares, by its digest.
fn bounded(mut lines: Vec<String>) -> Vec<String> {
    let mut bytes = 0;
    let fits = lines.iter().position(|line| {
        bytes += INDENT.len() + line.len() + 1;
        bytes > LONGEST_SECTION
    });
    if let Some(fits) = fits {
        let rest = lines.split_off(fits);
        lines.push(further(&rest));
    }
    lines
}

fn further(rest: &[String]) -> String {
    // Evidence differs from run to run.
    let compared: Vec<_> = rest.iter().filter(|line| !line.starts_with(DETAIL)).map(String::as_str).collect();
    format!("and {} more, sha256 {}", rest.len(), digest(compared.join("\n").as_bytes()))
}
