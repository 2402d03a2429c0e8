//! The host of a cell: a machine, the channels to it, and its agent.
//!
//! [`Host`] has one variant for each kind of host. Its methods are what a run may ask; what one
//! kind cannot do is None.

pub mod deadlines;
pub mod emulated;
pub mod ending;
pub mod link;
pub mod ssh;

pub use emulated::{
    Answers, Beginning, Parts, Questions, Streams,
    look::Target,
    look::tables_of,
    machine::StartError,
    memory::SharedMemory as Bytes,
    process::Launcher,
    saved::SaveError,
    slots::Slots,
    trace::{Moment, Recorded, TlbiTrace},
};

use emulated::{
    gdb::HoldError,
    look::{self, Looks},
    placement::{Placement, PlacementError},
    qmp::QmpError,
    roms::LoadedError,
};
use ending::Ending;
use s2lab_model::{
    event::{Loaded, StopCause},
    scenario,
};
use s2lab_os::waits::timeout;
use std::{io, ops::Range, os::unix::net::UnixStream, path::Path, time::Duration};
use tokio::time::sleep;

/// The time between two looks at shared memory.
const POLL: Duration = Duration::from_millis(1);

/// A host that is prepared or runs. Dropping it kills the machine.
pub enum Host {
    /// QEMU on this machine.
    Emulated(emulated::Host),
}

