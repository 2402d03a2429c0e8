//! `--kernel` and its like: which kernels a verb means, and the cells that follow.

use super::{Failure, own};
use crate::{
    lab::{Lab, scenarios},
    run::chosen::Chosen,
};
use clap::{Args, ValueEnum};
use s2lab_model::{
    event::PlannedCell,
    kernel::{Kernels, Trait},
    plan::{Selection, plan},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

#[derive(Debug, Args, Default, Clone, PartialEq, Eq)]
pub(super) struct KernelArguments {
    /// An entry of images/kernels.yaml, the path of an arm64 Image, or tree:PATH[@COMMIT|@A..B]; repeatable; default: the default entries
    #[arg(long = "kernel", value_name = "NAME|PATH|TREE")]
    pub(super) kernels: Vec<String>,
    /// Modules of the Image given by its path: a folder with .ko files in any depth; default: all are built in
    #[arg(long, value_name = "DIR", requires = "kernels")]
    pub(super) modules: Option<PathBuf>,
    /// Configuration of the Image, or what to build the tree with; default for a tree: images/config/boot.config and nothing else
    #[arg(long, value_name = "FILE", requires = "kernels")]
    pub(super) config: Option<PathBuf>,
    /// System.map of the Image: addresses in its crashes get names
    #[arg(long, value_name = "FILE", requires = "kernels")]
    pub(super) system_map: Option<PathBuf>,
    /// Build tree:PATH as it is now, in the cache; commits are always built
    #[arg(long, requires = "kernels")]
    pub(super) build: bool,
    /// Apply a mailbox or a folder of patches on top of the kernels, which must be built from source
    #[arg(long, value_name = "MBOX|DIR", requires = "kernels")]
    pub(super) series: Option<PathBuf>,
    /// What kernels declare that are no entry; repeatable; default: nothing, they must match one alternative of what is expected
    #[arg(long = "trait", value_name = "TRAIT", value_enum, requires = "kernels")]
    pub(super) traits: Vec<Declared>,
}

/// An argument of `--trait`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Declared {
    WcConveyed,
    WcHonoured,
    // Declares to have none.
    None,
}

impl KernelArguments {
    /// What is declared; none if nothing is.
    pub(super) fn declared(&self) -> Result<Option<BTreeSet<Trait>>, Failure> {
        if self.traits.is_empty() {
            return Ok(None);
        }
        if self.traits.contains(&Declared::None) && self.traits.iter().any(|one| *one != Declared::None) {
            let message = "--trait none says that there is none, and another --trait names one".into();
            return Err(Failure::Usage { message, hint: None });
        }
        let each = self.traits.iter().filter_map(|declared| match declared {
            Declared::WcConveyed => Some(Trait::WcConveyed),
            Declared::WcHonoured => Some(Trait::WcHonoured),
            Declared::None => None,
        });
        Ok(Some(each.collect()))
    }
}

/// What is to be run.
pub(super) struct Planned {
    pub(super) kernels: Kernels,
    /// Kernels that are no entry, or more than one.
    pub(super) chosen: Vec<Chosen>,
    pub(super) cells: Vec<PlannedCell>,
}

/// Resolves the arguments to cells. Nothing is made or fetched.
pub(super) fn planned(lab: &Lab, what: &[String], arguments: &KernelArguments) -> Result<Planned, Failure> {
    let (files, selectors): (Vec<_>, Vec<_>) = what.iter().cloned().partition(|argument| is_file(argument));
    let mut paths: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
    // Files alone are all there is; with selectors the lab's scenarios are there too.
    if files.is_empty() || !selectors.is_empty() {
        paths.extend(lab.scenario_files()?);
    }
    let scenarios = scenarios(&each_once(paths))?;
    let from_files = files.iter().filter_map(|file| Path::new(file).file_stem()?.to_str().map(str::to_owned));
    let selectors =
        if selectors.is_empty() { selectors } else { selectors.into_iter().chain(from_files).collect() };
    let kernels = lab.kernels()?;
    let own::Kernels { choices, own } = own::kernels(lab, &kernels, arguments)?;
    let mut cells = plan(&scenarios, &kernels, &Selection { selectors, kernels: choices })?;
    for cell in &mut cells {
        cell.repeat = repeat(cell, &files, &own);
    }
    let chosen = own.into_iter().map(|own| own.kernel).collect();
    Ok(Planned { kernels, chosen, cells })
}

/// The arguments that carry out one cell alone: files that the lab does not know by name are named again.
fn repeat(cell: &PlannedCell, files: &[String], own: &[own::Own]) -> Vec<String> {
    let is_source =
        |file: &&String| Path::new(file).file_stem().is_some_and(|stem| *stem == *cell.scenario.scenario);
    let file = files.iter().find(is_source);
    let mut arguments = vec!["run".to_owned(), file.unwrap_or(&cell.key).clone()];
    match own.iter().find(|own| own.kernel.label == cell.kernel) {
        Some(own) => arguments.extend(own.words.clone()),
        None if file.is_some() => arguments.extend(["--kernel".to_owned(), cell.kernel.clone()]),
        None => {}
    }
    arguments
}

/// Without the paths that lead to a file that is there already: one given by hand may lie in the lab.
fn each_once(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut known = BTreeSet::new();
    let real = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
    paths.into_iter().filter(|path| known.insert(real(path))).collect()
}

fn is_file(argument: &str) -> bool {
    argument.contains('/') || argument.ends_with(".yaml")
}
