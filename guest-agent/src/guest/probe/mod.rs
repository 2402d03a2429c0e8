//! One access in user space, in a process of its own, because it may raise a signal: a file for
//! each kind of access.

mod atomic;
mod exclusive;
mod fetch;
mod load;
mod store;
mod zva;

use super::{Guest, bar::Mapped};
use crate::{agent::Answers, fault, root::Root};
use s2lab_protocol::ask::{Probe, ProbeDone};
use s2lab_protocol::{Failure, MapKind, ProbeEnd, ProbeKind};
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, Output, Stdio};
use std::ptr::NonNull;

/// The first argument of the child process. Kind, address, kind of mapping and offset follow.
pub(crate) const CHILD: &str = "probe";
/// The word that accesses store. None of its bytes is usual in a BAR, and no two are equal.
const WORD: u64 = 0xa1b2_c3d4_e5f6_0718;
const WRONG: u8 = 1;
const FAILED: u8 = 2;
const UNSUPPORTED: u8 = 3;

/// One kind of access.
trait Access {
    /// The bytes of the block that the access may touch, a power of two. None: the CPU does not
    /// have the instruction.
    fn block(&self) -> Option<u64>;

    /// Accesses the block at `block`, which is aligned to its size. Returns true if the bytes are
    /// those that the access makes.
    ///
    /// # Safety
    /// The bytes of the block are mapped. The access may raise a signal.
    unsafe fn access(&self, block: NonNull<u8>) -> bool;
}

/// The table of the kinds.
fn access(kind: ProbeKind) -> &'static dyn Access {
    match kind {
        ProbeKind::Store => &store::UnalignedStore,
        ProbeKind::Load => &load::UnalignedLoad,
        ProbeKind::Zva => &zva::Zva,
        ProbeKind::Atomic => &atomic::Atomic,
        ProbeKind::Exclusive => &exclusive::Exclusive,
        ProbeKind::Fetch => &fetch::Fetch,
    }
}

impl Answers<Probe> for Guest {
    fn answer(&mut self, ask: Probe) -> Result<ProbeDone, Failure> {
        let Probe { address, map, kind, offset } = ask;
        // The kernel delivers a signal or the access completes: the child cannot wait for anything.
        let output = Command::new("/proc/self/exe")
            .args([CHILD, kind.name(), &address, map.name(), &offset.to_string()])
            .stdin(Stdio::null())
            .output()
            .map_err(|why| fault::system("run", "the process that probes", why))?;
        reported(&address, &output)
    }
}

/// Returns the kinds of access and mapping that the child process reported, and how the process
/// ended.
fn reported(address: &str, output: &Output) -> Result<ProbeDone, Failure> {
    let status = output.status;
    let failed = |why: String| fault::system("probe", address, format_args!("{status}: {why}"));
    let outcome = match (status.signal(), status.code().map(u8::try_from)) {
        (Some(signal), _) => ProbeEnd::Signal(signal),
        (_, Some(Ok(0))) => ProbeEnd::Ok,
        (_, Some(Ok(WRONG))) => ProbeEnd::Wrong,
        (_, Some(Ok(UNSUPPORTED))) => ProbeEnd::Unsupported,
        _ => return Err(failed(String::from_utf8_lossy(&output.stderr).trim_end().to_owned())),
    };
    let report = String::from_utf8_lossy(&output.stdout);
    let before = |why: &dyn std::fmt::Display| failed(format!("before the access: {why}"));
    let (kind, map) = report.trim_end().split_once(' ').ok_or_else(|| before(&"nothing was reported"))?;
    let kind = kind.parse().map_err(|why| before(&why))?;
    let map = map.parse().map_err(|why| before(&why))?;
    Ok(ProbeDone { map, kind, outcome })
}

/// Runs the access, in the child process.
pub(crate) fn child(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let words = [(); 4].map(|()| arguments.next().unwrap_or_default());
    match in_child(&Root::machine(), &words, &mut io::stdout()) {
        Ok(ProbeEnd::Ok) => ExitCode::SUCCESS,
        Ok(ProbeEnd::Unsupported) => ExitCode::from(UNSUPPORTED),
        Ok(_) => ExitCode::from(WRONG),
        Err(why) => {
            eprintln!("{}", why.message);
            ExitCode::from(FAILED)
        }
    }
}

/// Maps the BAR, reports the kinds of access and mapping to `out`, and accesses.
fn in_child(
    root: &Root,
    [kind, address, map, offset]: &[String; 4],
    out: &mut impl Write,
) -> Result<ProbeEnd, Failure> {
    let kind: ProbeKind = kind.parse().map_err(fault::invalid)?;
    let map: MapKind = map.parse().map_err(fault::invalid)?;
    let offset = offset.parse().map_err(|why| fault::invalid(format_args!("offset {offset:?}: {why}")))?;
    let mapped = Mapped::open(root, "", address, map)?;
    // The access may end this process at once.
    writeln!(out, "{kind} {}", mapped.map())
        .and_then(|()| out.flush())
        .map_err(|why| fault::system("report the mapping of", address, why))?;
    probe(access(kind), &mapped, offset)
}

/// Accesses the block that has the byte at `offset`.
fn probe(access: &dyn Access, mapped: &Mapped, offset: u64) -> Result<ProbeEnd, Failure> {
    let Some(block) = access.block() else { return Ok(ProbeEnd::Unsupported) };
    let start = offset / block * block;
    let place = mapped
        .at(start, block)
        .ok_or_else(|| fault::invalid(format_args!("{start:#x} does not lie in the BAR")))?;
    // SAFETY: the block lies within the mapping, whose start is aligned to a page. The access may
    // raise a signal, which is the purpose of this process.
    let right = unsafe { access.access(place) };
    Ok(if right { ProbeEnd::Ok } else { ProbeEnd::Wrong })
}

/// Returns 8 bytes as a word, read one by one: an unaligned load would fault where the access did
/// not.
///
/// # Safety
/// The bytes are mapped.
unsafe fn read_bytes(place: NonNull<u8>) -> u64 {
    // SAFETY: the caller's.
    u64::from_le_bytes(std::array::from_fn(|index| unsafe { place.add(index).read_volatile() }))
}

#[cfg(test)]
mod tests;
