//! The table promise x scenario x kernel: what is expected of each cell before it boots.

use super::fold::fold;
use s2lab_model::{
    escape::plain,
    event::PlannedCell,
    kernel::{Kernels, Trait},
    outlook::Outlook,
    scenario::Promise,
};
use std::collections::{BTreeMap, BTreeSet};

/// The columns of a line. A table with many kernels has longer lines.
const COLUMNS: usize = 100;
/// The place of everything that belongs to a promise.
const INDENT: usize = 5;

/// A cell and its outlook.
#[derive(Debug)]
pub struct ExpectedCell {
    pub cell: PlannedCell,
    pub outlook: Outlook,
}

impl ExpectedCell {
    /// Returns the cell without its kernel: the scenario and its point.
    fn point(&self) -> String {
        let key = &self.cell.key;
        let axes = key.as_str().split_once('+').map(|(_, axes)| format!("+{axes}"));
        format!("{}{}", key.scenario(), axes.unwrap_or_default())
    }
}

/// Returns the names of the kernels in the order of their columns.
fn columns(kernels: &Kernels) -> Vec<&String> {
    let others = kernels.entries.keys().filter(|name| !kernels.default.contains(name));
    kernels.default.iter().chain(others).collect()
}

/// Returns the table: the kernels and marks, each promise with its scenarios, and the reasons of SKIPs.
/// `cells` are those of all kernels.
pub fn text(kernels: &Kernels, cells: &[ExpectedCell]) -> String {
    let columns = columns(kernels);
    [heads(kernels, &columns), legend(cells), rows(&columns, cells), notes(&columns, cells)].concat()
}

fn heads(kernels: &Kernels, columns: &[&String]) -> String {
    let wide = columns.iter().map(|name| name.len()).max().unwrap_or_default();
    let head = |(number, name): (usize, &&String)| {
        let traits = kernels.entries.get(*name).into_iter().flat_map(|entry| &entry.traits);
        let traits: Vec<_> = traits.map(Trait::to_string).collect();
        format!("{:>4} {name:<wide$}  {}", number + 1, traits.join(" ")).trim_end().to_owned() + "\n"
    };
    let heads: String = columns.iter().enumerate().map(head).collect();
    format!("Kernels and their traits\n{heads}")
}

/// Returns the mark of a PASS and its meaning.
fn pass(label: Option<&str>) -> (char, String) {
    let Some(label) = label else {
        return ('P', "PASS, the expectations are the same on every kernel".into());
    };
    let last = label.rsplit('-').next().and_then(|word| word.chars().next());
    (last.map_or('P', |letter| letter.to_ascii_uppercase()), format!("PASS as {label}"))
}

const SKIP: char = 'S';
/// The mark of a PASS that may be a SKIP.
const OPEN: char = '?';

fn legend(cells: &[ExpectedCell]) -> String {
    let mut meanings = BTreeMap::new();
    for cell in cells {
        match &cell.outlook {
            Outlook::Pass { label, skip_if } => {
                meanings.extend([pass(label.as_deref())]);
                meanings.extend((!skip_if.is_empty()).then(|| (OPEN, "or SKIP, see the end".to_owned())));
            }
            Outlook::Skip { .. } => meanings.extend([(SKIP, "SKIP, see the end".to_owned())]),
        }
    }
    let open = meanings.remove(&OPEN).map(|meaning| (OPEN, meaning));
    let lines = meanings.into_iter().chain(open).map(|(mark, meaning)| format!("{mark:>4} {meaning}\n"));
    format!("Marks; a scenario has several if its points differ\n{}\n", lines.collect::<String>())
}

/// Returns the marks of a scenario's cells on one kernel.
fn marks<'a>(cells: impl Iterator<Item = &'a ExpectedCell>) -> String {
    let (mut marks, mut is_open) = (BTreeSet::new(), false);
    for cell in cells {
        match &cell.outlook {
            Outlook::Pass { label, skip_if } => {
                marks.insert(pass(label.as_deref()).0);
                is_open |= !skip_if.is_empty();
            }
            Outlook::Skip { .. } => {
                marks.insert(SKIP);
            }
        }
    }
    marks.into_iter().chain(is_open.then_some(OPEN)).collect()
}

