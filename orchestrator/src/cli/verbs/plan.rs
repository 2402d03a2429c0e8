//! `s2lab plan`: the cells of a run as a file, for several machines.

use crate::cli::{
    context::Context,
    exit,
    failure::Failure,
    render::{say, say_bytes},
    shared::{
        cells::{CellArguments, lab_cells, planned},
        history::HistoryArguments,
        kernels::KernelArguments,
        qemu::QemuArguments,
        shards::{plan_file, selection},
    },
};
use crate::home;
use clap::Args;
use s2lab_model::shards::{From, PlanFile};
use s2lab_os::whole;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    cells: CellArguments,
    #[command(flatten)]
    kernels: KernelArguments,
    #[command(flatten)]
    qemu: QemuArguments,
    #[command(flatten)]
    history: HistoryArguments,
    /// Write the plan there; default: stdout
    #[arg(short, long, value_name = "FILE", value_parser = home::argument())]
    output: Option<PathBuf>,
}

pub(crate) fn plan(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let Arguments { cells, kernels, qemu, history, output } = arguments;
    let lab = context.lab()?;
    if let Some(file) = qemu.file() {
        qemu.check()?;
        return Err(Failure::Usage {
            message: format!("--qemu {}: a plan has no programs", file.display()),
            hint: Some("give it to `s2lab run --plan` on each machine".into()),
        });
    }
    let planned = planned(&lab, cells, kernels, qemu)?;
    // Cells of the same scenario on other kernels count too.
    let mut known = lab_cells(&lab)?;
    known.extend(planned.cells.iter().map(|cell| cell.key.clone()));
    let durations = history.durations(context, &known)?;
    let plan = plan_file(&lab, &planned, selection(cells, kernels, qemu), &durations)?;
    match output {
        None => say_bytes(plan.text().as_bytes())?,
        Some(path) => write(path, &plan)?,
    }
    Ok(exit::FINE)
}

fn write(path: &Path, plan: &PlanFile) -> Result<(), Failure> {
    let written = whole::replace(path, plan.text().as_bytes());
    written.map_err(Failure::io(format!("cannot write {}", path.display())))?;
    let seconds = plan.groups.iter().map(|group| group.ms / 1000).fold(0, u64::saturating_add);
    let mut sources: BTreeMap<From, usize> = BTreeMap::new();
    plan.cells.iter().for_each(|cell| *sources.entry(cell.expected.from).or_default() += 1);
    let sources: Vec<_> =
        sources.into_iter().map(|(from, count)| format!("{count} {}", word(from))).collect();
    say(&format!(
        "{}: cells: {}; groups: {}; expected on one machine: {} min; durations: {}",
        path.display(),
        plan.cells.len(),
        plan.groups.len(),
        seconds.div_ceil(60),
        sources.join(", ")
    ))
}

/// Returns the source of durations in words.
fn word(from: From) -> &'static str {
    match from {
        From::History => "from their history",
        From::Scenario => "from their scenario on other kernels",
        From::All => "from all other cells",
        From::Assumed => "assumed",
    }
}
