//! A run as the reports of KCIDB (kcidb-io, schema v5.3): a kernel is a checkout and a build, a cell
//! is a test. Nothing is null, and there are no resources, because a log has no URL.

mod known;

use super::{command, excerpt, standings, terminal};
use jiff::{SignedDuration, Timestamp};
use s2lab_model::{
    escape,
    event::SeriesOrigin,
    hash::digest,
    lines::Number,
    plan::Key,
    record::environment,
    report::Report,
    statistics::summary,
    summary::{CellSummary, KernelSummary, RunSummary},
    verdict::Verdict,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The version of the schema.
const VERSION: (u32, u32) = (5, 3);
/// The name of this system in every id.
const ORIGIN: &str = "s2lab";
/// The nanoseconds of a second.
const NANOS: f64 = 1e9;
/// The digits of a digest in an id.
const DIGITS: usize = 32;

/// A kernel of a run: what its cells know together.
#[derive(Default)]
struct Kernel<'a> {
    facts: KernelSummary,
    series: Option<&'a SeriesOrigin>,
}

/// Returns the document.
pub fn document(run: &RunSummary) -> String {
    let id = run_id(run);
    let kernels = kernels(run);
    let of = |kind: fn(&str, &str, &Kernel<'_>) -> Value| -> Vec<Value> {
        kernels.iter().map(|(name, kernel)| kind(&id, name, kernel)).collect()
    };
    let none = Kernel::default();
    let tests = run.cells.iter().map(|cell| {
        let kernel = kernels.get(cell.key.kernel()).unwrap_or(&none);
        test(run, &id, cell, &build_id(&id, cell.key.kernel(), kernel))
    });
    let (issues, incidents) = known::issues(run, &id);
    let document = json!({
        "issues": some(issues),
        "incidents": some(incidents),
        "version": {"major": VERSION.0, "minor": VERSION.1},
        "checkouts": of(checkout),
        "builds": of(build),
        "tests": tests.collect::<Vec<_>>(),
    });
    escape::json(&format!("{:#}", without_nulls(document))) + "\n"
}

/// Returns the list, or nothing for an empty one.
fn some(list: Vec<Value>) -> Option<Vec<Value>> {
    Some(list).filter(|list| !list.is_empty())
}

/// Returns the id of a cell's result.
fn test_id(run: &str, cell: &CellSummary) -> String {
    format!("{ORIGIN}:{run}:{}", cell.key)
}

/// Leaves out what is not known.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(pairs) => {
            let known = pairs.into_iter().filter(|(_, value)| !value.is_null());
            known.map(|(key, value)| (key, without_nulls(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(values) => values.into_iter().map(without_nulls).collect(),
        value => value,
    }
}

/// Returns an id of these parts.
fn digits(parts: &[&str]) -> String {
    digest(parts.join("\n").as_bytes()).chars().take(DIGITS).collect()
}

/// Returns the id of a run: the same wherever and however often it is read.
fn run_id(run: &RunSummary) -> String {
    let cells =
        run.cells.iter().map(|cell| format!("{} {:?} {:?}", cell.key, cell.started_ms, cell.elapsed_ms));
    let cells: Vec<String> = cells.collect();
    digits(&[&run.s2lab, &run.started, run.lab.as_deref().unwrap_or_default(), &cells.join("\n")])
}

fn kernels(run: &RunSummary) -> BTreeMap<&str, Kernel<'_>> {
    let mut kernels: BTreeMap<&str, Kernel<'_>> = BTreeMap::new();
    for cell in &run.cells {
        let Kernel { facts, series } = kernels.entry(cell.key.kernel()).or_default();
        let KernelSummary { release, image, config, package, about, commit } = cell.kernel.clone();
        *facts = KernelSummary {
            release: facts.release.take().or(release),
            image: facts.image.take().or(image),
            config: facts.config.take().or(config),
            package: facts.package.take().or(package),
            about: facts.about.take().or(about),
            commit: facts.commit.take().or(commit),
        };
        *series = series.or(cell.series.as_ref());
    }
    kernels
}

