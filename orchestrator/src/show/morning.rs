//! The summary of a morning, for a terminal and as Markdown: first what is new, last what moved.
//! Both are made of the same sentences.

use super::{command, markdown::code, outline, terminal};
use s2lab_model::{
    changes::{Change, ChangeKind},
    escape,
    night::{Control, Different, Mended, Morning, NewResult, Stale, StaleEntry, StillBroken, Tolerated},
    plan::{Key, QemuChoice},
    summary::CellSummary,
};

/// The most changes of a result that are shown.
const MOST_CHANGES: usize = 5;
/// The most cells of a sentence.
const MOST_KEYS: usize = 20;

/// A part of a sentence.
enum Word {
    /// Words of s2lab.
    Own(String),
    /// A text from a guest or a file.
    Outside(String),
    /// A URL of `known.yaml`.
    Link(String),
}

/// A line, and the lines that belong to it.
struct Item {
    head: Vec<Word>,
    below: Vec<Vec<Word>>,
}

struct Section {
    title: &'static str,
    items: Vec<Item>,
}

/// Returns the summary as lines for a terminal.
pub fn lines(morning: &Morning) -> String {
    let word = |word: &Word| match word {
        Word::Own(text) | Word::Link(text) => text.clone(),
        Word::Outside(text) => escape::once(text, escape::LONGEST),
    };
    let line = |words: &[Word]| words.iter().map(word).collect::<String>();
    let mut out = format!("{}\n{}\n", title(morning), about(morning));
    for Section { title, items } in sections(morning) {
        out.push_str(&format!("\n{title}\n"));
        for Item { head, below } in items {
            out.push_str(&format!("  {}\n", line(&head)));
            below.iter().for_each(|words| out.push_str(&format!("    {}\n", line(words))));
        }
    }
    out
}

/// Returns the summary as Markdown.
pub fn markdown(morning: &Morning) -> String {
    let word = |word: &Word| match word {
        Word::Own(text) => text.clone(),
        Word::Outside(text) => code(text),
        Word::Link(text) => format!("<{text}>"),
    };
    let line = |words: &[Word]| words.iter().map(word).collect::<String>();
    let mut out = format!("# s2lab: {}\n\n{}\n", title(morning), about(morning));
    for Section { title, items } in sections(morning) {
        out.push_str(&format!("\n## {title}\n\n"));
        for Item { head, below } in items {
            out.push_str(&format!("- {}\n", line(&head)));
            below.iter().for_each(|words| out.push_str(&format!("  - {}\n", line(words))));
        }
    }
    out
}

/// The title: what a person must know if it is all that is read.
fn title(morning: &Morning) -> String {
    let count = |n: usize, what: &str| (n > 0).then(|| format!("{n} {what}"));
    let parts = [
        morning.run.interrupted.map(|_| "interrupted".to_owned()),
        has_control(morning, Control::Met).then(|| "the negative control does not fail".to_owned()),
        (!has_control(morning, Control::Met) && has_control(morning, Control::NoResult))
            .then(|| "the negative control has no result".to_owned()),
        Some(count(morning.new.len(), "new").unwrap_or_else(|| "nothing new".into())),
        count(morning.stale.len(), "of known.yaml to look at"),
        count(morning.mended.len(), "mended"),
        count(morning.tolerated.len(), "tolerated"),
        count(morning.broken.len(), "still broken"),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    format!("night of {}: {}; exit {}", morning.date, parts.join(", "), morning.exit)
}

/// The line about the run and the nights that it is compared with.
fn about(morning: &Morning) -> String {
    let before = match (morning.before, morning.last_good) {
        _ if morning.unread => "The nights before this one are not known: the history cannot be read.".into(),
        (None, _) => "No night before this one is known.".to_owned(),
        (Some(before), None) => format!("Compared with the night of {before}; no earlier night was good."),
        (Some(before), Some(good)) if before == good => {
            format!("Compared with the night of {before}, which was good.")
        }
        (Some(before), Some(good)) => {
            format!("Compared with the night of {before}; the last good night is that of {good}.")
        }
    };
    let qemus = morning.qemus.iter().map(|(word, version)| format!("{word} {}", escape::line(version)));
    let qemus = match morning.qemus.len() {
        1 if morning.qemus.contains_key(QemuChoice::Default.word()) => String::new(),
        0 => String::new(),
        _ => format!(" QEMU: {}.", qemus.collect::<Vec<_>>().join(", ")),
    };
    let seed = morning.run.shuffle.map(|seed| format!(" Order: --shuffle={seed}.")).unwrap_or_default();
    format!("{before} {}.{qemus}{seed}", terminal::counts(&morning.run))
}

fn sections(morning: &Morning) -> Vec<Section> {
    let mut sections = vec![];
    let mut add = |title, items: Vec<Item>| {
        if !items.is_empty() {
            sections.push(Section { title, items });
        }
    };
    let works = !morning.controls.is_empty()
        && morning.controls.iter().all(|(_, control)| *control == Control::Works);
    if !works {
        add("Negative control", controls(morning));
    }
    add("New", new(morning));
    add("Entries of known.yaml to look at", morning.stale.iter().map(stale).collect());
    add("Mended", morning.mended.iter().map(mended).collect());
    add("Tolerated", morning.tolerated.iter().map(|of| tolerated(morning, of)).collect());
    add("Still broken", morning.broken.iter().map(|of| broken(morning, of)).collect());
    if works {
        add("Negative control", controls(morning));
    }
    add("Moved", moved(morning));
    sections
}

fn own(text: impl Into<String>) -> Word {
    Word::Own(text.into())
}

fn outside(text: impl Into<String>) -> Word {
    Word::Outside(text.into())
}

fn item(head: Vec<Word>) -> Item {
    Item { head, below: vec![] }
}

/// Returns a reason as a part of a sentence.
fn reason(text: &str) -> Word {
    outside(text.trim_end_matches('.'))
}

/// Returns keys, the first of many.
fn keys<'a>(keys: impl ExactSizeIterator<Item = &'a Key>) -> Vec<Word> {
    let more = keys.len().saturating_sub(MOST_KEYS);
    let mut words = vec![];
    for key in keys.take(MOST_KEYS) {
        if !words.is_empty() {
            words.push(own(", "));
        }
        words.push(outside(key.as_str()));
    }
    words.extend((more > 0).then(|| own(format!(" and {more} more"))));
    words
}

