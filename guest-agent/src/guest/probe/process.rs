//! The access in a process of its own, because it may raise a signal.

use super::super::bar::Mapped;
use super::{Access, access, block};
use crate::{fault, root::Root};
use s2lab_protocol::ask::{Probe, ProbeDone};
use s2lab_protocol::{Failure, MapKind, ProbeEnd, ProbeKind};
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, Output, Stdio};

/// The first argument of the child process. Kind, address, kind of mapping and offset follow.
pub(crate) const CHILD: &str = "probe";
const WRONG: u8 = 1;
const FAILED: u8 = 2;
const UNSUPPORTED: u8 = 3;

/// Runs the child process, and returns what it reported.
pub(crate) fn run(ask: Probe) -> Result<ProbeDone, Failure> {
    let Probe { address, map, kind, offset } = ask;
    // The kernel delivers a signal or the access completes: the child cannot wait for anything.
    let output = Command::new("/proc/self/exe")
        .args([CHILD, kind.name(), &address, map.name(), &offset.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|why| fault::system("run", "the process that probes", why))?;
    reported(&address, &output)
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
    let Some(place) = block(access, &mapped.target(), offset)? else { return Ok(ProbeEnd::Unsupported) };
    // SAFETY: the block lies within the mapping, whose start is aligned to a page. The access may
    // raise a signal, which is the purpose of this process.
    let right = unsafe { access.access(place) };
    Ok(if right { ProbeEnd::Ok } else { ProbeEnd::Wrong })
}

#[cfg(test)]
mod tests;
