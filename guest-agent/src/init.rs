//! PID 1: file systems, modules, the port, and then the level's own work.

use crate::agent::{Agent, say_hello};
use crate::exit::{end, fatal};
use crate::link::{Credentials, Incoming, Link, LinkError};
use crate::parameters::{Parameters, ParametersError};
use crate::port::{Port, PortError};
use crate::root::Root;
use crate::{guest, host, host::memory::Asked, modules};
use rustix::mount::{MountFlags, mount};
use rustix::time::{ClockId, clock_gettime};
use s2lab_protocol::{AGENT_PORT, Level, Notice, Peer};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// The time between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The time from the moment at which a host goes on in another machine to its first heartbeat there. It ends
/// by a timer of the kernel, like the others: that makes the heartbeat a proof.
const FIRST: Duration = Duration::from_millis(5);

/// The reason why the agent cannot continue. The machine is then switched off.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("cannot mount {what} on {on}: {why}")]
    Mount { what: &'static str, on: &'static str, why: io::Error },
    #[error("cannot read /proc/cmdline: {0}")]
    CommandLine(io::Error),
    #[error("{0}")]
    Parameters(#[from] ParametersError),
    #[error("{0}")]
    Port(#[from] PortError),
    #[error("{0}")]
    Link(#[from] LinkError),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// Runs PID 1, and never returns to the kernel alive: the end of PID 1 is a kernel panic, which
/// would look like the kernel's fault.
pub(crate) fn run() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| fatal(panic)));
    match boot() {
        Ok(()) => end(0),
        Err(why) => fatal(why),
    }
}

/// Runs the agent as a process among others, with the folder `root` as its `/`. It uses `channel`,
/// mounts nothing, loads no module, and ends where PID 1 would switch the machine off.
/// `proc/cmdline` has its identity.
pub fn serve(root: &Path, channel: OwnedFd) -> ExitCode {
    let served = || {
        let root = Root::at(root);
        let command_line = root.read("proc/cmdline").map_err(InitError::CommandLine)?;
        let port = Port::on(channel)?;
        live(root, Parameters::parse(&command_line)?, Early::default(), port)
    };
    match served() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fatal(why),
    }
}

fn boot() -> Result<(), InitError> {
    mount_all()?;
    let root = Root::machine();
    let command_line = root.read("proc/cmdline").map_err(InitError::CommandLine)?;
    let parameters = Parameters::parse(&command_line)?;
    let failed_modules = modules::load_all(&root, &command_line);
    // Not meanwhile: Linux 6.1 crashes if it reads the flags of a page that it frees, as it does for a module
    // (mm/folio-compat.c, page_mapped; fs/proc/page.c, stable_page_flags).
    let memory = match parameters.level {
        Level::Host => Some(Asked::begin(&root).map_err(InitError::Thread)?),
        Level::Guest => None,
    };
    let port = Port::open(&root, AGENT_PORT)?;
    live(root, parameters, Early { failed_modules, memory }, port)
}

/// The work of PID 1 before the first frame.
#[derive(Debug, Default)]
struct Early {
    failed_modules: Vec<modules::ModuleError>,
    memory: Option<Asked>,
}

/// Runs from the first frame to the final record.
fn live(root: Root, parameters: Parameters, early: Early, port: Port) -> Result<(), InitError> {
    let Early { failed_modules, memory } = early;
    let Parameters { level, me, nonce } = parameters;
    let link = Arc::new(Link::new(me, nonce, port.clone()));
    say_hello(&root, &link, level, nonce)?;
    for failed in &failed_modules {
        link.log(failed.to_string())?;
    }
    let beating = Arc::clone(&link);
    std::thread::Builder::new().spawn(move || heartbeat(&beating)).map_err(InitError::Thread)?;
    let incoming = Incoming::new(port.clone(), Credentials { from: Peer::Lab, nonce });
    let agent = Agent { root, link, port, failed_modules };
    match level {
        Level::Host => host::serve(agent, incoming.relaying(), memory)?,
        Level::Guest => guest::serve(&agent.root, &agent.link, incoming)?,
    }
    Ok(())
}

/// Sends a heartbeat a second after the last one, and one soon after the link has begun anew.
pub(crate) fn heartbeat(link: &Link) {
    let mut pause = HEARTBEAT;
    loop {
        if link.begins_anew_within(pause) {
            pause = FIRST;
            continue;
        }
        pause = HEARTBEAT;
        let beat = || Notice::Heartbeat { uptime_ms: uptime_ms(), stored: guest::moved() };
        if let Err(why) = link.beat(beat) {
            fatal(why);
        }
    }
}

/// Returns the milliseconds since boot.
pub(crate) fn uptime_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) =
        (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    seconds * 1000 + nanos / 1_000_000
}

fn mount_all() -> Result<(), InitError> {
    const TREES: [(&str, &str); 7] = [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/run"),
        ("tmpfs", "/tmp"),
        ("debugfs", "/sys/kernel/debug"),
        ("tracefs", "/sys/kernel/tracing"),
    ];
    for (what, on) in TREES {
        // On a read-only or prepared tree the folder already exists; if not, mount fails.
        let _ = std::fs::create_dir_all(on);
        match mount(what, on, what, MountFlags::empty(), None) {
            Ok(()) | Err(rustix::io::Errno::BUSY) => {}
            // Diagnosis and the trace of faults use them, and a kernel may be built without them.
            Err(_) if matches!(what, "debugfs" | "tracefs") => {}
            Err(why) => return Err(InitError::Mount { what, on, why: why.into() }),
        }
    }
    Ok(())
}
