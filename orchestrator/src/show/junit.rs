//! A run as JUnit XML with the elements of Surefire 3. `docs/junit.xsd` is its schema.

use super::{command, excerpt, terminal};
use jiff::Timestamp;
use quick_xml::{
    Writer,
    events::{BytesDecl, BytesText, Event},
    writer::ElementWriter,
};
use s2lab_model::{
    plan::Key,
    summary::{CellSummary, RunSummary},
    verdict::Verdict,
};
use std::{collections::BTreeMap, io};

type Xml = Writer<Vec<u8>>;
/// Attributes, or names and values of properties.
type Pairs = Vec<(&'static str, String)>;

/// Before the name of a suite.
const PREFIX: &str = "s2lab";
const LOST: &str = "the log stops before the run's end: attempts may be missing";

/// The end of a testcase or of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Passed,
    Skipped,
    /// A result about the kernel that is bad.
    Failure,
    /// No result about the kernel.
    Error,
}

/// Returns the document.
pub fn document(run: &RunSummary) -> String {
    let mut xml = Writer::new_with_indent(vec![], b' ', 2);
    // Writing to memory cannot fail, and everything that is written is UTF-8.
    let _ = write(&mut xml, run);
    String::from_utf8_lossy(&xml.into_inner()).into_owned() + "\n"
}

impl End {
    /// Returns the end of a cell. A tolerated failure is not one for readers.
    fn of(cell: &CellSummary) -> Self {
        if cell.tolerated.is_some() { End::Skipped } else { End::of_verdict(cell.verdict.as_ref()) }
    }

    fn of_verdict(verdict: Option<&Verdict>) -> Self {
        match verdict {
            Some(Verdict::Pass { .. }) => End::Passed,
            Some(Verdict::Skip(_)) => End::Skipped,
            Some(Verdict::Fail | Verdict::Flaky) => End::Failure,
            Some(Verdict::Timeout(_) | Verdict::Error | Verdict::Miss | Verdict::Lost) | None => End::Error,
        }
    }
}

fn write(xml: &mut Xml, run: &RunSummary) -> io::Result<()> {
    let mut suites: BTreeMap<&str, Vec<&CellSummary>> = BTreeMap::new();
    for cell in &run.cells {
        suites.entry(cell.key.scenario()).or_default().push(cell);
    }
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let mut counts = counts(&run.cells.iter().collect::<Vec<_>>(), usize::from(!run.whole));
    counts.insert(0, ("name", PREFIX.to_owned()));
    element(xml, "testsuites", &counts)
        .write_inner_content(|xml| {
            suites.iter().try_for_each(|(scenario, cells)| suite(xml, run, scenario, cells))?;
            if run.whole { Ok(()) } else { lost(xml) }
        })
        .map(drop)
}

fn element<'a>(xml: &'a mut Xml, name: &'a str, pairs: &Pairs) -> ElementWriter<'a, Vec<u8>> {
    xml.create_element(name).with_attributes(pairs.iter().map(|(name, value)| (*name, value.as_str())))
}

