//! The end: PID 1 switches the machine off.

use rustix::system::{RebootCommand, reboot};

/// Says why on the kernel's console and switches the machine off.
pub(crate) fn fatal(why: impl std::fmt::Display) -> ! {
    let line = format!("s2lab-agent: {why}\n");
    // Level 2, critical: on the console whatever `quiet` and `loglevel` say. Without devtmpfs, stderr is the console.
    if !is_init() || std::fs::write("/dev/kmsg", format!("<2>{line}")).is_err() {
        eprint!("{line}");
    }
    end(1)
}

/// The machine is the agent's own. Any other it must neither write to the log of nor switch off.
pub(crate) fn is_init() -> bool {
    std::process::id() == 1
}

/// Switches the machine off; outside of one, ends the process with `code`.
pub(crate) fn end(code: i32) -> ! {
    if !is_init() {
        std::process::exit(code);
    }
    if let Err(why) = reboot(RebootCommand::PowerOff) {
        eprintln!("s2lab-agent: cannot power off: {why}");
    }
    // The kernel does not come back from a power-off that worked.
    loop {
        std::thread::park();
    }
}