fn rows(columns: &[&String], cells: &[ExpectedCell]) -> String {
    let mut of_scenarios: Vec<(&str, Vec<&ExpectedCell>)> = vec![];
    for cell in cells {
        match of_scenarios.iter_mut().find(|(name, _)| *name == cell.cell.key.scenario()) {
            Some((_, known)) => known.push(cell),
            None => of_scenarios.push((cell.cell.key.scenario(), vec![cell])),
        }
    }
    let fields = |cells: &[&ExpectedCell]| {
        let of = |kernel: &&String| marks(cells.iter().copied().filter(|cell| cell.cell.kernel == **kernel));
        columns.iter().map(of).collect::<Vec<_>>()
    };
    let of_scenarios: Vec<_> =
        of_scenarios.into_iter().map(|(name, cells)| (name, fields(&cells), cells)).collect();
    let numbers: Vec<_> = (1..=columns.len()).map(|number| number.to_string()).collect();
    let all = of_scenarios.iter().flat_map(|(_, fields, _)| fields).chain(&numbers);
    let wide = all.map(String::len).max().unwrap_or_default();
    let name_wide = of_scenarios.iter().map(|(name, ..)| name.len()).max().unwrap_or_default();
    let line = |name: &str, fields: &[String]| {
        let fields: String = fields.iter().map(|field| format!(" {field:<wide$}")).collect();
        format!("{:INDENT$}{name:<name_wide$} {fields}", "").trim_end().to_owned() + "\n"
    };
    let mut out = String::new();
    for (promise, sentence) in Promise::all() {
        let holds = |cell: &&ExpectedCell| cell.cell.resolved.promises.contains(&promise);
        out += &wrapped(&format!("{:<INDENT$}", promise.to_string()), sentence);
        let holders = of_scenarios.iter().filter(|(_, _, cells)| cells.iter().any(holds));
        let lines: String = holders.map(|(name, fields, _)| line(name, fields)).collect();
        match lines.is_empty() {
            true => out += &wrapped(&" ".repeat(INDENT), "no scenario holds it up"),
            false => out += &(line("", &numbers) + &lines),
        }
    }
    out
}

/// A reason of SKIPs.
struct Note<'a> {
    mark: char,
    reason: &'a str,
    /// The cells without their kernels, each with the numbers of its kernels.
    points: Vec<(String, Vec<usize>)>,
}

/// Returns the reasons of SKIPs with their cells.
fn notes(columns: &[&String], cells: &[ExpectedCell]) -> String {
    let mut notes: Vec<Note<'_>> = vec![];
    for cell in cells {
        let (mark, reasons) = match &cell.outlook {
            Outlook::Pass { skip_if, .. } => (OPEN, skip_if.as_slice()),
            Outlook::Skip { reason } => (SKIP, std::slice::from_ref(reason)),
        };
        let number =
            columns.iter().zip(1..).find(|(name, _)| ***name == cell.cell.kernel).map(|(_, number)| number);
        for reason in reasons {
            let at = notes.iter().position(|note| (note.mark, note.reason) == (mark, reason));
            let at = at.unwrap_or_else(|| {
                notes.push(Note { mark, reason, points: vec![] });
                notes.len() - 1
            });
            let (point, points) = (cell.point(), &mut notes[at].points);
            match points.iter_mut().find(|(known, _)| *known == point) {
                Some((_, numbers)) => numbers.extend(number),
                None => points.push((point, number.into_iter().collect())),
            }
        }
    }
    notes.sort_by_key(|note| note.mark == OPEN);
    let mut out = String::new();
    for Note { mark, reason, points } in notes {
        let begin = if mark == OPEN { "SKIP if " } else { "" };
        out.push('\n');
        out += &wrapped(&format!("{mark:<INDENT$}"), &plain(&format!("{begin}{reason}")));
        for (point, numbers) in points {
            let on: String = numbers.iter().map(|number| format!(" {number}")).collect();
            let on = if numbers.len() == columns.len() { String::new() } else { format!(" on{on}") };
            out += &wrapped(&" ".repeat(INDENT), &format!("{point}{on}"));
        }
    }
    out
}

/// Returns a text in lines of at most [`COLUMNS`], the first after `begin`.
fn wrapped(begin: &str, text: &str) -> String {
    fold(COLUMNS, [begin, &" ".repeat(INDENT)], text.split_whitespace(), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No mark means two things.
    #[test]
    fn each_trait_has_a_mark_of_its_own() {
        let traits = Trait::ALL.map(|one| pass(Some(&one.to_string())).0);
        let all: Vec<_> =
            traits.into_iter().chain([pass(None).0, pass(Some("before the series")).0, SKIP]).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
    }
}
