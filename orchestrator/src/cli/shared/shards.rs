//! Plans for several machines: made of this checkout, or read from a file and compared with it.

use crate::cli::{
    VERSION,
    failure::Failure,
    shared::cells::{CellArguments, CellPlan, planned},
    shared::kernels::KernelArguments,
    shared::qemu::QemuArguments,
};
use crate::{boot::kernel::identity::identity, home, lab::Lab};
use clap::{Args, Parser};
use s2lab_model::{
    plan::Key,
    shards::{Inputs, PlanFile, Shard, ShardNumber},
};
use s2lab_os::outside::{self, kinds};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

/// The arguments of a run that carries out a part of a plan.
#[derive(Debug, Args, Default)]
pub(crate) struct ShardArguments {
    /// Run the cells of this file of `s2lab plan`, made of the same checkout
    #[arg(long, value_name = "FILE", value_parser = home::argument())]
    #[arg(conflicts_with_all = ["what", "exclude", "sets", "seed", "kernels", "failed"])]
    plan: Option<PathBuf>,
    /// Run the part I of N, for one of N machines; `s2lab merge` makes one run of all parts
    #[arg(long, value_name = "I/N", conflicts_with = "failed")]
    shard: Option<ShardNumber>,
}

impl ShardArguments {
    /// Returns the cells of the part, or all cells without these arguments. Without a plan each
    /// machine makes the same one, so no duration of this machine's history is in it.
    pub(crate) fn planned(
        &self,
        lab: &Lab,
        cells: &CellArguments,
        kernels: &KernelArguments,
        qemu: &QemuArguments,
    ) -> Result<CellPlan, Failure> {
        let (mut planned, whole) = match &self.plan {
            Some(path) => of_file(lab, path, qemu)?,
            None => {
                let planned = planned(lab, cells, kernels, qemu)?;
                if self.shard.is_none() {
                    return Ok(planned);
                }
                let selection = selection(cells, kernels, qemu);
                let whole = plan_file(lab, &planned, selection, &BTreeMap::new())?;
                (planned, whole)
            }
        };
        let number = self.shard.unwrap_or(ShardNumber::WHOLE);
        planned.cells = whole.part(number).into_iter().map(|cell| cell.cell.clone()).collect();
        planned.shard = Some(Shard::new(number, whole));
        Ok(planned)
    }
}

/// The arguments in a plan that select its cells.
#[derive(Debug, Parser)]
struct Selection {
    #[command(flatten)]
    cells: CellArguments,
    #[command(flatten)]
    kernels: KernelArguments,
    #[command(flatten)]
    qemu: QemuArguments,
}

/// Returns the arguments that select the cells, for the plan.
pub(crate) fn selection(
    cells: &CellArguments,
    kernels: &KernelArguments,
    qemu: &QemuArguments,
) -> Vec<String> {
    [cells.words(), kernels.words(), qemu.words()].concat()
}

/// Makes the plan file of cells.
pub(crate) fn plan_file(
    lab: &Lab,
    planned: &CellPlan,
    selection: Vec<String>,
    durations: &BTreeMap<Key, Duration>,
) -> Result<PlanFile, Failure> {
    let CellPlan { kernels, chosen, cells, .. } = planned;
    let identify = |name: &str| identity(name, kernels, &lab.images(), chosen);
    let names: BTreeMap<&String, ()> = cells.iter().map(|cell| (&cell.kernel, ())).collect();
    let identities = names.into_keys().map(|name| Ok((name.clone(), identify(name)?)));
    Ok(PlanFile::new(Inputs {
        s2lab: VERSION,
        selection,
        guest: identify(&kernels.guest)?.digest,
        kernels: identities.collect::<Result<_, Failure>>()?,
        cells,
        durations,
    }))
}

/// Reads a plan file.
pub(crate) fn read(path: &Path) -> Result<PlanFile, Failure> {
    let text = outside::read_text(path, kinds::PLAN).map_err(|source| Failure::Usage {
        message: format!("--plan {}: {source}", path.display()),
        hint: Some("`s2lab plan` writes one".into()),
    })?;
    PlanFile::load(&text).map_err(|source| Failure::PlanFile { path: path.to_owned(), source })
}

/// Returns the cells of a plan file, and the plan, if this checkout makes the same one. `brought` is the
/// QEMU of this machine's run.
fn of_file(lab: &Lab, path: &Path, brought: &QemuArguments) -> Result<(CellPlan, PlanFile), Failure> {
    let whole = read(path)?;
    if brought.has_words() {
        return Err(Failure::Usage {
            message: "--qemu: the plan has the QEMUs of its cells".into(),
            hint: Some("give it to `s2lab plan`".into()),
        });
    }
    brought.check()?;
    let words = ["plan".to_owned()].into_iter().chain(whole.selection.iter().cloned());
    let Selection { cells, kernels, qemu } =
        Selection::try_parse_from(words).map_err(|error| Failure::Usage {
            message: format!("{}: its arguments are not understood: {error}", path.display()),
            hint: Some("another s2lab made the plan".into()),
        })?;
    if brought.file().is_some() && qemu.has_words() {
        return Err(Failure::Usage {
            message: format!("{}: its cells have QEMUs of their own", path.display()),
            hint: Some("leave out --qemu".into()),
        });
    }
    let planned = planned(lab, &cells, &kernels, &qemu)?;
    let here = plan_file(lab, &planned, whole.selection.clone(), &BTreeMap::new())?;
    match whole.differs_from(&here) {
        None => Ok((planned, whole)),
        Some(source) => Err(Failure::OtherCheckout { path: path.to_owned(), source }),
    }
}
