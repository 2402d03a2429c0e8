//! A running QEMU with everything attached to it, stopped before its first instruction.

use super::{
    argv::{Channels, HostMachine, PciDevice, RAM_START},
    gdb::{Gdb, GdbError},
    memory::{HostRam, SharedMemory},
    process::{Launcher, Process},
    qmp::{Qmp, QmpError},
};
use crate::{
    host::deadlines::{Deadline, Deadlines},
    waits::timeout,
};
use rustix::fd::{AsRawFd, OwnedFd};
use s2lab_model::scenario::{self, DeviceModel};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::net::{UnixListener, UnixStream};

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
    #[error("QEMU ended ({0}) before it was attached to")]
    Ended(ExitStatus),
    #[error("QEMU cannot be waited for")]
    Gone,
    #[error("QEMU and its gdbstub did not come up in {0:?}")]
    Silent(Duration),
    #[error("{what}; and {left}")]
    Left { what: Box<MachineError>, left: io::Error },
}

/// What the machine is made of, beside the files.
pub struct Parts<'a> {
    /// The program with its environment, no arguments yet.
    pub qemu: std::process::Command,
    /// QEMU's `-cpu` argument.
    pub cpu: &'a str,
    pub host: &'a scenario::Host,
    pub kernel: &'a Path,
    pub initramfs: OwnedFd,
    pub kernel_arguments: &'a str,
    /// Where QEMU's own messages go.
    pub log: File,
    pub deadlines: Deadlines,
    /// Where a person's gdb comes to, if it may.
    pub gdb: Option<UnixListener>,
}

/// The emulated host, powered but not running.
pub struct Machine {
    pub process: Process,
    pub qmp: Qmp,
    pub gdb: Gdb,
    pub console: UnixStream,
    pub agent: UnixStream,
    /// To the host's sshd; non-blocking.
    pub ssh: std::os::unix::net::UnixStream,
    pub ram: HostRam,
    pub bars: BTreeMap<String, SharedMemory>,
    pub arguments: Vec<String>,
}

impl Machine {
    /// Starts QEMU and attaches to it. All channels are socket pairs and all memory is in memfds, made before QEMU starts:
    /// nothing has a name in the file system, nothing is waited for, nothing is left behind.
    pub async fn start(launcher: &Launcher, parts: Parts<'_>) -> Result<Self, MachineError> {
        let mut inherit = vec![];
        let qmp = channel(&mut inherit)?;
        let gdb = channel(&mut inherit)?;
        let console = channel(&mut inherit)?;
        let agent = channel(&mut inherit)?;
        let ssh = pair(&mut inherit)?;
        let ram = share(&mut inherit, "ram", parts.host.memory.0)?;
        let mut bars = BTreeMap::new();
        for (name, device) in &parts.host.devices {
            bars.insert(name.clone(), share(&mut inherit, name, device.bar.0)?);
        }
        let devices: Vec<_> = parts
            .host
            .devices
            .iter()
            .zip(bars.values())
            .map(|((name, device), bar)| pci(name, device.model, bar))
            .collect();
        let arguments = HostMachine {
            cpu: parts.cpu,
            ram_size: ram.1.size(),
            ram: ram.0,
            channels: Channels { qmp: qmp.0, gdb: gdb.0, console: console.0, agent: agent.0, ssh: ssh.0 },
            kernel: parts.kernel,
            initramfs: parts.initramfs.as_raw_fd(),
            kernel_arguments: parts.kernel_arguments,
            devices: &devices,
        }
        .arguments();
        inherit.push(parts.initramfs);
        let mut command = parts.qemu;
        let log = parts.log.try_clone().map_err(MachineError::Start)?;
        command.args(&arguments).stdin(Stdio::null()).stdout(log).stderr(parts.log);
        let mut process = launcher.launch(command, inherit).await.map_err(MachineError::Start)?;
        let attached = tokio::select! {
            biased;
            attached = attach(qmp.1, gdb.1, parts.deadlines) => attached,
            // A child of its own may keep its channels open.
            _ = process.wait() => Err(MachineError::Gone),
        };
        let (qmp, gdb) = match attached {
            Ok(attached) => attached,
            Err(what) => {
                let ended = process.last_breath().await;
                let what = ended.map_or(what, MachineError::Ended);
                return Err(match process.kill().await {
                    Ok(()) => what,
                    Err(left) => MachineError::Left { what: Box::new(what), left },
                });
            }
        };
        Ok(Self {
            process,
            qmp,
            gdb: match parts.gdb {
                Some(listener) => gdb.shared(listener),
                None => gdb,
            },
            console: console.1,
            agent: agent.1,
            ssh: ssh.1,
            ram: HostRam { memory: ram.1, start: RAM_START },
            bars: bars.into_iter().map(|(name, (_, memory))| (name, memory)).collect(),
            arguments,
        })
    }
}

async fn attach(qmp: UnixStream, gdb: UnixStream, deadlines: Deadlines) -> Result<(Qmp, Gdb), MachineError> {
    let both = async {
        Ok((
            Qmp::connect(qmp, deadlines.of(Deadline::Qmp)).await?,
            Gdb::connect(gdb, deadlines.of(Deadline::Gdb)).await?,
        ))
    };
    timeout(deadlines.of(Deadline::Attach), both)
        .await
        .map_err(|_| MachineError::Silent(deadlines.of(Deadline::Attach)))?
}

fn pci<'a>(name: &'a str, model: DeviceModel, (fd, memory): &(i32, SharedMemory)) -> PciDevice<'a> {
    PciDevice { name, model, bar_size: memory.size(), bar: *fd }
}

/// A socket pair: QEMU's end goes into `inherit`, its number and our end come back.
fn channel(inherit: &mut Vec<OwnedFd>) -> Result<(i32, UnixStream), MachineError> {
    let (number, ours) = pair(inherit)?;
    Ok((number, UnixStream::from_std(ours).map_err(MachineError::Start)?))
}

fn pair(inherit: &mut Vec<OwnedFd>) -> Result<(i32, std::os::unix::net::UnixStream), MachineError> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(MachineError::Start)?;
    ours.set_nonblocking(true).map_err(MachineError::Start)?;
    let theirs = OwnedFd::from(theirs);
    let number = theirs.as_raw_fd();
    inherit.push(theirs);
    Ok((number, ours))
}

/// Shared memory: a descriptor for QEMU goes into `inherit`.
fn share(inherit: &mut Vec<OwnedFd>, name: &str, size: u64) -> Result<(i32, SharedMemory), MachineError> {
    let make = || {
        let memory = SharedMemory::new(name, size)?;
        let fd = memory.fd().try_clone_to_owned()?;
        Ok((fd, memory))
    };
    let (fd, memory) = make()
        .map_err(|source| MachineError::Memory { what: format!("{size} bytes for `{name}`"), source })?;
    let number = fd.as_raw_fd();
    inherit.push(fd);
    Ok((number, memory))
}
