//! One unaligned store in user space, in a process of its own: on a BAR that is Device memory at
//! either stage it faults.

use super::{Guest, bar::Mapped};
use crate::{agent::Answers, fault, root::Root};
use s2lab_protocol::ask::{Unaligned, UnalignedStore};
use s2lab_protocol::{Failure, MapKind, UnalignedOutcome};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, Stdio};
use std::ptr::NonNull;

/// The first argument of the child process. Address, kind of mapping and offset follow.
pub(crate) const CHILD: &str = "unaligned";
/// The stored word. None of its bytes is usual in a BAR, and no two are equal.
const WORD: u64 = 0xa1b2_c3d4_e5f6_0718;
/// The granule. An unaligned access within this many bytes crosses neither a page nor a cache line.
const GRANULE: u64 = 16;
const WRONG: u8 = 1;
const FAILED: u8 = 2;

impl Answers<Unaligned> for Guest {
    fn answer(&mut self, ask: Unaligned) -> Result<UnalignedStore, Failure> {
        Ok(UnalignedStore { map: ask.map, outcome: probe(&ask)? })
    }
}

/// Runs the store in a child process and returns how it ended.
fn probe(ask: &Unaligned) -> Result<UnalignedOutcome, Failure> {
    let Unaligned { address, map, offset } = ask;
    // The kernel delivers a signal or the store completes: the child cannot wait for anything.
    let output = Command::new("/proc/self/exe")
        .args([CHILD, address, map.name(), &offset.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|why| fault::system("run", "the process that stores unaligned", why))?;
    let status = output.status;
    match (status.signal(), status.code()) {
        (Some(signal), _) => Ok(UnalignedOutcome::Signal(signal)),
        (_, Some(0)) => Ok(UnalignedOutcome::Ok),
        (_, Some(code)) if code == i32::from(WRONG) => Ok(UnalignedOutcome::Wrong),
        _ => {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(fault::system("store unaligned to", address, format_args!("{status}: {}", why.trim_end())))
        }
    }
}

/// Runs the store, in the child process.
pub(crate) fn child(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let mut next = || arguments.next().unwrap_or_default();
    match in_child(&next(), &next(), &next()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(WRONG),
        Err(why) => {
            eprintln!("{}", why.message);
            ExitCode::from(FAILED)
        }
    }
}

fn in_child(address: &str, map: &str, offset: &str) -> Result<bool, Failure> {
    let map: MapKind = map.parse().map_err(fault::invalid)?;
    let offset = offset.parse().map_err(|why| fault::invalid(format_args!("offset {offset:?}: {why}")))?;
    store(&Mapped::open(&Root::machine(), "", address, map)?, offset)
}

/// Stores to the first odd address of the granule at `offset`. Returns true if the bytes are there
/// afterwards.
fn store(mapped: &Mapped, offset: u64) -> Result<bool, Failure> {
    let start = offset / GRANULE * GRANULE + 1;
    let length = size_of::<u64>();
    let place = mapped
        .at(start, length as u64)
        .ok_or_else(|| fault::invalid(format_args!("{start:#x} does not lie in the BAR")))?;
    // SAFETY: 8 bytes within the mapping. The store may raise a signal, which is what this process
    // is for.
    unsafe { store_unaligned(place) };
    // SAFETY: the same 8 bytes, one by one: an unaligned load would fault where the store did not.
    let found = std::array::from_fn(|index| unsafe { place.add(index).read_volatile() });
    Ok(u64::from_le_bytes(found) == WORD)
}

#[cfg(target_arch = "aarch64")]
unsafe fn store_unaligned(place: NonNull<u8>) {
    // SAFETY: the caller's.
    unsafe {
        std::arch::asm!("str {0}, [{1}]", "dsb st", in(reg) WORD, in(reg) place.as_ptr(), options(nostack, preserves_flags));
    }
}

#[cfg(not(target_arch = "aarch64"))]
unsafe fn store_unaligned(place: NonNull<u8>) {
    // SAFETY: the caller's.
    unsafe { place.cast::<u64>().write_unaligned(WORD.to_le()) }
}

#[cfg(test)]
mod tests {
    use super::super::bar::tests::{ADDRESS, BAR_SIZE, fixture};
    use super::*;

    #[test]
    fn the_store_stays_in_its_granule() {
        let folder = tempfile::tempdir().unwrap();
        let mapped = Mapped::open(&fixture(folder.path()), "nic", ADDRESS, MapKind::Wc).unwrap();
        assert!(store(&mapped, 4095).unwrap());
        let file =
            std::fs::read(folder.path().join("sys/bus/pci/devices").join(ADDRESS).join("resource2_wc"))
                .unwrap();
        let touched: Vec<_> = (0..file.len()).filter(|at| file[*at] != 0).collect();
        assert_eq!(touched, (4081..4089).collect::<Vec<_>>());
        assert!(store(&mapped, BAR_SIZE).is_err());
    }
}
