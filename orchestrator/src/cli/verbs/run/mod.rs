//! `s2lab run`.

mod arguments;
mod carry_out;
mod failed;
mod keep;

pub(crate) use arguments::{Arguments, MOST_ATTEMPTS};
pub(crate) use carry_out::{Ended, carry_out};
pub(crate) use keep::Keep;

use crate::cli::{
    context::Context, exit, failure::Failure, render::complain, render::say, shared::answers::answer,
};
use crate::{
    runtime,
    show::{
        Format,
        answer::{Answer, Cell},
    },
};
use s2lab_model::verdict::{BISECT_SKIP, BISECT_STOP, NOTHING_TESTED, bisect_exit};

pub(crate) fn run(context: &Context, mut arguments: Arguments) -> Result<u8, Failure> {
    let bisect = arguments.bisect;
    // Under `git bisect run`, wrong arguments are wrong for all commits.
    let coded = |exit: u8| {
        move |failure| match bisect {
            true => Failure::Coded { failure: Box::new(failure), exit },
            false => failure,
        }
    };
    if arguments.failed && arguments.parts.qemu.has_words() {
        return Err(Failure::Usage {
            message: "--qemu: the cells of --failed have their QEMUs in their keys".into(),
            hint: Some("run cells by their keys".into()),
        });
    }
    let lab = context.lab().map_err(coded(BISECT_STOP))?;
    let mut planned = match arguments.failed {
        true => match failed::cells(context, &lab)? {
            Some((planned, parts)) => {
                arguments.parts = arguments.parts.or(parts);
                planned
            }
            None => {
                complain("nothing was tested: every cell of the latest run passed or was skipped");
                return Ok(NOTHING_TESTED);
            }
        },
        false => {
            let Arguments { shard, kernels, parts, .. } = &arguments;
            let planned = shard.planned(&lab, &arguments.cells(), kernels, &parts.qemu);
            planned.map_err(coded(BISECT_STOP))?
        }
    };
    if let Some(shard) = planned.shard.as_ref().filter(|_| planned.cells.is_empty()) {
        complain(&format!("shard {} has no cell: there are fewer groups than shards", shard.number));
        return Ok(exit::FINE);
    }
    if arguments.gdb {
        planned.only_cell("--gdb is for one").map_err(coded(BISECT_STOP))?;
    }
    if arguments.dry_run {
        if arguments.output.format() == Format::Json {
            answer(&Answer::RunDryRun { cells: planned.cells.iter().map(Cell::from).collect() })?;
            return Ok(exit::FINE);
        }
        for cell in &planned.cells {
            say(cell.key.as_str())?;
        }
        return Ok(exit::FINE);
    }
    let keep = Keep::of_environment().map_err(coded(BISECT_STOP))?;
    arguments.parts.check(&context.places()?).map_err(coded(BISECT_STOP))?;
    planned.check_given(context, &lab, arguments.offline).map_err(coded(BISECT_STOP))?;
    for cell in &mut planned.cells {
        cell.repeat.extend(arguments.parts.words());
    }
    arguments.choose_seed()?;
    let carried = runtime::block_on(carry_out(context, &lab, planned, arguments, keep, |_| ()));
    let carried = carried.map_err(Failure::from).and_then(|carried| carried);
    let exit = carried.map_err(coded(BISECT_SKIP))?;
    Ok(if bisect { bisect_exit(exit) } else { exit })
}
