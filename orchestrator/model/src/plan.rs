//! Scenarios x kernels -> cells: their selection, order and keys.

use crate::cell::ResolvedCell;
use crate::diagnostic::{closest, suggest};
use crate::event::PlannedCell;
use crate::kernel::{Kernels, Traits};
use crate::scenario::Scenario;
use std::collections::BTreeSet;

mod artifact;
mod axis;
mod choice;
mod control;
mod key;
mod qemu;
mod sharing;
mod shuffle;

pub use artifact::Artifact;
pub(crate) use axis::combinations;
pub use axis::{Axis, Point, is_own_axis};
pub use choice::{KernelArgument, KernelChoice, Revisions, commit_name, label, with_series};
pub use control::controls;
pub use key::{Key, KeyError, is_axis_name, is_axis_value};
pub use qemu::QemuChoice;
pub use sharing::SharedHost;
pub use shuffle::shuffled;

/// The most cells of a run. A day has time for some hundred; it bounds what is planned, written and
/// judged.
pub const MOST_CELLS: usize = 10_000;

/// The listed kernels that are meant if none is chosen and none is named in full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reach {
    /// All by a glob on the kernel half of a key, else the default ones.
    #[default]
    AllByGlob,
    /// The default ones, by a glob too.
    Default,
    /// All.
    All,
}

/// The selection of the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Globs (`*` and `?`), see [`selects`]. A glob with `@` takes the kernels in reach; one without takes
    /// the chosen kernels. A glob with `@` and `+` takes all points of the axes; any other takes the chosen
    /// points. None: all scenarios.
    pub selectors: Vec<String>,
    /// Globs of cells to leave out, see [`selects`].
    pub exclude: Vec<String>,
    /// The kernels that replace the listed ones. None: the listed ones, of which the default ones are
    /// chosen.
    pub kernels: Vec<KernelChoice>,
    pub reach: Reach,
    /// The axes of all cells.
    pub axes: Vec<Axis>,
}

/// The reason why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("no kernel is called `{name}`: {help}; a file is given with a `/`, like ./{name}")]
    NoKernel { name: String, help: String },
    #[error("`{path}`: its last part has no letter or digit to call the kernel by")]
    NoLabel { path: String },
    #[error("`{argument}` {why}: a tree is tree:PATH, tree:PATH@COMMIT or tree:PATH@A..B")]
    Tree { argument: String, why: &'static str },
    #[error("{base} has no mutant `{name}`: {help}")]
    NoMutant { base: String, name: String, help: String },
    #[error("`{argument}` {why}: a file to fetch is URL#sha256=DIGEST")]
    Url { argument: String, why: &'static str },
    #[error(
        "two kernels are called `{label}`, and so would be their cells: give one of the files another name"
    )]
    SameKernel { label: String },
    #[error("two scenarios are called `{name}`")]
    SameScenario { name: String },
    #[error("`{selector}` matches no cell: {help}")]
    NoMatch { selector: String, help: String },
    #[error("these are {count} cells, and a run has at most {MOST_CELLS}: choose fewer scenarios or kernels")]
    TooMany { count: usize },
    #[error("--exclude leaves no cell")]
    AllExcluded,
    #[error("`{key}` has no negative control: it expects no stage-2 type of a device")]
    NoControl { key: Key },
    #[error("there is no scenario here")]
    NoScenario,
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl PlanError {
    /// Returns a hint for the user.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoMatch { .. } => Some("`s2lab list '*@*'` lists all cells"),
            Self::NoKernel { .. } => Some("`s2lab list --kernels` lists all kernels"),
            _ => None,
        }
    }
}

/// Returns the cells of `selection`, sorted by scenario, then by kernel in the order chosen (listed
/// kernels beyond the chosen ones last, by name), then by the points of the axes. Each cell is there
/// once. The negative controls
/// that are selected by their keys come last.
///
/// # Errors
/// If a selector matches nothing, a chosen kernel does not exist, or two cells would have
/// one key.
pub fn plan(
    scenarios: &[Scenario],
    kernels: &Kernels,
    selection: &Selection,
) -> Result<Vec<PlannedCell>, PlanError> {
    let controls: Vec<_> = selection.selectors.iter().filter_map(|text| control::controlled(text)).collect();
    if controls.is_empty() {
        return plan_cells(scenarios, kernels, selection);
    }
    let mut others = selection.clone();
    others.selectors.retain(|text| control::controlled(text).is_none());
    let mut cells = match others.selectors.is_empty() {
        true => vec![],
        false => plan_cells(scenarios, kernels, &others)?,
    };
    for key in controls {
        cells.push(control::planned(scenarios, kernels, selection, &key)?);
    }
    Ok(cells)
}

