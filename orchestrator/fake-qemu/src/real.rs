//! The real agent in the fake machine: a process beside it, with a folder for its `/` and the
//! machine's channel for its port.

use crate::{Error, machine::Machine};
use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::{Signal, set_parent_process_death_signal},
};
use std::{
    fs::File,
    io::{BufRead, BufReader},
    os::{
        fd::AsFd,
        unix::{
            net::UnixStream,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    sync::Arc,
    thread::JoinHandle,
};

/// The variable with the agent's `/`. A program with this variable is the agent: [`main`].
pub const AGENT: &str = "FAKE_QEMU_AGENT";

/// Runs the agent's process, which serves on its standard input, a socket.
pub fn main(root: &Path) -> ExitCode {
    match std::io::stdin().as_fd().try_clone_to_owned() {
        Ok(channel) => s2lab_agent::serve(root, channel),
        Err(why) => {
            eprintln!("fake-qemu: no channel for the agent: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the agent. It ends when the calling thread ends.
///
/// # Errors
/// If this very program cannot be started.
pub fn start(root: &Path, channel: UnixStream) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(AGENT, root).stdin(std::os::fd::OwnedFd::from(channel));
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    // SAFETY: prctl is async-signal-safe.
    unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?)) };
    command.spawn()
}

/// Copies the agent's lines to `/dev/kmsg`, the kernel's log, to the console. It ends when all
/// handles are dropped.
fn kernel_log(machine: &Arc<Machine>, root: &Path) -> std::io::Result<(File, JoinHandle<()>)> {
    let path = root.join("dev/kmsg");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    // A pipe opens for both without another process.
    let log = File::options().read(true).write(true).open(&path)?;
    let reader = File::open(&path)?;
    let machine = Arc::clone(machine);
    let printer = std::thread::Builder::new().spawn(move || {
        for line in BufReader::new(reader).lines().map_while(Result::ok) {
            // The level, `<N>`, is not printed.
            machine.log(line.split_once('>').map_or(line.as_str(), |(_, text)| text));
        }
    })?;
    Ok((log, printer))
}

/// Runs the host until its agent is gone. The agent's output goes to the console, and the end of
/// PID 1 is the kernel's panic.
pub(crate) fn live(machine: &Arc<Machine>, root: &Path, channel: UnixStream) -> Result<(), Error> {
    let failed = |what: &str| {
        let what = format!("the agent: {what}");
        move |why| Error::Io { what, why }
    };
    std::fs::create_dir_all(root.join("proc/sys/kernel"))
        .and_then(|()| std::fs::write(root.join("proc/sys/kernel/tainted"), "0\n"))
        .map_err(|why| Error::Io { what: "proc/sys/kernel/tainted".into(), why })?;
    std::fs::write(root.join("proc/cmdline"), &machine.options.kernel_arguments)
        .map_err(failed("cmdline"))?;
    let (log, printer) = kernel_log(machine, root).map_err(failed("dev/kmsg"))?;
    let mut child = start(root, channel).map_err(failed("start"))?;
    for line in
        child.stderr.take().map(BufReader::new).into_iter().flat_map(BufRead::lines).map_while(Result::ok)
    {
        machine.print(format!("[    5.000000] {line}\r\n").as_bytes());
    }
    let status = child.wait().map_err(failed("wait"))?;
    drop(log);
    if printer.join().is_err() {
        eprintln!("fake-qemu: the kernel's log panicked");
    }
    machine.print(match status.signal() {
        None => b"[   20.000000] reboot: Power down\r\n".as_slice(),
        // Linux kernel/exit.c, do_exit.
        Some(_) => {
            b"[    5.000000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000009\r\n"
        }
    });
    std::process::exit(0)
}
