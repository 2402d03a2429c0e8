//! `s2lab list`: lists the cells, the kernels, or the promises.

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
use crate::show::answer::{self, Answer, Cell};
use clap::Args;
use s2lab_model::escape::plain;
use s2lab_model::event::PlannedCell;
use s2lab_model::kernel::{KernelEntry, Kernels};
use s2lab_model::scenario::Promise;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    cells: CellArguments,
    #[command(flatten)]
    kernels: KernelArguments,
    #[command(flatten)]
    qemu: QemuArguments,
    /// The kernels of images/kernels.yaml instead: name, provider, traits, what it is
    #[arg(long = "kernels", conflicts_with_all = ["what", "exclude", "sets", "kernels", "modules", "config"])]
    of_kernels: bool,
    /// The promises I1 to I17 instead: each in one sentence, and the scenarios that hold it up
    #[arg(long = "promises", conflicts_with_all = ["what", "exclude", "sets", "kernels", "of_kernels", "modules", "config"])]
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
        let promises = promises(&context.lab()?)?;
        return if json { answer_promises(promises) } else { list_promises(&promises) };
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

/// A promise, its sentence, and the scenarios that hold it up.
type HeldPromise = (Promise, &'static str, Vec<String>);

fn promises(lab: &Lab) -> Result<Vec<HeldPromise>, Failure> {
    let scenarios = scenarios(&lab.scenario_files()?)?;
    let held = |(promise, sentence): (Promise, &'static str)| {
        let holders = scenarios.iter().filter(|scenario| scenario.held_up().contains(&promise));
        (promise, sentence, holders.map(|scenario| scenario.scenario.clone()).collect())
    };
    Ok(Promise::all().map(held).collect())
}

fn list_promises(promises: &[HeldPromise]) -> Result<u8, Failure> {
    for (promise, sentence, holders) in promises {
        let holders = match holders.is_empty() {
            true => "no scenario holds it up".into(),
            false => format!("held up by {}", holders.join(", ")),
        };
        say(&format!("{:<4} {sentence}\n     {holders}", promise.to_string()))?;
    }
    Ok(exit::FINE)
}

fn answer_promises(promises: Vec<HeldPromise>) -> Result<u8, Failure> {
    let promise = |(promise, sentence, scenarios): HeldPromise| answer::Promise {
        promise: promise.to_string(),
        sentence: sentence.to_owned(),
        scenarios,
    };
    answer(&Answer::ListPromises { promises: promises.into_iter().map(promise).collect() })?;
    Ok(exit::FINE)
}
