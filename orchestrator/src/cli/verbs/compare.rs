//! `s2lab compare`: two kernels in turns, and what their numbers differ in.

use crate::cli::{
    context::Context,
    failure::Failure,
    render::complain,
    shared::{
        cells::{CellArguments, CellPlan, is_file, planned},
        history::HistoryArguments,
        kernels::KernelArguments,
        outputs::OutputArguments,
        parts::PartArguments,
    },
    verbs::run::{self, Keep, carry_out},
};
use crate::{home, lab::Lab, runtime, show::boots::about};
use clap::Args;
use s2lab_model::{
    comparison::{Compare, FEWEST_PAIRS, MOST_PAIRS, has_numbers},
    diagnostic::{few, suggest},
    event::PlannedCell,
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

/// The scenario that is compared if none is named; it is in `scenarios/compare/`.
const DEFAULT: &str = "bar-stores";
/// The pairs, if none are given. Boots of one kernel differ by up to 3 % on a virtual machine, and then
/// 12 pairs of it are the same in 6 of 7 comparisons (docs/numbers.md).
const USUAL_PAIRS: u32 = 12;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The kernel that is the base: an entry of images/kernels.yaml, a path, a URL or a tree, as for
    /// `run --kernel`
    #[arg(value_name = "KERNEL")]
    first: String,
    /// The other kernel; the same one shows what the machine itself makes of the numbers
    #[arg(value_name = "KERNEL")]
    second: String,
    /// A scenario of scenarios/compare/ or scenarios/, or its file; it measures or counts
    #[arg(default_value = DEFAULT)]
    scenario: String,
    /// Pairs of boots; more of them decide more
    #[arg(long, value_name = "N", default_value_t = USUAL_PAIRS)]
    #[arg(value_parser = clap::value_parser!(u32).range(i64::from(FEWEST_PAIRS)..=i64::from(MOST_PAIRS)))]
    pairs: u32,
    #[command(flatten)]
    parts: PartArguments,
    /// Do not touch the network: what is not in the cache is an error
    #[arg(long)]
    offline: bool,
    /// Write the run there instead of under the state folder
    #[arg(long, value_name = "DIR", value_parser = home::argument())]
    out: Option<PathBuf>,
    #[command(flatten)]
    history: HistoryArguments,
    #[command(flatten)]
    output: OutputArguments,
}

pub(crate) fn compare(context: &Context, arguments: Arguments) -> Result<u8, Failure> {
    // A form that the verb does not have is an error before anything else.
    arguments.output.of_compare()?;
    let lab = context.lab()?;
    let (mut planned, compare) = plan(&lab, &arguments)?;
    let keep = Keep::of_environment()?;
    arguments.parts.check(&context.places()?)?;
    planned.check_given(context, &lab, arguments.offline)?;
    for cell in &mut planned.cells {
        cell.repeat.extend(arguments.parts.words());
    }
    if !context.common.quiet {
        complain(&announced(&compare, expected(context, &arguments, &compare)));
    }
    planned.compare = Some(compare);
    let Arguments { parts, offline, out, history, output, .. } = arguments;
    let run = run::Arguments { parts, offline, out, history, output, ..run::Arguments::retrying(0) };
    let carried = runtime::block_on(carry_out(context, &lab, planned, run, keep, |_| ()));
    carried.map_err(Failure::from).and_then(|carried| carried)
}

/// Returns the cells of both kernels.
fn plan(lab: &Lab, arguments: &Arguments) -> Result<(CellPlan, Compare), Failure> {
    let Arguments { first, second, scenario, pairs, .. } = arguments;
    let mut kernels = vec![first.clone(), second.clone()];
    kernels.dedup();
    let (due, kernels) = (kernels.len(), KernelArguments { kernels, ..KernelArguments::default() });
    let what = vec![scenario_file(lab, scenario)?];
    let cells = CellArguments { what, ..CellArguments::default() };
    let mut planned = planned(lab, &cells, &kernels, &arguments.parts.qemu)?;
    if planned.cells.len() > due {
        let keys = few(planned.cells.iter().map(|cell| cell.key.as_str()));
        let message = format!("these are {} cells, and a comparison has two: {keys}", planned.cells.len());
        return Err(Failure::Usage {
            message,
            hint: Some("name one commit of a tree: tree:PATH@COMMIT".into()),
        });
    }
    let Some(one) = planned.cells.first().cloned() else {
        return Err(Failure::Usage { message: "there is no cell to compare".into(), hint: None });
    };
    if !has_numbers(&one.resolved) {
        return Err(without_numbers(&one));
    }
    if due == 1 {
        // Both are at work at a time, and a cell has one attempt at a time.
        let key =
            one.key.second().map_err(|error| Failure::Usage { message: error.to_string(), hint: None })?;
        planned.cells.push(PlannedCell { key, ..one.clone() });
    }
    let second = planned.cells.last().map_or_else(|| one.key.clone(), |cell| cell.key.clone());
    Ok((planned, Compare { first: one.key, second, pairs: *pairs }))
}

fn without_numbers(cell: &PlannedCell) -> Failure {
    Failure::Usage {
        message: format!(
            "`{}` has no numbers to compare: it has no step `measure`, and no device with `count: true`",
            cell.key.scenario()
        ),
        hint: Some(format!("the default scenario is {DEFAULT}; docs/numbers.md has the step")),
    }
}

/// Returns the file of a scenario that is named, or given as a file.
fn scenario_file(lab: &Lab, scenario: &str) -> Result<String, Failure> {
    if is_file(scenario) {
        return Ok(scenario.to_owned());
    }
    let files = [lab.compare_files()?, lab.scenario_files()?].concat();
    let name = |path: &Path| path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
    if let Some(path) = files.iter().find(|path| name(path).as_deref() == Some(scenario)) {
        return Ok(path.display().to_string());
    }
    let known: Vec<_> = files.iter().filter_map(|path| name(path)).collect();
    Err(Failure::Usage {
        message: format!("the lab folder {} has no scenario `{scenario}`", lab.root.display()),
        hint: Some(suggest(scenario, known.iter().map(String::as_str))),
    })
}

/// Returns the time that the boots take by the history, if it has both kernels.
fn expected(context: &Context, arguments: &Arguments, compare: &Compare) -> Option<Duration> {
    let second = if compare.is_control() { &compare.first } else { &compare.second };
    let keys = [&compare.first, second];
    // Without a history the first pair shows it.
    let known =
        arguments.history.durations(context, &keys.map(Clone::clone).into_iter().collect::<BTreeSet<_>>());
    let known = known.unwrap_or_default();
    let [first, second] = keys.map(|key| known.get(key));
    Some(*first?.max(second?) * compare.pairs)
}

fn announced(compare: &Compare, expected: Option<Duration>) -> String {
    let takes = match expected {
        Some(time) => format!("about {} by the history", about(time)),
        None => "the first pair shows how long they take".to_owned(),
    };
    format!(
        "{} pairs of boots of {} and {}, two hosts at a time: {} boots, {takes}",
        compare.pairs,
        compare.first,
        compare.second,
        compare.all_boots()
    )
}
