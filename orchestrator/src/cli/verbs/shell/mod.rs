//! `s2lab shell`: a cell's host with its guests, and a shell in it, or a command.

mod copies;
mod guests;

use crate::cli::{
    context::Context,
    exit,
    failure::Failure,
    render::complain,
    shared::cells::{CellArguments, planned},
    shared::gather::{Provisions, Source},
    shared::kernels::KernelArguments,
    shared::parts::PartArguments,
    shared::set::SetArguments,
};
use crate::{
    host::ssh::{Exit, quoted},
    run::{
        Course,
        errand::{Errand, Task},
        folder::{self, RunFolder},
        log::EventLog,
        operator::{Operator, When},
        signals::Interruption,
    },
    runtime,
    show::{
        progress::{Display, Mode},
        tables,
    },
};
use clap::Args;
use s2lab_cache::CacheError;
use s2lab_model::{
    escape,
    event::{Attempts, CellEnd, Event, Line},
    verdict::Interrupt,
};
use s2lab_os::private;
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

/// The numbers of the signals that end programs (Linux, include/uapi/asm-generic/signal.h).
const SIGNALS: [(&str, u8); 8] =
    [("HUP", 1), ("INT", 2), ("QUIT", 3), ("ABRT", 6), ("KILL", 9), ("SEGV", 11), ("PIPE", 13), ("TERM", 15)];

/// The command of such a shell that no other shell has.
pub(crate) const LOOK: &str =
    "In the shell, `look [GUEST]` prints the page tables of a guest, or of all guests, as they are now.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A scenario, a key SCENARIO@KERNEL, or a scenario file; it must come to one cell
    #[arg(value_name = "KEY|FILE", required = true)]
    what: String,
    #[command(flatten)]
    set: SetArguments,
    #[command(flatten)]
    kernels: KernelArguments,
    /// Copy this file into the host first, to its name in the home folder or to PATH; repeatable
    #[arg(long, value_name = "FILE[:PATH]")]
    copy: Vec<String>,
    /// Let gdb attach to the host before its first instruction; no deadlines
    #[arg(long)]
    gdb: bool,
    /// Go on with a saved host whose guests are up, in place of a boot; boot and save if there is none
    #[arg(long, conflicts_with = "gdb")]
    resume: bool,
    #[command(flatten)]
    parts: PartArguments,
    /// Do not touch the network: what is not in the cache is an error
    #[arg(long)]
    offline: bool,
    /// Run this command in the host, in place of a shell; its exit code is s2lab's
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// Run the copied program in this guest, not in the host
    #[arg(long, value_name = "GUEST")]
    guest: Option<String>,
}

