//! Limits of one process or one user, and hints for errors that they cause.

pub mod memory;

use rustix::io::Errno;
use std::io;

/// The hint if no more threads or processes may be started.
const PROCESSES: &str = "a limit on processes or memory is reached: raise it (`ulimit -u`, `ulimit -v`, or `pids.max` of the control group), or end others";
/// The hint if no more files may be opened.
const FILES: &str = "a limit on open files is reached: raise it (`ulimit -n`)";
/// The hint if there is no memory.
const MEMORY: &str =
    "a limit on memory is reached: raise it (`ulimit -v`, or `memory.max` of the control group)";

/// Returns a hint for the error, if a limit has caused it.
pub fn hint(error: &io::Error) -> Option<&'static str> {
    match Errno::from_io_error(error)? {
        Errno::AGAIN => Some(PROCESSES),
        Errno::MFILE | Errno::NFILE => Some(FILES),
        Errno::NOMEM => Some(MEMORY),
        _ => None,
    }
}
