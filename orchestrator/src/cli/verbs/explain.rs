//! `s2lab explain`: shows the parts of a cell, by the same functions that run and judge it.

use crate::cli::{
    context::Context,
    exit,
    failure::Failure,
    render::say,
    shared::answers::{AnswerArguments, answer},
    shared::cells::{CellArguments, CellPlan, planned},
    shared::kernels::KernelArguments,
    shared::qemu::QemuArguments,
    shared::set::SetArguments,
};
use crate::{
    host,
    run::{operator::CRASH_ENDS, session::kernel_arguments},
    show::answer::{self, Answer, Explained},
};
use clap::Args;
use s2lab_model::escape::plain;
use s2lab_model::{
    event::PlannedCell,
    judge::{Alternative, expected},
    plan::QemuChoice,
    scenario::Host,
};
use serde::Serialize;
use serde_yaml::{value::Serializer, with::singleton_map_recursive};
use std::io;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Scenarios, keys, globs of either, or scenario files
    #[arg(value_name = "KEY|GLOB|FILE", required = true)]
    what: Vec<String>,
    #[command(flatten)]
    set: SetArguments,
    #[command(flatten)]
    kernels: KernelArguments,
    #[command(flatten)]
    qemu: QemuArguments,
    #[command(flatten)]
    form: AnswerArguments,
}

pub(crate) fn explain(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let Arguments { what, set, .. } = arguments;
    let cells = CellArguments { what: what.clone(), set: set.clone(), ..CellArguments::default() };
    let planned = planned(&context.lab()?, &cells, &arguments.kernels, &arguments.qemu)?;
    if arguments.form.is_json() {
        let cells: Result<_, _> = planned.cells.iter().map(|cell| explained(&planned, cell)).collect();
        answer(&Answer::Explain { cells: cells? })?;
        return Ok(exit::FINE);
    }
    for (at, cell) in planned.cells.iter().enumerate() {
        let gap = if at > 0 { "\n" } else { "" };
        say(&format!("{gap}# {}", cell.key))?;
        if let Some(reason) = &cell.resolved.excluded {
            say(&format!("# Excluded, so it does not run: {}", plain(reason)))?;
            say("# The values below are those of the file.")?;
        }
        say(plain(&yaml(&cell.resolved.written(cell.key.scenario(), &cell.about))?).trim_end())?;
        say(&format!("\n# The kernel, {}", cell.kernel))?;
        say(&plain(&kernel(&planned, cell)?))?;
        let alternatives = expected(&cell.resolved);
        if alternatives.len() > 1 {
            say(
                "\n# Its traits are open: exactly one of these alternatives must be met as a whole, by all its cells.",
            )?;
        }
        for Alternative { label, expectations } in alternatives {
            let label = label.map(|label| format!(", as {label}")).unwrap_or_default();
            say(&format!("\n# Expected{label}"))?;
            say(plain(&yaml(&expectations)?).trim_end())?;
        }
        say(&format!("\n# {}", qemu(cell)))?;
        say(
            "# What stands in <> is made when it starts. Where QEMU's CPU model can sign pointers by a fast hash, it does.",
        )?;
        say(&command(&cell.resolved.host, own_arguments(&planned, cell)))?;
    }
    Ok(exit::FINE)
}

/// Returns the parts of a cell for programs.
fn explained(planned: &CellPlan, cell: &PlannedCell) -> Result<Explained, Failure> {
    let json = |value| serde_json::to_value(value).map_err(io::Error::other);
    let alternative = |Alternative { label, expectations }: Alternative| {
        let expectations = serde_json::to_value(expectations).map_err(io::Error::other)?;
        let expectations = expectations.as_array().cloned().unwrap_or_default();
        Ok(answer::Alternative { label, expectations })
    };
    let alternatives = expected(&cell.resolved).into_iter().map(alternative).collect::<io::Result<_>>();
    Ok(Explained {
        key: cell.key.to_string(),
        about: cell.about.clone(),
        resolved: json(&cell.resolved).map_err(Failure::io("cannot write JSON"))?,
        kernel: kernel(planned, cell)?,
        alternatives: alternatives.map_err(Failure::io("cannot write JSON"))?,
        qemu: std::iter::once(QEMU.to_owned())
            .chain(qemu_arguments(&cell.resolved.host, own_arguments(planned, cell)))
            .collect(),
    })
}

/// Returns the kernel's entry, or that it has none.
fn kernel(planned: &CellPlan, cell: &PlannedCell) -> Result<String, Failure> {
    if let Some(entry) = planned.kernels.entries.get(&cell.kernel) {
        return Ok(yaml(entry)?.trim_end().to_owned());
    }
    let chosen = planned.chosen.iter().find(|chosen| chosen.label == cell.kernel);
    let Some(chosen) = chosen else { return Ok(String::new()) };
    let patches = chosen.patches().iter().map(|patch| format!("\n#   patch: {}", patch.title));
    Ok(format!("# {}{}", chosen.about, patches.collect::<String>()))
}

/// YAML in the form of a scenario.
fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    let text =
        singleton_map_recursive::serialize(value, Serializer).and_then(|value| serde_yaml::to_string(&value));
    text.map_err(std::io::Error::other).map_err(Failure::io("cannot write YAML"))
}

/// Returns the QEMU of a cell, in words.
fn qemu(cell: &PlannedCell) -> &'static str {
    match QemuChoice::of(&cell.key) {
        Some(QemuChoice::Newest) => "The newest QEMU that the archive has",
        _ => "QEMU",
    }
}

/// The name of QEMU's program.
const QEMU: &str = "qemu-system-aarch64";

/// Returns the words that the kernel has for its command line.
fn own_arguments<'a>(planned: &'a CellPlan, cell: &PlannedCell) -> &'a [String] {
    let chosen = planned.chosen.iter().find(|chosen| chosen.label == cell.kernel);
    chosen.map_or(&[], |chosen| &chosen.arguments)
}

/// Returns QEMU's arguments. The kernel's command line ends with `own`.
fn qemu_arguments(host: &Host, own: &[String]) -> Vec<String> {
    let kernel = kernel_arguments("<nonce>", CRASH_ENDS, &[&host.arguments, own].concat());
    host::arguments(host, &kernel)
}

/// Returns QEMU's command line, an option a line.
fn command(host: &Host, own: &[String]) -> String {
    let mut text = QEMU.to_owned();
    for argument in qemu_arguments(host, own) {
        text.push_str(if argument.starts_with('-') { " \\\n    " } else { " " });
        match argument.contains([' ', '<']) {
            true => text.push_str(&format!("'{argument}'")),
            false => text.push_str(&argument),
        }
    }
    text
}