/// Returns the counts of testcases, of which `lost` are errors of the run as a whole, and their
/// time.
fn counts(cells: &[&CellSummary], lost: usize) -> Pairs {
    let count = |end: End| cells.iter().filter(|cell| End::of(cell) == end).count();
    let time = cells.iter().filter_map(|cell| cell.elapsed_ms).fold(0, u64::saturating_add);
    vec![
        ("tests", (cells.len() + lost).to_string()),
        ("failures", count(End::Failure).to_string()),
        ("errors", (count(End::Error) + lost).to_string()),
        ("skipped", count(End::Skipped).to_string()),
        ("time", seconds(time)),
    ]
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

fn suite(xml: &mut Xml, run: &RunSummary, scenario: &str, cells: &[&CellSummary]) -> io::Result<()> {
    let mut pairs = vec![("name", format!("{PREFIX}.{scenario}"))];
    // A reader takes nothing else than a time.
    let time = run.started.parse::<Timestamp>().ok();
    pairs.extend(time.map(|time| ("timestamp", time.to_string())));
    pairs.extend(counts(cells, 0));
    let mut facts = vec![("s2lab", excerpt::line(&run.s2lab))];
    facts.extend(run.lab.as_deref().map(|lab| ("lab", excerpt::line(lab))));
    element(xml, "testsuite", &pairs)
        .write_inner_content(|xml| {
            properties(xml, &facts)?;
            cells.iter().try_for_each(|cell| testcase(xml, cell))
        })
        .map(drop)
}

/// A testcase for the log that stops early.
fn lost(xml: &mut Xml) -> io::Result<()> {
    let mut pairs = vec![("name", PREFIX.to_owned())];
    pairs.extend(counts(&[], 1));
    element(xml, "testsuite", &pairs)
        .write_inner_content(|xml| {
            let name = vec![("classname", PREFIX.to_owned()), ("name", "event log".to_owned())];
            element(xml, "testcase", &name)
                .write_inner_content(|xml| ended(xml, "error", "LOST", LOST, LOST))
                .map(drop)
        })
        .map(drop)
}

fn properties(xml: &mut Xml, facts: &Pairs) -> io::Result<()> {
    xml.create_element("properties")
        .write_inner_content(|xml| {
            facts.iter().try_for_each(|(name, value)| {
                let property = xml.create_element("property");
                property.with_attributes([("name", *name), ("value", value.as_str())]).write_empty().map(drop)
            })
        })
        .map(drop)
}

fn testcase(xml: &mut Xml, cell: &CellSummary) -> io::Result<()> {
    let mut pairs =
        vec![("classname", format!("{PREFIX}.{}", cell.key.scenario())), ("name", name(&cell.key))];
    pairs.extend(cell.elapsed_ms.map(|ms| ("time", seconds(ms))));
    element(xml, "testcase", &pairs)
        .write_inner_content(|xml| {
            properties(xml, &facts(cell))?;
            result(xml, cell)?;
            attempts(xml, cell)?;
            let (repeat, logs) = (command::repeat(cell).join(" "), cell.logs.display().to_string());
            let mut out = format!("repeat: {}\nlogs: {}\n", excerpt::line(&repeat), excerpt::line(&logs));
            if cell.tolerated.is_some() {
                out.push_str(&format!("\n{}\n", excerpt::of(cell)));
            }
            xml.create_element("system-out").write_text_content(BytesText::new(&out)).map(drop)
        })
        .map(drop)
}

/// Returns the half of a key that distinguishes the testcases of a scenario.
fn name(key: &Key) -> String {
    key.as_str().split_once('@').map_or(key.as_str(), |(_, name)| name).to_owned()
}

/// Returns what is known of a cell beside its result.
fn facts(cell: &CellSummary) -> Pairs {
    let join = |parts: Vec<String>| Some(parts.join(" ")).filter(|text| !text.is_empty());
    let seen = cell.seen.iter().map(|(device, types)| {
        let types: Vec<_> = types.iter().map(String::as_str).collect();
        format!("{device} {}", types.join(" and "))
    });
    let series = cell.series.as_ref();
    let pairs = [
        ("key", Some(cell.key.to_string())),
        (
            "verdict",
            Some(cell.verdict.as_ref().map_or_else(|| terminal::word(cell).into(), Verdict::to_string)),
        ),
        ("as", cell.label.clone()),
        ("promises", join(cell.promises.iter().map(ToString::to_string).collect())),
        ("seen", Some(seen.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())),
        ("kernel", cell.kernel.release.clone()),
        ("kernel-image", cell.kernel.image.clone()),
        ("kernel-package", cell.kernel.package.clone()),
        ("kernel-source", cell.kernel.about.clone()),
        ("kernel-commit", cell.kernel.commit.clone()),
        ("series", series.and_then(|series| series.message_id.clone())),
        ("patchset-hash", series.map(|series| series.digest.clone())),
    ];
    pairs.into_iter().filter_map(|(name, value)| Some((name, excerpt::line(&value?)))).collect()
}

/// Writes the element with a cell's end.
fn result(xml: &mut Xml, cell: &CellSummary) -> io::Result<()> {
    let reason = excerpt::reason(cell);
    match End::of(cell) {
        End::Passed => Ok(()),
        End::Skipped => {
            let message = excerpt::known(cell).unwrap_or(reason);
            xml.create_element("skipped").with_attribute(("message", &*message)).write_empty().map(drop)
        }
        End::Failure => ended(xml, "failure", terminal::word(cell), &reason, &excerpt::of(cell)),
        End::Error => ended(xml, "error", terminal::word(cell), &reason, &excerpt::of(cell)),
    }
}

fn ended(xml: &mut Xml, name: &str, kind: &str, message: &str, text: &str) -> io::Result<()> {
    let element = xml.create_element(name).with_attributes([("message", message), ("type", kind)]);
    element.write_text_content(BytesText::new(text)).map(drop)
}

/// Writes the attempts that did not pass, beside the one that the cell's own end shows. In a cell
/// that passes they were repeated because the lab failed. A cell that is skipped has none.
fn attempts(xml: &mut Xml, cell: &CellSummary) -> io::Result<()> {
    if End::of(cell) == End::Skipped {
        return Ok(());
    }
    let all = cell.attempts.len();
    let shown = match (End::of(cell), &cell.verdict) {
        (End::Passed, _) | (_, Some(Verdict::Flaky)) => None,
        _ => Some(all),
    };
    let passes = cell.passed();
    for (verdict, number) in cell.attempts.iter().zip(1..).filter(|(_, number)| Some(*number) != shown) {
        let element = match (passes, End::of_verdict(verdict.as_ref())) {
            (_, End::Passed | End::Skipped) => continue,
            (true, End::Failure) => "flakyFailure",
            (true, End::Error) => "flakyError",
            (false, End::Failure) => "rerunFailure",
            (false, End::Error) => "rerunError",
        };
        let (word, cause) = match verdict {
            Some(verdict) => (verdict.name(), verdict.cause()),
            None => ("interrupted", "the run was interrupted"),
        };
        let message = format!("attempt {number} of {all}: {word}");
        let attempt = xml.create_element(element).with_attributes([("message", &*message), ("type", word)]);
        attempt.write_inner_content(|xml| {
            xml.create_element("stackTrace").write_text_content(BytesText::new(cause)).map(drop)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
