//! One unaligned store in user space, in a process of its own: on a BAR that is Device memory at
//! either stage it faults.

use super::{Guest, bar::Mapped};
use crate::{agent::Answers, fault, root::Root};
use s2lab_protocol::ask::{Unaligned, UnalignedStore};
use s2lab_protocol::{Failure, MapKind, UnalignedOutcome};
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, Output, Stdio};
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
        let Unaligned { address, map, offset } = ask;
        // The kernel delivers a signal or the store completes: the child cannot wait for anything.
        let output = Command::new("/proc/self/exe")
            .args([CHILD, &address, map.name(), &offset.to_string()])
            .stdin(Stdio::null())
            .output()
            .map_err(|why| fault::system("run", "the process that stores unaligned", why))?;
        reported(&address, &output)
    }
}

/// Returns the kind of mapping that the child process reported, and how the process ended.
fn reported(address: &str, output: &Output) -> Result<UnalignedStore, Failure> {
    let status = output.status;
    let failed = |why: String| fault::system("store unaligned to", address, format_args!("{status}: {why}"));
    let outcome = match (status.signal(), status.code()) {
        (Some(signal), _) => UnalignedOutcome::Signal(signal),
        (_, Some(0)) => UnalignedOutcome::Ok,
        (_, Some(code)) if code == i32::from(WRONG) => UnalignedOutcome::Wrong,
        _ => return Err(failed(String::from_utf8_lossy(&output.stderr).trim_end().to_owned())),
    };
    let report = String::from_utf8_lossy(&output.stdout);
    let map = report.trim_end().parse().map_err(|why| failed(format!("before the store: {why}")))?;
    Ok(UnalignedStore { map, outcome })
}

/// Runs the store, in the child process.
pub(crate) fn child(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let mut next = || arguments.next().unwrap_or_default();
    match in_child(&Root::machine(), &next(), &next(), &next(), &mut io::stdout()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(WRONG),
        Err(why) => {
            eprintln!("{}", why.message);
            ExitCode::from(FAILED)
        }
    }
}

/// Maps the BAR, reports the kind of that mapping to `out`, and stores.
fn in_child(
    root: &Root,
    address: &str,
    map: &str,
    offset: &str,
    out: &mut impl Write,
) -> Result<bool, Failure> {
    let map: MapKind = map.parse().map_err(fault::invalid)?;
    let offset = offset.parse().map_err(|why| fault::invalid(format_args!("offset {offset:?}: {why}")))?;
    let mapped = Mapped::open(root, "", address, map)?;
    // The store may end this process at once.
    writeln!(out, "{}", mapped.map())
        .and_then(|()| out.flush())
        .map_err(|why| fault::system("report the mapping of", address, why))?;
    store(&mapped, offset)
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

    /// A report that finds the BAR as it is at that moment.
    struct Report<'a> {
        bar: &'a std::path::Path,
        text: Vec<u8>,
    }

    impl Write for Report<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            assert!(std::fs::read(self.bar)?.iter().all(|byte| *byte == 0), "stored before the report");
            self.text.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_child_reports_what_it_has_mapped_and_then_stores() {
        let folder = tempfile::tempdir().unwrap();
        let root = fixture(folder.path());
        let function = folder.path().join("sys/bus/pci/devices").join(ADDRESS);
        for (map, file) in [("wc", "resource2_wc"), ("device", "resource2")] {
            let bar = function.join(file);
            std::fs::write(&bar, vec![0; BAR_SIZE as usize]).unwrap();
            let mut report = Report { bar: &bar, text: vec![] };
            assert!(in_child(&root, ADDRESS, map, "64", &mut report).unwrap());
            assert_eq!(report.text, format!("{map}\n").into_bytes());
            assert!(std::fs::read(&bar).unwrap().iter().any(|byte| *byte != 0));
        }
    }

    #[test]
    fn the_answer_is_what_the_child_reports() {
        let of = |script: &str| {
            let output = Command::new("sh").args(["-c", script]).output().unwrap();
            reported(ADDRESS, &output).map_err(|failure| failure.message)
        };
        let stored = |map, outcome| Ok(UnalignedStore { map, outcome });
        assert_eq!(of("echo device"), stored(MapKind::Device, UnalignedOutcome::Ok));
        assert_eq!(of("echo wc"), stored(MapKind::Wc, UnalignedOutcome::Ok));
        assert_eq!(of("echo wc; exit 1"), stored(MapKind::Wc, UnalignedOutcome::Wrong));
        assert_eq!(of("echo wc; kill -BUS $$"), stored(MapKind::Wc, UnalignedOutcome::Signal(7)));
        for (script, why) in [
            ("kill -KILL $$", "before the store"),
            ("exit 0", "before the store"),
            ("echo no such BAR >&2; exit 2", "no such BAR"),
        ] {
            let failure = of(script).unwrap_err();
            assert!(failure.contains(why), "{script}: {failure}");
        }
    }
}
