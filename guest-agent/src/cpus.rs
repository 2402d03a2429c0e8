//! The CPUs of this machine.

use crate::fault;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use s2lab_protocol::Failure;

/// Runs this thread on one CPU only.
pub(crate) fn pin_to(cpu: usize) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(|why| fault::system("run", format_args!("on vCPU {cpu}"), why))
}

/// Returns the CPUs of this machine.
pub(crate) fn all() -> Result<Vec<usize>, Failure> {
    let set = sched_getaffinity(None).map_err(|why| fault::system("read", "the vCPUs", why))?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}