fn plan_cells(
    scenarios: &[Scenario],
    kernels: &Kernels,
    selection: &Selection,
) -> Result<Vec<PlannedCell>, PlanError> {
    if scenarios.is_empty() {
        return Err(PlanError::NoScenario);
    }
    let mut sorted: Vec<&Scenario> = scenarios.iter().collect();
    sorted.sort_by(|a, b| a.scenario.cmp(&b.scenario));
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0].scenario == pair[1].scenario) {
        return Err(PlanError::SameScenario { name: pair[0].scenario.clone() });
    }
    let candidates = candidates(kernels, selection)?;
    let all_axes: Vec<Vec<Axis>> =
        sorted.iter().map(|one| [one.matrix.axes(), selection.axes.clone()].concat()).collect();
    let mut cells: Vec<Candidate<'_>> = vec![];
    for (scenario, axes) in sorted.iter().zip(&all_axes) {
        let combinations = combinations(axes);
        for (kernel, at) in
            candidates.iter().flat_map(|kernel| combinations.iter().map(move |at| (kernel, at)))
        {
            let key = Key::of(&scenario.scenario, &kernel.name, at.values.iter().copied())?;
            let Some(scenario) = scenario.at(&at.values) else { continue };
            let excluded = scenario.excluded(&kernel.traits);
            let (chosen, at_chosen) = (kernel.chosen && at.chosen, at.chosen);
            cells.push(Candidate { scenario, excluded, kernel, key, chosen, at_chosen });
        }
    }
    let mut meant = vec![selection.selectors.is_empty(); cells.len()];
    if selection.selectors.is_empty() {
        meant.iter_mut().zip(&cells).for_each(|(meant, cell)| *meant = cell.chosen);
    }
    for selector in &selection.selectors {
        let in_reach = |cell: &Candidate<'_>| cell.kernel.chosen || !is_bounded(selector, selection.reach);
        let is_hit = |i: &usize| in_reach(&cells[*i]) && cells[*i].matches(selector);
        let hits: Vec<usize> = (0..cells.len()).filter(is_hit).collect();
        if hits.is_empty() {
            let help = match cells.iter().any(|cell| cell.matches(selector)) {
                true => "its glob takes default kernels only; --all-kernels takes all".to_owned(),
                false => no_match(selector, &cells),
            };
            return Err(PlanError::NoMatch { selector: selector.clone(), help });
        }
        hits.into_iter().for_each(|i| meant[i] = true);
    }
    for selector in &selection.exclude {
        let hits: Vec<usize> = (0..cells.len()).filter(|i| selects(selector, &cells[*i].key)).collect();
        if hits.is_empty() {
            return Err(PlanError::NoMatch { selector: selector.clone(), help: no_match(selector, &cells) });
        }
        hits.into_iter().for_each(|i| meant[i] = false);
    }
    match meant.iter().filter(|meant| **meant).count() {
        0 => return Err(PlanError::AllExcluded),
        1..=MOST_CELLS => {}
        count => return Err(PlanError::TooMany { count }),
    }
    let cells = cells.into_iter().zip(meant).filter(|(_, meant)| *meant);
    Ok(cells
        .map(|(cell, _)| PlannedCell {
            repeat: vec!["run".into(), cell.key.to_string()],
            key: cell.key,
            kernel: cell.kernel.name.clone(),
            about: cell.scenario.about.clone(),
            resolved: ResolvedCell {
                excluded: cell.excluded.map(str::to_owned),
                ..ResolvedCell::of(cell.scenario, cell.kernel.traits.clone())
            },
        })
        .collect())
}

/// Returns the keys of all cells that there could be: each scenario at each of its points, on each
/// listed kernel, at each point of `axes`.
pub fn all_keys(scenarios: &[Scenario], kernels: &Kernels, axes: &[Axis]) -> BTreeSet<Key> {
    let keys = scenarios.iter().flat_map(|scenario| {
        let all = [scenario.matrix.axes(), axes.to_vec()].concat();
        let of = |kernel: &String| {
            let keys = combinations(&all).into_iter();
            let key = |at: axis::Combination<'_>| Key::of(&scenario.scenario, kernel, at.values).ok();
            keys.filter_map(key).collect::<Vec<_>>()
        };
        kernels.entries.keys().flat_map(of).collect::<Vec<_>>()
    });
    keys.collect()
}

