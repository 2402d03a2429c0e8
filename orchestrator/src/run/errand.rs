//! The errand of a person at a host: files, and a command or a program.

use s2lab_protocol::ask::RunProgram;
use std::time::Duration;

/// The longest time of a program in a guest.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// The files and the command that a person has for a host.
#[derive(Debug, Default)]
pub struct Errand {
    /// They are copied before the shell opens.
    pub files: Vec<HostFile>,
    /// The task after that.
    pub task: Task,
}

/// The part of an errand that runs.
#[derive(Debug, Default)]
pub enum Task {
    /// A shell for the person.
    #[default]
    Shell,
    /// A command of the host's shell.
    Command(String),
    /// A program in a guest, which has nothing else: the one file of the errand.
    Guest { guest: String, args: Vec<String> },
}

/// A file on its way into a host.
#[derive(Debug)]
pub struct HostFile {
    /// The path in the host; relative to the home folder.
    pub path: String,
    pub bytes: Vec<u8>,
    /// The bits of its mode, without set-user-ID and the like.
    pub mode: u32,
}

impl Errand {
    /// Returns the guest, the file and the request of a program in a guest.
    pub(super) fn in_guest(&self) -> Option<(&str, &HostFile, RunProgram)> {
        let (Task::Guest { guest, args }, [file]) = (&self.task, &*self.files) else { return None };
        let timeout_ms = u64::try_from(LONGEST.as_millis()).unwrap_or(u64::MAX);
        Some((guest, file, RunProgram { name: file.path.clone(), args: args.clone(), timeout_ms }))
    }
}
