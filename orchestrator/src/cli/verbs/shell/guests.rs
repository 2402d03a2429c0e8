//! A program in a guest. A guest has no user land: its agent runs one static program.

use crate::cli::failure::Failure;
use crate::run::errand::{HostFile, Task};
use s2lab_model::{event::PlannedCell, program, scenario::Vmm};
use s2lab_protocol::ask::PutProgram;

/// The form of the arguments.
const FORM: &str =
    "a guest has no shell and no other program: --guest g0 --copy ./repro -- ./repro ARGUMENTS";

/// Returns the task of these arguments.
pub(super) fn task(guest: &str, files: &[HostFile], command: &[String]) -> Result<Task, Failure> {
    let refused = |message: String, hint: &str| Failure::Usage { message, hint: Some(hint.to_owned()) };
    let ([file], [program, args @ ..]) = (files, command) else {
        return Err(refused("--guest takes one --copy and its command".to_owned(), FORM));
    };
    if file.path.contains('/') {
        return Err(refused(format!("--copy {}: a guest has no folders for a path", file.path), FORM));
    }
    if program.strip_prefix("./").unwrap_or(program) != file.path {
        let message = format!("--guest: the command `{program}` is not the copied `{}`", file.path);
        return Err(refused(message, FORM));
    }
    program::check(&file.bytes)
        .map_err(|unfit| refused(format!("--copy {}: {unfit}", file.path), unfit.hint()))?;
    if file.bytes.len() as u64 > PutProgram::LARGEST {
        let message = format!("--copy {}: a guest takes {}M at most", file.path, PutProgram::LARGEST >> 20);
        return Err(refused(message, "remove its symbols with `aarch64-linux-gnu-strip`"));
    }
    Ok(Task::Guest { guest: guest.to_owned(), args: args.to_vec() })
}

/// Checks that the cell has the guest, and that it has an operating system.
pub(super) fn check(guest: &str, cell: &PlannedCell) -> Result<(), Failure> {
    let guests = &cell.resolved.guests;
    let usage = |message, hint| Err(Failure::Usage { message, hint: Some(hint) });
    match guests.get(guest).map(|guest| guest.vmm) {
        Some(Vmm::Qemu) => Ok(()),
        Some(Vmm::Builtin) => usage(
            format!("--guest {guest}: it has no operating system, which a program needs"),
            "a guest with `vmm: qemu` has one".to_owned(),
        ),
        None => {
            let known: Vec<_> = guests.keys().map(String::as_str).collect();
            usage(
                format!("--guest {guest}: {} has no guest of this name", cell.key),
                format!("it has {}", known.join(", ")),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_the_copied_program() {
        let file = |path: &str| HostFile { path: path.into(), bytes: b"#!/bin/sh".to_vec(), mode: 0o700 };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        for (files, command, says) in [
            (vec![], words(&["./x"]), "takes one --copy"),
            (vec![file("x")], vec![], "takes one --copy"),
            (vec![file("x"), file("y")], words(&["x"]), "takes one --copy"),
            (vec![file("x")], words(&["./y"]), "the command `./y` is not the copied `x`"),
            (vec![file("/tmp/x")], words(&["/tmp/x"]), "no folders"),
            (vec![file("x")], words(&["./x", "1"]), "it is a script"),
        ] {
            let Err(Failure::Usage { message, .. }) = task("g0", &files, &command) else { panic!("{says}") };
            assert!(message.contains(says), "{message}");
        }
    }
}
