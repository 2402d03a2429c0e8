//! A QEMU with everything attached to it, stopped before its first instruction.

use super::{
    argv::{BarMemory, Begin, Channels, HostMachine, PciDevice, PluginFile, RAM_START},
    cpu::CpuError,
    gdb::{Gdb, GdbError},
    look,
    memory::{HostRam, SharedMemory},
    plugin::{Answers, Taken},
    process::Launcher,
    qmp::{Qmp, QmpError},
    saved::{self, SaveError},
    trace::TlbiTrace,
    watched::Watched,
};
use crate::host::{
    deadlines::{Deadline, Deadlines},
    ending::{Ended, Ending},
};
use rustix::fd::{AsRawFd, OwnedFd};
use s2lab_cache::{Plugin, Qemu};
use s2lab_model::{event::StopCause, scenario};
use s2lab_os::{
    outside::{self, kinds},
    waits::timeout,
};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::net::{UnixListener, UnixStream};

/// QEMU's own messages, in the cell's folder.
const LOG: &str = "qemu.log";
/// QEMU's command line, one argument a line.
const ARGUMENTS: &str = "qemu.args";

/// Why there is no host.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Cpu(#[from] CpuError),
    #[error("cannot write in {folder}: {source}")]
    Unwritable { folder: PathBuf, source: io::Error },
    #[error("{what}{}{said}", if said.is_empty() { "" } else { "; it says: " })]
    Machine {
        what: MachineError,
        /// The content of QEMU's log.
        said: String,
    },
}

