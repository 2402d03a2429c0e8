//! The past of one cell, drawn for a terminal.

use super::past::{bars, duration, minute, seconds};
use s2lab_model::{
    escape,
    history::{FactChange, MeasureName, PastCell, PastMeasure, Trend, fact, stand},
    statistics::{CONFIDENCE, Summary, summary},
};
use std::collections::{BTreeMap, BTreeSet};

/// The digits of a digest that people compare.
const DIGITS: usize = 12;
/// The width of the first column.
const NAME: usize = 10;

/// The past of one cell as it is drawn.
#[derive(Debug)]
pub struct Drawing<'a> {
    pub trend: Trend<'a>,
    /// The runs of the cell, the oldest first.
    pub cells: &'a [PastCell],
    /// The measures in these runs, boot by boot.
    pub measures: &'a [PastMeasure],
    /// The older runs that are left out.
    pub left_out: usize,
}

impl Drawing<'_> {
    /// Returns true if the run was on a machine of the newest known kind. Times of others do not
    /// compare.
    fn is_on_machine(&self, cell: &PastCell) -> bool {
        let newest = self.cells.iter().rev().find_map(|cell| cell.fact(fact::MACHINE));
        cell.fact(fact::MACHINE) == newest
    }

    /// Returns the times of the complete runs on the newest kind of machine.
    pub fn times(&self) -> Vec<Option<u64>> {
        let time = |cell: &PastCell| cell.elapsed_ms.filter(|_| cell.complete && self.is_on_machine(cell));
        self.cells.iter().map(time).collect()
    }
}

pub fn lines(of: &Drawing<'_>) -> String {
    let mut out = heading(of);
    let mut add = |name: &str, text: String| {
        out.push_str(format!("{name:<NAME$}  {text}").trim_end());
        out.push('\n');
    };
    add("verdicts", verdicts(of));
    let times = of.times();
    if let Some(shown) = summary(&times.iter().flatten().copied().collect::<Vec<_>>()) {
        let last = times.iter().rev().flatten().next().copied().unwrap_or_default();
        let shown = [last, shown.median, shown.min, shown.max].map(seconds);
        let [last, median, min, max] = shown;
        add("time", format!("{}   newest {last}, median {median}, {min} to {max}", bars(&times)));
    }
    let Trend { last_good, first_bad, flaky, changed, .. } = &of.trend;
    add("flaky", format!("{} of {} runs, {}%", flaky.flaky, flaky.judged, flaky.percent()));
    add("last good", last_good.map_or("-".into(), run));
    add("first bad", first_bad.map_or("-".into(), |cell| run(cell) + &lead(cell)));
    if let Some(stand) = stand(of.cells) {
        let since = minute(&stand.since.run.started);
        add("stands", format!("{} {}, since {since}", stand.runs, plural("run", stand.runs)));
    }
    let heads = std::iter::once("changed").chain(std::iter::repeat(""));
    let width = changed.iter().map(|change| change.name.len()).max().unwrap_or(0);
    for (name, change) in heads.zip(changed) {
        add(name, fact_change(change, width));
    }
    let heads = std::iter::once("numbers").chain(std::iter::repeat(""));
    for (name, line) in heads.zip(numbers(of)) {
        add(name, line);
    }
    out
}

fn heading(of: &Drawing<'_>) -> String {
    let time = |cell: Option<&PastCell>| cell.map(|cell| minute(&cell.run.started)).unwrap_or_default();
    let (first, last) = (time(of.cells.first()), time(of.cells.last()));
    let runs = of.cells.len();
    let older = match of.left_out {
        0 => String::new(),
        n => format!(", {n} older {} left out", plural("run", n)),
    };
    format!("{}   {runs} {}, {first} to {last}{older}\n", of.trend.last.key, plural("run", runs))
}

/// Returns a letter a run, and the meaning of each.
fn verdicts(of: &Drawing<'_>) -> String {
    let letters: String = of.cells.iter().map(PastCell::letter).collect();
    let meaning = |cell: &PastCell| match &cell.verdict {
        Some(verdict) => format!("{} {}", cell.letter(), verdict.name()),
        None => format!("{} no verdict", cell.letter()),
    };
    let meanings: BTreeSet<_> = of.cells.iter().map(meaning).collect();
    format!("{letters}   {}", meanings.into_iter().collect::<Vec<_>>().join(", "))
}

fn run(cell: &PastCell) -> String {
    format!("{}  {}", minute(&cell.run.started), escape::line(&cell.run.name))
}

fn lead(cell: &PastCell) -> String {
    let lead = cell.lead.as_deref().map(|lead| escape::once(lead, escape::LONGEST));
    lead.map(|lead| format!("  {lead}")).unwrap_or_default()
}

fn fact_change(FactChange { name, from, to }: &FactChange<'_>, width: usize) -> String {
    let (name, from, to) = (escape::line(name), short(from), short(to));
    format!("{name:<width$}  {from} -> {to}")
}

/// Returns the value of a fact; of a digest the first digits.
fn short(value: &str) -> String {
    let is_digest = |word: &str| word.len() >= 40 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bare = value.rsplit([' ', ':']).next().unwrap_or(value);
    match is_digest(bare).then(|| bare.get(..DIGITS)).flatten() {
        Some(digits) => escape::line(&value.replace(bare, digits)),
        None => escape::line(value),
    }
}

/// Returns a line for each measure, of the runs on the newest kind of machine.
fn numbers(of: &Drawing<'_>) -> Vec<String> {
    let mut by_name: BTreeMap<&MeasureName, BTreeMap<i64, Vec<&PastMeasure>>> = BTreeMap::new();
    for boot in of.measures {
        by_name.entry(&boot.name).or_default().entry(boot.run).or_default().push(boot);
    }
    by_name.into_iter().filter_map(|(name, runs)| number(of, name, &runs)).collect()
}

/// A run has a bar for the median over its boots, each of which counts with its median.
fn number(of: &Drawing<'_>, name: &MeasureName, runs: &BTreeMap<i64, Vec<&PastMeasure>>) -> Option<String> {
    let boots = |cell: &PastCell| {
        runs.get(&cell.run.id).filter(|_| of.is_on_machine(cell)).map(Vec::as_slice).unwrap_or_default()
    };
    let medians = |boots: &[&PastMeasure]| summary(&boots.iter().map(|boot| boot.median).collect::<Vec<_>>());
    let bars = bars(&of.cells.iter().map(|cell| Some(medians(boots(cell))?.median)).collect::<Vec<_>>());
    let all: Vec<_> = of.cells.iter().flat_map(boots).copied().collect();
    let PastMeasure { median: newest, interval, .. } = all.last()?;
    let Summary { median, min, max, .. } = medians(&all)?;
    let interval = match interval {
        Some((low, high)) => format!("{}..{}", duration(*low), duration(*high)),
        None => "unknown".into(),
    };
    let [newest, median, min, max] = [*newest, median, min, max].map(duration);
    let (level, name) = ((CONFIDENCE * 100.0).round(), escape::line(&name.to_string()));
    Some(format!("{bars}   newest {newest}, {level} % {interval}; median {median}, {min} to {max}   {name}"))
}

fn plural(word: &str, n: usize) -> String {
    if n == 1 { word.to_owned() } else { format!("{word}s") }
}
