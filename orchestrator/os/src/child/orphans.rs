//! The search for processes that the children have started, by a mark in their inherited
//! environment.

use crate::outside::{self, kinds};
use rustix::process::{Pid, PidfdFlags, Signal, getpgid, pidfd_open, pidfd_send_signal};
use std::{os::unix::fs::MetadataExt, path::Path};

/// The variable in the environment of every child: [`Owner`] and a number.
pub(super) const MARK: &str = "S2LAB_PROCESS";
/// The place of `starttime` in `/proc/PID/stat` (proc(5): 22) after the command's closing bracket,
/// from 0.
const START_TIME: usize = 19;

/// An s2lab in a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pid: u32,
    /// The start in clock ticks since boot, because ids are used again.
    started: u64,
    /// The PID namespace of the id, by its inode: containers share users, and may see each other in
    /// /proc.
    namespace: u64,
}

impl Owner {
    /// Returns this process. Without /proc it has zeroes, and nobody is found either.
    pub(super) fn this() -> Self {
        let pid = std::process::id();
        let namespace = std::fs::metadata("/proc/self/ns/pid").map(|ns| ns.ino()).unwrap_or_default();
        Self { pid, started: started(pid).unwrap_or_default(), namespace }
    }

    /// Returns the mark of its `number`-th child.
    pub(super) fn mark(self, number: u64) -> String {
        let Self { pid, started, namespace } = self;
        format!("{pid}-{started}-{namespace}-{number}")
    }

    /// Returns the owner in a mark.
    pub(super) fn of(mark: &str) -> Option<Self> {
        let mut parts = mark.split('-').map(|part| part.parse::<u64>().ok());
        let pid = u32::try_from(parts.next()??).ok()?;
        Some(Self { pid, started: parts.next()??, namespace: parts.next()?? })
    }

    /// Returns true if it has certainly ended, as far as `seer` can see.
    fn is_gone(self, seer: Self) -> bool {
        self.namespace == seer.namespace && started(self.pid) != Some(self.started)
    }
}

/// Kills every live process whose mark is `wanted`, and returns its id and its process group. A
/// process that has ended, or is another user's, shows no mark. Without /proc none does.
pub fn kill_if(wanted: impl Fn(&str) -> bool) -> Vec<(i32, Option<Pid>)> {
    let mut killed = vec![];
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = id.and_then(Pid::from_raw) else { continue };
        let is_wanted = || mark(pid).is_some_and(|mark| wanted(&mark));
        if !is_wanted() {
            continue;
        }
        let group = getpgid(Some(pid)).ok();
        // The process may end at any moment, and its number may be used again. Only the process
        // behind the descriptor is killed.
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        if is_wanted() && pidfd_send_signal(&pidfd, Signal::KILL).is_ok() {
            killed.push((pid.as_raw_nonzero().get(), group));
        }
    }
    killed
}

/// Kills the remaining children of every s2lab that has ended.
pub(super) fn kill() -> Vec<i32> {
    let this = Owner::this();
    let killed = kill_if(|mark| Owner::of(mark).is_some_and(|owner| owner.is_gone(this)));
    killed.into_iter().map(|(pid, _)| pid).collect()
}

/// Returns the start of a process in clock ticks since boot, or None if there is no such process.
fn started(pid: u32) -> Option<u64> {
    let stat = outside::read_text(Path::new(&format!("/proc/{pid}/stat")), kinds::SYSTEM).ok()?;
    // The command may contain anything, brackets and blanks too.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(START_TIME)?.parse().ok()
}

fn mark(pid: Pid) -> Option<String> {
    let environment =
        outside::read(Path::new(&format!("/proc/{}/environ", pid.as_raw_nonzero())), kinds::SYSTEM).ok()?;
    let mut variables = environment.split(|byte| *byte == 0);
    let value = variables.find_map(|v| v.strip_prefix(MARK.as_bytes())?.strip_prefix(b"="))?;
    String::from_utf8(value.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    fn marked(mark: &str) -> Child {
        Command::new("sleep").arg("60").env(MARK, mark).spawn().unwrap()
    }

    #[test]
    fn what_a_dead_lab_has_left_is_killed_and_nothing_else() {
        let this = Owner::this();
        let before = Owner { started: this.started - 1, ..this };
        let mut ours = marked(&this.mark(0));
        let mut earlier = marked(&before.mark(0));
        let mut elsewhere = marked(&Owner { namespace: 1, ..before }.mark(0));
        let mut nobodys = marked("nonsense");
        let killed = kill();
        // Another test may kill it first. In both cases it has ended.
        assert!(!earlier.wait().unwrap().success(), "{killed:?}");
        for alive in [&mut ours, &mut elsewhere, &mut nobodys] {
            assert_eq!(alive.try_wait().unwrap(), None);
            alive.kill().unwrap();
            alive.wait().unwrap();
        }
    }
}
