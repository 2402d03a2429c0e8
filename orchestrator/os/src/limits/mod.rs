//! What the machine gives to one process or one user, and what may be done about a limit that is reached.

pub mod memory;

use rustix::io::Errno;
use std::io;

/// What to do where no more threads or processes may be started.
const PROCESSES: &str = "a limit on processes or memory is reached: raise it (`ulimit -u`, `ulimit -v`, or `pids.max` of the control group), or end others";
/// What to do where no more files may be opened.
const FILES: &str = "a limit on open files is reached: raise it (`ulimit -n`)";
/// What to do where there is no memory.
const MEMORY: &str =
    "a limit on memory is reached: raise it (`ulimit -v`, or `memory.max` of the control group)";

/// What may be done about the error, if a limit has caused it.
pub fn hint(error: &io::Error) -> Option<&'static str> {
    match Errno::from_io_error(error)? {
        Errno::AGAIN => Some(PROCESSES),
        Errno::MFILE | Errno::NFILE => Some(FILES),
        Errno::NOMEM => Some(MEMORY),
        _ => None,
    }
}
