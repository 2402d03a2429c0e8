//! The guest's Linux as a machine: the agent's own threads access BARs that sysfs maps.

use super::bar::Mapped;
use super::hold::Spinners;
use super::machine::{Loads, Machine, Storer, Stores, Target};
use super::span::Placed;
use super::{load, probe, store, together::together, transfer};
use crate::{
    cpus::{self, pin_to},
    fault,
    pci::{self, Address},
    root::Root,
};
use s2lab_protocol::ask::{Memslot, MemslotDone, Plug, Probe, ProbeDone, Transfer, Transferred};
use s2lab_protocol::{DeviceOperation, Failure, MapKind, Mapping};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

/// The state that a guest keeps between requests.
pub(super) struct Linux {
    root: Root,
    mapped: Vec<Mapped>,
    /// Spin while the guest is held.
    spinners: Spinners<Arc<AtomicU32>>,
}

impl Linux {
    pub(super) fn at(root: Root) -> Linux {
        Linux { root, mapped: Vec::new(), spinners: Spinners::none() }
    }
}

/// The CPUs of the machine, for threads that store.
#[derive(Debug, Clone)]
pub(super) struct Cpus(Vec<usize>);

impl Storer for Cpus {
    fn begin(&self, cpu: u32) -> Result<(), Failure> {
        let found = self.0.get(cpu as usize).copied();
        pin_to(
            found
                .ok_or_else(|| fault::invalid(format_args!("vCPU {cpu}; this guest has {}", self.0.len())))?,
        )
    }

    fn store(&self, _: u32, stores: Stores, rows: &[Placed], words: &[u64]) -> Result<(), Failure> {
        // SAFETY: the rows lie in a BAR that stays mapped.
        unsafe { store::store(stores, rows, words) };
        Ok(())
    }

    fn end(&self) -> u64 {
        0
    }
}

impl Machine for Linux {
    type Storer = Cpus;

    fn map(&mut self, device: &str, address: &str, map: MapKind) -> Result<Target, Failure> {
        if let Some(mapped) = self.mapped.iter().find(|mapped| mapped.is(address, map)) {
            return Ok(mapped.target());
        }
        let mapped = Mapped::open(&self.root, device, address, map)?;
        let target = mapped.target();
        self.mapped.push(mapped);
        Ok(target)
    }

    fn mappings(&self) -> Vec<Mapping> {
        self.mapped.iter().map(Mapped::mapping).collect()
    }

    /// A thread for each CPU.
    fn on_cpus<T: Send>(
        &self,
        count: u32,
        work: impl Fn(u32) -> Result<T, Failure> + Sync,
    ) -> Result<Vec<T>, Failure> {
        if count == 1 {
            return Ok(vec![work(0)?]);
        }
        let cpus = some_cpus(count)?;
        let pin = |index: u32| pin_to(cpus.get(index as usize).copied().unwrap_or_default());
        together(count, pin, work)
    }

    fn store(&self, _: u32, stores: Stores, rows: &[Placed], words: &[u64]) -> Result<Duration, Failure> {
        let begin = Instant::now();
        // SAFETY: the rows lie in a BAR that stays mapped.
        unsafe { store::store(stores, rows, words) };
        Ok(begin.elapsed())
    }

    fn load(&self, _: u32, loads: Loads, rows: &[Placed], words: &mut [u64]) -> Result<(), Failure> {
        // SAFETY: the rows lie in a BAR that stays mapped.
        unsafe { load::load(loads, rows, words) };
        Ok(())
    }

    fn storer(&self, may_fault: bool) -> Result<Cpus, Failure> {
        match may_fault {
            true => Err(fault::invalid("only the built-in VMM runs a vCPU again whose KVM_RUN has failed")),
            false => cpus::all().map(Cpus),
        }
    }

    fn set_memory_space(&mut self, address: &str, on: bool) -> Result<(), Failure> {
        let function = pci::behind(&self.root, &Address::parse(address)?)?;
        pci::set_memory_space(&self.root, &function, on)
    }