/// The new results, equal ones of several cells together.
fn new(morning: &Morning) -> Vec<Item> {
    let mut groups: Vec<Vec<(&NewResult, &CellSummary)>> = vec![];
    for new in &morning.new {
        let Some(cell) = morning.cell(&new.key) else { continue };
        let is_alike = |group: &&mut Vec<(&NewResult, &CellSummary)>| {
            group.first().is_some_and(|(other, like)| {
                (other.what, &other.changes) == (new.what, &new.changes)
                    && (terminal::word(like), terminal::why(like))
                        == (terminal::word(cell), terminal::why(cell))
            })
        };
        match groups.iter_mut().find(is_alike) {
            Some(group) => group.push((new, cell)),
            None => groups.push(vec![(new, cell)]),
        }
    }
    groups.iter().filter_map(|group| new_item(group)).collect()
}

fn new_item(group: &[(&NewResult, &CellSummary)]) -> Option<Item> {
    let (new, cell) = group.first()?;
    let word = terminal::word(cell);
    let lead = match new.what {
        Different::Fails => word.to_owned(),
        Different::FailsOtherwise => format!("{word}, in another way than before,"),
        Different::NoResult => format!("{word}, no result about the kernel,"),
        Different::Changed => format!("{word} with another report than in the last good night"),
    };
    let mut head = vec![own(format!("{lead} on {}: ", outline::cells(group.len())))];
    head.extend(keys(group.iter().map(|(new, _)| &new.key)));
    let mut below = vec![];
    below.extend(terminal::why(cell).map(|why| vec![outside(why)]));
    // The finding that leads is the line above.
    let is_finding = |change: &&Change| matches!(change.kind, ChangeKind::Kernel | ChangeKind::Lab);
    let changes: Vec<_> = new.changes.iter().filter(|change| !is_finding(change)).collect();
    below.extend(changes.iter().take(MOST_CHANGES).map(|change| vec![outside(&change.what)]));
    let more = changes.len().saturating_sub(MOST_CHANGES);
    below.extend((more > 0).then(|| vec![own(format!("and {more} more changes"))]));
    below.extend(group.iter().take(MOST_KEYS).map(|(new, cell)| last_good(new, cell)));
    below.push(vec![own("repeat: "), outside(command::repeat(cell).join(" "))]);
    Some(Item { head, below })
}

/// The last good night of a cell, and the kernel that it had.
fn last_good(new: &NewResult, cell: &CellSummary) -> Vec<Word> {
    let mut words = vec![outside(new.key.as_str())];
    let Some(good) = &new.good else {
        words.push(own(" was good in no earlier night that is known"));
        return words;
    };
    words.push(own(format!(" was last good on {}", good.date)));
    match (&good.release, &cell.kernel.release) {
        (Some(then), Some(now)) if then != now => {
            words.extend([own(" with "), outside(then), own(", and is now "), outside(now)]);
        }
        (Some(then), _) => words.extend([own(" with "), outside(then)]),
        _ => {}
    }
    words
}

fn stale(StaleEntry { entry, why }: &StaleEntry) -> Item {
    let lead = match why {
        Stale::Expired => format!("expired after {}: ", entry.until),
        Stale::Passing => "all of its cells pass, remove it: ".into(),
    };
    let cells = format!("{} on {}", entry.scenario, entry.kernel);
    let mut head = vec![own(lead), outside(cells), own(", "), reason(&entry.reason)];
    head.extend([own(", tolerated by "), outside(&entry.who)]);
    head.extend(entry.link.iter().flat_map(|link| [own(", "), Word::Link(link.clone())]));
    item(head)
}

fn mended(Mended { key, was, since, nights }: &Mended) -> Item {
    let was = was.as_deref().unwrap_or("not run");
    let since = format!(" is fine again; it was {was} for {}, since {since}", self::nights(*nights));
    item(vec![outside(key.as_str()), own(since)])
}

