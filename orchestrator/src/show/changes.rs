//! Equal changes of cells, grouped, as lines for people.

use s2lab_model::{
    changes::{ChangeKind, Group},
    plan::Key,
};

/// The longest line of keys.
const COLUMNS: usize = 100;
/// The beginning of a line of keys.
const INDENT: &str = "    ";

/// Returns the groups under the heading of their kind; each with its cells, if `with_cells`.
pub fn lines(groups: &[Group], with_cells: bool) -> String {
    let mut out = String::new();
    for kind in ChangeKind::ALL {
        let of_kind: Vec<_> = groups.iter().filter(|group| group.change.kind == kind).collect();
        out.push_str(&section(kind.title(), &of_kind, with_cells));
    }
    out
}

/// Returns the groups under a heading.
pub fn section(title: &str, groups: &[&Group], with_cells: bool) -> String {
    let mut out = if groups.is_empty() { String::new() } else { format!("{title}\n") };
    for Group { change, keys } in groups {
        match with_cells {
            true => {
                out.push_str(&format!("  on {}: {}\n", cells(keys.len()), change.what));
                out.push_str(&list(keys));
            }
            false => out.push_str(&format!("  {}\n", change.what)),
        }
    }
    out
}

/// `1 cell`, `4 cells`
pub fn cells(n: usize) -> String {
    if n == 1 { "1 cell".into() } else { format!("{n} cells") }
}

/// Returns the keys in lines that fit.
fn list(keys: &[Key]) -> String {
    let mut lines: Vec<String> = vec![];
    for (place, key) in keys.iter().enumerate() {
        let word = if place + 1 == keys.len() { key.to_string() } else { format!("{key},") };
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= COLUMNS => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(format!("{INDENT}{word}")),
        }
    }
    lines.into_iter().map(|line| line + "\n").collect()
}