    fn reset_function(&mut self, address: &str) -> Result<(), Failure> {
        let function = pci::behind(&self.root, &Address::parse(address)?)?;
        pci::reset(&self.root, &function)
    }

    /// A guest does not know its memslots.
    fn memslot(&mut self, _: &Memslot) -> Result<MemslotDone, Failure> {
        Err(fault::invalid("only the built-in VMM operates on memslots"))
    }

    fn plug(&mut self, Plug { address, operation }: &Plug) -> Result<(), Failure> {
        let port = Address::parse(address)?;
        match operation {
            DeviceOperation::Unplug => {
                self.mapped.retain(|mapped| !mapped.is_of(address));
                match pci::behind(&self.root, &port) {
                    Ok(function) if function == port => {
                        Err(fault::invalid(format_args!("{address} is not behind a port")))
                    }
                    Ok(function) => pci::until_plugged(&self.root, &function, false),
                    // The kernel has removed it by now.
                    Err(_) => Ok(()),
                }
            }
            DeviceOperation::Plug => pci::until_behind(&self.root, &port),
            other => Err(fault::invalid(format_args!("a guest does not make {other}"))),
        }
    }

    fn transfer(&mut self, ask: &Transfer) -> Result<Transferred, Failure> {
        transfer::carry_out(&self.root, ask)
    }

    fn probe(&mut self, ask: Probe) -> Result<ProbeDone, Failure> {
        probe::process::run(ask)
    }

    /// A thread for each CPU.
    fn hold(&mut self, nonce: u64) -> Result<u32, Failure> {
        if self.spinners.is_held() {
            return Err(fault::invalid("the guest is held already"));
        }
        let vcpus = (0..).zip(cpus::all()?);
        self.spinners.hold(vcpus.map(|(vcpu, cpu)| (Arc::default(), spinning(nonce, vcpu, cpu))))
    }

    fn release(&mut self) -> Result<(), Failure> {
        self.spinners.release()
    }
}

/// Returns the work of a thread that spins on `cpu`, which is the vCPU with this number. The kernel
/// takes turns between it and the thread that reads the port.
fn spinning(nonce: u64, vcpu: u64, cpu: usize) -> impl FnOnce(&AtomicU32) -> Result<(), Failure> + Send {
    move |word| {
        pin_to(cpu)?;
        super::hold::spin(nonce, vcpu, word);
        Ok(())
    }
}

/// Returns `count` CPUs of this machine.
fn some_cpus(count: u32) -> Result<Vec<usize>, Failure> {
    let mut there = cpus::all()?;
    there.truncate(count as usize);
    if there.len() < count as usize {
        return Err(fault::invalid(format_args!("{count} vCPUs; this guest has {}", there.len())));
    }
    Ok(there)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::thread::CpuSet;

    #[test]
    fn a_guest_cannot_use_vcpus_that_it_does_not_have() {
        let failure = some_cpus(u32::MAX).unwrap_err();
        assert!(failure.message.contains("this guest has"), "{}", failure.message);
    }

    #[test]
    fn each_vcpu_is_held_until_it_is_released() {
        let folder = tempfile::tempdir().unwrap();
        let mut linux = Linux::at(Root::at(folder.path()));
        assert_eq!(linux.hold(1).unwrap() as usize, cpus::all().unwrap().len());
        assert_eq!(linux.hold(1).unwrap_err().message, "the guest is held already");
        linux.release().unwrap();
        assert_eq!(linux.release().unwrap_err().message, "the guest is not held");
    }

    #[test]
    fn a_thread_that_cannot_run_on_its_vcpu_is_reported() {
        let nowhere =
            Spinners::none().hold([(Arc::default(), spinning(1, 0, CpuSet::MAX_CPU - 1))].into_iter());
        assert!(nowhere.unwrap_err().message.contains("on vCPU"));
    }
}