impl Arguments {
    /// Returns the files, which are read, and the command with each word as it was given.
    fn errand(&self) -> Result<Errand, Failure> {
        let files: Vec<_> =
            self.copy.iter().map(|argument| copies::read(argument)).collect::<Result<_, _>>()?;
        let task = match (&self.guest, &*self.command) {
            (Some(guest), command) => guests::task(guest, &files, command)?,
            (None, []) => Task::Shell,
            (None, words) => {
                Task::Command(words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "))
            }
        };
        Ok(Errand { files, task })
    }
}

pub(crate) fn shell(context: &Context, arguments: Arguments) -> Result<u8, Failure> {
    let lab = context.lab()?;
    let errand = arguments.errand()?;
    let (what, set) = (vec![arguments.what.clone()], arguments.set.clone());
    let cells = CellArguments { what, set, ..CellArguments::default() };
    let mut planned = planned(&lab, &cells, &arguments.kernels, &arguments.parts.qemu)?;
    let cell = planned.only_cell("a shell is in one")?.clone();
    if let Some(guest) = &arguments.guest {
        guests::check(guest, &cell)?;
    }
    arguments.parts.check(&context.places()?)?;
    planned.check_given(context, &lab, arguments.offline)?;
    let code = runtime::block_on(async {
        let interruption = Interruption::listen().map_err(Failure::io("cannot listen for signals"))?;
        let interrupted =
            || interruption.signal().map_or(exit::LAB, |signal| Interrupt::of_signal(signal).exit());
        let mode = if context.common.quiet { Mode::Quiet } else { Mode::Lines };
        let display = Arc::new(Display::new(mode, interruption.clone()));
        let places = context.places()?;
        let parts = arguments.parts.parts();
        let offline = arguments.offline;
        let source =
            Source { places: &places, lab: &lab, parts, offline, quick_guests: false, counts: false };
        let gathered = match Provisions::new(&planned, source, &display).await {
            Err(Failure::Cache(CacheError::Cancelled)) => return Ok(interrupted()),
            gathered => gathered?,
        };
        // It is not a run: nothing is judged, `report` must not find it, and it stays only if it
        // has something to read.
        let shells = places.state.join("shells");
        let unusable = |source| Failure::Io { what: format!("cannot write in {}", shells.display()), source };
        let place = private::make(&shells).and_then(|()| new_place(&shells)).map_err(unusable)?;
        let folder = RunFolder::create(&places.state, Some(&place), folder::now()).map_err(unusable)?;
        let stopped = Arc::new(OnceLock::new());
        let (log, writer) = log(&folder, Arc::clone(&stopped), mode == Mode::Quiet).map_err(unusable)?;
        let operator = Arc::new(Operator::new(Some(When::Instead(errand)), arguments.gdb, tables::now));
        let saved = gathered.saved(arguments.resume);
        let mut run = gathered.run(folder.clone(), log, interruption.clone(), Some(Arc::clone(&operator)));
        run.saved = saved;
        let logs = folder.cell_path(&cell.key);
        let course =
            Course { jobs: 1, attempts: Attempts::Once, fail_fast: false, isolate: true, compare: None };
        run.carry_out(vec![cell.clone()], course, None, |_| ()).await.map_err(Failure::io("the cell"))?;
        writer.finish().await.map_err(Failure::io("cannot write the event log"))?;
        if let Some(what) = stopped.get() {
            complain(&format!("{}; see {}", escape::line(what), logs.display()));
        } else if let Err(error) = std::fs::remove_dir_all(&place) {
            complain(&format!("cannot remove {}: {error}", place.display()));
        }
        Ok(operator.exit().map_or_else(interrupted, code))
    });
    code?
}

/// Makes a new folder below `shells`, by the number of this process. An earlier shell of that
/// number may have left its logs.
fn new_place(shells: &Path) -> io::Result<PathBuf> {
    let own = std::process::id().to_string();
    let mut names = std::iter::once(own.clone()).chain((1..).map(|n: u32| format!("{own}-{n}")));
    loop {
        let Some(place) = names.next().map(|name| shells.join(name)) else {
            return Err(io::ErrorKind::AlreadyExists.into());
        };
        match private::make_new(&place) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| place),
        }
    }
}

/// Returns the event log, which prints the stages on stderr and keeps the reason why the cell
/// stopped.
fn log(
    folder: &RunFolder,
    stopped: Arc<OnceLock<String>>,
    quiet: bool,
) -> io::Result<(EventLog, crate::run::log::Writer)> {
    let observe = move |line: &Line, _: &str| match &line.event {
        Event::StageStarted { stage } if !quiet => complain(&stage.to_string()),
        Event::CellEnded { end: CellEnd::Stopped { what, .. } } => drop(stopped.set(what.clone())),
        _ => {}
    };
    Ok(EventLog::begin(folder.log()?, observe))
}

/// Returns the exit code after such a shell.
fn code(exit: &Exit) -> u8 {
    match exit {
        Exit::Code(code) => u8::try_from(*code).unwrap_or(u8::MAX),
        Exit::Signal(name) => {
            exit::SIGNALLED + SIGNALS.iter().find(|(known, _)| known == name).map_or(0, |(_, number)| *number)
        }
        Exit::Left => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_shell_has_left_stays() {
        let shells = tempfile::tempdir().unwrap();
        let first = new_place(shells.path()).unwrap();
        std::fs::write(first.join("log"), "kept").unwrap();
        assert_ne!(new_place(shells.path()).unwrap(), first);
        assert_eq!(std::fs::read_to_string(first.join("log")).unwrap(), "kept");
    }

    #[test]
    fn exit_codes_are_a_shells() {
        assert_eq!(code(&Exit::Code(7)), 7);
        assert_eq!(code(&Exit::Code(300)), 255);
        assert_eq!(code(&Exit::Signal("KILL".into())), 137);
        assert_eq!(code(&Exit::Signal("odd".into())), 128);
        assert_eq!(code(&Exit::Left), 0);
    }
}
