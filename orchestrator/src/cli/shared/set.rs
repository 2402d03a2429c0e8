//! `--set`: scenarios at points that their files need not have, and named sets of scenarios.

use crate::cli::failure::Failure;
use crate::lab::{Lab, scenario_at, scenarios};
use clap::Args;
use s2lab_model::{
    diagnostic::{few, suggest},
    event::PlannedCell,
    plan::{Key, glob},
    scenario::{FULL_SET, Scenario, SetValue, check_name},
    steps::Step,
};
use std::{collections::BTreeSet, path::PathBuf};

#[derive(Debug, Args, Default, Clone, PartialEq, Eq)]
pub(crate) struct SetArguments {
    /// Take the scenarios of a set (`full` has all), or with PATH=VALUE their points with this value in
    /// their files, like host.cpu=max; keys get `+cpu=max`; repeatable
    #[arg(long = "set", value_name = "NAME|PATH=VALUE", value_parser = SetArgument::parse)]
    pub(crate) sets: Vec<SetArgument>,
    /// Give each step `while` of the cells this seed, in place of that of the file; keys get `+seed=N`
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u32>,
}

/// An argument of `--set`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SetArgument {
    /// The scenarios of a set.
    Named(String),
    /// A point.
    Value(SetValue),
}

impl SetArgument {
    fn parse(text: &str) -> Result<Self, String> {
        match text.contains('=') {
            true => SetValue::parse(text).map(Self::Value),
            false => check_name(text).map(|()| Self::Named(text.to_owned())),
        }
    }

    fn word(&self) -> String {
        match self {
            Self::Named(name) => name.clone(),
            Self::Value(value) => value.word(),
        }
    }
}

impl SetArguments {
    /// Returns the arguments for the same points.
    pub(crate) fn words(&self) -> Vec<String> {
        let sets = self.sets.iter().flat_map(|set| ["--set".to_owned(), set.word()]);
        sets.chain(self.seed.iter().flat_map(|seed| ["--seed".to_owned(), seed.to_string()])).collect()
    }

    fn values(&self) -> Vec<SetValue> {
        let value = |set: &SetArgument| match set {
            SetArgument::Value(value) => Some(value.clone()),
            SetArgument::Named(_) => None,
        };
        self.sets.iter().filter_map(value).collect()
    }

    fn named(&self) -> impl Iterator<Item = &str> {
        self.sets.iter().filter_map(|set| match set {
            SetArgument::Named(name) => Some(name.as_str()),
            SetArgument::Value(_) => None,
        })
    }

    /// Returns true if a set is named.
    pub(crate) fn names_sets(&self) -> bool {
        self.named().next().is_some()
    }

    /// Returns the selectors of the scenarios that the named sets have.
    pub(crate) fn members(&self, lab: &Lab) -> Result<Vec<String>, Failure> {
        if !self.names_sets() {
            return Ok(vec![]);
        }
        let all = scenarios(&lab.scenario_files()?)?;
        let mut members = vec![];
        for set in self.named() {
            let has = |scenario: &&Scenario| set == FULL_SET || scenario.sets.contains(set);
            let names: Vec<_> = all.iter().filter(has).map(|scenario| scenario.scenario.clone()).collect();
            if names.is_empty() {
                let known: BTreeSet<&str> =
                    all.iter().flat_map(|one| &one.sets).map(String::as_str).chain([FULL_SET]).collect();
                let help = suggest(set, known);
                return Err(Failure::Usage {
                    message: format!("--set {set}: no scenario is in a set of this name"),
                    hint: Some(format!("{help}; a point is PATH=VALUE, like host.cpu=max")),
                });
            }
            members.extend(names);
        }
        Ok(members)
    }

    /// Reads scenario files. Those that a selector names, or all without one, are at the points with
    /// these values.
    pub(crate) fn scenarios(
        &self,
        paths: &[PathBuf],
        selectors: &[String],
    ) -> Result<Vec<Scenario>, Failure> {
        let (mut all, values) = (scenarios(paths)?, self.values());
        for (n, set) in values.iter().enumerate() {
            if values[..n].iter().any(|other| other.path == set.path) {
                let message = format!("--set {}: the path is set twice", set.word());
                return Err(Failure::Usage { message, hint: Some("run each value alone".into()) });
            }
        }
        for (scenario, path) in all.iter_mut().zip(paths) {
            let is_named = |selector: &String| glob(name_of(selector), &scenario.scenario);
            let values: Vec<_> = values.iter().cloned().chain(self.seeded(scenario)).collect();
            if !values.is_empty() && (selectors.is_empty() || selectors.iter().any(is_named)) {
                *scenario = scenario_at(path, &values)?;
            }
        }
        Ok(all)
    }

    /// Returns the value for the seeds of a scenario, if there is one.
    fn seeded(&self, scenario: &Scenario) -> Option<SetValue> {
        scenario.seeded(self.seed?)
    }

    /// Checks that a seed is that of at least one cell.
    pub(crate) fn check(&self, scenarios: &[Scenario], cells: &[PlannedCell]) -> Result<(), Failure> {
        let has_loop =
            |cell: &PlannedCell| cell.resolved.steps.iter().any(|one| matches!(one, Step::While(_)));
        let Some(seed) = self.seed.filter(|_| !cells.iter().any(has_loop)) else { return Ok(()) };
        let with_loop = scenarios.iter().filter(|scenario| scenario.seeded(seed).is_some());
        let names: Vec<_> = with_loop.map(|scenario| scenario.scenario.as_str()).collect();
        let hint = (!names.is_empty()).then(|| format!("these scenarios have one: {}", few(names)));
        Err(Failure::Usage { message: format!("--seed {seed}: no cell has a step `while`"), hint })
    }

    /// Returns the arguments for the point of a cell. `whole`: for each axis of the scenario, because
    /// the key is not named.
    pub(crate) fn of_cell(&self, scenarios: &[Scenario], key: &Key, whole: bool) -> Vec<String> {
        let scenario = scenarios.iter().find(|scenario| scenario.scenario == key.scenario());
        let axes = scenario.into_iter().flat_map(|scenario| &scenario.matrix.axes);
        let (values, seeded) = (self.values(), scenario.and_then(|scenario| self.seeded(scenario)));
        let is_seed = |path: &str| seeded.as_ref().is_some_and(|set| set.path == path);
        let is_due = |path: &str| whole || is_seed(path) || values.iter().any(|set| set.path == path);
        let words = axes.filter(|of| is_due(&of.path)).filter_map(|of| {
            let value = key.axis(&of.axis.name)?.to_owned();
            Some(match is_seed(&of.path) {
                true => ["--seed".to_owned(), value],
                false => ["--set".to_owned(), format!("{}={value}", of.path)],
            })
        });
        words.flatten().collect()
    }
}

/// Returns the part of a selector that is about scenarios.
fn name_of(selector: &str) -> &str {
    selector.split(['@', '+']).next().unwrap_or_default()
}