/// Returns the id of the source of a kernel. A kernel that has not booted has the run in it.
fn checkout_id(run: &str, name: &str, Kernel { facts, series }: &Kernel<'_>) -> String {
    let known = |fact: &Option<String>| fact.clone().unwrap_or_default();
    let run = if facts.image.is_some() { "" } else { run };
    let series = series.map(|series| series.digest.clone()).unwrap_or_default();
    let parts = [known(&facts.package), known(&facts.commit), known(&facts.about), series];
    format!("{ORIGIN}:{}", digits(&[run, name, &parts.join("\n")]))
}

/// Returns the id of a kernel: the same in all runs that boot the same Image of the same source.
fn build_id(run: &str, name: &str, kernel: &Kernel<'_>) -> String {
    let image = kernel.facts.image.as_deref().unwrap_or_default();
    format!("{ORIGIN}:{}", digits(&[&checkout_id(run, name, kernel), image]))
}

fn checkout(run: &str, name: &str, kernel: &Kernel<'_>) -> Value {
    let Kernel { facts, series } = kernel;
    let subject = series.and_then(|series| series.subject.as_deref());
    let hash = match series {
        Some(series) => Some(series.digest.clone()).filter(|hash| is_hex(hash, 64)),
        // A commit is built as it is.
        None => facts.commit.as_ref().map(|_| String::new()),
    };
    json!({
        "id": checkout_id(run, name, kernel),
        "origin": ORIGIN,
        "git_commit_hash": facts.commit.as_deref().filter(|hash| is_hex(hash, 40)),
        "patchset_hash": hash,
        "message_id": series.and_then(|series| series.message_id.as_deref()).filter(|id| is_address(id)),
        "comment": line(subject.or(facts.about.as_deref()).or(facts.package.as_deref())),
        "valid": facts.image.as_ref().map(|_| true),
        "misc": {
            "kernel": name,
            "patches": series.map(|series| series.patches),
            "files": series.filter(|series| !series.files.is_empty()).map(files),
            "about": line(facts.about.as_deref()),
        },
    })
}

/// Returns the paths of an entry's patches.
fn files(series: &SeriesOrigin) -> Vec<String> {
    series.files.iter().map(|file| excerpt::line(file)).collect()
}

fn build(run: &str, name: &str, kernel: &Kernel<'_>) -> Value {
    let KernelSummary { release, image, config, package, .. } = &kernel.facts;
    json!({
        "id": build_id(run, name, kernel),
        "origin": ORIGIN,
        "checkout_id": checkout_id(run, name, kernel),
        "architecture": "arm64",
        "comment": line(release.as_deref()),
        "status": image.as_ref().map(|_| "PASS"),
        "misc": {
            "kernel": name,
            "release": line(release.as_deref()),
            "image_sha256": line(image.as_deref()),
            "config_sha256": line(config.as_deref()),
            "package": line(package.as_deref()),
        },
    })
}

fn test(run: &RunSummary, id: &str, cell: &CellSummary, build: &str) -> Value {
    json!({
        "id": test_id(id, cell),
        "origin": ORIGIN,
        "build_id": build,
        "path": path(&cell.key),
        "status": status(cell),
        "start_time": started(run, cell),
        "duration": cell.elapsed_ms.map(|ms| ms as f64 / 1000.0),
        "comment": comment(cell),
        "log_excerpt": (!cell.passed()).then(|| excerpt::of(cell)),
        "number": number(cell),
        "environment": cell.report.as_ref().map(surroundings),
        "misc": misc(cell),
    })
}

/// Returns the place in the tree of tests. The kernel is the build, and no part of it.
fn path(key: &Key) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    let part = |text: &str| text.replace(|c| !allowed(c), "_");
    let axes = key.axes().map(|(name, value)| format!(".{}", part(&format!("{name}-{value}"))));
    format!("{ORIGIN}.{}{}", part(key.scenario()), axes.collect::<String>())
}

