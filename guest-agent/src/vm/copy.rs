//! A copy of this process by fork(2), as a VMM makes one for a snapshot. From then on private memory is shared
//! until one of both writes to it, and the kernel copies the page for the writer (copy on write).

use crate::fault;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::{read, write};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, set_parent_process_death_signal};
use s2lab_protocol::Failure;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// The longest time of a fork. It copies the page tables of this process.
const DUE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
/// The copy does nothing. It ends with this process.
const NAP: Duration = Duration::from_secs(3600);

/// Makes a copy, which lives as long as this process. It reads a byte of each of `bars` first, so that the BARs have
/// mappings in two processes.
pub(super) fn make(bars: Vec<u64>) -> Result<(), Failure> {
    let failed = |why: &dyn std::fmt::Display| fault::system("copy", "the VMM by fork", why);
    let (made, making) = pipe_with(PipeFlags::CLOEXEC).map_err(|why| failed(&why))?;
    // The standard library forks to start a program. The copy stays before that, so `spawn` returns only if
    // there is no copy, and closes its end of the pipe then.
    let mut program = Command::new("/");
    // SAFETY: the copy has one thread, and makes system calls alone.
    unsafe { program.pre_exec(move || wait(&making, &bars)) };
    let forked = std::thread::Builder::new().spawn(move || drop(program.spawn()));
    forked.map_err(|why| failed(&why))?;
    let mut there = [PollFd::new(&made, PollFlags::IN)];
    let ready = poll(&mut there, Some(&DUE)).map_err(|why| failed(&why))?;
    match ready > 0 && read(&made, &mut [0; 1]).map_err(|why| failed(&why))? == 1 {
        true => Ok(()),
        false => Err(failed(&"there is no copy")),
    }
}

/// Waits in the copy.
fn wait(making: &OwnedFd, bars: &[u64]) -> std::io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    for bar in bars {
        let first: *const u8 = std::ptr::with_exposed_provenance(*bar as usize);
        // SAFETY: a BAR stays mapped. If its memory space is off, the copy ends here, and none is there.
        unsafe { first.read_volatile() };
    }
    write(making, &[1])?;
    loop {
        std::thread::sleep(NAP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_lives_beside_this_process() {
        let children = || {
            let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
            let of = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("children"));
            threads
                .filter_map(|thread| of(thread).ok())
                .flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
                .collect::<std::collections::BTreeSet<_>>()
        };
        let before = children();
        let bar = Box::new(7u8);
        make(vec![std::ptr::from_ref(&*bar).expose_provenance() as u64]).unwrap();
        let programs = std::env::current_exe().unwrap();
        // Other tests start programs meanwhile; a copy runs this one.
        let is_copy = |child: &&String| {
            std::fs::read_link(format!("/proc/{child}/exe")).is_ok_and(|exe| exe == programs)
        };
        assert!(children().difference(&before).any(|child| is_copy(&child)));
    }
}