impl StartError {
    pub fn cause(&self) -> StopCause {
        match self {
            Self::Cpu(CpuError::Unknown { .. }) => StopCause::Scenario,
            Self::Cpu(_) | Self::Unwritable { .. } | Self::Machine { .. } => StopCause::Lab,
        }
    }

    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Cpu(CpuError::Unknown { name, known }) => {
                Some(s2lab_model::diagnostic::suggest(name, known.iter().map(String::as_str)))
            }
            _ => None,
        }
    }

    /// The error of a write, if that is what failed.
    pub fn unwritable(&self) -> Option<&io::Error> {
        match self {
            Self::Unwritable { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error("cannot start QEMU: {0}")]
    Start(#[source] io::Error),
    #[error("cannot make {what}: {source}")]
    Memory { what: String, source: io::Error },
    #[error(transparent)]
    Qmp(#[from] QmpError),
    #[error(transparent)]
    Gdb(#[from] GdbError),
    #[error(transparent)]
    Load(#[from] SaveError),
    #[error("{0} before it was attached to")]
    Ended(Ended),
    #[error("QEMU and its gdbstub did not come up in {0:?}")]
    Silent(Duration),
    #[error("{what}; and {left}")]
    Left { what: Box<MachineError>, left: io::Error },
}

/// All that a machine is made of.
pub struct Parts<'a> {
    pub qemu: &'a Qemu,
    pub host: &'a scenario::Host,
    pub beginning: Beginning<'a>,
    /// The folder for QEMU's command line and messages.
    pub folder: &'a Path,
    pub deadlines: Deadlines,
    /// The socket to which an operator's gdb connects, if there is to be one.
    pub gdb: Option<UnixListener>,
    /// QEMU's plugin, or the reason why there is none.
    pub plugin: Result<&'a Plugin, &'a str>,
    /// The answers of this QEMU.
    pub answers: Answers,
}

/// The way in which a machine begins.
pub enum Beginning<'a> {
    /// With the first instruction of a kernel.
    Boot { kernel: &'a Path, initramfs: OwnedFd, kernel_arguments: &'a str },
    /// With the state of a machine that was saved in this file.
    Saved(&'a Path),
}

/// The emulated host. Dropping it kills QEMU.
pub struct Host {
    process: Watched,
    /// QEMU's answers before it was made.
    pub(in crate::host) answers: Answers,
    pub(in crate::host) qmp: Qmp,
    pub(in crate::host) gdb: Gdb,
    /// The stream to the host's sshd; non-blocking.
    pub(in crate::host) ssh: std::os::unix::net::UnixStream,
    pub(in crate::host) ram: HostRam,
    pub(in crate::host) bars: BTreeMap<String, SharedMemory>,
    pub(in crate::host) drives: BTreeMap<String, SharedMemory>,
    /// The memory of QEMU's plugin, or the reason why there is none.
    pub(in crate::host) trace: Result<TlbiTrace, String>,
}

/// The streams of a host that somebody reads from its first byte on.
pub struct Streams {
    pub console: UnixStream,
    pub agent: UnixStream,
}

impl Host {
    /// Starts QEMU and attaches to it.
    pub(in crate::host) async fn prepare(
        launcher: &Launcher,
        parts: Parts<'_>,
    ) -> Result<(Self, Streams), StartError> {
        let folder = parts.folder;
        let unwritable = |source| StartError::Unwritable { folder: folder.into(), source };
        let log = File::create(folder.join(LOG)).map_err(unwritable)?;
        let (host, streams, arguments) = start(launcher, parts, log).await.map_err(|what| {
            let said = outside::read_text(&folder.join(LOG), kinds::PROGRAM_LOG).unwrap_or_default();
            StartError::Machine { what, said: said.trim_end().into() }
        })?;
        std::fs::write(folder.join(ARGUMENTS), arguments.join("\n")).map_err(unwritable)?;
        Ok((host, streams))
    }

    pub(in crate::host) fn ending(&self) -> &Ending {
        &self.process.ending
    }

    pub(in crate::host) async fn kill(self) -> io::Result<()> {
        self.process.kill().await
    }
}

/// QEMU's number of a descriptor that it inherits, and our end.
type Shared<T> = (i32, T);

/// Everything that the machine is attached to, before it starts. All channels are socket pairs and
/// all memory is in memfds: nothing has a name in the file system, nothing is waited for, nothing
/// is left behind.
struct Attachments<'a> {
    qmp: Shared<UnixStream>,
    gdb: Shared<UnixStream>,
    console: Shared<UnixStream>,
    agent: Shared<UnixStream>,
    ssh: Shared<std::os::unix::net::UnixStream>,
    ram: Shared<SharedMemory>,
    bars: BTreeMap<String, Shared<SharedMemory>>,
    drives: BTreeMap<String, Shared<SharedMemory>>,
    /// The plugin that QEMU takes, with the memory that it shares, or the reason why there is none.
    plugin: Result<(Taken<'a>, Shared<TlbiTrace>), String>,
}

impl<'a> Attachments<'a> {
    /// Makes them. QEMU's ends go into `inherit`.
    fn make(
        host: &scenario::Host,
        plugin: Result<Taken<'a>, String>,
        inherit: &mut Vec<OwnedFd>,
    ) -> Result<Self, MachineError> {
        let (bars, drives) = (host.devices.iter(), host.devices.iter());
        let bars = bars.filter_map(|(name, device)| Some((name, device.bar?)));
        let drives = drives.filter_map(|(name, device)| Some((name, device.drive?)));
        Ok(Self {
            qmp: channel(inherit)?,
            gdb: channel(inherit)?,
            console: channel(inherit)?,
            agent: channel(inherit)?,
            ssh: pair(inherit)?,
            ram: share(inherit, "ram", host.memory.0)?,
            bars: bars
                .map(|(name, bar)| Ok((name.clone(), share(inherit, name, bar.0)?)))
                .collect::<Result<_, MachineError>>()?,
            drives: drives
                .map(|(name, drive)| Ok((name.clone(), share(inherit, name, drive.0)?)))
                .collect::<Result<_, MachineError>>()?,
            plugin: match plugin {
                Ok(plugin) => Ok((plugin, trace(inherit, host.counts())?)),
                Err(why) => Err(why),
            },
        })
    }

    fn pci<'d>(&self, name: &'d str, device: &scenario::Device) -> PciDevice<'d> {
        let bar = self.bars.get(name).map(|(fd, memory)| BarMemory { fd: *fd, size: memory.size() });
        let drive = self.drives.get(name).map(|(fd, _)| *fd);
        let scenario::Device { model, hotplug, .. } = *device;
        PciDevice { name, model, hotplug, bar, drive }
    }

    /// Returns QEMU's command line.
    fn arguments(&self, parts: &Parts<'_>) -> Vec<String> {
        let devices = parts.host.devices.iter();
        let devices: Vec<_> = devices.map(|(name, device)| self.pci(name, device)).collect();
        let Self { qmp, gdb, console, agent, ssh, ram, plugin, .. } = self;
        let plugin = plugin.as_ref().ok();
        HostMachine {
            cpu: &parts.answers.cpu,
            gic: parts.host.gic,
            mte: parts.host.mte,
            ram_size: ram.1.size(),
            ram: ram.0,
            channels: Channels { qmp: qmp.0, gdb: gdb.0, console: console.0, agent: agent.0, ssh: ssh.0 },
            begin: match &parts.beginning {
                Beginning::Boot { kernel, initramfs, kernel_arguments } => {
                    Begin::Boot { kernel, initramfs: initramfs.as_raw_fd(), kernel_arguments }
                }
                Beginning::Saved(_) => Begin::Saved,
            },
            devices: &devices,
            plugin: plugin.map(|(taken, (trace, _))| PluginFile { file: taken.file, trace: *trace }),
        }
        .arguments()
    }
}

/// Starts QEMU with its attachments. Also returns its command line.
async fn start(
    launcher: &Launcher,
    parts: Parts<'_>,
    log: File,
) -> Result<(Host, Streams, Vec<String>), MachineError> {
    let mut inherit = vec![];
    let made = Attachments::make(parts.host, parts.answers.plugin(parts.plugin), &mut inherit)?;
    let arguments = made.arguments(&parts);
    let state = match parts.beginning {
        Beginning::Boot { initramfs, .. } => {
            inherit.push(initramfs);
            None
        }
        Beginning::Saved(state) => Some(state),
    };
    let mut command = parts.qemu.command();
    if let Ok((plugin, _)) = &made.plugin {
        plugin.declare(&mut command);
    }
    let output = log.try_clone().map_err(MachineError::Start)?;
    command.args(&arguments).stdin(Stdio::null()).stdout(output).stderr(log);
    let process = launcher.launch(command, inherit).await.map_err(MachineError::Start)?;
    let process = Watched::new(process, parts.deadlines.of(Deadline::Rest));
    let streams = (made.qmp.1, made.gdb.1);
    let (process, qmp, gdb) = attach(process, streams, state, parts.deadlines).await?;
    let gdb = match parts.gdb {
        Some(listener) => gdb.shared(listener),
        None => gdb,
    };
    let ram = HostRam { memory: made.ram.1, start: RAM_START };
    let ours = |of: BTreeMap<String, Shared<SharedMemory>>| {
        of.into_iter().map(|(name, (_, memory))| (name, memory)).collect()
    };
    let (bars, drives) = (ours(made.bars), ours(made.drives));
    let streams = Streams { console: made.console.1, agent: made.agent.1 };
    let (answers, trace) = (parts.answers, made.plugin.map(|(_, (_, trace))| trace));
    Ok((Host { process, answers, qmp, gdb, ssh: made.ssh.1, ram, bars, drives, trace }, streams, arguments))
}

/// Connects to QMP and to the gdbstub of a QEMU that has started, and has it read the `state` of a saved
/// machine. One that cannot be attached to is killed.
async fn attach(
    process: Watched,
    (qmp, gdb): (UnixStream, UnixStream),
    state: Option<&Path>,
    deadlines: Deadlines,
) -> Result<(Watched, Qmp, Gdb), MachineError> {
    let ending = &process.ending;
    let both = async {
        let mut qmp = Qmp::connect(qmp, deadlines.of(Deadline::Qmp), ending.clone()).await?;
        let gdb = Gdb::connect(gdb, deadlines.of(Deadline::Gdb), ending.clone()).await?;
        gdb.offers(look::registers())?;
        if let Some(state) = state {
            saved::load(&mut qmp, state, deadlines.of(Deadline::Save)).await?;
        }
        Ok((qmp, gdb))
    };
    let whole = deadlines.of(Deadline::Attach);
    let attached = tokio::select! {
        biased;
        attached = timeout(whole, both) => attached.map_err(|_| MachineError::Silent(whole)).flatten(),
        // A child of QEMU's own may keep its channels open.
        ended = ending.ended() => Err(MachineError::Ended(ended)),
    };
    let what = match attached {
        Ok((qmp, gdb)) => return Ok((process, qmp, gdb)),
        Err(what) => ending.now().map_or(what, MachineError::Ended),
    };
    Err(match process.kill().await {
        Ok(()) => what,
        Err(left) => MachineError::Left { what: Box::new(what), left },
    })
}

/// Makes a socket pair. QEMU's end goes into `inherit`; its number and our end are returned.
fn channel(inherit: &mut Vec<OwnedFd>) -> Result<Shared<UnixStream>, MachineError> {
    let (number, ours) = pair(inherit)?;
    Ok((number, UnixStream::from_std(ours).map_err(MachineError::Start)?))
}

fn pair(inherit: &mut Vec<OwnedFd>) -> Result<Shared<std::os::unix::net::UnixStream>, MachineError> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(MachineError::Start)?;
    ours.set_nonblocking(true).map_err(MachineError::Start)?;
    let theirs = OwnedFd::from(theirs);
    let number = theirs.as_raw_fd();
    inherit.push(theirs);
    Ok((number, ours))
}

/// Makes the memory of the plugin.
fn trace(inherit: &mut Vec<OwnedFd>, counting: bool) -> Result<Shared<TlbiTrace>, MachineError> {
    let mut make = || {
        let trace = TlbiTrace::new(counting)?;
        Ok((inherited(inherit, trace.memory())?, trace))
    };
    make().map_err(|source| MachineError::Memory { what: "the plugin's memory".into(), source })
}

/// Makes shared memory.
fn share(inherit: &mut Vec<OwnedFd>, name: &str, size: u64) -> Result<Shared<SharedMemory>, MachineError> {
    let mut make = || {
        let memory = SharedMemory::new(name, size)?;
        Ok((inherited(inherit, &memory)?, memory))
    };
    make().map_err(|source| MachineError::Memory { what: format!("{size} bytes for `{name}`"), source })
}

/// Puts a descriptor of the memory for QEMU into `inherit`, and returns its number.
fn inherited(inherit: &mut Vec<OwnedFd>, memory: &SharedMemory) -> io::Result<i32> {
    let fd = memory.fd().try_clone_to_owned()?;
    let number = fd.as_raw_fd();
    inherit.push(fd);
    Ok(number)
}