/// Something that a host could not do.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(transparent)]
    Qmp(#[from] QmpError),
    #[error(transparent)]
    Hold(#[from] HoldError),
    #[error(transparent)]
    Loaded(#[from] LoadedError),
    #[error(transparent)]
    Placement(#[from] PlacementError),
    #[error(transparent)]
    Look(#[from] look::Error),
    #[error("the memory of QEMU's plugin: {0}")]
    Trace(#[source] io::Error),
}

impl HostError {
    /// Returns the cause of a stop by this error, with a hint.
    pub fn cause(&self) -> (StopCause, Option<&'static str>) {
        match self {
            Self::Placement(PlacementError::Narrow(_)) => {
                (StopCause::Lacking, Some("take a newer QEMU: --qemu newest"))
            }
            _ => (StopCause::Lab, None),
        }
    }

    /// The error of a write, if that is what failed.
    pub fn unwritable(&self) -> Option<&io::Error> {
        match self {
            Self::Look(look::Error::Keep { source, .. }) => Some(source),
            _ => None,
        }
    }
}

/// Something that this kind of host lacks for any cell.
#[derive(Debug)]
pub struct Lack {
    pub what: String,
    pub hint: &'static str,
}

/// Returns the command line of the emulator of a host, with names in place of what differs from boot to boot.
pub fn arguments(host: &scenario::Host, kernel_arguments: &str) -> Vec<String> {
    emulated::argv::template(host, kernel_arguments)
}

/// Bytes of this machine's memory that a host takes.
pub fn memory(host: &scenario::Host) -> u64 {
    emulated::preflight::memory(host)
}

impl Host {
    /// Asks what must be known before the machine is made.
    pub async fn ask(launcher: &Launcher, questions: &Questions<'_>) -> Result<Answers, StartError> {
        Ok(emulated::plugin::ask(launcher, questions).await?)
    }

    /// Makes the machine with everything attached to it. It stands before its first instruction.
    pub async fn prepare(launcher: &Launcher, parts: Parts<'_>) -> Result<(Self, Streams), StartError> {
        let (host, streams) = emulated::Host::prepare(launcher, parts).await?;
        Ok((Self::Emulated(host), streams))
    }

    /// Lets the machine run for the first time. With an operator's gdb, waits until that has
    /// attached.
    pub async fn boot(&mut self) -> Result<(), HostError> {
        let Self::Emulated(host) = self;
        Ok(host.gdb.begin(&mut host.qmp).await?)
    }

    /// The end of the machine.
    pub fn ending(&self) -> &Ending {
        let Self::Emulated(host) = self;
        host.ending()
    }

    /// Kills the machine, and returns when all of it is gone. An error says what survived.
    pub async fn kill(self) -> io::Result<()> {
        let Self::Emulated(host) = self;
        host.kill().await
    }

    /// Returns what this host lacks for any cell.
    pub fn lack(&self) -> Option<Lack> {
        let Self::Emulated(host) = self;
        emulated::preflight::lack(host.qmp.version())
    }

    /// The host's RAM, as physical addresses.
    pub fn ram(&self) -> Range<u64> {
        let Self::Emulated(host) = self;
        host.ram.start..host.ram.start + host.ram.memory.size()
    }

    /// The places of kernel, initramfs and device tree, before the first instruction.
    pub async fn loaded(&mut self) -> Result<Vec<Loaded>, HostError> {
        let Self::Emulated(host) = self;
        Ok(emulated::roms::loaded(&mut host.qmp, &host.ram).await?)
    }

    /// PCI address in the host of the port above the scenario's `index`-th device.
    pub fn port_address(&self, index: usize) -> String {
        let Self::Emulated(_) = self;
        emulated::argv::port_address(index)
    }

    /// The means to read a guest's tables from outside.
    pub fn looks(&mut self) -> Option<Looks<'_>> {
        let Self::Emulated(host) = self;
        Some(Looks { qmp: &mut host.qmp, gdb: &mut host.gdb, ram: &host.ram })
    }

    /// The machine's own knowledge of its devices' BARs.
    pub fn placement(&mut self) -> Option<Placement<'_>> {
        let Self::Emulated(host) = self;
        Some(Placement { qmp: &mut host.qmp })
    }

    /// The slots of devices that may be unplugged.
    pub fn slots(&mut self) -> Option<Slots<'_>> {
        let Self::Emulated(host) = self;
        Some(Slots { qmp: &mut host.qmp, bars: &host.bars })
    }

    /// The memory behind the BAR of a device, as it is seen from outside.
    pub fn bytes(&self, device: &str) -> Option<&Bytes> {
        let Self::Emulated(host) = self;
        host.bars.get(device)
    }

    /// The memory of a device's drive, as it is seen from outside.
    pub fn drive(&self, device: &str) -> Option<&Bytes> {
        let Self::Emulated(host) = self;
        host.drives.get(device)
    }

    /// Fills the memory behind all BARs and of all drives with zeroes, as a fresh boot has it.
    pub fn clear_devices(&self) -> io::Result<()> {
        let Self::Emulated(host) = self;
        host.bars.values().chain(host.drives.values()).try_for_each(Bytes::clear)
    }

    /// The TLBI instructions that the machine records, or the reason why it records none.
    pub fn trace(&self) -> Result<&TlbiTrace, &str> {
        let Self::Emulated(host) = self;
        host.trace.as_ref().map_err(String::as_str)
    }

    /// Has the machine record TLBI instructions from now on, if it does not yet. It stands still for a moment. If it
    /// has not begun in `deadline`, the trace has the reason. `kernel`: the place of the host's kernel.
    ///
    /// If accesses are counted, or the kernel's code is unknown, QEMU translates all code anew; else what has such an
    /// instruction.
    pub async fn record(&mut self, kernel: Option<Range<u64>>, deadline: Duration) -> Result<(), HostError> {
        let Self::Emulated(host) = self;
        let Some(trace) = host.trace.as_ref().ok().filter(|trace| trace.waits()) else { return Ok(()) };
        let places = match kernel {
            Some(kernel) if !trace.counts_accesses() => emulated::trace::recorded_in(&host.ram, kernel),
            _ => vec![],
        };
        trace.begin(!places.is_empty()).map_err(HostError::Trace)?;
        // A vCPU that has stopped goes on.
        host.gdb.hold(&mut host.qmp).await?;
        if !places.is_empty() {
            // As they are now: Linux patches its own code.
            let now = |address| Some((address, emulated::trace::instruction(&host.ram, address)?));
            let words: Vec<_> = places.into_iter().filter_map(now).collect();
            host.gdb.rewrite(&words).await.map_err(HoldError::from)?;
        }
        host.gdb.release(&mut host.qmp).await?;
        let begun = async {
            while !trace.has_begun() {
                sleep(POLL).await;
            }
        };
        let _ = timeout(deadline, begun).await;
        Ok(())
    }

    /// The stream to the host's sshd; non-blocking.
    pub fn ssh(&self) -> &UnixStream {
        let Self::Emulated(host) = self;
        &host.ssh
    }

    /// Returns why the machine does not run on, if that is so.
    pub async fn unwell(&mut self, deadline: Duration) -> Option<String> {
        let Self::Emulated(host) = self;
        emulated::diagnosis::unwell(&mut host.qmp, deadline).await
    }

    /// Everything that can be learnt of the host in `deadline`, as text. `asks`: by ssh, too.
    pub async fn diagnose(&mut self, why: &str, asks: bool, deadline: Duration) -> String {
        let Self::Emulated(host) = self;
        let ssh = host.ssh.try_clone().ok().filter(|_| asks);
        emulated::diagnosis::diagnose(why, &mut host.qmp, &mut host.gdb, ssh, deadline).await
    }

    /// Returns the answers of the emulator to the questions before the machine was made.
    pub fn answers(&self) -> &Answers {
        let Self::Emulated(host) = self;
        &host.answers
    }

    /// Stops the machine, for [`Host::save`].
    pub async fn stop(&mut self) -> Result<(), HostError> {
        let Self::Emulated(host) = self;
        Ok(host.gdb.hold(&mut host.qmp).await?)
    }

    /// Lets the machine run on after [`Host::stop`].
    pub async fn go_on(&mut self) -> Result<(), HostError> {
        let Self::Emulated(host) = self;
        Ok(host.gdb.release(&mut host.qmp).await?)
    }

    /// Writes the state of a machine that is stopped into a file that does not exist.
    pub async fn save(&mut self, state: &Path, deadline: Duration) -> Result<(), SaveError> {
        let Self::Emulated(host) = self;
        emulated::saved::save(&mut host.qmp, state, deadline).await
    }

    /// Lets the machine run on after a look that has failed, or was dropped in the middle.
    pub async fn resume(&mut self) -> Result<(), HostError> {
        let Self::Emulated(host) = self;
        Ok(host.gdb.recover(&mut host.qmp).await?)
    }
}
