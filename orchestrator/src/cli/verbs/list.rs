//! `s2lab list`: lists the cells, the kernels, or the promises.

use crate::boot::kernel::resolved::known_options;
use crate::cli::{
    context::Context,
    exit,
    failure::Failure,
    render::say,
    shared::answers::{AnswerArguments, answer},
    shared::cells::{CellArguments, planned},
    shared::kernels::KernelArguments,
    shared::qemu::QemuArguments,
};
use crate::lab::{Lab, scenarios};
use crate::show::answer::{self, Answer, Cell, PromisedCell};
use crate::show::promises::{self, ExpectedCell};
use clap::Args;
use s2lab_model::escape::plain;
use s2lab_model::event::PlannedCell;
use s2lab_model::kconfig::Config;
use s2lab_model::kernel::{KernelEntry, Kernels};
use s2lab_model::outlook::Outlook;
use s2lab_model::plan::{Reach, Selection, plan};
use s2lab_model::scenario::{Promise, Scenario};
use std::collections::BTreeMap;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    cells: CellArguments,
    #[command(flatten)]
    kernels: KernelArguments,
    #[command(flatten)]
    qemu: QemuArguments,
    /// The kernels of images/kernels.yaml instead: name, provider, traits, what it is
    #[arg(long = "kernels", conflicts_with_all = ["what", "exclude", "sets", "seed", "kernels", "modules", "config"])]
    of_kernels: bool,
    /// The promises I1 to I17 instead: each in one sentence, the scenarios that hold it up, and what is
    /// expected of them on each kernel of the list
    #[arg(long = "promises", conflicts_with_all = ["what", "exclude", "sets", "seed", "kernels", "of_kernels", "modules", "config"])]
    of_promises: bool,
    #[command(flatten)]
    form: AnswerArguments,
}

pub(crate) fn list(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let json = arguments.form.is_json();
    if arguments.of_kernels {
        let kernels = context.lab()?.kernels()?;
        return if json { answer_kernels(&kernels) } else { list_kernels(&kernels) };
    }
    if arguments.of_promises {
        return list_promises(&context.lab()?, json);
    }
    let planned = planned(&context.lab()?, &arguments.cells, &arguments.kernels, &arguments.qemu)?;
    if json {
        answer(&Answer::List { cells: planned.cells.iter().map(Cell::from).collect() })?;
        return Ok(exit::FINE);
    }
    let promises = |cell: &PlannedCell| {
        let all: Vec<_> = cell.resolved.promises.iter().map(ToString::to_string).collect();
        if all.is_empty() { "-".to_owned() } else { all.join(" ") }
    };
    let wide = |of: &dyn Fn(&PlannedCell) -> usize| planned.cells.iter().map(of).max().unwrap_or_default();
    let (keys, of_promises) = (wide(&|cell| cell.key.as_str().len()), wide(&|cell| promises(cell).len()));
    for cell in &planned.cells {
        let about = match &cell.resolved.excluded {
            Some(reason) => format!("excluded: {reason}"),
            None => cell.about.clone(),
        };
        say(&format!("{:<keys$}  {:<of_promises$}  {}", cell.key, promises(cell), plain(&about)))?;
    }
    Ok(exit::FINE)
}

fn list_kernels(kernels: &Kernels) -> Result<u8, Failure> {
    let traits = |entry: &KernelEntry| match entry.traits.is_empty() {
        true => "-".to_owned(),
        false => entry.traits.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    };
    let wide = |of: &dyn Fn(&str, &KernelEntry) -> usize| {
        kernels.entries.iter().map(|(name, entry)| of(name, entry)).max().unwrap_or_default()
    };
    let (name_width, trait_width) = (wide(&|name, _| name.len()), wide(&|_, entry| traits(entry).len()));
    for (name, entry) in &kernels.entries {
        let (provider, traits) = (entry.provider.name(), traits(entry));
        let about = plain(&entry.about);
        say(&format!("{name:<name_width$}  {provider:<6}  {traits:<trait_width$}  {about}"))?;
    }
    Ok(exit::FINE)
}

fn answer_kernels(kernels: &Kernels) -> Result<u8, Failure> {
    let kernel = |(name, entry): (&String, &KernelEntry)| answer::Kernel {
        name: name.clone(),
        provider: entry.provider.name().to_owned(),
        traits: entry.traits.iter().map(ToString::to_string).collect(),
        about: entry.about.clone(),
    };
    answer(&Answer::ListKernels { kernels: kernels.entries.iter().map(kernel).collect() })?;
    Ok(exit::FINE)
}

fn list_promises(lab: &Lab, json: bool) -> Result<u8, Failure> {
    let (kernels, scenarios) = (lab.kernels()?, scenarios(&lab.scenario_files()?)?);
    let cells = expected_cells(lab, &kernels, &scenarios)?;
    if !json {
        say(promises::text(&kernels, &cells).trim_end())?;
        return Ok(exit::FINE);
    }
    let promise = |(promise, sentence): (Promise, &str)| {
        let holders = scenarios.iter().filter(|scenario| scenario.held_up().contains(&promise));
        answer::Promise {
            promise: promise.to_string(),
            sentence: sentence.to_owned(),
            scenarios: holders.map(|scenario| scenario.scenario.clone()).collect(),
        }
    };
    let promises = Promise::all().map(promise).collect();
    answer(&Answer::ListPromises { promises, cells: cells.iter().map(PromisedCell::from).collect() })?;
    Ok(exit::FINE)
}

/// Returns every scenario on every kernel of the list, with what is expected of it.
fn expected_cells(
    lab: &Lab,
    kernels: &Kernels,
    scenarios: &[Scenario],
) -> Result<Vec<ExpectedCell>, Failure> {
    if scenarios.is_empty() {
        return Ok(vec![]);
    }
    let known: BTreeMap<&String, Option<Config>> = kernels
        .entries
        .iter()
        .map(|(name, entry)| Ok((name, known_options(entry, &lab.images())?)))
        .collect::<Result<_, Failure>>()?;
    let all = Selection { reach: Reach::All, ..Selection::default() };
    let expected = |cell: PlannedCell| {
        let known = known.get(&cell.kernel).and_then(Option::as_ref);
        ExpectedCell { outlook: Outlook::of(&cell.resolved, known), cell }
    };
    Ok(plan(scenarios, kernels, &all)?.into_iter().map(expected).collect())
}
