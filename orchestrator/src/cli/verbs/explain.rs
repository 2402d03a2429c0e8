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
    run::{guests, operator::CRASH_ENDS, session::kernel_arguments},
    show::answer::{self, Answer, Explained},
};
use clap::Args;
use s2lab_model::escape::plain;
use s2lab_model::{
    event::PlannedCell,
    judge::{Alternative, expected},
    plan::QemuChoice,
    scenario::{Guest, Host},
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
            say("# If no kernel runs this point, the values below are those of the file.")?;
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
        say(&format!("\n# QEMU of the host (L1), on this machine{}", qemu(cell)))?;
        say(
            "# What stands in <> is made when it starts. Where QEMU's CPU model can sign pointers by a fast hash, it does.",
        )?;
        say(&command(&host_command(&planned, cell)))?;
        for (name, guest) in &cell.resolved.guests {
            say(&match guest_command(name, guest, &cell.resolved.host)? {
                Some(words) => format!("\n# QEMU of the guest {name} (L2), in the host\n{}", command(&words)),
                None => format!("\n# {}", builtin(name)),
            })?;
        }
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
    let of_guest = |(name, guest): (&String, &Guest)| {
        Ok(answer::ExplainedGuest {
            name: name.clone(),
            qemu: guest_command(name, guest, &cell.resolved.host)?,
        })
    };
    Ok(Explained {
        key: cell.key.to_string(),
        about: cell.about.clone(),
        resolved: json(&cell.resolved).map_err(Failure::io("cannot write JSON"))?,
        kernel: kernel(planned, cell)?,
        alternatives: alternatives.map_err(Failure::io("cannot write JSON"))?,
        qemu: host_command(planned, cell),
        guests: cell.resolved.guests.iter().map(of_guest).collect::<Result<_, Failure>>()?,
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

/// Returns the choice of the cell's QEMU, in words.
fn qemu(cell: &PlannedCell) -> &'static str {
    match QemuChoice::of(&cell.key) {
        Some(QemuChoice::Newest) => ": the newest that the archive has",
        _ => "",
    }
}

/// The name of QEMU's program on this machine.
const QEMU: &str = "qemu-system-aarch64";

/// Returns the command line of the host's QEMU. That of the kernel in it ends with the kernel's own words.
fn host_command(planned: &CellPlan, cell: &PlannedCell) -> Vec<String> {
    let host = &cell.resolved.host;
    let chosen = planned.chosen.iter().find(|chosen| chosen.label == cell.kernel);
    let own = chosen.map_or(&[][..], |chosen| &chosen.arguments);
    let kernel = kernel_arguments("<nonce>", CRASH_ENDS, &[&host.arguments, own].concat());
    [vec![QEMU.to_owned()], host::arguments(host, &kernel)].concat()
}

/// Returns the command line of a guest's QEMU. Returns None for the built-in VMM.
fn guest_command(name: &str, guest: &Guest, host: &Host) -> Result<Option<Vec<String>>, Failure> {
    guests::command(name, guest, host).map_err(|why| Failure::Usage { message: why.to_string(), hint: None })
}

/// Returns a guest of the built-in VMM, in words.
fn builtin(name: &str) -> String {
    format!(
        "The guest {name} (L2) has no QEMU: its VMM is the host's agent, which starts its own program again in a process."
    )
}

/// Returns a command line as a shell takes it, an option a line.
fn command(words: &[String]) -> String {
    let (program, arguments) =
        words.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    let mut text = program.to_owned();
    for argument in arguments {
        text.push_str(if argument.starts_with('-') { " \\\n    " } else { " " });
        match argument.contains([' ', '<']) {
            true => text.push_str(&format!("'{argument}'")),
            false => text.push_str(argument),
        }
    }
    text
}
