//! The end: PID 1 switches the machine off.

use rustix::system::{RebootCommand, reboot};

/// Prints the reason on the kernel's console and switches the machine off.
pub(crate) fn fatal(why: impl std::fmt::Display) -> ! {
    let line = format!("s2lab-agent: {why}\n");
    // Level 2, critical: it is on the console with any `quiet` and `loglevel`. Without devtmpfs,
    // stderr is the console.
    if !is_init() || std::fs::write("/dev/kmsg", format!("<2>{line}")).is_err() {
        eprint!("{line}");
    }
    end(1)
}

/// Returns true if the machine is the agent's own. It must neither write to another machine's log
/// nor switch it off.
pub(crate) fn is_init() -> bool {
    std::process::id() == 1
}

/// Switches the machine off. Outside of a machine, ends the process with `code`.
pub(crate) fn end(code: i32) -> ! {
    if !is_init() {
        std::process::exit(code);
    }
    if let Err(why) = reboot(RebootCommand::PowerOff) {
        eprintln!("s2lab-agent: cannot power off: {why}");
    }
    // The kernel does not return from a power-off that worked.
    loop {
        std::thread::park();
    }
}
