//! The question if a look can read all its registers from a QEMU, asked before any host boots.

use super::{
    gdb::{Gdb, GdbError},
    look,
    process::Launcher,
    watched::Watched,
};
use crate::host::{
    deadlines::{Deadline, Deadlines},
    ending::Ended,
};
use rustix::fd::{AsRawFd, OwnedFd};
use s2lab_cache::Qemu;
use std::{io, os::unix::net, process::Stdio};
use tokio::net::UnixStream;

/// A machine like that of a host, without anything attached to it but the gdbstub. Its CPU model has
/// all registers that any model has.
const MACHINE: &str = "-M virt,virtualization=on -cpu max -m 128M -accel tcg -S -display none -nodefaults";

/// The reason why a QEMU does not serve looks.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    #[error("cannot start QEMU to ask for its registers: {0}")]
    Start(#[from] io::Error),
    #[error("{0} when it was asked for its registers")]
    Ended(Ended),
    #[error(transparent)]
    Gdb(#[from] GdbError),
}

/// Checks that the gdbstub of a QEMU offers the registers that a look reads.
///
/// # Errors
/// [`GdbError::NoRegister`] names the first missing one, and what the stub offers in its place.
pub async fn check(launcher: &Launcher, qemu: &Qemu) -> Result<(), OfferError> {
    let (ours, theirs) = net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let theirs = OwnedFd::from(theirs);
    let deadlines = Deadlines::default();
    let mut command = qemu.command();
    command.args(MACHINE.split(' '));
    command.args(["-chardev", &format!("socket,id=gdb,fd={}", theirs.as_raw_fd()), "-gdb", "chardev:gdb"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let process = launcher.launch(command, vec![theirs]).await?;
    let process = Watched::new(process, deadlines.of(Deadline::Rest));
    let ending = process.ending.clone();
    let ours = UnixStream::from_std(ours)?;
    let ask = async {
        let gdb = Gdb::connect(ours, deadlines.of(Deadline::Gdb), ending.clone()).await?;
        gdb.offers(look::registers())
    };
    let explained = |error| match error {
        // An answer. QEMU may end after it, because the channel is closed.
        error @ GdbError::NoRegister { .. } => OfferError::Gdb(error),
        error => ending.now().map_or(OfferError::Gdb(error), OfferError::Ended),
    };
    let asked = tokio::select! {
        biased;
        asked = ask => asked.map_err(explained),
        ended = ending.ended() => Err(OfferError::Ended(ended)),
    };
    process.kill().await?;
    asked
}