fn tolerated(morning: &Morning, Tolerated { key, entry, nights }: &Tolerated) -> Item {
    let word = morning.cell(key).map_or("", terminal::word);
    let until = format!(" is {word}, tolerated for {} until {}: ", self::nights(*nights), entry.until);
    let mut head = vec![outside(key.as_str()), own(until), reason(&entry.reason), own(", by ")];
    head.push(outside(&entry.who));
    head.extend(entry.link.iter().flat_map(|link| [own(", "), Word::Link(link.clone())]));
    item(head)
}

fn broken(morning: &Morning, StillBroken { key, since, nights }: &StillBroken) -> Item {
    let cell = morning.cell(key);
    let since =
        format!(" is {} for {}, since {since}", cell.map_or("", terminal::word), self::nights(*nights));
    let mut head = vec![outside(key.as_str()), own(since)];
    head.extend(cell.and_then(terminal::why).into_iter().flat_map(|why| [own(": "), outside(why)]));
    item(head)
}

fn has_control(morning: &Morning, result: Control) -> bool {
    morning.controls.iter().any(|(_, control)| *control == result)
}

fn controls(morning: &Morning) -> Vec<Item> {
    if morning.controls.is_empty() {
        return vec![item(vec![own(
            "there is none: no cell of the night expects a stage-2 type of a device",
        )])];
    }
    morning.controls.iter().map(|(key, result)| control(morning, key, *result)).collect()
}

fn control(morning: &Morning, key: &Key, result: Control) -> Item {
    let cell = morning.cell(key);
    match result {
        Control::Works => item(vec![outside(key.as_str()), own(" fails, as it must")]),
        Control::NoResult => {
            let word = cell.map_or("", terminal::word);
            let mut head = vec![outside(key.as_str()), own(format!(" has no result: {word}"))];
            head.extend(cell.and_then(terminal::why).into_iter().flat_map(|why| [own(", "), outside(why)]));
            let below = vec![vec![own("nothing shows that this night has read the tables rightly")]];
            Item { head, below }
        }
        Control::Met => {
            let head =
                vec![outside(key.as_str()), own(" does not fail, though its expectations are inverted")];
            let mut below: Vec<_> =
                cell.and_then(terminal::why).map(|why| vec![outside(why)]).into_iter().collect();
            below.push(vec![own("no result of this night can be trusted before this is explained")]);
            if let Some(of) = key.controlled() {
                below.push(vec![
                    own("if the kernel itself has the opposite type, "),
                    outside(of.as_str()),
                    own(" fails too"),
                ]);
            }
            Item { head, below }
        }
    }
}

/// The kernels and QEMUs that moved, and what else a person may want to know of the night.
fn moved(morning: &Morning) -> Vec<Item> {
    let kernels = morning.moved.iter().map(|moved| {
        item(vec![outside(&moved.what), own(": "), outside(&moved.from), own(" became "), outside(&moved.to)])
    });
    let about = |list: &[Key], what: &str| {
        let mut head = vec![own(format!("{what} on {}: ", outline::cells(list.len())))];
        head.extend(keys(list.iter()));
        (!list.is_empty()).then(|| item(head))
    };
    let cells = [
        about(&morning.shapes, "pages of other sizes, which a kernel may choose,"),
        about(&morning.not_comparable, "other conditions than in the last good night"),
        about(&morning.gone, "in the night before and not in this one"),
    ];
    kernels.chain(cells.into_iter().flatten()).collect()
}

/// Returns a number of nights in words.
fn nights(n: usize) -> String {
    if n == 1 { "1 night".into() } else { format!("{n} nights") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::fixture;
    use s2lab_model::{
        finding::Weight,
        night::{Night, Past},
        summary::RunSummary,
        verdict::Verdict,
    };

    fn night_of(cells: Vec<CellSummary>) -> Morning {
        let night = Night { date: "2026-11-02".parse().unwrap(), known: vec![] };
        let run = RunSummary { night: Some(night), ..fixture::run_of(cells) };
        Morning::of(run, &Past::default()).unwrap()
    }

    fn failed(key: &str, why: &str) -> CellSummary {
        let findings = vec![fixture::finding(Weight::Kernel, why, "none", "one")];
        CellSummary { verdict: Some(Verdict::Fail), findings, ..fixture::cell(key) }
    }

    /// None of these cells has a change: the night before is not known.
    #[test]
    fn cells_with_other_reasons_are_other_items() {
        let (warning, oops) = ("a warning on the console", "an oops on the console");
        let cells = [("a@one", warning), ("a@two", oops), ("b@one", warning)];
        let morning = night_of(cells.map(|(key, why)| failed(key, why)).into());
        assert!(morning.new.iter().all(|new| new.changes.is_empty()));
        let text = lines(&morning);
        let items: Vec<_> = text.lines().filter(|line| line.starts_with("  FAIL")).collect();
        assert_eq!(items, ["  FAIL on 2 cells: a@one, b@one", "  FAIL on 1 cell: a@two"], "{text}");
    }
}
