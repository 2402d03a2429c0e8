//! `s2lab nightly`: a run of everything that is compared with the nights before it.

mod arguments;
mod moving;

pub(crate) use arguments::Arguments;

use crate::cli::{
    context::Context,
    exit,
    failure::Failure,
    render::{all, complain, say},
    shared::{
        cells::{CellArguments, CellPlan, planned},
        kernels::KernelArguments,
        outputs::Outputs,
    },
    verbs::{
        cache::UNUSED,
        run::{Ended, Keep, carry_out},
    },
};
use crate::{
    lab::{Lab, Places},
    run::folder::{MORNING, PAGE},
    runtime,
    show::{morning, page},
};
use s2lab_cache::{Cache, Quiet};
use s2lab_model::{
    night::{Morning, Night},
    plan::controls,
};
use s2lab_os::whole;
use std::{path::Path, sync::Arc};

/// Every scenario on every kernel.
const EVERYTHING: &str = "*@*";

pub(crate) fn nightly(context: &Context, arguments: Arguments) -> Result<u8, Failure> {
    let outputs = arguments.output.of_nightly()?;
    let (lab, places) = (context.lab()?, context.places()?);
    let mut planned = plan(&lab, &arguments)?;
    if arguments.dry_run {
        planned.cells.iter().try_for_each(|cell| say(cell.key.as_str()))?;
        return Ok(exit::FINE);
    }
    let keep = Keep::of_environment()?;
    arguments.parts.check(&places)?;
    planned.check_given(context, &lab, arguments.offline)?;
    if !arguments.offline {
        runtime::block_on(moving::move_all(&places, &lab, &planned))??;
    }
    let mut ended = None;
    let keep_end = |end: Ended| ended = Some(end);
    let carried = runtime::block_on(carry_out(context, &lab, planned, arguments.run()?, keep, keep_end));
    let carried = carried.map_err(Failure::from).and_then(|carried| carried);
    // Whatever has ended the run, the morning says what is known.
    let Some(Ended { run, in_history }) = ended else { return carried };
    // The reason why a history cannot be opened is printed once.
    let past = arguments.history.nights_before(&places, &run, !in_history);
    let Some(morning) = Morning::of(run, &past) else { return carried };
    all([published(&morning, &outputs), pruned(&places)])?;
    carried.map(|_| morning.exit)
}

/// Returns the cells of the night, the negative controls among them.
fn plan(lab: &Lab, arguments: &Arguments) -> Result<CellPlan, Failure> {
    let mut cells = arguments.cells.clone();
    if cells.what.is_empty() {
        cells = CellArguments { what: vec![EVERYTHING.into()], ..cells };
    }
    let mut planned = planned(lab, &cells, &KernelArguments::default(), &arguments.parts.qemu)?;
    planned.cells.extend(controls(&planned.cells));
    for cell in &mut planned.cells {
        cell.repeat.extend(arguments.parts.words());
    }
    planned.night = Some(Night { date: arguments.date(), known: lab.known()?.known });
    Ok(planned)
}

/// Prints the summary, and writes it and the page into the run's folder.
fn published(morning: &Morning, outputs: &Outputs<'_, Morning>) -> Result<(), Failure> {
    let folder = &morning.run.folder;
    let write = |name: &str, text: String| {
        let written = whole::write_below(folder, Path::new(name), text.as_bytes());
        written.map_err(Failure::io(format!("cannot write {}", folder.join(name).display())))
    };
    all([
        outputs.print(morning),
        write(MORNING, morning::markdown(morning)),
        write(PAGE, page::run(&morning.run)),
    ])
}

/// Removes from the cache what no run has used for long: kernels that moved on leave their old
/// versions behind.
fn pruned(places: &Places) -> Result<(), Failure> {
    let removed = Cache::open(&places.cache, true, Arc::new(Quiet))?.collect(UNUSED, false)?;
    if !removed.items.is_empty() {
        complain(&format!("removed from the cache: {} objects that no run used", removed.items.len()));
    }
    Ok(())
}
