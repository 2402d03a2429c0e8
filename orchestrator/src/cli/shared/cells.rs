//! The cells that a verb's arguments name, and their kernels.

use crate::cli::{
    context::Context, failure::Failure, render::complain, shared::kernels::KernelArguments, shared::own,
    shared::qemu::QemuArguments, shared::set::SetArguments,
};
use crate::{
    boot::kernel::{
        given::{self, CheckedKernels},
        named::{CustomKernel, entry_origin},
    },
    lab::{Lab, programs::programs, scenarios},
    run::programs::Programs,
    runtime,
    show::command::quoted,
};
use clap::Args;
use s2lab_cache::{Cache, Progress};
use s2lab_model::{
    comparison::Compare,
    diagnostic::few,
    event::{KernelOrigin, PlannedCell},
    kernel::Kernels,
    mutants::PlannedMutant,
    night::Night,
    plan::{Key, PlanError, QemuChoice, Reach, Selection, all_keys, plan},
    scenario::Scenario,
    shards::Shard,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The arguments that mean cells.
#[derive(Debug, Args, Default, Clone, PartialEq, Eq)]
pub(crate) struct CellArguments {
    /// Scenarios, keys SCENARIO@KERNEL, globs of either, or scenario files; default: all scenarios
    #[arg(value_name = "GLOB|KEY|FILE")]
    pub(crate) what: Vec<String>,
    /// Leave out the cells of this scenario, key or glob; repeatable
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    #[command(flatten)]
    pub(crate) set: SetArguments,
    /// The kernels that a verb takes if none is named; no argument of its own.
    #[arg(skip)]
    pub(crate) reach: Reach,
}

impl CellArguments {
    /// Returns the arguments for the same cells.
    pub(crate) fn words(&self) -> Vec<String> {
        let exclude = self.exclude.iter().flat_map(|glob| ["--exclude".to_owned(), glob.clone()]);
        self.what.iter().cloned().chain(exclude).chain(self.set.words()).collect()
    }
}

/// The cells to run, and their kernels.
pub(crate) struct CellPlan {
    pub(crate) kernels: Kernels,
    /// The kernels that are not an entry, or more than one.
    pub(crate) chosen: Vec<CustomKernel>,
    /// Those of the kernels that were given as files, once they are checked.
    pub(crate) given: CheckedKernels,
    pub(crate) cells: Vec<PlannedCell>,
    /// The night that the run is.
    pub(crate) night: Option<Night>,
    /// The mutants that the run is about.
    pub(crate) mutants: Option<Vec<PlannedMutant>>,
    /// The part of a plan that the cells are.
    pub(crate) shard: Option<Shard>,
    /// The programs of the cells' steps.
    pub(crate) programs: Programs,
    /// The comparison that the run is for.
    pub(crate) compare: Option<Compare>,
}

impl CellPlan {
    /// Checks the kernels that were given as files, before a run is made. Files that were given by
    /// their address are fetched.
    pub(crate) fn check_given(&mut self, context: &Context, lab: &Lab, offline: bool) -> Result<(), Failure> {
        let Self { kernels, chosen, cells, .. } = self;
        let given = given::given(kernels, &lab.images(), chosen, cells);
        if given.is_empty() {
            return Ok(());
        }
        let steps = Steps { quiet: context.common.quiet };
        let cache = Cache::open(&context.places()?.cache, offline, Arc::new(steps))?;
        self.given = runtime::block_on(given::check(cache, &given, cells))??;
        Ok(())
    }

    /// Returns the origins of the cells' kernels, by their names: of those from the command line, and
    /// of entries with patches.
    pub(crate) fn origins(&self, lab: &Lab) -> BTreeMap<String, KernelOrigin> {
        let names: BTreeSet<&String> = self.cells.iter().map(|cell| &cell.kernel).collect();
        let origin = |name: &String| match self.chosen.iter().find(|kernel| kernel.label == *name) {
            Some(kernel) => Some(kernel.origin()),
            None => entry_origin(&self.kernels, name, &lab.images()),
        };
        names.into_iter().filter_map(|name| Some((name.clone(), origin(name)?))).collect()
    }

    /// Returns the only cell, for a verb that takes one. The error lists them.
    pub(crate) fn only_cell(&self, what: &str) -> Result<&PlannedCell, Failure> {
        match &*self.cells {
            [cell] => Ok(cell),
            cells => {
                let keys = few(cells.iter().map(|cell| cell.key.as_str()));
                Err(Failure::Usage {
                    message: format!("these are {} cells, and {what}", cells.len()),
                    hint: Some(format!("one of {keys}")),
                })
            }
        }
    }
}

/// Prints what is fetched before a run is made. A signal ends s2lab, and the program that fetches.
struct Steps {
    quiet: bool,
}

impl Progress for Steps {
    fn step(&self, what: &str) {
        if !self.quiet {
            complain(what);
        }
    }

    fn download(&self, _: &str, _: u64, _: u64) {}
}

/// Resolves the arguments to cells. It makes and fetches nothing.
pub(crate) fn planned(
    lab: &Lab,
    CellArguments { what, exclude, set, reach }: &CellArguments,
    arguments: &KernelArguments,
    qemu: &QemuArguments,
) -> Result<CellPlan, Failure> {
    qemu.check()?;
    let (files, mut selectors): (Vec<_>, Vec<_>) =
        what.iter().cloned().partition(|argument| is_file(argument));
    selectors.extend(set.members(lab)?);
    let mut paths: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
    // Files alone are the whole plan; with selectors the lab's scenarios are added.
    match (files.is_empty(), selectors.is_empty()) {
        (_, false) => paths.extend(lab.scenario_files()?),
        (true, true) => paths.extend(lab.default_scenario_files()?),
        (false, true) => {}
    }
    let paths = each_once(paths);
    let from_files = files.iter().filter_map(|file| Path::new(file).file_stem()?.to_str().map(str::to_owned));
    let selectors: Vec<String> =
        if selectors.is_empty() { selectors } else { selectors.into_iter().chain(from_files).collect() };
    let scenarios = set.scenarios(&paths, &selectors)?;
    let kernels = lab.kernels()?;
    let own::Kernels { choices, own } = own::kernels(lab, &kernels, arguments)?;
    let (exclude, axes) = (exclude.clone(), vec![qemu.axis()]);
    let selection = Selection { selectors, exclude, kernels: choices, reach: *reach, axes };
    let mut cells = plan(&scenarios, &kernels, &selection).map_err(|error| unplanned(lab, error))?;
    set.check(&scenarios, &cells)?;
    for cell in &mut cells {
        cell.repeat = repeat(cell, &scenarios, &files, &own, set);
    }
    let programs = programs(&paths, &cells)?;
    let chosen = own.into_iter().map(|own| own.kernel).collect();
    Ok(CellPlan {
        kernels,
        chosen,
        given: CheckedKernels::default(),
        cells,
        night: None,
        mutants: None,
        shard: None,
        programs,
        compare: None,
    })
}

/// The keys of all cells that the lab folder has, at each point of their axes and on each QEMU.
pub(crate) fn lab_cells(lab: &Lab) -> Result<BTreeSet<Key>, Failure> {
    let kernels = lab.kernels()?;
    let scenarios = scenarios(&lab.scenario_files()?)?;
    Ok(all_keys(&scenarios, &kernels, &[QemuChoice::axis(&[])]))
}

/// Returns the failure of a plan. The hint for a scenario of `compare` is the command with its file.
fn unplanned(lab: &Lab, error: PlanError) -> Failure {
    let PlanError::NoMatch { selector, .. } = &error else { return error.into() };
    let (scenario, rest) = selector.split_once('@').unwrap_or((selector, ""));
    let kernel = rest.split('+').next().filter(|name| !name.is_empty() && !name.contains(['*', '?']));
    // A folder that cannot be read changes nothing: the selector is wrong.
    let files = lab.compare_files().unwrap_or_default();
    let file = files.iter().find(|path| path.file_stem().is_some_and(|stem| stem == scenario));
    let Some(file) = file else { return error.into() };
    let [file, kernel] = [&*file.display().to_string(), kernel.unwrap_or("NAME")].map(quoted);
    let hint =
        format!("`{scenario}` is for `s2lab compare`; its file runs: s2lab run {file} --kernel {kernel}");
    Failure::Usage { message: error.to_string(), hint: Some(hint) }
}

/// Returns the arguments that run one cell alone. Files that the lab does not know by name are
/// named again.
fn repeat(
    cell: &PlannedCell,
    scenarios: &[Scenario],
    files: &[String],
    own: &[own::OwnKernel],
    set: &SetArguments,
) -> Vec<String> {
    let is_source =
        |file: &&String| Path::new(file).file_stem().is_some_and(|stem| *stem == *cell.key.scenario());
    let file = files.iter().find(is_source);
    let mut arguments = vec!["run".to_owned(), file.cloned().unwrap_or_else(|| cell.key.to_string())];
    arguments.extend(set.of_cell(scenarios, &cell.key, file.is_some()));
    // Its name has no axis.
    let qemu = QemuChoice::of(&cell.key).filter(|qemu| file.is_some() && qemu.value().is_some());
    arguments.extend(qemu.into_iter().flat_map(QemuArguments::word));
    match own.iter().find(|own| own.kernel.label == cell.kernel) {
        Some(own) => arguments.extend(own.words.clone()),
        None if file.is_some() => arguments.extend(["--kernel".to_owned(), cell.kernel.clone()]),
        None => {}
    }
    arguments
}

/// Returns the paths without those that lead to a file that is already there: a given file may be
/// in the lab.
fn each_once(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut known = BTreeSet::new();
    let real = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
    paths.into_iter().filter(|path| known.insert(real(path))).collect()
}

/// Returns whether an argument is the path of a file, and not a name.
pub(crate) fn is_file(argument: &str) -> bool {
    argument.contains('/') || argument.ends_with(".yaml")
}