/// Returns the schema's word. The verdict itself is in `misc`.
fn status(cell: &CellSummary) -> &'static str {
    match &cell.verdict {
        Some(Verdict::Pass { .. }) => "PASS",
        Some(Verdict::Fail | Verdict::Flaky | Verdict::Timeout(_)) => "FAIL",
        Some(Verdict::Error) => "ERROR",
        Some(Verdict::Miss | Verdict::Lost) | None => "MISS",
        Some(Verdict::Skip(_)) => "SKIP",
    }
}

fn started(run: &RunSummary, cell: &CellSummary) -> Option<String> {
    let after = SignedDuration::from_millis(i64::try_from(cell.started_ms?).ok()?);
    let begun: Timestamp = run.started.parse().ok()?;
    begun.checked_add(after).ok().map(|time| time.to_string())
}

fn comment(cell: &CellSummary) -> String {
    match &cell.verdict {
        Some(Verdict::Pass { .. }) => {
            excerpt::line(&cell.verdict.as_ref().map(Verdict::to_string).unwrap_or_default())
        }
        _ => {
            let known = excerpt::known(cell).map(|known| format!("; {known}")).unwrap_or_default();
            format!("{}: {}{known}", terminal::word(cell), excerpt::reason(cell))
        }
    }
}

/// Returns the seconds of the first measure on a real machine: the median over its boots, each of which
/// counts with its median. Emulated ones say nothing.
fn number(cell: &CellSummary) -> Option<Value> {
    let report = cell.report.as_ref()?;
    let real = report.numbers.lines.contains(&Number::Head { emulated: false });
    let boots = &cell.measures.first().filter(|_| real)?.boots;
    let medians: Vec<_> = boots.iter().filter_map(|boot| Some(summary(&boot.samples)?.median)).collect();
    let nanos = summary(&medians)?.median;
    Some(json!({"value": nanos as f64 / NANOS, "unit": "s", "prefix": "metric"}))
}

fn surroundings(report: &Report) -> Value {
    let emulated = report
        .blocking
        .iter()
        .any(|(name, value)| (&**name, &**value) == (environment::ACCELERATOR, environment::TCG));
    let facts = report.blocking.iter().chain(&report.variable);
    let facts: Map<String, Value> = facts.map(|(name, value)| (name.to_string(), json!(&**value))).collect();
    json!({"comment": emulated.then_some("a machine that QEMU emulates"), "misc": facts})
}

fn misc(cell: &CellSummary) -> Value {
    let attempts = cell.attempts.iter().map(|verdict| verdict.as_ref().map_or("interrupted", Verdict::name));
    let numbers = cell.report.iter().flat_map(|report| &report.numbers.lines);
    let seen: BTreeMap<String, Vec<String>> = cell
        .seen
        .iter()
        .map(|(device, types)| (escape::line(device), types.iter().map(|name| escape::line(name)).collect()))
        .collect();
    json!({
        "key": cell.key.as_str(),
        "verdict": excerpt::line(&cell.verdict.as_ref().map_or_else(|| terminal::word(cell).into(), Verdict::to_string)),
        "as": line(cell.label.as_deref()),
        "attempts": attempts.collect::<Vec<_>>(),
        "promises": cell.promises.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "seen": seen,
        "numbers": numbers.map(ToString::to_string).collect::<Vec<_>>(),
        "accepted": cell.standing.as_ref().map(standings::word),
        "repeat": excerpt::line(&command::repeat(cell).join(" ")),
        "not_run": line(cell.not_run.as_deref()),
    })
}

/// Returns a text in one line without NUL, which the schema refuses.
fn line(text: Option<&str>) -> Option<String> {
    text.map(excerpt::line)
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns true for `LOCAL@DOMAIN`, which the schema wants of a Message-ID.
fn is_address(text: &str) -> bool {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    visible && text.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
}

#[cfg(test)]
mod tests;