/// A kernel that cells may be made with.
struct CandidateKernel {
    name: String,
    traits: Traits,
    /// True if a scenario's name alone takes it.
    chosen: bool,
}

struct Candidate<'a> {
    /// The scenario at the point of its axes.
    scenario: &'a Scenario,
    excluded: Option<&'a str>,
    kernel: &'a CandidateKernel,
    key: Key,
    /// True if a scenario's name alone takes it.
    chosen: bool,
    /// True if scenario and kernel alone take it.
    at_chosen: bool,
}

impl Candidate<'_> {
    fn matches(&self, selector: &str) -> bool {
        let is_taken = match (selector.contains('@'), selector.contains('+')) {
            (true, true) => true,
            (true, false) => self.at_chosen,
            (false, _) => self.chosen,
        };
        is_taken && selects(selector, &self.key)
    }
}

/// Returns true if a selector has a glob on its kernel half, which takes the chosen kernels only.
fn is_bounded(selector: &str, reach: Reach) -> bool {
    let kernel = selector.split_once('@').map(|(_, rest)| rest.split('+').next().unwrap_or_default());
    reach == Reach::Default && kernel.is_some_and(|kernel| kernel.contains(['*', '?']))
}

/// Returns the kernels of `--kernel`, or all that are listed, the default ones first.
fn candidates(kernels: &Kernels, selection: &Selection) -> Result<Vec<CandidateKernel>, PlanError> {
    let listed = |name: &str, chosen: bool| match kernels.entries.get(name) {
        Some(entry) => {
            let traits = Traits::Exactly(entry.traits.clone());
            Ok(CandidateKernel { name: name.to_owned(), traits, chosen })
        }
        None => Err(PlanError::NoKernel {
            name: name.to_owned(),
            help: suggest(name, kernels.entries.keys().map(String::as_str)),
        }),
    };
    if selection.kernels.is_empty() {
        let further = kernels.entries.keys().filter(|name| !kernels.default.contains(name));
        let default = kernels.default.iter().map(|name| listed(name, true));
        let is_chosen = selection.reach == Reach::All;
        return default.chain(further.map(|name| listed(name, is_chosen))).collect();
    }
    let mut found: Vec<CandidateKernel> = Vec::new();
    for (i, choice) in selection.kernels.iter().enumerate() {
        if matches!(choice, KernelChoice::Listed(_)) && selection.kernels[..i].contains(choice) {
            continue;
        }
        if found.iter().any(|k| k.name == choice.name())
            || matches!(choice, KernelChoice::Own { label, .. } if kernels.entries.contains_key(label))
        {
            return Err(PlanError::SameKernel { label: choice.name().to_owned() });
        }
        found.push(match choice {
            KernelChoice::Listed(name) => listed(name, true)?,
            KernelChoice::Own { label, traits } => {
                CandidateKernel { name: label.clone(), traits: traits.clone(), chosen: true }
            }
        });
    }
    Ok(found)
}

/// Returns the error with the keys that would have matched.
fn no_match(selector: &str, cells: &[Candidate<'_>]) -> String {
    let mut seen = BTreeSet::new();
    let known = cells.iter().map(|cell| match (selector.contains('@'), selector.contains('+')) {
        (true, _) => cell.key.to_string(),
        (false, true) => cell.key.point(),
        (false, false) => cell.key.scenario().to_owned(),
    });
    let known: Vec<String> = known.filter(|name| seen.insert(name.clone())).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    // A selector without `@` means scenarios; here it is one of kernels.
    let of_kernels = format!("*@{selector}");
    if !selector.contains('@') && cells.iter().any(|cell| glob(&of_kernels, cell.key.as_str())) {
        return format!("did you mean `{of_kernels}`?");
    }
    match closest(selector, &known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => suggest(selector, known),
    }
}

/// Returns true if a glob chooses a cell: with `@` and `+` by its key, with `@` alone by its scenario
/// and kernel, with `+` alone by the point of its scenario, else by the name of its scenario.
pub fn selects(selector: &str, key: &Key) -> bool {
    match (selector.contains('@'), selector.contains('+')) {
        (true, true) => glob(selector, key.as_str()),
        (true, false) => glob(selector, key.plain()),
        (false, true) => glob(selector, &key.point()),
        (false, false) => glob(selector, key.scenario()),
    }
}

/// Returns true if `text` matches `pattern`, in which `*` stands for any characters and `?` for
/// one.
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // The place to continue when the last `*` must take one character more.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((after, from)) => {
                    retry = Some((after, from + 1));
                    (p, t) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests;
