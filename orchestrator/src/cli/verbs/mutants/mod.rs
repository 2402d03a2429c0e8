//! `s2lab mutants`: scenarios on kernels with a deliberate mistake.

mod arguments;

pub(crate) use arguments::Arguments;

use crate::{
    cli::{
        context::Context,
        exit,
        failure::Failure,
        render::say,
        shared::{
            answers::answer,
            cells::{CellArguments, CellPlan, planned},
            kernels::KernelArguments,
            mutants::MutantKernels,
        },
        verbs::run::{self, Keep, carry_out},
    },
    lab::{Lab, scenarios},
    runtime,
    show::{
        Format,
        answer::{Answer, MutantEntry},
        mutants::listed,
    },
};
use s2lab_model::{
    diagnostic::suggest,
    event::PlannedCell,
    mutants::{NONE, PlannedMutant, kernel},
    plan::glob,
    scenario::{Scenario, ScenarioAxis},
};
use std::collections::BTreeSet;

/// All scenarios, whether or not `run` takes them by itself.
const ALL: &str = "*";

pub(crate) fn mutants(context: &Context, arguments: Arguments) -> Result<u8, Failure> {
    let lab = context.lab()?;
    let chosen = chosen(&lab, &arguments)?;
    if arguments.list {
        return list(&lab, &chosen, &arguments);
    }
    let mut planned = plan(&lab, chosen, &arguments)?;
    for cell in &mut planned.cells {
        cell.repeat.extend(arguments.parts.words());
    }
    if arguments.dry_run {
        planned.cells.iter().try_for_each(|cell| say(cell.key.as_str()))?;
        return Ok(exit::FINE);
    }
    let keep = Keep::of_environment()?;
    arguments.parts.check(&context.places()?)?;
    let arguments = run::Arguments::from(arguments);
    let carried = runtime::block_on(carry_out(context, &lab, planned, arguments, keep, |_| ()));
    carried.map_err(Failure::from).and_then(|carried| carried)
}

/// Returns the mutants that the arguments name.
fn chosen(lab: &Lab, arguments: &Arguments) -> Result<Vec<PlannedMutant>, Failure> {
    let mut kernels = MutantKernels::new(lab);
    let bases = match arguments.kernels.is_empty() {
        true => lab.mutant_bases()?,
        false => arguments.kernels.clone(),
    };
    let mut all = vec![];
    for base in bases {
        let mutants = kernels.set(&base)?.mutants.iter().cloned();
        all.extend(mutants.map(|mutant| PlannedMutant { mutant, base: base.clone() }));
    }
    let names = &arguments.names;
    let names_it = |name: &str, planned: &PlannedMutant| glob(name, &planned.mutant.name);
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|planned| names_it(name, planned))) {
        let known = all.iter().map(|planned| planned.mutant.name.as_str());
        return Err(Failure::Usage {
            message: format!("no mutant is called `{unknown}`"),
            hint: Some(suggest(unknown, known)),
        });
    }
    all.retain(|planned| names.is_empty() || names.iter().any(|name| names_it(name, planned)));
    Ok(all)
}

/// Returns the cells of the mutants, and those of the kernels without a mistake.
fn plan(lab: &Lab, mutants: Vec<PlannedMutant>, arguments: &Arguments) -> Result<CellPlan, Failure> {
    let run: Vec<_> = mutants.iter().filter(|planned| planned.mutant.cannot_show.is_none()).collect();
    let bases: BTreeSet<&str> = run.iter().map(|planned| planned.base.as_str()).collect();
    let unmutated = bases.iter().map(|base| kernel(base, NONE));
    let kernels: Vec<_> = unmutated.chain(run.iter().map(|planned| planned.kernel())).collect();
    if mutants.is_empty() {
        let message = "the lab folder has no mutants".into();
        return Err(Failure::Usage { message, hint: Some("they are in images/mutants/KERNEL".into()) });
    }
    if kernels.is_empty() {
        return Err(Failure::Usage {
            message: "none of these mutants can be shown under emulation".into(),
            hint: Some("`s2lab mutants --list` has the reasons".into()),
        });
    }
    let scenarios = scenarios(&lab.scenario_files()?)?;
    let what = match arguments.scenarios.is_empty() {
        true => vec![ALL.to_owned()],
        false => arguments.scenarios.clone(),
    };
    let cells = CellArguments { what, ..CellArguments::default() };
    let kernels = KernelArguments { kernels, ..KernelArguments::default() };
    let mut planned = planned(lab, &cells, &kernels, &arguments.parts.qemu)?;
    let concerns = |mutant: &PlannedMutant, scenario: &str| {
        let of = |written: &&Scenario| written.scenario == scenario;
        !arguments.scenarios.is_empty()
            || scenarios.iter().find(of).is_some_and(|scenario| mutant.mutant.concerns(scenario))
    };
    // A kernel without a mistake runs the scenarios of its mutants.
    let due = |base: &str, scenario: &str| {
        run.iter().any(|mutant| mutant.base == base && concerns(mutant, scenario))
    };
    // Each mutant costs the boots of all its cells, so it meets a scenario at the first of its points.
    let is_first = |cell: &PlannedCell| {
        let of = |written: &&Scenario| written.scenario == cell.key.scenario();
        let axes = scenarios.iter().find(of).map(|written| &written.matrix.axes);
        axes.into_iter().flatten().all(|ScenarioAxis { axis, .. }| {
            let first = axis.points.first().and_then(|point| point.value.as_deref());
            cell.key.axis(&axis.name) == first
        })
    };
    planned.cells.retain(|cell| {
        let scenario = cell.key.scenario();
        if arguments.scenarios.is_empty() && !is_first(cell) {
            return false;
        }
        match run.iter().find(|mutant| mutant.kernel() == cell.kernel) {
            Some(mutant) => concerns(mutant, scenario),
            None => bases.iter().any(|base| kernel(base, NONE) == cell.kernel && due(base, scenario)),
        }
    });
    planned.mutants = Some(mutants);
    Ok(planned)
}

/// Prints the mutants, and runs nothing.
fn list(lab: &Lab, mutants: &[PlannedMutant], arguments: &Arguments) -> Result<u8, Failure> {
    let scenarios = scenarios(&lab.scenario_files()?)?;
    let of = |planned: &PlannedMutant| {
        let concerned = scenarios.iter().filter(|scenario| planned.mutant.concerns(scenario));
        let names = concerned.map(|scenario| scenario.scenario.clone());
        let runs = planned.mutant.cannot_show.is_none();
        MutantEntry::of(planned, if runs { names.collect() } else { vec![] })
    };
    let mutants: Vec<_> = mutants.iter().map(of).collect();
    match arguments.output.format() {
        Format::Json => answer(&Answer::MutantsList { mutants })?,
        _ => say(listed(&mutants).trim_end())?,
    }
    Ok(exit::FINE)
}
